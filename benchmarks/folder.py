"""Measure how many pictures per second a folder is scanned at: one after the other, and read ahead.

Usage: python benchmarks/folder.py [PICTURE ...] [--threads N] [--rounds N] [--busy] [--out FILE]

Without pictures, photographs of 12 and of 1 megapixels are made of the demo's generated faces. `image` in a
loop uses all cores for one picture after the other; `images` reads and searches as many at once. Both take
turns, and must find the same.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import harness
import recording
import start
from fauxface import Result, Scanner, heap, images
from fauxface.errors import GateError

SIZES = {"12 megapixels": (4000, 3000), "1 megapixel": (1200, 900)}
COUNT = 24

Way = Callable[[Scanner, Sequence[Path]], list[Result]]


def in_a_loop(scanner: Scanner, paths: Sequence[Path]) -> list[Result]:
    """Scan one picture after the other."""
    return [scanner.image(path) for path in paths]


def read_ahead(scanner: Scanner, paths: Sequence[Path]) -> list[Result]:
    """Scan pictures as a folder's are."""
    return list(scanner.images(paths))


WAYS: dict[str, Way] = {"image in a loop": in_a_loop, "images": read_ahead}


def make_pictures(folder: Path, size: tuple[int, int], count: int) -> list[Path]:
    """Write JPEGs of quality 92, in which demo faces lie on a textured, noisy ground; two in each.

    Args:
        folder: Where they are written.
        size: Width and height in pixels.
        count: How many.
    """
    width, height = size
    faces = [images.read(path) for path in sorted(recording.DEMO_MEDIA.glob("*.png"))]
    side = height // 3
    made = []
    for number in range(count):
        rng = np.random.default_rng(number)
        ground = cv2.resize(rng.integers(60, 160, (27, 48, 3), np.uint8), size, interpolation=cv2.INTER_CUBIC)
        for place in range(2):
            face = cv2.resize(faces[(2 * number + place) % len(faces)], (side, side))
            x = int(rng.integers(0, width // 2 - side)) + place * width // 2
            y = int(rng.integers(0, height - side))
            ground[y : y + side, x : x + side] = face
        noise = rng.normal(0, 4, (height, width, 1)).astype(np.float32)
        picture = np.clip(ground + noise, 0, 255).astype(np.uint8)
        made.append(folder / f"{width}x{height}-{number:03}.jpg")
        images.write(made[-1], picture)
    return made


def alike(one: Sequence[Result], other: Sequence[Result]) -> bool:
    """Tell whether results are the same, but for the rounding of probabilities by other batches."""

    def places(results: Sequence[Result]) -> list[Any]:
        return [(result.source, result.error, [(f.box, f.label) for f in result.faces]) for result in results]

    p, q = ([face.p_generated for result in results for face in result.faces] for results in (one, other))
    return places(one) == places(other) and np.allclose(p, q, atol=1e-4)


def measure(scanner: Scanner, name: str, paths: Sequence[Path], rounds: int) -> dict[str, Any]:
    """Return the rates of both ways.

    Raises:
        GateError: They find something else, or no face.
    """
    spent: dict[str, list[float]] = {way: [] for way in WAYS}
    found: dict[str, list[Result]] = {}
    for turn in range(rounds + 1):
        for way in harness.turned(list(WAYS), turn):
            since = time.perf_counter()
            found[way] = WAYS[way](scanner, paths)
            if turn:  # the first warms up
                spent[way].append(time.perf_counter() - since)
    one, other = found.values()
    if not alike(one, other) or not any(result.faces for result in one):
        raise GateError(f"{name}: the two ways find something else, or no face; their rates mean nothing")
    slow, fast = spent.values()
    return {
        "pictures": name,
        "count": len(paths),
        "faces": sum(len(result.faces) for result in one),
        "pictures_per_s": {
            way: recording.rate(len(paths), statistics.median(values)) for way, values in spent.items()
        },
        "seconds": {way: [round(value, 4) for value in values] for way, values in spent.items()},
        "ratio": harness.ratio(slow, fast).to_dict(),
    }


def main() -> None:
    """Measure, print, write the JSON.

    Raises:
        GateError: The two ways find something else.
    """
    parser = recording.parser(__doc__, "folder")
    parser.add_argument("pictures", nargs="*", type=Path)
    parser.add_argument("--threads", type=harness.positive)
    parser.add_argument("--rounds", type=harness.positive, default=7)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    heap.share_among_threads()
    with tempfile.TemporaryDirectory() as folder:
        sets = (
            {"given": arguments.pictures}
            if arguments.pictures
            else {name: make_pictures(Path(folder), size, COUNT) for name, size in SIZES.items()}
        )
        began = start.before(arguments)
        scanner = Scanner(arguments.bundle, provider="cpu", threads=arguments.threads)
        rows = [measure(scanner, name, paths, arguments.rounds) for name, paths in sets.items()]
    recording.save(
        arguments, began, {"scan_threads": scanner.threads, "rounds": arguments.rounds, "rows": rows}
    )
    for row in rows:
        rates = ", ".join(f"{way} {value}" for way, value in row["pictures_per_s"].items())
        sys.stdout.write(
            f"{row['pictures']}: pictures/s: {rates}; {row['ratio']['value']:.2f} times as many\n"
        )


if __name__ == "__main__":
    harness.run(main)
