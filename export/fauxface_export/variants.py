"""Classifiers in other precisions: made, given their own operating point, and held against fp32.

Everything is chosen on the train and val splits. The test split only decides whether the result is shipped;
where it refuses an int8 graph, the next one keeps more in float.
"""

import math
import tempfile
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from onnxruntime.quantization.calibrate import TensorsData

from fauxface.errors import BundleError, DataError, GateError
from fauxface.manifest import OperatingPoint
from fauxface.progress import Progress
from fauxface.session import Classifier
from fauxface_export import equalise, golden, half, onnx_graph, parity, quantize, rounding
from fauxface_export.accuracy import (
    AUROC_LOSS_LIMIT,
    FLIP_LIMIT,
    LIMITS,
    Difference,
    Scored,
    compare,
    matched,
    order_key,
)
from fauxface_train import metrics
from fauxface_train.dataset import PreparedData, Sample, check_framing, load_crop
from fauxface_train.intervals import REPLICATES
from fauxface_train.provenance import fitted_to, learned_before, standing, trained_on, written
from fauxface_train.scored import attach
from fauxface_train.training_set import chosen, excluded

PRECISIONS = ("int8", "fp16")

FEWEST_TEST = round(1 / FLIP_LIMIT)
CALIBRATION_CROPS = 1024
RANGE_CROPS = 256
SEARCH_CROPS = 2048
BLAME_CROPS = 96
_BATCH = 32
_NAMED = 3

Say = Callable[[str], None]
Score = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, slots=True)
class Reference:
    """What variants are made with and held against.

    Attributes:
        point: The operating point of fp32.
        calibration: uint8 [N, 128, 128, 3] RGB of the train split, balanced over labels and sources.
        logits: float32 [N, 2] of fp32 for these.
        val: The val split.
        test: The test split.
        about: What the test split is to the model, as metrics.json has it under "data".
    """

    point: OperatingPoint
    calibration: np.ndarray
    logits: np.ndarray
    val: Scored
    test: Scored
    about: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Variant:
    """A classifier that passed.

    Attributes:
        precision: "int8" or "fp16".
        point: Its operating point.
        report: What the manifest says of it.
        test: What it says of the test split.
    """

    precision: str
    point: OperatingPoint
    report: Mapping[str, Any]
    test: metrics.Scored

    def figures(self) -> dict[str, Any]:
        """Return what `fauxface evaluate` says of it on the test split, undegraded, as in metrics.json."""
        return {"data": self.report["data"], **metrics.evaluate(self.test, self.point.thresholds)}


def check_data(prepared: PreparedData | None, margin: float, *, whole: bool = False) -> PreparedData:
    """Check that prepared data can calibrate and judge a variant.

    Raises:
        DataError: There are none, a split lacks a label, test has fewer than `FEWEST_TEST` pictures, or they
            were cut with another margin.
    """
    if prepared is None:
        raise DataError("int8 and fp16 are calibrated and checked on prepared data; give --data")
    check_framing(prepared, margin, whole=whole, wanted_by="the model")
    for split in ("train", "val", "test"):
        for label, name in enumerate(("real", "fake")):
            if not prepared.samples(split=split, label=label):
                raise DataError(
                    f"{prepared.root} has no {name} picture in its {split} split, which int8 and fp16 need; "
                    "add some and prepare the data again"
                )
    test = len(prepared.samples(split="test"))
    if test < FEWEST_TEST:
        raise DataError(
            f"{prepared.root} has {test} pictures in its test split, and {FLIP_LIMIT:.0%} changed verdicts "
            f"can't be told from fewer than {FEWEST_TEST}; add some and prepare the data again"
        )
    return prepared


def reference(
    fp32: Path, prepared: PreparedData, point: OperatingPoint, info: Mapping[str, Any]
) -> Reference:
    """Score val and test with the fp32 graph, and pick the crops that quantisation is calibrated on.

    Args:
        fp32: The graph.
        prepared: Data that `check_data` passed.
        point: The operating point of fp32.
        info: A checkpoint's description, or a bundle's provenance.
    """
    score = scorer(fp32)
    train, val = (chosen(prepared, split, excluded(info)) for split in ("train", "val"))
    test = prepared.samples(split="test")
    crops = np.stack([load_crop(sample) for sample in balanced(train)])
    return Reference(
        point,
        crops,
        score(crops),
        Scored(val, _score(score, val, "fp32 on val")),
        Scored(test, _score(score, test, "fp32 on test")),
        {
            "split": "test",
            "name": written(prepared.root.resolve()),
            **standing(prepared, test, trained_on(info), fitted_to(info)),
            **({"learned_before": True} if learned_before(info) else {}),
        },
    )


def balanced(samples: Sequence[Sample], count: int = CALIBRATION_CROPS) -> list[Sample]:
    """Return at most `count` samples, as many of each source of each label as there are."""
    groups: dict[tuple[int, str], list[Sample]] = {}
    for sample in sorted(samples, key=order_key):
        groups.setdefault(order_key(sample)[:2], []).append(sample)
    each = max(1, count // len(groups))
    chosen = [group[i] for group in groups.values() for i in golden.spread(len(group), each)]
    return [chosen[i] for i in golden.spread(len(chosen), count)]  # fewer where there are very many sources


def make(precision: str, fp32: Path, target: Path, against: Reference, say: Say = lambda _: None) -> Variant:
    """Write the classifier in another precision and check it on the test split.

    Args:
        precision: One of `PRECISIONS`.
        fp32: The float graph that export wrote.
        target: Where to write.
        against: What to calibrate and check it with.
        say: Told what was chosen and measured, one line each.

    Raises:
        GateError: It loses too much AUROC or changes too many decisions on the test split, or ONNX Runtime
            doesn't run it in this precision; the message names the layers that hurt most.
    """
    attempts = _int8(fp32, target, against, say) if precision == "int8" else _fp16(fp32, target)
    report, lost = dict[str, Any](), ""
    with closing(attempts):
        for report in attempts:
            onnx_graph.finish(target, like=fp32)
            score = scorer(target)
            try:
                val = _score(score, against.val.samples, f"{precision} on val")
                test = _score(score, against.test.samples, f"{precision} on test")
            except BundleError:
                lost = "with logits that aren't finite"
                continue
            point = matched(against.val, against.point, val)
            result = compare(against.test, against.point, test, point)
            lost = _lost(result)
            say(f"{precision} against fp32 {lost}")
            if result.holds:
                found = {"val": compare(against.val, against.point, val, point), "test": result}
                figures = {name: difference.to_dict() for name, difference in found.items()}
                scored = attach(against.test.samples, point.calibration.probability(test))
                overall = metrics.overall(scored, point.thresholds, replicates=REPLICATES, seed=0)
                measured = {"metrics": {"overall": overall}, "machine": parity.machine()}
                about = {"limits": LIMITS, "data": dict(against.about)}
                return Variant(precision, point, {**about, **report, **figures, **measured}, scored)
    worst = list(blame(precision, fp32, against, report.get("method", "minmax")).items())[:_NAMED]
    named = ", ".join(f"{name} ({value:.2g})" for name, value in worst)
    raise GateError(
        f"{precision} failed {lost}; layers that move the logits most: {named}; no bundle was written"
    )


def _lost(test: Difference) -> str:
    return (
        f"on {test.samples} test pictures: AUROC loss {test.auroc_loss:.5f} (limit {AUROC_LOSS_LIMIT:g}), "
        f"{test.flips:.2%} of the decisions changed (limit {FLIP_LIMIT:.0%})"
    )


def in_manifest(made: Sequence[Variant]) -> dict[str, Any]:
    """Return the fields of the manifest that describe variants; none where there are none."""
    if not made:
        return {}
    bits = {"int8_weight_bits": quantize.WEIGHT_BITS} if "int8" in {v.precision for v in made} else {}
    return {
        **bits,
        "operating_points": {
            variant.precision: {
                "calibration": asdict(variant.point.calibration),
                "thresholds": asdict(variant.point.thresholds),
            }
            for variant in made
        },
        "variants": {variant.precision: dict(variant.report) for variant in made},
    }


def blame(precision: str, fp32: Path, against: Reference, method: str = "minmax") -> dict[str, float]:
    """Convert one layer at a time and measure what it does to the logits of some val pictures.

    Args:
        precision: One of `PRECISIONS`.
        fp32: The float graph that export wrote.
        against: Gives the pictures.
        method: One of `quantize.METHODS`; for int8.

    Returns:
        Layer to root mean square difference of the two logits' difference, largest first; infinite where
        the logits aren't finite.
    """
    part = against.val.part(BLAME_CROPS)
    crops = _crops(part.samples)
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        seen = against.calibration[:: max(1, len(against.calibration) // RANGE_CROPS)]
        convert = _single_layers(precision, fp32, Path(folder), seen, method)
        for layer in onnx_graph.layers(fp32, ("Conv",)):
            try:
                moved = scorer(convert(layer))(crops).astype(np.float64) - part.logits
                found[layer] = float(np.sqrt(np.mean((moved[:, 1] - moved[:, 0]) ** 2)))
            except BundleError:
                found[layer] = math.inf
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _single_layers(
    precision: str, fp32: Path, folder: Path, calibration: np.ndarray, method: str
) -> Callable[[str], Path]:
    """Return a function that converts one layer of a graph and nothing else, and says where it wrote."""
    single, prepared = folder / "single.onnx", folder / "prepared.onnx"
    if precision == "int8":
        _prepare(fp32, prepared, calibration)
        ranges = _ranges(prepared, calibration, method)

        def quantise(layer: str) -> Path:
            quantize.quantise(prepared, ranges, single, only=[layer])
            return single

        return quantise

    def halve(layer: str) -> Path:
        half.convert(fp32, single, only=[layer])
        return single

    return halve


@dataclass(frozen=True, slots=True)
class _Candidate:
    method: str
    in_float: tuple[str, ...]
    path: Path
    difference: Difference

    def to_dict(self) -> dict[str, Any]:
        return {"method": self.method, "float_layers": list(self.in_float), **self.difference.to_dict()}


def _fp16(fp32: Path, target: Path) -> Generator[dict[str, Any], None, None]:
    half.convert(fp32, target)
    yield {"float_layers": list(half.IN_FLOAT)}


def _int8(fp32: Path, target: Path, against: Reference, say: Say) -> Generator[dict[str, Any], None, None]:
    """Write the int8 graph whose probabilities are nearest to fp32's on val; yield what was tried.

    The first and the last convolution stay in float only where nothing holds the limits without: neither on
    val, nor, which is why this goes on after a yield, on test.
    """
    part = against.val.part(SEARCH_CROPS)
    crops = _crops(part.samples)
    tried: list[_Candidate] = []
    refused: list[_Candidate] = []
    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        seen = against.calibration[:: max(1, len(against.calibration) // RANGE_CROPS)]
        _prepare(fp32, prepared, seen)
        ranges = {method: _ranges(prepared, seen, method) for method in quantize.METHODS}
        convolutions = list(onnx_graph.layers(fp32, ("Conv",)))
        levels = ((), (convolutions[0],), (convolutions[0], convolutions[-1]))
        for in_float in levels:
            for method in quantize.METHODS:
                path = Path(folder) / f"{len(tried)}.onnx"
                quantize.quantise(prepared, ranges[method], path, in_float=in_float)
                rounding.compensate(prepared, path, against.calibration)
                quantize.correct(prepared, path, against.calibration)
                quantize.refit(path, against.calibration, against.logits)
                logits = scorer(path)(crops)
                own = matched(part, against.point, logits)
                tried.append(_Candidate(method, in_float, path, compare(part, against.point, logits, own)))
                say(_line(tried[-1]))
            left = [candidate for candidate in tried if candidate not in refused]
            holding = [candidate for candidate in left if candidate.difference.holds]
            best = min(holding or left, key=lambda candidate: candidate.difference.probability)
            if not holding and in_float != levels[-1]:
                continue
            target.write_bytes(best.path.read_bytes())
            operators = quantize.operators(target.read_bytes())
            quantize.require_integers(operators, len(convolutions) - len(best.in_float))
            yield {
                "method": best.method,
                "float_layers": list(best.in_float),
                "calibration_crops": len(against.calibration),
                "candidates": [candidate.to_dict() for candidate in tried],
                "refused_on_test": [[one.method, *one.in_float] for one in refused],
                "operators": dict(sorted(operators.items())),
            }
            refused.append(best)


def _prepare(fp32: Path, prepared: Path, calibration: np.ndarray) -> None:
    quantize.prepare(fp32, prepared)
    equalise.equalise(prepared, quantize.largest(prepared, calibration))


def _ranges(prepared: Path, crops: np.ndarray, method: str) -> TensorsData:
    """Choose ranges on crops and on patterns, so that what is no face isn't cut off either."""
    return quantize.ranges(prepared, np.concatenate([crops, golden.patterns()]), method)


def _line(candidate: _Candidate) -> str:
    found = candidate.difference
    kept = f", {' and '.join(candidate.in_float)} in float" if candidate.in_float else ""
    return (
        f"int8 by {candidate.method}{kept}: probability {found.probability:.4f} off on average, "
        f"{found.flips:.2%} of {found.samples} decisions changed on val"
    )


def scorer(path: Path) -> Score:
    """Return a function that scores crops by an ONNX file, as the runtime does on the CPU."""
    return Classifier(path.read_bytes(), provider="cpu").logits


def _score(score: Score, samples: Sequence[Sample], what: str) -> np.ndarray:
    """Score samples in parts, so that a large split needn't fit into memory; float32 [N, 2]."""
    results = []
    with Progress(len(samples), what, "crops") as progress:
        for start in range(0, len(samples), _BATCH):
            part = _crops(samples[start : start + _BATCH])
            results.append(score(part))
            progress.advance(len(part))
    return np.concatenate(results)


def _crops(samples: Sequence[Sample]) -> np.ndarray:
    return np.stack([load_crop(sample) for sample in samples])
