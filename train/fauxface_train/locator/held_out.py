"""A student against its teacher on composites of pictures that it wasn't trained with."""

import numpy as np
import torch

from fauxface_train.locator.decode import decode, match
from fauxface_train.locator.net import Student
from fauxface_train.locator.samples import Composites

_SMALL = 24.0


def compare_maps(student: Student, data: Composites, size: int) -> dict[str, float | None]:
    """Return how many of the teacher's faces the student finds, and how well.

    Args:
        student: The network, in eval mode.
        data: Composites with the teacher's maps.
        size: Side of the composites in pixels.

    Returns:
        Counts of composites and of the teacher's faces; recall of all and of those of at least 24 px,
        precision and mean IoU, each None where there is nothing to measure it on.
    """
    expected = found = large = large_found = 0
    overlaps: list[float] = []
    for index in range(len(data)):
        picture, maps, _ = data[index]
        with torch.no_grad():
            raw = student(picture.permute(2, 0, 1)[None].float())[0]
        raw[:, :2] = raw[:, :2].sigmoid()
        truth = decode(maps.numpy().astype(np.float32), size, size)
        guess = decode(raw.numpy(), size, size)
        pairs = match(truth[:, :4], guess[:, :4])
        is_large = truth[:, 2:4].max(axis=1, initial=0.0) >= _SMALL
        expected += len(truth)
        found += len(guess)
        large += int(is_large.sum())
        large_found += sum(bool(is_large[row]) for row, _, _ in pairs)
        overlaps += [overlap for _, _, overlap in pairs]
    return {
        "composites": len(data),
        "faces": expected,
        "recall": _share(len(overlaps), expected),
        "recall_24px": _share(large_found, large),
        "precision": _share(len(overlaps), found),
        "mean_iou": _share(sum(overlaps), len(overlaps)),
    }


def _share(part: float, whole: int) -> float | None:
    return part / whole if whole else None
