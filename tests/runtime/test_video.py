import os
import struct
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from fauxface import captures, video
from fauxface.containers import inspect
from fauxface.errors import VideoError
from fauxface.sources import Kind, Source
from fauxface.video import FrameReader, FrameWriter
from scan_files import read

WIDTH, HEIGHT, COUNT, FPS = 96, 64, 24, 12.5
TOP_LEFT, TOP_RIGHT, BOTTOM_LEFT, BOTTOM_RIGHT = (220, 30, 40), (30, 200, 60), (40, 60, 230), (230, 230, 30)


def picture(index: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """Four coloured quarters; a bar of textured gray at the bottom counts the frames."""
    image = np.empty((height, width, 3), np.uint8)
    half_w, half_h = width // 2, height // 2
    image[:half_h, :half_w], image[:half_h, half_w:] = TOP_LEFT, TOP_RIGHT
    image[half_h:, :half_w], image[half_h:, half_w:] = BOTTOM_LEFT, BOTTOM_RIGHT
    noise = np.random.default_rng(index).integers(0, 256, (8, width, 1), dtype=np.uint8)
    image[-8:] = noise
    return image


def make(path: Path, count: int = COUNT) -> Path:
    if path.suffix == ".mp4":
        with FrameWriter(path, FPS, (WIDTH, HEIGHT)) as writer:
            for index in range(count):
                writer.write(picture(index))
        return path
    codec = cv2.VideoWriter.fourcc(*("MJPG" if path.suffix == ".avi" else "mp4v"))
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, codec, FPS, (WIDTH, HEIGHT))
    assert writer.isOpened()
    for index in range(count):
        writer.write(picture(index)[:, :, ::-1].copy())
    writer.release()
    return path


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("clips")
    found = {suffix: make(folder / f"clip{suffix}").read_bytes() for suffix in (".mp4", ".avi", ".mkv")}
    return found | {"front.mp4": index_in_front(found[".mp4"])}


def boxes(data: bytes) -> list[tuple[bytes, bytes]]:
    found, position = [], 0
    while position < len(data):
        size = int.from_bytes(data[position : position + 4], "big")
        found.append((data[position + 4 : position + 8], data[position : position + size]))
        position += size
    return found


def index_in_front(data: bytes) -> bytes:
    """Move an mp4's index before its pictures, as "faststart" does, and shift the offsets that it holds."""
    parts = boxes(data)
    index = bytearray(next(body for kind, body in parts if kind == b"moov"))
    shift = len(index)
    start = index.index(b"stco") + 8
    for entry in range(int.from_bytes(index[start : start + 4], "big")):
        at = start + 4 + 4 * entry
        struct.pack_into(">I", index, at, int.from_bytes(index[at : at + 4], "big") + shift)
    rest = b"".join(body for kind, body in parts if kind not in (b"moov", b"ftyp"))
    return parts[0][1] + bytes(index) + rest


def rotated(data: bytes, degrees: int) -> bytes:
    """Set the rotation in an mp4's track header: phones store upright clips sideways."""
    data = bytearray(data)
    a, b, c, d = {90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}[degrees]
    matrix = data.index(b"tkhd") + 4 + 40
    struct.pack_into(">9i", data, matrix, *(v << 16 for v in (a, b, 0, c, d, 0, 0, 0)), 1 << 30)
    return bytes(data)


@pytest.mark.parametrize("name", [".mp4", ".avi", ".mkv", "front.mp4"])
def test_frames_come_in_order_as_rgb(tmp_path, clips, name):
    path = tmp_path / f"clip{name}"
    path.write_bytes(clips[name])
    with FrameReader(path) as reader:
        assert (reader.width, reader.height, reader.frame_count) == (WIDTH, HEIGHT, COUNT)
        assert reader.fps == pytest.approx(FPS, rel=1e-3)
        frames = list(reader)
    assert [frame.index for frame in frames] == list(range(COUNT))
    assert [frame.time_s for frame in frames] == pytest.approx([i / FPS for i in range(COUNT)], abs=2e-3)
    for frame in frames:
        assert frame.image.dtype == np.uint8
        assert frame.image.shape == (HEIGHT, WIDTH, 3)
        assert np.abs(frame.image[4:28, 4:44].astype(int) - TOP_LEFT).max() < 16
        assert np.abs(frame.image[4:28, 52:92].astype(int) - TOP_RIGHT).max() < 16
    noise = [np.abs(frame.image[-7:].astype(int) - picture(frame.index)[-7:]).mean() for frame in frames]
    other = np.abs(frames[0].image[-7:].astype(int) - picture(1)[-7:]).mean()
    assert max(noise) < other / 2


@pytest.mark.parametrize("every", [1, 2, 7, COUNT, 1000])
def test_every_skips_without_renumbering(tmp_path, clips, every):
    path = tmp_path / "clip.mp4"
    path.write_bytes(clips[".mp4"])
    frames, error = read(path, every=every)
    everything, _ = read(path)
    assert error is None
    assert [frame.index for frame in frames] == list(range(0, COUNT, every))
    for frame in frames:
        assert frame.time_s == everything[frame.index].time_s
        np.testing.assert_array_equal(frame.image, everything[frame.index].image)


def test_skipped_frames_are_not_retrieved(tmp_path, clips, monkeypatch):
    path = tmp_path / "clip.mp4"
    path.write_bytes(clips[".mp4"])
    with FrameReader(path, every=10) as reader:
        calls = []
        capture = reader._capture

        class Counting:
            def __getattr__(self, name):
                calls.append(name)
                return getattr(capture, name)

        monkeypatch.setattr(reader, "_capture", Counting())
        assert len(list(reader)) == 3
        assert calls.count("retrieve") == 3
        assert calls.count("grab") == COUNT + 1 + video._MOST_LOST


@pytest.mark.parametrize(
    ("degrees", "corners"),
    [
        (90, (BOTTOM_LEFT, TOP_LEFT, BOTTOM_RIGHT, TOP_RIGHT)),
        (180, (BOTTOM_RIGHT, BOTTOM_LEFT, TOP_RIGHT, TOP_LEFT)),
        (270, (TOP_RIGHT, BOTTOM_RIGHT, TOP_LEFT, BOTTOM_LEFT)),
    ],
)
def test_rotation_is_applied(tmp_path, clips, degrees, corners):
    path = tmp_path / "clip.mp4"
    path.write_bytes(rotated(clips[".mp4"], degrees))
    with FrameReader(path) as reader:
        frame = next(iter(reader))
        height, width = frame.image.shape[:2]
        assert (reader.width, reader.height) == (width, height)
    assert (width, height) == ((HEIGHT, WIDTH) if degrees != 180 else (WIDTH, HEIGHT))
    places = [(12, 12), (12, width - 13), (height - 13, 12), (height - 13, width - 13)]
    for (row, column), colour in zip(places, corners, strict=True):
        assert np.abs(frame.image[row, column].astype(int) - colour).max() < 24


@pytest.mark.parametrize("name", [".avi", ".mkv", "front.mp4"])
@pytest.mark.parametrize("left", [0.6, 0.95])
def test_cut_file_yields_what_it_has_and_then_fails(tmp_path, clips, name, left):
    path = tmp_path / f"clip{name}"
    path.write_bytes(clips[name][: int(len(clips[name]) * left)])
    frames, error = read(path)
    assert 0 < len(frames) <= COUNT
    assert len(frames) >= COUNT * left / 2
    assert (
        error == f"{path}: the video ends early, after {len(frames)} frames of about {COUNT}; copy it again"
    )
    assert [frame.index for frame in frames] == list(range(len(frames)))


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        (".mp4", lambda data: data + b"\x7f\xff\xff\xffVEND notes of a camera"),
        (".avi", lambda data: data[:4] + struct.pack("<I", len(data) + 1000) + data[8:]),
    ],
)
def test_whole_file_whose_container_announces_more_is_no_error(tmp_path, clips, name, damage):
    path = tmp_path / f"clip{name}"
    path.write_bytes(damage(clips[name]))
    assert not inspect(path).complete
    frames, error = read(path)
    assert (len(frames), error) == (COUNT, None)


@pytest.mark.parametrize(
    "name", ["2026-01-31T10:30:00.mp4", "rtsp:a.mp4", os.fsdecode(b"caf\xe9.mp4"), "a b.mp4"]
)
def test_any_file_name_is_read(tmp_path, clips, monkeypatch, name):
    """FFmpeg takes what precedes a colon for a protocol, and OpenCV crashes on names that aren't UTF-8."""
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(clips[".mp4"])
    frames, error = read(Path(name))
    assert (len(frames), error) == (COUNT, None)


def test_stream_without_announced_end_is_judged_by_its_frame_count(tmp_path, clips, monkeypatch):
    from fauxface import containers

    path = tmp_path / "clip.avi"
    path.write_bytes(clips[".avi"][: len(clips[".avi"]) * 6 // 10])
    monkeypatch.setattr(captures, "inspect", lambda _: containers.Layout(None, True))
    frames, error = read(path)
    assert len(frames) < 0.8 * COUNT
    assert error is not None
    assert "ends early" in error
    path.write_bytes(clips[".avi"])
    assert read(path)[1] is None


def damaged(data: bytes, mark: bytes, number: int, count: int) -> bytes:
    """Overwrite a frame's first bytes, from the codec's mark on, without which it can't be decoded."""
    at = -1
    for _ in range(number + 1):
        at = data.index(mark, at + 1)
    return data[:at] + b"\xee" * count + data[at + count :]


@pytest.mark.parametrize(
    ("name", "mark", "count"),
    [(".mp4", b"\0\0\1\xb6", 4), (".mkv", b"\0\0\1\xb6", 4), (".avi", b"\xff\xd8\xff", 600)],
    ids=["mp4", "mkv", "avi"],
)
@pytest.mark.parametrize("threads", [1, 3])
def test_a_frame_that_cannot_be_decoded_does_not_end_a_video(tmp_path, clips, name, mark, count, threads):
    path = tmp_path / f"clip{name}"
    path.write_bytes(damaged(clips[name], mark, 10, count))
    frames, error = read(path, threads=threads)
    assert [frame.index for frame in frames] == [i for i in range(COUNT) if i != 10]
    assert [frame.time_s for frame in frames] == pytest.approx([f.index / FPS for f in frames], abs=2e-3)
    assert error == f"{path}: 1 of its {COUNT} frames can't be decoded; copy it again"


def with_pixels(data: bytes, wide: int, high: int) -> bytes:
    """Say in an mp4 that its pixels aren't square: a `pasp` box at the end of the picture's sample entry."""
    data = bytearray(data)
    entry = data.index(b"stsd") + 12
    end = entry + int.from_bytes(data[entry : entry + 4], "big")
    data[end:end] = struct.pack(">I4sII", 16, b"pasp", wide, high)
    for at in (
        entry,
        *(data.index(name) - 4 for name in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd")),
    ):
        struct.pack_into(">I", data, at, int.from_bytes(data[at : at + 4], "big") + 16)
    return bytes(data)


@pytest.mark.parametrize(
    ("ratio", "degrees", "size"),
    [
        ((4, 3), 0, (128, 64)),
        ((3, 4), 0, (72, 64)),
        ((4, 3), 90, (64, 128)),
        ((1, 1), 0, (WIDTH, HEIGHT)),
        ((100, 1), 0, (WIDTH, HEIGHT)),
    ],
)
def test_pixels_that_are_not_square_are_made_so(tmp_path, clips, ratio, degrees, size):
    path = tmp_path / "clip.mp4"
    path.write_bytes(with_pixels(rotated(clips[".mp4"], degrees) if degrees else clips[".mp4"], *ratio))
    with FrameReader(path) as reader:
        frames = list(reader)
        assert (reader.width, reader.height) == size
    assert len(frames) == COUNT
    assert frames[0].image.shape == (size[1], size[0], 3)
    if not degrees:
        assert np.abs(frames[0].image[4:28, size[0] // 2 + 8 : -8].astype(int) - TOP_RIGHT).max() < 16


@pytest.mark.parametrize(
    ("kind", "text", "given", "used"),
    [
        (Kind.URL, "rtsp://camera/1", None, 4),
        (Kind.URL, "rtsp://camera/1", 2, 2),
        (Kind.URL, "http://host/a.mp4", 8, 8),
        (Kind.URL, "http://host/a.mp4", None, 0),
        (Kind.VIDEO, "a.mp4", 8, 8),
    ],
)
def test_few_threads_decode_a_live_stream(monkeypatch, kind, text, given, used):
    """Each holds a frame back, which of a camera with one frame per second takes a second."""
    opened = []
    monkeypatch.setattr(captures.cv2, "VideoCapture", lambda *arguments: opened.append(arguments))
    monkeypatch.setattr(captures, "available_cores", lambda: 16)
    captures.open_capture(Source(kind, text), given)
    asked = opened[0][2]
    said = dict(zip(asked[::2], asked[1::2], strict=True))
    assert said[cv2.CAP_PROP_N_THREADS] == used
    waits = 10_000 if kind is Kind.URL else None
    assert said.get(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC) == said.get(cv2.CAP_PROP_READ_TIMEOUT_MSEC) == waits


def test_a_scheme_is_given_to_ffmpeg_as_it_knows_it(monkeypatch):
    opened = []
    monkeypatch.setattr(captures.cv2, "VideoCapture", lambda *arguments: opened.append(arguments[0]))
    captures.open_capture(Source(Kind.URL, "RTSP://Camera/Stream"), None)
    assert opened == ["rtsp://Camera/Stream"]


def test_trimmed_mp4_that_announces_more_frames_is_no_error(tmp_path, clips):
    """A sample count in the index beyond what plays isn't a cut: all bytes are there."""
    path = tmp_path / "clip.mp4"
    path.write_bytes(clips[".mp4"])
    with FrameReader(path) as reader:
        reader.frame_count = 10 * COUNT
        assert len(list(reader)) == COUNT


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no such file"),
        ("folder", "is a folder"),
        (b"", "is empty"),
        (b"no video at all " * 100, "is not a readable video"),
        ("no index", "cut off before its index"),
        ("no frames", "no frame could be decoded|not a readable video"),
    ],
)
def test_unreadable_files_say_why(tmp_path, clips, content, message):
    path = tmp_path / "clip.mp4"
    if content == "folder":
        path.mkdir()
    elif content == "no index":
        path.write_bytes(clips[".mp4"][: len(clips[".mp4"]) // 2])
    elif content == "no frames":
        front = clips["front.mp4"]
        path.write_bytes(front[: front.index(b"mdat") + 4])
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(VideoError, match=message) as caught, FrameReader(path) as reader:
        list(reader)
    assert str(caught.value).startswith(f"{path}: ")
    assert str(caught.value).isprintable()


def test_locked_file_says_so(tmp_path, clips, monkeypatch):
    path = tmp_path / "clip.mp4"
    path.write_bytes(clips[".mp4"])

    def refuse(_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(captures, "inspect", refuse)
    with pytest.raises(VideoError, match="permission denied"):
        FrameReader(path)


def test_live_source_that_stops_is_an_error(tmp_path, clips, monkeypatch):
    path = tmp_path / "clip.mp4"
    path.write_bytes(clips[".mp4"])
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    monkeypatch.setattr(video, "open_capture", lambda *_: capture)
    frames, error = read(Source(Kind.CAMERA, "camera:0"))
    assert len(frames) == COUNT
    assert error == f"camera:0: stopped delivering after {COUNT} frames; check the camera or the network"
    times = [frame.time_s for frame in frames]
    assert times == sorted(times)
    assert 0 <= times[0] < 1


def test_every_must_be_positive(tmp_path):
    with pytest.raises(ValueError, match="every"):
        FrameReader(tmp_path / "clip.mp4", every=0)


def test_closed_reader_yields_nothing(tmp_path, clips):
    path = tmp_path / "clip.mp4"
    path.write_bytes(clips[".mp4"])
    reader = FrameReader(path)
    frames = iter(reader)
    assert next(frames).index == 0
    reader.close()
    assert list(frames) == []


def test_libraries_write_nothing_to_standard_error(tmp_path, clips):
    (tmp_path / "cut.mp4").write_bytes(clips[".mp4"][:3000])
    (tmp_path / "cut.avi").write_bytes(clips[".avi"][:9000])
    (tmp_path / "junk.mkv").write_bytes(b"junk" * 500)
    code = """
import sys
from fauxface.errors import FauxfaceError
from fauxface.sources import Kind, Source
from fauxface.video import FrameReader
for text in ("cut.mp4", "cut.avi", "junk.mkv"):
    try:
        list(FrameReader(text))
    except FauxfaceError as error:
        print(error)
for source in (Source(Kind.CAMERA, "camera:9876"), Source(Kind.URL, "http://127.0.0.1:9/a.mp4")):
    try:
        FrameReader(source)
    except FauxfaceError as error:
        print(error)
"""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OPENCV_")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 5


def test_log_levels_are_restored(tmp_path, clips, monkeypatch):
    path = tmp_path / "clip.mp4"
    path.write_bytes(clips[".mp4"])
    monkeypatch.delenv("OPENCV_FFMPEG_LOGLEVEL", raising=False)
    before = cv2.utils.logging.getLogLevel()
    read(path)
    assert cv2.utils.logging.getLogLevel() == before
    assert "OPENCV_FFMPEG_LOGLEVEL" not in os.environ
    monkeypatch.setenv("OPENCV_FFMPEG_LOGLEVEL", "16")
    read(path)
    assert os.environ["OPENCV_FFMPEG_LOGLEVEL"] == "16"


def test_log_levels_outlast_threads_that_overlap(monkeypatch):
    monkeypatch.delenv("OPENCV_FFMPEG_LOGLEVEL", raising=False)
    before = cv2.utils.logging.getLogLevel()
    first, second = captures.quiet(), captures.quiet()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert cv2.utils.logging.getLogLevel() == cv2.utils.logging.LOG_LEVEL_SILENT
    second.__exit__(None, None, None)
    assert cv2.utils.logging.getLogLevel() == before
    assert "OPENCV_FFMPEG_LOGLEVEL" not in os.environ
