"""One way to score crops with a checkpoint, TorchScript, torch.export, ONNX file or bundle."""

import hashlib
import io
import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import torch
from torch.export.passes import move_to_device_pass

from fauxface.bundle import Bundle
from fauxface.crops import INPUT_SIZE
from fauxface.errors import BundleError, CheckpointError, FauxfaceError, ProviderError
from fauxface.gates import Gates
from fauxface.manifest import MANIFEST_NAME
from fauxface.precision import check_precision, open_classifier
from fauxface.session import Classifier
from fauxface.verdicts import Calibration, Thresholds
from fauxface_train import checkpoint, pt2
from fauxface_train.model import in_full_precision
from fauxface_train.provenance import fitted_to, learned_before, trained_on, trained_whole, written

KINDS = ("checkpoint", "torchscript", "torch.export", "onnx", "bundle")

_IDENTITY = Calibration()
_UNGATED = Gates()
_UNCALIBRATED = Thresholds(0.5, 0.5, "none: the model came without an operating point, so 0.5 was used")


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """What turns logits into a verdict.

    Attributes:
        calibration: From logits to the probability of "generated".
        thresholds: From probability to label.
        margin: Crop margin that the model was made for; None where it isn't known.
        gates: What a face must fulfil for its probability to count.
        min_face_px: Smaller faces are "unsure", in pixels of the original picture.
        shipped: False where the model came without one, so that temperature 1 and threshold 0.5 stand in.
        whole: The model was trained on whole pictures, in place of faces that were cut out.
    """

    calibration: Calibration = _IDENTITY
    thresholds: Thresholds = _UNCALIBRATED
    margin: float | None = None
    gates: Gates = _UNGATED
    min_face_px: float = 0
    shipped: bool = False
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Scorer:
    """A model of any kind behind one function.

    Attributes:
        kind: One of `KINDS`.
        path: Where the model was read.
        point: Its operating point.
        provider: Where it runs, for example "cpu".
        identity: What names the model: the bundle's sha256, or the file's name.
        precision: What a bundle's classifier computes in; "" where the model isn't a bundle.
        checkpoint_sha256: SHA-256 of the checkpoint's file; "" where the model isn't a checkpoint.
        fitted_to: What it was calibrated on, on site: SHA-256 of the manifest.csv of prepared data, and the
            pictures' `provenance.marks`.
        locator_sha256: Of the bundle's locator, or of that which cut what a checkpoint was trained on; ""
            where that isn't known.
        trained_on: Which data it was trained on; see `provenance.trained_on`.
        learned_before: Which other data its initial weights or teachers had learned from; see
            `provenance.learned_before`.
    """

    kind: str
    path: Path
    point: OperatingPoint
    provider: str
    identity: str
    _run: Callable[[np.ndarray], np.ndarray]
    precision: str = ""
    checkpoint_sha256: str = ""
    trained_on: tuple[str, ...] = ()
    fitted_to: tuple[str, ...] = ()
    locator_sha256: str = ""
    learned_before: tuple[str, ...] = ()

    @property
    def calibration(self) -> Calibration:
        """From logits to the probability of "generated"."""
        return self.point.calibration

    @property
    def thresholds(self) -> Thresholds:
        """From probability to label."""
        return self.point.thresholds

    def logits(self, crops: np.ndarray) -> np.ndarray:
        """Score crops.

        Args:
            crops: uint8 [N, 128, 128, 3], RGB.

        Returns:
            float32 [N, 2] in the order bona fide, generated.

        Raises:
            CheckpointError: The model doesn't keep the contract, or its logits aren't finite.
        """
        try:
            result = np.asarray(self._run(crops))
        except FauxfaceError:
            raise
        except Exception as error:
            raise _other_contract(self.path, _first_line(error)) from error
        if result.shape != (len(crops), 2) or result.dtype != np.float32:
            found = f"it returns {result.dtype} {list(result.shape)} for {len(crops)} crops"
            raise _other_contract(self.path, found)
        if not np.isfinite(result).all():
            raise CheckpointError(f"{self.path} gives logits that aren't finite; train or export it again")
        return result


def open_scorer(path: str | os.PathLike[str], provider: str = "auto", precision: str = "auto") -> Scorer:
    """Open a model of any kind.

    A bundle is read, verified and run by the runtime's own code. A checkpoint runs as the module that export
    traces. A single ONNX, TorchScript or torch.export file takes its operating point from the bundle.json
    beside it, if that lists the file.

    Args:
        path: A training run's folder, a .safetensors checkpoint, a bundle's folder, or an .onnx, .pt or .pt2
            file.
        provider: "auto", or where to run: an execution provider for a bundle or ONNX file, "cpu" or "cuda"
            for the others.
        precision: Which of a bundle's classifiers: "fp32", "fp16", "int8", or "auto" for what a scan takes.

    Raises:
        CheckpointError: Nothing is there, or it can't be read, or it isn't a model of our contract: uint8
            [N, 128, 128, 3] to float32 [N, 2].
        BundleError: The bundle or the ONNX file is refused, or the bundle lacks the precision.
        ProviderError: The provider is unknown or isn't available; the precision is unknown, or was asked for
            of something else than a bundle.
    """
    given = Path(path)
    check_precision(precision)
    if not given.exists():
        raise CheckpointError(
            f"no model at {given}; give a training run, a checkpoint, a bundle, or an .onnx, .pt or .pt2 file"
        )
    if given.name == MANIFEST_NAME or (given / MANIFEST_NAME).is_file():
        scorer = _open_bundle(given, provider, precision)
    elif precision != "auto":
        raise ProviderError(f"{given} isn't a bundle, so it has one precision; leave --precision out")
    else:
        openers = {".onnx": _open_onnx, ".pt": _open_torchscript, ".pt2": _open_exported}
        scorer = openers.get(given.suffix.lower() if given.is_file() else "", _open_checkpoint)(
            given, provider
        )
    # Two sizes, so that a graph with a fixed batch is found out before the work starts.
    for count in (1, 2):
        scorer.logits(np.zeros((count, INPUT_SIZE, INPUT_SIZE, 3), np.uint8))
    return scorer


def _open_bundle(path: Path, provider: str, precision: str) -> Scorer:
    bundle = Bundle.load(path)
    session, in_use = open_classifier(bundle, provider=provider, precision=precision)
    point, seen = _of_bundle(bundle, in_use)
    return Scorer("bundle", path, point, session.provider, bundle.sha256, session.logits, in_use, **seen)


def _open_onnx(path: Path, provider: str) -> Scorer:
    data = _read(path)
    point, seen = _beside(path, data)
    session = Classifier(data, provider=provider)
    return Scorer("onnx", path, point, session.provider, written(path), session.logits, **seen)


def _open_checkpoint(path: Path, provider: str) -> Scorer:
    loaded = checkpoint.load(path)
    device = _device(provider)
    point = _point_of_checkpoint(loaded.path, loaded.info)
    run = _runner(loaded.deployed().to(device), device)
    digest = hashlib.sha256(loaded.path.read_bytes()).hexdigest()
    return Scorer(
        "checkpoint",
        loaded.path,
        point,
        device,
        written(loaded.path),
        run,
        checkpoint_sha256=digest,
        trained_on=trained_on(loaded.info),
        learned_before=learned_before(loaded.info),
        locator_sha256=str(loaded.info.get("locator_sha256") or ""),
    )


def _open_torchscript(path: Path, provider: str) -> Scorer:
    device, data = _device(provider), _read(path)
    point, seen = _beside(path, data)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"`torch\.jit\.\w+` is deprecated")
            module = torch.jit.load(io.BytesIO(data), map_location=device).eval()
    except (RuntimeError, ValueError, OSError) as error:
        raise CheckpointError(
            f"{path} isn't TorchScript ({_first_line(error)}); give a file that `fauxface export` wrote"
        ) from error
    return Scorer("torchscript", path, point, device, written(path), _runner(module, device), **seen)


def _open_exported(path: Path, provider: str) -> Scorer:
    device, data = _device(provider), _read(path)
    point, seen = _beside(path, data)
    program = pt2.load(data, str(path))
    try:
        module = move_to_device_pass(program, device).module()
    except Exception as error:
        raise CheckpointError(
            f"{path} can't run on {device} ({_first_line(error)}); give one that `fauxface export` wrote"
        ) from error
    return Scorer("torch.export", path, point, device, written(path), _runner(module, device), **seen)


def _runner(
    module: Callable[[torch.Tensor], torch.Tensor], device: str
) -> Callable[[np.ndarray], np.ndarray]:
    def run(crops: np.ndarray) -> np.ndarray:
        with torch.no_grad(), in_full_precision():
            return module(torch.from_numpy(np.ascontiguousarray(crops)).to(device)).cpu().numpy()

    return run


def _device(provider: str) -> str:
    if provider not in ("auto", "cpu", "cuda"):
        raise ProviderError(f"PyTorch models run on cpu or cuda, not {provider!r}; choose one, or auto")
    if provider == "cuda" and not torch.cuda.is_available():
        raise ProviderError(
            "PyTorch finds no CUDA device; use --provider cpu, or install a CUDA build of torch"
        )
    return "cuda" if provider != "cpu" and torch.cuda.is_available() else "cpu"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"can't read {path}: {error.strerror or error}; check the file") from error


class _Seen(TypedDict, total=False):
    trained_on: tuple[str, ...]
    learned_before: tuple[str, ...]
    fitted_to: tuple[str, ...]
    locator_sha256: str


def _beside(path: Path, data: bytes) -> tuple[OperatingPoint, _Seen]:
    """Return the operating point and the data of the bundle that a file is part of, if it is of any.

    A file that lies beside a bundle.json, and isn't listed there, is none of the bundle's.

    Raises:
        BundleError: It is listed, but was changed.
    """
    if not (path.parent / MANIFEST_NAME).is_file():
        return OperatingPoint(), {}
    bundle = Bundle.load(path.parent)
    if path.name not in bundle.manifest.files:
        return OperatingPoint(), {}
    if bundle.read(path.name) != data:
        raise BundleError(f"{path} was changed while it was read; try again")
    named = [key for key, name in bundle.manifest.classifier.items() if name == path.name]
    return _of_bundle(bundle, named[0] if named else "fp32")


def _of_bundle(bundle: Bundle, precision: str) -> tuple[OperatingPoint, _Seen]:
    manifest = bundle.manifest
    point, crop = manifest.operating_point(precision), manifest.crop
    return OperatingPoint(
        point.calibration,
        point.thresholds,
        crop.margin,
        manifest.gates,
        crop.min_face_px,
        shipped=True,
        whole=trained_whole(manifest.provenance),
    ), {
        "trained_on": trained_on(manifest.provenance),
        "learned_before": learned_before(manifest.provenance),
        "fitted_to": fitted_to(manifest.provenance),
        "locator_sha256": manifest.files[manifest.locator.file].sha256,
    }


def _point_of_checkpoint(path: Path, info: Mapping[str, Any]) -> OperatingPoint:
    margin, whole = float(info["margin"]), info.get("faces") == "whole"
    if not info.get("calibration") or not info.get("thresholds"):
        return OperatingPoint(margin=margin, whole=whole)
    try:
        calibration, thresholds = Calibration(**info["calibration"]), Thresholds(**info["thresholds"])
        gates = Gates(**(info.get("gates") or {}))
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path} has a bad operating point: {error}; train or copy it again") from error
    # A run that isn't finished writes a stand-in, which was fitted on nothing.
    return OperatingPoint(
        calibration, thresholds, margin, gates, shipped=bool(calibration.fitted_on), whole=whole
    )


def _other_contract(path: Path, found: str) -> CheckpointError:
    return CheckpointError(
        f"{path} isn't a fauxface classifier: {found}; it must map uint8 [N, {INPUT_SIZE}, {INPUT_SIZE}, 3] "
        "to float32 logits [N, 2]"
    )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:160]
