"""Writing the student as a YuNet-format ONNX file, and proving that the file is the network."""

import copy
import warnings
from pathlib import Path

import cv2
import numpy as np
import onnx
import torch

from fauxface.captures import quiet
from fauxface.errors import GateError
from fauxface.files import atomic_write
from fauxface.yunet import OUTPUTS
from fauxface_train.locator.decode import decode, pack
from fauxface_train.locator.net import Deployed, Student
from fauxface_train.locator.teacher import DenseDetector

SIZES = ((320, 320), (640, 384), (1920, 1088), (224, 256))
"""Widths and heights at which an exported file is checked."""
_TOLERANCE = 1e-3
_BOX_TOLERANCE_PX = 0.5
_SCORE_ROOM = 1e-4


def export_locator(student: Student, path: Path) -> dict[str, float]:
    """Write a student as ONNX and check it; nothing is written when a check fails.

    Args:
        student: A trained student; it isn't changed.
        path: The file to write.

    Returns:
        `max_difference` between torch and ONNX Runtime, `max_box_difference_px` between FaceDetectorYN and
        this package's decoding, `boxes` compared.

    Raises:
        GateError: The file computes something else than the network, or OpenCV reads it otherwise.
    """
    folded = copy.deepcopy(student).cpu().float().eval()
    folded.fold()
    deployed = Deployed(folded).eval()
    with atomic_write(path) as temporary:
        onnx.save_model(_graph(deployed), str(temporary))
        report = {"max_difference": _parity(student, temporary)} | _read_by_opencv(temporary)
    return report


def _graph(deployed: Deployed) -> onnx.ModelProto:
    height, width = (torch.export.Dim(name, min=1, max=512) for name in ("rows", "columns"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            deployed,
            (torch.zeros(1, 3, 320, 384),),
            dynamo=True,
            external_data=False,
            input_names=["input"],
            output_names=list(OUTPUTS),
            dynamic_shapes={"x": {2: 32 * height, 3: 32 * width}},
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    for part in (model, model.graph, *model.graph.node, *model.graph.input, *model.graph.output):
        del part.metadata_props[:]
        part.doc_string = ""
    del model.graph.value_info[:]
    for index, name in ((2, "height"), (3, "width")):
        model.graph.input[0].type.tensor_type.shape.dim[index].dim_param = name
    for output in model.graph.output:
        output.type.tensor_type.shape.dim[1].dim_param = "anchors_" + output.name.split("_")[1]
    onnx.checker.check_model(model, full_check=True)
    return model


def _pictures() -> list[np.ndarray]:
    """Return pictures of several sizes made of blobs and noise, uint8 [H, W, 3]."""
    rng = np.random.default_rng(0)
    pictures = []
    for width, height in SIZES:
        coarse = rng.integers(0, 256, (height // 16, width // 16, 3), np.uint8)
        pictures.append(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))
    return pictures


def _parity(student: Student, path: Path) -> float:
    detector, student = DenseDetector(path), copy.deepcopy(student).cpu().float().eval()
    found = []
    for picture in _pictures():
        with torch.inference_mode():
            raw = student(torch.from_numpy(picture).permute(2, 0, 1)[None].float())[0]
            raw[:, :2] = raw[:, :2].sigmoid()
        expected = raw.numpy()
        difference = np.abs(detector.dense(picture) - expected) / np.maximum(1, np.abs(expected))
        found.append(float(difference.max()))
    worst = float(np.max(found))  # NaN where one is, which max() isn't
    if not worst <= _TOLERANCE:
        raise GateError(f"the exported locator differs from the network by {worst:.2g}; report this as a bug")
    return worst


def _read_by_opencv(path: Path) -> dict[str, float]:
    """Compare FaceDetectorYN, from the file and from memory, with this package's decoding."""
    detector = DenseDetector(path)
    found_apart, count = [0.0], 0
    try:
        with quiet():
            buffer = np.frombuffer(path.read_bytes(), np.uint8)
            for picture in _pictures():
                height, width = picture.shape[:2]
                maps = pack(detector.outputs(picture))
                score = np.sqrt(np.clip(maps[:, 0], 0, 1) * np.clip(maps[:, 1], 0, 1))
                threshold = float(np.sort(score)[-50])
                ours = decode(maps, height, width, threshold - _SCORE_ROOM, 1.0)
                sure = ours[:, 14] > threshold + _SCORE_ROOM
                for reader in (
                    cv2.FaceDetectorYN.create(str(path), "", (width, height), threshold, 1.0),
                    cv2.FaceDetectorYN.create(
                        "onnx", buffer, np.empty(0, np.uint8), (width, height), threshold, 1.0
                    ),
                ):
                    found = reader.detect(picture)[1]
                    theirs = np.zeros((0, 15)) if found is None else np.asarray(found)
                    if not len(theirs):
                        raise GateError(f"OpenCV finds nothing with the exported locator at {width}x{height}")
                    apart = np.abs(theirs[:, None, :4] - ours[None, :, :4]).max(2)
                    missed = apart[:, sure].min(0) if sure.any() else np.zeros(1)
                    found_apart += [float(apart.min(1).max()), float(missed.max())]
                    count += len(theirs)
    except cv2.error as error:
        raise GateError(f"OpenCV can't read the exported locator: {error.err}") from error
    worst = float(np.max(found_apart))
    if not worst <= _BOX_TOLERANCE_PX:
        raise GateError(f"OpenCV's boxes differ by {worst:.2g} px from ONNX Runtime's; report this as a bug")
    return {"max_box_difference_px": worst, "boxes": count}
