"""A detector in YuNet's format, run by ONNX Runtime for its dense outputs."""

import hashlib
from pathlib import Path

import numpy as np
import onnxruntime

from fauxface.errors import CheckpointError
from fauxface.yunet import DIVISOR, OUTPUTS, STRIDES, WIDTHS
from fauxface_train.locator.decode import pack
from fauxface_train.locator.hints import hint_name, with_hints


class DenseDetector:
    """A YuNet-format file whose twelve maps can be read.

    Args:
        path: The ONNX file.
        threads: Threads of ONNX Runtime.
        hints: Whether to make its feature maps readable too, where its heads share some.

    Attributes:
        hints: Names of the feature maps' outputs; empty where there are none.

    Raises:
        CheckpointError: The file is missing, isn't ONNX, or isn't in YuNet's format.
    """

    def __init__(self, path: str | Path, threads: int = 1, hints: bool = False) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise CheckpointError(f"no such detector file: {path}; give an ONNX file in YuNet's format")
        data = self.path.read_bytes()
        self.sha256 = hashlib.sha256(data).hexdigest()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self.hints: list[str] = []
        try:
            if hints and (extended := with_hints(data)) is not None:
                data, self.hints = extended, [hint_name(stride) for stride in STRIDES]
            self._session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise CheckpointError(f"{path} isn't a readable ONNX file; give one in YuNet's format") from error
        inputs = self._session.get_inputs()
        names = {output.name for output in self._session.get_outputs()}
        if len(inputs) != 1 or not names.issuperset(OUTPUTS):
            missing = ", ".join(sorted(set(OUTPUTS) - names)) or "a single input"
            raise CheckpointError(
                f"{path} isn't in YuNet's format: it lacks {missing}; give another detector"
            )
        fixed = [side for side in inputs[0].shape[2:] if isinstance(side, int)]
        if fixed:
            raise CheckpointError(
                f"{path} takes pictures of {' x '.join(map(str, fixed))} alone; give a detector of any size"
            )
        self._input = inputs[0].name

    def outputs(self, picture: np.ndarray) -> dict[str, np.ndarray]:
        """Return the twelve outputs, float32 [1, cells, C] each, and the feature maps, [1, C, H / s, W / s].

        Args:
            picture: uint8 [H, W, 3], BGR; H and W multiples of 32.

        Raises:
            ValueError: The sides aren't multiples of 32.
        """
        if picture.shape[0] % DIVISOR or picture.shape[1] % DIVISOR:
            raise ValueError(f"height and width must be multiples of {DIVISOR}, not {picture.shape[:2]}")
        x = np.ascontiguousarray(picture.transpose(2, 0, 1)[None], np.float32)
        names = [*OUTPUTS, *self.hints]
        values = self._session.run(names, {self._input: x})
        found = {name: np.asarray(value) for name, value in zip(names, values, strict=True)}
        for name in OUTPUTS:
            value = found[name]
            if value.ndim != 3 or value.shape[2] != WIDTHS[name.split("_")[0]]:
                raise CheckpointError(
                    f"{self.path}: output {name} has shape {value.shape}; not YuNet's format"
                )
        return found

    def dense(self, picture: np.ndarray) -> np.ndarray:
        """Return the packed maps, float32 [cells, 16], of a uint8 [H, W, 3] BGR picture."""
        return pack(self.outputs(picture))
