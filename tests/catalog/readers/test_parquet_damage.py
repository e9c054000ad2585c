"""Parquet with columns that cannot be opened: encrypted ones, and footers that are damaged."""

from __future__ import annotations

import base64
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe
import pytest

from catalog.contracts.contract import ColumnRule
from catalog.intake.drafting import check_sample, draft_contract
from catalog.readers.files import FileUnreadable
from catalog.readers.formats import open_batches
from tests.catalog.intake.test_parts_of_tables import contract_of

TABLE = pa.table({"id": ["a", "b"], "note": ["word"] * 2, "secret": ["x", "y"], "n": [1, 2]})


class Keys(pe.KmsClient):  # type: ignore[misc]
    """A keeper of keys that wraps none."""

    def wrap_key(self, key_bytes: bytes, _: str) -> str:
        return base64.b64encode(key_bytes).decode()

    def unwrap_key(self, wrapped_key: str, _: str) -> bytes:
        return base64.b64decode(wrapped_key)


def encrypted(path: Path, *, plaintext_footer: bool, columns: list[str]) -> str:
    config = pe.EncryptionConfiguration(
        footer_key="foot", column_keys={"col": columns}, plaintext_footer=plaintext_footer
    )
    factory = pe.CryptoFactory(lambda _: Keys())
    properties = factory.file_encryption_properties(pe.KmsConnectionConfig(), config)
    with pq.ParquetWriter(path, TABLE.schema, encryption_properties=properties) as writer:
        writer.write_table(TABLE)
    return str(path)


def read(path: str, *names: str) -> list[list[object]]:
    rules = {name: ColumnRule(type="integer" if name == "n" else "string") for name in names}
    (batch,) = open_batches(path, "parquet", columns=rules)
    return [batch.table.column(name).to_pylist() for name in names]


@pytest.mark.parametrize("columns", [["secret"], ["secret", "n"], ["id", "note", "secret", "n"]])
def test_encrypted_columns_are_refused_and_those_beside_them_read(tmp_path, columns):
    path = encrypted(tmp_path / "a.parquet", plaintext_footer=True, columns=columns)
    for name in columns:
        with pytest.raises(FileUnreadable, match="encrypted"):
            read(path, name)
    for name in set(TABLE.column_names).difference(columns):
        assert read(path, name) == [TABLE[name].to_pylist()]
    with pytest.raises(FileUnreadable, match="encrypted"):
        draft_contract(path)


def test_a_file_whose_footer_is_encrypted_says_so(tmp_path):
    path = encrypted(tmp_path / "a.parquet", plaintext_footer=False, columns=["secret"])
    with pytest.raises(FileUnreadable, match="encrypted"):
        read(path, "id")
    (fault,) = check_sample(contract_of(path))
    assert "encrypted" in fault.what


def with_footer(path: Path, old: bytes, new: bytes, *, last: bool) -> str:
    """A table in whose footer one name, or each of them, is another."""
    pq.write_table(TABLE, path, store_schema=False)
    data = path.read_bytes()
    at = data.rindex(old) if last else data.index(b"schema")
    path.write_bytes(data[:at] + data[at:].replace(old, new))
    return str(path)


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("new", [b"\xff\xfete", b"n\xc3te", b"not\xc3"])
def test_a_name_that_is_no_utf_8_is_damage(tmp_path, new, last):
    path = with_footer(tmp_path / "a.parquet", b"note", new, last=last)
    if last:  # the path of a column chunk, which is not read: the schema names columns
        assert read(path, "note", "n") == [["word", "word"], [1, 2]]
        return
    for use in (lambda: read(path, "id"), lambda: draft_contract(path)):
        with pytest.raises(FileUnreadable, match="damaged"):
            use()


def test_a_chunk_that_names_another_column_is_read_by_its_place(tmp_path):
    path = with_footer(tmp_path / "a.parquet", b"note", b"nota", last=True)
    assert read(path, "id", "note") == [["a", "b"], ["word", "word"]]
