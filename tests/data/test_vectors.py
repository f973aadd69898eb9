from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroaring import BitMap

from trine.data.vectors import decode_vector, encode_vector
from trine.errors import Damaged

spans = st.lists(
    st.tuples(st.integers(0, 5 << 32), st.integers(1, 9_000), st.sampled_from([1, 2, 3, 40])), min_size=1, max_size=6
)


def positions(of: list[tuple[int, int, int]]) -> np.ndarray:
    return np.unique(np.concatenate([np.arange(first, first + n * step, step) for first, n, step in of])).astype("u8")


@given(spans)
def test_what_is_written_is_read(of: list[tuple[int, int, int]]) -> None:
    wanted = positions(of)
    assert np.array_equal(decode_vector(encode_vector(wanted)), wanted)


@given(spans)
def test_bitmaps_are_what_another_library_knows(of: list[tuple[int, int, int]]) -> None:
    wanted = positions([(first % (1 << 31), n, step) for first, n, step in of])
    blob = encode_vector(wanted)[5 + 12 + 4 : -4]
    theirs = BitMap.deserialize(blob)
    assert theirs == BitMap(wanted.tolist())
    assert np.array_equal(np.array(theirs, dtype="u8"), wanted)
    theirs.run_optimize()
    assert np.array_equal(decode_vector(_file(theirs.serialize())), wanted)


def _file(bitmap: bytes) -> bytes:
    import struct
    import zlib

    blob = struct.pack("<IQI", 1_681_511_377, 1, 0) + bitmap
    return struct.pack(">BI", 1, len(blob)) + blob + struct.pack(">I", zlib.crc32(blob))


def test_what_is_no_vector_is_named() -> None:
    whole = encode_vector(np.arange(10, dtype="u8"))
    for bad in (b"", whole[:9], whole[:-1], whole[:20] + b"\xee" + whole[21:], b"\2" + whole[1:]):
        with pytest.raises(Damaged, match="abc is no deletion vector"):
            decode_vector(bad, "abc")
