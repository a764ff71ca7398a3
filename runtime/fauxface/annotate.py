"""Drawing verdicts onto pictures: colour, word and shape each tell the verdict on their own."""

import functools
import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fauxface.results import Face, Result
from fauxface.verdicts import BONA_FIDE, GENERATED, UNSURE

Color = tuple[int, int, int]
Rect = tuple[int, int, int, int]

# Okabe and Ito, "Color Universal Design", 2008: bluish green, vermillion, yellow.
COLORS: dict[str, Color] = {BONA_FIDE: (0, 158, 115), GENERATED: (213, 94, 0), UNSURE: (240, 228, 66)}
WORDS = {BONA_FIDE: "bona fide", GENERATED: "generated", UNSURE: "unsure"}
_BLACK: Color = (0, 0, 0)
_GRAY: Color = (200, 200, 200)
_SMALLEST_TEXT = 10


def percent(p: float) -> str:
    """Return a probability as text; only a true 0 or 1 reads as 0% or 100%."""
    if 0 < p < 0.01:
        return "<1%"
    if 0.99 < p < 1:
        return ">99%"
    return f"{p:.0%}"


def draw(image: np.ndarray, result: Result) -> np.ndarray:
    """Draw a result onto a copy of its picture.

    Bona fide: solid frame, check mark. Generated: heavy dashed frame, cross. Unsure: dotted frame, question
    mark.
    Each label has the word and the probability of "generated". Lines and text grow with picture and faces.

    Args:
        image: uint8 [H, W, 3], RGB, upright.
        result: What was found in it.

    Returns:
        uint8 [H, W, 3], RGB, of the same size; writable.
    """
    canvas = Image.fromarray(image)
    pen = ImageDraw.Draw(canvas)
    width, height = canvas.size
    side = min(width, height)
    frames = [_frame(face, canvas.size) for face in result.faces]
    # Small faces are framed last, so that a large one never hides them.
    for face, frame in zip(result.faces, frames, strict=True):
        unit = max(1, round(min(side / 260, (frame[2] - frame[0]) / 50)))
        _draw_frame(pen, frame, face.label, unit)
    text_px = _text_px(side, frames)
    placed: list[Rect] = []
    for face, frame in zip(result.faces, frames, strict=True):
        label = _fit(_texts(face), text_px, face.label, width, 2.2 * (frame[2] - frame[0]))
        rect = _place(label, frame, placed, [f for f in frames if f is not frame], canvas.size)
        placed.append(rect)
        _draw_label(pen, rect, label)
    if not result.faces:
        label = _fit(["no face found", "no face", "none"], text_px, None, width, width / 2)
        _draw_label(pen, (0, 0, label.size[0], label.size[1]), label)
    return np.array(canvas)


@dataclass(frozen=True, slots=True)
class _Label:
    text: str
    icon: str | None
    text_px: int
    size: tuple[int, int]

    @property
    def pad(self) -> int:
        return max(2, self.text_px // 4)


@functools.lru_cache(maxsize=64)
def _font(text_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(text_px)


def _text_px(side: int, frames: list[Rect]) -> int:
    """Return the text size: a 30th of the picture, less where the typical face is small, at least a 64th."""
    faces = sorted(right - left for left, _, right, _ in frames)
    typical = faces[len(faces) // 2] / 4.5 if faces else side
    return max(_SMALLEST_TEXT, round(min(side / 30, max(side / 64, typical))))


def _texts(face: Face) -> list[str]:
    """Return the label's text from long to short."""
    word, p = WORDS[face.label], percent(face.p_generated)
    if face.label == GENERATED:
        return [f"{word} {p}", f"{word} {p}", word, p]
    return [f"{word} ({p} generated)", f"{word} ({p} gen.)", word, p]


def _measure(text: str, icon: str | None, text_px: int) -> _Label:
    pad = max(2, text_px // 4)
    wide = math.ceil(_font(text_px).getlength(text)) + 2 * pad + (text_px + pad if icon else 0)
    return _Label(text, icon, text_px, (wide, text_px + 2 * pad))


def _fit(texts: list[str], text_px: int, icon: str | None, width: int, wished: float) -> _Label:
    """Return the first text if it is at most `wished` pixels wide, else the next that the picture can hold.

    Where no text has room, the text shrinks; the last resort may be cut off at the picture's edge.
    """
    label = _measure(texts[0], icon, text_px)
    if label.size[0] <= min(wished, width / 2):
        return label
    shorter = [_measure(text, icon, px) for px in (text_px, _SMALLEST_TEXT) for text in texts[1:]]
    return next((label for label in shorter if label.size[0] <= width), shorter[-1])


def _frame(face: Face, size: tuple[int, int]) -> Rect:
    """Return the box's left, top, right and bottom pixel, kept inside the picture."""
    x, y, w, h = face.box
    left, top = min(max(round(x), 0), size[0] - 1), min(max(round(y), 0), size[1] - 1)
    right, bottom = max(round(x + w) - 1, left), max(round(y + h) - 1, top)
    return left, top, min(right, size[0] - 1), min(bottom, size[1] - 1)


def _draw_frame(pen: ImageDraw.ImageDraw, frame: Rect, label: str, unit: int) -> None:
    line = {BONA_FIDE: 2, GENERATED: 3, UNSURE: 2}[label] * unit
    dash = {BONA_FIDE: None, GENERATED: (8 * unit, 4 * unit), UNSURE: (line, 2 * line)}[label]
    edge = max(1, unit)
    # A black rim on both sides keeps the colour readable on any background.
    if dash is None:
        pen.rectangle(_inset(frame, 0), outline=_BLACK, width=line + 2 * edge)
        pen.rectangle(_inset(frame, edge), outline=COLORS[label], width=line)
        return
    for part in _dashes(frame, line + 2 * edge, dash):
        pen.rectangle(part, fill=_BLACK)
        x0, y0, x1, y1 = part
        if x1 - x0 > 2 * edge and y1 - y0 > 2 * edge:
            pen.rectangle((x0 + edge, y0 + edge, x1 - edge, y1 - edge), fill=COLORS[label])
        else:
            pen.rectangle(part, fill=COLORS[label])


def _inset(frame: Rect, by: int) -> Rect:
    left, top, right, bottom = frame
    by = min(by, (right - left) // 2, (bottom - top) // 2)
    return left + by, top + by, right - by, bottom - by


def _dashes(frame: Rect, thick: int, dash: tuple[int, int]) -> list[Rect]:
    """Return the dashes along the four inner sides of a frame; each side starts and ends with one."""
    left, top, right, bottom = frame
    on, off = dash[0] + thick // 2, dash[1]
    parts: list[Rect] = []
    for low, high, horizontal in ((left, right, True), (top, bottom, False)):
        length = high - low + 1
        count = max(1, round((length + off) / (on + off)))
        long = min(on, length)
        starts = np.linspace(low, high + 1 - long, max(2, count)).round().astype(int).tolist()
        for start in starts:
            end = start + long - 1
            if horizontal:
                parts.append((start, top, end, min(top + thick - 1, bottom)))
                parts.append((start, max(bottom - thick + 1, top), end, bottom))
            else:
                parts.append((left, start, min(left + thick - 1, right), end))
                parts.append((max(right - thick + 1, left), start, right, end))
    return parts


def _place(label: _Label, frame: Rect, placed: list[Rect], others: list[Rect], size: tuple[int, int]) -> Rect:
    """Choose the label's place: above, below, beside or inside its frame, where it hides the least."""
    wide, high = label.size
    left, top, right, bottom = frame
    spots = [
        (left, top - high),
        (left, bottom + 1),
        (right + 1 - wide, top - high),
        (right + 1 - wide, bottom + 1),
        (right + 1, top),
        (left - wide, top),
        (right + 1, bottom + 1 - high),
        (left - wide, bottom + 1 - high),
        (left, bottom + 1 - high),
        (left, top),
    ]
    inside = [(max(0, min(x, size[0] - wide)), max(0, min(y, size[1] - high))) for x, y in spots]
    rects = [(x, y, x + wide, y + high) for x, y in inside]

    def hidden(rect: Rect) -> float:
        labels = sum(_overlap(rect, other) for other in placed)
        faces = sum(_overlap(rect, other) for other in others)
        return 4.0 * labels + 2.0 * faces + _overlap(rect, frame)

    return min(rects, key=hidden)


def _overlap(a: Rect, b: Rect) -> int:
    return max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))


def _draw_label(pen: ImageDraw.ImageDraw, rect: Rect, label: _Label) -> None:
    x0, y0, x1, y1 = rect
    pad, px = label.pad, label.text_px
    color = COLORS[label.icon] if label.icon else _GRAY
    pen.rectangle((x0, y0, x1 - 1, y1 - 1), fill=color, outline=_BLACK, width=max(1, px // 14))
    x = x0 + pad
    if label.icon:
        _draw_icon(pen, (x, y0 + pad, px), label.icon)
        x += px + pad
    pen.text((x, y0 + (y1 - y0) / 2), label.text, fill=_BLACK, font=_font(px), anchor="lm")


def _draw_icon(pen: ImageDraw.ImageDraw, place: tuple[int, int, int], label: str) -> None:
    """Draw the shape of a verdict into a square given by x, y and side."""
    x, y, side = place
    stroke = max(2, side // 6)

    def at(u: float, v: float) -> tuple[float, float]:
        return x + u * side, y + v * side

    if label == BONA_FIDE:
        pen.line([at(0.1, 0.55), at(0.4, 0.85), at(0.9, 0.15)], fill=_BLACK, width=stroke, joint="curve")
    elif label == GENERATED:
        pen.line([at(0.12, 0.12), at(0.88, 0.88)], fill=_BLACK, width=stroke)
        pen.line([at(0.88, 0.12), at(0.12, 0.88)], fill=_BLACK, width=stroke)
    else:
        font = _font(round(1.15 * side))
        pen.text(at(0.5, 0.5), "?", fill=_BLACK, font=font, anchor="mm", stroke_width=stroke // 3)
