"""The classifier's ONNX Runtime session: the execution provider asked for, or an error that says why not."""

import contextlib
import importlib.metadata
import re
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from fauxface import providers
from fauxface.buckets import BucketRunner
from fauxface.crops import INPUT_SIZE
from fauxface.errors import BundleError, ProviderError
from fauxface.memory import is_shortage
from fauxface.nvidia import missing_libraries
from fauxface.onnx_wire import check_self_contained
from fauxface.placement import elsewhere, why_idle
from fauxface.threads import available_cores

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}
"""Short name to ONNX Runtime's name."""

PROVIDER_CHOICES = ("auto", *PROVIDERS)

# TensorRT isn't among them: it may build its engine for minutes, which only someone who asked for it accepts.
_AUTO_ORDER = ("cuda", "openvino", "cpu")
_EXTRA = {"cpu": "cpu", "cuda": "gpu", "tensorrt": "gpu", "openvino": "openvino"}

# All of these install the same import package, `onnxruntime`.
_DISTRIBUTIONS = (
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxruntime-openvino",
    "onnxruntime-directml",
    "onnxruntime-qnn",
    "onnxruntime-rocm",
    "onnxruntime-migraphx",
    "onnxruntime-training",
    "onnxruntime-webgpu",
    "ort-nightly",
    "ort-nightly-gpu",
)

_ON_GPU = ("cuda", "tensorrt")
_MAX_THREADS = 1024
_CHUNK = 64
# ONNX Runtime's errors begin with the file, the line and the signature of the function that raised them.
_SOURCE_PLACE = re.compile(r"^/onnxruntime_src/\S+ .*?\) (const )?(\[with [^\]]*\] )?")
_LOG_WARNING, _LOG_FATAL = 2, 4


def installed_distributions() -> dict[str, str]:
    """Return name and version of every installed distribution that provides the `onnxruntime` package."""
    found: dict[str, str] = {}
    for name in _DISTRIBUTIONS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def import_onnxruntime() -> ModuleType:
    """Import ONNX Runtime.

    Returns:
        The `onnxruntime` package.

    Raises:
        ProviderError: It isn't installed, it can't be loaded, or several distributions of it are installed:
            they overwrite each other's files, and which provider is left is a matter of chance.
    """
    found = installed_distributions()
    if len(found) > 1:
        raise ProviderError(
            f"{' and '.join(found)} are installed at once and overwrite each other; run: "
            f"pip uninstall -y {' '.join(found)}, then: {_pip_line(None)}"
        )
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        if error.name != "onnxruntime":
            raise ProviderError(f"ONNX Runtime can't be loaded: {error}; run: {_pip_line('cpu')}") from None
        raise ProviderError(f"ONNX Runtime isn't installed; run: {_pip_line(None)}") from None
    except ImportError as error:
        raise ProviderError(f"ONNX Runtime can't be loaded: {error}; install it again") from None
    if not hasattr(onnxruntime, "InferenceSession"):
        raise ProviderError(f"ONNX Runtime's installation is damaged; uninstall it, then: {_pip_line(None)}")
    return onnxruntime


def check_threads(count: int) -> None:
    """Raise a ProviderError unless this is a number of threads that a session may have."""
    if not (type(count) is int and 1 <= count <= _MAX_THREADS):
        raise ProviderError(f"threads must be 1 to {_MAX_THREADS}, not {count!r}; leave it out for all cores")


def auto_providers() -> tuple[str, ...]:
    """Return what "auto" tries, in order: the providers that ONNX Runtime was built with, the CPU last."""
    built_with = import_onnxruntime().get_available_providers()
    return (*(name for name in _AUTO_ORDER[:-1] if PROVIDERS[name] in built_with), _AUTO_ORDER[-1])


@dataclass(frozen=True, slots=True)
class _Model:
    """What a session is made of.

    Attributes:
        data: The ONNX file.
        precision: "fp32", "fp16" or "int8".
        threads: Threads on the CPU.
    """

    data: bytes
    precision: str
    threads: int


class Classifier:
    """A classifier that is ready to run.

    Args:
        model_bytes: One self-contained ONNX file: a single input uint8 [N, 128, 128, 3] RGB, a single output
            float32 [N, 2] in the order of `LABELS`.
        provider: "cpu", "cuda", "tensorrt", "openvino", or "auto" for the first of CUDA, OpenVINO and CPU
            that works.
        threads: Threads on the CPU; the cores that are available to this process when None.
        precision: What the model computes in: "fp32", "fp16" or "int8". TensorRT needs to know.

    Attributes:
        provider: Short name of the provider that runs the model.
        threads: Threads on the CPU.
        cuda_graphs: Whether CUDA replays recorded graphs; None with other providers.
        elsewhere: How many nodes of the model other providers run, by short name; never a convolution or a
            matrix product.
        passed_over: Why providers that "auto" tried before weren't taken, one line each; `open_classifier`
            says it.

    Raises:
        BundleError: The bytes aren't a model of this contract, or keep data outside the file.
        ProviderError: The provider is unknown, or isn't really in use; or `threads` is below 1.
    """

    def __init__(
        self,
        model_bytes: bytes,
        *,
        provider: str = "auto",
        threads: int | None = None,
        precision: str = "fp32",
    ) -> None:
        if provider not in PROVIDER_CHOICES:
            raise ProviderError(f"unknown provider {provider!r}; choose one of {', '.join(PROVIDER_CHOICES)}")
        if threads is not None:
            check_threads(threads)
        check_self_contained(model_bytes, "the classifier")
        self.threads = threads or available_cores()
        ort = import_onnxruntime()
        model = _Model(model_bytes, precision, self.threads)
        opened = _open(ort, model, provider)
        self.provider, self._session, self._input = opened.provider, opened.session, opened.input
        self._runner = opened.runner  # not a method of its own: a cycle would keep the session alive
        self._largest = _CHUNK if opened.runner is None else providers.BUCKETS[-1]
        self.passed_over: tuple[str, ...] = ()
        self.cuda_graphs: bool | None = opened.graphs if self.provider == "cuda" else None
        short = {name: key for key, name in PROVIDERS.items()}
        others = elsewhere(self._session, PROVIDERS[self.provider])
        self.elsewhere = {short.get(name, name): count for name, count in others.items()}

    def logits(self, crops: np.ndarray) -> np.ndarray:
        """Run the classifier; large batches are run in parts.

        Args:
            crops: uint8 [N, 128, 128, 3], RGB; N may be 0.

        Returns:
            float32 [N, 2] in the order of `LABELS`; finite.

        Raises:
            ValueError: The crops aren't uint8 [N, 128, 128, 3].
            BundleError: The model fails, or gives something else than finite float32 [N, 2].
            ProviderError: The GPU fails.
            MemoryError: There isn't enough memory.
        """
        crops = np.asarray(crops)
        if crops.dtype != np.uint8 or crops.ndim != 4 or crops.shape[1:] != (INPUT_SIZE, INPUT_SIZE, 3):
            raise ValueError(f"crops must be uint8 [N, 128, 128, 3], not {crops.dtype} {list(crops.shape)}")
        result = np.empty((len(crops), 2), np.float32)
        for start in range(0, len(crops), self._largest):
            part = crops[start : start + self._largest]
            try:
                output = self._run_on_host(part) if self._runner is None else self._runner.run(part)
            except Exception as error:  # ONNX Runtime's errors share no base class
                raise self._failure(error) from None
            if output.dtype != np.float32 or output.shape != (len(part), 2):
                raise BundleError(
                    f"the classifier gave {output.dtype} {list(output.shape)}, not float32 [{len(part)}, 2]; "
                    "export it again"
                )
            if not np.isfinite(output).all():
                raise BundleError("the classifier gave logits that aren't finite; export it again")
            result[start : start + len(part)] = output
        return result

    def _failure(self, error: Exception) -> Exception:
        said = f"the classifier failed: {_first_line(error)}"
        if self.provider in _ON_GPU:  # where the model has run before, at the warm-up
            return ProviderError(f"{said}; check the GPU's memory, its driver and its state, and start again")
        if is_shortage(error):
            return MemoryError(said)
        return BundleError(f"{said}; export it again")

    def _run_on_host(self, crops: np.ndarray) -> Any:
        # No buckets: the CPU provider plans its memory anew for a shape within microseconds, and computing
        # crops that nobody asked for would cost more.
        return self._session.run(None, {self._input: np.ascontiguousarray(crops)})[0]


@dataclass(frozen=True, slots=True)
class _Opened:
    """A session that is ready to run.

    Attributes:
        provider: Short name of the provider in use.
        session: The session.
        input: Name of its input.
        runner: What runs it on a GPU, None elsewhere.
        graphs: Whether it replays CUDA graphs.
    """

    provider: str
    session: Any
    input: str
    runner: BucketRunner | None
    graphs: bool


def _open(ort: ModuleType, model: _Model, provider: str) -> _Opened:
    """Open the provider asked for, or the first of "auto" that works, up to its warm-up."""
    for candidate in _AUTO_ORDER[:-1] if provider == "auto" else ():
        with contextlib.suppress(ProviderError):
            return _open_one(ort, model, candidate)
    return _open_one(ort, model, _AUTO_ORDER[-1] if provider == "auto" else provider)


def _open_one(ort: ModuleType, model: _Model, provider: str) -> _Opened:
    (session, graphs), runner = _start(ort, model, provider), None
    name = _check_contract(session)
    if provider in _ON_GPU:
        session, runner, graphs = _bound(ort, model, provider, session, graphs=graphs)
    return _Opened(provider, session, name, runner, graphs)


def _start(ort: ModuleType, model: _Model, provider: str) -> tuple[Any, bool]:
    """Return a session and whether it records CUDA graphs; raise unless the provider runs the model."""
    name = PROVIDERS[provider]
    if name not in ort.get_available_providers():
        found = ", ".join(installed_distributions()) or "this onnxruntime"
        way = f"pip uninstall -y {found}, then: {_pip_line(_EXTRA[provider])}"
        raise _unusable(provider, f"{found} doesn't have it; run: {way}")
    if provider == "cpu":
        return _create(ort, model, provider)
    if provider in _ON_GPU and (problem := missing_libraries(ort, provider)):
        raise _unusable(provider, problem)
    # While a provider is tried, its complaints would reach the terminal beside our own message.
    ort.set_default_logger_severity(_LOG_FATAL)
    try:
        session, graphs = _create(ort, model, provider)
    except BundleError as error:
        way = "check its driver and libraries, or use --provider cpu"
        if provider == "tensorrt":
            with contextlib.suppress(RuntimeError):  # of a user without a home, who has no engines
                way = f"remove the engines below {providers.engines()}, where one may be damaged, {way}"
        raise _unusable(provider, f"{_first_line(error)}; {way}") from None
    finally:
        ort.set_default_logger_severity(_LOG_WARNING)
    if (problem := why_idle(session, name)) is not None:
        raise _unusable(provider, problem)
    return session, graphs


def _unusable(provider: str, problem: str) -> ProviderError:
    return ProviderError(f"the provider {provider} can't be used: {problem}")


def _create(ort: ModuleType, model: _Model, provider: str) -> tuple[Any, bool]:
    """Make a session; where CUDA can't record a graph of this model, it runs without.

    Returns:
        The session, and whether it records CUDA graphs.
    """
    if provider != "cuda":
        return _session(ort, model, provider, graphs=False), False
    try:
        return _session(ort, model, provider, graphs=True), True
    except BundleError as error:
        _note_no_graphs(error)
        return _session(ort, model, provider, graphs=False), False


def _note_no_graphs(error: Exception) -> None:
    """Log why CUDA records no graph: the model runs without, only slower, so it isn't an error."""
    import logging

    logging.getLogger(__name__).warning("running without CUDA graphs: %s", _first_line(error))


def _session(ort: ModuleType, model: _Model, provider: str, *, graphs: bool) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = model.threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = _LOG_FATAL  # what it would print, names of the model's nodes too, is raised
    options.add_session_config_entry("session.load_model_format", "ONNX")
    # Threads spin within a run, which is faster, but not between two frames, which would keep the cores busy.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    chosen = _chosen_providers(ort, model, provider, graphs=graphs)
    try:
        session = ort.InferenceSession(model.data, options, providers=chosen, enable_fallback=0)
    except Exception as error:  # ONNX Runtime's errors share no base class
        raise BundleError(
            f"ONNX Runtime can't load the classifier: {_first_line(error)}; export it again"
        ) from None
    session.disable_fallback()
    return session


def _chosen_providers(
    ort: ModuleType, model: _Model, provider: str, *, graphs: bool
) -> list[tuple[str, dict[str, str]]]:
    """Return ONNX Runtime's names and options: the provider, and those that take what it can't run."""
    cpu: tuple[str, dict[str, str]] = (PROVIDERS["cpu"], {})
    match provider:
        case "cuda":
            return [(PROVIDERS["cuda"], providers.cuda_options(graphs=graphs)), cpu]
        case "tensorrt":
            cuda = (PROVIDERS["cuda"], providers.cuda_options(graphs=False))
            return [(PROVIDERS["tensorrt"], _tensorrt_options(ort, model)), cuda, cpu]
        case "openvino":
            return [(PROVIDERS["openvino"], providers.openvino_options(model.threads)), cpu]
        case _:
            return [cpu]


def _tensorrt_options(ort: ModuleType, model: _Model) -> dict[str, str]:
    # The shapes are given by the input's name, which a session on the CPU tells.
    name = _check_contract(_session(ort, model, "cpu", graphs=False))
    cache = providers.engine_cache(model.data, model.precision, ort.__version__)
    providers.announce_build(cache)
    return providers.tensorrt_options(name, model.precision, cache)


def _bound(
    ort: ModuleType, model: _Model, provider: str, session: Any, *, graphs: bool
) -> tuple[Any, BucketRunner, bool]:
    """Bind a session to buffers on the GPU and warm it up.

    Returns:
        The session to use, what runs it, and whether it replays CUDA graphs.
    """
    try:
        try:
            return session, BucketRunner(ort, session, graphs=graphs), graphs
        except Exception as error:  # ONNX Runtime's errors share no base class
            if not graphs:
                raise
            _note_no_graphs(error)
            session = _session(ort, model, provider, graphs=False)
            return session, BucketRunner(ort, session, graphs=False), False
    except Exception as error:  # ONNX Runtime's errors share no base class
        raise _unusable(provider, f"its warm-up failed: {_first_line(error)}; use --provider cpu") from None


def _check_contract(session: Any) -> str:
    """Return the input's name; raise unless inputs and outputs are what this release supports."""
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1 or len(outputs) != 1:
        raise BundleError(
            f"the classifier has {len(inputs)} inputs and {len(outputs)} outputs, not 1 and 1; export again"
        )
    wanted_input, wanted_output = [INPUT_SIZE, INPUT_SIZE, 3], [2]
    for what, value, dtype, wanted in [
        ("input", inputs[0], "tensor(uint8)", wanted_input),
        ("output", outputs[0], "tensor(float)", wanted_output),
    ]:
        shape = list(value.shape)
        if value.type != dtype or len(shape) != len(wanted) + 1 or shape[1:] != wanted:
            raise BundleError(
                f"the classifier's {what} is {value.type} {shape}, not {dtype} {['N', *wanted]}; "
                "export it again"
            )
        if isinstance(shape[0], int):
            raise BundleError(
                f"the classifier's {what} has a fixed batch of {shape[0]}; export it with a dynamic batch"
            )
    return inputs[0].name


def _pip_line(extra: str | None) -> str:
    if extra is not None:
        return f"pip install 'fauxface[{extra}]'"
    return "pip install 'fauxface[cpu]' (or [gpu], [openvino])"


def _first_line(error: object) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return _SOURCE_PLACE.sub("", lines[0])[:200] if lines else type(error).__name__
