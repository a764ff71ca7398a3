"""Keep what made the default bundle: settings, logs, figures and plots that show no picture of the data.

Usage: python train/default_model/record.py RUNS [FOLDER...]     (without a FOLDER of RUNS: all)
       python train/default_model/record.py --tried RUN NAME     (a training that isn't shipped)
"""

import json
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fauxface_export.portable import portable
from fauxface_train.locator.verdict import render

TARGET = Path(__file__).parent / "record"
DOCUMENTS = (
    "locator/locator.json",
    "locator/compare.json",
    "locator/compare_runtime.json",
    "locator/compare_int8.json",
    "prepared/prepare.json",
    "audit/audit.json",
    "audit-light/audit.json",
    "prepared-mobilestylegan/prepare.json",
    "classifier-1/best.json",
    "classifier-2/best.json",
    "classifier-2-mean/best.json",
    "classifier-3/best.json",
    "classifier-3-mean/best.json",
    "classifier-4/best.json",
    "classifier/best.json",
    "evaluation/metrics.json",
    "evaluation-bundle/metrics.json",
    "evaluation-unseen/metrics.json",
    "evaluation-recent/metrics.json",
    "generator/generator.json",
)
COMPARISONS = ("locator/compare.json", "locator/compare_runtime.json", "locator/compare_int8.json")
REPORTS = ("evaluation/report.md", "audit/audit.md", "audit-light/audit.md")
FILES = (
    "locator/log.csv",
    "audit/groups.png",
    "audit-light/groups.png",
    "classifier-1/log.csv",
    "classifier-1/curves.png",
    "classifier-2/log.csv",
    "classifier-2/curves.png",
    "classifier-3/log.csv",
    "classifier-3/curves.png",
    "classifier-4/log.csv",
    "classifier-4/curves.png",
    "evaluation/roc_det.png",
    "evaluation/reliability.png",
    "evaluation/confusion.png",
    "evaluation/errors_per_source.png",
    "evaluation/scores_per_source.png",
    "evaluation/pairs.png",
    "evaluation/risk_coverage.png",
    "evaluation/robustness.png",
)

_OUTSIDE = re.compile(r'"(?:\.\./)+(?:[^"/]+/)*([^"/]+)"')
_PICTURE = re.compile(r'/[^/"]+\.(jpe?g|png)"')


def record(runs: Path, target: Path, folders: Sequence[str] = ()) -> None:
    """Copy a run's documents, with the folders cut off every path, and its logs and plots.

    Args:
        runs: What make.sh was given as RUNS.
        target: Where to keep them.
        folders: Of RUNS; all if none.
    """

    def asked(names: Sequence[str]) -> list[str]:
        return [name for name in names if not folders or name.partition("/")[0] in folders]

    for name in asked(DOCUMENTS):
        keep = _keep_comparison if name in COMPARISONS else _keep
        keep(runs / name, _place(target, name))
    for name in asked(FILES):
        shutil.copyfile(runs / name, _place(target, name))
    for name in asked(REPORTS):
        folder = name.partition("/")[0]
        lines = (runs / name).read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if not line.startswith("![") or f"{folder}/{_linked(line)}" in FILES]
        _place(target, name).write_text("\n".join(kept) + "\n", encoding="utf-8")


def tried(run: Path, target: Path) -> None:
    """Keep settings, log and curves, or a locator's comparison, of a training that isn't shipped."""
    if (run / "locator.json").exists():
        _keep(run / "locator.json", _place(target, "locator.json"))
        _keep_comparison(run / "compare.json", _place(target, "compare.json"))
        shutil.copyfile(run / "log.csv", _place(target, "log.csv"))
        return
    ended = "held" in json.loads((run / "best.json").read_text(encoding="utf-8"))
    last = "best.json" if ended else "last.json"
    _keep(run / last, _place(target, last))
    for name in ("log.csv", "curves.png"):
        shutil.copyfile(run / name, _place(target, name))


def _keep(document: Path, target: Path) -> dict[str, Any]:
    """Write a document with the folders cut off every path, and return it."""
    content = portable(json.loads(document.read_text(encoding="utf-8")))
    text = _OUTSIDE.sub(r'"\1"', _PICTURE.sub(r'/one picture"', json.dumps(content, indent=1)))
    target.write_text(text + "\n", encoding="utf-8")
    return content


def _keep_comparison(document: Path, target: Path) -> None:
    """Write a comparison of locators, and its tables beside it."""
    target.with_suffix(".md").write_text(render(_keep(document, target), None), encoding="utf-8")


def _linked(line: str) -> str:
    """Return the file that a Markdown picture shows."""
    return line.rpartition("(")[2].rstrip(")")


def _place(target: Path, name: str) -> Path:
    """Return where a file is kept, and make its folder."""
    path = target / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


if __name__ == "__main__":
    if sys.argv[1] == "--tried":
        tried(Path(sys.argv[2]), TARGET / f"tried-{sys.argv[3]}")
    else:
        record(Path(sys.argv[1]), TARGET, sys.argv[2:])
