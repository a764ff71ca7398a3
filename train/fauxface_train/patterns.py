"""Patterns of sources, as options name them."""

from collections.abc import Iterable
from fnmatch import fnmatchcase


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Tell whether a source's name is one of the patterns, in which * and ? stand for other characters."""
    return any(fnmatchcase(name, pattern.replace("[", "[[]")) for pattern in patterns)
