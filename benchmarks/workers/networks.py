"""The same ResNet18 as users run it: a function from face crops of any size to logits, per library.

Each is written the way its tutorials write it, on purpose: this is what fauxface is measured against.
Options: "weights" (torch's state), "plain" (ONNX: normalised float32 [N, 3, 128, 128] to logits).
"""

import math
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Crops = Sequence[np.ndarray]
"""uint8 [S, S, 3] RGB each."""

Logits = Callable[[Crops], np.ndarray]
"""Maps crops to float32 [N, 2]."""

SIZE = 128
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


class Network:
    """A network that is ready to run.

    Attributes:
        logits: Scores crops.
        packages: Distributions whose versions count.
        threads: Threads that it computes with, where the library tells.
    """

    def __init__(self, logits: Logits, packages: Sequence[str], threads: int | None) -> None:
        self.logits, self.packages, self.threads = logits, packages, threads


def article(options: dict[str, Any]) -> Network:
    """Path (a): PIL, torchvision transforms, eager PyTorch."""
    return _torch(options, lambda net: net)


def torchscript(options: dict[str, Any]) -> Network:
    """Path (b): the same with the traced and frozen network."""
    import torch

    def compiled(net: Any) -> Any:
        return torch.jit.freeze(torch.jit.trace(net, torch.zeros(1, 3, SIZE, SIZE)))

    return _torch(options, compiled)


def compiled(options: dict[str, Any]) -> Network:
    """Path (c): the same with torch.compile, which compiles anew for each batch size."""
    import torch

    return _torch(options, lambda net: torch.compile(net, dynamic=False))


def _torch(options: dict[str, Any], convert: Callable[[Any], Any]) -> Network:
    import torch
    from PIL import Image
    from torchvision import transforms
    from torchvision.models import resnet18

    net = resnet18(weights=None, num_classes=2)
    net.load_state_dict(torch.load(options["weights"], weights_only=True))
    ready = convert(net.eval())
    transform = transforms.Compose(
        [transforms.Resize((SIZE, SIZE)), transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    )

    def logits(crops: Crops) -> np.ndarray:
        pictures: list[Any] = [transform(Image.fromarray(crop)) for crop in crops]
        batch = torch.stack(pictures)
        with torch.no_grad():
            return ready(batch).numpy()

    return Network(logits, ("torch", "torchvision", "pillow"), torch.get_num_threads())


def onnxruntime(options: dict[str, Any]) -> Network:
    """Path (d): ONNX Runtime with default threads, normalised in NumPy, one face at a time."""
    import onnxruntime as ort

    session = ort.InferenceSession(options["plain"], providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def logits(crops: Crops) -> np.ndarray:
        rows: list[Any] = [session.run(None, {name: normalised(crop)[None]})[0] for crop in crops]
        return np.concatenate(rows)

    return Network(logits, ("onnxruntime", "numpy", "pillow"), None)


def openvino(options: dict[str, Any]) -> Network:
    """Path (e): OpenVINO as it comes, which computes in bf16 where the processor has it."""
    return _openvino(options, {})


def openvino_fp32(options: dict[str, Any]) -> Network:
    """Path (e) held to fp32."""
    return _openvino(options, {"INFERENCE_PRECISION_HINT": "f32"})


def _openvino(options: dict[str, Any], settings: dict[str, str]) -> Network:
    import openvino as ov  # pyright: ignore[reportMissingImports]  (in its own environment)

    core = ov.Core()
    ready = core.compile_model(core.read_model(options["plain"]), "CPU", settings)

    def logits(crops: Crops) -> np.ndarray:
        return np.array(ready(np.stack([normalised(crop) for crop in crops]))[0])

    return Network(logits, ("openvino", "numpy", "pillow"), int(ready.get_property("INFERENCE_NUM_THREADS")))


def opencv(options: dict[str, Any]) -> Network:
    """Path (f): OpenCV's dnn module."""
    import cv2

    net = cv2.dnn.readNetFromONNX(options["plain"])
    spread = np.array(STD, np.float32).reshape(1, 3, 1, 1)
    mean = tuple(255 * value for value in MEAN)

    def logits(crops: Crops) -> np.ndarray:
        net.setInput(cv2.dnn.blobFromImages(crops, 1 / 255, (SIZE, SIZE), mean, False) / spread)
        return np.array(net.forward())

    return Network(logits, ("opencv-python-headless", "numpy"), cv2.getNumThreads())


def normalised(crop: np.ndarray) -> np.ndarray:
    """Return a crop as the network wants it, in NumPy: float32 [3, 128, 128]."""
    from PIL import Image

    image = Image.fromarray(crop)
    if image.size != (SIZE, SIZE):
        image = image.resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    pixels = np.asarray(image, np.float32) / 255
    pixels = (pixels - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


PEERS: dict[str, Callable[[dict[str, Any]], Network]] = {
    "article": article,
    "torchscript": torchscript,
    "torch.compile": compiled,
    "onnxruntime": onnxruntime,
    "openvino": openvino,
    "openvino fp32": openvino_fp32,
    "opencv": opencv,
}


def verdict(logits: np.ndarray, rule: dict[str, float]) -> dict[str, Any]:
    """Return probability and label of one face [2], by the bundle's calibration and thresholds."""
    z = (float(logits[1]) - float(logits[0])) / rule["temperature"] + rule["bias"]
    p = 1 / (1 + math.exp(-max(-700.0, min(700.0, z))))
    if p >= rule["generated_from"]:
        return {"p": p, "label": "generated"}
    return {"p": p, "label": "bona_fide" if p < rule["bona_fide_below"] else "unsure"}


def cut(image: np.ndarray, box: Sequence[float], margin: float) -> np.ndarray:
    """Cut the square around a face box out of an RGB picture, as far as the picture goes."""
    x, y, width, height = box
    side = max(1, round(margin * max(width, height)))
    left, top = round(x + width / 2 - side / 2), round(y + height / 2 - side / 2)
    return np.ascontiguousarray(image[max(0, top) : top + side, max(0, left) : left + side])


def cores() -> int:
    """Return the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
