"""Running a session on a GPU: fixed batch sizes, with buffers that stay on the device."""

from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np

from fauxface.crew import Crew
from fauxface.crops import INPUT_SIZE
from fauxface.providers import BUCKETS

_WARM_UP = 2
"""With CUDA graphs, the first run allocates and the second one records."""


@dataclass(frozen=True, slots=True)
class _Bucket:
    """One batch size: the crops on the host, input and output on the device, and how they are bound."""

    crops: np.ndarray
    input: Any
    output: Any
    binding: Any
    options: Any


class BucketRunner:
    """Runs batches of up to `BUCKETS[-1]` crops; each is filled up to the next size in `BUCKETS`.

    A size keeps the addresses of its buffers for life, which CUDA graphs need, and every size is run when the
    runner is made, so that no frame waits for memory or for a choice of kernels. All runs happen in one
    thread of the runner's own: ONNX Runtime records CUDA graphs for the thread that runs them, and callers in
    several threads would write over each other's buffers.

    Args:
        ort: The `onnxruntime` package.
        session: A session whose single input is uint8 [N, 128, 128, 3] and whose output is float32 [N, 2].
        graphs: The session records CUDA graphs, one for each size.
        device: Where the buffers lie, by ONNX Runtime's name.
    """

    def __init__(self, ort: ModuleType, session: Any, *, graphs: bool, device: str = "cuda") -> None:
        self._session = session
        self._buckets = {
            size: _bucket(ort, session, size, number if graphs else None, device)
            for number, size in enumerate(BUCKETS, start=1)
        }
        self._thread = Crew(1, "fauxface-gpu", outlived=False)
        for size, bucket in self._buckets.items():
            for _ in range(_WARM_UP):
                self.run(bucket.crops[:size])

    def run(self, crops: np.ndarray) -> np.ndarray:
        """Run one batch; may be called in any thread.

        Args:
            crops: uint8 [N, 128, 128, 3], RGB; N from 1 to `BUCKETS[-1]`.

        Returns:
            [N, 2], as the model gives it.
        """
        bucket = self._buckets[next(size for size in BUCKETS if size >= len(crops))]
        return self._thread.submit(partial(_run, self._session, bucket, crops)).result()


def _run(session: Any, bucket: _Bucket, crops: np.ndarray) -> np.ndarray:
    bucket.crops[: len(crops)] = crops
    bucket.input.update_inplace(bucket.crops)
    bucket.binding.synchronize_inputs()
    session.run_with_iobinding(bucket.binding, bucket.options)
    bucket.binding.synchronize_outputs()
    # A copy: what lies on the host already is handed out as it is, and the next run writes over it.
    return bucket.output.numpy()[: len(crops)].copy()


def _bucket(ort: ModuleType, session: Any, size: int, graph: int | None, device: str) -> _Bucket:
    crops = np.zeros((size, INPUT_SIZE, INPUT_SIZE, 3), np.uint8)
    given = ort.OrtValue.ortvalue_from_numpy(crops, device, 0)
    result = ort.OrtValue.ortvalue_from_shape_and_type([size, 2], np.float32, device, 0)
    binding = session.io_binding()
    binding.bind_ortvalue_input(session.get_inputs()[0].name, given)
    binding.bind_ortvalue_output(session.get_outputs()[0].name, result)
    options = ort.RunOptions()
    if graph is not None:
        options.add_run_config_entry("gpu_graph_id", str(graph))
    return _Bucket(crops, given, result, binding, options)
