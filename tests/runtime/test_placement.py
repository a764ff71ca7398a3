import types
from pathlib import Path

import pytest

from fauxface import session
from fauxface.errors import ProviderError
from fauxface.session import Classifier, import_onnxruntime

MODEL = (Path(__file__).parents[1] / "data" / "tiny_bundle" / "classifier.onnx").read_bytes()


class FakeSession:
    def __init__(self, providers, assigned):
        self.get_providers = lambda: providers
        if assigned is not None:
            self.get_provider_graph_assignment_info = lambda: assigned


class FakePart:
    def __init__(self, ep_name, operators):
        self.ep_name = ep_name
        self.get_nodes = lambda: [types.SimpleNamespace(op_type=name) for name in operators]


@pytest.mark.parametrize(
    ("providers", "assigned", "problem"),
    [
        (["CPUExecutionProvider"], [FakePart("CPUExecutionProvider", ["n"])], "weren't found"),
        (
            ["CUDAExecutionProvider", "CPUExecutionProvider"],
            [FakePart("CPUExecutionProvider", ["n"]), FakePart("CUDAExecutionProvider", [])],
            "takes no part",
        ),
        (["CUDAExecutionProvider", "CPUExecutionProvider"], None, "can't tell .*; install 1.24 or newer"),
        (
            ["CUDAExecutionProvider", "CPUExecutionProvider"],
            [FakePart("CPUExecutionProvider", ["Pad"]), FakePart("CUDAExecutionProvider", ["Conv", "Gemm"])],
            None,
        ),
        (
            ["CUDAExecutionProvider", "CPUExecutionProvider"],
            [
                FakePart("CPUExecutionProvider", ["Conv", "Pad"]),
                FakePart("CUDAExecutionProvider", ["Conv", "Gemm"]),
            ],
            "it leaves 1 of the model's 3 convolutions and matrix products to CPUExecutionProvider; choose",
        ),
    ],
    ids=["fell back", "idle", "too old to tell", "in use", "in part"],
)
def test_a_silent_fallback_is_found(monkeypatch, providers, assigned, problem):
    ort = import_onnxruntime()
    built_with = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(ort, "get_available_providers", lambda: built_with)
    monkeypatch.setattr(session, "missing_libraries", lambda *_: None)
    monkeypatch.setattr(session, "_check_contract", lambda _: "crops")
    monkeypatch.setattr(session, "_bound", lambda *args, graphs: (args[3], "runner", graphs))
    created = FakeSession(providers, assigned)
    monkeypatch.setattr(session, "_create", lambda *_: (created, False))
    model = session._Model(MODEL, "fp32", 1)
    if problem is None:
        for asked in ("cuda", "auto"):
            opened = session._open(ort, model, asked)
            assert (opened.provider, opened.session) == ("cuda", created)
    else:
        with pytest.raises(ProviderError, match=problem):
            session._open(ort, model, "cuda")
        assert session._open(ort, model, "auto").provider == "cpu"


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([FakePart("CUDAExecutionProvider", ["Conv"])], {}),
        (
            [FakePart("CPUExecutionProvider", ["Pad"]), FakePart("CUDAExecutionProvider", ["Conv"])],
            {"cpu": 1},
        ),
        (
            [
                FakePart("CPUExecutionProvider", ["Pad"]),
                FakePart("CPUExecutionProvider", ["Cast", "Cast"]),
                FakePart("OtherExecutionProvider", ["Relu"]),
                FakePart("CUDAExecutionProvider", ["Conv"]),
            ],
            {"cpu": 3, "OtherExecutionProvider": 1},
        ),
    ],
)
def test_what_other_providers_run_is_told(monkeypatch, parts, expected):
    created = FakeSession(["CUDAExecutionProvider", "CPUExecutionProvider"], parts)
    opened = session._Opened("cuda", created, "crops", None, graphs=False)
    monkeypatch.setattr(session, "_open", lambda *_: opened)
    assert Classifier(MODEL, provider="cuda").elsewhere == expected


def test_the_cpu_runs_all_of_a_model():
    classifier = Classifier(MODEL, provider="cpu")
    assert classifier.elsewhere == {}
    (part,) = {part.ep_name for part in classifier._session.get_provider_graph_assignment_info()}
    assert part == "CPUExecutionProvider"
