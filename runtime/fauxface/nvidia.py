"""The libraries that the GPU providers need: the driver, CUDA and TensorRT."""

import contextlib
import ctypes
import importlib.util
import io
import sys
import threading
from pathlib import Path
from types import ModuleType

_DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"

# The parser needs the first one.
_TENSORRT = (
    ("nvinfer_10.dll", "nvonnxparser_10.dll")
    if sys.platform == "win32"
    else ("libnvinfer.so.10", "libnvonnxparser.so.10")
)

_preloading = threading.Lock()
_preloaded: dict[ModuleType, list[str]] = {}


def missing_libraries(ort: ModuleType, provider: str) -> str | None:
    """Load the libraries of a provider that pip or the system installed, so that ONNX Runtime finds them.

    Args:
        ort: The `onnxruntime` package.
        provider: "cuda" or "tensorrt".

    Returns:
        What is missing and how to get it, or None.
    """
    try:
        ctypes.CDLL(_DRIVER)
    except OSError:
        return f"there is no NVIDIA driver ({_DRIVER}) on this machine; install it, or use --provider cpu"
    failed = _preload(ort)
    if failed and provider == "cuda":
        return f"{failed[0][:200]}; run: pip install 'fauxface[gpu]'"
    if provider == "tensorrt" and not _load_tensorrt():
        return (
            f"TensorRT 10 isn't installed ({' and '.join(_TENSORRT)}); run: pip install 'tensorrt<11', "
            "or use --provider cuda"
        )
    return None


def _preload(ort: ModuleType) -> list[str]:
    """Load CUDA's libraries, once; return what ONNX Runtime says that it couldn't load."""
    with _preloading:  # standard output belongs to the process
        if ort not in _preloaded:
            said = io.StringIO()
            with contextlib.redirect_stdout(said):
                if hasattr(ort, "preload_dlls"):  # an older one finds what is on the library path
                    ort.preload_dlls(directory="")
            # Other lines are no failure, such as that libraries of an imported torch are taken.
            lines = said.getvalue().splitlines()
            _preloaded[ort] = [line.strip() for line in lines if line.startswith("Failed to load")]
        return _preloaded[ort]


def _load_tensorrt() -> bool:
    """Load TensorRT: of the system or the library path, else of the pip package `tensorrt`.

    ONNX Runtime asks for the libraries by name and takes those that are loaded; the pip package's folder is
    on no library path.
    """
    found = importlib.util.find_spec("tensorrt_libs")
    folders = [Path(folder) for folder in (found and found.submodule_search_locations) or ()]
    for name in _TENSORRT:
        for candidate in (name, *(str(folder / name) for folder in folders)):
            try:
                ctypes.CDLL(candidate)
                break
            except OSError:
                continue
        else:
            return False
    return True
