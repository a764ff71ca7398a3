import ctypes
import importlib.metadata
import sys
from pathlib import Path

import numpy as np
import pytest

from fauxface import buckets, providers, session
from fauxface.errors import BundleError, ProviderError
from fauxface.session import PROVIDERS, Classifier, import_onnxruntime, installed_distributions
from fauxface.threads import available_cores
from memory_errors import SHORT

DATA = Path(__file__).parents[1] / "data"
MODEL = (DATA / "tiny_bundle" / "classifier.onnx").read_bytes()
BUILT_WITH = import_onnxruntime().get_available_providers()


def crops_of(*colours):
    return np.stack([np.full((128, 128, 3), colour, np.uint8) for colour in colours])


@pytest.fixture(scope="module")
def classifier():
    return Classifier(MODEL, provider="cpu")


def test_logits(classifier):
    logits = classifier.logits(crops_of((0, 0, 0), (255, 0, 0), (0, 255, 0), (153, 128, 128)))
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, [[1, -1], [-9, 9], [6, -6], [0.0196078, -0.0196078]], atol=1e-5)


@pytest.mark.parametrize("error", SHORT, ids=str)
def test_a_shortage_of_memory_does_not_blame_the_model(error, monkeypatch):
    classifier = Classifier(MODEL, provider="cpu")

    def fail(_):
        raise error

    monkeypatch.setattr(classifier, "_run_on_host", fail)
    with pytest.raises(MemoryError):
        classifier.logits(crops_of((0, 0, 0)))


def test_no_crops(classifier):
    assert classifier.logits(np.empty((0, 128, 128, 3), np.uint8)).shape == (0, 2)


@pytest.mark.parametrize("count", [1, 63, 64, 65, 150])
def test_large_batches_equal_single_crops(classifier, count):
    random = np.random.default_rng(count)
    crops = random.integers(0, 256, (count, 128, 128, 3), dtype=np.uint8)
    singly = np.concatenate([classifier.logits(crop[None]) for crop in crops])
    np.testing.assert_allclose(classifier.logits(crops), singly, atol=1e-5)


def test_views_that_are_not_contiguous(classifier):
    crops = crops_of((10, 20, 200), (200, 20, 10))
    np.testing.assert_array_equal(
        classifier.logits(crops[::-1, ::-1, :, ::-1]), classifier.logits(crops[::-1, :, :, ::-1].copy())
    )


@pytest.mark.parametrize(
    "crops",
    [
        np.zeros((1, 128, 128, 3), np.float32),
        np.zeros((128, 128, 3), np.uint8),
        np.zeros((1, 3, 128, 128), np.uint8),
        np.zeros((1, 96, 96, 3), np.uint8),
        np.zeros((1, 128, 128, 4), np.uint8),
        np.zeros((0,), np.uint8),
    ],
)
def test_other_crops_are_refused(classifier, crops):
    with pytest.raises(ValueError, match=r"uint8 \[N, 128, 128, 3\]"):
        classifier.logits(crops)


def test_auto_gives_a_provider_that_works(capfd):
    classifier = Classifier(MODEL)
    assert classifier.provider in PROVIDERS
    assert classifier.logits(crops_of((0, 0, 0))).shape == (1, 2)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("provider", ["", "CUDA", "gpu", "CPUExecutionProvider", "auto "])
def test_unknown_providers(provider):
    with pytest.raises(ProviderError, match="choose one of auto, cpu, cuda, tensorrt, openvino") as caught:
        Classifier(MODEL, provider=provider)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("provider", "extra"), [("cuda", "gpu"), ("tensorrt", "gpu"), ("openvino", "openvino")]
)
def test_a_provider_that_this_build_lacks(provider, extra, capfd):
    if PROVIDERS[provider] in BUILT_WITH:
        pytest.skip(f"this ONNX Runtime has {provider}")
    with pytest.raises(ProviderError, match=rf"{provider} can't be used.*pip install 'fauxface\[{extra}\]'"):
        Classifier(MODEL, provider=provider)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("provider", ["cuda", "tensorrt", "openvino"])
def test_what_is_asked_for_is_used_or_refused(provider, capfd):
    complaint = ""
    try:
        assert Classifier(MODEL, provider=provider).provider == provider
    except ProviderError as error:
        complaint = str(error)
    assert "\n" not in complaint
    assert not complaint or complaint.startswith(f"the provider {provider} can't be used: ")
    assert capfd.readouterr() == ("", "")


def test_auto_goes_on_where_a_warm_up_fails(monkeypatch):
    ort, real = import_onnxruntime(), session._create
    built_with = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(ort, "get_available_providers", lambda: built_with)
    monkeypatch.setattr(session, "missing_libraries", lambda *_: None)
    monkeypatch.setattr(session, "why_idle", lambda *_: None)
    monkeypatch.setattr(session, "_create", lambda ort, model, _: real(ort, model, "cpu"))

    def runner(*_, **__):
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr(session, "BucketRunner", runner)
    assert Classifier(MODEL).provider == "cpu"
    with pytest.raises(ProviderError, match="the provider cuda can't be used: its warm-up failed"):
        Classifier(MODEL, provider="cuda")


@pytest.mark.parametrize(
    ("built_with", "expected"),
    [
        (["CPUExecutionProvider"], ("cpu",)),
        (["OpenVINOExecutionProvider", "CPUExecutionProvider"], ("openvino", "cpu")),
        (
            ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"],
            ("cuda", "cpu"),
        ),
    ],
)
def test_what_auto_tries(monkeypatch, built_with, expected):
    monkeypatch.setattr(import_onnxruntime(), "get_available_providers", lambda: built_with)
    assert session.auto_providers() == expected


CPU = ("CPUExecutionProvider", {})
CUDA = {"cudnn_conv_algo_search": "HEURISTIC", "use_tf32": "0"}
GRAPHS = {**CUDA, "enable_cuda_graph": "1"}
OPENVINO = {"device_type": "CPU", "precision": "FP32", "num_of_threads": "3"}


@pytest.fixture
def started(monkeypatch):
    """What every session was started with, in place of starting it on hardware that isn't here."""
    ort, found = import_onnxruntime(), []
    real = ort.InferenceSession

    def start(data, options, providers, **rest):
        found.append(providers)
        return real(data, options, providers=["CPUExecutionProvider"], **rest)

    monkeypatch.setattr(ort, "InferenceSession", start)
    return found


@pytest.mark.parametrize(
    ("provider", "expected"),
    [
        ("cpu", [CPU]),
        ("cuda", [("CUDAExecutionProvider", GRAPHS), CPU]),
        ("openvino", [("OpenVINOExecutionProvider", OPENVINO), CPU]),
    ],
)
def test_options_of_a_session(started, provider, expected):
    session._create(import_onnxruntime(), session._Model(MODEL, "fp32", 3), provider)
    assert started == [expected]


def test_options_of_tensorrt(started, monkeypatch, tmp_path, capfd):
    monkeypatch.setattr(providers, "user_cache", lambda: tmp_path)
    model = session._Model(MODEL, "fp16", 1)
    session._create(import_onnxruntime(), model, "tensorrt")
    cache = providers.engine_cache(MODEL, "fp16", import_onnxruntime().__version__)
    own = ("TensorrtExecutionProvider", providers.tensorrt_options("crops", "fp16", cache))
    assert started == [[CPU], [own, ("CUDAExecutionProvider", CUDA), CPU]]
    said = capfd.readouterr().err
    assert said.startswith("note: TensorRT builds its engine")
    assert str(cache) in said
    (cache / "some.engine").touch()
    session._create(import_onnxruntime(), model, "tensorrt")
    assert capfd.readouterr().err == ""


def test_cuda_runs_without_graphs_where_it_can_not_record_one(monkeypatch):
    ort, tried = import_onnxruntime(), []
    real = ort.InferenceSession

    def start(data, options, providers, **rest):
        tried.append("enable_cuda_graph" in providers[0][1])
        if tried[-1]:
            raise RuntimeError("This session cannot use the graph capture feature")
        return real(data, options, providers=["CPUExecutionProvider"], **rest)

    monkeypatch.setattr(ort, "InferenceSession", start)
    _, graphs = session._create(ort, session._Model(MODEL, "fp32", 1), "cuda")
    assert tried == [True, False]
    assert not graphs


@pytest.mark.parametrize(("provider", "graphs"), [("cpu", False), ("cuda", True), ("openvino", False)])
@pytest.mark.usefixtures("started")
def test_a_session_s_graphs_are_known_from_its_making(provider, graphs):
    """Not from the options it names: those of some providers come back empty."""
    assert session._create(import_onnxruntime(), session._Model(MODEL, "fp32", 1), provider)[1] == graphs


@pytest.mark.parametrize(
    ("graphs", "fails", "expected"),
    [
        (True, set(), [True]),
        (False, set(), [False]),
        (True, {True}, [True, False]),
    ],
    ids=["graphs", "no graphs", "recording fails"],
)
def test_gpu_sessions_are_bound(monkeypatch, caplog, graphs, fails, expected):
    made = []

    def runner(ort, bound, *, graphs):
        made.append(graphs)
        if graphs in fails:
            raise RuntimeError("CUDA error")
        return "runner"

    monkeypatch.setattr(session, "BucketRunner", runner)
    monkeypatch.setattr(session, "_session", lambda *_, graphs: "new session")
    bound, found, recorded = session._bound(
        None, session._Model(MODEL, "fp32", 1), "cuda", "first session", graphs=graphs
    )
    assert (made, found, recorded) == (expected, "runner", expected[-1])
    assert bound == ("new session" if fails else "first session")
    assert ("running without CUDA graphs" in caplog.text) == bool(fails)


def test_a_failed_warm_up_is_one_line(monkeypatch):
    def runner(*_, **__):
        raise RuntimeError("CUDA out of memory\nat line 5")

    monkeypatch.setattr(session, "BucketRunner", runner)
    with pytest.raises(ProviderError, match="warm-up failed: CUDA out of memory; use --provider cpu"):
        session._bound(None, session._Model(MODEL, "fp32", 1), "tensorrt", None, graphs=False)


def test_a_gpu_runs_batches_of_at_most_the_largest_bucket(monkeypatch):
    real, ran = session._create, []

    class Runner:
        def __init__(self, session):
            self.session = session

        def run(self, crops):
            ran.append(len(crops))
            return self.session.run(None, {"crops": crops})[0]

    monkeypatch.setattr(session, "_start", lambda ort, model, _: real(ort, model, "cpu"))
    monkeypatch.setattr(session, "_bound", lambda *args, graphs: (args[3], Runner(args[3]), True))
    classifier = Classifier(MODEL, provider="cuda")
    assert classifier.cuda_graphs
    crops = np.random.default_rng(0).integers(0, 256, (70, 128, 128, 3), dtype=np.uint8)
    expected = Classifier(MODEL, provider="cpu").logits(crops)
    np.testing.assert_allclose(classifier.logits(crops), expected, atol=1e-5)
    assert ran == [32, 32, 6]
    assert max(ran) == buckets.BUCKETS[-1]


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (
            "/onnxruntime_src/onnxruntime/core/session/provider_bridge_ort.cc:2251 onnxruntime::Provider& "
            "onnxruntime::ProviderLibrary::Get() [ONNXRuntimeError] : 1 : FAIL : Failed to load x.so\n",
            "[ONNXRuntimeError] : 1 : FAIL : Failed to load x.so",
        ),
        (
            "/onnxruntime_src/onnxruntime/core/providers/cuda/cuda_call.cc:129 bool onnxruntime::CudaCall("
            "ERRTYPE, const char*) [with ERRTYPE = cudaError; bool THRW = true] CUDA failure 35: too old",
            "CUDA failure 35: too old",
        ),
        ("[ONNXRuntimeError] : 1 : FAIL : a (b) c", "[ONNXRuntimeError] : 1 : FAIL : a (b) c"),
        ("", "RuntimeError"),
    ],
)
def test_an_error_of_onnx_runtime_is_shown_without_its_place_in_the_source(said, shown):
    assert session._first_line(RuntimeError(said)) == shown


def test_tensorrt_announces_no_build_where_it_is_not_installed(monkeypatch, capfd):
    ort = import_onnxruntime()
    built_with = ["TensorrtExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(ort, "get_available_providers", lambda: built_with)
    monkeypatch.setattr(ctypes, "CDLL", missing_tensorrt)
    monkeypatch.setattr(ort, "preload_dlls", lambda directory: None)
    with pytest.raises(ProviderError, match="provider tensorrt can't be used: TensorRT 10 isn't installed"):
        Classifier(MODEL, provider="tensorrt")
    assert capfd.readouterr() == ("", "")


def missing_tensorrt(name, *_):
    if "nv" in name and "cuda" not in name:
        raise OSError(name)


def test_threads_default_to_the_available_cores(classifier):
    assert classifier.threads == available_cores()
    assert classifier._session.get_session_options().intra_op_num_threads == available_cores()
    assert (
        Classifier(MODEL, provider="cpu", threads=1)._session.get_session_options().intra_op_num_threads == 1
    )


@pytest.mark.parametrize("threads", [0, -1, 1025, 1.0, True, "2"])
def test_threads_out_of_range(threads):
    with pytest.raises(ProviderError, match="threads must be 1 to 1024"):
        Classifier(MODEL, threads=threads)


@pytest.mark.parametrize(
    ("attack", "part"),
    [
        ("external_data", "external data"),
        ("memory_address", "external data"),
        ("nested_external_data", "external data"),
        ("ep_context", "EPContext"),
        ("float_input", r"input is tensor\(float\)"),
        ("other_size", "96, 96"),
        ("three_labels", "output is"),
        ("fixed_batch", "fixed batch of 1"),
        ("two_outputs", "1 inputs and 2 outputs"),
        ("unknown_operator", "can't load the classifier"),
    ],
)
def test_models_that_are_refused(attack, part, capfd):
    with pytest.raises(BundleError, match=part) as caught:
        Classifier((DATA / "attacks" / f"{attack}.onnx").read_bytes(), provider="cpu")
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_external_data_is_refused_where_it_could_be_read(monkeypatch):
    monkeypatch.chdir(DATA / "attacks")
    assert Path("weights.bin").is_file()
    with pytest.raises(BundleError, match="external data"):
        Classifier(Path("external_data.onnx").read_bytes(), provider="cpu")


@pytest.mark.parametrize("data", [b"", b"text", MODEL[:-40], MODEL[40:]])
def test_bytes_that_are_not_a_model(data):
    with pytest.raises(BundleError):
        Classifier(data, provider="cpu")


def test_logits_that_are_not_finite():
    classifier = Classifier((DATA / "attacks" / "not_a_number.onnx").read_bytes(), provider="cpu")
    with pytest.raises(BundleError, match="aren't finite"):
        classifier.logits(crops_of((1, 2, 3)))


def test_onnxruntime_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setattr(session, "installed_distributions", dict)
    with pytest.raises(ProviderError, match=r"isn't installed; run: pip install 'fauxface\[cpu\]'"):
        import_onnxruntime()


def test_two_distributions_at_once(monkeypatch):
    versions = {"onnxruntime": "1.32.0", "onnxruntime-gpu": "1.31.1"}

    def version(name):
        if name not in versions:
            raise importlib.metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert installed_distributions() == versions
    with pytest.raises(
        ProviderError, match="onnxruntime and onnxruntime-gpu are installed at once"
    ) as caught:
        import_onnxruntime()
    assert "pip uninstall -y onnxruntime onnxruntime-gpu" in str(caught.value)


def test_a_damaged_installation(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", type(sys)("onnxruntime"))
    with pytest.raises(ProviderError, match="damaged"):
        import_onnxruntime()
