"""Finding copies of a picture that were re-encoded, resized or cut again.

Three tests, each for what passes the one before. The 64-bit difference hashes of the face crops or of the
whole pictures differ in few bits; generated portraits share pose and framing, so many different faces pass
that. Then the gray faces correlate at 32 x 32 pixels over small shifts and changes of scale, as a face
locator's jitter causes. Last the faces correlate once they are registered with an affine map, first at 32
and then at 64 pixels.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import TextIO

import cv2
import numpy as np

from fauxface import crops, images
from fauxface.crops import Square
from fauxface.progress import Progress

HASH_RADIUS = 7
"""Candidates differ in at most this many of 64 bits."""

COARSE_CROP = 0.92
"""Least coarse correlation of candidates by the hash of the crop."""

COARSE_FRAME = 0.84
"""Least coarse correlation of candidates by the hash of the whole picture."""

MIDDLE = 0.96
"""Least correlation of candidates after registration at 32 x 32 pixels."""

THRESHOLD = 0.985
"""Least correlation of near duplicates after registration."""

THUMB = 32
_FINE = 64
_RIMS = 10
_BLUR = 5
_STEPS = 60
_INNER = 20
_SHIFT = 3
_SCALES = (28, 30, 32, 34, 36)
_FLAT = 4.0
_BANDS = 4
_PAIRS_AT_ONCE = 2_000_000
_CHECKED_AT_ONCE = 1000


def difference_hash(gray: np.ndarray) -> int:
    """Return a picture's 64-bit difference hash: whether brightness rises to the right, on a grid of 8 x 8.

    Args:
        gray: uint8 [H, W].
    """
    small = cv2.resize(gray, (9, 8), interpolation=cv2.INTER_AREA)
    return int.from_bytes(np.packbits(small[:, 1:] > small[:, :-1]).tobytes(), "big")


def thumbnail(gray: np.ndarray) -> np.ndarray:
    """Return uint8 [32, 32] of a gray crop uint8 [S, S]."""
    return cv2.resize(gray, (THUMB, THUMB), interpolation=cv2.INTER_AREA)


def load_gray(path: Path, square: tuple[int, int, int]) -> np.ndarray:
    """Read a stored crop for `registered_similarity`.

    Args:
        path: The stored crop.
        square: Its nominal crop as x, y, side.

    Returns:
        uint8 [64, 64], the nominal crop in gray.

    Raises:
        ImageError: The file can't be read.
    """
    face = crops.extract(images.read(path), Square(*square))
    gray = cv2.cvtColor(np.ascontiguousarray(face), cv2.COLOR_RGB2GRAY)
    return cv2.resize(gray, (_FINE, _FINE), interpolation=cv2.INTER_AREA)


def near_pairs(
    crop_hashes: np.ndarray,
    frame_hashes: np.ndarray,
    thumbs: np.ndarray,
    load: Callable[[int], np.ndarray],
    *,
    threads: int = 1,
    stream: TextIO | None = None,
) -> list[tuple[int, int]]:
    """Return the pairs (i, j), i < j, of near duplicates, sorted.

    Args:
        crop_hashes: uint64 [N], difference hashes of the nominal crops.
        frame_hashes: uint64 [N], difference hashes of the whole pictures.
        thumbs: uint8 [N, 32, 32], gray nominal crops.
        load: Returns the gray nominal crop of an index, uint8 [64, 64].
        threads: Number of threads for the registration.
        stream: Where progress goes; standard error when not given.
    """
    # A flat crop has no structure that could be compared.
    usable = np.flatnonzero([thumb.std() >= _FLAT for thumb in thumbs])
    candidates: set[tuple[int, int]] = set()
    with Progress(None, "look for copies", "pairs", stream) as progress, ThreadPoolExecutor(threads) as pool:
        for hashes, coarse in ((crop_hashes[usable], COARSE_CROP), (frame_hashes[usable], COARSE_FRAME)):
            for pairs in close_pairs(hashes):
                parts = [
                    usable[pairs[i : i + _CHECKED_AT_ONCE]] for i in range(0, len(pairs), _CHECKED_AT_ONCE)
                ]
                told = pool.map(lambda part: similarity(thumbs[part[:, 0]], thumbs[part[:, 1]]), parts)
                for part, correlation in zip(parts, told, strict=True):
                    candidates.update(map(tuple, part[correlation >= coarse].tolist()))
                    progress.advance(len(part))
    alike = sorted(candidates)
    cached = lru_cache(maxsize=4096)(load)

    def same(pair: tuple[int, int]) -> bool:
        left, right = pair
        return (
            registered_similarity(thumbs[left], thumbs[right]) >= MIDDLE
            and registered_similarity(cached(left), cached(right)) >= THRESHOLD
        )

    with Progress(len(alike), "compare", "pairs", stream) as progress, ThreadPoolExecutor(threads) as pool:
        found = []
        for pair, is_same in zip(alike, pool.map(same, alike), strict=True):
            if is_same:
                found.append(pair)
            progress.advance()
    return found


def registered_similarity(left: np.ndarray, right: np.ndarray) -> float:
    """Return how well two faces correlate after registration.

    An affine map is found that maximises the enhanced correlation coefficient (Evangelidis and Psarakis,
    PAMI 2008). It may shift, scale and turn the picture by little only, so that one face can't be bent into
    another.

    Args:
        left: uint8 [S, S].
        right: uint8 [S, S].

    Returns:
        The correlation in [-1, 1]; -1 where no such map is found.
    """
    warp = np.eye(2, 3, dtype=np.float32)
    blur = _BLUR if len(right) >= _FINE else 3
    rule = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, _STEPS, 1e-4)
    rim = len(right) // _RIMS
    inner = np.zeros(right.shape, np.uint8)
    inner[rim:-rim, rim:-rim] = 255
    try:
        value, warp = cv2.findTransformECC(left, right, warp, cv2.MOTION_AFFINE, rule, inner, blur)
    except cv2.error:  # which says that it didn't converge
        return -1.0
    moved = np.abs(warp - np.eye(2, 3)).max(axis=0)
    return float(value) if moved[:2].max() <= 0.2 and moved[2] <= 0.25 * len(right) else -1.0


def close_pairs(hashes: np.ndarray, radius: int = HASH_RADIUS) -> Iterator[np.ndarray]:
    """Yield the pairs of hashes that differ in at most `radius` bits, each pair once, in blocks.

    Of four bands of 16 bits, one at least differs in at most radius // 4 bits, so only hashes that share a
    band up to one flipped bit are compared: multi-index hashing (Norouzi, Punjani, Fleet, CVPR 2012).

    Args:
        hashes: uint64 [N].
        radius: At most 7.

    Yields:
        intp [P, 2], i < j.
    """
    if not 0 <= radius <= 2 * _BANDS - 1:
        raise ValueError(f"the radius must be 0 to {2 * _BANDS - 1}, not {radius}")
    bands = [(hashes >> np.uint64(16 * band)).astype(np.uint16) for band in range(_BANDS)]
    flips = [0] + [1 << bit for bit in range(16)] if radius >= _BANDS else [0]
    for number, band in enumerate(bands):
        order = np.argsort(band, kind="stable")
        ordered = band[order]
        for flip in flips:
            keys = band ^ np.uint16(flip)
            first = np.searchsorted(ordered, keys, "left")
            counts = np.searchsorted(ordered, keys, "right") - first
            for block in _blocks(counts):
                left = np.repeat(block, counts[block])
                starts = np.cumsum(counts[block]) - counts[block]
                right = order[np.arange(len(left)) - np.repeat(starts - first[block], counts[block])]
                keep = left < right
                left, right = left[keep], right[keep]
                keep = np.bitwise_count(hashes[left] ^ hashes[right]) <= radius
                left, right = left[keep], right[keep]
                for earlier in bands[:number]:
                    differ = np.bitwise_count(earlier[left] ^ earlier[right])
                    keep = differ > (1 if len(flips) > 1 else 0)
                    left, right = left[keep], right[keep]
                if len(left):
                    yield np.stack([left, right], axis=1)


def similarity(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return how well the inner faces of pairs of thumbnails match.

    It is the best zero-mean normalised cross-correlation of the central 20 x 20 pixels of one thumbnail
    with the other, over shifts of up to 3 pixels and scales from 0.88 to 1.12.

    Args:
        left: uint8 [P, 32, 32].
        right: uint8 [P, 32, 32].

    Returns:
        float32 [P] in [-1, 1].
    """
    best = np.full(len(left), -1.0, np.float32)
    if not len(left):
        return best
    low = (THUMB - _INNER) // 2
    template = _normalised(left[:, low : low + _INNER, low : low + _INNER])
    for size in _SCALES:
        scaled = right if size == THUMB else np.stack([cv2.resize(r, (size, size)) for r in right])
        low = (size - _INNER) // 2
        for y in range(low - _SHIFT, low + _SHIFT + 1):
            for x in range(low - _SHIFT, low + _SHIFT + 1):
                window = _normalised(scaled[:, y : y + _INNER, x : x + _INNER])
                np.maximum(best, np.einsum("pk,pk->p", template, window), out=best)
    return best


def _normalised(patches: np.ndarray) -> np.ndarray:
    """Flatten patches [P, S, S] to float32 [P, S * S] of zero mean and unit length."""
    flat = patches.reshape(len(patches), -1).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)


def _blocks(counts: np.ndarray) -> Iterator[np.ndarray]:
    """Cut the indices of `counts` into runs whose counts add up to a bounded number of pairs."""
    ends = np.cumsum(counts)
    start = 0
    while start < len(counts):
        base = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, base + _PAIRS_AT_ONCE, "right")))
        yield np.arange(start, stop)
        start = stop
