"""Make preprocess_golden.npz: what `crops.to_input` gives for synthetic pictures of many sizes.

Run it only when the preprocessing is changed on purpose: every trained model depends on these pixels.

    python tests/data/make_preprocess_golden.py
"""

from pathlib import Path

import numpy as np

from fauxface.crops import to_input

SIDES = (17, 40, 64, 127, 128, 129, 200, 256, 333, 512, 900)


def picture(side: int) -> np.ndarray:
    """Return uint8 [side, side, 3]: gradients, rings up to the sampling limit, a hard edge and noise.

    Only integer arithmetic is used, so that every machine makes the same pixels.
    """
    row, column = np.mgrid[0:side, 0:side].astype(np.int64)
    state = (row * 2654435761 + column * 40503 + side * 97) % 4294967296
    noise = ((state * 1103515245 + 12345) % 4294967296) >> 24
    red = row * 255 // max(side - 1, 1)
    rings = (row * row + column * column) // side % 64 * 4
    blue = np.where(row > column, noise, 255 - column * 255 // max(side - 1, 1))
    return np.stack([red, rings, blue], axis=2).astype(np.uint8)


def main() -> None:
    """Write the file beside this script."""
    target = Path(__file__).with_name("preprocess_golden.npz")
    vectors = {f"side_{side}": to_input(picture(side)) for side in SIDES}
    np.savez_compressed(target, **vectors)  # pyright: ignore[reportArgumentType]


if __name__ == "__main__":
    main()
