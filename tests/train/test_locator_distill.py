import json

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from typer.testing import CliRunner  # noqa: E402

from fauxface.cli import build_app  # noqa: E402
from fauxface.errors import CheckpointError, DataError, GateError  # noqa: E402
from fauxface.locator import Locator  # noqa: E402
from fauxface_train.locator import export as export_module  # noqa: E402
from fauxface_train.locator.compare import compare, table  # noqa: E402
from fauxface_train.locator.composites import Composer, Pictures, find_pictures  # noqa: E402
from fauxface_train.locator.decode import CHANNELS, OUTPUTS  # noqa: E402
from fauxface_train.locator.degrade import degrade, relight  # noqa: E402
from fauxface_train.locator.distill import Composites, Config, Run, one_cycle, split_held_out  # noqa: E402
from fauxface_train.locator.export import export_locator  # noqa: E402
from fauxface_train.locator.losses import distillation_loss  # noqa: E402
from fauxface_train.locator.net import Shape, Student  # noqa: E402
from fauxface_train.locator.teacher import DenseDetector  # noqa: E402

TINY = Shape(stem=4, early=4, stages=(8, 8, 8), blocks=(0, 1, 0, 0), neck=8, heads=0)


def face(rng):
    picture = np.full((80, 80, 3), rng.integers(0, 256, 3), np.uint8)
    cv2.ellipse(picture, (40, 40), (22, 28), 0, 0, 360, tuple(int(v) for v in rng.integers(80, 220, 3)), -1)
    for x in (32, 48):
        cv2.circle(picture, (x, 34), 4, (20, 20, 20), -1)
    cv2.line(picture, (32, 54), (48, 54), (30, 30, 120), 3)
    return picture


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for folder, count in (("faces", 8), ("backgrounds", 4)):
        (root / folder).mkdir()
        for number in range(count):
            noise = cv2.resize(rng.integers(0, 256, (6, 9, 3), np.uint8), (150, 100))
            picture = face(rng) if folder == "faces" else noise
            assert cv2.imwrite(str(root / folder / f"{number}.png"), picture)
    return root


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """A teacher in YuNet's format: a random network whose scores reach across the threshold."""
    torch.manual_seed(1)
    student = Student(TINY)
    with torch.no_grad():
        for head in student.heads:
            last = list(head.children())[-1]
            last.weight.normal_(std=3)
            last.weight[2:6] *= 0.03
            last.bias[:2] = torch.tensor([1.0, -4.0])
        noise = torch.rand(8, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 255
        for _ in range(30):
            student(torch.nn.functional.interpolate(noise, scale_factor=8.0, mode="bilinear"))
    path = tmp_path_factory.mktemp("teacher") / "teacher.onnx"
    report = export_locator(student, path)
    assert report["max_difference"] <= 1e-3
    assert report["max_box_difference_px"] <= 0.5
    assert report["boxes"] > 0
    return path


@pytest.fixture
def make_run(data, teacher, tmp_path):
    def make(name="run", shape=TINY, **settings):
        values = {"minutes": None, "samples": 64, "batch": 8, "size": 64, "workers": 0, "held_out": 4}
        return Run(
            teacher=teacher,
            faces=data / "faces",
            backgrounds=data / "backgrounds",
            out=tmp_path / name,
            config=Config(**(values | settings)),
            shape=shape,
        )

    return make


def composer(data, size=96):
    return Composer(
        Pictures(find_pictures(data / "faces")), Pictures(find_pictures(data / "backgrounds")), size
    )


def test_a_composite_depends_on_its_seed_alone(data):
    first, second = composer(data), composer(data)
    pictures = [first.make((3, index)) for index in range(40)]
    assert all(p.shape == (96, 96, 3) and p.dtype == np.uint8 for p in pictures)
    order = list(range(40))[::-1]
    again = {index: second.make((3, index)) for index in order}
    assert all((pictures[index] == again[index]).all() for index in order)
    assert not (pictures[0] == first.make((4, 0))).all()


def test_making_composites_leaves_the_pictures_as_they_are(data):
    maker = composer(data)
    for index in range(60):
        maker.make((0, index))
    fresh = Pictures(find_pictures(data / "faces"))
    kept = maker.faces._kept
    assert kept
    assert all((picture == fresh._load(index)).all() for index, picture in kept.items())


@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_relighting_changes_with_its_strength(strength):
    picture = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    changed = relight(picture, np.random.default_rng(1), strength)
    difference = np.abs(changed.astype(int) - picture).max()
    assert difference <= 1 if strength == 0 else difference > 5


def test_degrading_keeps_shape_and_type():
    rng = np.random.default_rng(0)
    results = [degrade(np.full((64, 64, 3), 120, np.uint8), rng) for _ in range(80)]
    assert {(r.shape, r.dtype.name) for r in results} == {((64, 64, 3), "uint8")}
    assert len({r.tobytes() for r in results}) > 40


def test_a_file_that_is_no_picture_is_passed_over(tmp_path):
    (tmp_path / "a.png").write_bytes(b"not a picture")
    assert cv2.imwrite(str(tmp_path / "b.png"), np.full((8, 8, 3), 7, np.uint8))
    pictures = Pictures(find_pictures(tmp_path))
    assert (pictures.pick(np.random.default_rng(0)) == 7).all()
    (tmp_path / "b.png").unlink()
    with pytest.raises(DataError, match="none of the 1 pictures"):
        Pictures(find_pictures(tmp_path)).pick(np.random.default_rng(0))


def test_a_folder_without_pictures_is_refused(tmp_path):
    with pytest.raises(DataError, match="no pictures below"):
        find_pictures(tmp_path)


def test_the_split_is_disjoint_and_follows_the_names(tmp_path):
    paths = [tmp_path / f"{number}.png" for number in range(400)]
    rest, held = split_held_out(paths)
    assert sorted([*rest, *held]) == sorted(paths)
    assert 1 <= len(held) <= 40
    assert set(split_held_out(paths[::-1])[1]) == set(held)
    assert split_held_out(paths[:1]) == (paths[:1], paths[:1])


def test_the_rate_rises_then_falls():
    rates = [one_cycle(position / 100) for position in range(101)]
    peak = rates.index(max(rates))
    assert rates[:peak] == sorted(rates[:peak])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert max(rates) == pytest.approx(1)
    assert rates[-1] == pytest.approx(0.005)


def test_the_loss_is_least_at_the_teachers_own_maps():
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(2, 21, CHANNELS, generator=generator)
    raw = target.clone()
    raw[..., :2] = torch.logit(target[..., :2], eps=1e-6)
    least = distillation_loss(raw, target)
    assert least["box"] == pytest.approx(0, abs=1e-5)
    assert least["landmarks"] == pytest.approx(0, abs=1e-5)
    for channel in (0, 1, 2, 4, 9):
        worse = raw.clone()
        worse[..., channel] += 0.3
        assert distillation_loss(worse, target)["loss"] > least["loss"]


def test_boxes_do_not_count_where_the_teacher_sees_nothing():
    target = torch.zeros(1, 21, CHANNELS)
    raw = torch.randn(1, 21, CHANNELS, generator=torch.Generator().manual_seed(0))
    parts = distillation_loss(raw, target)
    assert parts["box"] == 0
    assert parts["landmarks"] == 0
    assert parts["obj"] > 0


def test_folding_does_not_change_the_network():
    torch.manual_seed(0)
    student = Student(TINY)
    x = torch.rand(2, 3, 64, 96) * 255
    student.train()
    student(x)
    student.eval()
    with torch.no_grad():
        expected = student(x)
        student.fold()
        assert torch.allclose(student(x), expected, atol=1e-4)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in student.modules())


def test_the_student_comes_nearer_to_the_teacher(make_run):
    run = make_run(samples=240, rate=1e-2)
    data = Composites(run.composer, run.teacher, 99, 0, 12)
    assert len(list(data)) == 12
    pictures, maps = (torch.stack(values) for values in zip(*data, strict=True))

    def loss(student):
        with torch.no_grad():
            return float(distillation_loss(student(pictures.permute(0, 3, 1, 2).float()), maps)["loss"])

    own = maps.float()
    own[..., :2] = torch.logit(own[..., :2], eps=1e-6)
    floor = float(distillation_loss(own, maps)["loss"])
    before = loss(run.student.eval()) - floor
    run.student.train()
    measures = run.train(resume=False)
    assert run.done == 240
    assert loss(run.student.eval()) - floor < 0.7 * before
    assert set(measures) == {"composites", "faces", "recall", "precision", "mean_iou"}
    assert measures["composites"] == 4


def test_a_run_goes_on_where_it_stopped(make_run):
    whole = make_run("whole", samples=32)
    whole.train(resume=False)
    parted = make_run("parted", samples=32)
    parted._save()
    batches = parted._batches()
    for _ in range(2):
        pictures, target = next(batches)
        parted._step(parted.student, pictures, target)
    parted._save()
    resumed = make_run("parted", samples=32)
    resumed.train(resume=True)
    assert resumed.done == whole.done == 32
    for name, value in whole.student.state_dict().items():
        assert torch.allclose(resumed.student.state_dict()[name].float(), value.float(), atol=1e-5), name


def test_a_folder_with_a_run_is_not_overwritten(make_run):
    make_run(samples=8).train(resume=False)
    with pytest.raises(DataError, match="holds a run already"):
        make_run(samples=8).train(resume=False)
    with pytest.raises(CheckpointError, match="another teacher, seed, size or shape"):
        make_run(samples=8, seed=5).train(resume=True)
    run = make_run(samples=8)
    (run.out / "last.pt").write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match="can't be read"):
        run.train(resume=True)


def test_time_ends_a_run(make_run):
    run = make_run(minutes=0.02)
    run.train(resume=False)
    assert run.done > 0
    assert run.seconds == pytest.approx(1.2, abs=1.0)


def test_the_teacher_must_be_in_the_format(tmp_path):
    with pytest.raises(CheckpointError, match="no such detector file"):
        DenseDetector(tmp_path / "absent.onnx")
    (tmp_path / "text.onnx").write_text("text")
    with pytest.raises(CheckpointError, match="isn't a readable ONNX file"):
        DenseDetector(tmp_path / "text.onnx")
    onnx = pytest.importorskip("onnx")
    node = onnx.helper.make_node("Identity", ["input"], ["cls_8"])
    tensor = (onnx.TensorProto.FLOAT, [1, 3, "height", "width"])
    graph = onnx.helper.make_graph(
        [node],
        "g",
        [onnx.helper.make_tensor_value_info("input", *tensor)],
        [onnx.helper.make_tensor_value_info("cls_8", *tensor)],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9)
    onnx.save_model(model, str(tmp_path / "other.onnx"))
    with pytest.raises(CheckpointError, match="lacks bbox_16"):
        DenseDetector(tmp_path / "other.onnx")


def test_the_exported_file_has_the_teachers_interface(teacher):
    onnx = pytest.importorskip("onnx")
    model = onnx.load(str(teacher))
    shape = [d.dim_param or d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    assert model.graph.input[0].name == "input"
    assert shape == [1, 3, "height", "width"]
    assert [output.name for output in model.graph.output] == list(OUTPUTS)
    assert not any(node.metadata_props or node.doc_string for node in model.graph.node)
    assert not any(node.op_type == "BatchNormalization" for node in model.graph.node)
    maps = DenseDetector(teacher).outputs(np.zeros((96, 64, 3), np.uint8))
    assert maps["kps_16"].shape == (1, 6 * 4, 10)
    with pytest.raises(ValueError, match="multiples of 32"):
        DenseDetector(teacher).outputs(np.zeros((90, 64, 3), np.uint8))


def test_a_file_that_computes_something_else_is_not_kept(tmp_path, monkeypatch):
    graph = export_module._graph

    def shifted(deployed):
        with torch.no_grad():
            list(deployed.student.heads[0].children())[-1].bias += 0.5
        return graph(deployed)

    monkeypatch.setattr(export_module, "_graph", shifted)
    with pytest.raises(GateError, match="differs from the network"):
        export_locator(Student(TINY), tmp_path / "locator.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_locator_agrees_with_itself(teacher, data):
    content = teacher.read_bytes()
    report = compare(content, content, [data / "faces", data / "backgrounds"], sides=(96,), smallest=4)
    side = report["sides"]["96"]
    assert side["all"]["pictures"] == 12
    assert side["all"]["reference_faces"] > 0
    assert side["all"]["recall"] == side["all"]["precision"] == 1
    assert side["all"]["mean_iou"] == pytest.approx(1)
    assert side["all"]["landmark_error"] == 0
    assert sum(group["pictures"] for group in side["groups"].values()) == 12
    assert "longest side <= 96 px" in table(report)


def test_a_deaf_locator_finds_nothing(teacher, data):
    content = teacher.read_bytes()
    report = compare(content, content, [data / "faces"], sides=(96,), threshold=1.0)
    rates = report["sides"]["96"]["all"]
    assert rates["found_faces"] == 0
    assert rates["recall"] == 0
    assert rates["precision"] is None


def test_comparing_needs_pictures(teacher, tmp_path):
    content = teacher.read_bytes()
    with pytest.raises(DataError, match="no such file"):
        compare(content, content, [tmp_path / "absent"])
    with pytest.raises(DataError, match="no picture or video"):
        compare(content, content, [tmp_path])
    (tmp_path / "bad.png").write_bytes(b"")
    with pytest.raises(DataError, match="none of the files"):
        compare(content, content, [tmp_path])


def test_the_commands_make_and_compare_a_locator(data, teacher, tmp_path, monkeypatch):
    monkeypatch.setattr("fauxface_train.locator.net.Shape", lambda: TINY)
    out = tmp_path / "run"
    arguments = ["locator", "train", "--teacher", str(teacher), "--faces", str(data / "faces")]
    arguments += ["--backgrounds", str(data / "backgrounds"), "--out", str(out)]
    arguments += ["--samples", "4", "--batch", "2", "--workers", "0", "--held-out", "1"]
    done = CliRunner().invoke(build_app(), arguments, catch_exceptions=False)
    assert done.exit_code == 0
    info = json.loads((out / "locator.json").read_text())
    assert info["samples"] == 4
    assert info["teacher_sha256"] == DenseDetector(teacher).sha256
    assert info["parity"]["max_difference"] <= 1e-3
    assert Locator((out / "locator.onnx").read_bytes()).locate(np.zeros((64, 64, 3), np.uint8)) is not None
    report = tmp_path / "report.json"
    judged = [str(out / "locator.onnx"), str(teacher), str(data / "faces"), "--json", str(report)]
    done = CliRunner().invoke(
        build_app(), ["locator", "compare", *judged, "--side", "64"], catch_exceptions=False
    )
    assert done.exit_code == 0
    assert json.loads(report.read_text())["sides"]["64"]["all"]["pictures"] == 8
    assert "precision" in done.stdout
