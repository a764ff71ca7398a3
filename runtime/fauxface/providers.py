"""What each execution provider is given: its options, and TensorRT's cache of built engines.

docs/performance.md says why each option is set and which of them were measured.
"""

import contextlib
import ctypes
import hashlib
import importlib.metadata
import os
import re
import sys
from pathlib import Path

from fauxface.crops import INPUT_SIZE

BUCKETS = (1, 2, 4, 8, 16, 32)
"""Batch sizes that a GPU runs; smaller batches are filled up to the next one."""

_TYPICAL_BATCH = 8

# CUdevice_attribute in cuda.h
_MAJOR, _MINOR = 75, 76


def openvino_options(threads: int) -> dict[str, str]:
    """Return the options of OpenVINO; its default on some CPUs is bfloat16, which moves the logits."""
    return {"device_type": "CPU", "precision": "FP32", "num_of_threads": str(threads)}


def cuda_options(*, graphs: bool) -> dict[str, str]:
    """Return the options of the CUDA provider.

    TF32 keeps 10 bits of mantissa: it would move the logits further than the parity gate allows.

    Args:
        graphs: Record the kernels of each batch size once and replay them with a single launch.
    """
    options = {"cudnn_conv_algo_search": "HEURISTIC", "use_tf32": "0"}
    return options | {"enable_cuda_graph": "1"} if graphs else options


def tensorrt_options(input_name: str, precision: str, cache: Path | None) -> dict[str, str]:
    """Return the options of the TensorRT provider.

    One engine serves all batch sizes, so that none is built while frames wait. CUDA graphs stay off: the
    provider keeps one graph per session, which fits one batch size only.

    Args:
        input_name: Name of the model's input.
        precision: "fp16" lets TensorRT compute in half precision.
        cache: Folder for the built engine and its timings; None: nothing is kept.
    """
    shapes = {"min": BUCKETS[0], "opt": _TYPICAL_BATCH, "max": BUCKETS[-1]}
    options = {
        f"trt_profile_{name}_shapes": f"{input_name}:{batch}x{INPUT_SIZE}x{INPUT_SIZE}x3"
        for name, batch in shapes.items()
    }
    if precision == "fp16":
        options["trt_fp16_enable"] = "1"
    if cache is not None:
        options |= {
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": str(cache),
            "trt_timing_cache_enable": "1",
            "trt_timing_cache_path": str(cache),
        }
    return options


def engine_cache(model: bytes, precision: str, onnxruntime: str, root: Path | None = None) -> Path | None:
    """Return the folder that keeps the TensorRT engine of this model on this GPU; it is made.

    An engine runs with the TensorRT version, on the kind of GPU and for the model that it was built for, so
    all of them are part of the folder's name.

    Args:
        model: The ONNX file.
        precision: "fp32", "fp16" or "int8".
        onnxruntime: Version of ONNX Runtime.
        root: Where the caches of fauxface lie; `user_cache()` when None.

    Returns:
        The folder, readable by this user alone, or None where it can't be made.
    """
    digest = hashlib.sha256(model).hexdigest()[:32]
    name = f"{digest}-{precision}-sm{compute_capability()}-trt{tensorrt_version()}-ort{onnxruntime}"
    try:
        folder = engines(root) / re.sub(r"[^A-Za-z0-9.+-]", "_", name)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except (OSError, RuntimeError):  # the latter of a user without a home
        return None
    return folder if os.access(folder, os.W_OK | os.X_OK) else None


def engines(root: Path | None = None) -> Path:
    """Return the folder that holds the caches of all engines; it may not exist.

    Raises:
        RuntimeError: There is no `root`, and the user has no home.
    """
    return (root or user_cache()) / "tensorrt"


def announce_build(cache: Path | None) -> bool:
    """Say on standard error that TensorRT will build its engine, unless the cache holds one.

    Returns:
        Whether it was said.
    """
    if cache is not None and any(cache.glob("*.engine")):
        return False
    kept = f"it is kept in {cache}" if cache else "it can't be kept, since no cache folder can be written"
    sys.stderr.write(f"note: TensorRT builds its engine for this GPU, which may take minutes; {kept}\n")
    return True


def user_cache() -> Path:
    """Return where this user's caches of fauxface lie; the folder may not exist.

    Raises:
        RuntimeError: The user has no home.
    """
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "fauxface"


def tensorrt_version() -> str:
    """Return the version of the installed TensorRT, or "unknown"."""
    for name in ("tensorrt", "tensorrt-cu13", "tensorrt-cu12", "tensorrt-cu11"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(name)
    for name in ("libnvinfer.so.10", "libnvinfer.so", "nvinfer_10.dll", "nvinfer.dll"):
        with contextlib.suppress(OSError, AttributeError):
            return str(ctypes.CDLL(name).getInferLibVersion())
    return "unknown"


def compute_capability(driver: ctypes.CDLL | None = None) -> str:
    """Return the compute capability of the first GPU, for example "8.7", or "unknown".

    Args:
        driver: The NVIDIA driver's library; the system's when None.
    """
    try:
        library = driver or ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
        failed = (
            library.cuInit(0)
            or library.cuDeviceGet(ctypes.byref(device), 0)
            or library.cuDeviceGetAttribute(ctypes.byref(major), _MAJOR, device)
            or library.cuDeviceGetAttribute(ctypes.byref(minor), _MINOR, device)
        )
    except (OSError, AttributeError):
        return "unknown"
    return "unknown" if failed else f"{major.value}.{minor.value}"
