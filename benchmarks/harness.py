"""What all benchmarks share: interleaved rounds, medians, ratios with intervals, the machine, the result.

Every configuration is a worker in a process of its own. They take turns: a round gives one turn to each, the
next round starts with another one, and the ratio of two configurations is that of their medians over the
same rounds. So drift of the machine hits all alike.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import numpy as np

import start
from environments import DEFAULT_FOLDER
from fauxface.errors import FauxfaceError
from fauxface.files import atomic_write
from fauxface.progress import Progress
from fauxface_train import provenance

FORMAT = "fauxface.benchmark/1"
RESULTS = Path(__file__).parent / "results"
REPLICATES = 2000
CONFIDENCE = 0.95
SETTLED = 0.05
_LOOK_S = 0.5
_T = TypeVar("_T")

_INSTRUCTION_SETS = (
    "avx2",
    "avx512f",
    "avx_vnni",
    "avx512_vnni",
    "avx512_bf16",
    "amx_int8",
    "amx_bf16",
    "asimddp",
    "i8mm",
    "bf16",
)


class Asker(Protocol):
    """What answers requests: `protocol.Worker`, or a stand-in in tests."""

    name: str

    def ask(self, do: str, **fields: Any) -> Any:
        """Send a request and return the answer's value."""
        ...


@dataclass(frozen=True, slots=True)
class Turn:
    """What a configuration does in each round.

    Attributes:
        worker: The configuration.
        case: A case that the worker has prepared.
        seconds: Runs are repeated until so much time was measured.
        least: Least number of runs.
        lead: Runs before the first one that counts.
        warm_up: Most turns before the first round; fewer where the last three agree within 5 %.
        statistic: "median" of the runs' seconds per unit, or "mean" (all seconds over all units) where work
            done ahead makes single runs meaningless.
    """

    worker: Asker
    case: str
    seconds: float = 0.2
    least: int = 3
    lead: int = 1
    warm_up: int = 8
    statistic: Literal["median", "mean"] = "median"


@dataclass(slots=True)
class Row:
    """What was measured of one configuration in one case.

    Attributes:
        configuration: The worker's name.
        case: The case.
        rounds: Seconds per unit, one number per round.
        runs: Seconds of each run, over all rounds.
        units: Units of each run, over all rounds.
        settled: Whether the last three turns of the warm-up agreed within 5 %; None where there was none.
    """

    configuration: str
    case: str
    rounds: list[float] = field(default_factory=list)
    runs: list[float] = field(default_factory=list)
    units: list[float] = field(default_factory=list)
    settled: bool | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values: median seconds per unit of the rounds, p50 and p90 of the runs, the rounds."""
        p50, p90 = np.percentile(self.runs, [50, 90])
        return {
            "configuration": self.configuration,
            "case": self.case,
            "seconds_per_unit": _short(float(np.median(self.rounds))),
            "run_p50_ms": _short(1000 * float(p50)),
            "run_p90_ms": _short(1000 * float(p90)),
            "runs": len(self.runs),
            "units": _short(float(sum(self.units))),
            "settled": self.settled,
            "rounds": [_short(value) for value in self.rounds],
        }


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times as fast one configuration is as another, with a 95 % interval."""

    value: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float]:
        """Return JSON values."""
        return {"value": _short(self.value), "low": _short(self.low), "high": _short(self.high)}


def measure(turns: Sequence[Turn], rounds: int, *, busy: bool = False) -> list[Row]:
    """Warm every turn up, then give each a turn per round, each round starting with another one.

    After a round, while all workers are stopped, the machine has to be idle; a round after which it isn't is
    measured again.

    Args:
        turns: The turns; their cases are prepared.
        rounds: Number of rounds, at least 1.
        busy: Whether the machine may have other work.

    Returns:
        A row per turn, in order.

    Raises:
        BusyError: As many rounds again as were asked for ended on a busy machine.
    """
    rows = [Row(turn.worker.name, turn.case) for turn in turns]
    again = 0
    with Progress(len(turns) * (rounds + 1), "measure", "turns") as progress:
        for turn, row in zip(turns, rows, strict=True):
            row.settled = _warm_up(turn)
            progress.advance(note=f"warm-up of {row.configuration}, {row.case}")
        number = 0
        while number < rounds:
            taken = {index: _take(turns[index]) for index in turned(range(len(turns)), number)}
            share = None if busy else start.busy_share(_LOOK_S)
            if share is not None and share > start.BUSY_SHARE:
                again += 1
                if again > rounds:
                    raise start.BusyError(f"{again} rounds ended with other processes at work; stop them")
                continue
            for index, (runs, units) in taken.items():
                row = rows[index]
                row.runs += runs
                row.units += units
                row.rounds.append(_per_unit(turns[index], runs, units))
            number += 1
            progress.advance(len(turns), f"round {number}, {again} measured again")
    return rows


def turned(items: Sequence[_T], number: int) -> list[_T]:
    """Return the order of a round: each round begins with another item, and all follow in turn."""
    first = number % len(items)
    return [*items[first:], *items[:first]]


def _take(turn: Turn) -> tuple[list[float], list[float]]:
    found = turn.worker.ask("time", case=turn.case, seconds=turn.seconds, least=turn.least, lead=turn.lead)
    return found["seconds"], found["units"]


def _per_unit(turn: Turn, runs: Sequence[float], units: Sequence[float]) -> float:
    if turn.statistic == "mean":
        return sum(runs) / sum(units)
    return float(np.median(np.divide(runs, units)))


def _warm_up(turn: Turn) -> bool | None:
    if not turn.warm_up:
        return None
    values: list[float] = []
    while len(values) < turn.warm_up:
        values.append(_per_unit(turn, *_take(turn)))
        last = values[-3:]
        if len(last) == 3 and max(last) - min(last) <= SETTLED * min(last):
            return True
    return False


def ratio(slow: Sequence[float], fast: Sequence[float], seed: int = 0) -> Ratio:
    """Return how many times as fast `fast` is as `slow`, with a percentile bootstrap over the rounds.

    A resample draws whole rounds, so that both sides come from the same ones.

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.

    Args:
        slow: Seconds per unit by round.
        fast: Seconds per unit by round; as many.
        seed: Of the random generator.

    Raises:
        ValueError: The two don't have the same number of rounds, or there is none.
    """
    if len(slow) != len(fast) or not slow:
        raise ValueError(f"a ratio needs the same rounds on both sides, not {len(slow)} and {len(fast)}")
    above, below = np.asarray(slow), np.asarray(fast)
    drawn = np.random.default_rng(seed).integers(0, len(above), (REPLICATES, len(above)))
    values = np.median(above[drawn], axis=1) / np.median(below[drawn], axis=1)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return Ratio(float(np.median(above) / np.median(below)), float(low), float(high))


def find(rows: Sequence[Row], configuration: str, case: str) -> Row | None:
    """Return the row of a configuration and case, None where it wasn't measured."""
    return next((r for r in rows if (r.configuration, r.case) == (configuration, case)), None)


def ratios_to(rows: Sequence[Row], base: str) -> list[dict[str, Any]]:
    """Return, for each row whose case the base has too, how many times as fast it is as the base."""
    found = []
    for row in rows:
        against = find(rows, base, row.case)
        if against is not None and row is not against:
            names = {"of": row.configuration, "against": base, "case": row.case}
            found.append(names | ratio(against.rounds, row.rounds).to_dict())
    return found


def claim(text: str, value: Ratio | float, aim: float) -> dict[str, Any]:
    """Return a claim as JSON values: what was found (at least `aim` was wanted), and whether that holds."""
    found = value.to_dict() if isinstance(value, Ratio) else {"value": _short(value)}
    return {"claim": text, **found, "aim": aim, "holds": found["value"] >= aim}


def speed_claim(
    rows: Sequence[Row], text: str, fast: tuple[str, str], slow: tuple[str, str], aim: float
) -> list[dict[str, Any]]:
    """Return the claim that `fast` is so many times as fast as `slow`; nothing where one wasn't measured.

    Args:
        rows: What was measured.
        text: The claim in words.
        fast: Configuration and case.
        slow: Configuration and case.
        aim: The ratio wanted.
    """
    above, below = find(rows, *slow), find(rows, *fast)
    return [] if above is None or below is None else [claim(text, ratio(above.rounds, below.rounds), aim)]


def machine() -> dict[str, Any]:
    """Describe the machine: processor, usable cores, instruction sets, memory, governor, system."""
    found = {**provenance.machine(), "instruction_sets": _instruction_sets()}
    memory = start.read("/proc/meminfo").partition("MemTotal:")[2].split()
    if memory:
        found["memory_gib"] = round(int(memory[0]) / 2**20, 1)
    governor = start.read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").strip()
    return found | ({"governor": governor} if governor else {})


def _instruction_sets() -> list[str]:
    for line in start.read("/proc/cpuinfo").splitlines():
        if line.startswith(("flags", "Features")):
            flags = set(line.partition(":")[2].split())
            return [name for name in _INSTRUCTION_SETS if name in flags]
    return []


def parser(description: str | None, name: str, rounds: int, seconds: float) -> argparse.ArgumentParser:
    """Return a parser with the options that all benchmarks share.

    Args:
        description: The script's docstring.
        name: Name of the benchmark and of its result file.
        rounds: Default number of rounds.
        seconds: Default of the seconds that a turn measures.
    """
    made = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    add_common(made, name)
    made.add_argument("--rounds", type=positive, default=rounds, help="rounds [%(default)s]")
    made.add_argument("--seconds", type=_seconds, default=seconds, help="seconds of a turn [%(default)s]")
    made.add_argument("--skip", action="append", default=[], metavar="NAME", help="leave a configuration out")
    made.add_argument("--environments", type=Path, default=DEFAULT_FOLDER, help="where peers are installed")
    return made


def add_common(made: argparse.ArgumentParser, name: str) -> None:
    """Add --bundle, --out and --busy, and the benchmark's name, which is that of its result file too."""
    made.set_defaults(benchmark=name)
    made.add_argument("--bundle", type=Path, help="a bundle's folder; the shipped one by default")
    made.add_argument("--out", type=Path, default=RESULTS / f"{name}.json", help="result file [%(default)s]")
    made.add_argument(
        "--busy",
        action="store_true",
        help="measure on a busy machine; the result says so and isn't published",
    )


def positive(text: str) -> int:
    """Return an option's whole number; argparse refuses one below 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {value}")
    return value


def _seconds(text: str) -> float:
    value = float(text)
    if not (math.isfinite(value) and value >= 0):
        raise argparse.ArgumentTypeError(f"must be a number of seconds from 0 on, not {text}")
    return value


def header(arguments: argparse.Namespace, began: start.Before) -> dict[str, Any]:
    """Return what every result says of how it came about: trial or not, machine, commit and model."""
    return {"trial": bool(arguments.busy), "machine": machine(), **began.to_dict()}


def document(
    arguments: argparse.Namespace,
    rows: Sequence[Row],
    *,
    versions: dict[str, Any],
    began: start.Before,
    **fields: Any,
) -> dict[str, Any]:
    """Return the result file's content.

    Args:
        arguments: From `parser`.
        rows: What was measured.
        versions: Versions by configuration.
        began: What was asked before the run.
        **fields: Further entries: unit, ratios, claims, agreement.
    """
    return {
        "format": FORMAT,
        "benchmark": arguments.benchmark,
        **header(arguments, began),
        "versions": versions,
        "settings": {
            "rounds": arguments.rounds,
            "seconds": arguments.seconds,
            "skipped": sorted(arguments.skip),
        },
        **fields,
        "rows": [row.to_dict() for row in rows],
    }


def write(content: dict[str, Any], path: Path) -> None:
    """Write a result file atomically and say where."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    sys.stdout.write(f"{path}\n")


def run(main: Callable[[], None]) -> None:
    """Run a script's main function; a typed error becomes one line and exit code 1."""
    try:
        main()
    except FauxfaceError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(1)


def _short(value: float) -> float:
    """Keep six significant digits: what lies beyond is noise."""
    return float(f"{value:.6g}")
