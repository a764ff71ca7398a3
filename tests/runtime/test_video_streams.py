"""Cameras, streams and pipelines, with captures that stand in for them."""

import socket
import time

import cv2
import numpy as np
import pytest

from fauxface import captures, video
from fauxface.errors import VideoError
from fauxface.sources import Kind, Source
from fauxface.video import FrameReader
from scan_files import read

WIDTH, HEIGHT = 96, 64


class Pipeline:
    """A capture that delivers given arrays."""

    def __init__(self, *arrays):
        self.arrays = list(arrays)

    def isOpened(self):  # noqa: N802
        return True

    def get(self, number):
        return {cv2.CAP_PROP_FRAME_WIDTH: WIDTH, cv2.CAP_PROP_FRAME_HEIGHT: HEIGHT}.get(number, 0)

    def grab(self):
        return bool(self.arrays)

    def retrieve(self):
        return True, self.arrays.pop(0)

    def release(self):
        pass


GRADIENT = np.tile(np.arange(WIDTH, dtype=np.uint8), (HEIGHT, 1))


BGRA = np.dstack([GRADIENT, GRADIENT + 1, GRADIENT + 2, np.zeros_like(GRADIENT)])


@pytest.mark.parametrize(
    ("array", "rgb"),
    [
        (GRADIENT, np.dstack([GRADIENT] * 3)),
        (GRADIENT[:, :, None], np.dstack([GRADIENT] * 3)),
        (BGRA, BGRA[:, :, 2::-1]),
        (BGRA[:, :, :3], BGRA[:, :, 2::-1]),
    ],
)
def test_pipelines_may_deliver_gray_or_four_channels(monkeypatch, array, rgb):
    monkeypatch.setattr(video, "open_capture", lambda *_: Pipeline(array))
    frames, error = read(Source(Kind.GSTREAMER, "a ! appsink"))
    assert error is None
    np.testing.assert_array_equal(frames[0].image, rgb)


@pytest.mark.parametrize(
    "array",
    [GRADIENT.astype(np.uint16), np.zeros((HEIGHT * 3 // 2, WIDTH), np.uint8), BGRA[:, :, :2]],
    ids=["GRAY16", "I420", "two channels"],
)
def test_pipelines_that_deliver_no_pictures_are_refused(monkeypatch, array):
    monkeypatch.setattr(video, "open_capture", lambda *_: Pipeline(array))
    frames, error = read(Source(Kind.GSTREAMER, "a ! appsink"))
    assert frames == []
    assert error is not None
    assert "end the pipeline with videoconvert" in error


SOURCES = [
    (Kind.CAMERA, "camera:9876", "camera can't be opened"),
    (Kind.URL, "rtsp://user:secret@127.0.0.1:9/a", r"user:\*\*\*@127.0.0.1:9/a: the stream can't be opened"),
    (Kind.URL, "http://127.0.0.1:9/a.mp4", "stream can't be opened"),
    (Kind.FOLDER, "photos", "has no frames"),
    (Kind.STDIN, "-", "has no frames"),
]


@pytest.mark.parametrize(("kind", "text", "message"), SOURCES, ids=[case[1] for case in SOURCES])
def test_sources_that_do_not_open_say_why(kind, text, message):
    with pytest.raises(VideoError, match=message) as caught:
        FrameReader(Source(kind, text))
    assert "secret" not in str(caught.value)


def test_gstreamer_needs_a_build_that_has_it(monkeypatch):
    monkeypatch.setattr(cv2.videoio_registry, "hasBackend", lambda api: api != cv2.CAP_GSTREAMER)
    with pytest.raises(VideoError, match="no GStreamer"):
        FrameReader(Source(Kind.GSTREAMER, "videotestsrc ! appsink"))


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("camera:2", []),
        (
            f"camera:2@{WIDTH}x{HEIGHT}",
            [cv2.CAP_PROP_FRAME_WIDTH, WIDTH, cv2.CAP_PROP_FRAME_HEIGHT, HEIGHT],
        ),
    ],
)
def test_a_camera_is_asked_for_a_size(text, asked, monkeypatch):
    opened = []
    monkeypatch.setattr(
        cv2, "VideoCapture", lambda index, _, options: opened.append((index, options)) or Pipeline()
    )
    with FrameReader(Source(Kind.CAMERA, text)) as reader:
        assert (reader.width, reader.height) == (WIDTH, HEIGHT)
    assert opened == [(2, asked)]


def test_a_camera_without_the_size_is_an_error(monkeypatch):
    monkeypatch.setattr(video, "open_capture", lambda *_: Pipeline())
    with pytest.raises(VideoError, match=f"gives {WIDTH}x{HEIGHT} instead; ask for a size that it has"):
        FrameReader(Source(Kind.CAMERA, "camera:0@1920x1080"))


@pytest.mark.parametrize(("length", "failed"), [(0, True), (2, False)])
def test_http_stream_without_a_length_that_stops_is_an_error(length, failed, monkeypatch):
    capture = Pipeline(BGRA[:, :, :3], BGRA[:, :, :3])
    get = capture.get
    monkeypatch.setattr(capture, "get", lambda n: length if n == cv2.CAP_PROP_FRAME_COUNT else get(n))
    monkeypatch.setattr(video, "open_capture", lambda *_: capture)
    frames, error = read(Source(Kind.URL, "http://cam/video.mjpg"))
    assert len(frames) == 2
    assert (error is not None and "stopped delivering after 2 frames" in error) == failed


@pytest.mark.parametrize(
    ("codec", "expected"),
    [("MJPG", [0.0, 0.25, 0.5]), ("H264", [0.04, 0.04, 0.04])],
)
def test_pictures_over_http_are_timed_by_the_clock(codec, expected, monkeypatch):
    """FFmpeg makes up 25 per second for what a camera sends as multipart/x-mixed-replace."""
    capture = Pipeline(*[BGRA[:, :, :3]] * 3)
    said = {
        cv2.CAP_PROP_FOURCC: cv2.VideoWriter.fourcc(*codec),
        cv2.CAP_PROP_POS_MSEC: 40,
        cv2.CAP_PROP_FPS: 25,
    }
    get = capture.get
    monkeypatch.setattr(capture, "get", lambda n: said.get(n, get(n)))
    monkeypatch.setattr(video, "open_capture", lambda *_: capture)
    monkeypatch.setattr(video.time, "monotonic", lambda: 10 + 0.25 * max(0, 2 - len(capture.arrays)))
    frames, _ = read(Source(Kind.URL, "http://cam/video.mjpg"))
    assert [frame.time_s for frame in frames] == pytest.approx(expected)


@pytest.mark.parametrize("kind", [Kind.URL, Kind.GSTREAMER])
def test_text_that_is_no_utf8_is_refused_before_opencv_takes_it(kind):
    with pytest.raises(VideoError, match=r"isn't UTF-8; write it percent-encoded$"):
        FrameReader(Source(kind, "http://127.0.0.1:1/\udcff.mp4"))


@pytest.mark.parametrize(
    ("positions", "times"),
    [
        ([0, 600, 1200, 20, 60, 100], [0, 0.6, 1.2, 1.24, 1.28, 1.32]),
        ([0, 40, 9e6, 120, 160], [0, 0.04, 9000, 9000.04, 9000.08]),
        ([0, 80, 40, 120], [0, 0.08, 0.08, 0.12]),
        ([0, 600, 1200, 0, 40, 80, 1200, 0, 40], [0, 0.6, 1.2, 1.24, 1.28, 1.32, 2.44, 2.48, 2.52]),
        ([0, 0, 0, 0], [0, 0.04, 0.08, 0.12]),
    ],
    ids=["joined recordings", "one absurd time", "a little out of order", "joined at 0", "none known"],
)
@pytest.mark.parametrize("every", [1, 3])
def test_times_that_jump_back_go_on(positions, times, every, tmp_path, monkeypatch):
    (tmp_path / "clip.mp4").write_bytes(b"opened by the capture below")
    capture, now = Pipeline(*[BGRA[:, :, :3]] * len(positions)), iter(positions)

    def grab():
        fixed[cv2.CAP_PROP_POS_MSEC] = position = next(now, None)
        return position is not None

    fixed = {cv2.CAP_PROP_FPS: 25, cv2.CAP_PROP_FRAME_WIDTH: WIDTH, cv2.CAP_PROP_FRAME_HEIGHT: HEIGHT}
    monkeypatch.setattr(capture, "grab", grab)
    monkeypatch.setattr(capture, "get", lambda n: fixed.get(n, 0))
    monkeypatch.setattr(video, "open_capture", lambda *_: capture)
    with FrameReader(tmp_path / "clip.mp4", every=every) as reader:
        assert [frame.time_s for frame in reader] == pytest.approx(times[::every])


def test_a_stream_from_which_nothing_comes_is_asked_once(monkeypatch):
    capture, asked, now = Pipeline(BGRA[:, :, :3]), [], [0.0]

    def grab():
        asked.append(1)
        now[0] += 0 if capture.arrays else 10
        return bool(capture.arrays)

    monkeypatch.setattr(capture, "grab", grab)
    monkeypatch.setattr(video.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(video, "open_capture", lambda *_: capture)
    frames, error = read(Source(Kind.URL, "rtsp://cam/1"))
    assert (len(frames), len(asked)) == (1, 2)
    assert error is not None
    assert "stopped delivering after 1 frames" in error


def test_a_url_that_does_not_answer_is_given_up(monkeypatch):
    monkeypatch.setattr(captures, "STREAM_TIMEOUT_MS", 300)
    monkeypatch.setenv("no_proxy", "*")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        start = time.monotonic()
        with pytest.raises(VideoError, match="can't be opened"):
            FrameReader(Source(Kind.URL, f"http://127.0.0.1:{silent.getsockname()[1]}/a.mp4"))
    assert time.monotonic() - start < 10
