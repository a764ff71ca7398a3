"""Dataclasses to JSON values and back; what comes from a file is checked type by type."""

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

T = TypeVar("T")


def to_plain(value: Any) -> Any:
    """Return a dataclass as JSON values: objects, lists, text, numbers, booleans and null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [to_plain(item) for item in value]
    return value


def from_plain(kind: type[T], value: Any, path: str = "") -> T:
    """Build a dataclass from JSON values; it reverses `to_plain`.

    Args:
        kind: A dataclass whose fields are dataclasses, `str`, `bool`, `int`, `float`, `tuple[X, ...]`,
            `dict[str, X]` or one of these or None.
        value: The JSON values.
        path: Where they stand in the document, for messages.

    Raises:
        ValueError: A field without a default is missing, or one is unknown, of another type or not finite, or
            the dataclass refuses its values; the message names the field.
    """
    return _object(kind, value, path)


def _convert(kind: Any, value: Any, path: str) -> Any:
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None and types.NoneType in parts:
            return None
        return _convert(next(part for part in parts if part is not types.NoneType), value, path)
    if origin is tuple and isinstance(value, list):
        return tuple(_convert(parts[0], item, f"{path}[{index}]") for index, item in enumerate(value))
    if origin is dict and isinstance(value, dict):
        return {key: _convert(parts[1], item, f"{path}.{key}") for key, item in value.items()}
    return _object(kind, value, path) if dataclasses.is_dataclass(kind) else _plain(kind, value, path)


def _plain(kind: Any, value: Any, path: str) -> Any:
    if kind is float and type(value) in (int, float):
        return _number(value, path)
    if type(value) is not kind:
        shown = getattr(typing.get_origin(kind) or kind, "__name__", str(kind))
        raise ValueError(f"{path or 'the document'} must be of type {shown}, not {type(value).__name__}")
    return value


def _number(value: float, path: str) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"{path} isn't a finite number")
    return number


def _object(kind: Any, value: Any, path: str) -> Any:
    if not isinstance(value, dict):
        raise ValueError(f"{path or 'the document'} must be an object, not {type(value).__name__}")
    hints = typing.get_type_hints(kind)
    fields = dataclasses.fields(kind)
    names = [field.name for field in fields]
    here = f"{path}." if path else ""
    for field in fields:
        if field.name not in value and field.default is dataclasses.MISSING:
            raise ValueError(f"{here}{field.name} is missing")
    for name in value:
        if name not in names:
            raise ValueError(f"{here}{name} isn't known")
    given = {name: _convert(hints[name], item, f"{here}{name}") for name, item in value.items()}
    try:
        return kind(**given)
    except ValueError as error:
        raise ValueError(f"{path or 'the document'}: {error}") from None
