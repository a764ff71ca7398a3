"""How far a student's maps are from the teacher's."""

import torch
from torch.nn import functional as F


def distillation_loss(
    raw: torch.Tensor, target: torch.Tensor, cls_floor: float = 0.02, regression: float = 2.0
) -> dict[str, torch.Tensor]:
    """Return the loss and its parts.

    obj: binary cross-entropy against the teacher's soft map. cls: the same, weighted by the teacher's
    objectness (plus a floor), since no detector trains cls where there is no face. box and landmarks: L1 in
    units of the teacher's box, weighted by the teacher's score. All are sums over the sum of the scores.

    Args:
        raw: float [N, cells, 16], the student's; cls and obj are logits.
        target: float [N, cells, 16], the teacher's; cls and obj are probabilities.
        cls_floor: Weight of cls where the teacher sees nothing.
        regression: Weight of box and landmarks.

    Returns:
        Scalars loss, obj, cls, box, landmarks.
    """
    raw, target = raw.float(), target.float()
    cls, obj = target[..., 0].clamp(0, 1), target[..., 1].clamp(0, 1)
    score = (cls * obj).sqrt()
    weight = torch.where(score > 0.1, score, torch.zeros_like(score))
    total = weight.sum().clamp(min=1.0)
    obj_loss = F.binary_cross_entropy_with_logits(raw[..., 1], obj, reduction="sum") / total
    cls_loss = F.binary_cross_entropy_with_logits(raw[..., 0], cls, obj + cls_floor, reduction="sum") / total
    size = target[..., 4:6].clamp(-4, 8).exp()
    centre = ((raw[..., 2:4] - target[..., 2:4]).abs() / size).sum(-1)
    extent = (raw[..., 4:6] - target[..., 4:6]).abs().sum(-1)
    box_loss = (weight * (centre + extent)).sum() / total
    points = (raw[..., 6:] - target[..., 6:]).abs() / size.repeat(1, 1, 5)
    landmark_loss = (weight * points.sum(-1)).sum() / total
    loss = obj_loss + cls_loss + regression * (box_loss + 0.3 * landmark_loss)
    return {"loss": loss, "obj": obj_loss, "cls": cls_loss, "box": box_loss, "landmarks": landmark_loss}
