import itertools
import threading
import time
import weakref

import numpy as np
import pytest

from coloured_squares import GRAY, RED, Blobs, scene
from fauxface import Scanner, cutting, locator
from fauxface.errors import BundleError, SourceError, VideoError
from fauxface.video import Frame, FrameWriter


def frames(count, color=GRAY, log=None):
    for i in range(count):
        if log is not None:
            log.append(i)
        yield Frame(i, i / 25, scene(color))


def test_live_frames_come_out_at_once(scanner):
    log = []
    stream = scanner.scan_frames(frames(100, log=log), "camera:0", live=True)
    for i in range(3):
        result, image = next(stream)
        assert result.frame == i
        assert image is not None
        assert log == list(range(i + 1))


def test_frames_of_a_file_share_an_inference(scanner):
    results = [result for result, _ in scanner.scan_frames(frames(5, RED), "clip.mp4", batch=4)]
    assert sorted(scanner._classifier.batches) == [1, 4]
    assert [(r.frame, r.time_s, r.source) for r in results] == [(i, i / 25, "clip.mp4") for i in range(5)]


@pytest.mark.parametrize("pictures", [True, False])
def test_frames_are_handed_out_as_rgb(scanner, pictures):
    shown = scene(RED)
    stream = scanner.scan_frames(
        iter([Frame(0, 0.0, shown[..., ::-1].copy(), "BGR")]), "a", pictures=pictures
    )
    ((result, image),) = stream
    assert [face.label for face in result.faces] == ["generated"]
    if pictures:
        np.testing.assert_array_equal(image, shown)
    else:
        assert image is None


def moving(count, size=(320, 240)):
    """A clip of two faces that move and change, and of frames without one, as the decoder gives them."""
    rng = np.random.default_rng(3)
    for i in range(count):
        image = rng.integers(0, 20, (size[1], size[0], 3), np.uint8)
        if i % 9 != 8:
            image[40:120, 30 + 2 * i : 110 + 2 * i] = (40 + 4 * i, 90, 200 - 3 * i)
        yield Frame(i, i / 25, image, "BGR")


def test_no_session_is_opened_for_a_second_video(bundle, monkeypatch):
    scanner, opened = Scanner(bundle, provider="cpu", threads=2), []
    real = locator._open
    monkeypatch.setattr(locator, "_open", lambda *args: opened.append(args[1]) or real(*args))
    for _ in range(2):
        assert len(list(scanner.scan_frames(moving(3), "clip"))) == 3
    assert opened == [1]


@pytest.mark.parametrize("locate_every", [1, 4])
@pytest.mark.parametrize("pictures", [True, False])
@pytest.mark.parametrize("batch", [1, 5, 32])
def test_overlapping_stages_change_nothing(bundle, batch, pictures, locate_every, monkeypatch):
    monkeypatch.setattr(cutting, "HELD_PIXELS", 4 * 320 * 240)
    scanner = Scanner(bundle, provider="cpu", threads=3)
    streams = [
        scanner.scan_frames(
            moving(40), "clip", batch=batch, pictures=pictures, locate_every=locate_every, overlap=overlap
        )
        for overlap in (False, True)
    ]
    for (result, image), (other, other_image) in zip(*streams, strict=True):
        assert result == other
        assert (image is None) == (other_image is None) == (not pictures)
        if image is not None and other_image is not None:
            np.testing.assert_array_equal(image, other_image)
    assert sum(len(r.faces) for r, _ in scanner.scan_frames(moving(40), "clip")) >= 34


def test_videos_can_be_scanned_side_by_side(bundle):
    scanner = Scanner(bundle, provider="cpu", threads=2)
    alone = [result for result, _ in scanner.scan_frames(moving(12), "clip")]
    pairs = zip(*(scanner.scan_frames(moving(12), "clip") for _ in range(3)), strict=True)
    for expected, found in zip(alone, pairs, strict=True):
        assert [result for result, _ in found] == [expected] * 3


@pytest.mark.parametrize("stop", ["close", "drop", "interrupt"])
def test_a_scan_that_stops_early_leaves_no_thread(bundle, stop):
    scanner = Scanner(bundle, provider="cpu", threads=2)
    before = threading.active_count()
    stream = scanner.scan_frames(itertools.cycle(moving(5)), "clip", batch=2)
    next(stream)
    assert threading.active_count() > before
    if stop == "interrupt":
        with pytest.raises(KeyboardInterrupt):
            stream.throw(KeyboardInterrupt())
    elif stop == "close":
        stream.close()
    del stream
    assert threading.active_count() == before


@pytest.mark.parametrize("broken", ["locate", "logits"])
def test_error_of_a_stage_reaches_the_caller(scanner, monkeypatch, broken):
    def fail(*_):
        raise BundleError("broken")

    monkeypatch.setattr(scanner._find._locator if broken == "locate" else scanner._classifier, broken, fail)
    with pytest.raises(BundleError, match="broken"):
        list(scanner.scan_frames(frames(3), "clip"))


def test_few_frames_are_in_memory_at_once(bundle):
    """Whatever the length of the clip: the ones in work, and those between two stages."""
    scanner = Scanner(bundle, provider="cpu", threads=2, locator=Blobs())
    references, peak = [], 0

    class Pixels(np.ndarray):
        pass

    def clip():
        nonlocal peak
        for i in range(120):
            pixels = scene(RED).view(Pixels)
            references.append(weakref.ref(pixels))
            peak = max(peak, sum(reference() is not None for reference in references))
            yield Frame(i, i / 25, pixels)

    assert len(list(scanner.scan_frames(clip(), "clip", pictures=False))) == 120
    assert peak <= 8


@pytest.mark.parametrize("every", [0, -1])
def test_locate_every_below_one_is_refused(scanner, every):
    with pytest.raises(ValueError, match="locate_every"):
        list(scanner.scan_frames(frames(2), "clip", locate_every=every))


def test_frame_without_a_face_has_no_error(scanner):
    stream = scanner.scan_frames(iter([Frame(0, 0.0, np.zeros((90, 90, 3), np.uint8))]), "clip.mp4")
    (result, _) = next(stream)
    assert (result.faces, result.error) == ((), None)


def test_video_that_breaks_off_ends_with_its_error(scanner):
    def broken():
        yield from frames(3)
        raise VideoError("the video ends early")

    results = [result for result, _ in scanner.scan_frames(broken(), "clip.mp4")]
    assert [r.frame for r in results] == [0, 1, 2, None]
    assert results[-1].error is not None
    assert results[-1].error.type == "VideoError"


def failing():
    raise VideoError("no frame could be decoded")
    yield


@pytest.mark.parametrize("stream", [lambda: iter(()), failing])
def test_video_without_frames_is_an_error(scanner, stream):
    with pytest.raises(VideoError, match="no frame"):
        list(scanner.scan_frames(stream(), "clip.mp4"))


@pytest.mark.parametrize(("every", "expected"), [(1, list(range(6))), (2, [0, 2, 4]), (10, [0])])
def test_video_file(scanner, tmp_path, every, expected):
    path = tmp_path / "clip.mp4"
    with FrameWriter(path, 10, (104, 104)) as writer:
        for _ in range(6):
            writer.write(scene(RED))
    results = list(scanner.video(path, every=every))
    assert [r.frame for r in results] == expected
    assert [r.time_s for r in results] == pytest.approx([i / 10 for i in expected])
    assert all(r.faces[0].p_generated > 0.5 for r in results)


@pytest.mark.parametrize(
    ("source", "error"), [("absent.mp4", SourceError), ("", SourceError), ("empty.mp4", VideoError)]
)
def test_video_that_cannot_be_opened(scanner, tmp_path, monkeypatch, source, error):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(error):
        list(scanner.video(source))


@pytest.mark.parametrize("provider", ["openvino", "cuda"])
@pytest.mark.parametrize("pictures", [True, False])
def test_other_providers_are_judged_alike_in_a_pipeline(bundle, provider, pictures):
    """Their sessions can't be made here; what differs is who holds how many cores."""
    alone = Scanner(bundle, provider="cpu", threads=1)
    expected = [result for result, _ in alone.scan_frames(moving(20), "clip", batch=5)]
    scanner = Scanner(bundle, provider="cpu", threads=3)
    scanner.provider = provider
    found = [result for result, _ in scanner.scan_frames(moving(20), "clip", batch=5, pictures=pictures)]
    assert found == expected


@pytest.mark.parametrize("locate_every", [1, 3])
def test_a_locator_of_the_callers_is_never_called_twice_at_once(bundle, locate_every):
    class Alone(Blobs):
        inside = False

        def locate(self, image):
            assert not self.inside
            self.inside = True
            time.sleep(0.002)
            self.inside = False
            return super().locate(image)

    scanner = Scanner(bundle, provider="cpu", threads=3, locator=Alone())
    scanned = scanner.scan_frames(frames(12, RED), "clip", batch=2, locate_every=locate_every)
    for result, image in scanned:
        assert [face.label for face in result.faces] == ["generated"]
        assert [face.label for face in scanner.image(image).faces] == ["generated"]


@pytest.mark.parametrize(
    ("text", "dropped"),
    [("camera:0", True), ("rtsp://h/s", True), ("http://h/a.mjpg", False), ("a ! appsink", False)],
)
def test_what_comes_meanwhile_is_dropped_of_live_sources_alone(bundle, monkeypatch, text, dropped):
    go, ended = threading.Event(), threading.Event()

    class Stream:
        fps, frame_count = 25.0, None

        def __init__(self, *_, **__):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def __iter__(self):
            yield Frame(0, 0.0, scene(RED))
            go.wait(5)
            yield from (Frame(i, i / 25, scene(RED)) for i in range(1, 6))
            ended.set()

    monkeypatch.setattr("fauxface.scanner.FrameReader", Stream)
    stream = Scanner(bundle, provider="cpu", threads=1, locator=Blobs()).video(text)
    found = [next(stream).frame]
    go.set()
    assert not dropped or ended.wait(5)
    assert found + [result.frame for result in stream] == ([0, 5] if dropped else list(range(6)))


def test_what_was_taken_before_an_error_is_judged(bundle):
    def broken():
        yield from frames(3, RED)
        raise ValueError("no more")

    stream = Scanner(bundle, provider="cpu", threads=1, locator=Blobs()).scan_frames(broken(), "a", batch=8)
    found = []
    with pytest.raises(ValueError, match="no more"):
        found.extend(result.frame for result, _ in stream)
    assert found == [0, 1, 2]
