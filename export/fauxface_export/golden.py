"""Golden crops: inputs with the logits that the trained network gives, replayed by `fauxface doctor`."""

import hashlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fauxface import crops, images
from fauxface.errors import DataError
from fauxface.locator import FaceLocator
from fauxface.sources import IMAGE_SUFFIXES

MAX_PICTURES = 32


def picture_crops(
    folder: Path, locator: FaceLocator | None, margin: float, forbidden: Collection[str] = ()
) -> np.ndarray:
    """Crop the largest face of every picture in a folder, by the runtime's own rule.

    Where no face is found, or searched, the central square of the picture is taken.

    Args:
        folder: Searched recursively; of more than 32 pictures, 32 spread over the sorted names are taken.
        locator: The bundle's locator; None for a model of whole pictures.
        margin: Side of the crop over the longer side of the face box.
        forbidden: SHA-256 of files that may not go into a bundle: the pictures of the prepared data.

    Returns:
        uint8 [K, 128, 128, 3] RGB; K is 0 where the folder holds no picture.

    Raises:
        DataError: The folder doesn't exist, or a picture is forbidden.
        ImageError: A picture can't be read.
    """
    if not folder.is_dir():
        raise DataError(f"no folder {folder} of golden pictures; give --golden a folder of pictures")
    paths = _pictures(folder)
    chosen = [paths[i] for i in spread(len(paths), MAX_PICTURES)]
    found = []
    for path in chosen:
        if _sha256(path) in forbidden:
            raise DataError(
                f"{path} belongs to the prepared data; golden crops are given away with the bundle"
            )
        image = images.read(path)
        faces = locator.locate(image) if locator else []
        height, width = image.shape[:2]
        square = crops.face_square(faces[0].box, margin) if faces else crops.whole_square(width, height)
        found.append(crops.to_input(crops.extract(image, square)))
    return np.stack(found) if found else np.empty((0, crops.INPUT_SIZE, crops.INPUT_SIZE, 3), np.uint8)


def hashes(folder: Path) -> set[str]:
    """Return the SHA-256 of the pictures of a folder; none where it doesn't exist."""
    return {_sha256(path) for path in _pictures(folder)}


def patterns() -> np.ndarray:
    """Return crops that need no picture: black, white, a colour ramp, a checkerboard, stripes and noise.

    Returns:
        uint8 [6, 128, 128, 3], RGB; the same on every machine.
    """
    size = crops.INPUT_SIZE
    y, x = np.mgrid[:size, :size]
    made = np.zeros((6, size, size, 3), np.uint8)
    made[1] = 255
    made[2] = np.stack([2 * x, 2 * y, 255 - 2 * x], axis=-1)
    made[3] = (((x // 8 + y // 8) % 2) * 255)[..., None]
    made[4] = np.stack([(x % 2) * 255, (y % 2) * 255, ((x + y) % 4) * 85], axis=-1)
    # numpy may change its random streams from one release to the next; a hash function's output stays.
    noise = np.frombuffer(hashlib.shake_256(b"fauxface").digest(size * size * 3), np.uint8)
    made[5] = noise.reshape(size, size, 3)
    return made


def save(path: Path, inputs: np.ndarray, logits: Mapping[str, np.ndarray]) -> None:
    """Write golden.npz.

    Args:
        path: Where to write.
        inputs: uint8 [K, 128, 128, 3], RGB.
        logits: Precision to float32 [K, 2].
    """
    arrays: dict[str, Any] = {
        "logits" if precision == "fp32" else f"logits_{precision}": values.astype(np.float32)
        for precision, values in logits.items()
    }
    with path.open("wb") as file:
        np.savez_compressed(file, crops=inputs, **arrays)


def spread(total: int, wanted: int) -> list[int]:
    """Return at most `wanted` indices, evenly spread over `range(total)`."""
    if total <= wanted:
        return list(range(total))
    return [round(i) for i in np.linspace(0, total - 1, wanted)]


def _pictures(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix.lower() in IMAGE_SUFFIXES)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
