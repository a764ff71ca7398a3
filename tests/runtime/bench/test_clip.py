from pathlib import Path

import numpy as np
import pytest

from fauxface.bench.clip import Clip, VideoLoad, demo_clip, open_scanner
from fauxface.bench.results import Configuration
from fauxface.bundle import Bundle
from fauxface.errors import VideoError
from fauxface.locator import Location
from fauxface.results import Face, Result
from fauxface.video import FrameWriter

TINY = Path(__file__).parents[2] / "data" / "tiny_bundle"
BOX = (10.0, 10.0, 40.0, 40.0)


@pytest.fixture
def clip(tmp_path):
    with FrameWriter(tmp_path / "clip.mp4", 10, (64, 48)) as writer:
        for value in (0, 40, 80, 120, 160, 200):
            writer.write(np.full((48, 64, 3), value, np.uint8))
    return Clip.probe(tmp_path / "clip.mp4", 4)


class Part:
    """Locator and judge with times of their own; the first frame shows no face."""

    def __init__(self, clock):
        self.clock = clock

    def locate(self, image):
        self.clock.advance(0.004)
        return [] if image.mean() < 20 else [Location(BOX, (), 0.9)] * 2

    def crop(self, scenes):
        self.clock.advance(0.001 * len(scenes))
        return np.zeros((len(scenes), 128, 128, 3), np.uint8)

    def classify(self, crops, boxes):
        self.clock.advance(0.010 * len(boxes))


class FakeScanner:
    """Takes 5 ms per frame and gives two faces; with `live` false, verdicts come only at the end."""

    def __init__(self, clock):
        self.clock, self.calls = clock, []

    def scan_frames(self, frames, source, *, live=False, pictures=True):
        assert not pictures, "a scan that draws nothing needs no RGB picture"
        self.calls.append(live)
        face = Face(BOX, (), 0.9, 0.5, "unsure", "x", 40)
        held = []
        for frame in frames:
            self.clock.advance(0.005)
            held.append((Result(source, frame.index, frame.time_s, None, (face, face), "m"), frame.image))
            if live:
                yield held.pop()
        yield from held


def test_probe_counts_what_is_there(clip, tmp_path):
    assert (clip.name, clip.width, clip.height, clip.frames) == ("clip.mp4", 64, 48, 4)
    assert Clip.probe(tmp_path / "clip.mp4", 100).frames == 6
    assert [frame.index for frame in clip.read()] == [0, 1, 2, 3]
    assert len(clip.images(2)) == 2
    assert len(clip.images(8)) == 4


def test_a_round_times_end_to_end_each_stage_and_live_frames(clip, clock):
    scanner, part = FakeScanner(clock), Part(clock)
    load = VideoLoad(clip, scanner, part, part, clock)
    measured = load.round()
    assert scanner.calls == [False, True]
    assert (measured.faces, measured.elapsed_s) == (8, pytest.approx(0.020))
    assert measured.stages_ms == pytest.approx({"decode": 0, "locate": 4, "crop": 1.5, "classify": 15})
    assert measured.ages_ms == pytest.approx((5, 5, 5, 5))


def test_the_warm_up_repeats_a_quarter_until_it_is_stable(clip, clock):
    scanner, part = FakeScanner(clock), Part(clock)
    warm = VideoLoad(clip, scanner, part, part, clock).warm_up()
    assert warm.stable
    assert warm.seconds == pytest.approx(0.005 * warm.queries), "one frame of four each time"
    assert scanner.calls == [False] * warm.queries


def test_decoding_is_a_stage(clip, clock, monkeypatch):
    real = Clip.read

    def slow(self, threads=None, most=None):
        for frame in real(self, threads, most):
            clock.advance(0.007)
            yield frame

    monkeypatch.setattr(Clip, "read", slow)
    part = Part(clock)
    measured = VideoLoad(clip, FakeScanner(clock), part, part, clock).round()
    assert measured.stages_ms["decode"] == pytest.approx(7)
    assert measured.elapsed_s == pytest.approx(4 * 0.012)
    assert measured.ages_ms == pytest.approx((5, 5, 5, 5))


@pytest.mark.parametrize("data", [b"", b"no video at all"])
def test_a_clip_without_frames_is_refused(tmp_path, data):
    (tmp_path / "a.mp4").write_bytes(data)
    with pytest.raises(VideoError):
        Clip.probe(tmp_path / "a.mp4", 4)


def test_a_missing_clip_is_refused(tmp_path):
    with pytest.raises(VideoError, match="no such file"):
        Clip.probe(tmp_path / "a.mp4", 4)


def test_the_demo_s_clip_comes_with_the_package(tmp_path):
    clip = demo_clip(tmp_path, 3)
    assert (clip.name, clip.width, clip.height, clip.frames) == ("demo clip", 640, 480, 3)


def test_the_scanner_has_the_configuration(variant_bundle):
    for precision in ("fp32", "int8"):
        scanner = open_scanner(Bundle.load(variant_bundle), Configuration("cpu", precision, 1))
        assert (scanner.provider, scanner.precision, scanner.threads) == ("cpu", precision, 1)
