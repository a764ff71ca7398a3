"""Strict JSON: one object in UTF-8, no key twice, finite numbers only; and how messages show its parts."""

import json
import math
from typing import Any

from fauxface.errors import BundleError

MANIFEST_NAME = "bundle.json"
MAX_MANIFEST_BYTES = 1 << 20


def read(data: bytes) -> dict[str, Any]:
    """Parse one JSON object in UTF-8; keys that occur twice and numbers that JSON doesn't have are refused.

    Raises:
        BundleError: The bytes aren't such an object, or are too many.
    """
    if len(data) > MAX_MANIFEST_BYTES:
        raise BundleError(f"{MANIFEST_NAME} is longer than {MAX_MANIFEST_BYTES} bytes; this isn't a manifest")
    try:
        document = json.loads(data.decode("utf-8"), object_pairs_hook=_unique)
        _check_values(document, "")
    except (ValueError, RecursionError) as error:
        raise BundleError(
            f"{MANIFEST_NAME} isn't valid JSON in UTF-8: {error}; get the bundle again"
        ) from None
    if not isinstance(document, dict):
        raise BundleError(f"{MANIFEST_NAME} must hold one JSON object; get the bundle again")
    return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise BundleError(f"{MANIFEST_NAME}: key {show(key)} occurs twice; write it once")
        result[key] = value
    return result


def _check_values(value: object, path: str) -> None:
    """Refuse numbers that JSON doesn't have and text that can't be encoded, wherever they are."""
    if isinstance(value, float) and not math.isfinite(value):
        raise BundleError(f"{MANIFEST_NAME}: {path or 'the document'} is {value}, not a finite number")
    if isinstance(value, str):
        value.encode("utf-8")
    elif isinstance(value, dict):
        for key, item in value.items():
            key.encode("utf-8")
            _check_values(item, step(path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _check_values(item, f"{path}[{index}]")


def show(value: object) -> str:
    """Return a value as JSON for a message, cut to 80 characters."""
    text = json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "..."


def step(path: str, key: str) -> str:
    """Return the path of a field for a message; keys with control characters are escaped."""
    shown = key if key.isprintable() and len(key) <= 80 else show(key)
    return f"{path}.{shown}" if path else shown
