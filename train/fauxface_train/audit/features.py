"""What a shortcut could be made of: small vectors measured from a file or a picture, one kind per group.

None of them looks at the face as such. The pixel groups take any uint8 [H, W, 3] RGB picture, so that the
same code measures raw files, stored crops and transformed views.
"""

import functools
import io
import itertools
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, JpegImagePlugin

from fauxface import images
from fauxface.crops import Box, Square, face_square

_WINDOW = 512
_SMALL = 512
_BANDS = (0.0, 0.03125, 0.0625, 0.125, 0.1875, 0.25, 0.375, 0.5)
_GRAY_SPREAD = 8
_RING = 0.04
_MIRROR_SIDE = 64
_MIRROR_REACH = 16

# ITU-T T.81, table K.1, row by row; the IJG library scales it by the quality (jcparam.c, jpeg_set_quality).
_LUMINANCE = np.array(
    [
        *(16, 11, 10, 16, 24, 40, 51, 61),
        *(12, 12, 14, 19, 26, 58, 60, 55),
        *(14, 13, 16, 24, 40, 57, 69, 56),
        *(14, 17, 22, 29, 51, 87, 80, 62),
        *(18, 22, 37, 56, 68, 109, 103, 77),
        *(24, 35, 55, 64, 81, 104, 113, 92),
        *(49, 64, 78, 87, 103, 121, 120, 101),
        *(72, 92, 95, 98, 112, 100, 103, 99),
    ],
    float,
)


@dataclass(frozen=True, slots=True)
class Group:
    """One nuisance: what a classifier of its own gets to see.

    Attributes:
        title: For people.
        names: Names of the vector's entries.
    """

    title: str
    names: tuple[str, ...]


GROUPS = {
    "file_size": Group("File size", ("log2_bytes", "bits_per_pixel")),
    "dimensions": Group("Dimensions", ("log2_width", "log2_height", "log2_aspect")),
    "jpeg": Group(
        "JPEG tables",
        ("is_jpeg", "quality", "luminance_step", "chrominance_step", "subsampling", "progressive"),
    ),
    "blockiness": Group("JPEG blockiness", ("grid_aligned", "grid_any_phase", "grid_any_period")),
    "colour": Group(
        "Mean colour and spread",
        ("red", "green", "blue", "red_spread", "green_spread", "blue_spread", "saturation"),
    ),
    "gray": Group("Gray share", ("gray_share", "chroma")),
    "sharpness": Group(
        "Sharpness",
        (
            "log_laplacian_variance",
            *(f"band_{low:g}_{high:g}" for low, high in itertools.pairwise(_BANDS[1:])),
        ),
    ),
    "face_size": Group("Face size in pixels", ("log2_face_px",)),
    "tightness": Group("Crop tightness", ("face_over_picture", "off_centre", "outside_share")),
    "border": Group(
        "Border content",
        (
            "ring_spread",
            "plain_sides",
            "black_share",
            "white_share",
            "ring_minus_inside",
            "mirrored",
            "mirrored_mean",
        ),
    ),
}
"""The measured groups; age, gender and race come from the manifest."""


def file_size(data_bytes: int, width: int, height: int) -> list[float]:
    """Describe a file's size: log2 of its bytes, and bits per pixel."""
    return [float(np.log2(max(1, data_bytes))), 8 * data_bytes / (width * height)]


def dimensions(width: int, height: int) -> list[float]:
    """Describe a picture's size: log2 of width, height and width over height."""
    wide, high = float(np.log2(width)), float(np.log2(height))
    return [wide, high, wide - high]


def jpeg_tables(data: bytes) -> list[float]:
    """Describe how a file was coded as JPEG, from its header alone; all zero for other containers.

    Args:
        data: The whole file, which can be decoded.

    Returns:
        1.0; the quality that the luminance table stands for; the mean steps of the luminance and of the
        chrominance table; the subsampling (1: 4:4:4, 2: 4:2:2, 3: 4:2:0, 0: other); whether it is
        progressive.
    """
    if images.sniff(data[:32]) != "JPEG":
        return [0.0] * 6
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = Image.open(io.BytesIO(data), formats=["JPEG"])
    assert isinstance(image, JpegImagePlugin.JpegImageFile)
    tables = [np.asarray(table, float) for _, table in sorted(image.quantization.items())]
    luminance = tables[0] if tables else np.ones(64)
    chrominance = tables[1] if len(tables) > 1 else luminance
    subsampling = JpegImagePlugin.get_sampling(image) + 1
    progressive = float(bool(image.info.get("progressive")))
    return [
        1.0,
        jpeg_quality(luminance),
        float(luminance.mean()),
        float(chrominance.mean()),
        float(subsampling),
        progressive,
    ]


def jpeg_quality(luminance: np.ndarray) -> float:
    """Return the quality, 1 to 100, whose scaled standard table is nearest in the mean.

    Source: IJG's jpeg_quality_scaling, inverted; tables of other encoders get the quality of similar steps.

    Args:
        luminance: float [64], quantisation steps.
    """
    scale = 100 * float(np.mean(luminance / _LUMINANCE))
    return float(np.clip((200 - scale) / 2 if scale <= 100 else 5000 / scale, 1, 100))


def face_size(face_px: float) -> list[float]:
    """Describe the size of a face: log2 of the longer side of its box in pixels."""
    return [float(np.log2(max(1.0, face_px)))]


def tightness(box: Box, margin: float, width: int, height: int) -> list[float]:
    """Describe how tightly a picture frames its face.

    Args:
        box: Face box in pixels of the picture.
        margin: Side of the square to cut over the longer side of the box.
        width: Of the picture in pixels.
        height: Of the picture in pixels.

    Returns:
        The box's longer side over the picture's shorter one; the distance of the centres over the shorter
        side; the share of the square to cut that lies outside the picture, and is mirrored there.
    """
    x, y, w, h = box
    shorter = min(width, height)
    off_centre = np.hypot(x + w / 2 - width / 2, y + h / 2 - height / 2) / shorter
    outside = outside_share(face_square(box, margin), width, height)
    return [max(w, h) / shorter, float(off_centre), outside]


def outside_share(square: Square, width: int, height: int) -> float:
    """Return the share of a square's area that lies outside a picture."""
    across = max(0, min(square.x + square.side, width) - max(square.x, 0))
    down = max(0, min(square.y + square.side, height) - max(square.y, 0))
    return 1 - across * down / square.side**2


def blockiness(rgb: np.ndarray) -> list[float]:
    """Describe the grid that 8 x 8 block coding leaves in a picture.

    The excess of each gray step between neighbours over its own neighbours' is averaged along the columns
    (and rows); a block grid makes it periodic.

    Returns:
        The excess over the mean step, on the grid that starts at the corner, and on the strongest of its
        eight phases; and the log of the power in the harmonics of the strongest period between 4 and 14
        pixels over the mean power, since resizing changes the period.
    """
    gray = cv2.cvtColor(_window(rgb), cv2.COLOR_RGB2GRAY).astype(np.float32)
    across, down = _excess(gray), _excess(gray.T)
    if min(len(across), len(down)) < 16:
        return [0.0, 0.0, 0.0]
    phases = np.array([[side[phase::8].mean() for phase in range(8)] for side in (across, down)]).mean(axis=0)
    power = (_power(across) + _power(down)) / 2
    frequency, combs = _combs()
    strongest = float((combs @ power).max()) / (float(power[frequency > 1 / 20].mean()) + 1e-9)
    # A gray step across two blocks lies between columns 7 and 8, which is entry 6.
    return [float(phases[6]), float(phases.max()), float(np.log(strongest + 1e-3))]


def _excess(gray: np.ndarray) -> np.ndarray:
    """Return how much the step between columns i + 1 and i + 2 exceeds its neighbours, over the mean."""
    step = np.abs(np.diff(gray, axis=1)).mean(axis=0)
    return (step[1:-1] - (step[:-2] + step[2:]) / 2) / (float(step.mean()) + 0.05)


def _power(signal: np.ndarray) -> np.ndarray:
    """Return the power spectrum, tapered, padded to one length, and scaled to a sum of 1."""
    power = np.abs(np.fft.rfft((signal - signal.mean()) * np.hanning(len(signal)), _WINDOW)) ** 2
    return power / (power.sum() + 1e-9)


@functools.cache
def _combs() -> tuple[np.ndarray, np.ndarray]:
    """Return the frequencies [K] of `_power`, and weights [P, K] that average each period's harmonics."""
    frequency = np.fft.rfftfreq(_WINDOW)
    periods = np.arange(4, 14, 0.1)
    combs = np.zeros((len(periods), len(frequency)))
    for row, period in zip(combs, periods, strict=True):
        harmonics = np.arange(1, int(period / 2) + 1) / period * _WINDOW
        low = np.floor(harmonics).astype(int)
        share = harmonics - low
        np.add.at(row, low, (1 - share) / len(harmonics))
        np.add.at(row, np.minimum(low + 1, len(frequency) - 1), share / len(harmonics))
    return frequency, combs


def colour(rgb: np.ndarray) -> list[float]:
    """Describe mean and standard deviation of red, green and blue, and the mean saturation, in [0, 255]."""
    small = _small(rgb)
    mean, spread = cv2.meanStdDev(small)
    top, bottom = _extremes(small)
    saturation = float(np.mean(255.0 * (top - bottom) / np.maximum(top, 1)))
    return [*mean.ravel().tolist(), *spread.ravel().tolist(), saturation]


def gray(rgb: np.ndarray) -> list[float]:
    """Describe how gray a picture is: the share of gray pixels, and the mean spread of a pixel's channels."""
    top, bottom = _extremes(_small(rgb))
    spread = top - bottom
    return [float(np.mean(spread <= _GRAY_SPREAD)), float(spread.mean())]


def sharpness(rgb: np.ndarray) -> list[float]:
    """Describe how fine a picture's detail is, at its own resolution.

    Returns:
        The log of the Laplacian's variance, and per band of spatial frequency (in cycles per pixel, from 1/32
        up) the log of the mean power over that of all bands.
    """
    gray = cv2.cvtColor(_window(rgb), cv2.COLOR_RGB2GRAY)
    laplacian = float(np.log(cv2.Laplacian(gray, cv2.CV_32F).var() + 0.1))
    tapered = (gray - gray.mean()) * _taper(*gray.shape)
    power = np.abs(np.fft.rfft2(tapered)) ** 2
    bands = _band_of(*gray.shape)
    sums = np.bincount(bands.ravel(), weights=power.ravel(), minlength=len(_BANDS))[: len(_BANDS) - 1]
    counts = np.bincount(bands.ravel(), minlength=len(_BANDS))[: len(_BANDS) - 1]
    means = sums / np.maximum(counts, 1) + 1e-3
    return [laplacian, *np.log(means[1:] / means.sum()).tolist()]


@functools.lru_cache(maxsize=64)
def _taper(height: int, width: int) -> np.ndarray:
    return np.outer(np.hanning(height), np.hanning(width)).astype(np.float32)


@functools.lru_cache(maxsize=64)
def _band_of(height: int, width: int) -> np.ndarray:
    """Return each frequency's band; the corners beyond 0.5 cycles per pixel are in none (the last index)."""
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    return np.minimum(np.searchsorted(_BANDS, radius, side="left") - (radius > 0), len(_BANDS) - 1)


def border(rgb: np.ndarray) -> list[float]:
    """Describe what lies along a picture's edge.

    Returns:
        The mean standard deviation of the four edge strips (4 % of the shorter side); how many of them are
        plain; the share of black and of white pixels in them; their brightness minus the inside's; and how
        badly a strip is the mirror image of what lies inside it, on the best side and in the mean (small:
        mirrored).
    """
    plane = cv2.cvtColor(_small(rgb), cv2.COLOR_RGB2GRAY)
    ring = max(1, round(_RING * min(plane.shape)))
    strips = [plane[:ring].ravel(), plane[-ring:].ravel(), plane[:, :ring].ravel(), plane[:, -ring:].ravel()]
    spreads = np.array([strip.std() for strip in strips])
    edge = np.concatenate(strips)
    inside = plane[ring:-ring, ring:-ring]
    mirrored = _mirrored(plane)
    return [
        float(spreads.mean()),
        float((spreads < 3).sum()),
        float((edge <= 8).mean()),
        float((edge >= 247).mean()),
        float(edge.mean() - (inside.mean() if inside.size else edge.mean())),
        float(mirrored.min()),
        float(mirrored.mean()),
    ]


def _mirrored(gray: np.ndarray) -> np.ndarray:
    """Return, per side, the log of the least mismatch of a strip and its mirror image over its detail."""
    small = cv2.resize(gray, (_MIRROR_SIDE,) * 2, interpolation=cv2.INTER_AREA).astype(np.float32)
    found = []
    for side in (small, small[::-1], small.T, small.T[::-1]):
        steps = np.abs(np.diff(side[: 2 * _MIRROR_REACH + 1], axis=0)).mean(axis=1).cumsum()
        scores = []
        for edge in range(3, _MIRROR_REACH + 1):
            outer, inner = side[edge - 1 :: -1], side[edge + 1 : 2 * edge + 1]
            detail = float(steps[2 * edge - 1]) / (2 * edge)
            scores.append((float(np.abs(outer - inner).mean()) + 0.5) / (3 * detail + 1))
        found.append(np.log(min(scores)))
    return np.array(found)


PIXEL_GROUPS: dict[str, Callable[[np.ndarray], list[float]]] = {
    "blockiness": blockiness,
    "colour": colour,
    "gray": gray,
    "sharpness": sharpness,
    "border": border,
}
"""The groups that need nothing but uint8 [H, W, 3] RGB pixels."""


def of_pixels(rgb: np.ndarray) -> dict[str, list[float]]:
    """Measure every pixel group of a picture, uint8 [H, W, 3] RGB."""
    return {name: measure(rgb) for name, measure in PIXEL_GROUPS.items()}


def png_bytes(rgb: np.ndarray) -> int:
    """Return the size of a picture as the PNG that `fauxface data prepare` would write."""
    done, data = cv2.imencode(".png", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 1])
    assert done
    return len(data)


def _window(rgb: np.ndarray) -> np.ndarray:
    """Return the middle of a large picture, at its own resolution and on its block grid."""
    height, width = rgb.shape[:2]
    top, left = (max(0, length - _WINDOW) // 16 * 8 for length in (height, width))
    return rgb[top : top + _WINDOW, left : left + _WINDOW]


def _small(rgb: np.ndarray) -> np.ndarray:
    """Return a large picture at fewer pixels, for what doesn't depend on fine detail."""
    scale = _SMALL / max(rgb.shape[:2])
    if scale >= 1:
        return rgb
    size = (max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale)))
    return cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)


def _extremes(rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return each pixel's largest and smallest channel, float32 [H, W]."""
    red, green, blue = cv2.split(rgb)
    top, bottom = cv2.max(cv2.max(red, green), blue), cv2.min(cv2.min(red, green), blue)
    return top.astype(np.float32), bottom.astype(np.float32)
