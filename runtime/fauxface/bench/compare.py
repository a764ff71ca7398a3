"""Two result files side by side: ratios with confidence intervals."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from fauxface.bench.configurations import Configuration
from fauxface.bench.doubts import doubts
from fauxface.bench.plain import to_plain
from fauxface.bench.results import OFFLINE, BenchReport, Measurement, VideoMeasurement
from fauxface.bench.stats import geometric_mean, percentile, rate, ratio_interval, supported
from fauxface.errors import BenchmarkError

SCHEMA = "fauxface.bench-compare/1"

_TAIL = 0.99


@dataclass(frozen=True, slots=True)
class Ratio:
    """How much faster B is than A in one figure of one configuration.

    Attributes:
        configuration: The configuration, the same in both.
        scenario: The scenario.
        load: Faces per query, or the clip.
        figure: "p50_ms", "p99_ms", "faces_per_s" or "frames_per_s".
        a: The figure in A: the geometric mean of its rounds' figures.
        b: The same of B.
        speed: Speed of B over that of A; above 1, B is faster.
        low: Lower end of the 95 % interval of `speed`, or None where a file has fewer than 3 rounds.
        high: Upper end.
    """

    configuration: Configuration
    scenario: str
    load: str
    figure: str
    a: float
    b: float
    speed: float
    low: float | None
    high: float | None

    @property
    def verdict(self) -> str:
        """One of "faster" and "slower" where the interval leaves out 1, else "no difference shown"."""
        if self.low is not None and self.low > 1:
            return "faster"
        if self.high is not None and self.high < 1:
            return "slower"
        return "no difference shown"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs side by side.

    Attributes:
        ratios: Every figure that both have.
        differences: What differs beside the times: processor, versions, bundle, settings.
        doubts_a: What makes figures of A doubtful, as `doubts.doubts` tells it.
        doubts_b: The same of B.
        only_a: What only A measured.
        only_b: What only B measured.
    """

    ratios: tuple[Ratio, ...]
    differences: tuple[str, ...]
    doubts_a: tuple[str, ...]
    doubts_b: tuple[str, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as JSON values."""
        plain = to_plain(self)
        for entry, ratio in zip(plain["ratios"], self.ratios, strict=True):
            entry["verdict"] = ratio.verdict
        return {"schema": SCHEMA, **plain}


def compare(a: BenchReport, b: BenchReport) -> Comparison:
    """Compare what two runs have in common, by the figures of their rounds.

    Raises:
        BenchmarkError: They have no measurement in common.
    """
    measured_a, measured_b = ({m.key: m for m in (*r.measurements, *r.videos)} for r in (a, b))
    ratios = [
        ratio
        for key, before in measured_a.items()
        if key in measured_b
        for ratio in _ratios(key, before, measured_b[key])
    ]
    if not ratios:
        raise BenchmarkError(
            "the two results have no configuration and scenario in common; run both with the same options, "
            "and with --threads where the machines have different numbers of cores"
        )
    return Comparison(
        ratios=tuple(ratios),
        differences=tuple(_differences(a, b)),
        doubts_a=tuple(doubts(a)),
        doubts_b=tuple(doubts(b)),
        only_a=tuple(_name(key) for key in measured_a if key not in measured_b),
        only_b=tuple(_name(key) for key in measured_b if key not in measured_a),
    )


def _ratios(
    key: tuple[Configuration, str, str],
    a: Measurement | VideoMeasurement,
    b: Measurement | VideoMeasurement,
) -> list[Ratio]:
    if isinstance(a, VideoMeasurement) or isinstance(b, VideoMeasurement):
        return [_ratio(key, "frames_per_s", _rates(a), _rates(b), faster_is_more=True)]
    if a.scenario == OFFLINE:
        return [_ratio(key, "faces_per_s", _rates(a), _rates(b), faster_is_more=True)]
    times = a.latencies_ms(), b.latencies_ms()
    found = [_ratio(key, "p50_ms", *_percentiles(times, 0.5), faster_is_more=False)]
    if all(supported(len(values), _TAIL) for rounds in times for values in rounds):
        found.append(_ratio(key, "p99_ms", *_percentiles(times, _TAIL), faster_is_more=False))
    return found


def _rates(measured: Measurement | VideoMeasurement) -> list[float]:
    return [rate([counts]) for counts in measured.counts()]


def _percentiles(times: Iterable[list[np.ndarray]], share: float) -> Iterator[list[float]]:
    return ([percentile(values, share) for values in rounds] for rounds in times)


def _ratio(
    key: tuple[Configuration, str, str], figure: str, a: list[float], b: list[float], *, faster_is_more: bool
) -> Ratio:
    above, below = (b, a) if faster_is_more else (a, b)
    ends = ratio_interval(above, below)
    return Ratio(
        *key,
        figure=figure,
        a=round(geometric_mean(a), 4),
        b=round(geometric_mean(b), 4),
        speed=round(geometric_mean(above) / geometric_mean(below), 4),
        low=None if ends is None else round(ends[0], 4),
        high=None if ends is None else round(ends[1], 4),
    )


def _differences(a: BenchReport, b: BenchReport) -> list[str]:
    pairs: list[tuple[str, str | float, str | float]] = [
        ("processor", a.machine.cpu, b.machine.cpu),
        ("board", a.machine.board or "none", b.machine.board or "none"),
        ("GPU", ", ".join(a.machine.gpus) or "none", ", ".join(b.machine.gpus) or "none"),
        ("cores", a.machine.cores, b.machine.cores),
        ("system", a.machine.system, b.machine.system),
        ("instructions", " ".join(a.machine.instructions), " ".join(b.machine.instructions)),
        ("governor", ", ".join(a.machine.governors), ", ".join(b.machine.governors)),
        ("bundle", f"{a.bundle} {a.model[:12]}", f"{b.bundle} {b.model[:12]}"),
        ("--seconds", a.settings.seconds, b.settings.seconds),
        ("--frames", a.settings.frames, b.settings.frames),
        ("--target-fps", a.settings.target_fps or "none", b.settings.target_fps or "none"),
        ("--quick", "no" if a.settings.tails else "yes", "no" if b.settings.tails else "yes"),
    ]
    ran_a, ran_b = (
        {str(e.configuration): e.remarks or "alone" for e in r.accepted if e.elsewhere is not None}
        for r in (a, b)
    )
    pairs += [(f"{name} runs", ran_a[name], ran_b[name]) for name in ran_a if name in ran_b]
    names = sorted(a.versions.keys() | b.versions.keys())
    pairs += [(name, a.versions.get(name, "none"), b.versions.get(name, "none")) for name in names]
    return [f"{name}: {before} -> {after}" for name, before, after in pairs if before != after]


def _name(key: tuple[Configuration, str, str]) -> str:
    return f"{key[0]}, {key[1]}, {key[2]}"
