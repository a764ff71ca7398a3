"""Known failures that may be shown: generated pictures of one's own that the finished bundle gets wrong."""

import hashlib
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fauxface import images
from fauxface.annotate import COLORS, WORDS, percent
from fauxface.bundle import Bundle
from fauxface.crops import INPUT_SIZE, extract, face_square, to_input
from fauxface.errors import DataError
from fauxface.results import Face
from fauxface.scanner import Scanner
from fauxface.sources import IMAGE_SUFFIXES
from fauxface.verdicts import BONA_FIDE, GENERATED, UNSURE
from fauxface_train.provenance import trained_whole

SHOWN = 24
_COLUMNS, _GAP, _LINE = 6, 8, 14
_CAPTION = 4 + 2 * _LINE


def pictures(folder: Path, forbidden: Collection[str] = ()) -> list[Path]:
    """Return the pictures of a folder, searched recursively, in the order of their names.

    Args:
        folder: Generated pictures that may be given away.
        forbidden: SHA-256 of files that may not go into a bundle: the pictures of the prepared data.

    Raises:
        DataError: The folder is missing, holds no picture, or one that is forbidden.
    """
    if not folder.is_dir():
        raise DataError(f"no folder {folder}; give --failures a folder of generated pictures")
    paths = sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix.lower() in IMAGE_SUFFIXES)
    if not paths:
        raise DataError(f"{folder} holds no picture; give --failures a folder of generated pictures")
    for path in paths:
        if hashlib.sha256(path.read_bytes()).hexdigest() in forbidden:
            raise DataError(f"{path} belongs to the prepared data; what --failures shows is given away")
    return paths


def collect(bundle: Bundle, paths: Sequence[Path], target: Path) -> dict[str, Any]:
    """Scan generated pictures as a bundle is to be used, and draw those that it doesn't call generated.

    The largest face of each picture counts. An unsure verdict is an error, as it is for APCER. The folder
    that holds a picture is to be named after its generator.

    Args:
        bundle: The finished bundle.
        paths: Generated pictures.
        target: The PNG to write; it isn't written where every face was called generated.

    Returns:
        Counts of `pictures`, of those with `no_face`, and of each verdict; the same by the name of the
        folder, as `generators`; how many are `shown`, and the `file`'s name, None where there is none.

    Raises:
        DataError: A picture can't be read.
    """
    generators: dict[str, Counter[str]] = {}
    wrong: list[tuple[Face, Path]] = []
    faces = "whole" if trained_whole(bundle.manifest.provenance) else "locate"
    scanner = Scanner(bundle, provider="cpu", faces=faces)
    for result, path in zip(scanner.images(paths), paths, strict=True):
        if result.error is not None and result.error.type != "NoFaceError":
            raise DataError(f"can't scan {path}: {result.error.message}; replace or remove it")
        face = max(result.faces, key=lambda face: face.face_px, default=None)
        counts = generators.setdefault(path.resolve().parent.name, Counter())
        counts["no_face" if face is None else face.label] += 1
        if face is not None and face.label != GENERATED:
            wrong.append((face, path))
    wrong.sort(key=lambda item: item[0].p_generated)
    shown = wrong[:SHOWN]
    if shown:
        images.write(target, _grid(shown, bundle.manifest.crop.margin))
    outcomes = ("no_face", BONA_FIDE, UNSURE, GENERATED)
    return {
        "pictures": len(paths),
        **{key: sum(counts[key] for counts in generators.values()) for key in outcomes},
        "generators": {
            name: {key: counts[key] for key in outcomes} for name, counts in sorted(generators.items())
        },
        "shown": len(shown),
        "file": target.name if shown else None,
    }


def _grid(shown: Sequence[tuple[Face, Path]], margin: float) -> np.ndarray:
    """Draw the crops that the classifier saw, worst first, each with its verdict and its folder."""
    columns = min(_COLUMNS, len(shown))
    step = INPUT_SIZE + _GAP
    size = (columns * step + _GAP, -(-len(shown) // columns) * (step + _CAPTION) + _GAP)
    canvas = Image.new("RGB", size, "white")
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(12)
    for number, (face, path) in enumerate(shown):
        row, column = divmod(number, columns)
        left, top = _GAP + column * step, _GAP + row * (step + _CAPTION)
        crop = to_input(extract(images.read(path), face_square(face.box, margin)))
        canvas.paste(Image.fromarray(crop), (left, top))
        bottom = top + INPUT_SIZE
        pen.rectangle((left, bottom, left + INPUT_SIZE - 1, bottom + 2), fill=COLORS[face.label])
        text = f"{WORDS[face.label]} ({percent(face.p_generated)} gen.)"
        pen.text((left, bottom + 4), text, fill="black", font=font)
        pen.text(
            (left, bottom + 4 + _LINE), _fitted(path.resolve().parent.name, font), fill="black", font=font
        )
    return np.asarray(canvas)


def _fitted(name: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """Return a name, cut to a crop's width."""
    if font.getlength(name) <= INPUT_SIZE:
        return name
    while name and font.getlength(f"{name}...") > INPUT_SIZE:
        name = name[:-1]
    return f"{name}..."
