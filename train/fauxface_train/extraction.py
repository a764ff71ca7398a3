"""One picture file to one stored crop: decode, find the face, cut, take fingerprints."""

import base64
import hashlib
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from fauxface import crops, images
from fauxface.crops import Box, Square
from fauxface.errors import ImageError
from fauxface.files import atomic_write
from fauxface.locator import FaceLocator, Location
from fauxface_train import duplicates

ROOM = 1.25
"""Side of the stored crop over the side of the nominal crop: the space for jitter in training."""

OK, UNREADABLE, NO_FACE, TOO_SMALL = "ok", "unreadable", "no_face", "too_small"


@dataclass(frozen=True, slots=True)
class CropRule:
    """How a picture becomes a crop.

    Attributes:
        margin: Side of the nominal crop over the longer side of the face box; not used for whole pictures.
        whole: Take the largest centred square of the picture instead of looking for a face.
        min_face: Faces whose longer side has fewer pixels than this are left out.
        tolerant: Accept pictures whose data end early.
    """

    margin: float = 1.0
    whole: bool = False
    min_face: int = 40
    tolerant: bool = False


@dataclass(frozen=True, slots=True)
class Extract:
    """What came of one file; everything but `sha256`, `status` and `reason` only where the status is "ok".

    Attributes:
        sha256: Hash of the file's bytes.
        status: "ok", "unreadable", "no_face" or "too_small".
        reason: Why it isn't "ok", one line.
        format: Container, for example "JPEG".
        width: Width of the upright picture in pixels.
        height: Height of the upright picture in pixels.
        box: Face box x, y, w, h in pixels of the upright picture.
        score: The locator's score, None for whole pictures.
        landmarks: Five (x, y) in pixels of the upright picture, empty for whole pictures.
        square: Nominal crop as x, y, side in pixels of the stored crop.
        pixels: Hash of the decoded pixels and size.
        crop_hash: 64-bit difference hash of the nominal crop.
        frame_hash: 64-bit difference hash of the whole picture.
        thumb: The nominal crop as gray uint8 [32, 32], raw bytes.
    """

    sha256: str
    status: str
    reason: str = ""
    format: str = ""
    width: int = 0
    height: int = 0
    box: Box = (0.0, 0.0, 0.0, 0.0)
    score: float | None = None
    square: tuple[int, int, int] = (0, 0, 0)
    pixels: str = ""
    crop_hash: int = 0
    frame_hash: int = 0
    thumb: bytes = b""
    landmarks: tuple[tuple[float, float], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        if self.status != OK:
            return {"sha256": self.sha256, "status": self.status, "reason": self.reason}
        values = {name: getattr(self, name) for name in self.__slots__}
        return values | {"thumb": base64.b64encode(self.thumb).decode()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Extract":
        """Read what `to_dict` wrote.

        Raises:
            KeyError, TypeError, ValueError: The values aren't those of an extract.
        """
        values = dict(values)
        if values["status"] == OK:
            x, y, w, h = values["box"]
            left, top, side = values["square"]
            values |= {
                "box": (x, y, w, h),
                "square": (left, top, side),
                "thumb": base64.b64decode(values["thumb"], validate=True),
                "landmarks": tuple((float(x), float(y)) for x, y in values.get("landmarks", ())),
            }
        return cls(**values)


def work_path(folder: Path, sha256: str) -> Path:
    """Return where the crop of a file lies until its place in the prepared data is known."""
    return folder / sha256[:2] / f"{sha256[:16]}.png"


def extract_file(
    path: str | os.PathLike[str], rule: CropRule, locator: FaceLocator | None, folder: Path
) -> Extract:
    """Decode a file, find its face and store the crop with its room as `work_path(folder, sha256)`.

    Args:
        path: The picture file.
        rule: How to crop.
        locator: Finds the face; not needed for whole pictures.
        folder: Where crops in work lie.

    Returns:
        What came of it. Bad pictures have their status and reason; they raise nothing.

    Raises:
        OSError: The file can't be read.
        OutputError: The crop can't be written.
    """
    if Path(path).stat().st_size > images.MOST_BYTES:
        return Extract("", UNREADABLE, f"has more than {images.MOST_BYTES} bytes, more than a picture needs")
    data = Path(path).read_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        image = images.decode(data, name=Path(path).name, tolerant=rule.tolerant)
    except ImageError as error:
        return Extract(sha256, UNREADABLE, str(error))
    height, width = image.shape[:2]
    if rule.whole or locator is None:
        nominal = room = crops.whole_square(width, height)
        landmarks = ()
        box, score = (float(nominal.x), float(nominal.y), float(nominal.side), float(nominal.side)), None
    else:
        faces = locator.locate(image)
        if not faces:
            return Extract(sha256, NO_FACE, "no face was found")
        face = main_face(faces, width, height)
        box, score, landmarks = face.box, face.score, face.landmarks
        nominal = crops.face_square(box, rule.margin)
        room = crops.face_square(box, rule.margin * ROOM)
    if max(box[2], box[3]) < rule.min_face:
        return Extract(
            sha256, TOO_SMALL, f"the face has {max(box[2], box[3]):.0f} px, below {rule.min_face} px"
        )
    stored, square = stored_crop(image, nominal, room)
    write_png(work_path(folder, sha256), stored)
    gray = cv2.cvtColor(crops.extract(stored, square), cv2.COLOR_RGB2GRAY)
    return Extract(
        sha256=sha256,
        status=OK,
        format=images.sniff(data[:32]) or "",
        width=width,
        height=height,
        box=(round(box[0], 2), round(box[1], 2), round(box[2], 2), round(box[3], 2)),
        score=None if score is None else round(score, 4),
        square=(square.x, square.y, square.side),
        pixels=hashlib.sha256(f"{width}x{height}:".encode() + image.tobytes()).hexdigest()[:32],
        crop_hash=duplicates.difference_hash(gray),
        frame_hash=duplicates.difference_hash(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)),
        thumb=duplicates.thumbnail(gray).tobytes(),
        landmarks=tuple((round(x, 2), round(y, 2)) for x, y in landmarks),
    )


def main_face(faces: list[Location], width: int, height: int) -> Location:
    """Return the face that a picture is of: large, and near the centre.

    The area of the box is weighted down by a Gaussian of the distance from its centre to the picture's
    centre, whose standard deviation is half the picture's shorter side.
    """

    def weight(face: Location) -> float:
        x, y, w, h = face.box
        distance = np.hypot(x + w / 2 - width / 2, y + h / 2 - height / 2) / (min(width, height) / 2)
        return w * h * float(np.exp(-0.5 * distance**2))

    return max(faces, key=weight)


def stored_crop(image: np.ndarray, nominal: Square, room: Square) -> tuple[np.ndarray, Square]:
    """Cut the nominal square with the room around it, halved as often as the classifier's input would be.

    Halving starts at the nominal square's corner, so that the stored crop gives, pixel for pixel, the input
    that the runtime cuts from the picture itself.

    Args:
        image: uint8 [H, W, 3].
        nominal: What the runtime would cut.
        room: A square around it.

    Returns:
        The stored crop, uint8 [S, S, 3], and the nominal square in its pixels, less than 256 px wide.
    """
    factor = 1
    while nominal.side // factor >= 2 * crops.INPUT_SIZE:
        factor *= 2
    left, top = (math.ceil(pixels / factor) for pixels in (nominal.x - room.x, nominal.y - room.y))
    right, bottom = (
        math.ceil((start + room.side - corner) / factor)
        for start, corner in ((room.x, nominal.x), (room.y, nominal.y))
    )
    side = max(left + right, top + bottom)
    cut = Square(nominal.x - factor * left, nominal.y - factor * top, factor * side)
    stored, _ = crops.shrink(crops.extract(image, cut), (side, side))
    return stored, Square(left, top, nominal.side // factor)


def write_png(path: Path, rgb: np.ndarray) -> None:
    """Write a stored crop; all by one setting, so that file sizes tell nothing.

    Args:
        path: The file.
        rgb: uint8 [H, W, 3], RGB.

    Raises:
        OutputError: The file can't be written.
    """
    done, data = cv2.imencode(".png", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not done:
        raise RuntimeError(f"OpenCV can't encode a PNG of {list(rgb.shape)}")
    with atomic_write(path) as temporary:
        temporary.write_bytes(data.tobytes())
