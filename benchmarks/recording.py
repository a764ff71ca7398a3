"""What the speed scripts share: their options, clips to measure on, and results that name their machine."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import harness
import start
from fauxface import images
from fauxface.bundle import DEFAULT_BUNDLE
from fauxface.errors import GateError
from fauxface.session import installed_distributions
from fauxface.threads import available_cores
from fauxface.video import FrameReader, FrameWriter
from fauxface_train import provenance

DEMO_MEDIA = DEFAULT_BUNDLE.parent / "demo_media"


def parser(description: str | None, name: str) -> argparse.ArgumentParser:
    """Return a parser with the options that the speed scripts share.

    Args:
        description: The script's docstring.
        name: Name of the benchmark, of its format and of its result file.
    """
    made = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    harness.add_common(made, name)
    return made


def clips(given: Sequence[Path], folder: Path) -> list[Path]:
    """Return the clips that were given, or one of our own where none was.

    Args:
        given: Video files.
        folder: Where a clip of our own is made.

    Raises:
        VideoError: One is missing or no video.
    """
    for path in given:
        FrameReader(path).close()
    return list(given) or [make_clip(folder / "demo_1080p.mp4")]


def require_held(rows: Sequence[dict[str, Any]], key: str) -> None:
    """Do nothing where every row held its limit.

    Args:
        rows: What was measured, each with "held".
        key: What names a row.

    Raises:
        GateError: One didn't.
    """
    if missed := dict.fromkeys(str(row[key]) for row in rows if not row["held"]):
        raise GateError(f"a limit isn't held: {', '.join(missed)}; the result is written all the same")


def save(arguments: argparse.Namespace, began: start.Before, body: dict[str, Any]) -> None:
    """Write a result with its format, model, machine and versions.

    Where the machine has other work by now, which may have come while it was measured, the result is a trial.

    Args:
        arguments: From `parser`.
        began: What was asked before the run.
        body: What was measured.
    """
    share = None if arguments.busy else start.busy_share()
    late = share is not None and share > start.BUSY_SHARE
    if late:
        sys.stderr.write(f"other processes take {share:.0%} of the processors: this counts as a trial run\n")
    header = harness.header(arguments, began)
    document = {
        "format": f"fauxface.{arguments.benchmark}/1",
        **header,
        "trial": header["trial"] or late,
        "versions": provenance.versions() | installed_distributions(),
        "threads": available_cores(),
        **body,
    }
    harness.write(document, arguments.out)


def ms(seconds: Sequence[float], q: float = 50) -> float:
    """Return a percentile of times in milliseconds."""
    return round(1000 * float(np.percentile(seconds, q)), 3)


def rate(count: int, seconds: float) -> float:
    """Return how many there were per second."""
    return round(count / seconds, 2)


def make_clip(path: Path, frames: int = 100, size: tuple[int, int] = (1920, 1080)) -> Path:
    """Write a clip in which the demo's generated faces drift over a textured ground.

    Args:
        path: The mp4 file.
        frames: Its length.
        size: Width and height of the frames in pixels.
    """
    width, height = size
    rng = np.random.default_rng(0)
    ground = cv2.resize(rng.integers(60, 120, (27, 48, 3), np.uint8), size, interpolation=cv2.INTER_CUBIC)
    side = height // 3
    faces = [
        cv2.resize(images.read(p), (side, side), interpolation=cv2.INTER_CUBIC)
        for p in sorted(DEMO_MEDIA.glob("*.png"))
    ]
    with FrameWriter(path, 25, size) as writer:
        for i in range(frames):
            frame = ground.copy()
            for j, face in enumerate(faces[:3]):
                x = (j * width // 3 + 4 * i) % (width - side)
                y = round((height - side) * (0.5 + 0.4 * np.sin(i / 20 + 2 * j)))
                frame[y : y + side, x : x + side] = face
            writer.write(frame)
    return path
