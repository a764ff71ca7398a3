"""Compare two trainings by the same commands: do they differ by more than noise?

Usage: python train/default_model/repeat.py figures EARLIER/metrics.json AGAIN/metrics.json [--out FILE]
       python train/default_model/repeat.py logs EARLIER/log.csv AGAIN/log.csv [--out FILE]

figures: two evaluations. Two figures agree where each lies within the other's 95 % interval. ECE isn't
compared: resampling makes it larger, so that a value may lie below its own interval.

logs: two runs with the same seed, of which one may have been ended early. They agree where losses, learning
rates and validation metrics are the same, to the last digit, as far as the shorter one goes.

The exit code is 1 where they don't agree.
"""

import argparse
import csv
import json
import sys
from pathlib import Path
from typing import Any

from fauxface.files import atomic_write

RECORD = Path(__file__).parent / "record"
_MACHINE_COLUMNS = frozenset({"seconds", "images_per_s"})
_FIGURES = (
    ("AUROC", "auroc"),
    ("EER", "eer"),
    ("TPR at 1 % FPR", "tpr_at_fpr_0.01"),
    ("APCER at the run's own threshold", "apcer"),
    ("BPCER at the run's own threshold", "bpcer"),
)


def agree(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Tell whether each of two figures lies within the other's interval."""
    return one["low"] <= other["value"] <= one["high"] and other["low"] <= one["value"] <= other["high"]


def compare(earlier: dict[str, Any], again: dict[str, Any]) -> tuple[list[str], bool]:
    """Return a table of two evaluations as Markdown lines, and whether all their figures agree."""
    first, second = earlier["overall"], again["overall"]
    rows = [(name, first[key], second[key], agree(first[key], second[key])) for name, key in _FIGURES]
    lines = [
        "| test split | earlier run | again | within each other's interval |",
        "|---|---|---|---|",
        *(f"| {name} | {_shown(a)} | {_shown(b)} | {'yes' if ok else 'no'} |" for name, a, b, ok in rows),
    ]
    return lines, all(ok for *_, ok in rows)


def follow(earlier: list[dict[str, str]], again: list[dict[str, str]]) -> tuple[list[str], bool]:
    """Return a table of how far two logs are the same as Markdown lines, and whether they agree."""
    pairs = list(zip(earlier, again, strict=False))
    differing = [a for a, b in pairs if _seen(a) != _seen(b)]
    last = pairs[-1][0]["samples"] if pairs else "0"
    vals = sum(a["kind"] == "val" for a, _ in pairs)
    lines = [
        "| rows in both logs | validations among them | pictures trained on | rows that differ |",
        "|---|---|---|---|",
        f"| {len(pairs)} | {vals} | {last} | {len(differing)} |",
    ]
    return lines, vals > 0 and not differing


def _seen(row: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in row.items() if key not in _MACHINE_COLUMNS}


def _shown(figure: dict[str, Any]) -> str:
    return f"{figure['value']:.4f} ({figure['low']:.4f}-{figure['high']:.4f})"


def main() -> int:
    """Compare, print, write; 1 where the runs differ by more than noise."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("what", choices=("figures", "logs"))
    parser.add_argument("earlier", type=Path)
    parser.add_argument("again", type=Path)
    parser.add_argument("--out", type=Path, help="default: record/repeat_<what>.md")
    given = parser.parse_args()
    texts = [path.read_text(encoding="utf-8") for path in (given.earlier, given.again)]
    if given.what == "figures":
        lines, agreeing = compare(*map(json.loads, texts))
    else:
        lines, agreeing = follow(*(list(csv.DictReader(text.splitlines())) for text in texts))
    text = "\n".join(lines) + "\n"
    with atomic_write(given.out or RECORD / f"repeat_{given.what}.md") as temporary:
        temporary.write_text(text, encoding="utf-8")
    sys.stdout.write(text)
    return 0 if agreeing else 1


if __name__ == "__main__":
    raise SystemExit(main())
