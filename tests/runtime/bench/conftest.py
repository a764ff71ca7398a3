import threading

import pytest

from fauxface.bench.clip import Clip
from fauxface.bench.configurations import Accepted, Accuracy, Configuration
from fauxface.bench.machine import Machine
from fauxface.bench.results import STAGES, BenchReport, Footage, Settings, VideoRound, WarmUp
from fauxface.bench.runner import run

FP32 = Configuration("cpu", "fp32", 2)
INT8 = Configuration("cpu", "int8", 2)
FOOTAGE = Footage("clip.mp4", 640, 480, 10)


class FakeClock:
    """A clock that moves only when it is told to."""

    def __init__(self):
        self.now = 100.0
        self._lock = threading.Lock()

    def __call__(self):
        return self.now

    def advance(self, seconds):
        with self._lock:
            self.now += seconds


class FakeEntry:
    """Queries take a constant and so many milliseconds per face; a locator, in `frame`, takes `locate` ms."""

    def __init__(self, clock, configuration, per_face_ms, log=None, locate_ms=4.0):
        self.clock, self.configuration, self.per_face_ms = clock, configuration, per_face_ms
        self.log = [] if log is None else log
        self.locate_ms = locate_ms

    def query(self, load):
        base = self.locate_ms if load.scenario == "frame" else 1.0

        def go():
            self.log.append((self.configuration, load))
            self.clock.advance((base + self.per_face_ms * load.faces) / 1000)

        return go

    def video(self):
        return FakeVideo(self)


class FakeVideo:
    def __init__(self, entry):
        self.entry = entry
        self.clip = Clip(None, "clip.mp4", 640, 480, 10, 25.0)

    def warm_up(self):
        self.entry.log.append((self.entry.configuration, "warm video"))
        return WarmUp(5, 0.5, 0.01, True)

    def round(self):
        self.entry.log.append((self.entry.configuration, "video"))
        stages = dict(zip(STAGES, (1.0, 4.0, 0.5, self.entry.per_face_ms), strict=True))
        total = sum(stages.values())
        self.entry.clock.advance(total / 100)
        return VideoRound(20, total / 100, stages, (total,) * 8, 2)


def make_settings(**changes):
    values = {
        "scenarios": ("single-stream", "multi-stream", "offline", "video"),
        "batches": (1, 8),
        "cameras": 4,
        "seconds": 0.05,
        "rounds": 3,
        "frames": 10,
        "target_fps": None,
        "faces": 1,
        "tails": False,
        "seed": 0,
    }
    return Settings(**(values | changes))


MACHINE = Machine(
    cpu="Test CPU",
    board=None,
    gpus=(),
    system="Linux x86_64",
    instructions=("avx2", "avx512_vnni"),
    cores=2,
    logical_cpus=4,
    governors=("performance",),
    load_before=0.1,
    load_after=1.9,
    celsius_before={"package": 41.0},
    celsius_after={"package": 63.5},
)


def make_report(entries=None, **changes):
    """A report of fake entries: fp32 takes 10 ms per face, int8 takes 3."""
    settings = make_settings(**changes)
    clock = FakeClock()
    speeds = entries or {FP32: 10.0, INT8: 3.0}
    measured = [FakeEntry(clock, configuration, speed) for configuration, speed in speeds.items()]
    measurements, videos, _ = run(measured, settings, clock, footage=FOOTAGE)
    return BenchReport(
        created="2026-01-31T12:00:00Z",
        machine=MACHINE,
        versions={"python": "3.11.7", "onnxruntime": "1.32.0"},
        bundle="tiny",
        model="0" * 64,
        settings=settings,
        accepted=tuple(
            Accepted(configuration, "auto", Accuracy(8, 1e-6, 1e-3, 0, 0, 0)) for configuration in speeds
        ),
        refused=(),
        measurements=tuple(measurements),
        videos=tuple(videos),
    )


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def report():
    return make_report()


@pytest.fixture
def make():
    """The builders above; a conftest can't be imported by name."""
    return make_report


@pytest.fixture
def settings():
    return make_settings


@pytest.fixture
def entry():
    return FakeEntry
