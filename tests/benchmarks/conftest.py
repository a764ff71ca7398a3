import importlib
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from fauxface import Scanner
from fauxface.video import FrameWriter

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
TINY_BUNDLE = Path(__file__).parents[1] / "data/tiny_bundle"

# The scripts import each other by bare names, as they do when they are run.
for folder in (BENCHMARKS, BENCHMARKS / "workers"):
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


@pytest.fixture(scope="session")
def load():
    """Import a script of benchmarks/ by its name."""
    return importlib.import_module


@pytest.fixture
def scanner():
    threads = cv2.getNumThreads()
    yield Scanner(TINY_BUNDLE, provider="cpu", threads=2)
    cv2.setNumThreads(threads)


@pytest.fixture(scope="session")
def clip(tmp_path_factory):
    """A clip of one face that moves, and of two frames without one."""
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    with FrameWriter(path, 25, (320, 240)) as writer:
        for i in range(12):
            image = np.zeros((240, 320, 3), np.uint8)
            if i < 10:
                image[60:140, 40 + 6 * i : 120 + 6 * i] = (255, 120, 120)
            writer.write(image)
    return path
