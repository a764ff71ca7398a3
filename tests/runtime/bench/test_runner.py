import itertools
from collections import Counter
from pathlib import Path

import pytest

from fauxface.bench import runner
from fauxface.bench.clip import Clip
from fauxface.bench.configurations import Configuration
from fauxface.bench.matrix import Matrix
from fauxface.bench.runner import Load, bench, check, check_outputs, loads, run
from fauxface.bundle import Bundle
from fauxface.errors import BenchmarkError, BundleError, OutputError, ProviderError

TINY = Path(__file__).parents[2] / "data" / "tiny_bundle"
A, B, C = (Configuration("cpu", "fp32", threads) for threads in (1, 2, 4))


def test_every_load_of_every_configuration_is_measured_in_every_round(settings, clock, entry):
    entries = [entry(clock, A, 10.0), entry(clock, B, 3.0)]
    measurements, videos, _ = run(entries, settings(), clock)
    assert [(m.scenario, m.faces, m.configuration) for m in measurements] == [
        (scenario, faces, configuration)
        for scenario, faces in [("single-stream", 1), ("multi-stream", 4), ("offline", 1), ("offline", 8)]
        for configuration in (A, B)
    ]
    assert all(len(m.rounds) == 3 and m.warm_up.stable for m in measurements)
    first = measurements[0].summary()
    assert first["p50_ms"] == pytest.approx(11)
    assert first["faces_per_s"] == pytest.approx(1000 / 11, rel=1e-3)
    assert measurements[-1].summary()["faces_per_s"] == pytest.approx(8 * 1000 / 25, rel=1e-3)
    assert [(v.configuration, v.clip, v.frames, len(v.rounds)) for v in videos] == [
        (A, "clip.mp4", 10, 3),
        (B, "clip.mp4", 10, 3),
    ]


def test_configurations_take_turns_in_each_round_and_none_always_follows_the_same(settings, clock, entry):
    log = []
    entries = [entry(clock, configuration, 10.0, log) for configuration in (A, B, C)]
    run(entries, settings(scenarios=("single-stream",), rounds=12), clock)
    turns = [log[0][0]]
    for configuration, _ in log:
        if configuration != turns[-1]:
            turns.append(configuration)
    turns = turns[3:]
    orders = [tuple(turns[i : i + 3]) for i in range(0, len(turns) - 2)]
    assert set(turns) == {A, B, C}
    assert len(set(orders)) > 3
    follows = Counter(itertools.pairwise(turns))
    assert len(follows) == 6


def test_all_is_warm_before_the_first_round(settings, clock, entry):
    log = []
    entries = [entry(clock, A, 10.0, log), entry(clock, B, 10.0, log)]
    notes = []
    run(entries, settings(), clock, notes.append)
    warm = [note for note in notes if note.startswith("warm-up")]
    assert notes[: len(warm)] == warm
    assert len(notes) == 5 * 2 * (1 + 3)
    assert [c for c, what in log if what == "warm video"] == [A, B]


@pytest.mark.parametrize("error", [ProviderError("the GPU is gone"), BundleError("x"), MemoryError()])
@pytest.mark.parametrize("after", [0, 1, 40])
def test_a_configuration_that_fails_takes_the_others_nothing(settings, clock, entry, error, after):
    class Failing(entry):
        def query(self, load):
            go, turns = super().query(load), itertools.count()

            def fails():
                if next(turns) == after and load.scenario == "offline":
                    raise error
                go()

            return fails

    entries = [entry(clock, A, 10.0), Failing(clock, B, 3.0), entry(clock, C, 10.0)]
    notes = []
    measurements, videos, failed = run(entries, settings(), clock, notes.append)
    assert failed == {1: str(error) or "there isn't enough memory"}
    assert {m.configuration for m in measurements} == {v.configuration for v in videos} == {A, C}
    assert all(len(m.rounds) == 3 for m in measurements)
    assert len(notes) == 5 * 3 * (1 + 3)


def test_what_failed_is_refused_in_the_report(settings, monkeypatch):
    wanted = settings(rounds=1, seconds=0.002, scenarios=("single-stream",))
    real = runner.run
    monkeypatch.setattr(runner, "run", lambda *a, **k: (*real(*a, **k)[:2], {1: "the GPU is gone"}))
    report = bench(
        Bundle.load(TINY), Matrix(("cpu",), (), (1, 2)), wanted, clock=TickingClock(), progress=False
    )
    assert [str(entry.configuration) for entry in report.accepted] == ["cpu fp32 1t"]
    assert [(str(r), r.kind, r.reason) for r in report.refused] == [
        ("cpu fp32 2t", "failed", "the GPU is gone")
    ]


@pytest.mark.parametrize(
    ("scenario", "figure", "expected_ms"),
    [("single-stream", "p99_9_ms", 2), ("multi-stream", "p99_ms", 5)],
)
def test_a_tail_gets_its_queries(settings, entry, scenario, figure, expected_ms):
    clock = TickingClock(0.0)
    entries = [entry(clock, A, 1.0)]
    measurements, _, _ = run(entries, settings(scenarios=(scenario,), seconds=0.08, tails=True), clock)
    assert measurements[0].summary()[figure] == pytest.approx(expected_ms)
    measurements, _, _ = run(entries, settings(scenarios=(scenario,), seconds=0.1), clock)
    assert measurements[0].summary()[figure] is None


def test_a_budget_asks_for_the_locator_alone_and_with_faces(settings):
    assert loads(settings(scenarios=(), target_fps=30.0, faces=3)) == [Load("frame", 0), Load("frame", 3)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scenarios": ("server",)}, "unknown scenario 'server'"),
        ({"batches": (0,)}, "--batch must be 1 to 1024, not 0"),
        ({"cameras": 0}, "--cameras"),
        ({"seconds": 0.0}, "--seconds"),
        ({"seconds": float("nan")}, "--seconds"),
        ({"rounds": 0}, "--rounds"),
        ({"frames": 0}, "--frames"),
        ({"target_fps": 0.0}, "--target-fps"),
        ({"faces": 0}, "--faces"),
    ],
)
def test_settings_out_of_range_are_refused(settings, changes, message):
    with pytest.raises(BenchmarkError, match=message):
        check(settings(**changes))


def test_outputs_are_tried_before_the_run(tmp_path):
    (tmp_path / "file").write_text("kept")
    check_outputs(tmp_path / "file", tmp_path / "new.md", tmp_path / "plots")
    assert (tmp_path / "file").read_text() == "kept"
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["file", "plots"]
    for bad in [(tmp_path, None, None), (None, tmp_path, None), (None, None, tmp_path / "file")]:
        with pytest.raises(OutputError):
            check_outputs(*bad)


class TickingClock:
    """Each look at it takes a time of its own, so that a run's length doesn't depend on the machine."""

    def __init__(self, tick_s=0.05):
        self.now, self.tick_s = 0.0, tick_s

    def __call__(self):
        self.now += self.tick_s
        return self.now

    def advance(self, seconds):
        self.now += seconds


def test_the_tiny_bundle_is_measured_end_to_end(settings, monkeypatch):
    used = []
    real = runner.cv2.setNumThreads
    monkeypatch.setattr(runner.cv2, "setNumThreads", lambda count: used.append(count) or real(count))
    before = runner.cv2.getNumThreads()
    wanted = settings(rounds=1, seconds=0.002, frames=2, target_fps=30.0, faces=3, batches=(2,))
    opened, decoded = [], []
    real_locator, real_images = runner.open_locator, Clip.images
    monkeypatch.setattr(runner, "open_locator", lambda *a: opened.append(a[1]) or real_locator(*a))
    monkeypatch.setattr(Clip, "images", lambda *a: decoded.append(a[1]) or real_images(*a))
    report = bench(
        Bundle.load(TINY), Matrix(("cpu", "auto"), (), (1, 2)), wanted, clock=TickingClock(), progress=False
    )
    assert [str(entry.configuration) for entry in report.accepted] == ["cpu fp32 1t", "cpu fp32 2t"]
    assert sorted(opened) == [1, 2], "one for all loads of a number of threads"
    assert decoded == [8], "the frames are the same for all"
    assert {(m.scenario, m.faces) for m in report.measurements} == {
        ("single-stream", 1),
        ("multi-stream", 4),
        ("offline", 2),
        ("frame", 0),
        ("frame", 3),
    }
    video, _ = report.videos
    assert (video.clip, video.width, video.height, video.frames) == ("demo clip", 640, 480, 2)
    assert video.rounds[0].faces >= 2
    assert len(video.rounds[0].ages_ms) + video.rounds[0].dropped == 2
    assert video.camera_fps == 12
    assert {m.footage for m in report.measurements if m.scenario == "frame"} == {video.footage}
    assert {m.footage for m in report.measurements if m.scenario != "frame"} == {None}
    assert report.model == Bundle.load(TINY).sha256
    assert report.versions["numpy"]
    assert 1 in used
    assert runner.cv2.getNumThreads() == before
