"""Files of a variable rate, which announce more frames than they have; and a file over HTTP."""

import functools
import http.server
import struct
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from fauxface.sources import Kind, Source
from fauxface.video import FrameWriter
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


def test_a_clip_is_read_over_http(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(http.server.SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    with FrameWriter(tmp_path / "clip.mp4", 10, (64, 48)) as writer:
        for number in range(12):
            writer.write(np.full((48, 64, 3), 20 * number, np.uint8))
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        frames, error = read(Source(Kind.URL, f"http://127.0.0.1:{server.server_port}/clip.mp4"))
        server.shutdown()
    assert (len(frames), error) == (12, None)
