"""YuNet's output format: from twelve maps of cells to faces, as OpenCV's FaceDetectorYN decodes them."""

from collections.abc import Sequence

import cv2
import numpy as np

STRIDES = (8, 16, 32)
"""Cell sizes in pixels of the three maps."""

WIDTHS = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
"""Values per cell of each kind of output."""

OUTPUTS = tuple(f"{kind}_{stride}" for kind in WIDTHS for stride in STRIDES)
"""The twelve output names, in the order that `decode` takes them."""

DIVISOR = 32
"""Heights and widths of the network's input are multiples of this."""

_TOP_K = 5000


def decode(
    outputs: Sequence[np.ndarray], size: Sequence[int], score_threshold: float, nms_threshold: float
) -> np.ndarray:
    """Turn the twelve outputs into faces.

    score = sqrt(clip(cls) * clip(obj)); centre = (cell + xy) * stride; size = exp(wh) * stride; landmark =
    (cell + xy) * stride, all in float32. Of boxes that overlap, the best is kept; as in FaceDetectorYN,
    overlap is taken between boxes cut to whole pixels. Source: `FaceDetectorYNImpl::postProcess` in OpenCV's
    modules/objdetect. Faces with a number that isn't finite are dropped.

    Args:
        outputs: float32 [1, cells, C] each, in the order of `OUTPUTS`.
        size: Height and width of the network's input in pixels.
        score_threshold: Faces below it are dropped.
        nms_threshold: A box that overlaps a better one by more than this IoU is dropped.

    Returns:
        float32 [N, 15], best score first: x, y, width, height, five landmarks as x, y, score; in pixels of
        the network's input.

    Raises:
        ValueError: An output has another shape than an input of this size gives.
    """
    _check_shapes(outputs, size)
    found = []
    # Neither factor exceeds 1, so both reach the square of the threshold; a little less allows for rounding.
    least = score_threshold**2 - 1e-5
    for level, stride in enumerate(STRIDES):
        classes, objects, boxes, points = (outputs[level + 3 * kind][0] for kind in range(4))
        cells = np.flatnonzero((classes[:, 0] >= least) & (objects[:, 0] >= least))
        score = np.sqrt(classes[cells, 0].clip(0, 1) * objects[cells, 0].clip(0, 1))
        cells, score = cells[score >= score_threshold], score[score >= score_threshold]
        if not len(cells):
            continue
        rows, columns = np.divmod(cells, size[1] // stride)
        corner = np.stack([columns, rows], axis=1).astype(np.float32)
        values = np.empty((len(cells), 15), np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            values[:, 2:4] = np.exp(boxes[cells, 2:]) * stride
            values[:, :2] = (corner + boxes[cells, :2]) * stride - values[:, 2:4] / 2
            values[:, 4:14] = (np.tile(corner, 5) + points[cells]) * stride
        values[:, 14] = score
        found.append(values)
    if not found:
        return np.zeros((0, 15), np.float32)
    faces = np.concatenate(found)
    faces = faces[np.isfinite(faces).all(axis=1)]
    if len(faces) < 2:
        return faces
    whole = np.trunc(faces[:, :4]).astype(np.float64)
    scores = faces[:, 14].tolist()
    kept = cv2.dnn.NMSBoxes(whole.tolist(), scores, score_threshold, nms_threshold, 1.0, _TOP_K)
    return faces[np.asarray(kept, np.intp).reshape(-1)]


def _check_shapes(outputs: Sequence[np.ndarray], size: Sequence[int]) -> None:
    for index, (name, output) in enumerate(zip(OUTPUTS, outputs, strict=True)):
        stride = STRIDES[index % 3]
        wanted = (1, (size[0] // stride) * (size[1] // stride), WIDTHS[name.split("_")[0]])
        if output.shape != wanted:
            raise ValueError(f"its output {name} is {list(output.shape)}, not {list(wanted)}")
