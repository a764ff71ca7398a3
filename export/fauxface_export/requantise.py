"""From a bundle to the same bundle with a classifier in another precision; no checkpoint is needed."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from onnx.checker import ValidationError

from fauxface.bundle import Bundle, write_manifest
from fauxface.errors import BundleError, DataError, GateError
from fauxface.signals import uncut
from fauxface_export import card, golden, variants
from fauxface_export.folder import VARIANTS, check_target, staged
from fauxface_train.dataset import PreparedData, other_locator
from fauxface_train.provenance import derivation, earlier, trained_whole


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
        DataError: The data lack a split or a label, or were cut with another margin or locator.
        GateError: A precision loses too much, or the graph isn't one that export wrote.
        BundleError: The bundle changed while it was used, or its names collide with a new one.
        OutputError: `out` exists or can't be written.
    """
    manifest = bundle.manifest
    check_target(out, overwrite=overwrite)
    variants.check_data(data, manifest.crop.margin, whole=trained_whole(manifest.provenance))
    if other_locator(data, manifest.files[manifest.locator.file].sha256):
        raise DataError(
            f"{data.root} was cut with another locator than the bundle's; prepare the data again with that"
        )
    document, old_card = bundle.document(), bundle.card()
    kept = {name: file for name, file in manifest.classifier.items() if name not in precisions}
    replaced = set(manifest.classifier.values()) - set(kept.values())
    for name in precisions:
        if VARIANTS[name] in set(manifest.files) - replaced:
            raise BundleError(
                f"{bundle.path} uses the name {VARIANTS[name]} otherwise; rename that file in it"
            )
    crops, _ = bundle.golden()
    logits = {name: bundle.golden(name)[1] for name in kept}
    with staged(out, overwrite=overwrite) as folder:
        bundle.copy_files(folder)
        fp32 = folder / manifest.classifier["fp32"]
        against = variants.reference(fp32, data, manifest.operating_point(), manifest.provenance)
        for file in replaced:
            (folder / file).unlink()
        made = {name: _made(name, fp32, folder / VARIANTS[name], against, say) for name in precisions}
        for name in made:
            logits[name] = variants.scorer(folder / VARIANTS[name])(crops)
        golden.save(folder / manifest.golden, crops, logits)
        fields = variants.in_manifest(list(made.values()))
        fields["classifier"] = {name: VARIANTS[name] for name in made}
        for key, value in fields.items():
            document[key] = {**document.get(key, {}), **value} if isinstance(value, dict) else value
        record = derivation(bundle, data) | {"precisions": list(made)}
        document["created"] = record["created"]
        document["provenance"] = _provenance(document.get("provenance") or {}, record)
        del document["version"]
        text = card.with_precisions(old_card, document, made)
        if anew := [name for name in made if name in manifest.classifier]:
            text = card.with_replaced(text, anew, str(record["created"]))
        (folder / manifest.card).write_text(text, encoding="utf-8")
        write_manifest(folder, document)
        Bundle.load(folder)
    with uncut():  # it is written by now
        return Bundle.load(out)


def _made(
    precision: str, fp32: Path, target: Path, against: variants.Reference, say: Callable[[str], None]
) -> variants.Variant:
    """Make a variant; a graph that export didn't write may lack anything that this relies on."""
    try:
        return variants.make(precision, fp32, target, against, say)
    except (LookupError, ValueError, ValidationError) as error:
        raise GateError(
            f"no {precision} can be made of {fp32.name}, which export didn't write "
            f"({type(error).__name__}: {' '.join(str(error).split())[:160]})"
        ) from error


def _provenance(known: Mapping[str, Any], record: dict[str, Any]) -> dict[str, Any]:
    """Return the parent's provenance with a record added, and with the model that its failures are of."""
    failures = known.get("failures")
    named = (
        {"failures": {"model": record["parent"]["sha256"], **failures}}
        if failures and isinstance(failures, Mapping)
        else {}
    )
    return {**known, **named, "quantisations": [*earlier(known, "quantisations"), record]}
