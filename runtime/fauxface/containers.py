"""How video containers announce their length: enough to tell a whole file from one that was cut off."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot", b"styp", b"moof", b"uuid")
_EBML = 0x1A45DFA3
_SEGMENT = 0x18538067


@dataclass(frozen=True, slots=True)
class Layout:
    """What a container says of itself.

    Attributes:
        container: "mp4" (also MOV), "avi", "matroska" (also WebM), or None for any other.
        complete: False where the file is shorter than it announces, or an mp4 lacks its index. True where it
            is whole or doesn't say (another container, a live recording of unknown length).
    """

    container: str | None
    complete: bool


def inspect(path: str | os.PathLike[str]) -> Layout:
    """Read the outermost structure of a video file; its content isn't read.

    MP4 is a row of boxes (ISO/IEC 14496-12, 4.2), AVI a row of RIFF chunks, Matroska an EBML header and a
    segment (RFC 8794, RFC 9559).

    Raises:
        OSError: The file can't be read.
    """
    with Path(path).open("rb") as file:
        length = os.fstat(file.fileno()).st_size
        prefix = file.read(12)
        file.seek(0)
        if prefix[4:8] in _MP4_BOXES:
            return Layout("mp4", _mp4_complete(file, length))
        if prefix[:4] == b"RIFF" and prefix[8:12] == b"AVI ":
            return Layout("avi", _avi_complete(file, length))
        if prefix[:4] == _EBML.to_bytes(4, "big"):
            return Layout("matroska", _matroska_complete(file, length))
    return Layout(None, True)


def _mp4_complete(file: BinaryIO, length: int) -> bool:
    position, has_index = 0, False
    while position + 8 <= length:
        file.seek(position)
        header = file.read(16)
        size = int.from_bytes(header[:4], "big")
        has_index |= header[4:8] == b"moov"
        if size == 0:  # up to the end of the file
            break
        if size == 1:
            size = int.from_bytes(header[8:16], "big")
        if size < 8:
            break
        position += size
    return has_index and position <= length


def _avi_complete(file: BinaryIO, length: int) -> bool:
    position = 0
    while position + 8 <= length:
        file.seek(position)
        header = file.read(8)
        size = int.from_bytes(header[4:], "little")
        if header[:4] != b"RIFF" or size == 0:
            break
        position += 8 + size
        if position > length:
            return False
        position += size % 2
    return True


def _matroska_complete(file: BinaryIO, length: int) -> bool:
    position = 0
    while position < length:
        file.seek(position)
        identifier = _vint(file, keep_marker=True)
        size = _vint(file, keep_marker=False)
        if identifier is None or size is None:
            return True
        position = file.tell() + size
        if identifier == _SEGMENT:
            return position <= length
        if identifier != _EBML:
            return True
    return False


def _vint(file: BinaryIO, *, keep_marker: bool) -> int | None:
    """Read an EBML variable-size integer (RFC 8794, 4); None where it is broken or means "unknown"."""
    first = file.read(1)
    if not first or first[0] == 0:
        return None
    count = 8 - first[0].bit_length()
    rest = file.read(count)
    if len(rest) < count:
        return None
    value = int.from_bytes(first + rest, "big")
    if keep_marker:
        return value
    value -= 1 << (7 * (count + 1))
    return None if value == (1 << (7 * (count + 1))) - 1 else value
