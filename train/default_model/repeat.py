"""Compare the evaluations of two trainings by the same commands: do they differ by more than noise?

Usage: python train/default_model/repeat.py EARLIER/metrics.json AGAIN/metrics.json [--out record/repeat.md]

Two figures agree where each lies within the other's 95 % interval; the exit code is 1 where one doesn't. ECE
isn't compared: resampling makes it larger, so that a value may lie below its own interval.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from fauxface.files import atomic_write

OUT = Path(__file__).parent / "record" / "repeat.md"
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


def _shown(figure: dict[str, Any]) -> str:
    return f"{figure['value']:.4f} ({figure['low']:.4f}-{figure['high']:.4f})"


def main() -> int:
    """Compare, print, write; 1 where the runs differ by more than noise."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("earlier", type=Path)
    parser.add_argument("again", type=Path)
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    documents = [json.loads(path.read_text(encoding="utf-8")) for path in (given.earlier, given.again)]
    lines, agreeing = compare(*documents)
    text = "\n".join(lines) + "\n"
    with atomic_write(given.out) as temporary:
        temporary.write_text(text, encoding="utf-8")
    sys.stdout.write(text)
    return 0 if agreeing else 1


if __name__ == "__main__":
    raise SystemExit(main())
