"""The robustness grid: named degradations of a face, applied before the runtime's own preprocessing.

Every condition acts at the classifier's scale: on the nominal crop brought to 128 x 128 pixels by the
runtime's own code, whatever the size of the original. So JPEG blocks, blur and noise are equally coarse for
every source, and a source of large pictures has no advantage; the same file setting on a face of 300 pixels
does less harm. What a condition leaves, at the size that it leaves it, goes through
`fauxface.crops.to_input` like any crop.

A condition sees pixels and, for noise, the sha256 of the original file; never a label or a source. The same
picture gives the same result in any process.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from fauxface.crops import INPUT_SIZE, to_input
from fauxface.errors import DataError

CLEAN = "clean"

Step = Callable[[np.ndarray, np.random.Generator], np.ndarray]


@dataclass(frozen=True, slots=True)
class Condition:
    """One named degradation.

    Attributes:
        name: What metrics.json, tables and plots call it.
        words: What it does, for people.
        steps: Applied in order; each maps uint8 [S, S, 3] RGB to uint8 [T, T, 3] RGB.
    """

    name: str
    words: str
    steps: tuple[Step, ...]

    def degrade(self, crop: np.ndarray, key: str) -> np.ndarray:
        """Return the degraded crop as the classifier gets it.

        Args:
            crop: The nominal crop, uint8 [128, 128, 3] RGB.
            key: Names the picture, so that its noise can be repeated: the sha256 of the original file.

        Returns:
            uint8 [128, 128, 3], RGB; `crop` itself isn't changed.

        Raises:
            ValueError: The crop isn't uint8 [128, 128, 3].
        """
        if crop.dtype != np.uint8 or crop.shape != (INPUT_SIZE, INPUT_SIZE, 3):
            raise ValueError(f"conditions act on uint8 [128, 128, 3], not {crop.dtype} {list(crop.shape)}")
        seed = hashlib.sha256(f"{self.name}:{key}".encode()).digest()[:8]
        rng = np.random.default_rng(int.from_bytes(seed, "big"))
        for step in self.steps:
            crop = step(crop, rng)
        return to_input(crop)


def jpeg(quality: int) -> Step:
    """Return a step that writes a JPEG file with 4:2:0 chroma in memory and reads it again."""
    chroma = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420)
    return lambda crop, _: _coded(crop, ".jpg", (cv2.IMWRITE_JPEG_QUALITY, quality, *chroma))


def webp(quality: int) -> Step:
    """Return a step that writes a lossy WebP file in memory and reads it again."""
    return lambda crop, _: _coded(crop, ".webp", (cv2.IMWRITE_WEBP_QUALITY, quality))


def scale(factor: float) -> Step:
    """Return a step that shrinks with OpenCV's INTER_AREA; `to_input` enlarges again, as in a scan."""
    side = round(INPUT_SIZE * factor)
    return lambda crop, _: cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA)


def blur(sigma: float) -> Step:
    """Return a step with Gaussian blur; sigma in pixels of the 128-px crop, borders mirrored."""
    return lambda crop, _: cv2.GaussianBlur(crop, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101)


def noise(sigma: float) -> Step:
    """Return a step with white Gaussian noise, its own in every channel; sigma in levels of 255."""

    def step(crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return np.clip(np.rint(crop + sigma * rng.standard_normal(crop.shape)), 0, 255).astype(np.uint8)

    return step


def _coded(crop: np.ndarray, kind: str, options: Sequence[int]) -> np.ndarray:
    done, data = cv2.imencode(kind, cv2.cvtColor(crop, cv2.COLOR_RGB2BGR), options)
    if not done:
        raise RuntimeError(f"OpenCV can't write {kind}")
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert decoded is not None
    return cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)


GRID = (
    *(Condition(f"jpeg{q}", f"JPEG, quality {q}, 4:2:0", (jpeg(q),)) for q in (95, 85, 75, 60, 45, 30)),
    *(Condition(f"webp{q}", f"WebP, lossy, quality {q}", (webp(q),)) for q in (80, 50)),
    *(
        Condition(f"scale{100 * f:.0f}", f"shrunk to {INPUT_SIZE * f:.0f} px and enlarged again", (scale(f),))
        for f in (0.75, 0.5, 0.25)
    ),
    *(Condition(f"blur{s}", f"Gaussian blur, sigma {s} px", (blur(s),)) for s in (1, 2)),
    *(Condition(f"noise{s}", f"Gaussian noise, sigma {s} of 255 levels", (noise(s),)) for s in (4, 10)),
    Condition(
        "jpeg60_half", "JPEG of quality 60, then shrunk to 64 px and enlarged again", (jpeg(60), scale(0.5))
    ),
)
"""Every condition, in the order of tables and plots."""

SETS = {
    "none": (),
    "quick": ("jpeg60", "scale50", "jpeg60_half"),
    "all": tuple(condition.name for condition in GRID),
}


def select(wanted: str) -> tuple[Condition, ...]:
    """Return the conditions of a set, or those that are named.

    Args:
        wanted: "none", "quick", "all", or names with commas, such as "jpeg30,blur2".

    Raises:
        DataError: A name is unknown.
    """
    names = SETS.get(wanted) if wanted in SETS else tuple(name.strip() for name in wanted.split(","))
    known = {condition.name for condition in GRID}
    if unknown := [name for name in names or () if name not in known]:
        raise DataError(
            f"unknown condition {', '.join(map(repr, unknown))}; choose {', '.join(SETS)}, or of "
            f"{', '.join(SETS['all'])}"
        )
    return tuple(condition for condition in GRID if condition.name in (names or ()))
