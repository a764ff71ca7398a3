"""Fill the tables of docs/performance.md from the results of the speed scripts.

Usage: python benchmarks/performance_doc.py [--check]

A table stands between `<!-- table NAME -->` and `<!-- end -->`; NAME is that of the script and of its JSON
file in benchmarks/results. Where there is no such file yet, the block says which command makes it. A result
of a busy machine is refused. With --check, nothing is written; the exit code is 1 when a table is out of
date.
"""

import argparse
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import harness
import start
from fauxface.errors import GateError
from fauxface.files import atomic_write
from hot_path import CROP_STEPS
from tables import ResultError

ROOT = Path(__file__).parents[1]
DOC = ROOT / "docs/performance.md"
_BLOCK = re.compile(r"(<!-- table (?P<name>\w+) -->\n).*?(<!-- end -->)", re.DOTALL)

Table = tuple[list[str], list[list[object]]]


def hot_path(data: dict[str, Any]) -> Table:
    """Return where the time of a frame goes."""
    steps = sorted({step for row in data["rows"] for step in row["ms_per_frame"]})
    head = ["clip", "batch", "faces per frame", *steps, "cutting and preprocessing", "without locating"]
    rows = [
        [
            row["clip"],
            row["batch"],
            f"{row['faces'] / row['frames']:.1f}",
            *(f"{row['ms_per_frame'].get(step, 0):.2f}" for step in steps),
            f"{row['crop_share']:.1%}",
            _share(_share_of_judging(row["ms_per_frame"])),
        ]
        for row in data["rows"]
    ]
    return head, rows


def _share_of_judging(steps: dict[str, float]) -> float | None:
    """Return the share of cutting and preprocessing in what a found face costs; None without any face."""
    if "classify" not in steps:
        return None
    crop = sum(steps.get(step, 0) for step in CROP_STEPS)
    return crop / (crop + steps["classify"] + steps["verdict"])


def sampled(data: dict[str, Any]) -> Table:
    """Return the share of each function, one column per clip."""
    rows = data["rows"]
    names = {name: None for row in rows for name in row["shares"]}
    cells = [[name, *(_share(row["shares"].get(name)) for row in rows)] for name in names]
    return ["share of samples", *(row["clip"] for row in rows)], cells


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def locator_policies(data: dict[str, Any]) -> Table:
    """Return what each policy costs and loses."""
    head = ["clip", "policy", "faces", "recall", "recall of judged faces", "extra", "ms per frame", "speed"]
    keys = ("clip", "policy", "faces", "recall", "recall_judged", "extra", "mean_ms")
    return head, [[*(row[key] for key in keys), f"{row['speed']}x"] for row in data["rows"]]


def locator_sides(data: dict[str, Any]) -> Table:
    """Return what smaller copies cost and lose."""
    head = ["clip", "searched", "judged faces", "found of them", "ms per frame"]
    keys = ("clip", "policy", "judged", "recall_judged", "mean_ms")
    return head, [[row[key] for key in keys] for row in data["rows"]]


def video_pipeline(data: dict[str, Any]) -> Table:
    """Return the rates of the stages and of the pipeline."""
    names = ("decode", "locate", "classify", "one after the other", "pipeline", "independent processes")
    shares = ["of the slowest stage", "of what the cores allow", "of independent processes"]
    head = ["clip", "faces per frame", *names, *shares]
    rows = [
        [
            row["clip"],
            f"{row['faces'] / row['frames']:.1f}",
            *(row["frames_per_s"].get(name, "") for name in names),
            f"{row['of_slowest_stage']:.0%}{'' if row['held'] else ', **limit not held**'}",
            f"{row['of_bound']:.0%}",
            f"{row['of_independent']:.0%}" if "of_independent" in row else "",
        ]
        for row in data["rows"]
    ]
    return head, rows


def folder(data: dict[str, Any]) -> Table:
    """Return the rates of pictures one after the other and read ahead."""
    ways = list(data["rows"][0]["pictures_per_s"])
    head = ["pictures", "faces per picture", *ways, "times as many"]
    rows = [
        [
            row["pictures"],
            f"{row['faces'] / row['count']:.1f}",
            *(row["pictures_per_s"][way] for way in ways),
            f"{row['ratio']['value']:.2f} ({row['ratio']['low']:.2f} to {row['ratio']['high']:.2f})",
        ]
        for row in data["rows"]
    ]
    return head, rows


def startup(data: dict[str, Any]) -> Table:
    """Return start-up times and peak memory."""
    rows: list[list[Any]] = [
        [row["case"], f"{row['median_s']:.3f} s", "" if row["limit_s"] is None else f"{row['limit_s']} s"]
        for row in data["rows"]
    ]
    rows += [
        [
            f"{row['case']} of {data['clip']}, peak memory",
            f"{row['peak_mb']} MB",
            "" if row["limit_mb"] is None else f"{row['limit_mb']} MB",
        ]
        for row in data["memory"]
    ]
    return ["", "median", "limit"], rows


TABLES: dict[str, Callable[[dict[str, Any]], Table]] = {
    table.__name__: table
    for table in (hot_path, sampled, locator_policies, locator_sides, video_pipeline, folder, startup)
}


def block(name: str, results: Path) -> str:
    """Return the content of one block.

    Raises:
        ResultError: There is no table of this name, or the file holds something else or is of a trial run.
    """
    if name not in TABLES:
        raise ResultError(f"there is no table {name!r}; choose from {', '.join(TABLES)}")
    path = results / f"{name}.json"
    if not path.exists():
        return f"Not measured yet: `python benchmarks/{name}.py` writes the results.\n"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ResultError(f"can't read {path}: {error}; run benchmarks/{name}.py again") from None
    if not isinstance(data, dict) or data.get("format") != f"fauxface.{name}/1":
        raise ResultError(f"{path.name} isn't a result of benchmarks/{name}.py; measure again")
    if data.get("trial"):
        raise ResultError(f"{path} was measured on a busy machine; run benchmarks/{name}.py without --busy")
    try:
        head, rows = TABLES[name](data)
        machine = data["machine"]
        sets = ", ".join(machine.get("instruction_sets", []))
        threads = data.get("scan_threads", data["threads"])
        cores = f"{machine['cpu']}{f' ({sets})' if sets else ''}, {threads} threads"
        lines = [f"{cores}{start.model_note(data)}.", ""]
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise ResultError(f"{path} lacks something: {error!r}; run benchmarks/{name}.py again") from None
    lines += [_row(head), "|" + "---|" * len(head), *map(_row, rows)]
    return "\n".join(lines) + "\n"


def _row(cells: list[Any]) -> str:
    return "| " + " | ".join("" if cell is None else str(cell).replace("|", "\\|") for cell in cells) + " |"


def fill(text: str, results: Path) -> str:
    """Return the document with its blocks filled."""
    return _BLOCK.sub(lambda found: f"{found[1]}{block(found['name'], results)}{found[3]}", text)


def main() -> None:
    """Write or check the document.

    Raises:
        GateError: It is out of date.
    """
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    text = DOC.read_text(encoding="utf-8")
    filled = fill(text, harness.RESULTS)
    if not arguments.check:
        with atomic_write(DOC) as temporary:
            temporary.write_text(filled, encoding="utf-8")
    elif filled != text:
        raise GateError("docs/performance.md is out of date; run: python benchmarks/performance_doc.py")


if __name__ == "__main__":
    harness.run(main)
