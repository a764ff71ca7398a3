"""Label-blind degradations, so that neither sharpness, codec, crop, tone nor backdrop tells the labels apart.

The order is that of a picture's life: the face is framed, the picture is coloured, softened or sharpened,
rescaled and written to a file once or twice, and then preprocessed by the runtime's own code. A view depends
on its random generator alone: the same seed gives the same pixels in any process.
"""

import cv2
import numpy as np

from fauxface.crops import Square, extract, to_input
from fauxface_train.presets import Degradations

_KERNELS = (cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4, cv2.INTER_AREA, cv2.INTER_LINEAR_EXACT)
_SUBSAMPLING = (
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
)
_TARGET_LAPLACIAN = (15.0, 400.0)


def nominal(stored: np.ndarray, square: Square) -> np.ndarray:
    """Return what the runtime would see: the nominal square as uint8 [128, 128, 3].

    Args:
        stored: Stored crop, uint8 [S, S, 3] RGB.
        square: The nominal square in pixels of the stored crop.
    """
    return to_input(extract(stored, square))


def flipped(stored: np.ndarray, square: Square, rng: np.random.Generator) -> np.ndarray:
    """Return the nominal crop, mirrored left to right half the time: the `article` preset's only change.

    Args:
        stored: Stored crop, uint8 [S, S, 3] RGB.
        square: The nominal square in pixels of the stored crop.
        rng: Source of chance.

    Returns:
        uint8 [128, 128, 3] RGB.
    """
    crop = nominal(stored, square)
    return np.ascontiguousarray(crop[:, ::-1]) if rng.random() < 0.5 else crop


def frame(square: Square, rng: np.random.Generator, settings: Degradations) -> tuple[float, float, float]:
    """Return the square that a view shows before it is turned: the first thing that `degraded` draws.

    Args:
        square: The nominal square in pixels of the stored crop.
        rng: Source of chance.
        settings: Ranges of margin and shift.

    Returns:
        x and y of the centre and the side, in pixels of the stored crop.
    """
    side = square.side * _uniform(rng, *settings.margin)
    reach = settings.shift * square.side
    centre_x = square.x + square.side / 2 + _uniform(rng, -reach, reach)
    centre_y = square.y + square.side / 2 + _uniform(rng, -reach, reach)
    return centre_x, centre_y, side


def degraded(
    stored: np.ndarray, square: Square, rng: np.random.Generator, settings: Degradations
) -> np.ndarray:
    """Return a randomly framed and degraded view of a face.

    Args:
        stored: Stored crop with room around the nominal square, uint8 [S, S, 3] RGB.
        square: The nominal square in pixels of the stored crop.
        rng: Source of chance.
        settings: Probabilities and ranges.

    Returns:
        uint8 [128, 128, 3] RGB, through the runtime's own resize.
    """
    crop = _framed(stored, square, rng, settings)
    if rng.random() < settings.edge:
        crop = _edge(crop, rng)
    if rng.random() < settings.backdrop:
        crop = _backdrop(crop, rng)
    if rng.random() < settings.badge:
        crop = _badge(crop, rng)
    if rng.random() < settings.colour:
        crop = _coloured(crop, rng)
    if rng.random() < settings.gray:
        crop = _gray(crop, rng)
    if rng.random() < settings.equalise:
        crop = _equalised(crop, rng)
    if rng.random() < settings.sharpen:
        crop = _sharpened(crop, rng)
    for _ in range(int(rng.choice(len(settings.rounds), p=settings.rounds))):
        crop = _round(crop, rng, settings)
    crop = to_input(crop)
    return _cutout(crop, rng) if rng.random() < settings.cutout else crop


def _uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return low + (high - low) * rng.random()


def _resized(crop: np.ndarray, side: int, kernel: int) -> np.ndarray:
    return crop if crop.shape[0] == side else cv2.resize(crop, (side, side), interpolation=kernel)


def _framed(
    stored: np.ndarray, square: Square, rng: np.random.Generator, settings: Degradations
) -> np.ndarray:
    """Frame the face: margin, shift, flip and rotation, at the stored resolution."""
    centre_x, centre_y, side = frame(square, rng, settings)
    whole = max(8, round(side))
    if rng.random() < settings.rotate:
        angle = _uniform(rng, -settings.degrees, settings.degrees)
        matrix = cv2.getRotationMatrix2D((centre_x - 0.5, centre_y - 0.5), angle, 1.0)
        matrix[:, 2] += whole / 2 - np.array([centre_x, centre_y])
        kernel = cv2.INTER_CUBIC if rng.random() < 0.5 else cv2.INTER_LINEAR
        crop = cv2.warpAffine(stored, matrix, (whole, whole), flags=kernel, borderMode=cv2.BORDER_REFLECT_101)
    else:
        crop = extract(stored, Square(round(centre_x - side / 2), round(centre_y - side / 2), whole))
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    return crop.copy()


def _edge(crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """End the picture inside the crop, as a tightly cut original does."""
    side = crop.shape[0]
    cuts = [int(_uniform(rng, 0.01, 0.13) * side) if rng.random() < 0.6 else 0 for _ in range(4)]
    top, bottom, left, right = cuts
    inner = crop[top : side - bottom, left : side - right]
    if rng.random() < 0.75:
        return cv2.copyMakeBorder(inner, top, bottom, left, right, cv2.BORDER_REFLECT_101)
    tone = _tone(rng)
    return cv2.copyMakeBorder(inner, top, bottom, left, right, cv2.BORDER_CONSTANT, value=tone)


def _tone(rng: np.random.Generator) -> tuple[float, float, float]:
    """Draw black, white, a gray or any colour."""
    kind = rng.random()
    if kind < 0.4:
        red = green = blue = 0 if kind < 0.2 else 255
    elif kind < 0.7:
        red = green = blue = int(rng.integers(20, 236))
    else:
        red, green, blue = rng.integers(0, 256, 3)
    return float(red), float(green), float(blue)


def _blended(crop: np.ndarray, plain: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Keep `crop` where the mask is 1 and `plain` where it is 0; the mask is float32 [S, S]."""
    weight = mask[:, :, None]
    return np.rint(crop * weight + plain * (1 - weight)).astype(np.uint8)


def _backdrop(crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Replace all outside an ellipse around the face with a plain backdrop, shaded like a studio wall."""
    side = crop.shape[0]
    mask = np.zeros((side, side), np.float32)
    axes = (int(side * _uniform(rng, 0.36, 0.46)), int(side * _uniform(rng, 0.46, 0.56)))
    cv2.ellipse(mask, (side // 2, side // 2), axes, 0, 0, 360, 1.0, -1)
    mask = cv2.blur(mask, (max(3, side // int(rng.integers(8, 30))),) * 2)
    ramp = np.linspace(-1, 1, side, dtype=np.float32)[:, None]
    ramp = ramp if rng.random() < 0.5 else ramp.T
    shade = np.broadcast_to(ramp * _uniform(rng, 0, 40), (side, side))[:, :, None]
    plain = np.clip(np.asarray(_tone(rng), np.float32) + shade, 0, 255)
    return _blended(crop, plain, mask)


def _badge(crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Put on a round mask, a banner or a frame."""
    side = crop.shape[0]
    tone = _tone(rng)
    kind = rng.integers(3)
    if kind == 0:
        mask = np.zeros((side, side), np.float32)
        cv2.circle(mask, (side // 2, side // 2), int(side * _uniform(rng, 0.47, 0.6)), 1.0, -1, cv2.LINE_AA)
        return _blended(crop, np.asarray(tone, np.float32), np.minimum(mask, 1))
    crop = crop.copy()
    thick = max(1, int(side * _uniform(rng, 0.03, 0.14)))
    if kind == 1:
        band = slice(side - thick, side) if rng.random() < 0.7 else slice(0, thick)
        crop[band] = tone
        return crop
    cv2.rectangle(crop, (0, 0), (side - 1, side - 1), tone, max(1, thick // 2))
    return crop


def _coloured(crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Change gamma, contrast, brightness and white balance by one table per channel, then the saturation."""
    levels = np.linspace(0, 1, 256, dtype=np.float32)
    curve = levels ** float(np.exp(rng.normal(0, 0.2)))
    curve = (curve - 0.5) * _uniform(rng, 0.75, 1.25) + 0.5 + _uniform(rng, -0.1, 0.1)
    balance = 1 + np.clip(rng.normal(0, 0.05, 3), -0.15, 0.15)
    table = np.clip(curve[:, None] * balance * 255, 0, 255).astype(np.uint8)
    crop = cv2.LUT(crop, table[None])
    if rng.random() < 0.5:
        gray = cv2.cvtColor(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        share = _uniform(rng, 0.4, 1.3)
        crop = cv2.addWeighted(crop, share, gray, 1 - share, 0)
    return crop


def _gray(crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Turn gray; a third of the time toned, as old prints are."""
    gray = cv2.cvtColor(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    if rng.random() < 0.67:
        return gray
    tint = _uniform(rng, 0.02, 0.12)
    tone = np.array([1 + tint, 1, 1 - tint], np.float32)
    return np.clip(gray * tone, 0, 255).astype(np.uint8)


def _laplacian(crop: np.ndarray) -> float:
    """Return the Laplacian's variance of the crop at 128 px: the usual measure of sharpness."""
    small = _resized(crop, 128, cv2.INTER_AREA)
    return float(cv2.Laplacian(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), cv2.CV_32F).var())


def _equalised(crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Soften a crop that is sharper than a target drawn without regard to the label.

    Sources differ several times in sharpness; what is softer than the target stays, what is sharper comes
    down to it by a detour over fewer pixels or by a blur.
    """
    low, high = _TARGET_LAPLACIAN
    target = low * (high / low) ** rng.random()
    side = crop.shape[0]
    through_pixels = rng.random() < 0.5
    kernel = int(rng.choice(_KERNELS[:3]))
    result = crop
    for step in range(1, 6):
        if _laplacian(result) <= target:
            break
        if through_pixels:
            small = _resized(crop, max(40, round(128 * 0.82**step)), cv2.INTER_AREA)
            result = _resized(small, side, kernel)
        else:
            result = cv2.GaussianBlur(crop, (0, 0), 0.35 * step * side / 128)
    return result


def _sharpened(crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Unsharp masking, as cameras and photo editors do it."""
    amount = _uniform(rng, 0.3, 1.5)
    soft = cv2.GaussianBlur(crop, (0, 0), _uniform(rng, 0.6, 2.0))
    return cv2.addWeighted(crop, 1 + amount, soft, -amount, 0)


def _round(crop: np.ndarray, rng: np.random.Generator, settings: Degradations) -> np.ndarray:
    """One station of a picture's life: rescaled, blurred, noisy, written to a file and read again."""
    if rng.random() < settings.rescale:
        side = int(np.clip(np.exp(rng.normal(np.log(116), 0.4)), 40, 208))
        crop = _resized(crop, side, int(rng.choice(_KERNELS)))
    if rng.random() < settings.blur:
        crop = _blurred(crop, rng)
    if rng.random() < settings.noise:
        crop = _noisy(crop, rng)
    if rng.random() < settings.jpeg:
        crop = _coded(crop, ".jpg", rng, settings)
    elif rng.random() < settings.webp:
        crop = _coded(crop, ".webp", rng, settings)
    if crop.shape[0] < 128 and rng.random() < 0.7:
        crop = _resized(crop, int(rng.integers(128, 161)), int(rng.choice(_KERNELS)))
    return crop


def _blurred(crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Gaussian or motion blur."""
    if rng.random() < 0.7:
        return cv2.GaussianBlur(crop, (0, 0), _uniform(rng, 0.3, 1.6))
    length = int(rng.integers(3, 8))
    kernel = np.zeros((length, length), np.float32)
    angle = rng.random() * np.pi
    reach = (length - 1) / 2
    dx, dy = reach * np.cos(angle), reach * np.sin(angle)
    start, end = (round(reach - dx), round(reach - dy)), (round(reach + dx), round(reach + dy))
    cv2.line(kernel, start, end, 1.0)
    return cv2.filter2D(crop, -1, kernel / kernel.sum())


def _noisy(crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Gaussian noise, alike in all channels or not."""
    channels = 1 if rng.random() < 0.5 else 3
    noise = rng.standard_normal((*crop.shape[:2], channels), dtype=np.float32)
    return np.clip(np.rint(crop + noise * _uniform(rng, 1, 9)), 0, 255).astype(np.uint8)


def _coded(crop: np.ndarray, kind: str, rng: np.random.Generator, settings: Degradations) -> np.ndarray:
    """Write to a file in memory and read it again, with quality falling off from the top of the range."""
    low, high = settings.quality
    quality = round(high - (high - low) * rng.random() ** 1.6)
    if kind == ".jpg":
        options = [
            cv2.IMWRITE_JPEG_QUALITY,
            quality,
            cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
            int(rng.choice(_SUBSAMPLING)),
        ]
    else:
        options = [cv2.IMWRITE_WEBP_QUALITY, quality]
    done, data = cv2.imencode(kind, cv2.cvtColor(crop, cv2.COLOR_RGB2BGR), options)
    if not done:
        raise RuntimeError(f"OpenCV can't write {kind}")
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert decoded is not None
    return cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)


def _cutout(crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Hide a rectangle of up to about a ninth of the picture behind a plain tone."""
    side = crop.shape[0]
    width, height = rng.integers(12, 44, 2)
    x, y = int(rng.integers(0, side - width)), int(rng.integers(0, side - height))
    crop = crop.copy()
    crop[y : y + height, x : x + width] = _tone(rng)
    return crop
