"""Bar and line charts drawn with Pillow, so that a device needs no plotting package."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from fauxface.files import atomic_write

Series = Mapping[str, Sequence[float | None]]
"""Name of each series to its values, one per label; None leaves a gap."""

# Okabe and Ito's palette, which people with any colour vision can tell apart.
_COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
_SIZE = (960, 540)
_LEFT, _RIGHT, _TOP, _BOTTOM = 84, 20, 92, 76
_TEXT, _TITLE = 15, 19
_INK, _GRID = "#222222", "#DDDDDD"
_DOT = 5


def bars(
    path: Path, title: str, unit: str, labels: Sequence[str], series: Series, *, stacked: bool = False
) -> None:
    """Write a bar chart as PNG.

    Args:
        path: The file.
        title: Its title.
        unit: What the vertical axis shows.
        labels: A group of bars each; at least one.
        series: Bars of each group, or the parts of one bar.
        stacked: Whether the series are parts of one bar.
    """
    columns = list(zip(*series.values(), strict=True))
    sums = [sum(value or 0 for value in column) for column in columns]
    most = max(sums if stacked else [value or 0 for column in columns for value in column])
    chart = _Chart(title, unit, list(series), most)
    slot = chart.width / len(labels)
    width = 0.8 * slot / (1 if stacked else len(series))
    for group, (label, column) in enumerate(zip(labels, columns, strict=True)):
        left, base = chart.x0 + (group + 0.1) * slot, 0.0
        for number, value in enumerate(column):
            if value is None:
                continue
            x = left if stacked else left + number * width
            box = (x, chart.y(base + value), x + max(width - 1, 1), chart.y(base))
            chart.pen.rectangle(box, fill=_COLORS[number % len(_COLORS)])
            base += value if stacked else 0
            if not stacked:
                chart.text((x + width / 2, chart.y(value) - 4), f"{value:.3g}", "mb")
        if stacked:
            chart.text((left + 0.4 * slot, chart.y(sums[group]) - 4), f"{sums[group]:.3g}", "mb")
        chart.label(left + 0.4 * slot, label, slot)
    chart.save(path)


def lines(path: Path, title: str, unit: str, labels: Sequence[str], series: Series) -> None:
    """Write a line chart as PNG; the labels stand at equal distances.

    Args:
        path: The file.
        title: Its title.
        unit: What the vertical axis shows.
        labels: Points of the horizontal axis; at least one.
        series: Name of each line to its values.
    """
    most = max(value or 0 for values in series.values() for value in values)
    chart = _Chart(title, unit, list(series), most)
    slot = chart.width / len(labels)
    at = [chart.x0 + (index + 0.5) * slot for index in range(len(labels))]
    for x, label in zip(at, labels, strict=True):
        chart.label(x, label, slot)
    for number, values in enumerate(series.values()):
        points = [(x, chart.y(value)) for x, value in zip(at, values, strict=True) if value is not None]
        color = _COLORS[number % len(_COLORS)]
        if len(points) > 1:
            chart.pen.line(points, fill=color, width=3)
        for x, y in points:
            chart.mark(x, y, _DOT, number)
    chart.save(path)


class _Chart:
    """A canvas with title, legend, vertical axis from 0 and grid."""

    def __init__(self, title: str, unit: str, names: list[str], most: float) -> None:
        self.image = Image.new("RGB", _SIZE, "white")
        self.pen = ImageDraw.Draw(self.image)
        self.x0, self.y0 = _LEFT, _SIZE[1] - _BOTTOM
        self.width, self._height = _SIZE[0] - _LEFT - _RIGHT, _SIZE[1] - _TOP - _BOTTOM
        step = _step(most)
        self._most = step * math.ceil(max(most, step) / step * 1.02)
        self.text((_LEFT, 12), title, "la", _TITLE)
        self._legend(names)
        for tick in range(math.floor(self._most / step + 1e-9) + 1):
            y = self.y(tick * step)
            self.pen.line((self.x0, y, self.x0 + self.width, y), fill=_INK if tick == 0 else _GRID)
            self.text((self.x0 - 8, y), f"{tick * step:g}", "rm")
        self.text((8, _TOP - 10), unit, "lb")

    def y(self, value: float) -> float:
        return self.y0 - value / self._most * self._height

    def text(self, at: tuple[float, float], text: str, anchor: str, px: int = _TEXT) -> None:
        self.pen.text(at, text, fill=_INK, font=ImageFont.load_default(px), anchor=anchor)

    def label(self, x: float, text: str, room: float) -> None:
        """Write a label below the axis; words go to lines of their own where one line has no room."""
        font = ImageFont.load_default(_TEXT)
        wide = font.getlength(text) > room
        for number, part in enumerate(text.split() if wide else [text]):
            self.text((x, self.y0 + 8 + number * (_TEXT + 3)), part, "ma")

    def mark(self, x: float, y: float, radius: float, number: int) -> None:
        """Draw a series' mark; where its colour is used again, the mark is another one."""
        turn, color = divmod(number, len(_COLORS))
        square, hollow = turn // 2 % 2, turn % 2
        draw = self.pen.rectangle if square else self.pen.ellipse
        box = (x - radius, y - radius, x + radius, y + radius)
        draw(box, fill="white" if hollow else _COLORS[color], outline=_COLORS[color], width=2)

    def save(self, path: Path) -> None:
        with atomic_write(path) as temporary:
            self.image.save(temporary, format="PNG")

    def _legend(self, names: list[str]) -> None:
        x, y, font = float(_LEFT), 38, ImageFont.load_default(_TEXT)
        for number, name in enumerate(names):
            wide = 36 + font.getlength(name)
            if x + wide > _SIZE[0] and x > _LEFT:
                x, y = float(_LEFT), y + _TEXT + 3
            self.mark(x + 6, y + 6, 6, number)
            self.text((x + 18, y + 6), name, "lm")
            x += wide


def _step(most: float) -> float:
    """Return the distance of grid lines, 1, 2 or 5 times a power of ten, for about five of them."""
    rough = max(most, 1e-6) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    return power * next(factor for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
