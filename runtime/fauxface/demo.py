"""`fauxface demo`: scan public-domain photographs, faces of two generators and a clip made of all."""

import importlib.util
import shutil
from importlib.resources import as_file, files
from pathlib import Path

import cv2
import numpy as np

from fauxface import images
from fauxface.errors import MissingExtraError, OutputError
from fauxface.files import atomic_write
from fauxface.video import FrameWriter

FRAME = (640, 480)
FPS = 12.0
SECONDS_EACH = 1.0
LARGEST_SCALE = 1.5

PHOTOGRAPHS = {
    "astronaut_camera.png": ("skimage", "data/astronaut.png"),
    "grace_hopper_camera.jpg": ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
}
"""Public-domain portraits (NASA; US Navy) that installed packages carry: name in the demo, package, file."""


MARK = ".fauxface-demo"


def claim(out: Path) -> None:
    """Mark a folder as the demo's, which replaces what it wrote there before.

    Args:
        out: A new or empty folder, or one of an earlier demo.

    Raises:
        OutputError: It holds something else, or can't be written.
    """
    mark = out / MARK
    if out.is_dir() and not mark.exists() and any(out.iterdir()):
        raise OutputError(f"{out} holds files that the demo didn't write; give a new folder with --out")
    with atomic_write(mark) as temporary:
        temporary.touch()


def photographs() -> dict[str, Path]:
    """Return the photographs that installed packages carry, by their name in the demo.

    Raises:
        MissingExtraError: A package that carries one isn't installed.
    """
    return {name: _carried(package, inside) for name, (package, inside) in PHOTOGRAPHS.items()}


def collect_pictures(out: Path) -> list[Path]:
    """Copy the demo's pictures into a folder.

    Args:
        out: Folder; it is made when it doesn't exist.

    Returns:
        The copies: photographs first, then generated faces.

    Raises:
        MissingExtraError: A package that carries a photograph isn't installed.
        OutputError: A copy can't be written.
    """
    return [_copied(source, out / name) for name, source in photographs().items()] + copy_generated(out)


def copy_generated(out: Path, generator: str = "") -> list[Path]:
    """Copy the generated faces that the package carries into a folder.

    Args:
        out: Folder; it is made when it doesn't exist.
        generator: Start of the names: `mobilestylegan`, `own_generator`, or nothing for both.

    Returns:
        The copies, in order of their names.

    Raises:
        OutputError: A copy can't be written.
    """
    copies = []
    for item in sorted(files("fauxface").joinpath("demo_media").iterdir(), key=lambda item: item.name):
        if item.name.startswith(generator) and item.name.endswith((".jpg", ".png")):
            with as_file(item) as path:
                copies.append(_copied(path, out / item.name))
    return copies


def _carried(package: str, inside: str) -> Path:
    """Return where a package keeps a photograph."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise MissingExtraError(
            f"the demo's photographs come with {package}, which isn't installed; "
            "run: pip install 'fauxface[cpu,demo]'"
        )
    return Path(spec.origin).parent / inside


def _copied(source: Path, target: Path) -> Path:
    with atomic_write(target) as temporary:
        shutil.copyfile(source, temporary)
    return target


def make_clip(pictures: list[Path], out: Path) -> Path:
    """Write a clip that zooms slowly into each picture in turn.

    Args:
        pictures: Pictures to show.
        out: The mp4 file.

    Returns:
        `out`.
    """
    with FrameWriter(out, FPS, FRAME) as writer:
        for path in pictures:
            picture = images.read(path)
            count = round(FPS * SECONDS_EACH)
            for i in range(count):
                writer.write(_zoomed(picture, 1.0 + 0.3 * i / count))
    return out


def _zoomed(picture: np.ndarray, zoom: float) -> np.ndarray:
    """Letterbox a picture into the frame, magnified around its centre; a small one stays small."""
    width, height = FRAME
    scale = zoom * min(width / picture.shape[1], height / picture.shape[0], LARGEST_SCALE)
    offset = (width / 2 - scale * picture.shape[1] / 2, height / 2 - scale * picture.shape[0] / 2)
    matrix = np.array([[scale, 0, offset[0]], [0, scale, offset[1]]], np.float32)
    return cv2.warpAffine(picture, matrix, FRAME, flags=cv2.INTER_LINEAR, borderValue=(32, 32, 32))
