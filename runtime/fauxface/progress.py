"""Progress of long work: a bar on a terminal, a plain line every few seconds in a log."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TextIO, TypeVar

T = TypeVar("T")

_BAR_EVERY_S = 0.1
_LINE_EVERY_S = 10.0
_BAR_WIDTH = 28


class Progress:
    """Counts finished items and shows rate and remaining time; use it as a context manager.

    Args:
        total: Number of items, or None where it isn't known (a camera).
        label: What is done, for example "scan".
        unit: What is counted, for example "pictures".
        stream: Where to write; standard error when not given, so that standard output stays clean.
        done: Items that were finished earlier; they count, but not in the rate.
    """

    def __init__(
        self,
        total: int | None,
        label: str,
        unit: str = "items",
        stream: TextIO | None = None,
        *,
        done: int = 0,
    ) -> None:
        self.total, self.label, self.unit = total, label, unit
        self.done = self._earlier = done
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty()
        self._start = self._shown = time.monotonic()
        self._note = ""

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self._show()
        if self._terminal:
            self._stream.write("\n")
        self._stream.flush()

    def advance(self, count: int = 1, note: str = "") -> None:
        """Count finished items.

        Args:
            count: How many more are finished.
            note: A short text shown behind the rate, for example a loss.
        """
        self.done += count
        self._note = note
        now = time.monotonic()
        if now - self._shown >= (_BAR_EVERY_S if self._terminal else _LINE_EVERY_S):
            self._shown = now
            self._show()

    def _show(self) -> None:
        elapsed = max(time.monotonic() - self._start, 1e-9)
        rate = (self.done - self._earlier) / elapsed
        count = f"{self.done}/{self.total}" if self.total is not None else str(self.done)
        text = f"{count} {self.unit}, {rate:.1f}/s"
        if self.total and rate > 0 and self.done < self.total:
            text += f", {(self.total - self.done) / rate:.0f} s left"
        if self._note:
            text += f", {self._note}"
        if not self._terminal:
            self._stream.write(f"{self.label}: {text}\n")
        elif self.total:
            filled = min(_BAR_WIDTH, round(_BAR_WIDTH * self.done / self.total))
            self._stream.write(f"\r\x1b[K{self.label} [{'#' * filled}{'.' * (_BAR_WIDTH - filled)}] {text}")
        else:
            self._stream.write(f"\r\x1b[K{self.label} {text}")
        self._stream.flush()


def track(
    items: Iterable[T], total: int | None, label: str, unit: str = "items", stream: TextIO | None = None
) -> Iterator[T]:
    """Yield the items and show progress as they are taken.

    Args:
        items: What to go through.
        total: Number of items, or None where it isn't known.
        label: What is done.
        unit: What is counted.
        stream: Where to write; standard error when not given.
    """
    with Progress(total, label, unit, stream) as progress:
        for item in items:
            yield item
            progress.advance()
