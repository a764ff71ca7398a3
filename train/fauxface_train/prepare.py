"""From folders of pictures to prepared data: crops, manifest, report; resumable and deterministic."""

import contextlib
import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import fauxface
from fauxface.errors import DataError, OutputError
from fauxface.progress import Progress
from fauxface_train import duplicates, extraction, jobs, layouts
from fauxface_train.dataset import FORMAT, SPLITS, write_json, write_manifest
from fauxface_train.extraction import CropRule
from fauxface_train.jobs import LocatorSource
from fauxface_train.layouts import Item
from fauxface_train.selection import KEPT, OUTCOMES, Entry, Fate, select
from fauxface_train.utkface import parse_utkface

REPORT_FORMAT = "fauxface.prepare-report/1"
_MANIFEST, _INFO, REPORT = "manifest.csv", "prepare.json", "report.json"
_WORK = ".work"


@dataclass(frozen=True, slots=True)
class SplitRule:
    """How pictures without a given split are divided.

    Attributes:
        train: Share of the training split; the three add up to 1.
        val: Share of the validation split.
        test: Share of the test split.
        seed: Another seed gives another division.
    """

    train: float = 0.8
    val: float = 0.1
    test: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        shares = (self.train, self.val, self.test)
        if not (min(shares) >= 0 and abs(sum(shares) - 1) <= 1e-6):  # so that NaN is refused as well
            raise DataError(
                f"the split {shares} must be three shares that add up to 1, such as 0.8, 0.1, 0.1"
            )

    def split(self, key: str) -> str:
        """Return the split of a picture by the hash of its content; no other picture plays a part."""
        place = self._place(key)
        return "train" if place < self.train else "val" if place < self.train + self.val else "test"

    def carve(self, key: str) -> str:
        """Return "val" for the part of the given training pictures that validates where no val was given."""
        share = self.val / (self.train + self.val) if self.val else 0.0
        return "val" if self._place(key) < share else "train"

    def _place(self, key: str) -> float:
        return int(hashlib.sha256(f"{self.seed}:{key}".encode()).hexdigest()[:13], 16) / 16**13


@dataclass(frozen=True, slots=True)
class Summary:
    """What prepare did.

    Attributes:
        out: The folder with the prepared data.
        report: The content of report.json.
        resumed: Number of files that an earlier run had done.
        unchanged: Everything had been prepared before; nothing was done.
    """

    out: Path
    report: dict[str, Any]
    resumed: int
    unchanged: bool = False


def prepare(
    sources: Sequence[str],
    out: str | Path,
    *,
    crop_rule: CropRule,
    split_rule: SplitRule,
    locator: LocatorSource | None,
    workers: int = 1,
    stream: TextIO | None = None,
) -> Summary:
    """Prepare pictures for training and evaluation; docs/data.md describes what is written.

    Args:
        sources: Folders, `LABEL:PATH` or `LABEL:NAME=PATH`; see `layouts.find`.
        out: The folder to write. An interrupted run goes on there, and a finished one takes in new files.
        crop_rule: How pictures become crops.
        split_rule: How pictures without a given split are divided.
        locator: Where workers get their locator; None only for whole pictures.
        workers: Number of processes; 1 works in this one.
        stream: Where progress goes; standard error when not given.

    Raises:
        DataError: A source is missing, empty or unclear, or no picture could be used.
        OutputError: `out` can't be written, or holds something else or data prepared in another way.
    """
    if locator is None and not crop_rule.whole:
        raise ValueError("without a locator, only whole pictures can be prepared")
    root = Path(out)
    found = layouts.find(sources)
    for folder in found.roots:
        if layouts.overlap(folder, root):
            raise OutputError(f"OUT {root} overlaps with the pictures in {folder}; choose an OUT beside them")
    if locator is not None and not crop_rule.whole:
        locator.open()  # a file that is no locator fails before anything is written
    config = _config(crop_rule, split_rule, locator)
    work = _claim(root, config)
    stamps = jobs.stamp(found.items)
    fingerprint = _fingerprint(found.items, stamps)
    if (earlier := _finished(root, fingerprint)) is not None:
        return Summary(root, earlier, len(found.items), unchanged=True)
    on_disk = _crops_on_disk(root)
    extracts = {
        path: extract
        for path, extract in jobs.read_journal(work / "journal.jsonl", stamps).items()
        if extract.status != extraction.OK or extract.sha256[:16] in on_disk
    }
    resumed = len(extracts)
    todo = [item.path for item in found.items if str(item.path) not in extracts]
    lasts = True
    with Progress(len(todo), "prepare", "pictures", stream) as progress:
        job = jobs.Job(crop_rule, locator, work / "crops")
        with jobs.Journal(work / "journal.jsonl", stamps) as journal:
            for path, extract, lasting in jobs.run(job, todo, workers):
                extracts[str(path)] = extract
                lasts = lasts and lasting
                if lasting:
                    journal.add(path, extract)
                progress.advance()
    entries = [Entry(item, extracts[str(item.path)]) for item in found.items]
    on_disk = _crops_on_disk(root)
    fates = select(entries, lambda entry: on_disk[entry.extract.sha256[:16]], workers, stream)
    splits = _assign(entries, split_rule, found.roots)
    report = _report(entries, fates, splits, found)
    if not report["counts"]["kept"]:
        raise DataError(
            f"none of {len(entries)} pictures could be used ({_counted(report['counts'])}); "
            f"see {write_json(root / REPORT, report)}"
        )
    _place(root, entries, fates, splits, on_disk)
    write_json(root / REPORT, report)
    _write_manifest(root / _MANIFEST, entries, fates, splits)
    info = config | {
        "sources": list(sources),
        "fauxface": fauxface.__version__,
        "items_sha256": fingerprint if lasts else "",
        "counts": report["counts"],
    }
    write_json(root / _INFO, info)
    return Summary(root, report, resumed)


def _config(rule: CropRule, split: SplitRule, locator: LocatorSource | None) -> dict[str, Any]:
    """Return what must not change between the runs that fill one folder."""
    return {
        "format": FORMAT,
        "faces": "whole" if rule.whole else "locate",
        "crop": {
            "margin": 1.0 if rule.whole else rule.margin,
            "padding": "reflect101",
            "min_face_px": rule.min_face,
        },
        "room": 1.0 if rule.whole else extraction.ROOM,
        "stored": "halved",
        "tolerate_truncated": rule.tolerant,
        "locator_sha256": None if rule.whole or locator is None else locator.sha256,
        "locator": None if rule.whole or locator is None else locator.settings(),
        "seed": split.seed,
        "split": [split.train, split.val, split.test],
    }


def _claim(root: Path, config: dict[str, Any]) -> Path:
    """Make the output folder ours, or check that it already is; return its folder for work."""
    path = root / _WORK / "config.json"
    known = path if path.exists() else root / _INFO
    if root.exists() and not root.is_dir():
        raise OutputError(f"{root} is not a folder; choose another OUT")
    try:
        if root.is_dir() and not known.exists() and any(entry.name != _WORK for entry in root.iterdir()):
            raise OutputError(f"{root} holds other files; choose a new or empty folder")
        if known.exists():
            earlier = json.loads(known.read_text(encoding="utf-8"))
            changed = sorted(key for key in config if earlier.get(key) != config[key])
            if changed:
                text = "; ".join(f"{key}: {earlier.get(key)} then, {config[key]} now" for key in changed)
                raise OutputError(
                    f"{root} was prepared with other settings ({text}); "
                    "choose another OUT, or remove that folder first"
                )
    except (OSError, ValueError, AttributeError) as error:
        raise OutputError(f"can't use {root}: {error}; choose another OUT") from error
    write_json(path, config)
    return path.parent


def _fingerprint(items: Sequence[Item], stamps: dict[str, jobs.Stamp]) -> str:
    """Return a hash of the files and of the rule for duplicates: with the same one there is nothing to do."""
    rows = sorted(
        [str(i.path), i.label, i.source, i.split or "", *stamps.get(str(i.path), (-1, -1))] for i in items
    )
    rules = [
        duplicates.HASH_RADIUS,
        duplicates.COARSE_CROP,
        duplicates.COARSE_FRAME,
        duplicates.MIDDLE,
        duplicates.THRESHOLD,
    ]
    return hashlib.sha256(json.dumps([rows, rules]).encode()).hexdigest()


def _finished(root: Path, fingerprint: str) -> dict[str, Any] | None:
    """Return the report of an earlier run if it finished with these very files."""
    try:
        info = json.loads((root / _INFO).read_text(encoding="utf-8"))
        report = json.loads((root / REPORT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    complete = (root / _MANIFEST).is_file() and info.get("items_sha256") == fingerprint
    complete = complete and report.get("counts") == info.get("counts")  # no later run's that found nothing
    crops = (path for path in (root / "crops").rglob("*.png") if path.stat().st_size)
    kept = sum(1 for _ in crops) if complete else -1
    return report if kept == info.get("counts", {}).get(KEPT) else None


def _crops_on_disk(root: Path) -> dict[str, Path]:
    """Map the first 16 digits of a file's hash to its crop, wherever in the output folder it lies.

    An empty one, which a power cut leaves, is none.
    """
    folders = (root / _WORK / "crops", root / "crops")
    found = (path for folder in folders for path in folder.rglob("[!.]*.png"))
    return {path.stem: path for path in found if path.stat().st_size}


def _assign(entries: Sequence[Entry], rule: SplitRule, roots: Sequence[Path]) -> list[str]:
    """Return every entry's split: as given, or by content hash.

    Of a folder that gives train and no val, val is taken from train, whatever the other folders give.
    """
    deepest = sorted(roots, key=lambda root: -len(root.parts))
    homes = [next((r for r in deepest if entry.item.path.is_relative_to(r)), None) for entry in entries]
    given: defaultdict[Path | None, set[str | None]] = defaultdict(set)
    for home, entry in zip(homes, entries, strict=True):
        given[home].add(entry.item.split)
    carved = {home for home, splits in given.items() if "train" in splits and not splits & {"val", None}}
    splits = []
    for home, entry in zip(homes, entries, strict=True):
        key = entry.extract.sha256 or str(entry.item.path)
        split = entry.item.split or rule.split(key)
        splits.append(rule.carve(key) if home in carved and split == "train" else split)
    return splits


def _report(
    entries: Sequence[Entry], fates: Sequence[Fate], splits: Sequence[str], found: layouts.Found
) -> dict[str, Any]:
    """Count what became of the files."""
    groups: dict[tuple[str, str, str], dict[str, int]] = {}
    for entry, fate, split in zip(entries, fates, splits, strict=True):
        group = groups.setdefault(
            (split, entry.item.label, entry.item.source), dict.fromkeys(("found", *OUTCOMES), 0)
        )
        group["found"] += 1
        group[fate.outcome] += 1
    counts = {name: sum(group[name] for group in groups.values()) for name in ("found", *OUTCOMES)}
    paths = [_text(entry.item.path) for entry in entries]
    rows = sorted(zip(entries, fates, paths, strict=True), key=lambda row: row[2])
    return {
        "format": REPORT_FORMAT,
        "counts": counts,
        "groups": [
            {"split": split, "label": label, "source": source, **group}
            for (split, label, source), group in sorted(groups.items(), key=_by_split)
        ],
        "layouts": found.layouts,
        "ignored_files": dict(sorted(found.ignored.items())),
        "bad_files": [
            {"file": path, "outcome": fate.outcome, "reason": entry.extract.reason}
            for entry, fate, path in rows
            if entry.extract.status != extraction.OK
        ],
        "duplicates": [
            {"file": path, "outcome": fate.outcome, "of": paths[fate.other]}
            for _, fate, path in rows
            if fate.other is not None
        ],
    }


def _by_split(group: tuple[tuple[str, str, str], Any]) -> tuple[int, str, str]:
    (split, label, source), _ = group
    return SPLITS.index(split), label, source


def _place(
    root: Path,
    entries: Sequence[Entry],
    fates: Sequence[Fate],
    splits: Sequence[str],
    on_disk: dict[str, Path],
) -> None:
    """Move the kept crops to their places and all others out of the way."""
    places = {
        entry.extract.sha256[:16]: root / _crop_name(entry, split)
        for entry, fate, split in zip(entries, fates, splits, strict=True)
        if fate.outcome == KEPT
    }
    try:
        for name in (_INFO, _MANIFEST):
            (root / name).unlink(missing_ok=True)
        for stem, current in on_disk.items():
            place = places.get(stem) or extraction.work_path(root / _WORK / "crops", stem)
            if place != current:
                place.parent.mkdir(parents=True, exist_ok=True)
                current.replace(place)
        for folder in sorted((p for p in (root / "crops").rglob("*") if p.is_dir()), reverse=True):
            with contextlib.suppress(OSError):  # which says that it isn't empty
                folder.rmdir()
    except OSError as error:
        raise OutputError(
            f"can't write {root}: {error.strerror or error}; free or unlock it, then run again"
        ) from error


def _write_manifest(
    path: Path, entries: Sequence[Entry], fates: Sequence[Fate], splits: Sequence[str]
) -> None:
    rows = [
        _row(entry, split)
        for entry, fate, split in zip(entries, fates, splits, strict=True)
        if fate.outcome == KEPT
    ]
    rows.sort(key=lambda row: (SPLITS.index(row["split"]), row["label"], row["source"], row["sha256"]))
    write_manifest(path, rows)


def _row(entry: Entry, split: str) -> dict[str, Any]:
    extract, item = entry.extract, entry.item
    known = parse_utkface(item.path.name)
    values = dict(zip(("box_x", "box_y", "box_w", "box_h"), extract.box, strict=True))
    values |= dict(zip(("square_x", "square_y", "square_side"), extract.square, strict=True))
    return values | {
        "crop": _crop_name(entry, split),
        "split": split,
        "label": item.label,
        "source": item.source,
        "sha256": extract.sha256,
        "original": _text(item.path),
        "format": extract.format,
        "width": extract.width,
        "height": extract.height,
        "locator_score": "" if extract.score is None else extract.score,
        "landmarks": " ".join(f"{value:g}" for point in extract.landmarks for value in point),
        "age": "" if known is None or known.age is None else known.age,
        "gender": (known and known.gender) or "",
        "race": (known and known.race) or "",
        "dhash": f"{extract.crop_hash:016x}",
    }


def _crop_name(entry: Entry, split: str) -> str:
    return f"crops/{split}/{entry.item.label}/{entry.item.source}/{entry.extract.sha256[:16]}.png"


def _text(path: Path) -> str:
    """Return a path as valid Unicode, also where its name isn't."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items() if count)
