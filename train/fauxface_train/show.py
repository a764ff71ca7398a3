"""Pictures of prepared data for people to look at."""

import random
from itertools import groupby

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fauxface.errors import DataError
from fauxface_train.dataset import FOLDER_LABELS, PreparedData, load_crop

_CELL = 96
_GAP = 4
_TEXT_WIDTH = 190
_COLOURS = ((0, 92, 160), (184, 62, 0))


def sample_grid(data: PreparedData, columns: int = 10, split: str | None = None, seed: int = 0) -> np.ndarray:
    """Draw a grid of nominal crops, one row for each split, label and source.

    Args:
        data: Prepared data.
        columns: Most pictures per row.
        split: Only this split.
        seed: Chooses the pictures.

    Returns:
        uint8 [H, W, 3], RGB.

    Raises:
        DataError: There is no sample to show, or a crop can't be read.
    """
    rows = [
        (key, list(group))
        for key, group in groupby(data.samples(split), key=lambda s: (s.split, s.label, s.source))
    ]
    if not rows:
        raise DataError(f"{data.root} has no sample in split {split}; choose another split")
    width = _TEXT_WIDTH + columns * (_CELL + _GAP)
    canvas = Image.new("RGB", (width, len(rows) * (_CELL + _GAP) + _GAP), "white")
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(13)
    for number, ((name, label, source), samples) in enumerate(rows):
        top = _GAP + number * (_CELL + _GAP)
        text = f"{name} / {FOLDER_LABELS[label]}\n{_short(source)}\n{len(samples)} pictures"
        draw.multiline_text((_GAP, top + 20), text, fill=_COLOURS[label], font=font)
        chosen = random.Random(seed).sample(samples, min(columns, len(samples)))
        for place, sample in enumerate(chosen):
            cell = cv2.resize(load_crop(sample), (_CELL, _CELL), interpolation=cv2.INTER_AREA)
            canvas.paste(Image.fromarray(cell), (_TEXT_WIDTH + place * (_CELL + _GAP), top))
    return np.array(canvas)


def _short(text: str, most: int = 24) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
