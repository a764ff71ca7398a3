import json
import signal

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from typer.testing import CliRunner  # noqa: E402

from fauxface.cli import build_app  # noqa: E402
from fauxface.errors import CheckpointError, DataError, GateError  # noqa: E402
from fauxface.locator import Locator  # noqa: E402
from fauxface.yunet import OUTPUTS  # noqa: E402
from fauxface_train.locator import distill  # noqa: E402
from fauxface_train.locator import export as export_module  # noqa: E402
from fauxface_train.locator.decode import CHANNELS  # noqa: E402
from fauxface_train.locator.distill import Config, Run, one_cycle  # noqa: E402
from fauxface_train.locator.export import export_locator  # noqa: E402
from fauxface_train.locator.hints import Adapters, with_hints  # noqa: E402
from fauxface_train.locator.losses import THRESHOLD, distillation_loss, scores  # noqa: E402
from fauxface_train.locator.net import Shape, Student  # noqa: E402
from fauxface_train.locator.samples import Composites, quiet_worker, split_held_out  # noqa: E402
from fauxface_train.locator.teacher import DenseDetector  # noqa: E402


@pytest.fixture
def make_run(drawn_faces, random_teacher, tiny_locator_shape, tmp_path):
    def make(name="run", shape=tiny_locator_shape, init=None, **settings):
        values = {"minutes": None, "samples": 64, "batch": 8, "size": 64, "workers": 0, "held_out": 4}
        return Run(
            teacher=random_teacher,
            faces=drawn_faces / "faces",
            backgrounds=[drawn_faces / "backgrounds"],
            out=tmp_path / name,
            config=Config(**(values | settings)),
            shape=shape,
            init=init,
        )

    return make


def test_the_split_is_disjoint_and_follows_the_names(tmp_path):
    paths = [tmp_path / f"{number}.png" for number in range(400)]
    rest, held = split_held_out(paths)
    assert sorted([*rest, *held]) == sorted(paths)
    assert 1 <= len(held) <= 40
    assert set(split_held_out(paths[::-1])[1]) == set(held)
    assert split_held_out(paths[:1]) == (paths[:1], paths[:1])


@pytest.mark.parametrize("count", [2, 5, 9, 20])
def test_of_few_pictures_none_is_on_both_sides_either(count, tmp_path):
    paths = [tmp_path / f"img_{number}.png" for number in range(count)]
    rest, held = split_held_out(paths)
    assert rest
    assert held
    assert sorted([*rest, *held]) == sorted(paths)


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


def test_folding_does_not_change_the_network(tiny_locator_shape):
    torch.manual_seed(0)
    student = Student(tiny_locator_shape)
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
    run = make_run(samples=240, rate=1e-2, hint=0.2)
    data = list(Composites(run.held_out, run.teacher, seed=99, count=12))
    assert len(data) == 12
    pictures, maps = (torch.stack([sample[part] for sample in data]) for part in (0, 1))

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
    assert loss(run.student.eval()) - floor < 0.75 * before
    assert set(measures) == {"composites", "faces", "recall", "recall_24px", "precision", "mean_iou"}
    assert measures["composites"] == 4


def test_a_run_goes_on_where_it_stopped(make_run):
    whole = make_run("whole", samples=32)
    whole.train(resume=False)
    parted = make_run("parted", samples=32)
    parted._save()
    batches = parted._batches(parted._composer())
    for _ in range(2):
        parted._step(parted.student.with_features, *next(batches))
    parted._save()
    (parted.out / "log.csv").write_text("samples,seconds\n8,1\n16,2\n24,3\n32")
    resumed = make_run("parted", samples=32)
    resumed.train(resume=True)
    assert resumed.done == whole.done == 32
    assert (parted.out / "log.csv").read_text() == "samples,seconds\n8,1\n16,2\n"
    for name, value in whole.student.state_dict().items():
        assert torch.allclose(resumed.student.state_dict()[name].float(), value.float(), atol=1e-5), name


def test_a_folder_with_a_run_is_not_overwritten(make_run):
    make_run(samples=8).train(resume=False)
    with pytest.raises(DataError, match="holds a run already"):
        make_run(samples=8).train(resume=False)
    for changed in ({"seed": 5}, {"batch": 1}, {"rate": 0.1}, {"samples": 16}):
        with pytest.raises(
            CheckpointError, match="has another teacher, shape, minutes, samples, batch, size"
        ):
            make_run(**{"samples": 8} | changed).train(resume=True)
    other = make_run(samples=8)
    other.counts["faces"] += 1
    with pytest.raises(CheckpointError, match="or other pictures"):
        other.train(resume=True)
    run = make_run(samples=8)
    (run.out / "last.pt").write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match="can't be read"):
        run.train(resume=True)


def test_a_log_without_its_header_is_begun_anew(make_run):
    run = make_run(samples=32)
    run._save()
    (run.out / "log.csv").write_text("")
    resumed = make_run(samples=32)
    assert resumed.train(resume=True) is not None
    resumed._log({"loss": 2.0}, 1)
    assert (resumed.out / "log.csv").read_text().startswith("samples,seconds,rate,loss\n")


def test_a_run_that_diverges_ends_and_keeps_its_checkpoint(make_run, monkeypatch):
    run = make_run("run", samples=24, checkpoint_s=0)

    def diverges(raw, target):
        parts = distillation_loss(raw, target)
        return parts | {"loss": parts["loss"] * (torch.nan if run.done == 16 else 1)}

    monkeypatch.setattr(distill, "distillation_loss", diverges)
    with pytest.raises(DataError, match="the loss became nan after 16 pictures; use a lower --rate"):
        run.train(resume=False)
    kept = torch.load(run.out / "last.pt", weights_only=True)
    assert kept["done"] == 16
    assert all(torch.isfinite(value).all() for value in kept["average"].values())


def test_a_compiler_that_fails_is_told(make_run, monkeypatch):
    def broken(*_):
        raise RuntimeError("no C++ compiler\nsecond line")

    monkeypatch.setattr(torch, "compile", lambda _: broken)
    with pytest.raises(DataError, match=r"drop --compile: RuntimeError: no C\+\+ compiler$"):
        make_run(compiled=True).train(resume=False)


def test_time_ends_a_run(make_run):
    run = make_run(minutes=0.02)
    run.train(resume=False)
    assert run.done > 0
    assert 1.2 <= run.seconds < 60  # a busy machine takes longer for the last step


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


def test_a_teacher_of_one_size_is_refused(random_teacher, tmp_path):
    onnx = pytest.importorskip("onnx")
    model = onnx.load(random_teacher)
    for dim, side in zip(model.graph.input[0].type.tensor_type.shape.dim[2:], (64, 96), strict=True):
        dim.dim_value = side
    onnx.save(model, tmp_path / "fixed.onnx")
    with pytest.raises(CheckpointError, match="takes pictures of 64 x 96 alone"):
        DenseDetector(tmp_path / "fixed.onnx")


def test_the_exported_file_has_the_teachers_interface(random_teacher):
    onnx = pytest.importorskip("onnx")
    model = onnx.load(str(random_teacher))
    shape = [d.dim_param or d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    assert model.graph.input[0].name == "input"
    assert shape == [1, 3, "height", "width"]
    assert [output.name for output in model.graph.output] == list(OUTPUTS)
    assert not any(node.metadata_props or node.doc_string for node in model.graph.node)
    assert not any(node.op_type == "BatchNormalization" for node in model.graph.node)
    maps = DenseDetector(random_teacher).outputs(np.zeros((96, 64, 3), np.uint8))
    assert maps["kps_16"].shape == (1, 6 * 4, 10)
    with pytest.raises(ValueError, match="multiples of 32"):
        DenseDetector(random_teacher).outputs(np.zeros((90, 64, 3), np.uint8))


def test_a_network_without_finite_weights_is_not_exported(tiny_locator_shape, tmp_path):
    student = Student(tiny_locator_shape)
    with torch.no_grad():
        list(student.heads[0].children())[-1].bias += torch.nan
    with pytest.raises(GateError, match="differs from the network by nan"):
        export_locator(student, tmp_path / "locator.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_computes_something_else_is_not_kept(tiny_locator_shape, tmp_path, monkeypatch):
    graph = export_module._graph

    def shifted(deployed):
        with torch.no_grad():
            list(deployed.student.heads[0].children())[-1].bias += 0.5
        return graph(deployed)

    monkeypatch.setattr(export_module, "_graph", shifted)
    with pytest.raises(GateError, match="differs from the network"):
        export_locator(Student(tiny_locator_shape), tmp_path / "locator.onnx")
    assert list(tmp_path.iterdir()) == []


def test_the_command_makes_a_locator_from_an_earlier_one(
    make_run, drawn_faces, random_teacher, tmp_path, monkeypatch
):
    first = make_run("first", samples=8)
    first.train(resume=False)
    monkeypatch.setattr("fauxface_train.locator.net.Shape", lambda: first.shape)
    out = tmp_path / "run"
    arguments = ["locator", "train", "--teacher", str(random_teacher), "--faces", str(drawn_faces / "faces")]
    arguments += ["--backgrounds", str(drawn_faces / "backgrounds"), "--samples", "4", "--batch", "2"]
    arguments += ["--backgrounds", str(drawn_faces / "backgrounds"), "--workers", "0", "--held-out", "1"]
    arguments += ["--out", str(out), "--init", str(tmp_path / "first"), "--rate", "0.001"]
    monkeypatch.setattr("fauxface_train.locator.distill.commit", lambda: "abc+changes")
    done = CliRunner().invoke(build_app(), arguments, catch_exceptions=False)
    assert done.exit_code == 0
    info = json.loads((out / "locator.json").read_text())
    assert info["samples"] == 4
    assert info["init"]["samples"] == 8
    assert info["commit"] == "abc+changes"
    assert info["config"]["rate"] == 0.001
    assert (info["pictures"]["backgrounds"], info["pictures"]["backgrounds_held_out"]) == (6, 2)
    assert info["teacher_sha256"] == DenseDetector(random_teacher).sha256
    assert info["parity"]["max_difference"] <= 1e-3
    assert Locator((out / "locator.onnx").read_bytes()).locate(np.zeros((64, 64, 3), np.uint8)) is not None


def test_an_interrupted_run_leaves_a_checkpoint_and_goes_on_counting(make_run, monkeypatch, capsys):
    run = make_run(samples=64)
    step = run._step

    def interrupted(*arguments):
        if run.done == 16:
            signal.raise_signal(signal.SIGTERM)
        return step(*arguments)

    monkeypatch.setattr(run, "_step", interrupted)
    assert run.train(resume=False) is None
    assert run.done == 24
    resumed = make_run(samples=64)
    capsys.readouterr()
    assert resumed.train(resume=True) is not None
    assert resumed.done == 64
    assert "distil: 64/64 pictures" in capsys.readouterr().err


def test_a_run_starts_from_the_averaged_weights_of_another(make_run):
    first = make_run("first", samples=16)
    first.train(resume=False)
    second = make_run("second", samples=8, init=first.out)
    for name, value in first.final().state_dict().items():
        assert (second.student.state_dict()[name] == value).all(), name
    assert second.init is not None
    assert second.init["samples"] == 16
    second.train(resume=False)
    resumed = make_run("second", samples=8)
    resumed.train(True, first.out)
    assert resumed.init == second.init
    resumed.train(True, first.out / "gone.pt")
    for started, given in (("second", second.out), ("first", second.out / "last.pt")):
        samples = 8 if started == "second" else 16
        with pytest.raises(CheckpointError, match="was started from other weights"):
            make_run(started, samples=samples).train(True, given)


def test_a_start_that_does_not_fit_is_refused(make_run, tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint"):
        make_run(init=tmp_path / "absent.pt")
    (tmp_path / "last.pt").write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match="can't be read"):
        make_run(init=tmp_path)
    make_run("first", samples=8).train(resume=False)
    other = Shape(stem=4, early=4, stages=(8, 8, 8), blocks=(0, 0, 0, 0), neck=8, heads=0)
    with pytest.raises(CheckpointError, match="another shape"):
        make_run("second", shape=other, init=tmp_path / "first")


def test_the_teachers_feature_maps_are_what_its_heads_read(random_teacher):
    picture = np.random.default_rng(0).integers(0, 256, (96, 64, 3), np.uint8)
    plain, hinted = DenseDetector(random_teacher), DenseDetector(random_teacher, hints=True)
    assert plain.hints == []
    assert hinted.sha256 == plain.sha256
    outputs = hinted.outputs(picture)
    assert [outputs[name].shape for name in hinted.hints] == [(1, 8, 96 // s, 64 // s) for s in (8, 16, 32)]
    assert (hinted.dense(picture) == plain.dense(picture)).all()
    assert all(outputs[name].std() > 0 for name in hinted.hints)


def test_a_teacher_whose_heads_share_nothing_gives_no_hints():
    onnx = pytest.importorskip("onnx")
    tensor = (onnx.TensorProto.FLOAT, [1, 3, "height", "width"])
    nodes = [onnx.helper.make_node("Identity", ["input"], [name]) for name in OUTPUTS]
    graph = onnx.helper.make_graph(
        nodes,
        "g",
        [onnx.helper.make_tensor_value_info("input", *tensor)],
        [onnx.helper.make_tensor_value_info(name, *tensor) for name in OUTPUTS],
    )
    assert with_hints(onnx.helper.make_model(graph).SerializeToString()) is None


def test_hints_are_learnt_by_a_linear_map_and_judged_where_faces_are():
    torch.manual_seed(0)
    features = [torch.rand(2, 4, side, side) for side in (8, 4, 2)]
    hints = [torch.stack([7 + 3 * f[:, 0], torch.ones_like(f[:, 0])], dim=1) for f in features]
    adapters = Adapters(4, [2, 2, 2])
    score = torch.zeros(2, 84)
    with torch.no_grad():
        assert float(adapters.loss(features, hints, score)) == pytest.approx(0.25, abs=0.01)
        for adapter, feature in zip(adapters.maps, features, strict=True):
            spread, mean = torch.std_mean(feature[:, 0], correction=0)
            adapter.weight[0, 0, 0, 0] = 1 / spread
            adapter.bias[0] = -mean / spread
        known = float(adapters.loss(features, hints, score))
        assert known == pytest.approx(0, abs=1e-3)
        features[0][:, 0, 0, 0] += 1
        missed = float(adapters.loss(features, hints, score))
        score[:, 0] = 1
        assert float(adapters.loss(features, hints, score)) > missed > known


def test_a_score_on_the_wrong_side_of_the_threshold_costs_more():
    target = torch.zeros(1, 21, CHANNELS)
    target[0, 0, :2] = 0.7

    def loss(probability):
        raw = torch.full((1, 21, CHANNELS), -12.0)
        raw[0, 0, :2] = torch.logit(torch.tensor(probability))
        return float(distillation_loss(raw, target)["score"])

    assert scores(target)[0, 0] == pytest.approx(0.7)
    below, above = loss(THRESHOLD - 0.01), loss(THRESHOLD + 0.01)
    assert below > 2 * above > 0
    assert loss(0.7) == pytest.approx(0, abs=1e-3)


def test_workers_leave_signals_of_a_group_to_the_training_process():
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        quiet_worker(0)
        assert {signal.getsignal(number) for number in kept} == {signal.SIG_IGN}
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
