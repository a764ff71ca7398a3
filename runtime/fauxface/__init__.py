"""fauxface tells AI-generated faces from camera faces.

The public names below are imported when they are first used, so that `import fauxface` costs next to nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fauxface.bundle import Bundle
    from fauxface.errors import (
        BenchmarkError,
        BundleError,
        CheckpointError,
        DataError,
        FauxfaceError,
        GateError,
        ImageError,
        MissingExtraError,
        NoFaceError,
        OutputError,
        ProviderError,
        SourceError,
        VideoError,
    )
    from fauxface.results import Face, ItemError, Result
    from fauxface.scanner import Scanner

__version__ = "0.1.0"

__all__ = [
    "BenchmarkError",
    "Bundle",
    "BundleError",
    "CheckpointError",
    "DataError",
    "Face",
    "FauxfaceError",
    "GateError",
    "ImageError",
    "ItemError",
    "MissingExtraError",
    "NoFaceError",
    "OutputError",
    "ProviderError",
    "Result",
    "Scanner",
    "SourceError",
    "VideoError",
]

_ELSEWHERE = {
    "Bundle": "bundle",
    "Face": "results",
    "ItemError": "results",
    "Result": "results",
    "Scanner": "scanner",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'fauxface' has no attribute {name!r}")
    return getattr(importlib.import_module(f"fauxface.{_ELSEWHERE.get(name, 'errors')}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
