"""Files of a variable rate, which announce more frames than they have."""

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from scan_files import read


def slowed(flv: bytes, times: int) -> bytes:
    """Return an FLV whose frames last so many times as long, while it announces the old rate."""
    made, position = bytearray(flv), 13
    while position + 11 <= len(made):
        size = int.from_bytes(made[position + 1 : position + 4])
        at = times * int.from_bytes(made[position + 7 : position + 8] + made[position + 4 : position + 7])
        made[position + 4 : position + 8] = at.to_bytes(4)[1:] + at.to_bytes(4)[:1]
        position += 11 + size + 4
    place = made.index(b"duration") + 9
    (seconds,) = struct.unpack(">d", made[place : place + 8])
    made[place : place + 8] = struct.pack(">d", times * seconds)
    return bytes(made)


@pytest.mark.parametrize(("times", "left", "whole"), [(1, 1, True), (3, 1, True), (3, 0.5, False)])
def test_a_slower_rate_than_announced_is_no_early_end(tmp_path: Path, times: int, left: float, whole: bool):
    path = tmp_path / "clip.flv"
    codec = cv2.VideoWriter.fourcc(*"FLV1")
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, codec, 30, (64, 48))
    for number in range(40):
        writer.write(np.full((48, 64, 3), 6 * number, np.uint8))
    writer.release()
    data = slowed(path.read_bytes(), times)
    path.write_bytes(data[: int(left * len(data))])
    frames, error = read(path)
    assert (len(frames) == 40, error is None) == (whole, whole)
    assert error is None or f"ends early, after {len(frames)} frames of about 120" in error
