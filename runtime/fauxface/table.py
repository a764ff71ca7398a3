"""What a scan shows of its results: rows on a terminal, and counts."""

import os
import re
import sys
from collections import Counter
from dataclasses import dataclass, field
from typing import TextIO

import typer

from fauxface.annotate import WORDS, percent
from fauxface.errors import printable
from fauxface.results import ItemError, Result
from fauxface.verdicts import BONA_FIDE, GENERATED, UNSURE

_TERMINAL_COLORS = {BONA_FIDE: "green", GENERATED: "red", UNSURE: "yellow"}
_COLOR_CODE = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(slots=True)
class Tally:
    """Counts of one scan."""

    pictures: int = 0
    videos: int = 0
    frames: int = 0
    no_face: int = 0
    unreadable: int = 0
    labels: Counter[str] = field(default_factory=Counter)

    def add(self, result: Result) -> None:
        """Count a result; whole videos are counted by the caller."""
        self.labels.update(face.label for face in result.faces)
        if result.frame is not None:
            self.frames += 1
        elif not result.readable:
            self.unreadable += 1
        else:
            self.pictures += 1
            self.no_face += result.error is not None

    def verdicts(self) -> str:
        """Return the verdicts in words, for example "2 faces: 1 bona fide, 1 generated"."""
        faces = self.labels.total()
        parts = [f"{self.labels[label]} {WORDS[label]}" for label in WORDS if self.labels[label]]
        return f"{_count(faces, 'face')}{': ' if parts else ''}{', '.join(parts)}"

    def summary(self) -> str:
        """Return everything that was counted, in one line."""
        parts = [_count(self.pictures, "picture")] if self.pictures else []
        if self.videos or self.frames:
            parts.append(f"{_count(self.videos, 'video')} ({_count(self.frames, 'frame')})")
        if self.no_face:
            parts.append(f"{self.no_face} without a face")
        if self.unreadable:
            parts.append(f"{self.unreadable} that couldn't be read")
        return f"{', '.join(parts) or 'nothing scanned'}; {self.verdicts()}"


class Table:
    """Prints a row per face as results come in, and a row per video.

    Args:
        stream: Where to print; colours are used where it is a terminal and NO_COLOR isn't set.
        rows: Whether to print the rows; other lines are printed in any case.
        copy: A second place to print, without colours.
    """

    _COLUMNS = "{:<11} {:>9} {:>7}  {}"

    def __init__(self, stream: TextIO, *, rows: bool = True, copy: TextIO | None = None) -> None:
        self._stream, self._rows, self._copy, self._started = stream, rows, copy, False
        self._colors = stream.isatty() and not os.environ.get("NO_COLOR")

    def result(self, result: Result) -> None:
        """Print the rows of a picture or of one frame."""
        where = result.source if result.frame is None else f"{result.source} frame {result.frame}"
        if result.error is not None:
            if result.readable:
                self._row("no face", "", "", where, None)
            else:
                self._row("unreadable", "", "", result.error.message, None)
        for number, face in enumerate(result.faces, 1):
            place = f"{where} [{number}/{len(result.faces)}]" if len(result.faces) > 1 else where
            if face.reason:
                place += f"  ({face.reason})"
            size = f"{face.face_px} px"
            self._row(WORDS[face.label], percent(face.p_generated), size, place, face.label)

    def video(self, source: str, tally: Tally, error: ItemError | None) -> None:
        """Print the row of a video."""
        text = f"{source}: {_count(tally.frames, 'frame')}, {tally.verdicts()}"
        self._row("video", "", "", text, None)
        if error is not None:
            self._row("unreadable", "", "", error.message, None)

    def line(self, text: str) -> None:
        """Print a line below the table."""
        self._print(text)

    def _row(self, verdict: str, p: str, size: str, where: str, label: str | None) -> None:
        if not self._rows:
            return
        if not self._started:
            self._started = True
            self._print(self._COLUMNS.format("verdict", "generated", "face", "where"))
        row = self._COLUMNS.format(verdict, p, size, printable(where)).rstrip()
        if self._colors and label is not None:
            row = typer.style(row[:11], fg=_TERMINAL_COLORS[label], bold=True) + row[11:]
        self._print(row)

    def _print(self, text: str) -> None:
        if self._stream.isatty() and sys.stderr.isatty():
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
        encoding = self._stream.encoding or "utf-8"
        self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
        self._stream.flush()
        if self._copy is not None:
            self._copy.write(_COLOR_CODE.sub("", text) + "\n")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
