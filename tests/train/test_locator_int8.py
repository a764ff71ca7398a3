import hashlib

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

from fauxface.bundle import Bundle
from fauxface.cli import build_app
from fauxface.errors import BundleError, CheckpointError, DataError, GateError
from fauxface.locator import Locator
from fauxface_train.locator import int8
from fauxface_train.locator.verdict import Bar


@pytest.fixture(autouse=True)
def few_faces_do(monkeypatch):
    """The drawn ones are few."""
    monkeypatch.setattr(int8, "FEWEST_FACES", 0)


@pytest.fixture(scope="module")
def shipped():
    return Bundle.load().locator_bytes()


def test_the_rewritten_graph_computes_the_same(shipped):
    import onnxruntime

    rewritten = int8._rewritten(onnx.load_model_from_string(shipped)).SerializeToString()
    kinds = [node.op_type for node in onnx.load_model_from_string(rewritten).graph.node]
    assert kinds.count("MatMul") == 3
    assert "Resize" not in kinds
    picture = np.random.default_rng(0).integers(0, 256, (1, 3, 96, 160)).astype(np.float32)
    outputs = [
        onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, {"input": picture})
        for model in (shipped, rewritten)
    ]
    for before, after in zip(*outputs, strict=True):
        np.testing.assert_allclose(after, before, atol=1e-4)


def test_the_command_writes_a_locator_of_bytes(shipped, drawn_faces, tmp_path, monkeypatch):
    monkeypatch.setattr(int8, "LIMITS", Bar())  # drawn faces are hardly any for it
    source, target = tmp_path / "locator.onnx", tmp_path / "int8.onnx"
    source.write_bytes(shipped)
    arguments = ["locator", "quantise", str(source), str(drawn_faces / "faces"), "--out", str(target)]
    done = CliRunner().invoke(build_app(), arguments, catch_exceptions=False)
    assert done.exit_code == 0
    assert "recall" in done.stderr
    model = onnx.load(target)
    assert {p.key: p.value for p in model.metadata_props} == {
        "quantised_from": hashlib.sha256(shipped).hexdigest()
    }
    kinds = [node.op_type for node in model.graph.node]
    assert kinds.index("QuantizeLinear") > kinds.index("Conv"), "the first convolutions stay in float"
    integers = [
        t for t in model.graph.initializer if t.data_type == onnx.TensorProto.INT8 and len(t.dims) > 1
    ]
    assert len(integers) == kinds.count("Conv") + kinds.count("MatMul") - 2
    Locator(target.read_bytes())
    first = target.read_bytes()
    CliRunner().invoke(build_app(), arguments, catch_exceptions=False)
    assert target.read_bytes() == first


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({"recall": 0.97}, "all at 1280 px: recall 0.9700, asked 0.98"),
        ({"precision": 0.9}, "all at 1280 px: precision"),
        ({"mean_iou": 0.9}, "all at 1280 px: mean_iou"),
        ({"landmark_error": 0.03}, "all at 1280 px: landmark_error"),
        ({"reference_faces": 0}, "the reference finds no face"),
    ],
)
def test_a_locator_that_finds_others_is_refused(found, message, random_teacher, drawn_faces, monkeypatch):
    pool = {"pictures": 9, "reference_faces": 9, "found_faces": 9, "recall": 1.0, "precision": 1.0}
    pool |= {"mean_iou": 0.99, "landmark_error": 0.0}
    seen = [pool | found, pool]

    def compared(*_):
        return {"sides": {"1280": {"all": seen.pop(0), "time": {"ratio": 1.0}, "negatives": {}}}}

    monkeypatch.setattr(int8, "compare", compared)
    with pytest.raises(GateError, match=f"isn't the same in int8: .*{message}"):
        int8.quantise(random_teacher.read_bytes(), [drawn_faces / "faces"], print)
    assert int8.quantise(random_teacher.read_bytes(), [drawn_faces / "faces"], print)


@pytest.mark.parametrize(("faces", "refused"), [(49, True), (50, False)])
def test_a_check_on_few_faces_is_none(faces, refused, random_teacher, drawn_faces, monkeypatch):
    pool = {"pictures": 9, "reference_faces": faces, "found_faces": faces, "recall": 1.0, "precision": 1.0}
    pool |= {"mean_iou": 0.99, "landmark_error": 0.0}
    report = {"sides": {"1280": {"all": pool, "time": {"ratio": 1.0}, "negatives": {}}}}
    monkeypatch.setattr(int8, "compare", lambda *_: report)
    monkeypatch.setattr(int8, "FEWEST_FACES", 50)
    if not refused:
        assert int8.quantise(random_teacher.read_bytes(), [drawn_faces / "faces"], print)
        return
    with pytest.raises(GateError, match="finds 49 faces, fewer than 50; give more pictures"):
        int8.quantise(random_teacher.read_bytes(), [drawn_faces / "faces"], print)


@pytest.mark.parametrize("count", [2, 5, 12, 80])
def test_no_picture_is_for_both_the_ranges_and_the_check(count, tmp_path):
    for number in range(count):
        (tmp_path / f"img_{number}.jpg").write_bytes(b"x")
    most, few = int8._halves(tmp_path)
    assert most
    assert few
    assert sorted([*most, *few]) == sorted(tmp_path.iterdir())


def test_a_single_picture_is_too_few(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"x")
    with pytest.raises(DataError, match="too few pictures to hold any out"):
        int8._halves(tmp_path)


def _fixed(shipped):
    model = onnx.load_model_from_string(shipped)
    for dim in model.graph.input[0].type.tensor_type.shape.dim:
        dim.dim_value = dim.dim_value or 64
    return model.SerializeToString()


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (_fixed, CheckpointError, "pictures of one size alone"),
        (lambda _: b"text", CheckpointError, "isn't a readable ONNX file"),
        (lambda _: Bundle.load().locator_bytes("int8"), CheckpointError, "in int8 already"),
        (lambda _: Bundle.load().classifier_bytes("int8"), BundleError, "isn't in YuNet's format"),
    ],
)
def test_other_files_are_one_line(data, error, message, shipped, drawn_faces):
    with pytest.raises(error, match=message):
        int8.quantise(data(shipped), [drawn_faces / "faces"], print)


@pytest.mark.parametrize(("content", "message"), [(None, "no pictures below"), (b"text", "can be decoded")])
def test_folders_without_pictures_are_one_line(content, message, shipped, tmp_path):
    for number in range(30 if content else 0):
        (tmp_path / f"{number}.png").write_bytes(content)
    with pytest.raises(DataError, match=message):
        int8.quantise(shipped, [tmp_path], print)


_NEWER = {"allowzero", "antialias", "keep_aspect_ratio_policy"}


def _older(shipped):
    """Return the locator in opset 12, in which what enlarges by copies has other inputs."""
    model = onnx.load_model_from_string(shipped)
    model.opset_import[0].version = 12
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(0, np.float32), "roi"))
    for node in model.graph.node:
        if node.op_type == "Resize":
            node.input[1] = "roi"
        newer = [a for a in node.attribute if a.name in _NEWER]
        for attribute in newer:
            node.attribute.remove(attribute)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def _with_constants(shipped):
    """Return the locator with the weights of its heads as nodes."""
    model = onnx.load_model_from_string(shipped)
    heads = {
        n.input[1] for n in model.graph.node if n.op_type == "Conv" and n.output[0].startswith("conv2d_3")
    }
    tensors = [t for t in model.graph.initializer if t.name in heads]
    for tensor in tensors:
        model.graph.initializer.remove(tensor)
        model.graph.node.insert(0, onnx.helper.make_node("Constant", [], [tensor.name], value=tensor))
    return model.SerializeToString()


@pytest.mark.parametrize("changed", [_older, _with_constants])
def test_graphs_that_other_tools_write_are_taken(changed, shipped, drawn_faces, monkeypatch):
    monkeypatch.setattr(int8, "LIMITS", Bar())
    Locator(int8.quantise(changed(shipped), [drawn_faces / "faces"], print))
