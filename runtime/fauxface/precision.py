"""Which of a bundle's classifiers runs: the fastest that the hardware computes well, or the one asked for."""

import platform
import sys
from collections.abc import Collection
from pathlib import Path

from fauxface.bundle import Bundle
from fauxface.errors import ProviderError
from fauxface.session import Classifier, auto_providers

PRECISIONS = ("fp32", "fp16", "int8")
PRECISION_CHOICES = ("auto", *PRECISIONS)

# By Linux's names in /proc/cpuinfo; all of the first multiply and add four pairs of bytes in one step. AVX2
# adds two products of an unsigned and a signed byte in 16 bits: 2 * 255 * 128 overflows them, 2 * 255 * 64
# doesn't.
_DOT_PRODUCT = ("avx512_vnni", "avx_vnni", "asimddp")
_SIXTEEN_BIT_SUMS = "avx2"
_BITS_WITHOUT_OVERFLOW = 7


def int8_instructions(weight_bits: int = 8, cpuinfo: Path = Path("/proc/cpuinfo")) -> str | None:
    """Return the instruction set by which this CPU multiplies bytes quickly and exactly, or None.

    Where the system doesn't tell, the answer is None.

    Args:
        weight_bits: How many bits of a byte the weights use; see `Manifest.int8_weight_bits`.
        cpuinfo: Linux's description of the CPU; other files serve tests.
    """
    if sys.platform == "darwin":
        return _DOT_PRODUCT[2] if platform.machine() == "arm64" else None
    exact = _DOT_PRODUCT
    if weight_bits <= _BITS_WITHOUT_OVERFLOW:
        exact = (*_DOT_PRODUCT, _SIXTEEN_BIT_SUMS)
    try:
        lines = cpuinfo.read_text(errors="replace").splitlines()
    except OSError:
        return None
    cores = [
        set(value.split())
        for key, _, value in (line.partition(":") for line in lines)
        if key.strip() in {"flags", "Features"}
    ]
    # On chips with cores of two kinds, the slower kind may lack it.
    common = set.intersection(*cores) if cores else set()
    return next((name for name in exact if name in common), None)


def choose(
    available: Collection[str], provider: str, precision: str = "auto", *, weight_bits: int = 8
) -> str:
    """Return the precision to run.

    Args:
        available: What the bundle has; "fp32" is always among it.
        provider: Short name of the execution provider.
        precision: One of `PRECISION_CHOICES`; all but "auto" are returned as they are.
        weight_bits: As for `int8_instructions`.

    Raises:
        ProviderError: The precision is unknown.
    """
    check_precision(precision)
    if precision != "auto":
        return precision
    if provider in {"cuda", "tensorrt"}:
        best = "fp16"
    else:
        best = "int8" if provider == "cpu" and int8_instructions(weight_bits) else "fp32"
    return best if best in available else "fp32"


def check_precision(precision: str) -> None:
    """Raise a ProviderError unless the precision is one of `PRECISION_CHOICES`."""
    if precision not in PRECISION_CHOICES:
        raise ProviderError(f"unknown precision {precision!r}; choose one of {', '.join(PRECISION_CHOICES)}")


def locator_beside(bundle: Bundle, classifier: str) -> bytes:
    """Return the file of a bundle's locator that runs beside its classifier.

    It is that in int8 where the classifier is, the bundle has such a locator, and the CPU, where locators run
    whatever the provider, has instructions for sums of products of bytes with all their bits.

    Args:
        bundle: A verified bundle.
        classifier: What its classifier computes in.
    """
    fits = classifier == "int8" and bundle.manifest.locator.int8 is not None and int8_instructions()
    return bundle.locator_bytes("int8" if fits else "fp32")


def open_classifier(
    bundle: Bundle, *, provider: str = "auto", threads: int | None = None, precision: str = "auto"
) -> tuple[Classifier, str]:
    """Open the classifier of a bundle that fits the provider.

    Args:
        bundle: A verified bundle.
        provider: As for `Classifier`; "auto" leaves OpenVINO out where the CPU provider runs int8.
        threads: As for `Classifier`.
        precision: One of `PRECISION_CHOICES`.

    Returns:
        The classifier, and the precision that it runs in.

    Raises:
        BundleError: The bundle has no classifier of this precision, or it is refused.
        ProviderError: The precision or the provider is unknown, or the provider isn't really in use.
    """
    available = bundle.manifest.classifier
    check_precision(precision)
    bits = bundle.manifest.int8_weight_bits
    candidates = auto_providers() if provider == "auto" else (provider,)
    passed_over: list[str] = []
    if provider == "auto" and choose(available, "cpu", precision, weight_bits=bits) == "int8":
        # On the same cores, int8 on the CPU provider is faster than OpenVINO in fp32.
        candidates = tuple(name for name in candidates if name != "openvino")
    for candidate in candidates:
        chosen = choose(available, candidate, precision, weight_bits=bits)
        model = bundle.classifier_bytes(chosen)
        try:
            classifier = Classifier(model, provider=candidate, threads=threads, precision=chosen)
        except ProviderError as error:
            if candidate == candidates[-1]:
                raise
            passed_over.append(str(error))
        else:
            classifier.passed_over = tuple(passed_over)
            return classifier, chosen
    raise AssertionError("auto_providers ends with the CPU")
