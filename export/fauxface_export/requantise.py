"""From a bundle to the same bundle with a classifier in another precision; no checkpoint is needed."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fauxface
from fauxface.bundle import Bundle, write_manifest
from fauxface.session import Classifier
from fauxface_export import card, golden, variants
from fauxface_export.folder import VARIANTS, check_target, staged
from fauxface_train.dataset import PreparedData


def requantise(
    bundle: Bundle,
    data: PreparedData,
    out: Path,
    precisions: Sequence[str],
    *,
    overwrite: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Bundle:
    """Write a bundle with classifiers in other precisions, made from its fp32 graph; nothing else changes.

    The manifest's `provenance.quantisations` gets a record: when, by which version, on what, and the SHA-256
    of the parent. A precision that the parent had already is replaced. Known failures that the card shows
    stay those of the bundle that they were scanned with, which `provenance.failures.model` names.

    Args:
        bundle: The parent.
        data: Prepared data; precisions are calibrated on train and val, and checked on test.
        out: The folder to make.
        precisions: Of `VARIANTS`; at least one.
        overwrite: Replace an existing bundle, which may be the parent.
        say: Told about each step, one line each.

    Raises:
        DataError: The data lack a split or a label, or were cut with another margin.
        GateError: A precision loses too much, or the graph isn't one that export wrote.
        BundleError: The bundle changed while it was used.
        OutputError: `out` exists or can't be written.
    """
    manifest = bundle.manifest
    check_target(out, overwrite=overwrite)
    variants.check_data(data, manifest.crop.margin)
    document = bundle.document()
    with staged(out, overwrite=overwrite) as folder:
        bundle.copy_files(folder)
        fp32 = folder / manifest.classifier["fp32"]
        against = variants.reference(fp32, data, manifest.operating_point())
        kept = {name: file for name, file in manifest.classifier.items() if name not in precisions}
        for file in set(manifest.classifier.values()) - set(kept.values()):
            (folder / file).unlink()
        made = {name: variants.make(name, fp32, folder / VARIANTS[name], against, say) for name in precisions}
        crops, _ = bundle.golden()
        logits = {name: bundle.golden(name)[1] for name in kept}
        for name in made:
            logits[name] = Classifier((folder / VARIANTS[name]).read_bytes(), provider="cpu").logits(crops)
        golden.save(folder / manifest.golden, crops, logits)
        fields = variants.in_manifest(list(made.values()))
        fields["classifier"] = {name: VARIANTS[name] for name in made}
        for key, value in fields.items():
            document[key] = {**document.get(key, {}), **value} if isinstance(value, dict) else value
        document["created"] = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        document["provenance"] = _provenance(bundle, data, made, document)
        del document["version"]
        text = card.with_precisions(bundle.card(), document)
        (folder / manifest.card).write_text(text, encoding="utf-8")
        write_manifest(folder, document)
        Bundle.load(folder)
    return Bundle.load(out)


def _provenance(
    bundle: Bundle, data: PreparedData, made: Iterable[str], document: dict[str, Any]
) -> dict[str, Any]:
    known = dict(document.get("provenance") or {})
    pictures = "".join(sorted(sample.sha256 for sample in data.samples()))
    record = {
        "created": document["created"],
        "fauxface": fauxface.__version__,
        "parent": {"sha256": bundle.sha256, "name": bundle.manifest.name},
        "data": {
            "name": data.root.resolve().name,
            "pictures_sha256": hashlib.sha256(pictures.encode()).hexdigest(),
        },
        "precisions": list(made),
    }
    if known.get("failures"):
        known["failures"] = {"model": bundle.sha256, **known["failures"]}
    return known | {"quantisations": [*known.get("quantisations", []), record]}
