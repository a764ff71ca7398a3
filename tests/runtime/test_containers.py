import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fauxface.containers import Layout, inspect


def box(kind: bytes, body: bytes = b"", size: int | None = None) -> bytes:
    return struct.pack(">I", 8 + len(body) if size is None else size) + kind + body


FTYP, MOOV, MDAT = box(b"ftyp", b"isom\0\0\0\0"), box(b"moov", b"m" * 40), box(b"mdat", b"d" * 99)
LARGE = box(b"mdat", struct.pack(">Q", 16 + 99) + b"d" * 99, size=1)
OPEN = box(b"mdat", b"d" * 99, size=0)


def riff(body: bytes, size: int | None = None, kind: bytes = b"AVI ") -> bytes:
    return b"RIFF" + struct.pack("<I", 4 + len(body) if size is None else size) + kind + body


EBML = b"\x1a\x45\xdf\xa3\x84abcd"
SEGMENT = b"\x18\x53\x80\x67"

CASES = [
    ("mp4 index behind", FTYP + MDAT + MOOV, "mp4", True),
    ("mp4 index in front", FTYP + MOOV + MDAT, "mp4", True),
    ("mp4 cut in data", (FTYP + MOOV + MDAT)[:-1], "mp4", False),
    ("mp4 cut in index", (FTYP + MDAT + MOOV)[:-1], "mp4", False),
    ("mp4 without index", FTYP + MDAT, "mp4", False),
    ("mp4 of 64-bit size", FTYP + MOOV + LARGE, "mp4", True),
    ("mp4 of 64-bit size cut", (FTYP + MOOV + LARGE)[:-1], "mp4", False),
    ("mp4 open end", FTYP + MOOV + OPEN, "mp4", True),
    ("mp4 trailing zeros", FTYP + MOOV + MDAT + b"\0" * 20, "mp4", True),
    ("old mov", MDAT + MOOV, "mp4", True),
    ("avi", riff(b"x" * 50), "avi", True),
    ("avi cut", riff(b"x" * 50)[:-1], "avi", False),
    ("avi of two parts", riff(b"x" * 51) + b"\0" + riff(b"y" * 50, kind=b"AVIX"), "avi", True),
    ("avi second part cut", riff(b"x" * 50) + riff(b"y" * 50, kind=b"AVIX")[:-1], "avi", False),
    ("avi without size", riff(b"x" * 50, size=0), "avi", True),
    ("matroska", EBML + SEGMENT + b"\x8a" + b"x" * 10, "matroska", True),
    ("matroska cut", EBML + SEGMENT + b"\x8a" + b"x" * 9, "matroska", False),
    ("matroska of 8-byte size", EBML + SEGMENT + b"\x01" + b"\0" * 6 + b"\x0a" + b"x" * 10, "matroska", True),
    (
        "matroska of 8-byte size cut",
        EBML + SEGMENT + b"\x01" + b"\0" * 6 + b"\x0a" + b"x" * 9,
        "matroska",
        False,
    ),
    ("matroska live", EBML + SEGMENT + b"\x01" + b"\xff" * 7 + b"x" * 10, "matroska", True),
    ("matroska header only", EBML[:-1], "matroska", False),
    ("wave", riff(b"x" * 50, kind=b"WAVE")[:-5], None, True),
    ("other", b"G" + b"\0" * 187, None, True),
    ("empty", b"", None, True),
]


@pytest.mark.parametrize(("data", "container", "complete"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_layout(tmp_path, data, container, complete):
    path = tmp_path / "file"
    path.write_bytes(data)
    assert inspect(path) == Layout(container, complete)


@given(
    data=st.binary(max_size=200),
    head=st.sampled_from([b"", FTYP, b"RIFF\x10\0\0\0AVI ", EBML, EBML + SEGMENT]),
)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_random_bytes_are_survived(tmp_path_factory, data, head):
    path = tmp_path_factory.getbasetemp() / "random"
    path.write_bytes(head + data)
    assert isinstance(inspect(path).complete, bool)


def test_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        inspect(tmp_path / "missing")
