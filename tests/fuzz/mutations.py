"""Inputs that are nearly sound: Hypothesis draws where a seed is cut, doubled or overwritten."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

# what parsers trip over: ends of ranges, signs, separators, nesting, bytes that are no text
ODD = (
    b"\x00", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x80", b"\xc3\x28",
    b"\n", b"\r", b'"', b"'", b",", b"{", b"[" * 50, b"}", b"]", b":", b"&a *a", b"!!python/none",
    b"-1", b"1e999", b"99999999999999999999", b"NaN", b"Infinity", b"null", b"../", b"%00", b"\\",
)  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn, seeds: Sequence[bytes]) -> bytes:
    """A seed after one to eight changes."""
    raw = bytearray(draw(st.sampled_from(list(seeds))))
    for _ in range(draw(st.integers(1, 8))):
        at = draw(st.integers(0, max(0, len(raw) - 1)))
        length = draw(st.integers(0, 16))
        change = draw(st.sampled_from(("overwrite", "insert", "remove", "repeat", "cut", "flip")))
        if change == "overwrite":
            odd = draw(st.sampled_from(ODD))
            raw[at : at + len(odd)] = odd
        elif change == "insert":
            raw[at:at] = draw(st.sampled_from(ODD) | st.binary(max_size=8))
        elif change == "remove":
            del raw[at : at + length]
        elif change == "repeat":
            raw[at:at] = raw[at : at + length] * draw(st.integers(1, 20))
        elif change == "cut":
            del raw[at:]
        elif raw:
            raw[at] ^= 1 << draw(st.integers(0, 7))
    return bytes(raw)
