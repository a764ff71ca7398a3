"""What a run leaves for people: CSV, TensorBoard and curves."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch.utils.tensorboard import SummaryWriter

from fauxface.files import atomic_write

Row = dict[str, Any]
"""A row of the log: `kind` is "train" or "val", `samples` counts pictures so far, the rest is measured."""

COLUMNS = (
    "kind",
    "samples",
    "seconds",
    "lr",
    "loss",
    "images_per_s",
    "auroc",
    "accuracy",
    "balanced_accuracy",
    "worst_source_auroc",
    "degraded_auroc",
    "best",
)


class Logs:
    """Writes log.csv, curves.png and tensorboard/ of a run.

    The rows are the truth and travel in the resume file; the CSV is written from them as a whole, so that it
    never holds rows that a resumed run repeats.

    Args:
        folder: The run's folder.
        rows: Rows of the run so far.
    """

    def __init__(self, folder: Path, rows: Sequence[Row]) -> None:
        self.rows = list(rows)
        self._folder = folder
        seen = self.rows[-1]["samples"] if self.rows else 0
        self._board = SummaryWriter(folder / "tensorboard", purge_step=seen + 1 if seen else None)

    def __enter__(self) -> "Logs":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._board.close()

    def add(self, kind: str, samples: int, values: Mapping[str, float | bool]) -> None:
        """Add a row and send it to TensorBoard."""
        self.rows.append({"kind": kind, "samples": samples, **values})
        for name, value in values.items():
            if name != "seconds":
                self._board.add_scalar(f"{kind}/{name}", float(value), samples)

    def write(self) -> None:
        """Write log.csv and curves.png."""
        with (
            atomic_write(self._folder / "log.csv") as temporary,
            temporary.open("w", newline="", encoding="utf-8") as file,
        ):
            writer: csv.DictWriter[str] = csv.DictWriter(file, COLUMNS, restval="")
            writer.writeheader()
            writer.writerows({key: _short(value) for key, value in row.items()} for row in self.rows)
        self._board.flush()
        if any(row["kind"] == "val" for row in self.rows):
            with atomic_write(self._folder / "curves.png") as temporary:
                _curves(self.rows).savefig(temporary)


def _short(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value


def _curves(rows: Sequence[Row]) -> Figure:
    """Draw loss, learning rate and validation metrics over the pictures seen."""
    figure = Figure(figsize=(12, 4.2), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    train = [row for row in rows if row["kind"] == "train"]
    val = [row for row in rows if row["kind"] == "val"]
    seen = [row["samples"] for row in val]
    left.plot(
        [r["samples"] for r in train], [r["loss"] for r in train], color="0.6", lw=1, label="train loss"
    )
    left.plot(seen, [row["loss"] for row in val], "o-", color="tab:blue", label="val loss")
    left.set(xlabel="pictures", ylabel="cross-entropy (nats)")
    left.legend(loc="upper right")
    rates = left.twinx()
    rates.plot([r["samples"] for r in train], [r["lr"] for r in train], ":", color="tab:orange", lw=1)
    rates.set_ylabel("learning rate (dotted)")
    for name in ("auroc", "worst_source_auroc", "degraded_auroc", "balanced_accuracy"):
        if name in val[-1]:
            right.plot(seen, [row[name] for row in val], "o-", ms=3, label=name)
    best = [row for row in val if row.get("best")]
    if best:
        right.axvline(best[-1]["samples"], color="0.7", ls="--", lw=1, label="best checkpoint")
    right.set(xlabel="pictures", ylabel="validation")
    right.grid(alpha=0.3)
    right.legend(loc="lower right")
    return figure
