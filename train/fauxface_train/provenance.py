"""Where a model came from: machine, versions, code and data."""

import contextlib
import hashlib
import importlib.metadata
import os
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fauxface
from fauxface.bench.machine import cpu_name
from fauxface.bundle import Bundle
from fauxface.threads import available_cores
from fauxface_train.dataset import PreparedData, Sample

_PACKAGES = ("fauxface", "torch", "torchvision", "numpy", "opencv-python-headless", "scikit-learn")


def machine() -> dict[str, Any]:
    """Return processor, usable cores and system."""
    return {
        "cpu": cpu_name(),
        "cores": available_cores(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide a training's result."""
    return {"python": platform.python_version(), **installed(_PACKAGES)}


def installed(packages: Sequence[str]) -> dict[str, str]:
    """Return the versions of those packages that are installed under these names."""
    found = {}
    for name in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def trained_on(info: Mapping[str, Any]) -> tuple[str, ...]:
    """Return which data a checkpoint's or a bundle's provenance names: the SHA-256 of their manifest.csv.

    The first is that of the data; those of folders whose train split joined them follow, and those that the
    initial weights and teachers had learned from. None where the data aren't named.
    """
    own = _own(info)
    return tuple(dict.fromkeys((*own, *_of_parents(info)))) if own else ()


def learned_before(info: Mapping[str, Any]) -> tuple[str, ...]:
    """Return which other data than the model itself its initial weights or teachers had learned from.

    Training refuses pictures of its data that are in two splits. Those that a model before had learned from
    aren't at hand: whether they are among the measured ones only `fauxface evaluate --trained-on` can tell.

    Args:
        info: A checkpoint's description, or a bundle's provenance.

    Returns:
        The SHA-256 of each one's manifest.csv.
    """
    own = _own(info)
    return tuple(dict.fromkeys(each for each in _of_parents(info) if each not in own))


def trained_whole(provenance: Mapping[str, Any]) -> bool:
    """Tell whether a bundle's provenance says that its model was trained on whole pictures."""
    training = provenance.get("training")
    return isinstance(training, Mapping) and training.get("faces") == "whole"


def _own(info: Mapping[str, Any]) -> list[str]:
    """Return the digests of the data and of what joined them."""
    data = info.get("data")
    if not (isinstance(data, Mapping) and isinstance(data.get("manifest_sha256"), str)):
        return []
    further = [each.get("manifest_sha256") for each in earlier(data, "added") if isinstance(each, Mapping)]
    return [each for each in (data["manifest_sha256"], *further) if isinstance(each, str)]


def _of_parents(info: Mapping[str, Any]) -> list[str]:
    """Return the digests of what initial weights and teachers had learned from."""
    training = info.get("training") or info.get("provenance")  # a bundle's, a checkpoint's
    if not isinstance(training, Mapping):
        return []
    models = (training.get("initial_weights"), *earlier(training, "teachers"))
    found = [each for model in models if isinstance(model, Mapping) for each in earlier(model, "trained_on")]
    return [each for each in found if isinstance(each, str)]


def from_bundle(info: Mapping[str, Any]) -> bool:
    """Tell whether a model learned from a bundle, as its initial weights or a teacher, or theirs did.

    Args:
        info: A checkpoint's description, or a bundle's provenance.
    """
    training = info.get("training") or info.get("provenance")
    if not isinstance(training, Mapping):
        return False
    return any(map(is_from_bundle, (training.get("initial_weights"), *earlier(training, "teachers"))))


def is_from_bundle(model: object) -> bool:
    """Tell whether a record of initial weights or of a teacher names a bundle, or what learned from one."""
    return isinstance(model, Mapping) and (model.get("kind") == "bundle" or model.get("from_bundle") is True)


def relation(known: Sequence[str], data: PreparedData) -> str:
    """Return what prepared data are to those that a model was trained on.

    Args:
        known: What `trained_on` says of the model.
        data: The data.

    Returns:
        "these"; "added" where their train split joined these, or the model's initial weights had learned from
        them; "others"; or "unknown".
    """
    if not known:
        return "unknown"
    digest = hashes(data.root)["manifest_sha256"]
    if digest == known[0]:
        return "these"
    return "added" if digest in known[1:] else "others"


def earlier(provenance: Mapping[str, Any], key: str) -> list[Any]:
    """Return the records of a kind that a provenance has; none where it holds something else."""
    found = provenance.get(key)
    return list(found) if isinstance(found, list | tuple) else []


def calibrated_on(info: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return what a bundle's provenance says of the pictures of each calibration on site."""
    found = [each.get("data") for each in earlier(info, "calibrations") if isinstance(each, Mapping)]
    return [data for data in found if isinstance(data, Mapping)]


def derivation(parent: Bundle, data: PreparedData, used: Sequence[Sample] | None = None) -> dict[str, Any]:
    """Return what a bundle that was made from another one records: when, by which version, on what.

    Args:
        parent: The bundle that it was made from.
        data: Prepared data.
        used: Which of the data; all of them when not given.
    """
    samples = data.samples() if used is None else used
    return {
        "created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "fauxface": fauxface.__version__,
        "parent": {"sha256": parent.sha256, "name": parent.manifest.name},
        "data": {"name": written(data.root.resolve()), "pictures_sha256": pictures_digest(samples)},
    }


def fitted_to(info: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what a bundle was calibrated on, on site, from its provenance.

    That is the SHA-256 of the manifest.csv of prepared data, and the pictures' `marks`.
    """
    return tuple(
        str(name)
        for data in calibrated_on(info)
        for name in (data.get("manifest_sha256"), *earlier(data, "pictures"))
    )


def standing(
    data: PreparedData, samples: Sequence[Sample], trained: Sequence[str], fitted: Sequence[str]
) -> dict[str, Any]:
    """Return what measured pictures are to a model, as metrics.json has it.

    Args:
        data: The prepared data.
        samples: Those that are measured.
        trained: What the model was trained on; see `trained_on`.
        fitted: What it was calibrated on; see `fitted_to`.
    """
    found: dict[str, Any] = {"trained_on": relation(trained, data)} if trained else {}
    if fitted and not {hashes(data.root)["manifest_sha256"], *marks(samples)}.isdisjoint(fitted):
        found["fitted_to"] = True
    if data.whole:
        found["whole"] = True
    return found


def marks(samples: Sequence[Sample]) -> list[str]:
    """Return the first 16 digits of the pictures' SHA-256: what a calibration keeps to know them again."""
    return sorted({sample.sha256[:16] for sample in samples})


def written(path: Path) -> str:
    """Return a path's last part as JSON can hold it: bytes that aren't UTF-8 as backslash and number."""
    return os.fsencode(path.name).decode("utf-8", "backslashreplace")


def pictures_digest(samples: Sequence[Sample]) -> str:
    """Return the SHA-256 that identifies a set of pictures, by their own and in any order."""
    return hashlib.sha256("".join(sorted(sample.sha256 for sample in samples)).encode()).hexdigest()


_CODE = (":(top)*.py", ":(top)*.toml", ":(top)*.sh", ":(top)runtime")
"""What of the tree decides what a program does; results that it writes aren't among it."""


def commit() -> str | None:
    """Return the commit of the source tree that runs, with `+changes` where its code was edited, or None.

    None too where this file isn't one of the tree's: an installed copy may lie inside any repository.
    """
    git = shutil.which("git")
    if git is None:
        return None

    def ask(*arguments: str) -> str:
        return subprocess.run(  # noqa: S603
            [git, *arguments], cwd=Path(__file__).parent, check=True, capture_output=True, text=True
        ).stdout.strip()

    try:
        ask("ls-files", "--error-unmatch", "--", Path(__file__).name)
        head = ask("rev-parse", "HEAD")
        edited = ask("status", "--porcelain", "--untracked-files=no", "--", *_CODE)
        return f"{head}+changes" if edited else head
    except (subprocess.CalledProcessError, OSError):
        return None


def command() -> str:
    """Return the command line of this process, with the bare program name."""
    name = Path(sys.argv[0]).name
    return shlex.join(["fauxface" if name == "__main__.py" else name, *sys.argv[1:]])


def describe_data(
    data: PreparedData, train: Sequence[Sample], val: Sequence[Sample], added: Sequence[str | Path] = ()
) -> dict[str, Any]:
    """Return what identifies the data: hashes of prepare.json and the manifest, and the counts used.

    Args:
        data: The prepared data.
        train: The training samples that are used, those of `added` among them.
        val: The validation samples that are used.
        added: Folders of further prepared data, which are described under "added".
    """
    further = [hashes(Path(folder)) for folder in added]
    return {
        **hashes(data.root),
        **({"added": further} if further else {}),
        "train": _counts(train),
        "val": _counts(val),
    }


def hashes(root: Path) -> dict[str, str]:
    """Return the SHA-256 of the two files that identify prepared data: prepare_sha256 and manifest_sha256."""
    names = {"prepare_sha256": "prepare.json", "manifest_sha256": "manifest.csv"}
    return {key: hashlib.sha256((root / name).read_bytes()).hexdigest() for key, name in names.items()}


def _counts(samples: Sequence[Sample]) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = {"real": {}, "fake": {}}
    for sample in samples:
        group = counts["fake" if sample.label else "real"]
        group[sample.source] = group.get(sample.source, 0) + 1
    return counts
