"""The configurations of a run: opened, checked on the golden crops, refused where they judge otherwise."""

import itertools
from dataclasses import dataclass

import numpy as np

from fauxface.bench.configurations import Accepted, Accuracy, Configuration, Refusal
from fauxface.bundle import Bundle
from fauxface.doctor import GOLDEN_TOLERANCE
from fauxface.errors import BenchmarkError, BundleError, ProviderError
from fauxface.precision import open_classifier
from fauxface.session import PROVIDER_CHOICES, PROVIDERS, Classifier, import_onnxruntime
from fauxface.threads import available_cores
from fauxface.verdicts import UNSURE

PRECISIONS = ("fp32", "fp16", "int8")

ALLOWED_CHANGES = {"fp32": 0.0, "fp16": 0.01, "int8": 0.01}
"""Share of the golden crops, rounded up to whole crops, whose label may move to or from "unsure"."""

_MAX_THREADS = 1024

# Only someone who asked for TensorRT accepts that it may build its engine for minutes.
_DEFAULT_PROVIDERS = tuple(name for name in PROVIDERS if name != "tensorrt")


@dataclass(frozen=True, slots=True)
class Matrix:
    """What to measure: every provider with every precision and every number of threads.

    Attributes:
        providers: Short names, or empty for every one that runs here, but for TensorRT.
        precisions: Precisions, or empty for every one that the bundle has.
        threads: Numbers of threads, or empty for all available cores.

    Raises:
        ProviderError: A provider is unknown, or a number of threads is out of range.
        BundleError: A precision is unknown.
    """

    providers: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ()
    threads: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name in self.providers:
            if name not in PROVIDER_CHOICES:
                raise ProviderError(f"unknown provider {name!r}; choose one of {', '.join(PROVIDER_CHOICES)}")
        for name in self.precisions:
            if name not in PRECISIONS:
                raise BundleError(f"unknown precision {name!r}; choose one of {', '.join(PRECISIONS)}")
        for count in self.threads:
            if not 1 <= count <= _MAX_THREADS:
                raise ProviderError(
                    f"threads must be 1 to {_MAX_THREADS}, not {count}; leave it out for all cores"
                )


@dataclass(frozen=True, slots=True)
class Contender:
    """A configuration that judges as it should, with its session."""

    accepted: Accepted
    classifier: Classifier

    @property
    def configuration(self) -> Configuration:
        """The configuration."""
        return self.accepted.configuration


def open_matrix(bundle: Bundle, matrix: Matrix) -> tuple[list[Contender], list[Refusal]]:
    """Open every configuration and let it judge the bundle's golden crops.

    Args:
        bundle: The bundle.
        matrix: What to open. What it names must run; what it leaves open runs where it can.

    Returns:
        The configurations that pass, in the matrix's order, each once, and those that are refused.

    Raises:
        BundleError: The bundle has no classifier of a precision that the matrix names.
        ProviderError: A provider that the matrix names isn't really in use, in whatever precision.
    """
    precisions = tuple(dict.fromkeys(matrix.precisions)) or _precisions(bundle)
    for precision in precisions:
        bundle.classifier_bytes(precision)  # what is named must be there, else it would only be refused
    providers = tuple(dict.fromkeys(matrix.providers)) or _usual_providers()
    threads = tuple(dict.fromkeys(matrix.threads)) or (available_cores(),)
    contenders: dict[Configuration, Contender] = {}
    refused: list[Refusal] = []
    for provider in providers:
        failed: list[ProviderError] = []
        refused_here: list[Refusal] = []
        classifier: Classifier | None = None
        for precision, count in itertools.product(precisions, threads):
            try:
                classifier, _ = open_classifier(bundle, provider=provider, threads=count, precision=precision)
                opened = examine(bundle, classifier, provider, precision)
            except (BundleError, ProviderError) as error:
                opened = Refusal(provider, precision, count, "model", str(error))
                if isinstance(error, ProviderError):
                    failed.append(error)
            if isinstance(opened, Refusal):
                refused_here.append(opened)
            elif classifier is not None:
                contenders.setdefault(opened.configuration, Contender(opened, classifier))
        if failed and classifier is None:  # nothing of the provider could be opened
            if matrix.providers:
                raise failed[0]
            refused_here = [Refusal(provider, None, None, "unavailable", str(failed[0]))]
        refused += refused_here
    return list(contenders.values()), refused


def examine(bundle: Bundle, classifier: Classifier, asked: str, precision: str) -> Accepted | Refusal:
    """Let a classifier judge the bundle's golden crops.

    Args:
        bundle: The bundle.
        classifier: An open classifier of the bundle.
        asked: The provider that was asked for.
        precision: The classifier's precision.

    Raises:
        BundleError: The classifier fails on the crops.
    """
    crops, expected = bundle.golden(precision)
    accuracy = compare_labels(bundle, precision, expected, classifier.logits(crops))
    configuration = Configuration(classifier.provider, precision, classifier.threads)
    if accuracy.passed:
        return Accepted(configuration, asked, accuracy)
    reason = (
        f"on the golden crops, logits differ by up to {accuracy.max_difference:.2g} "
        f"(allowed {accuracy.tolerance:g}), {accuracy.changed_labels} of {accuracy.crops} labels changed "
        f"(allowed {accuracy.allowed_changes}), {accuracy.reversed_labels} from one verdict to the other"
    )
    return Refusal(classifier.provider, precision, classifier.threads, "accuracy", reason)


def compare_labels(bundle: Bundle, precision: str, expected: np.ndarray, actual: np.ndarray) -> Accuracy:
    """Compare a configuration's logits with the golden ones.

    Args:
        bundle: Gives calibration and thresholds, by which the labels are told.
        precision: Decides what is tolerated.
        expected: float32 [K, 2], from the bundle, of this precision.
        actual: float32 [K, 2], from the configuration.
    """
    point = bundle.manifest.operating_point(precision)
    labels = [
        [point.thresholds.label(p) for p in point.calibration.probability(logits)]
        for logits in (expected, actual)
    ]
    changed = [pair for pair in zip(*labels, strict=True) if pair[0] != pair[1]]
    return Accuracy(
        crops=len(expected),
        max_difference=float(np.abs(actual.astype(np.float64) - expected).max()),
        tolerance=GOLDEN_TOLERANCE[precision],
        changed_labels=len(changed),
        reversed_labels=sum(UNSURE not in pair for pair in changed),
        allowed_changes=int(np.ceil(ALLOWED_CHANGES[precision] * len(expected))),
    )


def _precisions(bundle: Bundle) -> tuple[str, ...]:
    return tuple(name for name in PRECISIONS if name in bundle.manifest.classifier)


def _usual_providers() -> tuple[str, ...]:
    """Return the providers to try where none is named: those that ONNX Runtime was built with."""
    built = import_onnxruntime().get_available_providers()
    found = tuple(name for name in _DEFAULT_PROVIDERS if PROVIDERS[name] in built)
    if not found:
        raise BenchmarkError(
            f"this ONNX Runtime has none of {', '.join(_DEFAULT_PROVIDERS)}; install another"
        )
    return found
