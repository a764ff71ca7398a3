"""Which files lie below a folder, and which match a pattern: no folder twice, none passed over in silence."""

import fnmatch
import glob
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path


def walk(root: Path, failed: Callable[[OSError], None]) -> Iterator[Path]:
    """Yield every file below a folder, hidden ones left out; links are followed, each folder is read once.

    Args:
        root: The folder.
        failed: Told of each folder that can't be listed.
    """
    seen: set[object] = set()
    left = [root]  # not os.walk, which calls itself once more for each level
    while left:
        folder = left.pop()
        try:
            if (identity := _identity(folder)) in seen:
                continue
            seen.add(identity)
            with os.scandir(folder) as entries:
                found = [entry for entry in entries if not entry.name.startswith(".")]
        except OSError as error:
            failed(error)
            continue
        inner: list[Path] = []
        for entry in found:
            if _is_folder(entry):
                inner.append(Path(entry.path))
            else:
                yield Path(entry.path)
        left += sorted(inner, reverse=True)


def _identity(folder: Path) -> object:
    """Return what tells a folder from others, by whatever path it is reached."""
    found = folder.stat()
    # Some network file systems number nothing.
    return (found.st_dev, found.st_ino) if found.st_ino else os.path.realpath(folder)


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # as os.walk has it
        return False


def matches(pattern: str, failed: Callable[[OSError], None]) -> Iterator[str]:
    """Yield what a pattern matches as `glob.iglob` does, hidden names left out, but walk no folder twice.

    `glob.iglob` would follow links that lead upwards until the system refuses, which takes forever with two.
    """
    parts = Path(pattern).parts
    if "**" not in parts:
        if not pattern.endswith(os.sep):  # which asks for folders
            yield from _expanded(parts, failed)
        return
    first = parts.index("**")
    tail = parts[first + 1 :]
    for root in _expanded(parts[:first], failed) if first else [os.curdir]:
        for folder in _below(root, failed):
            yield from matches(str(Path(glob.escape(folder), *(tail or "*"))), failed)


def _expanded(parts: Sequence[str], failed: Callable[[OSError], None]) -> Iterator[str]:
    """Yield what a pattern without ** matches; `glob.iglob` would pass over folders that can't be listed."""
    found = [""]
    for part in parts:
        if glob.has_magic(part):
            found = [
                os.path.join(folder, name)  # noqa: PTH118  (a path may be empty)
                for folder in found
                for name in fnmatch.filter(_visible(folder or os.curdir, part.startswith("."), failed), part)
            ]
        else:
            found = [os.path.join(folder, part) for folder in found]  # noqa: PTH118
    # What was listed is there; asking would fail in a folder that can't be entered.
    yield from found if parts and glob.has_magic(parts[-1]) else filter(os.path.lexists, found)


def _visible(folder: str, hidden: bool, failed: Callable[[OSError], None]) -> list[str]:
    """Return the names in a folder in order, hidden ones only where they are asked for."""
    try:
        return sorted(name for name in os.listdir(folder) if hidden or not name.startswith("."))  # noqa: PTH208
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        failed(error)
        return []


def _below(root: str, failed: Callable[[OSError], None]) -> Iterator[str]:
    """Yield a folder and those below it, nearer ones first, each by one of the paths that lead to it.

    Args:
        root: The folder; nothing comes of what is none.
        failed: Told of each folder that can't be listed.
    """
    seen: set[str] = set()
    level = [root] if Path(root).is_dir() else []
    while level:
        deeper: list[str] = []
        for folder in level:
            real = os.path.realpath(folder)
            if real in seen:
                continue
            seen.add(real)
            yield folder
            try:
                inner = sorted(path for path in Path(folder).iterdir() if not path.name.startswith("."))
            except OSError as error:
                failed(error)
                continue
            deeper += [str(path) for path in inner if os.path.isdir(path)]  # noqa: PTH112  (never raises)
        level = deeper


def each_once(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield one path of those that lead to the same folder and name, by whatever symbolic links."""
    reals: dict[Path, str] = {}
    seen: set[tuple[str, str]] = set()
    for path in sorted(paths, key=lambda path: (len(path.parts), path.parts)):
        if path.parent not in reals:
            reals[path.parent] = os.path.realpath(path.parent)
        key = (reals[path.parent], path.name)
        if key not in seen:
            seen.add(key)
            yield path
