import dataclasses
import time
from pathlib import Path

import numpy as np
import pytest

from fauxface.bench import clip as clips
from fauxface.bench.clip import Clip, VideoLoad, demo_clip, open_scanner, paced
from fauxface.bench.configurations import Configuration
from fauxface.bundle import Bundle
from fauxface.errors import VideoError
from fauxface.locator import Location
from fauxface.results import Face, Result
from fauxface.video import FALLBACK_FPS, FrameReader, FrameWriter

TINY = Path(__file__).parents[2] / "data" / "tiny_bundle"
BOX = (10.0, 10.0, 40.0, 40.0)


@pytest.fixture
def clip(tmp_path):
    with FrameWriter(tmp_path / "clip.mp4", 10, (64, 48)) as writer:
        for value in (0, 40, 80, 120, 160, 200):
            writer.write(np.full((48, 64, 3), value, np.uint8))
    return Clip.probe(tmp_path / "clip.mp4", 4)


@pytest.mark.parametrize("said", [None, 1000.0, 90_000.0])
def test_a_rate_that_no_camera_has_is_not_taken(clip, monkeypatch, said):
    class Reader(FrameReader):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            self.fps = said

    monkeypatch.setattr(clips, "FrameReader", Reader)
    assert Clip.probe(clip.path, 4).fps == FALLBACK_FPS


class Part:
    """Locator and judge with times of their own; the first frame shows no face."""

    def __init__(self, clock):
        self.clock = clock

    def locate(self, image):
        self.clock.advance(0.004)
        return [] if image.mean() < 20 else [Location(BOX, (), 0.9)] * 2

    def crop_frame(self, frame, places):
        self.clock.advance(0.001 * len(places))
        return np.zeros((len(places), 128, 128, 3), np.uint8)

    def classify(self, crops, places):
        self.clock.advance(0.010 * len(places))


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
    assert (clip.name, clip.width, clip.height, clip.frames, clip.fps) == ("clip.mp4", 64, 48, 4, 10)
    assert Clip.probe(tmp_path / "clip.mp4", 100).frames == 6
    assert [frame.index for frame in clip.read()] == [0, 1, 2, 3]
    assert len(clip.images(2)) == 2
    assert len(clip.images(8)) == 4


def test_a_round_times_end_to_end_each_stage_and_live_frames(clip, clock):
    scanner, part = FakeScanner(clock), Part(clock)
    load = VideoLoad(clip, scanner, part, part, clock, sleep=clock.advance)
    measured = load.round()
    assert scanner.calls == [False, True]
    assert (measured.faces, measured.elapsed_s) == (8, pytest.approx(0.020))
    assert measured.stages_ms == pytest.approx({"decode": 0, "locate": 4, "crop": 1.5, "classify": 15})
    assert len(measured.ages_ms) + measured.dropped == 4
    assert min(measured.ages_ms) >= 5


def test_a_camera_s_frames_are_decoded_when_they_are_due(clip, clock):
    shown, taken = {}, []

    def slow():
        for frame in clip.read():
            taken.append(clock())
            clock.advance(0.030 if frame.index == 1 else 0.001)
            yield frame

    start = clock()
    frames = [frame.index for frame in paced(slow(), 50.0, clock, clock.advance, shown)]
    assert frames == [0, 1, 2, 3]
    # The second one takes longer than the 20 ms between two frames, so the third is late, the fourth isn't.
    assert np.subtract(taken, start) == pytest.approx([0, 0.020, 0.050, 0.060])
    assert np.subtract(list(shown.values()), start) == pytest.approx([0, 0.020, 0.040, 0.060])


def test_a_clock_that_wakes_early_is_asked_again(clip, clock):
    shown = {}
    frames = paced(clip.read(), 10.0, clock, lambda seconds: clock.advance(seconds / 2 + 1e-6), shown)
    for frame in frames:
        assert clock() >= shown[frame.index]
    assert list(shown) == [0, 1, 2, 3]


def test_opening_the_clip_is_no_part_of_a_camera_s_ages(clip, clock, monkeypatch):
    class Reader(FrameReader):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            clock.advance(0.5)

    monkeypatch.setattr(clips, "FrameReader", Reader)
    part = Part(clock)
    measured = VideoLoad(clip, FakeScanner(clock), part, part, clock, sleep=clock.advance).round()
    assert max(measured.ages_ms) < 500


def test_slow_judging_drops_frames_of_a_camera(tmp_path, clock):
    with FrameWriter(tmp_path / "clip.mp4", 100, (64, 48)) as writer:
        for value in range(0, 200, 10):
            writer.write(np.full((48, 64, 3), value, np.uint8))

    class Slow(FakeScanner):
        def scan_frames(self, frames, source, *, live=False, pictures=True):
            for scanned in super().scan_frames(frames, source, live=live, pictures=pictures):
                time.sleep(0.04 if live else 0)
                yield scanned

    clip = Clip.probe(tmp_path / "clip.mp4", 20)
    part = Part(clock)
    measured = VideoLoad(clip, Slow(clock), part, part, time.perf_counter).round()
    assert len(measured.ages_ms) + measured.dropped == 20
    assert measured.dropped >= 10, "a frame comes every 10 ms, and one takes 40"
    assert min(measured.ages_ms) >= 40


def test_a_live_pass_ends_after_two_seconds_of_the_camera(clip, clock):
    slow = dataclasses.replace(clip, fps=1.0)
    part = Part(clock)
    measured = VideoLoad(slow, FakeScanner(clock), part, part, clock, sleep=clock.advance).round()
    assert len(measured.ages_ms) + measured.dropped == 2


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
    measured = VideoLoad(clip, FakeScanner(clock), part, part, clock, sleep=clock.advance).round()
    assert measured.stages_ms["decode"] == pytest.approx(7)
    assert measured.elapsed_s == pytest.approx(4 * 0.012)
    assert min(measured.ages_ms) >= 12, "decoding counts, too"


def test_no_frame_is_decoded_ahead_of_a_stage_or_a_camera(clip, clock, monkeypatch):
    """FFmpeg's threads would decode while the other stages are timed, and before a frame is due."""
    opened, real = [], FrameReader

    def reader(path, *, threads=None):
        opened.append(threads)
        return real(path, threads=threads)

    monkeypatch.setattr(clips, "FrameReader", reader)
    part = Part(clock)
    VideoLoad(clip, FakeScanner(clock), part, part, clock, threads=16, sleep=clock.advance).round()
    assert opened == [8, 1, 1], "end to end as a scan, then by stages, then live"


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
