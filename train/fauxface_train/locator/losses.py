"""How far a student's maps are from the teacher's."""

import torch
from torch.nn import functional as F

THRESHOLD = 0.6
"""Score from which FaceDetectorYN takes a cell for a face."""


def scores(maps: torch.Tensor) -> torch.Tensor:
    """Return sqrt(cls * obj), what FaceDetectorYN thresholds, of packed maps of probabilities [..., 16]."""
    return (maps[..., 0].clamp(0, 1) * maps[..., 1].clamp(0, 1)).sqrt()


def distillation_loss(
    raw: torch.Tensor,
    target: torch.Tensor,
    *,
    cls_floor: float = 0.02,
    positive: float = 1.5,
    decision: float = 1.5,
    across: float = 3.0,
    regression: float = 2.0,
    landmarks: float = 0.4,
) -> dict[str, torch.Tensor]:
    """Return the loss and its parts.

    obj: binary cross-entropy against the teacher's soft map, heavier where the teacher sees a face, since an
    unsure student otherwise settles below the threshold. cls: the same, weighted by the teacher's objectness
    (plus a floor), since no detector trains cls where there is no face. score: binary cross-entropy of
    sqrt(cls * obj), weighted by how far it is off (quality focal loss, Li et al. 2020, with exponent 1), so
    that the many cells that are empty and known to be don't drown the rest; heavier where student and teacher
    lie on different sides of the threshold. box and landmarks: L1 in units of the teacher's box, weighted by
    the teacher's score. All are sums over the sum of the scores.

    Args:
        raw: float [N, cells, 16], the student's; cls and obj are logits.
        target: float [N, cells, 16], the teacher's; cls and obj are probabilities.
        cls_floor: Weight of cls where the teacher sees nothing.
        positive: Weight of obj where the teacher is sure of a face; 1 where it is sure of none.
        decision: Weight of the score.
        across: Extra weight of a score on the wrong side of the threshold.
        regression: Weight of box and landmarks.
        landmarks: Weight of the landmarks beside the box.

    Returns:
        Scalars loss, obj, cls, score, box, landmarks.
    """
    raw, target = raw.float(), target.float()
    cls, obj = target[..., 0].clamp(0, 1), target[..., 1].clamp(0, 1)
    score = scores(target)
    weight = torch.where(score > 0.1, score, torch.zeros_like(score))
    total = weight.sum().clamp(min=1.0)
    bce = F.binary_cross_entropy_with_logits
    obj_loss = bce(raw[..., 1], obj, 1 + (positive - 1) * obj, reduction="sum") / total
    cls_loss = bce(raw[..., 0], cls, obj + cls_floor, reduction="sum") / total
    # log of the student's score, kept below 0 so that its complement has a log too
    log_guess = (0.5 * (F.logsigmoid(raw[..., 0]) + F.logsigmoid(raw[..., 1]))).clamp(max=-1e-5)
    guess = log_guess.exp()
    entropy = -(score * log_guess + (1 - score) * torch.log1p(-guess))
    with torch.no_grad():
        wrong = (guess >= THRESHOLD) != (score >= THRESHOLD)
        focus = (guess - score).abs() * (1 + across * wrong)
    score_loss = (focus * entropy).sum() / total
    size = target[..., 4:6].clamp(-4, 8).exp()
    centre = ((raw[..., 2:4] - target[..., 2:4]).abs() / size).sum(-1)
    extent = (raw[..., 4:6] - target[..., 4:6]).abs().sum(-1)
    box_loss = (weight * (centre + extent)).sum() / total
    points = (raw[..., 6:] - target[..., 6:]).abs() / size.repeat(1, 1, 5)
    landmark_loss = (weight * points.sum(-1)).sum() / total
    loss = obj_loss + cls_loss + decision * score_loss + regression * (box_loss + landmarks * landmark_loss)
    return {
        "loss": loss,
        "obj": obj_loss,
        "cls": cls_loss,
        "score": score_loss,
        "box": box_loss,
        "landmarks": landmark_loss,
    }
