"""What is installed, whether the bundle is intact, and whether this machine reproduces its golden logits."""

import os
import platform
import re
import statistics
import time
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import cv2
import numpy as np

import fauxface
from fauxface.bench.configurations import compare_golden
from fauxface.bundle import Bundle
from fauxface.errors import FauxfaceError, GateError
from fauxface.locator import Locator
from fauxface.precision import int8_instructions, locator_beside, open_classifier
from fauxface.session import Classifier, import_onnxruntime, installed_distributions
from fauxface.threads import available_cores

_WARM_UP = 3
_RUNS = 30
_PROBE_SIDE = 64
_TIMING_BUDGET_S = 3.0


@dataclass(frozen=True, slots=True)
class Environment:
    """What the verdicts depend on beside the bundle.

    Attributes:
        fauxface: Version of this package.
        python: Version of Python.
        platform: Operating system and machine.
        numpy: Version of NumPy.
        opencv: Version of OpenCV.
        opencv_ffmpeg: Whether OpenCV can read video files and network streams through FFmpeg.
        opencv_gstreamer: Whether OpenCV can open GStreamer pipelines.
        onnxruntime: Version of ONNX Runtime, or None where it can't be imported.
        distributions: Installed distributions of ONNX Runtime and their versions; one is right.
        providers: Execution providers that this ONNX Runtime was built with, by its own names.
        cores: Cores that affinity and cgroup quota leave to this process.
        int8_instructions: Instruction set that computes the bundle's int8 classifier quickly and exactly,
            for example "avx512_vnni", or None.
    """

    fauxface: str
    python: str
    platform: str
    numpy: str
    opencv: str
    opencv_ffmpeg: bool
    opencv_gstreamer: bool
    onnxruntime: str | None
    distributions: dict[str, str]
    providers: list[str]
    cores: int
    int8_instructions: str | None


@dataclass(frozen=True, slots=True)
class BundleCheck:
    """A bundle whose files all match its manifest.

    Attributes:
        name: Name of the bundle.
        path: Its folder.
        sha256: SHA-256 of its bundle.json.
        files: Number of verified files.
        precisions: Precisions of its classifiers.
    """

    name: str
    path: str
    sha256: str
    files: int
    precisions: list[str]


@dataclass(frozen=True, slots=True)
class GoldenCheck:
    """The golden crops, replayed on this machine.

    Attributes:
        precision: Of the classifier that replayed them.
        crops: Number of crops.
        max_difference: Largest absolute difference of a logit from the recorded one.
        tolerance: Largest difference that passes.
        changed_labels: Crops whose label isn't the recorded one.
        reversed_labels: Those of them that went from bona fide to generated or back.
        allowed_changes: Largest number of changed labels that passes.
        passed: Whether difference and changes are allowed, and no label is reversed.
    """

    precision: str
    crops: int
    max_difference: float
    tolerance: float
    changed_labels: int
    reversed_labels: int
    allowed_changes: int
    passed: bool


@dataclass(frozen=True, slots=True)
class Timing:
    """One inference at batch 1, after warm-up.

    Attributes:
        median_ms: Median time in milliseconds.
        runs: Number of timed runs.
        provider: Short name of the provider that ran them.
        precision: Of the classifier.
        threads: Threads on the CPU.
        cuda_graphs: Whether CUDA replays recorded graphs; None with other providers.
        elsewhere: How many nodes of the model other providers run, by short name.
        passed_over: Why providers that ONNX Runtime was built with and "auto" prefers weren't taken.
    """

    median_ms: float
    runs: int
    provider: str
    precision: str
    threads: int
    cuda_graphs: bool | None = None
    elsewhere: dict[str, int] = field(default_factory=dict)
    passed_over: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Report:
    """The findings; a part that couldn't be examined is None.

    Attributes:
        environment: Versions and providers.
        bundle: The verified bundle.
        locator_runs: Whether the bundle's locator runs.
        golden: The replay of the golden crops.
        timing: One timed inference.
        failure: The first error, or None when all is well.
    """

    environment: Environment
    bundle: BundleCheck | None
    locator_runs: bool
    golden: GoldenCheck | None
    timing: Timing | None
    failure: FauxfaceError | None

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values; `ok` is false when anything failed."""
        failure = self.failure
        return {
            "schema": "fauxface.doctor/1",
            "ok": failure is None,
            "error": None if failure is None else {"type": type(failure).__name__, "message": str(failure)},
            "environment": asdict(self.environment),
            "bundle": asdict(self.bundle) if self.bundle else None,
            "locator_runs": self.locator_runs,
            "golden": asdict(self.golden) if self.golden else None,
            "timing": asdict(self.timing) if self.timing else None,
        }


def examine(
    bundle: str | os.PathLike[str] | None = None,
    provider: str = "auto",
    threads: int | None = None,
    precision: str = "auto",
) -> Report:
    """Examine this installation; what fails is part of the report.

    Args:
        bundle: The bundle's folder; the shipped one when None.
        provider: The execution provider to examine, as for `Classifier`.
        threads: Threads on the CPU, as for `Classifier`.
        precision: Which of the bundle's classifiers; "auto" takes what a scan takes.
    """
    environment = describe_environment()
    checked = golden = timing = None
    locator_runs = False
    failure: FauxfaceError | None = None
    try:
        loaded = Bundle.load(bundle)
        fitting = int8_instructions(loaded.manifest.int8_weight_bits)
        environment = replace(environment, int8_instructions=fitting)
        checked = BundleCheck(
            loaded.manifest.name,
            str(loaded.path),
            loaded.sha256,
            len(loaded.manifest.files),
            list(loaded.manifest.classifier),
        )
        plain = loaded.locator_bytes()
        _try_locator(loaded, plain)
        locator_runs = True
        classifier, in_use = open_classifier(loaded, provider=provider, threads=threads, precision=precision)
        if (beside := locator_beside(loaded, in_use)) != plain:
            locator_runs = False
            _try_locator(loaded, beside)
            locator_runs = True
        crops, expected = loaded.golden(in_use)
        compared = compare_golden(loaded.manifest, in_use, expected, classifier.logits(crops))
        golden = GoldenCheck(precision=in_use, passed=compared.passed, **asdict(compared))
        timing = measure(classifier, crops[:1], in_use)
        if not golden.passed:
            raise GateError(
                f"the golden crops aren't reproduced in {in_use}: logits differ by up to "
                f"{golden.max_difference:.2g} (allowed {golden.tolerance:g}), {golden.changed_labels} of "
                f"{golden.crops} labels changed; try --provider cpu --precision fp32"
            )
    except FauxfaceError as error:
        failure = error
    return Report(environment, checked, locator_runs, golden, timing, failure)


def _try_locator(bundle: Bundle, data: bytes) -> None:
    """Search an empty picture with a file of the bundle's locator."""
    locator = Locator.from_spec(data, bundle.manifest.locator)
    locator.locate(np.zeros((_PROBE_SIDE, _PROBE_SIDE, 3), np.uint8))


def describe_environment() -> Environment:
    """Return versions, providers and cores; a missing ONNX Runtime is described, not raised."""
    version, providers = None, []
    try:
        ort = import_onnxruntime()
        version, providers = ort.__version__, list(ort.get_available_providers())
    except FauxfaceError:
        pass
    build = cv2.getBuildInformation()
    return Environment(
        fauxface=fauxface.__version__,
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}",
        numpy=np.__version__,
        opencv=cv2.__version__,
        opencv_ffmpeg=built_with(build, "FFMPEG"),
        opencv_gstreamer=built_with(build, "GStreamer"),
        onnxruntime=version,
        distributions=installed_distributions(),
        providers=providers,
        cores=available_cores(),
        int8_instructions=int8_instructions(),
    )


def built_with(build_information: str, feature: str) -> bool:
    """Return whether a feature's line of `cv2.getBuildInformation()` says YES."""
    return re.search(rf"^\s*{re.escape(feature)}:\s+YES\b", build_information, re.MULTILINE) is not None


def measure(classifier: Classifier, crop: np.ndarray, precision: str = "fp32") -> Timing:
    """Time the classifier on one crop, uint8 [1, 128, 128, 3], for at most a few seconds."""
    for _ in range(_WARM_UP):
        classifier.logits(crop)
    times: list[float] = []
    deadline = time.perf_counter() + _TIMING_BUDGET_S
    while len(times) < _RUNS and (not times or time.perf_counter() < deadline):
        start = time.perf_counter()
        classifier.logits(crop)
        times.append(time.perf_counter() - start)
    return Timing(
        median_ms=round(statistics.median(times) * 1000, 3),
        runs=len(times),
        provider=classifier.provider,
        precision=precision,
        threads=classifier.threads,
        cuda_graphs=classifier.cuda_graphs,
        elsewhere=classifier.elsewhere,
        passed_over=list(classifier.passed_over),
    )
