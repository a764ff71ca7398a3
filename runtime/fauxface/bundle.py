"""A bundle: the folder with a classifier, a locator and all that is needed to use them (docs/bundle.md)."""

import hashlib
import io
import json
import os
import stat
import zipfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from fauxface.crops import INPUT_SIZE
from fauxface.errors import BundleError
from fauxface.files import atomic_write
from fauxface.manifest import (
    FORMAT,
    MANIFEST_NAME,
    MAX_FILE_BYTES,
    FileEntry,
    Manifest,
    is_safe_name,
    lowest_version,
)
from fauxface.onnx_wire import check_self_contained
from fauxface.strict_json import MAX_MANIFEST_BYTES
from fauxface.verdicts import LABELS

__all__ = ["DEFAULT_BUNDLE", "LABELS", "Bundle", "FileEntry", "Manifest", "write_manifest"]

DEFAULT_BUNDLE = Path(__file__).parent / "default_bundle"
"""The bundle that is shipped with the package."""

_MAX_GOLDEN = 256
_MAX_GOLDEN_BYTES = 1 << 26


class Bundle:
    """A verified bundle, held in memory.

    Every file is read once, and only its verified bytes are handed out: what is used is what was verified.

    Attributes:
        path: The folder it was read from.
        manifest: The checked manifest.
        sha256: SHA-256 of bundle.json, lower-case hexadecimal; since bundle.json holds the digests of all
            other files, it names the whole bundle, and it is the "model" of every result.
    """

    def __init__(self, path: Path, manifest: Manifest, sha256: str, contents: Mapping[str, bytes]) -> None:
        self.path, self.manifest, self.sha256 = path, manifest, sha256
        self._contents = contents

    @classmethod
    def load(cls, path: str | os.PathLike[str] | None = None) -> "Bundle":
        """Read and verify a bundle.

        Args:
            path: The bundle's folder, or the bundle.json in it; the shipped bundle when None.

        Raises:
            BundleError: There is no bundle, its manifest is refused, or a file is missing, of another size or
                digest, outside the folder, not a regular file, or a model with external data.
        """
        folder = DEFAULT_BUNDLE if path is None else Path(path)
        if folder.name == MANIFEST_NAME:
            folder = folder.parent
        _check_folder(folder)
        data = _read_regular(folder, MANIFEST_NAME, MAX_MANIFEST_BYTES)
        manifest = Manifest.parse(data)
        contents = {name: _read_verified(folder, name, entry) for name, entry in manifest.files.items()}
        locators = {manifest.locator.file, manifest.locator.int8 or manifest.locator.file}
        for name in {*manifest.classifier.values(), *locators}:
            check_self_contained(contents[name], name)
        return cls(folder, manifest, hashlib.sha256(data).hexdigest(), contents)

    def read(self, name: str) -> bytes:
        """Return the verified bytes of a file of the bundle.

        Raises:
            BundleError: The manifest doesn't list the file.
        """
        try:
            return self._contents[name]
        except KeyError:
            raise BundleError(
                f"the bundle has no file {name!r}; it has {', '.join(self._contents)}"
            ) from None

    def classifier_bytes(self, precision: str = "fp32") -> bytes:
        """Return the classifier's ONNX file.

        Raises:
            BundleError: The bundle has no classifier of this precision.
        """
        files = self.manifest.classifier
        if precision not in files:
            raise BundleError(
                f"the bundle has no {precision} classifier; it has {', '.join(files)}; choose one of them"
            )
        return self.read(files[precision])

    def locator_bytes(self, precision: str = "fp32") -> bytes:
        """Return the locator's ONNX file: that in int8 where it is asked for and there is one."""
        spec = self.manifest.locator
        return self.read(spec.int8 if precision == "int8" and spec.int8 else spec.file)

    def card(self) -> str:
        """Return the model card, Markdown.

        Raises:
            BundleError: It isn't UTF-8.
        """
        try:
            return self.read(self.manifest.card).decode("utf-8")
        except UnicodeDecodeError:
            raise BundleError(f"{self.manifest.card} isn't UTF-8 text; get the bundle again") from None

    def document(self) -> dict[str, Any]:
        """Return the manifest as JSON values, also the fields that this release doesn't know.

        Raises:
            BundleError: bundle.json changed since it was verified.
        """
        data = _read_regular(self.path, MANIFEST_NAME, MAX_MANIFEST_BYTES)
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise BundleError(f"{self.path / MANIFEST_NAME} changed since it was verified; try again")
        return json.loads(data)

    def copy_files(self, folder: Path) -> None:
        """Write the verified bytes of every file but bundle.json into a folder, which exists."""
        for name, data in self._contents.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(data)

    def golden(self, precision: str = "fp32") -> tuple[np.ndarray, np.ndarray]:
        """Return the golden crops and the logits that the exporting machine got for them.

        Args:
            precision: Of which classifier.

        Returns:
            uint8 [K, 128, 128, 3] RGB and float32 [K, 2]; K is 1 to 256.

        Raises:
            BundleError: The file doesn't hold these two arrays.
        """
        name = self.manifest.golden
        data = self.read(name)
        key = "logits" if precision == "fp32" else f"logits_{precision}"
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                if sum(info.file_size for info in archive.infolist()) > _MAX_GOLDEN_BYTES:
                    raise ValueError(f"it unpacks to more than {_MAX_GOLDEN_BYTES} bytes")
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                crops, logits = np.asarray(arrays["crops"]), np.asarray(arrays[key])
        except Exception as error:  # a hostile archive makes zipfile and numpy raise nearly anything
            raise BundleError(
                f"{name} can't be read as golden crops: {error}; get the bundle again"
            ) from None
        shape = (len(crops) if crops.ndim else 0, INPUT_SIZE, INPUT_SIZE, 3)
        if crops.dtype != np.uint8 or crops.shape != shape or not 1 <= shape[0] <= _MAX_GOLDEN:
            raise BundleError(f"{name}: crops must be uint8 [1 to {_MAX_GOLDEN}, 128, 128, 3]; export again")
        if logits.dtype != np.float32 or logits.shape != (shape[0], 2) or not np.isfinite(logits).all():
            raise BundleError(f"{name}: {key} must be finite float32 [{shape[0]}, 2]; export again")
        return crops, logits


def write_manifest(folder: str | os.PathLike[str], document: Mapping[str, Any]) -> Manifest:
    """Write bundle.json into a folder that already holds every other file of the bundle.

    `files` is filled in from the folder's content; `format`, `version` (the lowest that has all fields) and
    `created` where they are missing.

    Args:
        folder: The folder; write it under a temporary name and rename it when this has returned.
        document: The manifest's fields; JSON values only.

    Returns:
        The checked manifest, as a reader gets it.

    Raises:
        BundleError: A field is refused, or a file of the folder may not be part of a bundle; nothing is
            written.
        OutputError: bundle.json can't be written.
    """
    root = Path(folder)
    files: dict[str, dict[str, object]] = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if name == MANIFEST_NAME or (path.is_dir() and not path.is_symlink()):
            continue
        if path.is_symlink() or not is_safe_name(name):
            raise BundleError(f"{name!r} can't be part of a bundle; rename, copy or remove it")
        data = _read_regular(root, name, MAX_FILE_BYTES)
        files[name] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    version = lowest_version(document)
    complete = {"format": FORMAT, "version": version, "created": now, **document, "files": files}
    try:
        data = (json.dumps(complete, indent=2, allow_nan=False, ensure_ascii=False) + "\n").encode("utf-8")
    except (TypeError, ValueError) as error:
        raise BundleError(
            f"the manifest can't be written as JSON: {error}; use plain finite values"
        ) from None
    if len(data) > MAX_MANIFEST_BYTES:
        raise BundleError(
            f"{MANIFEST_NAME} would have {len(data)} bytes, and {MAX_MANIFEST_BYTES} are the most; "
            "start from a bundle whose provenance is shorter, such as its first"
        )
    manifest = Manifest.parse(data)
    with atomic_write(root / MANIFEST_NAME) as temporary:
        temporary.write_bytes(data)
    return manifest


def _check_folder(folder: Path) -> None:
    try:
        if folder.is_dir():
            return
        problem = "isn't a folder" if folder.exists() else "doesn't exist"
    except OSError as error:
        problem = f"can't be opened: {error.strerror}"
    raise BundleError(f"{folder} {problem}; give the folder that holds bundle.json")


def _read_verified(folder: Path, name: str, entry: FileEntry) -> bytes:
    data = _read_regular(folder, name, entry.bytes, expected=entry.bytes)
    digest = hashlib.sha256(data).hexdigest()
    if digest != entry.sha256:
        raise BundleError(
            f"{folder / name} was changed: its sha256 is {digest[:12]}..., "
            f"the manifest says {entry.sha256[:12]}...; get the bundle again"
        )
    return data


def _read_regular(folder: Path, name: str, limit: int, expected: int | None = None) -> bytes:
    """Read one regular file that lies inside the folder, through one descriptor and at most `limit` bytes."""
    path = folder / name
    # Without O_NONBLOCK, opening a named pipe would wait for a writer for ever.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        if not path.resolve(strict=True).is_relative_to(folder.resolve(strict=True)):
            raise BundleError(f"{path} leads outside the bundle; replace the link by the file itself")
        with os.fdopen(os.open(path, flags), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise BundleError(f"{path} isn't a regular file; get the bundle again")
            if status.st_size > limit or (expected is not None and status.st_size != expected):
                wanted = f"at most {limit}" if expected is None else f"{expected}"
                raise BundleError(f"{path} has {status.st_size} bytes, not {wanted}; get the bundle again")
            data = file.read(limit + 1)
    except FileNotFoundError:
        raise BundleError(f"{path} doesn't exist; give a complete bundle") from None
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BundleError(f"can't read {path}: {reason}; check the bundle's files") from None
    if len(data) > limit or (expected is not None and len(data) != expected):
        raise BundleError(f"{path} changed while it was read; try again")
    return data
