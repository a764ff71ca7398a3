"""Strict JSON: one object in UTF-8, no key twice, finite numbers only; its fields, checked one by one."""

import json
import math
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NoReturn

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
    if isinstance(value, int | float) and not _is_finite(value):
        shown = f"{value}"[:20]
        raise BundleError(f"{MANIFEST_NAME}: {path or 'the document'} is {shown}, not a finite number")
    if isinstance(value, str):
        value.encode("utf-8")
    elif isinstance(value, dict):
        for key, item in value.items():
            key.encode("utf-8")
            _check_values(item, step(path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _check_values(item, f"{path}[{index}]")


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number that no double holds
        return False


def show(value: object) -> str:
    """Return a value as JSON for a message, cut to 80 characters."""
    text = json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "..."


def step(path: str, key: str) -> str:
    """Return the path of a field for a message; keys with control characters are escaped."""
    shown = key if key.isprintable() and len(key) <= 80 else show(key)
    return f"{path}.{shown}" if path else shown


class Fields:
    """One JSON object, whose fields are taken out with a check each; what is wrong is a BundleError.

    Args:
        values: The object.
        path: Where it stands in the document, for messages; "" at the top.
    """

    def __init__(self, values: dict[str, Any], path: str) -> None:
        self.values, self._path = values, path

    def wrong(self, key: str, expected: str) -> BundleError:
        """Return the error that says what a field must be; the caller raises it."""
        path = step(self._path, key)
        if key not in self.values:
            return BundleError(f"{MANIFEST_NAME}: {path} is missing; it must be {expected}")
        return BundleError(f"{MANIFEST_NAME}: {path} must be {expected}, not {show(self.values[key])}")

    def _fail(self, key: str, expected: str) -> NoReturn:
        raise self.wrong(key, expected)

    def object(self, key: str) -> "Fields":
        """Return an object's fields."""
        value = self.values.get(key)
        if not isinstance(value, dict):
            self._fail(key, "an object")
        return Fields(value, step(self._path, key))

    def free_form(self, key: str) -> Mapping[str, Any]:
        """Return an object as it is; empty where the field is absent."""
        return MappingProxyType(self.object(key).values if key in self.values else {})

    def text(self, key: str, limit: int = 201) -> str:
        """Return text of one line."""
        value = self.values.get(key)
        if not isinstance(value, str) or not value.isprintable() or not 0 < len(value) <= limit:
            self._fail(key, f"1 to {limit} printable characters")
        return value

    def optional_text(self, key: str, limit: int = 201) -> str | None:
        """Return text of one line, or None where the field is absent, null or empty."""
        return None if self.values.get(key) in (None, "") else self.text(key, limit)

    def strings(self, key: str) -> tuple[str, ...]:
        """Return a list of text."""
        value = self.values.get(key)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            self._fail(key, "a list of text")
        return tuple(value)

    def one_of(self, key: str, *choices: str) -> str:
        """Return text that is one of the choices."""
        value = self.values.get(key)
        if not isinstance(value, str) or value not in choices:
            self._fail(key, " or ".join(f'"{choice}"' for choice in choices))
        return value

    def matching(self, key: str, pattern: re.Pattern[str], expected: str) -> str:
        """Return text that matches a pattern wholly."""
        value = self.values.get(key)
        if not isinstance(value, str) or pattern.fullmatch(value) is None:
            self._fail(key, expected)
        return value

    def number(self, key: str, low: float, high: float) -> float:
        """Return a number from low to high, both included."""
        value = self.values.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            self._fail(key, f"a number from {low:g} to {high:g}")
        return float(value)

    def optional_number(self, key: str, low: float, high: float) -> float | None:
        """Return a number from low to high, or None where the field is absent or null."""
        return None if self.values.get(key) is None else self.number(key, low, high)

    def integer(self, key: str, low: int, high: int) -> int:
        """Return a whole number from low to high, both included."""
        value = self.values.get(key)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self._fail(key, f"a whole number from {low} to {high}" if low < high else f"{low}")
        return value
