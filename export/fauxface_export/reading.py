"""Read what an export is made from, and refuse what is damaged or belongs to another checkpoint."""

import csv
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import onnx

from fauxface.bundle import Bundle
from fauxface.errors import BundleError, CheckpointError, DataError
from fauxface.locator import Locator
from fauxface.verdicts import Calibration, Thresholds
from fauxface_train import layouts
from fauxface_train.checkpoint import Checkpoint
from fauxface_train.locator.int8 import SOURCE

LOCATOR_SCORE = 0.6


def read_operating_point(loaded: Checkpoint) -> tuple[Calibration, Thresholds]:
    """Return the calibration and thresholds that training stored in the checkpoint.

    Raises:
        CheckpointError: They are missing or invalid, or the run isn't finished.
    """
    try:
        calibration = Calibration(**loaded.info["calibration"])
        thresholds = Thresholds(**loaded.info["thresholds"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{loaded.path} has no valid calibration and thresholds ({error}); train it again"
        ) from None
    if not calibration.fitted_on:
        raise CheckpointError(
            f"{loaded.path} isn't calibrated: its run isn't finished; go on with "
            f"'fauxface train DATA --out {loaded.path.parent} --resume'"
        )
    return calibration, thresholds


def read_locator(path: Path | None, score: float | None) -> tuple[bytes, float]:
    """Return the locator's file and its score threshold.

    Args:
        path: ONNX in YuNet's format; None takes the shipped bundle's locator.
        score: Threshold to use; None: the shipped bundle's for its locator, else LOCATOR_SCORE.

    Raises:
        BundleError: It can't be read or isn't in YuNet's format.
    """
    if path is None:
        shipped = Bundle.load()
        return shipped.locator_bytes(), score or shipped.manifest.locator.score_threshold
    data = read_bytes(path, "face locator", BundleError)
    _check_locator(data, path)
    return data, score or LOCATOR_SCORE


def _check_locator(data: bytes, path: Path) -> None:
    """Raise a BundleError unless the runtime takes a file as a locator."""
    try:
        Locator(data)
    except BundleError as error:
        raise BundleError(f"{path}: {error}") from None


def read_locator_int8(path: Path | None, locator: bytes) -> bytes | None:
    """Return the locator's file in int8; None where there is none.

    Args:
        path: What `fauxface locator quantise` wrote; None: the shipped bundle's, for its own locator.
        locator: The file in float.

    Raises:
        BundleError: It can't be read or isn't in YuNet's format.
        DataError: It was made from another locator.
    """
    if path is None:
        shipped = Bundle.load()
        if shipped.manifest.locator.int8 is None or shipped.locator_bytes() != locator:
            return None
        return shipped.locator_bytes("int8")
    data = read_bytes(path, "face locator", BundleError)
    _check_locator(data, path)
    made_of = {entry.key: entry.value for entry in onnx.load_model_from_string(data).metadata_props}
    if made_of.get(SOURCE) != hashlib.sha256(locator).hexdigest():
        raise DataError(
            f"{path} wasn't made from the bundle's locator; run `fauxface locator quantise` on that"
        )
    return data


def read_metrics(path: Path, digest: str, calibration: Calibration, thresholds: Thresholds) -> dict[str, Any]:
    """Read metrics.json and check that it measured this checkpoint at its operating point.

    Args:
        path: metrics.json of `fauxface evaluate`.
        digest: SHA-256 of the checkpoint.
        calibration: The checkpoint's calibration.
        thresholds: The checkpoint's thresholds.

    Raises:
        DataError: It can't be read, or measured something else.
    """
    data = read_bytes(path, "metrics", DataError)
    try:
        metrics = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} isn't JSON ({error}); give metrics.json of `fauxface evaluate`") from None
    parts = ("overall", "model", "operating_point")
    if not isinstance(metrics, dict) or not all(isinstance(metrics.get(part), dict) for part in parts):
        raise DataError(f"{path} isn't metrics.json of `fauxface evaluate`; run it on the checkpoint")
    model, point = metrics["model"], metrics["operating_point"]
    wanted = {
        "temperature": calibration.temperature,
        "bias": calibration.bias,
        "bona_fide_below": thresholds.bona_fide_below,
        "generated_from": thresholds.generated_from,
    }
    # A bundle, and what is part of one, names no checkpoint.
    named = model.get("checkpoint_sha256", None if model.get("kind") == "checkpoint" else digest)
    if named != digest or any(point.get(key) != value for key, value in wanted.items()):
        raise DataError(
            f"{path} measured another model or operating point; run `fauxface evaluate` on this checkpoint"
        )
    return metrics


def read_terms(path: Path) -> list[dict[str, str]]:
    """Read a table of sources and their terms.

    Args:
        path: CSV with the columns source, label, origin, terms.

    Returns:
        The rows; labels are "real" and "fake", however they were spelled.

    Raises:
        DataError: It is missing, lacks a column, or a label is unknown.
    """
    wanted = ("source", "label", "origin", "terms")
    text = read_bytes(path, "table of terms", DataError)
    try:
        rows = list(csv.DictReader(io.StringIO(text.decode("utf-8-sig"), newline="")))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} isn't a CSV in UTF-8 ({error}); give columns {', '.join(wanted)}") from None
    if not rows or any(row.get(column) is None for row in rows for column in wanted):
        raise DataError(f"{path} must hold rows with the columns {', '.join(wanted)}; complete it")
    table = [{column: row[column].strip() for column in wanted} for row in rows]
    for row in table:
        label = layouts.label_of(row["label"])
        if label is None:
            raise DataError(f"{path}: {row['label']!r} is no label; write real or fake")
        row["label"] = label
    return table


def read_bytes(path: Path, what: str, error_type: type[Exception]) -> bytes:
    """Return a file's content; the error names what the file was to be."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise error_type(f"can't read the {what} {path}: {error.strerror or error}; check the path") from None
