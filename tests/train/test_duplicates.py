import cv2
import numpy as np
import pytest

from fauxface_train import duplicates


def picture(seed: int, side: int = 200) -> np.ndarray:
    """Return a smooth gray pattern, uint8 [side, side]."""
    noise = np.random.default_rng(seed).random((12, 12), np.float32)
    return cv2.normalize(cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC), None, 0, 255, 32, 0)  # pyright: ignore


def reencoded(gray: np.ndarray) -> np.ndarray:
    return cv2.imdecode(cv2.imencode(".jpg", gray, [cv2.IMWRITE_JPEG_QUALITY, 40])[1], cv2.IMREAD_GRAYSCALE)


COPIES = {
    "the same": lambda g: g,
    "re-encoded": reencoded,
    "half the size": lambda g: cv2.resize(g, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "brighter": lambda g: np.clip(g * 0.8 + 30, 0, 255).astype(np.uint8),
    "cut by 3 %": lambda g: g[6:-2, 4:-4],
}


def compare(one: np.ndarray, other: np.ndarray) -> list[tuple[int, int]]:
    grays = [one, other]
    small = [cv2.resize(g, (64, 64), interpolation=cv2.INTER_AREA) for g in grays]
    hashes = np.array([duplicates.difference_hash(g) for g in grays], np.uint64)
    thumbs = np.stack([duplicates.thumbnail(g) for g in grays])
    return duplicates.near_pairs(hashes, hashes, thumbs, lambda index: small[index])


@pytest.mark.parametrize("change", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("seed", range(3))
def test_copies_are_found(change, seed: int):
    assert compare(picture(seed), change(picture(seed))) == [(0, 1)]


@pytest.mark.parametrize("seed", range(5))
def test_a_face_of_the_same_pose_is_no_copy(seed: int):
    """Another picture that shares its coarse structure passes the hash, but not the registration."""
    one = picture(seed).astype(np.float32)
    fine = np.random.default_rng(99 + seed).normal(0, 60, (40, 40)).astype(np.float32)
    other = np.clip(one + cv2.resize(fine, (200, 200)), 0, 255).astype(np.uint8)
    assert compare(one.astype(np.uint8), other) == []


def test_flat_crops_are_never_copies():
    flat = np.full((200, 200), 90, np.uint8)
    assert compare(flat, flat) == []


def test_no_pictures():
    none = np.zeros(0, np.uint64)
    assert duplicates.near_pairs(none, none, np.zeros((0, 32, 32), np.uint8), lambda _: np.zeros(0)) == []


@pytest.mark.parametrize("radius", [0, 3, 4, 7])
def test_close_pairs_finds_what_brute_force_finds(radius: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(duplicates, "_PAIRS_AT_ONCE", 50)
    random = np.random.default_rng(radius)
    centres = random.integers(0, 2**63, 30, np.uint64)
    hashes = np.repeat(centres, 8)
    for _ in range(3):
        hashes ^= np.uint64(1) << random.integers(0, 64, len(hashes), np.uint64)
    expected = {
        (i, j)
        for i in range(len(hashes))
        for j in range(i + 1, len(hashes))
        if np.bitwise_count(hashes[i] ^ hashes[j]) <= radius
    }
    found = [tuple(pair) for block in duplicates.close_pairs(hashes, radius) for pair in block.tolist()]
    assert len(found) == len(set(found))
    assert set(found) == expected
    assert bool(expected) == (radius > 0)


@pytest.mark.parametrize("radius", [-1, 8])
def test_close_pairs_refuses_radii_beyond_its_guarantee(radius: int):
    with pytest.raises(ValueError, match="radius"):
        next(duplicates.close_pairs(np.zeros(2, np.uint64), radius))


def test_difference_hash_golden():
    ramp = np.tile(np.arange(0, 180, dtype=np.uint8), (160, 1))
    assert duplicates.difference_hash(ramp) == 2**64 - 1
    assert duplicates.difference_hash(ramp[:, ::-1].copy()) == 0


def test_registration_refuses_far_moves():
    gray = cv2.resize(picture(1), (64, 64), interpolation=cv2.INTER_AREA)
    turned = cv2.rotate(gray, cv2.ROTATE_90_CLOCKWISE)
    assert duplicates.registered_similarity(gray, gray) > 0.999
    assert duplicates.registered_similarity(gray, turned) < duplicates.THRESHOLD
