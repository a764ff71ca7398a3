"""Finding faces: ONNX Runtime on a network in YuNet's format, with the answers of OpenCV's FaceDetectorYN."""

import copy
import threading
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np

from fauxface.crops import Box, shrink
from fauxface.errors import BundleError
from fauxface.manifest import LocatorSpec
from fauxface.memory import is_shortage, told_alike
from fauxface.onnx_wire import check_self_contained
from fauxface.session import import_onnxruntime
from fauxface.yunet import DIVISOR, OUTPUTS, WIDTHS, decode

MAX_SIDE = 1280
"""`Locator`'s `max_side` in bundles that are exported, and in data that are prepared for them."""

MIN_SCALE = 0.6
"""`Locator`'s `min_scale` there: a face of 40 px, the smallest that gets a verdict, then has 24 px, from
which on the locator is measured."""


@dataclass(frozen=True, slots=True)
class Location:
    """Where a face is.

    Attributes:
        box: x, y, width, height in pixels of the full picture; it may reach beyond it, its centre doesn't.
        landmarks: Right eye, left eye, nose tip, right and left mouth corner (the person's own right), each
            x, y in pixels.
        score: The locator's confidence in [0, 1].
    """

    box: Box
    landmarks: tuple[tuple[float, float], ...]
    score: float


class FaceLocator(Protocol):
    """Anything that finds faces, for example `Locator`.

    A scanner calls it in any thread, but never twice at once.
    """

    def locate(self, image: np.ndarray) -> list[Location]:
        """Return the faces of an RGB uint8 [H, W, 3] picture, largest first."""
        ...


class OneAtATime:
    """Any locator, never called by two threads at once.

    Args:
        locator: The locator.
    """

    def __init__(self, locator: FaceLocator) -> None:
        self._locator, self._lock = locator, threading.Lock()

    def locate(self, image: np.ndarray) -> list[Location]:
        """Return the faces of an RGB uint8 [H, W, 3] picture, largest first."""
        with self._lock:
            return self._locator.locate(image)


class Locator:
    """Finds faces with a YuNet-format network: 12 outputs at strides 8, 16 and 32, any size that 32 divides.

    It runs on the CPU whatever the classifier's provider: the network is small. Not thread-safe: use one per
    thread (`shared`).

    Args:
        model_bytes: The ONNX file's content. A network of one fixed input size sees copies that fit into it.
        score_threshold: Faces below this confidence are dropped, in [0, 1].
        nms_threshold: Of two boxes that overlap by more than this IoU, the weaker one is dropped.
        max_side: The network sees a copy whose longer side is at most this many pixels.
        min_scale: The copy's longer side is the larger one of this share of the picture's, in (0, 1], and
            half of `max_side`, never more than `max_side`: small faces of large pictures stay large enough,
            and smaller pictures aren't searched longer than need be. None: it is `max_side`.
        threads: Threads of one inference, at least 1.

    Raises:
        BundleError: The bytes aren't an ONNX network in YuNet's format, or keep data outside the file.
        ProviderError: ONNX Runtime is missing.
    """

    def __init__(
        self,
        model_bytes: bytes,
        score_threshold: float = 0.6,
        nms_threshold: float = 0.3,
        max_side: int = 640,
        *,
        min_scale: float | None = None,
        threads: int = 1,
    ) -> None:
        self.max_side, self.min_scale = max_side, min_scale
        self._model, self._score, self._nms = model_bytes, score_threshold, nms_threshold
        try:
            check_self_contained(model_bytes, "the locator")
        except BundleError as error:
            what = str(error).partition(";")[0]
            raise BundleError(f"{what}; use one self-contained ONNX file in YuNet's format") from None
        self._session = _open(model_bytes, threads)
        self._reopened: dict[int, Any] = {}
        self._name, self._fixed = _check_contract(self._session)
        self._input = np.zeros((1, 3, 0, 0), np.float32)
        self.locate(np.zeros((DIVISOR, DIVISOR, 3), np.uint8))

    @classmethod
    def from_spec(cls, model_bytes: bytes, spec: LocatorSpec, *, threads: int = 1) -> "Locator":
        """Return a locator with the settings of a bundle's manifest."""
        return cls(
            model_bytes,
            spec.score_threshold,
            spec.nms_threshold,
            spec.max_side,
            min_scale=spec.min_scale,
            threads=threads,
        )

    def scale(self, width: int, height: int) -> float:
        """Return the scale, in (0, 1], of the copy that the network sees of a picture of this size."""
        side, most = max(height, width), float(self.max_side)
        if self.min_scale is not None:
            most = min(most, max(most / 2, self.min_scale * side))
        scale = min(1.0, most / side)
        if self._fixed is not None:
            scale = min(scale, self._fixed[0] / height, self._fixed[1] / width)
        return scale

    def pixels(self, width: int, height: int) -> float:
        """Return how many pixels the network goes through to search a picture of this size."""
        if self._fixed is not None:
            return self._fixed[0] * self._fixed[1]
        return self.scale(width, height) ** 2 * width * height

    def reopened(self, *, threads: int) -> "Locator":
        """Return a locator of the same file and settings with a session on so many threads.

        The session is opened once and kept for the next call.
        """
        if threads not in self._reopened:
            self._reopened[threads] = _open(self._model, threads)
        other = self.shared()
        other._session = self._reopened[threads]
        return other

    def shared(self) -> "Locator":
        """Return a locator on the same session, for another thread."""
        other = copy.copy(self)
        other._input = np.zeros((1, 3, 0, 0), np.float32)
        return other

    def locate(self, image: np.ndarray, *, bgr: bool = False) -> list[Location]:
        """Find the faces of a picture.

        The network sees a copy, scaled down by `scale` with `crops.shrink`; the locations are in pixels of
        the picture itself.

        Args:
            image: uint8 [H, W, 3], upright.
            bgr: The picture's channels are in OpenCV's order, not RGB.

        Returns:
            The faces, largest area first; empty where there is none.

        Raises:
            BundleError: The network fails.
            MemoryError: There isn't enough memory.
        """
        height, width = image.shape[:2]
        scale = self.scale(width, height)
        small, factors = image, (1.0, 1.0)
        if scale < 1.0:
            with told_alike():
                small, factors = shrink(image, (max(1, round(width * scale)), max(1, round(height * scale))))
        try:
            tensor = self._tensor(small, bgr)
            outputs = self._session.run(list(OUTPUTS), {self._name: tensor})
            rows = decode(outputs, tensor.shape[2:], self._score, self._nms)
        except Exception as error:  # ONNX Runtime's errors share no base class
            if is_shortage(error):
                raise MemoryError(_line(error)) from None
            raise BundleError(f"the locator failed: {_line(error)}; use one in YuNet's format") from None
        return _locations(rows, np.array(factors), (width, height))

    def _tensor(self, image: np.ndarray, bgr: bool) -> np.ndarray:
        """Write a picture into the top left corner of the input, BGR in 0 to 255; beyond it is black.

        FaceDetectorYN pads in the same way, on the right and at the bottom, to multiples of 32.
        """
        height, width = image.shape[:2]
        size = self._fixed or (-(-height // DIVISOR) * DIVISOR, -(-width // DIVISOR) * DIVISOR)
        if self._input.shape[2:] != size:
            self._input = np.zeros((1, 3, *size), np.float32)
        planes = cv2.split(image)
        for channel, plane in zip(self._input[0], planes if bgr else reversed(planes), strict=True):
            channel[:height, :width] = plane
            channel[height:] = 0
            channel[:height, width:] = 0
        return self._input


_LARGEST_BOX = 4
_LARGEST_FIXED = 4096


def _locations(rows: np.ndarray, factors: np.ndarray, size: tuple[int, int]) -> list[Location]:
    """Turn decoded rows [N, 15] into locations.

    What is centred outside the picture is dropped, and what is many times as large: it is no face.
    """
    found = []
    largest = _LARGEST_BOX * max(size)
    for row in rows.astype(np.float64):
        points = row[:14].reshape(7, 2) * factors
        (x, y), (w, h) = points[0].tolist(), points[1].tolist()
        inside = 0 <= x + w / 2 < size[0] and 0 <= y + h / 2 < size[1]
        if not inside or min(w, h) <= 0 or max(w, h) > largest:
            continue
        landmarks = tuple((px, py) for px, py in points[2:].tolist())
        found.append(Location((x, y, w, h), landmarks, min(max(float(row[14]), 0.0), 1.0)))
    return sorted(found, key=lambda face: face.box[2] * face.box[3], reverse=True)


def _open(model: bytes, threads: int) -> Any:
    ort = import_onnxruntime()
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 4
    options.add_session_config_entry("session.load_model_format", "ONNX")
    # As in the classifier's session: its threads leave the cores to others between two runs.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    try:
        return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"], enable_fallback=0)
    except Exception as error:  # ONNX Runtime's errors share no base class
        raise BundleError(
            f"ONNX Runtime can't load the locator: {_line(error)}; use one in YuNet's format"
        ) from None


def _check_contract(session: Any) -> tuple[str, tuple[int, int] | None]:
    """Return the input's name, and its height and width where they are fixed."""
    outputs = {output.name: output for output in session.get_outputs()}
    try:
        if len(session.get_inputs()) != 1:
            raise ValueError(f"it has {len(session.get_inputs())} inputs, not 1")
        value = session.get_inputs()[0]
        wanted = [1, 3, *value.shape[2:]]
        if value.type != "tensor(float)" or len(value.shape) != 4 or _differs(value.shape, wanted):
            raise ValueError(f"its input is {value.type} {value.shape}, not tensor(float) [1, 3, H, W]")
        fixed = [side for side in value.shape[2:] if isinstance(side, int)]
        if fixed and (len(fixed) != 2 or any(side < 1 or side % DIVISOR for side in fixed)):
            raise ValueError(f"its input is {value.shape}, whose sides aren't multiples of {DIVISOR}")
        if fixed and max(fixed) > _LARGEST_FIXED:
            raise ValueError(f"its input is {value.shape}, with a side above {_LARGEST_FIXED}")
        for name in OUTPUTS:
            if name not in outputs:
                raise ValueError(f"it has no output {name}")
            found, width = outputs[name], WIDTHS[name.split("_")[0]]
            if found.type != "tensor(float)" or len(found.shape) != 3 or _differs(found.shape[2:], [width]):
                raise ValueError(f"its output {name} is {found.type} {found.shape}, not [1, N, {width}]")
    except ValueError as error:
        raise BundleError(
            f"the locator isn't in YuNet's format: {error}; use one that cv2.FaceDetectorYN reads"
        ) from None
    return value.name, (fixed[0], fixed[1]) if fixed else None


def _differs(shape: list[Any], wanted: list[Any]) -> bool:
    """Tell whether a declared side, where it is a number, is another one than wanted."""
    return any(isinstance(side, int) and side != want for side, want in zip(shape, wanted, strict=True))


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
