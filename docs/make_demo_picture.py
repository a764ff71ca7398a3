"""Make the README's picture from what `fauxface demo` wrote: one annotated frame of each part of the clip.

Usage: python docs/make_demo_picture.py fauxface-demo
"""

import sys
from pathlib import Path

import cv2
import numpy as np

from fauxface import images
from fauxface.demo import FPS, SECONDS_EACH
from fauxface.video import FrameReader

TARGET = Path(__file__).parent / "images" / "demo.jpg"
COLUMNS = 5
FRAMES = 10
SIZE = (320, 240)


def picture(demo: Path) -> np.ndarray:
    """Return the first frames' middle of each part in a grid, uint8 [H, W, 3], RGB."""
    length = round(FPS * SECONDS_EACH)
    with FrameReader(demo / "annotated" / "clip.mp4") as reader:
        shown = [f.image for f in reader if f.index % length == length // 2][:FRAMES]
    cells = [cv2.resize(image, SIZE, interpolation=cv2.INTER_AREA) for image in shown]
    rows = [np.hstack(cells[i : i + COLUMNS]) for i in range(0, len(cells), COLUMNS)]
    return np.vstack(rows)


if __name__ == "__main__":
    images.write(TARGET, picture(Path(sys.argv[1])))
    sys.stdout.write(f"{TARGET}\n")
