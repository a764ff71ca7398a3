"""What `fauxface bench` found: dataclasses and their JSON form (docs/bench.schema.json)."""

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np

from fauxface.bench.configurations import Accepted, Configuration, Refusal
from fauxface.bench.machine import Machine
from fauxface.bench.plain import from_plain, to_plain
from fauxface.bench.stats import interval, percentile, rate, spread, supported
from fauxface.errors import BenchmarkError

SCHEMA = "fauxface.bench/1"
"""Identifier of the JSON form; its number changes when a reader would break."""

SINGLE, MULTI, OFFLINE, VIDEO = "single-stream", "multi-stream", "offline", "video"
SCENARIOS = (SINGLE, MULTI, OFFLINE, VIDEO)

FRAME = "frame"
"""The load of the budget mode: locate in one frame, then judge some faces of it."""

STAGES = ("decode", "locate", "crop", "classify")
SHARES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99_9": 0.999}

_MAX_BYTES = 1 << 28

_LEAST, _MOST = 1e-9, 1e15  # times in any unit beyond these are no measurement
_MOST_COUNTED = 10**12


@dataclass(frozen=True, slots=True)
class WarmUp:
    """Queries before the first round.

    Attributes:
        queries: How many.
        seconds: How long.
        spread: Range of the last three windows' medians over their median.
        stable: Whether it is at most 5 %; otherwise the cap on the time was reached.
    """

    queries: int
    seconds: float
    spread: float
    stable: bool


@dataclass(frozen=True, slots=True)
class Round:
    """One round of back-to-back queries: seconds in all, and each query's latency in microseconds."""

    elapsed_s: float
    latencies_us: tuple[float, ...]

    def __post_init__(self) -> None:
        _require(_LEAST <= self.elapsed_s <= _MOST, f"elapsed_s must be {_LEAST:g} to {_MOST:g}")
        _require(len(self.latencies_us) > 0, "latencies_us must not be empty")
        ends = min(self.latencies_us), max(self.latencies_us)
        _require(ends[0] >= _LEAST and ends[1] <= _MOST, f"latencies_us must be {_LEAST:g} to {_MOST:g}")


@dataclass(frozen=True, slots=True)
class Footage:
    """The frames of a clip that something was measured on.

    Attributes:
        clip: What the clip is called.
        width: Width of its frames in pixels.
        height: Height of its frames in pixels.
        frames: Number of frames that the clip was cut to.
    """

    clip: str
    width: int
    height: int
    frames: int

    def __post_init__(self) -> None:
        for name in ("width", "height", "frames"):
            _count(name, getattr(self, name), 1)

    def __str__(self) -> str:
        return f"{self.clip}, {self.width}x{self.height}, {self.frames} frames"


@dataclass(frozen=True)
class Measurement:
    """One configuration under one load, in every round.

    Attributes:
        configuration: The configuration.
        scenario: "single-stream", "multi-stream", "offline" or "frame".
        faces: Faces per query.
        warm_up: What went before.
        rounds: The rounds, in time order.
        footage: What "frame" locates in; None with other scenarios, and in files from before it was recorded.
    """

    configuration: Configuration
    scenario: str
    faces: int
    warm_up: WarmUp
    rounds: tuple[Round, ...]
    footage: Footage | None = None

    def __post_init__(self) -> None:
        _require(self.scenario in (SINGLE, MULTI, OFFLINE, FRAME), f"unknown scenario {self.scenario!r}")
        _count("faces", self.faces, int(self.scenario != FRAME))
        _require(len(self.rounds) > 0, "rounds must not be empty")

    @property
    def key(self) -> tuple[Configuration, str, str]:
        """What must be equal for two measurements to be comparable."""
        load = f"{self.faces} face{'' if self.faces == 1 else 's'}"
        if self.scenario == FRAME:
            load += f", {self.footage or 'a clip that was not recorded'}"
        return self.configuration, self.scenario, load

    def latencies_ms(self) -> list[np.ndarray]:
        """Return each round's latencies in milliseconds: float64 [N]."""
        return [np.array(round_.latencies_us) / 1000 for round_ in self.rounds]

    def counts(self) -> list[np.ndarray]:
        """Return each round's [faces, seconds]."""
        return [np.array([len(r.latencies_us) * self.faces, r.elapsed_s]) for r in self.rounds]

    def summary(self) -> dict[str, Any]:
        """Return the key figures; a percentile is None where there are too few queries for it."""
        return dict(self._figures)

    @cached_property
    def _figures(self) -> dict[str, Any]:
        rounds = self.latencies_ms()
        together = np.concatenate(rounds)
        figures: dict[str, Any] = {"queries": len(together), "mean_ms": _rounded(float(together.mean()))}
        for name, share in SHARES.items():
            known = supported(len(together), share)
            figures[f"{name}_ms"] = _rounded(percentile(together, share)) if known else None
        medians = [percentile(values, 0.5) for values in rounds]
        figures["p50_interval_ms"] = _rounded(interval(medians))
        figures["faces_per_s"] = _rounded(rate(self.counts()))
        figures["drift"] = _rounded(spread(medians))
        return figures


@dataclass(frozen=True, slots=True)
class VideoRound:
    """One pass over the clip.

    Attributes:
        faces: Faces judged.
        elapsed_s: Seconds from opening the clip to its last verdict, as `fauxface scan` works.
        stages_ms: Mean milliseconds per frame of each of `STAGES`, one after the other.
        ages_ms: Per judged frame of a live pass, milliseconds from when the camera had it to its verdict.
        dropped: Frames of the live pass that nobody took in time.
    """

    faces: int
    elapsed_s: float
    stages_ms: dict[str, float]
    ages_ms: tuple[float, ...]
    dropped: int

    def __post_init__(self) -> None:
        _require(_LEAST <= self.elapsed_s <= _MOST, f"elapsed_s must be {_LEAST:g} to {_MOST:g}")
        _require(set(self.stages_ms) == set(STAGES), f"stages_ms must have {', '.join(STAGES)}")
        _require(len(self.ages_ms) > 0, "ages_ms must not be empty")
        _count("faces", self.faces)
        _count("dropped", self.dropped)
        times = (*self.stages_ms.values(), *self.ages_ms)
        _require(min(times) >= 0 and max(times) <= _MOST, f"times must be 0 to {_MOST:g}")


@dataclass(frozen=True)
class VideoMeasurement:
    """One configuration on a clip, in every round.

    Attributes:
        configuration: The configuration.
        clip: What the clip is called.
        width: Width of its frames in pixels.
        height: Height of its frames in pixels.
        frames: Number of frames of a pass; a live pass may be shorter.
        camera_fps: Frames per second of the camera that the live passes stand for.
        warm_up: What went before.
        rounds: The rounds, in time order.
    """

    configuration: Configuration
    clip: str
    width: int
    height: int
    frames: int
    camera_fps: float
    warm_up: WarmUp
    rounds: tuple[VideoRound, ...]

    def __post_init__(self) -> None:
        for name in ("width", "height", "frames"):
            _count(name, getattr(self, name), 1)
        _require(0 < self.camera_fps <= _MOST, f"camera_fps must be above 0 and at most {_MOST:g}")
        _require(len(self.rounds) > 0, "rounds must not be empty")

    @property
    def key(self) -> tuple[Configuration, str, str]:
        """What must be equal for two measurements to be comparable."""
        return self.configuration, VIDEO, str(self.footage)

    @property
    def footage(self) -> Footage:
        """The frames that it was measured on."""
        return Footage(self.clip, self.width, self.height, self.frames)

    def counts(self) -> list[np.ndarray]:
        """Return each round's [frames, seconds]."""
        return [np.array([self.frames, round_.elapsed_s]) for round_ in self.rounds]

    def summary(self) -> dict[str, Any]:
        """Return the key figures; a percentile is None where there are too few frames for it."""
        return dict(self._figures)

    @cached_property
    def _figures(self) -> dict[str, Any]:
        ages = np.concatenate([np.array(round_.ages_ms) for round_ in self.rounds])
        stages = {name: float(np.mean([r.stages_ms[name] for r in self.rounds])) for name in STAGES}
        slowest = max(STAGES, key=stages.__getitem__)
        dropped = sum(round_.dropped for round_ in self.rounds)
        return {
            "frames_per_s": _rounded(rate(self.counts())),
            "frames_per_s_interval": _rounded(interval([rate([one]) for one in self.counts()])),
            "faces_per_frame": _rounded(sum(r.faces for r in self.rounds) / self.frames / len(self.rounds)),
            "stages_ms": {name: _rounded(value) for name, value in stages.items()},
            "slowest_stage": slowest,
            "age_p50_ms": _rounded(percentile(ages, 0.5)),
            "age_p99_ms": _rounded(percentile(ages, 0.99)) if supported(len(ages), 0.99) else None,
            "dropped": _rounded(dropped / (dropped + len(ages))),
            "drift": _rounded(spread([round_.elapsed_s for round_ in self.rounds])),
        }


@dataclass(frozen=True, slots=True)
class Settings:
    """What was asked for: see `fauxface bench --help`.

    Attributes:
        scenarios: Of `SCENARIOS`.
        batches: Faces per query of "offline".
        cameras: Faces per query of "multi-stream".
        seconds: Length of one measurement.
        rounds: How often all is measured.
        frames: Frames of the clip per round.
        target_fps: Frame rate of the budget, None without one.
        faces: Faces per frame of the budget.
        tails: Whether measurements go on until there are enough queries for the far percentiles.
        seed: Of the order of configurations.
    """

    scenarios: tuple[str, ...]
    batches: tuple[int, ...]
    cameras: int
    seconds: float
    rounds: int
    frames: int
    target_fps: float | None
    faces: int
    tails: bool
    seed: int


@dataclass(frozen=True, slots=True)
class BenchReport:
    """A whole run.

    Attributes:
        created: UTC time of its end, for example "2026-01-31T12:00:00Z".
        machine: The device.
        versions: Package to version.
        bundle: Name of the bundle.
        model: SHA-256 of its bundle.json.
        settings: What was asked for.
        accepted: The configurations that were measured.
        refused: Those that weren't, and why.
        measurements: By load, then configuration.
        videos: By configuration.
    """

    created: str
    machine: Machine
    versions: dict[str, str]
    bundle: str
    model: str
    settings: Settings
    accepted: tuple[Accepted, ...]
    refused: tuple[Refusal, ...]
    measurements: tuple[Measurement, ...]
    videos: tuple[VideoMeasurement, ...]

    def __post_init__(self) -> None:
        for name in ("cores", "logical_cpus"):
            _count(name, getattr(self.machine, name), 1)
        for name in ("cameras", "rounds", "frames", "faces"):
            _count(name, getattr(self.settings, name), int(name == "faces"))
        fps = self.settings.target_fps
        _require(fps is None or 0 < fps <= _MOST, f"target_fps must be above 0 and at most {_MOST:g}")

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form; each measurement has its key figures as `summary`."""
        plain = to_plain(self)
        for name, measured in (("measurements", self.measurements), ("videos", self.videos)):
            for entry, item in zip(plain[name], measured, strict=True):
                entry["summary"] = item.summary()
        return {"schema": SCHEMA, **plain}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Build a report from its JSON form; summaries are computed anew when they are asked for.

        Raises:
            ValueError: It isn't such a form; the message names the field.
        """
        if not isinstance(data, Mapping) or data.get("schema") != SCHEMA:
            raise ValueError(f"schema isn't {SCHEMA}")
        plain = {key: value for key, value in data.items() if key != "schema"}
        for name in ("measurements", "videos"):
            if isinstance(plain.get(name), list):
                plain[name] = [_without_summary(item) for item in plain[name]]
        return from_plain(cls, plain)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Self:
        """Read a file written by `fauxface bench --json`.

        Raises:
            BenchmarkError: It can't be read or isn't such a file.
        """
        try:
            found = Path(path).stat()
            if not stat.S_ISREG(found.st_mode):
                raise ValueError("it isn't a regular file")
            if found.st_size > _MAX_BYTES:
                raise ValueError(f"it is longer than {_MAX_BYTES} bytes")
            return cls.from_dict(json.loads(Path(path).read_text(encoding="utf-8")))
        except OSError as error:
            raise BenchmarkError(f"can't read {path}: {error.strerror}; check the path") from None
        except (ValueError, RecursionError) as error:
            raise BenchmarkError(
                f"{path} isn't a result of fauxface bench: {error}; write it again with --json"
            ) from None


def _without_summary(item: Any) -> Any:
    return {k: v for k, v in item.items() if k != "summary"} if isinstance(item, dict) else item


def _rounded(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_rounded(item) for item in value]
    return None if value is None else round(value, 4)


def _count(name: str, value: int, least: int = 0) -> None:
    _require(value >= least, f"{name} must be at least {least}")
    _require(value <= _MOST_COUNTED, f"{name} must be at most {_MOST_COUNTED}")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)
