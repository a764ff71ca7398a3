"""Cutting the folders of a machine out of what a bundle says."""

import re
import shlex
from collections.abc import Mapping
from pathlib import Path, PureWindowsPath
from typing import Any

_DRIVE = re.compile(r"[A-Za-z]:[/\\]")
_PATH_IN_WORD = re.compile(r"(^|[=:])/(?!/).*")
_WINDOWS_PATH_IN_WORD = re.compile(r"(^|[=:])[A-Za-z]:[/\\].*")
_WAY_UP_IN_WORD = re.compile(r"(^|[=:])\.\.[/\\].*")
_PATH_IN_TEXT = re.compile(r"(?<![:/\w.~-])/(?:[\w.~+@%,-]+/)*([\w.~+@%,-]+)/?")
_WINDOWS_PATH_IN_TEXT = re.compile(r"(?<![\w/\\])[A-Za-z]:[/\\](?:[\w.~+@%,-]+[/\\])*([\w.~+@%,-]+)[/\\]?")


def portable(value: Any) -> Any:
    """Return JSON data with absolute paths cut to their last part: a bundle names no folders of a machine.

    So are those that lead upwards, in command lines. Bytes of a name that aren't UTF-8 are written as
    backslash and number.
    """
    if isinstance(value, str):
        return _without_folders(value.encode("utf-8", "backslashreplace").decode())
    if isinstance(value, Mapping):
        return {key: portable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [portable(item) for item in value]
    return value


def _without_folders(text: str) -> str:
    """Cut a path, the paths in a command line, or those in other text, where no name may have a space."""
    if text.startswith("/") or _DRIVE.match(text):
        return _last_part(text)
    try:
        words = shlex.split(text)
    except ValueError:  # an apostrophe
        words = []
    if shlex.join(words) == text:
        return shlex.join(map(_cut_word, words))
    return _PATH_IN_TEXT.sub(r"\1", _WINDOWS_PATH_IN_TEXT.sub(r"\1", text))


def _cut_word(word: str) -> str:
    for pattern in (_WINDOWS_PATH_IN_WORD, _PATH_IN_WORD, _WAY_UP_IN_WORD):
        word = pattern.sub(lambda found: found[1] + _last_part(found[0][len(found[1]) :]), word)
    return word


def _last_part(path: str) -> str:
    of_windows = _DRIVE.match(path) or path.startswith("..\\")
    return PureWindowsPath(path).name if of_windows else Path(path).name
