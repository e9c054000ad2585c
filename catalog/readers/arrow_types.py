"""Arrow's types that no contract names, brought to those that one does: times, durations, ..."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

_TICKS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}  # in a second
_KEPT = ("arrow.uuid", "arrow.json")  # arrow_cells.py reads them as text


def plain_type(kind: pa.DataType) -> pa.DataType:
    """The type that `plain_array` makes of a column of this type.

    >>> plain_type(pa.time64("us")), plain_type(pa.duration("ns")), plain_type(pa.uint64())
    (DataType(string), DataType(double), Decimal128Type(decimal128(20, 0)))
    """
    types = pa.types
    if isinstance(kind, pa.BaseExtensionType) and kind.extension_name not in _KEPT:
        is_boolean = kind.extension_name == "arrow.bool8"
        return pa.bool_() if is_boolean else plain_type(kind.storage_type)
    if types.is_run_end_encoded(kind):
        return plain_type(kind.value_type)
    if types.is_time(kind):
        return pa.string()
    if types.is_duration(kind):
        return pa.float64()
    if types.is_uint64(kind):
        return pa.decimal128(20, 0)
    return pa.binary() if types.is_fixed_size_binary(kind) else kind


def plain_array(column: pa.Array) -> pa.Array:
    """The column as a type that a contract can name; others are as they are.

    A time of day becomes text, a duration seconds, a whole number that may pass 64 bits a decimal.
    """
    kind, types = column.type, pa.types
    wanted = plain_type(kind)
    if wanted == kind:
        return column
    if types.is_run_end_encoded(kind):
        return plain_array(pc.run_end_decode(column))
    if isinstance(column, pa.ExtensionArray):
        return (
            column.storage.cast(pa.bool_()) if wanted == pa.bool_() else plain_array(column.storage)
        )
    if types.is_duration(kind):
        ticks = column.cast(pa.int64()).cast(pa.float64(), safe=False)
        return pc.divide(ticks, float(_TICKS[kind.unit]))
    if types.is_time(kind):
        # The same text in whatever unit a file counts: no zeros at the end of a fraction
        whole = pc.replace_substring_regex(column.cast(wanted), r"\.0+$", "")
        return pc.replace_substring_regex(whole, r"(\.[0-9]*[1-9])0+$", r"\1")
    return column.cast(wanted)
