"""Files for the tests of `fauxface scan` to judge, and what a scan left behind."""

import json
from pathlib import Path

import jsonschema
import numpy as np

from fauxface import images
from fauxface.errors import VideoError
from fauxface.sources import Source
from fauxface.video import Frame, FrameReader, FrameWriter

ROOT = Path(__file__).parents[1]
VALIDATOR = jsonschema.Draft202012Validator(json.loads((ROOT / "docs/result.schema.json").read_text()))
RED, GRAY = (255, 0, 0), (128, 128, 128)
EMPTY = np.zeros((160, 200, 3), np.uint8)


def scene(color=RED, side=96):
    image = np.zeros((160, 200, 3), np.uint8)
    image[30 : 30 + side, 50 : 50 + side] = color
    return image


def clip(path, count=6, fps=10, color=GRAY):
    with FrameWriter(path, fps, (200, 160)) as writer:
        for _ in range(count):
            writer.write(scene(color))


def records(path):
    found = [json.loads(line) for line in Path(path).read_text().splitlines()]
    for record in found:
        VALIDATOR.validate(record)
    return found


def tree(folder):
    return sorted(p.relative_to(folder).as_posix() for p in Path(folder).rglob("*") if p.is_file())


def read(path: Path | Source, **options) -> tuple[list[Frame], str | None]:
    """Return all frames of a source, and the error that ended them."""
    frames: list[Frame] = []
    try:
        with FrameReader(path, **options) as reader:
            frames.extend(reader)
    except VideoError as error:
        return frames, str(error)
    return frames, None


def archive(folder):
    """Three good pictures in two folders, one without a face, one broken, and a video."""
    images.write(folder / "a.png", scene())
    images.write(folder / "sub/a.png", scene(GRAY))
    images.write(folder / "sub/b.webp", scene())
    images.write(folder / "empty.png", EMPTY)
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 broken")
    clip(folder / "sub/clip.mp4")


def summary(found):
    return [
        (r["source"], r["frame"], (r["error"] or {}).get("type"), [f["label"] for f in r["faces"]])
        for r in found
    ]


ARCHIVE = [
    ("in/a.png", None, None, ["generated"]),
    ("in/broken.jpg", None, "ImageError", []),
    ("in/empty.png", None, "NoFaceError", []),
    ("in/sub/a.png", None, None, ["bona_fide"]),
    ("in/sub/b.webp", None, None, ["generated"]),
    *[("in/sub/clip.mp4", i, None, ["bona_fide"]) for i in range(6)],
]
