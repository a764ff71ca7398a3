"""The configurations of a run: opened, checked on the golden crops, refused where they judge otherwise."""

import itertools
from dataclasses import dataclass

from fauxface.bench.configurations import Accepted, Configuration, Refusal, compare_golden
from fauxface.bundle import Bundle
from fauxface.errors import BenchmarkError, BundleError, ProviderError
from fauxface.precision import PRECISIONS, open_classifier
from fauxface.session import PROVIDER_CHOICES, PROVIDERS, Classifier, check_threads, import_onnxruntime
from fauxface.threads import available_cores

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
        ProviderError: A provider or a precision is unknown, or a number of threads is out of range.
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
                raise ProviderError(f"unknown precision {name!r}; choose one of {', '.join(PRECISIONS)}")
        for count in self.threads:
            check_threads(count)


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
    accuracy = compare_golden(bundle.manifest, precision, expected, classifier.logits(crops))
    configuration = Configuration(classifier.provider, precision, classifier.threads)
    if accuracy.passed:
        return Accepted(configuration, asked, accuracy, classifier.cuda_graphs, classifier.elsewhere)
    reason = (
        f"on the golden crops, logits differ by up to {accuracy.max_difference:.2g} "
        f"(allowed {accuracy.tolerance:g}), {accuracy.changed_labels} of {accuracy.crops} labels changed "
        f"(allowed {accuracy.allowed_changes}), {accuracy.reversed_labels} from one verdict to the other"
    )
    return Refusal(classifier.provider, precision, classifier.threads, "accuracy", reason)


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
