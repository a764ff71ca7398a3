"""Write generated faces by MobileStyleGAN (Belousov, 2021), as the PyPI package random-face ships it.

Usage: python train/default_model/mobilestylegan.py FOLDER COUNT [FIRST]

It needs an environment of its own, as make.sh sets it up. Two cores write about four pictures a second. Each
picture is a function of its number; those that are there already are kept.
"""

import importlib
import importlib.util
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import cv2
import numpy as np

WEIGHTS = {
    "MappingNetwork": "212dd716bdb556e18db603ea97300d4fa3c872b878c726b2402fea80820e7305",
    "SynthesisNetwork": "c7da15fa22d508c82e1c30dd6b4cdf67fe3ccdddaf85b310ee764dbf0c289645",
}
"""Hashes of the package's two networks; other weights give other faces."""
TRUNCATION = (0.5, 1.0)
"""How far a style may lie from the mean one, as a share of its own distance; drawn for each face."""
SIDE = (256, 420)
"""Length of the written square in pixels; the network's own is 1024."""
QUALITY = (80, 97)
"""JPEG quality, the second excluded."""
KERNELS = (cv2.INTER_AREA, cv2.INTER_AREA, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4, cv2.INTER_LINEAR)


def networks(openvino: Any) -> tuple[Any, Any]:
    """Return mapping (z [1, 512] to style) and synthesis (style to RGB [1, 3, 1024, 1024] in [-1, 1])."""
    spec = importlib.util.find_spec("random_face")
    if spec is None or not spec.submodule_search_locations:
        sys.exit("random_face isn't installed; pip install --no-deps random-face==2021.7.21.1")
    data = Path(spec.submodule_search_locations[0]) / "data"
    for name, digest in WEIGHTS.items():
        found = sha256((data / f"{name}.bin").read_bytes()).hexdigest()
        if found != digest:
            sys.exit(f"{name}.bin has sha256 {found}, not {digest}; install random-face==2021.7.21.1")
    core = openvino.Core()
    settings = {"PERFORMANCE_HINT": "THROUGHPUT"}
    return (
        core.compile_model(data / "MappingNetwork.xml", "CPU"),
        core.compile_model(data / "SynthesisNetwork.xml", "CPU", settings),
    )


def write(path: Path, picture: np.ndarray, number: int) -> None:
    """Shrink a picture as web sites do, by a kernel, to a size and at a JPEG quality drawn for its number.

    Args:
        path: Where to write it.
        picture: RGB [3, 1024, 1024] in about [-1, 1].
        number: The picture's.
    """
    draw = np.random.default_rng([7, number])
    pixels = np.clip((picture + 1) / 2 * 255 + 0.5, 0, 255).transpose(1, 2, 0).astype(np.uint8)[:, :, ::-1]
    side, kernel = int(draw.uniform(*SIDE)), KERNELS[draw.integers(len(KERNELS))]
    if kernel != cv2.INTER_AREA and side < 400:
        pixels = cv2.resize(pixels, (512, 512), interpolation=cv2.INTER_AREA)
    pixels = cv2.resize(pixels, (side, side), interpolation=kernel)
    _, content = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, int(draw.integers(*QUALITY))])
    temporary = path.with_suffix(".part")
    temporary.write_bytes(content.tobytes())
    temporary.replace(path)


def main(folder: Path, count: int, first: int = 0) -> None:
    """Write those of `count` faces from number `first` on that aren't there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    openvino = importlib.import_module("openvino")
    mapping, synthesis = networks(openvino)
    draw = np.random.default_rng(12345)
    some = [mapping([draw.standard_normal((1, 512)).astype(np.float32)])[0] for _ in range(2048)]
    mean = np.mean(some, axis=0)
    queue = openvino.AsyncInferQueue(synthesis)
    queue.set_callback(
        lambda request, number: write(
            folder / f"{number:05d}.jpg", request.get_output_tensor(0).data[0], number
        )
    )
    for number in range(first, first + count):
        if (folder / f"{number:05d}.jpg").exists():
            continue
        draw = np.random.default_rng([3, number])
        truncation = draw.uniform(*TRUNCATION)
        style = mapping([draw.standard_normal((1, 512)).astype(np.float32)])[0]
        queue.start_async([mean + truncation * (style - mean)], number)
        if (number - first) % 100 == 0:
            sys.stderr.write(f"{number - first} of {count} faces\n")
    queue.wait_all()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
