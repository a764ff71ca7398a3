"""The model card: written from the evaluation's metrics.json, the manifest and the table of terms."""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from fauxface.manifest import LocatorSpec
from fauxface_export import card_measured as measured
from fauxface_export.folder import GOLDEN, LOCATOR, LOCATOR_INT8
from fauxface_export.markdown import bullets, facts, figure, mapping, table, text
from fauxface_train.provenance import trained_whole

_INTENDED = """\
fauxface estimates whether a face in a picture was made by an image generator (whole-face synthesis) or
photographed. It is meant as one signal among several: triage of archives, a flag for a person to look at,
research on detectors. Have a person review a verdict before anything follows from it, above all "generated"
and "unsure"."""

_NOT_FOR = (
    "Liveness: this is not presentation attack detection (PAD). A printed or replayed photograph of a real "
    "person is bona fide to it.",
    "Injection detection: it doesn't see whether a camera stream was replaced, and says nothing of where a "
    "file came from.",
    "Face swaps, re-enactment, retouching or filters: it was neither trained nor tested on them, unless a "
    "source below says so.",
    "Identifying a person, or accusing one: a verdict about a picture is an estimate with known error rates, "
    "not evidence. Don't let it decide alone about anybody.",
)

_PRECISIONS = "## Other precisions"
WEIGHTS = "initial weights"
TEACHERS = "teachers"
_ON_SITE = "## Calibrated on site\n"


def render(
    manifest: Mapping[str, Any],
    metrics: Mapping[str, Any] | None,
    terms: Sequence[Mapping[str, str]] = (),
) -> str:
    """Write the model card of a bundle.

    Args:
        manifest: The fields of bundle.json; `files` isn't needed.
        metrics: metrics.json of `fauxface evaluate`, or None: the card says that nothing was measured.
        terms: Rows with source, label ("real" or "fake"), origin and terms.

    Returns:
        Markdown.
    """
    parts = [
        f"# Model card: {text(manifest['name'])}",
        f"Written by fauxface on {manifest['created']} from the checkpoint's description, "
        + ("the evaluation's metrics.json" if metrics else "without an evaluation")
        + (" and a table of terms." if terms else "."),
        "## Model",
        _model(manifest),
        "## Intended use",
        _INTENDED,
        "## Not for",
        bullets(_NOT_FOR),
        "## Operating point",
        _operating_point(manifest, mapping(metrics or {}, "gates", "limits")),
        *_held(mapping(manifest, "provenance", "held")),
        *_precisions(manifest),
        "## Evaluation",
        *(measured.evaluation(metrics) if metrics else [_not_evaluated(manifest)]),
        "## Media analysis as NIST SP 800-63A-4 asks for it",
        *measured.media_analysis(metrics, terms),
        "## Limits and known failures",
        *measured.limits(metrics),
        *_failures(mapping(manifest, "provenance", "failures")),
        "## Data and terms",
        *_data(manifest, terms),
        "## Training",
        facts(mapping(manifest, "provenance", "training"), "The checkpoint records nothing of its training."),
        "### Configuration",
        facts(mapping(manifest, "provenance", "config"), "The checkpoint records no configuration."),
        "## Parity of the exported files",
        *_parity(manifest["parity"]),
        "## Licence",
        " ".join(_licence(manifest)),
    ]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _licence(manifest: Mapping[str, Any]) -> list[str]:
    """Return sentences on the terms of the weights, and of what came along with its own."""
    inherited = manifest["provenance"].get("inherited", ())
    said = [
        f"The weights: {manifest['weights_license']} in this folder. fauxface's code: Apache-2.0."
        if manifest.get("weights_license")
        else "No licence file of the weights was given at export; the terms of the training data apply."
    ]
    if LOCATOR in inherited:
        with_int8 = f" (with `{LOCATOR_INT8}`)" if manifest["locator"].get("int8") else ""
        said.append(
            f"`{LOCATOR}`{with_int8} is that of fauxface's default bundle, and under its licence: "
            "non-commercial research and evaluation only. `fauxface export --locator` takes another one."
        )
    if GOLDEN in inherited:
        said.append(
            f"`{GOLDEN}` holds crops of the generated faces that come with fauxface, which are for "
            "non-commercial use. `fauxface export --golden` takes others."
        )
    if WEIGHTS in inherited:
        said.append("Training started from the weights of a bundle, whose licence applies to these, too.")
    if TEACHERS in inherited:
        said.append("The answers of a bundle were learned, whose licence applies to these weights, too.")
    return said


def _model(manifest: Mapping[str, Any]) -> str:
    provenance, size = manifest["provenance"], manifest["input"]["size"]
    rows = [
        ("task", "one face crop: bona fide or generated"),
        ("architecture", provenance.get("architecture", "not recorded")),
        (
            "input",
            f"uint8 [N, {size}, {size}, 3] RGB; {_square(manifest)}",
        ),
        ("output", f"logits of {', '.join(manifest['labels'])}"),
        ("checkpoint sha256", provenance.get("checkpoint_sha256", "not recorded")),
        ("ONNX operator set", provenance.get("opset", "not recorded")),
    ]
    return table(("", ""), rows)


def _square(manifest: Mapping[str, Any]) -> str:
    if trained_whole(manifest["provenance"]):
        return "the largest central square: **trained on whole pictures, for scans with --faces whole alone**"
    return f"side of the square: {manifest['crop']['margin']:g} times the longer side of the face box"


def _operating_point(manifest: Mapping[str, Any], tried: Mapping[str, Any]) -> str:
    calibration, thresholds = manifest["calibration"], manifest["thresholds"]
    crop, locator = manifest["crop"], manifest["locator"]
    rows = [
        ("bona fide", f"probability below {thresholds['bona_fide_below']:.6g}"),
        ("generated", f"probability from {thresholds['generated_from']:.6g} on"),
        (
            "unsure",
            "; ".join(["between", f"a face smaller than {crop['min_face_px']} px", *_gates(manifest, tried)]),
        ),
        ("chosen by", thresholds.get("rule") or "not recorded"),
        (
            "probability",
            f"sigmoid((logit generated - logit bona fide) / {calibration['temperature']:.6g} + "
            f"{calibration['bias']:.6g})",
        ),
        ("calibrated on", calibration.get("fitted_on") or "nothing: the calibration is not fitted"),
        (
            "face locator",
            f"score from {locator['score_threshold']:g}, in {LocatorSpec(**locator).sentence()}",
        ),
    ]
    return table(("", ""), rows)


def _held(found: Mapping[str, Any]) -> list[str]:
    """Return how many of the bona fide faces that chose the operating point it gets wrong, by source."""
    sources = found.get("real_sources")
    if not isinstance(sources, list) or not sources or "bpcer_target" not in found:
        return []
    rows = [
        (row["source"], row["condition"] or "as given", row["samples"], f"{row['errors']:g}", row["allowed"])
        for row in sources
    ]
    header = ("source", "condition", "faces", "called generated", "contradicted above")
    return [
        "### Bona fide faces that chose it",
        "Of val, on average over the views of a face. More than in the last column would contradict a BPCER "
        f"of at most {found['bpcer_target']:g} (one-sided binomial test, {found['confidence']:g}); "
        "a small source may have a higher one all the same.",
        table(header, rows),
    ]


def _gates(manifest: Mapping[str, Any], tried: Mapping[str, Any]) -> list[str]:
    """Return what else makes a face unsure, in words, and whether the evaluation tried just that."""
    words = {
        "min_sharpness": "a sharpness below {:g} (variance of the Laplacian at 128 px)",
        "max_yaw": "a head turned aside by more than {:g} degrees",
        "max_roll": "a head tilted by more than {:g} degrees",
    }
    gates = manifest.get("gates") or {}
    found = [words[name].format(limit) for name, limit in gates.items()]
    if found and gates != {name: tried[name] for name in gates if name in tried}:
        found[-1] += " (the evaluation below doesn't apply these)"
    return found


def _failures(found: Mapping[str, Any]) -> list[str]:
    """Show the generated pictures that export scanned with the finished bundle."""
    if not found:
        return []
    model = found.get("model")
    scanned_by = f"the bundle that this one was made from ({model[:12]})" if model else "the finished bundle"
    counts = (
        f"Of {found['pictures']} generated pictures that may be shown, scanned at export with {scanned_by}, "
        f"{found['bona_fide']} were called bona fide, {found['unsure']} unsure and "
        f"{found['generated']} generated; in {found['no_face']} no face was found."
    )
    parts = ["### Known failures in pictures", counts, *_by_generator(mapping(found, "generators"))]
    if not found.get("file"):
        return [*parts, "None of the faces that were found is a failure, so none is shown."]
    wrong = found["bona_fide"] + found["unsure"]
    shown = (
        f"The {found['shown']} of {wrong} failures with the lowest probability:"
        if found["shown"] < wrong
        else f"All {wrong} failures:"
    )
    return [*parts, shown, f"![Generated faces that weren't called generated]({found['file']})"]


def _by_generator(found: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Return the verdicts on each generator's pictures."""
    verdicts = ("bona_fide", "unsure", "generated", "no_face")
    rows = [
        (name, sum(counts.values()), *(counts.get(v, 0) for v in verdicts)) for name, counts in found.items()
    ]
    header = ("folder", "pictures", "called bona fide", "unsure", "called generated", "no face found")
    return [table(header, rows)] if rows else []


def _variants(manifest: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return what the manifest says of other precisions."""
    return {name: v for name, v in mapping(manifest, "variants").items() if isinstance(v, Mapping)}


def _precision_rows(manifest: Mapping[str, Any]) -> list[tuple[object, ...]]:
    """Return a row on each precision whose loss against fp32 is known, which begins with its name."""
    rows = list[tuple[object, ...]]()
    for name, variant in _variants(manifest).items():
        test = mapping(variant, "test")
        points = {**manifest["thresholds"], **mapping(manifest, "operating_points", name, "thresholds")}
        if not all(isinstance(test.get(key), int | float) for key in ("auroc_loss", "flips", "samples")):
            continue
        figures = f"{round(test['auroc_loss'], 4) + 0:.4f}", f"{test['flips']:.2%}", test["samples"]
        overall = mapping(variant, "metrics", "overall")
        rates = (figure(mapping(overall, key), interval=False) for key in ("apcer", "bpcer", "unsure", "ece"))
        bounds = (f"{points[key]:.6g}" for key in ("bona_fide_below", "generated_from"))
        rows.append((name, *figures, *rates, *bounds))
    return rows


def _precisions(manifest: Mapping[str, Any]) -> list[str]:
    """Return what other precisions lose against fp32; nothing where that isn't known of any."""
    rows = _precision_rows(manifest)
    if not rows:
        return []
    header = (
        "precision", "AUROC loss", "changed verdicts", "pictures", "APCER", "BPCER", "unsure", "ECE",
        "bona fide below", "generated from",
    )  # fmt: skip
    return [
        _PRECISIONS,
        "On the test split, each at its own operating point. AUROC is lost and verdicts are changed against "
        + ("fp32, of which the evaluation below is." if manifest.get("metrics") else "fp32."),
        *_measured_on(manifest),
        table(header, rows),
    ]


def _measured_on(manifest: Mapping[str, Any]) -> list[str]:
    """Say what is to be known of the pictures that other precisions were measured on, once for all alike."""
    found = {name: mapping(variant, "data") for name, variant in _variants(manifest).items()}
    said = {name: measured.seen(data) for name, data in found.items() if data}
    if len(set(said.values())) == 1 and len(said) == len(found):
        return [text for text in dict.fromkeys(said.values()) if text]
    return [f"{name}: {text}" for name, text in said.items() if text]


def _not_evaluated(manifest: Mapping[str, Any]) -> str:
    above = " What was measured of other precisions stands above." if _precisions(manifest) else ""
    return measured.NOT_EVALUATED + above


def with_precisions(card: str, manifest: Mapping[str, Any], made: Collection[str]) -> str:
    """Return a card with the section on other precisions written anew from the manifest.

    Args:
        card: A card that `render` wrote, perhaps with sections added to it, and with a mark on this one that
            its figures no longer hold; the mark stays where others than those made anew are in it.
        manifest: The new fields of bundle.json.
        made: The precisions that were made anew.
    """
    section = "\n\n".join(_precisions(manifest)) + "\n\n"
    old = re.compile(rf"^{_PRECISIONS}\n\n?(?P<mark>\*\*.*?\*\*\n)?.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
    if found := old.search(card):
        if found["mark"] and {row[0] for row in _precision_rows(manifest)} - set(made):
            section = section.replace(f"{_PRECISIONS}\n", f"{_PRECISIONS}\n\n{found['mark']}", 1)
        return card[: found.start()] + section + card[found.end() :]
    before, heading, after = card.partition("## Evaluation\n")
    return f"{before}{section}{heading}{after}" if heading else f"{card.rstrip()}\n\n{section}"


def with_replaced(card: str, precisions: Sequence[str], when: str) -> str:
    """Return a card that says at its end which classifiers are newer than its calibration on site.

    Args:
        card: The card; one without a section on that, which is the last one, stays as it is.
        precisions: The classifiers that were made anew.
        when: When.
    """
    if _ON_SITE not in card:
        return card
    said = f"Made anew on {when}: {', '.join(precisions)}. What stands here of that is of the file before."
    return f"{card.rstrip()}\n\n{said}\n"


def _data(manifest: Mapping[str, Any], terms: Sequence[Mapping[str, str]]) -> list[str]:
    data = mapping(manifest, "provenance", "data")
    used = {
        (label, source): tuple(mapping(data, split, label).get(source, 0) for split in ("train", "val"))
        for label in ("real", "fake")
        for split in ("train", "val")
        for source in mapping(data, split, label)
    }
    stated = {(row["label"], row["source"]): row for row in terms}
    rows = []
    for label, source in sorted(used.keys() | stated.keys(), key=lambda key: (key[0] != "real", key)):
        row = stated.get((label, source), {})
        train, val = used.get((label, source), (0, 0))
        stands = (row.get("origin") or "not stated", row.get("terms") or "not stated")
        rows.append((source, label, train, val, *stands))
    parts = [
        "Pictures of the train and the val split, by source, with the terms under which each was obtained."
        if rows
        else "The checkpoint records nothing of its data, and no table of terms was given."
    ]
    if rows and not terms:
        parts.append("**Terms not stated.** No table of terms was given at export.")
    if rows:
        parts.append(table(("source", "label", "train", "val", "origin", "terms"), rows))
    rest = {key: value for key, value in data.items() if key not in {"train", "val"}}
    return [*parts, facts(rest, "")] if rest else parts


def _parity(report: Mapping[str, Any]) -> list[str]:
    limits, where = report["limits"], report["machine"]
    packages = ", ".join(f"{name} {number}" for name, number in where["packages"].items())
    header = ("backend", "inputs", "batch", "crops", "logits within", "probability within", "equal decisions")
    rows = [
        (
            row["backend"],
            row["inputs"],
            row["batch"],
            row["crops"],
            f"{row['max_logit_difference']:.2g}",
            f"{row['max_probability_difference']:.2g}",
            f"{row['equal_decisions']:.0%}",
        )
        for row in report["rows"]
    ]
    return [
        f"Largest absolute differences from {report['reference']}; the limit is {limits['logit']:g} for "
        f"logits and {limits['probability']:g} for probabilities, and every decision must be equal.",
        table(header, rows),
        f"Measured on {text(where['cpu'])} ({where['system']}, {where['threads']} threads) with {packages}.",
    ]
