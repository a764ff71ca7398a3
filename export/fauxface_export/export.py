"""From a checkpoint to a bundle: convert, compare, describe, and write all of it or nothing."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

import fauxface
from fauxface.bundle import Bundle, write_manifest
from fauxface.crops import INPUT_SIZE
from fauxface.errors import BundleError, DataError
from fauxface.locator import MAX_SIDE, MIN_SCALE, Locator
from fauxface.manifest import OperatingPoint, check_name
from fauxface.signals import uncut
from fauxface.strict_json import MAX_MANIFEST_BYTES
from fauxface.verdicts import LABELS
from fauxface_export import (
    card,
    failures,
    golden,
    onnx_graph,
    parity,
    program,
    quality_gates,
    require,
    torchscript,
    variants,
)
from fauxface_export.cli import FORMATS
from fauxface_export.folder import (
    CARD,
    CLASSIFIER,
    FAILURES,
    GOLDEN,
    LICENSE,
    LOCATOR,
    LOCATOR_INT8,
    PROGRAM,
    TORCHSCRIPT,
    VARIANTS,
    check_target,
    staged,
)
from fauxface_export.markdown import mapping
from fauxface_export.portable import portable
from fauxface_export.reading import (
    read_bytes,
    read_locator,
    read_locator_int8,
    read_metrics,
    read_operating_point,
    read_terms,
)
from fauxface_train import checkpoint as checkpoints
from fauxface_train import provenance
from fauxface_train.dataset import PreparedData, load_crop, other_locator

DEMO_MEDIA = Path(fauxface.__file__).parent / "demo_media"

REAL_CROPS = 66
RANDOM_CROPS = 33
MIN_FACE_PX = 40
NMS_THRESHOLD = 0.3

_MOST_MANIFEST_BYTES = MAX_MANIFEST_BYTES * 3 // 4
"""So that there is room for the list of files, and for a later calibration."""

METRICS_KEPT = ("format", "created", "data", "overall", "labels", "worst", "sources")
"""What of metrics.json goes into the manifest."""


@dataclass(frozen=True, slots=True)
class Options:
    """What `fauxface export` was asked for.

    Attributes:
        checkpoint: A run's folder or its .safetensors file.
        out: The bundle's folder to make.
        locator: A face locator, ONNX in YuNet's format; None takes the shipped bundle's.
        data: Prepared data; its val split gives the real crops of the parity gate. Precisions need it: they
            are calibrated on train and val, and checked on test.
        metrics: metrics.json of `fauxface evaluate` for this checkpoint.
        require: TOML of bounds that the metrics must keep.
        terms: CSV with columns source, label, origin, terms.
        weights_license: Licence text of the weights.
        golden: Folder of pictures that may be given away.
        failures: Folder of generated pictures that may be given away; the card shows those it gets wrong.
        name: Name of the bundle.
        formats: Which of FORMATS the bundle keeps; all of them pass the gate.
        locator_int8: The same locator in int8; None takes the shipped bundle's for its locator.
        locator_score: Faces below this score are dropped; None: 0.6, or the shipped bundle's for its locator.
        overwrite: Replace an existing bundle.
        precisions: Which of `VARIANTS` to make beside fp32.
    """

    checkpoint: Path
    out: Path
    locator: Path | None = None
    data: Path | None = None
    metrics: Path | None = None
    require: Path | None = None
    terms: Path | None = None
    weights_license: Path | None = None
    golden: Path = DEMO_MEDIA
    failures: Path | None = None
    name: str | None = None
    formats: tuple[str, ...] = FORMATS
    locator_int8: Path | None = None
    locator_score: float | None = None
    overwrite: bool = False
    precisions: tuple[str, ...] = ()


def export(options: Options, say: Callable[[str], None] = lambda _: None) -> Bundle:
    """Write a bundle and return it as the runtime loads it.

    Args:
        options: What to export.
        say: Told about each step, one line each.

    Raises:
        CheckpointError: The checkpoint is missing, corrupt, unfinished or of another architecture.
        BundleError: The locator isn't in YuNet's format, or a field of the manifest is refused.
        DataError: Data, metrics, terms or golden pictures are missing or don't belong to the checkpoint.
        GateError: An exported file doesn't answer as the network does, a precision loses too much, or the
            metrics miss a requirement.
        OutputError: The bundle can't be written, or exists.

    Nothing is left behind in any of these cases.
    """
    check_target(options.out, overwrite=options.overwrite)
    name = _name(options)
    loaded = checkpoints.load(options.checkpoint)
    calibration, thresholds = read_operating_point(loaded)
    digest = _sha256(loaded.path.read_bytes())
    locator_bytes, locator_score = read_locator(options.locator, options.locator_score)
    locator_int8 = read_locator_int8(options.locator_int8, locator_bytes)
    locator = Locator(locator_bytes, locator_score, NMS_THRESHOLD, MAX_SIDE, min_scale=MIN_SCALE)
    prepared = PreparedData.load(options.data) if options.data else None
    metrics = read_metrics(options.metrics, digest, calibration, thresholds) if options.metrics else None
    if options.require:
        require.check(options.require, metrics or {}, say)
    terms = read_terms(options.terms) if options.terms else []
    license_text = (
        read_bytes(options.weights_license, "licence", DataError) if options.weights_license else None
    )
    margin = _checked_margin(loaded, prepared, options, locator_bytes, say)
    whole = loaded.info.get("faces") == "whole"
    pictures = _golden_pictures(options, None if whole else locator, margin, prepared)
    crops = np.concatenate([pictures, golden.patterns()])
    generated = failures.pictures(options.failures, _hashes(prepared)) if options.failures else []
    inputs = {
        "real": _real_crops(prepared, pictures),
        "random": parity.random_crops(RANDOM_CROPS),
        "golden": crops,
    }
    gates = quality_gates.field(loaded, None if whole else prepared, locator)
    deployed = loaded.deployed().requires_grad_(False)

    with staged(options.out, overwrite=options.overwrite) as folder:
        say(f"exporting {loaded.path} to ONNX, TorchScript and .pt2")
        captured = program.capture(deployed)
        program.save(captured, folder / PROGRAM)
        onnx_graph.save(captured, folder / CLASSIFIER, _onnx_metadata(margin, digest))
        torchscript.save(deployed, folder / TORCHSCRIPT)
        say(
            "comparing them with the network on "
            + ", ".join(f"{len(values)} {kind}" for kind, values in inputs.items())
            + f" crops at batch {', '.join(map(str, parity.BATCHES))}"
        )
        report = parity.compare(deployed, _backends(folder), inputs, calibration, thresholds)
        report.require()
        for line in summary(report):
            say(line)
        for kind, file in zip(FORMATS, (CLASSIFIER, TORCHSCRIPT, PROGRAM), strict=True):
            if kind not in options.formats:
                (folder / file).unlink()

        point = OperatingPoint(calibration, thresholds)
        made = _variants(options, folder, prepared, point, info=loaded.info, say=say)
        logits = {each: variants.scorer(folder / VARIANTS[each])(crops) for each in made}
        golden.save(folder / GOLDEN, crops, {"fp32": parity.eager(deployed)(crops), **logits})
        written = {LOCATOR: locator_bytes, LOCATOR_INT8: locator_int8, LICENSE: license_text}
        for file, content in written.items():
            if content is not None:
                (folder / file).write_bytes(content)
        document: dict[str, Any] = {
            "format": "fauxface.bundle",
            "name": name,
            "created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "labels": list(LABELS),
            "input": {"size": INPUT_SIZE, "layout": "NHWC", "dtype": "uint8", "color": "RGB"},
            "crop": {
                "margin": margin,
                "padding": "reflect101",
                "resize": "halve-linear",
                "min_face_px": int(loaded.info.get("min_face_px") or MIN_FACE_PX),
            },
            "locator": {
                "file": LOCATOR,
                "format": "yunet",
                "score_threshold": locator_score,
                "nms_threshold": NMS_THRESHOLD,
                "max_side": MAX_SIDE,
                "min_scale": MIN_SCALE,
                **({"int8": LOCATOR_INT8} if locator_int8 is not None else {}),
            },
            "classifier": {"fp32": CLASSIFIER, **{each: VARIANTS[each] for each in made}},
            "calibration": asdict(calibration),
            "thresholds": asdict(thresholds),
            **gates,
            "golden": GOLDEN,
            "card": CARD,
            **({"weights_license": LICENSE} if license_text is not None else {}),
            **variants.in_manifest(list(made.values())),
            "parity": report.to_dict(),
            "metrics": kept_figures(metrics),
            "provenance": portable(
                {
                    "checkpoint_sha256": digest,
                    "opset": onnx_graph.opset(folder / CLASSIFIER),
                    "architecture": loaded.info["architecture"],
                    "training": _training(loaded),
                    "config": loaded.info.get("config", {}),
                    "data": loaded.info.get("data", {}),
                    "held": loaded.info.get("held", {}),
                    **_inherited(options, loaded.info, locator_bytes, license_text),
                }
            ),
        }
        bundle = _described(folder, document, metrics, terms, say)
        if generated:
            say(f"scanning {len(generated)} generated pictures with the bundle")
            document["provenance"]["failures"] = failures.collect(bundle, generated, folder / FAILURES)
            _described(folder, document, metrics, terms, say)
    with uncut():  # it is written by now
        return Bundle.load(options.out)


def _name(options: Options) -> str:
    """Return the bundle's name, checked before the work that would be lost with it."""
    name = options.name or options.out.absolute().name
    try:
        return check_name(name)
    except BundleError as error:
        raise BundleError(f"{error}; give another with --name") from None


def _inherited(
    options: Options, info: Mapping[str, Any], locator: bytes, license_text: bytes | None
) -> dict[str, Any]:
    """Return what is under the default bundle's licence or another's; nothing where that one was given."""
    shipped = Bundle.load()
    name = shipped.manifest.weights_license
    if license_text is not None and name and license_text == (shipped.path / name).read_bytes():
        return {}
    training = mapping(info, "provenance")
    found = {
        LOCATOR: locator == shipped.locator_bytes(),
        GOLDEN: not golden.hashes(options.golden).isdisjoint(golden.hashes(DEMO_MEDIA)),
        card.WEIGHTS: provenance.is_from_bundle(training.get("initial_weights")),
        card.TEACHERS: any(map(provenance.is_from_bundle, provenance.earlier(training, "teachers"))),
    }
    names = [name for name, is_so in found.items() if is_so]
    return {"inherited": names} if names else {}


def summary(report: parity.Report) -> list[str]:
    """Return one line per backend: its largest differences over all batches and inputs."""
    lines = []
    for name in dict.fromkeys(row.backend for row in report.rows):
        rows = [row for row in report.rows if row.backend == name]
        lines.append(
            f"parity {name}: logits within {max(r.max_logit_difference for r in rows):.2g}, probability "
            f"within {max(r.max_probability_difference for r in rows):.2g}, "
            f"{min(r.equal_decisions for r in rows):.0%} equal decisions"
        )
    return lines


def _golden_pictures(
    options: Options, locator: Locator | None, margin: float, prepared: PreparedData | None
) -> np.ndarray:
    if options.golden == DEMO_MEDIA and not DEMO_MEDIA.is_dir():
        return np.empty((0, INPUT_SIZE, INPUT_SIZE, 3), np.uint8)
    return golden.picture_crops(options.golden, locator, margin, _hashes(prepared))


def _hashes(prepared: PreparedData | None) -> set[str]:
    """Return the SHA-256 of the pictures that may not go into a bundle."""
    return {sample.sha256 for sample in prepared.samples()} if prepared else set()


def _described(
    folder: Path,
    document: dict[str, Any],
    metrics: dict[str, Any] | None,
    terms: list[dict[str, str]],
    say: Callable[[str], None],
) -> Bundle:
    """Write card and manifest, and return the bundle as the runtime loads it."""
    try:
        (folder / CARD).write_text(card.render(document, metrics, terms), encoding="utf-8")
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        if metrics is None:
            raise
        raise DataError(f"the metrics are damaged ({error!r}); run `fauxface evaluate` again") from error
    _leave_out_lists(document, say)
    write_manifest(folder, document)
    return Bundle.load(folder)


def _leave_out_lists(document: dict[str, Any], say: Callable[[str], None]) -> None:
    """Leave what is listed by source out of a manifest that would grow too long: of very many sources."""
    for name in ("metrics.sources", "provenance.held"):
        section, key = name.split(".")
        long = len(json.dumps(document, indent=2, ensure_ascii=False).encode()) > _MOST_MANIFEST_BYTES
        if long and document[section].pop(key, None):
            say(f"{name} has too many sources for the manifest, so it is left out of it")


def _real_crops(prepared: PreparedData | None, pictures: np.ndarray) -> np.ndarray:
    """Return crops of the val split, spread over labels and sources, or else the golden pictures' crops."""
    if prepared is None:
        if not len(pictures):
            raise DataError(
                "no real picture to check parity with; give --data or a --golden folder of pictures"
            )
        return pictures
    samples = sorted(prepared.samples(split="val"), key=lambda s: (s.label, s.source, s.sha256))
    if not samples:
        raise DataError(f"{prepared.root} has no val split to check parity with; prepare one")
    return np.stack([load_crop(samples[i]) for i in golden.spread(len(samples), REAL_CROPS)])


def _backends(folder: Path) -> dict[str, parity.Backend]:
    """Return the exported files as functions; ONNX runs through the runtime's own classifier."""
    return {
        "torchscript": torchscript.load(folder / TORCHSCRIPT),
        "pt2": program.load(folder / PROGRAM),
        "onnxruntime": variants.scorer(folder / CLASSIFIER),
    }


def _variants(
    options: Options,
    folder: Path,
    prepared: PreparedData | None,
    point: OperatingPoint,
    *,
    info: Mapping[str, Any],
    say: Callable[[str], None],
) -> dict[str, variants.Variant]:
    """Write the other precisions that were asked for."""
    if prepared is None or not options.precisions:
        return {}
    say(f"making {' and '.join(options.precisions)}; fp32 scores val and test first")
    against = variants.reference(folder / CLASSIFIER, prepared, point, info)
    made = {}
    for name in options.precisions:
        made[name] = variants.make(name, folder / CLASSIFIER, folder / VARIANTS[name], against, say)
        if options.require:
            require.check(options.require, made[name].figures(), say, precision=name)
    return made


def _checked_margin(
    loaded: checkpoints.Checkpoint,
    prepared: PreparedData | None,
    options: Options,
    locator: bytes,
    say: Callable[[str], None],
) -> float:
    """Return the checkpoint's margin; raise unless the data were cut as a scan with the bundle cuts."""
    margin = float(loaded.info["margin"])
    whole = loaded.info.get("faces") == "whole"
    if whole:
        say("note: the model was trained on whole pictures, so the bundle is for scans with --faces whole")
    trained = loaded.info.get("locator_sha256")
    if trained and trained != _sha256(locator):
        raise DataError(
            f"{loaded.path} was trained on faces that another locator than the bundle's had cut; give that "
            "one with --locator"
        )
    if prepared is not None and other_locator(prepared, _sha256(locator)):
        raise DataError(
            f"{options.data} was cut with another locator than the bundle's; give that with --locator"
        )
    if options.precisions:
        variants.check_data(prepared, margin, whole=whole)
    return margin


def _training(loaded: checkpoints.Checkpoint) -> dict[str, Any]:
    """Return the provenance of the training, with what its pictures were where no faces were cut out."""
    whole = {"faces": "whole"} if loaded.info.get("faces") == "whole" else {}
    return {**loaded.info.get("provenance", {}), **whole}


def _onnx_metadata(margin: float, digest: str) -> dict[str, str]:
    return {
        "labels": json.dumps(LABELS),
        "input": f"uint8 [N, {INPUT_SIZE}, {INPUT_SIZE}, 3] RGB, normalised inside",
        "margin": f"{margin:g}",
        "checkpoint_sha256": digest,
        "fauxface": fauxface.__version__,
    }


def kept_figures(metrics: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what of metrics.json goes into the manifest."""
    if metrics is None:
        return {}
    return {key: metrics[key] for key in METRICS_KEPT if key in metrics}


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
