"""Recognising how a folder of pictures is laid out: label, source and split of every picture in it."""

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fauxface.errors import DataError
from fauxface.sources import IMAGE_SUFFIXES, is_special
from fauxface_train.utkface import parse_utkface

LABEL_ALIASES = {
    "real": (
        "real",
        "reals",
        "bona_fide",
        "bonafide",
        "genuine",
        "authentic",
        "live",
        "0_real",
        "training_real",
    ),
    "fake": ("fake", "fakes", "generated", "synthetic", "ai", "gan", "1_fake", "training_fake"),
}
SPLIT_ALIASES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
_LABEL_OF = {alias: label for label, aliases in LABEL_ALIASES.items() for alias in aliases}
_SPLIT_OF = {alias: split for split, aliases in SPLIT_ALIASES.items() for alias in aliases}

# Comes as 1m_faces_00_01_02_03/1m_faces_00/*.jpg or as 1m_faces_00/*.jpg, sometimes nested once more.
_MILLION = re.compile(
    r"1m[_-]?faces?[_-]\d{2}([_-]\d{2})*|1m[_-]?fake[_-]?faces|1-million-fake-faces", re.IGNORECASE
)
_UTKFACE_SHARE = 0.9
_MAX_DEPTH = 3
_NAME = re.compile(r"[\w][\w.+ -]*")

EXPECTED = (
    "expected real/ and fake/ folders (with or without source folders in them, and train/, val/, test/ above "
    "them), UTKFace file names, or 1m_faces_* folders; where that doesn't hold, name the label: real:PATH, "
    "fake:PATH, or with a source name real:NAME=PATH"
)


@dataclass(frozen=True, slots=True)
class Item:
    """One picture file.

    Attributes:
        path: The file.
        label: "real" or "fake".
        source: Name of the data set, camera or generator.
        split: "train", "val" or "test" where the folders say so, else None.
    """

    path: Path
    label: str
    source: str
    split: str | None = None


@dataclass(slots=True)
class Found:
    """What a layout holds.

    Attributes:
        items: The pictures, in order of the sources given and then of path.
        roots: The folders that were given.
        layouts: One line per recognised folder, for people to check.
        ignored: Number of files that aren't pictures, by suffix.
        unnamed: Label and source of pictures whose source is named after the folder around them for want of a
            name of its own.
    """

    items: list[Item] = field(default_factory=list)
    roots: list[Path] = field(default_factory=list)
    layouts: list[str] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)
    unnamed: set[tuple[str, str]] = field(default_factory=set)

    def add(self, part: "Found") -> None:
        """Take what another folder holds.

        Raises:
            DataError: Sources of both would be pooled only because folders have the same name.
        """
        known = {(item.label, item.source): item for item in reversed(self.items)}
        for item in part.items:
            pair = item.label, item.source
            if pair in known and pair in self.unnamed | part.unnamed:
                raise DataError(
                    f"{known[pair].path.parent} and {item.path.parent} would be one source, {item.source!r}, "
                    f"which their folder gives its name to; name each, as {item.label}:NAME=PATH"
                )
        self.items += part.items
        self.layouts += part.layouts
        self.ignored += part.ignored
        self.unnamed |= part.unnamed


def find(sources: Sequence[str]) -> Found:
    """List the pictures of several source arguments with their label, source and split.

    Args:
        sources: Folders, or `LABEL:PATH` and `LABEL:NAME=PATH` where the layout can't be recognised.

    Raises:
        DataError: A folder is missing, a class folder is empty, or a layout is unclear.
    """
    found = Found()
    if not sources:
        raise DataError("no source folder was given; give at least one folder of pictures")
    for text in sources:
        label, name, root = _parse_argument(text)
        if not root.is_dir():
            what = "is not a folder" if root.exists() else "does not exist"
            raise DataError(f"{root} {what}; give a folder of pictures")
        for folder in (root.absolute(), *root.absolute().parents):
            if (folder / "prepare.json").is_file() and (folder / "manifest.csv").is_file():
                raise DataError(
                    f"{root} holds crops that were prepared already; give {folder} alone to a command that "
                    "takes prepared data, or give the original pictures"
                )
        part = Found()
        for other in found.roots:
            if overlap(root, other):
                raise DataError(f"{root} overlaps with {other}; give each folder once")
        found.roots.append(root)
        if label is not None:
            _add_override(part, root, label, name)
        elif not _recognise(part, root, _folder_name(root), 0):
            raise DataError(f"the layout of {root} is unclear: {_describe(root)}; {EXPECTED}")
        if not part.items:
            raise DataError(f"{root} holds no picture; {EXPECTED}")
        for source in sorted({item.source for item in part.items}):
            if not source.isprintable():
                raise DataError(
                    f"the folder {source!r} in {root} can't name a source: it has control characters or "
                    "bytes that aren't UTF-8; rename it"
                )
        found.add(part)
    return found


def _parse_argument(text: str) -> tuple[str | None, str | None, Path]:
    """Split `LABEL:NAME=PATH` into label, name and path; a folder of that very name wins."""
    if Path(text).is_dir():
        return None, None, Path(text)
    head, colon, rest = text.partition(":")
    label = _LABEL_OF.get(head.lower()) if colon else None
    if label is None:
        return None, None, Path(text)
    name, equals, path = rest.partition("=")
    if not equals or Path(rest).is_dir():
        name, path = "", rest
    elif not _NAME.fullmatch(name):
        raise DataError(
            f"{name!r} in {text!r} is no source name; use letters, digits, '_', '-', '.', '+' and spaces"
        )
    if not path:
        raise DataError(f"{text!r} names no folder; write {label}:PATH or {label}:NAME=PATH")
    return label, name or None, Path(path)


def _recognise(found: Found, root: Path, name: str, depth: int) -> bool:
    """Add what a folder holds, if its layout is known."""
    return (
        _add_labels(found, root, name, None)
        or _add_splits(found, root, name)
        or _add_known(found, root)
        or (depth < _MAX_DEPTH and _add_wrapped(found, root, depth))
    )


def _add_labels(found: Found, root: Path, name: str, split: str | None) -> bool:
    """Add a folder of label folders."""
    labels = {folder: _LABEL_OF.get(folder.name.lower()) for folder in _folders(root)}
    if not any(labels.values()):
        return False
    _refuse_strangers(root, [folder for folder, label in labels.items() if label is None], "real and fake")
    for folder, label in labels.items():
        if label is not None:
            _add_label(found, folder, label, name, split)
    if split is None:
        found.layouts.append(f"{root}: label folders")
    return True


def _add_splits(found: Found, root: Path, name: str) -> bool:
    """Add a folder of split folders that hold label folders."""
    splits = {folder: _SPLIT_OF.get(folder.name.lower()) for folder in _folders(root)}
    given = [folder for folder, split in splits.items() if split is not None]
    if not any(_LABEL_OF.get(inner.name.lower()) for folder in given for inner in _folders(folder)):
        return False
    _refuse_strangers(
        root, [folder for folder, split in splits.items() if split is None], "train, val and test"
    )
    for folder in given:
        if not _add_labels(found, folder, name, splits[folder]):
            raise DataError(f"the split folder {folder} has no real or fake folder; {_describe(folder)}")
    found.layouts.append(f"{root}: split and label folders")
    return True


def _add_known(found: Found, root: Path) -> bool:
    """Add a folder of one data set that is known by its names: 1 Million Fake Faces, UTKFace."""
    pictures, ignored = _pictures(root)
    if not pictures:
        return False
    if all(_in_million(path, root) for path in pictures):
        label, source, text = "fake", "1m_faces", "1 Million Fake Faces (all fake)"
    elif sum(parse_utkface(path.name) is not None for path in pictures) >= _UTKFACE_SHARE * len(pictures):
        label, source, text = "real", "utkface", "UTKFace (all real)"
    else:
        return False
    found.items += [Item(path, label, source, _SPLIT_OF.get(_first(path, root).lower())) for path in pictures]
    found.layouts.append(f"{root}: {text}")
    found.ignored += ignored
    return True


def _add_wrapped(found: Found, root: Path, depth: int) -> bool:
    """Add a folder that only wraps folders of known layout."""
    folders = [folder for folder in _folders(root) if _pictures(folder)[0]]
    if not folders or any(_is_picture(path) for path in root.iterdir()):
        return False
    for folder in folders:
        part = Found()
        if not _recognise(part, folder, folder.name, depth + 1):
            return False
        found.add(part)
    return True


def _add_label(found: Found, folder: Path, label: str, name: str, split: str | None) -> None:
    """Add a label folder: its folders are sources, or splits; other pictures belong to the source `name`.

    A source's folders may be splits, too, where the label's aren't, nor is there one above.
    """
    pictures, ignored = _pictures(folder)
    if not pictures:
        raise DataError(f"the class folder {folder} holds no picture; fill it or remove it")
    splits = {} if split else {inner.name: _SPLIT_OF.get(inner.name.lower()) for inner in _folders(folder)}
    if any(splits.values()):
        others = [folder / inner for inner, known in splits.items() if known is None]
        _refuse_strangers(folder, others, "train, val and test")
    deeper = {} if split or any(splits.values()) else {s: _splits_of(folder / s) for s in splits}
    for path in pictures:
        *inner, _ = path.relative_to(folder).parts
        own = splits.get(inner[0]) if inner else None
        names = inner[1:] if own else inner
        if len(names) > 1:
            own = own or deeper.get(names[0], {}).get(names[1])
        if not names:
            found.unnamed.add((label, name))
        found.items.append(Item(path, label, names[0] if names else name, own or split))
    found.ignored += ignored


def _splits_of(source: Path) -> dict[str, str]:
    """Return which folders of a source are splits; raise where others beside them hold pictures."""
    splits = {inner.name: _SPLIT_OF.get(inner.name.lower()) for inner in _folders(source)}
    known = {name: split for name, split in splits.items() if split is not None}
    if known:
        _refuse_strangers(
            source, [source / name for name in splits if name not in known], "train, val and test"
        )
    return known


def _add_override(found: Found, root: Path, label: str, name: str | None) -> None:
    """Add a folder whose label was given; train/, val/ and test/ right in it are splits."""
    pictures, ignored = _pictures(root)
    if name is None:
        name = _folder_name(root)
        found.unnamed.add((label, name))
    for inner in _folders(root):
        if inner.name.lower() not in _SPLIT_OF and _splits_of(inner):
            raise DataError(
                f"{inner} has splits of its own, which {label}:{root} would dissolve; name each source, as "
                f"{label}:{inner.name}={inner}"
            )
    found.items += [Item(path, label, name, _SPLIT_OF.get(_first(path, root).lower())) for path in pictures]
    found.ignored += ignored
    found.layouts.append(f"{root}: all {label}, source {name}, as given")


def _refuse_strangers(root: Path, folders: Sequence[Path], known: str) -> None:
    """Raise if pictures lie where the layout has no place for them."""
    loose = sum(_is_picture(path) for path in root.iterdir())
    strangers = [folder.name for folder in folders if _pictures(folder)[0]]
    if loose:
        strangers.insert(0, f"itself ({loose})")
    if strangers:
        raise DataError(
            f"the layout of {root} is unclear: beside {known} folders it holds pictures in "
            f"{_listed(strangers)}; move those away, or name each folder's label as real:PATH or fake:PATH"
        )


def walk(root: Path) -> Iterator[Path]:
    """Yield the files below a folder in order, hidden ones left out; links are followed, loops aren't.

    Raises:
        DataError: A folder can't be read; leaving it out would change the data unseen.
    """
    seen: set[str] = set()

    def failed(error: OSError) -> None:
        raise DataError(f"can't read {error.filename}: {error.strerror}; make it readable") from error

    for current, folders, files in os.walk(root, onerror=failed, followlinks=True):
        real = os.path.realpath(current)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(f for f in folders if not _hidden(f))
        for file in sorted(files):
            if not _hidden(file):
                yield Path(current, file)


def _pictures(root: Path) -> tuple[list[Path], Counter[str]]:
    """List the pictures below a folder in order, and count its other files by suffix."""
    pictures: list[Path] = []
    ignored: Counter[str] = Counter()
    for path in walk(root):
        if _is_picture(path):
            pictures.append(path)
        else:
            ignored[path.suffix.lower() or "no suffix"] += 1
    return sorted(pictures), ignored


def _folders(root: Path) -> list[Path]:
    """List the folders right in a folder, hidden ones left out."""
    try:
        return sorted(path for path in root.iterdir() if path.is_dir() and not _hidden(path.name))
    except OSError as error:
        raise DataError(f"can't read {root}: {error.strerror or error}; make it readable") from error


def _describe(root: Path) -> str:
    """Say in a few words what a folder holds."""
    folders = [folder.name for folder in _folders(root)]
    pictures = [path for path in root.iterdir() if _is_picture(path)]
    parts = [f"folders {_listed(folders)}"] if folders else []
    if pictures:
        parts.append(f"{len(pictures)} pictures such as {min(pictures).name}")
    return "found " + (" and ".join(parts) or "no folder and no picture")


def _listed(names: Sequence[str], most: int = 5) -> str:
    """Join names, leaving out what is beyond `most`."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def label_of(name: str) -> str | None:
    """Return "real" or "fake" where a name means one of them, whatever its case; spaces count as "_"."""
    return _LABEL_OF.get(name.strip().lower().replace(" ", "_"))


def _folder_name(root: Path) -> str:
    """Return a folder's own name, also for "." and the like."""
    return root.resolve().name or "data"


def overlap(one: Path, other: Path) -> bool:
    """Tell whether two folders are the same or one lies in the other."""
    first, second = one.resolve(), other.resolve()
    return first == second or first in second.parents or second in first.parents


def _first(path: Path, root: Path) -> str:
    """Return the first folder between a root and a file, "" where there is none."""
    parts = path.relative_to(root).parts
    return parts[0] if len(parts) > 1 else ""


def _in_million(path: Path, root: Path) -> bool:
    """Tell whether a folder on the way to a picture, the root included, is one of 1 Million Fake Faces."""
    return any(_MILLION.fullmatch(part) for part in (_folder_name(root), *path.relative_to(root).parts[:-1]))


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.is_dir() and not is_special(path)


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"
