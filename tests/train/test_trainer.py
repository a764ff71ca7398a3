import csv
import dataclasses
import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("tensorboard")

from fauxface.errors import CheckpointError, DataError, OutputError  # noqa: E402
from fauxface_train import checkpoint, loading, trainer, validation  # noqa: E402
from fauxface_train.dataset import PreparedData, load_crop  # noqa: E402
from fauxface_train.engine import Engine, disagreement, pick_device, pick_precision, rate  # noqa: E402
from fauxface_train.model import build  # noqa: E402
from fauxface_train.presets import METRICS, PRESETS, Degradations, Recipe, preset  # noqa: E402
from fauxface_train.run_state import Surroundings, read_resume  # noqa: E402
from fauxface_train.sampling import Plan  # noqa: E402

pytestmark = pytest.mark.usefixtures("narrow_network")

REAL = [0, 4, 8, 12, 16, 20]
FAKE = [90, 95, 100, 105, 110, 115]


@pytest.fixture
def prepared(write_prepared):
    rows = [
        (split, label, source, redness, {})
        for split in ("train", "val")
        for label, source, levels in (("real", "camera", REAL), ("fake", "gan", FAKE))
        for redness in levels
    ]
    return write_prepared(rows)


@pytest.fixture
def recipe():
    return preset("robust").changed(
        batch=4, samples=24, validate_every=12, precision="fp32", compile=False, metric="auroc"
    )


def _around(**changes):
    return Surroundings(**{"device": "cpu", "workers": 0, "say": lambda _: None, **changes})


def _go(prepared, out, recipe, resume=False, **around):
    return trainer.train(prepared, out, recipe, weights="none", resume=resume, surroundings=_around(**around))


def _rows(out):
    with (out / "log.csv").open() as file:
        return [
            {k: v for k, v in row.items() if k not in {"seconds", "images_per_s"}}
            for row in csv.DictReader(file)
        ]


def test_a_run_leaves_all_that_was_promised(prepared, recipe, tmp_path):
    out = tmp_path / "run"
    recipe = recipe.changed(bpcer=0.05)
    outcome = _go(prepared, out, recipe)
    assert (outcome.finished, outcome.samples, outcome.planned) == (True, 24, 24)
    assert outcome.images_per_s > 0
    names = {path.name for path in out.iterdir()}
    assert names == {
        "best.safetensors",
        "best.json",
        "last.safetensors",
        "last.json",
        "resume.pt",
        "log.csv",
        "curves.png",
        "tensorboard",
    }
    assert list((out / "tensorboard").glob("events*"))
    info = json.loads((out / "best.json").read_text())
    assert info["margin"] == 1.2
    assert info["calibration"]["fitted_on"].startswith("val")
    assert "clean, web, hard views" in info["calibration"]["fitted_on"]
    assert 0 < info["thresholds"]["bona_fide_below"] <= info["thresholds"]["generated_from"] < 1
    assert info["gates"] == {}
    assert "BPCER <= 0.05 " in info["thresholds"]["rule"]
    assert info["held"]["bpcer_target"] == 0.05
    rows = info["held"]["real_sources"]
    assert [(row["source"], row["condition"], row["samples"], row["views"]) for row in rows] == [
        ("camera", "clean", 6, 4),
        ("camera", "web", 6, 4),
    ]
    assert all(row["errors"] <= row["allowed"] for row in rows)
    assert info["data"]["train"] == {"real": {"camera": 6}, "fake": {"gan": 6}}
    assert set(METRICS) <= set(info["metrics"])
    assert info["provenance"]["samples"] == 24
    assert info["provenance"]["machine"]["cores"] >= 1
    assert Recipe.from_dict(info["config"]) == recipe
    assert [row["samples"] for row in _rows(out) if row["kind"] == "val"] == ["12", "24"]
    loaded = checkpoint.load(out)
    assert loaded.info == info
    assert not loaded.net.training


@pytest.mark.parametrize("name", ["robust", "article", "consistent", "matched", "mixed"])
def test_interrupted_and_resumed_equals_uninterrupted(name, prepared, recipe, tmp_path):
    if name == "article":
        recipe = preset("article").changed(epochs=2)
    if name == "consistent":
        recipe = recipe.changed(consistency=0.5)
    if name == "matched":
        recipe = recipe.changed(matched=0.5)
    if name == "mixed":
        recipe = recipe.changed(mixed=0.5)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    _go(prepared, whole, recipe)
    for stop in (2, 3):
        outcome = _go(prepared, parts, recipe, resume=(parts / "resume.pt").exists(), stop_after=stop)
        assert not outcome.finished
        assert checkpoint.load(parts / "last.safetensors").info["provenance"]["samples"] == 4 * stop
    assert _go(prepared, parts, recipe, resume=True).finished
    for file in ("best", "last"):
        a, b = (checkpoint.load(out / f"{file}.safetensors") for out in (whole, parts))
        assert all(
            torch.equal(x, y)
            for x, y in zip(a.net.state_dict().values(), b.net.state_dict().values(), strict=True)
        )
        assert a.info["calibration"] == b.info["calibration"]
        assert a.info["metrics"] == b.info["metrics"]
    assert _rows(whole) == _rows(parts)


def test_averaged_weights_differ_from_the_raw_ones(prepared, recipe, tmp_path):
    _go(prepared, tmp_path / "run", recipe)
    engine = read_resume(tmp_path / "run")["engine"]
    assert not torch.equal(engine["net"]["fc.weight"], engine["average"]["fc.weight"])
    last = checkpoint.load(tmp_path / "run" / "last.safetensors")
    assert torch.equal(last.net.fc.weight, engine["average"]["fc.weight"])


def test_worker_processes_and_cache_change_nothing(prepared, recipe, tmp_path):
    with loading.decoded(PreparedData.load(prepared).samples("train"), 1 << 20) as cached:
        assert cached.in_memory
        plan = Plan([0] * 6 + [1] * 6, ["a"] * 12, recipe)
        parallel = list(loading.batches(loading.Views(cached, Degradations(), 7), plan.batches(1), 1))
        with loading.decoded([cached.sample(i) for i in range(12)], 10_000) as direct:
            assert not direct.in_memory
            serial = list(loading.batches(loading.Views(direct, Degradations(), 7), plan.batches(1), 0))
    assert len(parallel) == len(serial) == 5
    for (pictures, labels), (others, targets) in zip(parallel, serial, strict=True):
        assert pictures.dtype == torch.uint8
        assert torch.equal(pictures, others)
        assert torch.equal(labels, targets)


def test_validation_sees_the_runtime_crop(prepared):
    samples = PreparedData.load(prepared).samples("val")
    val = validation.prepare(samples, Degradations())
    assert np.array_equal(val.clean, np.stack([load_crop(s) for s in samples]))
    assert val.degraded.shape == val.clean.shape
    assert validation.prepare(samples, None).degraded is None


def test_worst_source_is_the_lowest_of_the_large_ones():
    sources = np.array(["easy"] * 50 + ["hard"] * 50 + ["tiny"] * 3 + ["gan"] * 60)
    labels = np.array([0] * 103 + [1] * 60)
    margin = np.concatenate([np.full(50, -1.0), np.tile([-1.0, 3.0], 25), np.full(3, 9.0), np.full(60, 1.0)])
    scores = np.stack([np.zeros(163), margin], 1).astype(np.float32)
    metrics = validation.measure(scores, labels, sources)
    assert validation.per_source(margin, labels, sources) == pytest.approx(
        {"easy/real": 1.0, "hard/real": 0.5, "gan/fake": 75 / 103}
    )
    assert metrics["worst_source_auroc"] == pytest.approx(0.5)
    assert metrics["accuracy"] == pytest.approx(135 / 163)
    assert metrics["balanced_accuracy"] == pytest.approx((75 / 103 + 1) / 2)


def test_a_name_in_both_labels_is_two_sources():
    """36 and 5 pictures of one name are two small sources, not one large enough to choose a checkpoint by."""
    sources = np.array(["mine"] * 41 + ["big"] * 80)
    labels = np.array([0] * 36 + [1] * 5 + [0] * 40 + [1] * 40)
    found = validation.per_source(np.where(labels == 1, 1.0, -1.0), labels, sources)
    assert set(found) == {"big/real", "big/fake"}


def test_early_stopping_keeps_the_best(prepared, recipe, tmp_path, monkeypatch):
    values = iter([0.6, 0.9, 0.8, 0.7, 0.95])
    measure = trainer.Run._measure

    def steered(run, module, mixed):
        return measure(run, module, mixed) | ({"auroc": next(values)} if mixed else {})

    monkeypatch.setattr(trainer.Run, "_measure", steered)
    outcome = _go(prepared, tmp_path / "run", recipe.changed(samples=40, validate_every=4, patience=2))
    assert (outcome.finished, outcome.samples) == (True, 16)
    info = checkpoint.load(tmp_path / "run").info
    assert info["provenance"]["selected_at_samples"] == 8
    assert [row["best"] for row in _rows(tmp_path / "run") if row["kind"] == "val"] == [
        "True",
        "True",
        "False",
        "False",
    ]
    assert _go(prepared, tmp_path / "run", recipe, resume=True).samples == 16


def test_a_loss_is_better_when_lower(prepared, recipe, tmp_path, monkeypatch):
    values = iter([0.6, 0.5, 0.7])
    measure = trainer.Run._measure

    def steered(run, module, mixed):
        return measure(run, module, mixed) | ({"loss": next(values)} if mixed else {})

    monkeypatch.setattr(trainer.Run, "_measure", steered)
    _go(prepared, tmp_path / "run", recipe.changed(samples=12, validate_every=4, metric="loss"))
    assert [row["best"] for row in _rows(tmp_path / "run") if row["kind"] == "val"] == [
        "True",
        "True",
        "False",
    ]


def test_article_learning_rate_falls_tenfold_each_epoch():
    recipe = preset("article")
    plan = Plan([0, 1] * 10, ["a"] * 20, recipe)
    assert [rate(recipe, plan, step) for step in (0, 4, 5, 9, 10, 14)] == pytest.approx(
        [1e-3, 1e-3, 1e-4, 1e-4, 1e-5, 1e-5]
    )


def test_one_cycle_rises_and_falls():
    recipe = preset("robust")
    plan = Plan([0, 1] * 10, ["a"] * 20, recipe)
    rates = [rate(recipe, plan, step) for step in range(plan.steps)]
    top = int(np.argmax(rates))
    assert max(rates) == pytest.approx(recipe.lr)
    assert top / plan.steps == pytest.approx(recipe.warmup, abs=0.01)
    assert np.all(np.diff(rates[: top + 1]) > 0)
    assert np.all(np.diff(rates[top + 1 :]) < 0)
    assert rates[-1] < 0.002 * recipe.lr


@pytest.mark.parametrize(("name", "noted"), [("article", True), ("robust", False)])
def test_the_article_notes_data_without_truncated_pictures(name, noted, prepared, recipe, tmp_path):
    said = []
    chosen = preset("article").changed(epochs=1) if name == "article" else recipe
    trainer.train(prepared, tmp_path / "run", chosen, weights="none", surroundings=_around(say=said.append))
    assert any("--tolerate-truncated" in line for line in said) == noted


def test_article_is_the_reference_recipe():
    recipe = PRESETS["article"]
    engine = Engine(build(), recipe, torch.device("cpu"), print)
    assert isinstance(engine.optimizer, torch.optim.SGD)
    group = engine.optimizer.param_groups[0]
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.001, 0.9, 0)
    assert (recipe.batch, recipe.epochs, recipe.metric) == (4, 3, "accuracy")
    assert recipe.degradations is None
    assert not recipe.balanced
    assert engine.deployed.net is engine.net


def test_a_compiler_that_fails_is_said_and_harmless(monkeypatch):
    def broken(_module):
        def forward(_crops):
            raise RuntimeError("no C++ compiler\nsecond line")

        return forward

    monkeypatch.setattr(torch, "compile", broken)
    lines = []
    net = build()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    engine = Engine(
        net, preset("robust").changed(batch=2, precision="fp32"), torch.device("cpu"), lines.append
    )
    assert not engine.compiled
    assert "no C++ compiler" in lines[-1]
    assert "second line" not in lines[-1]
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())
    loss = engine.step(torch.zeros(2, 128, 128, 3, dtype=torch.uint8), torch.tensor([0, 1]), 0.1, 0)
    assert torch.isfinite(loss)


def test_devices_and_precisions():
    cpu = torch.device("cpu")
    assert pick_device("cpu") == cpu
    assert pick_precision("bf16", cpu) == torch.bfloat16
    assert pick_precision("auto", cpu) in {torch.bfloat16, torch.float32}
    assert pick_precision("auto", torch.device("mps")) == torch.float32
    for name in ("warp", "xpu"):
        with pytest.raises(DataError, match=f"device '{name}'"):
            pick_device(name)


@pytest.mark.parametrize(
    ("drop", "message"),
    [
        (lambda row: row[0] == "val", "no val split"),
        (lambda row: row[0] == "train", "no train split"),
        (lambda row: row[:2] == ("train", "fake"), "train split has no fake"),
        (lambda row: row[:2] == ("val", "real"), "val split has no real"),
    ],
)
def test_incomplete_data_are_one_line(drop, message, write_prepared, recipe, tmp_path):
    rows = [
        (split, label, "s", 3, {})
        for split in ("train", "val")
        for label in ("real", "fake")
        for _ in range(2)
    ]
    root = write_prepared([row for row in rows if not drop(row)])
    with pytest.raises(DataError, match=message):
        _go(root, tmp_path / "run", recipe)
    assert not (tmp_path / "run").exists()


def test_missing_data_and_missing_crops(prepared, recipe, tmp_path):
    with pytest.raises(DataError):
        _go(tmp_path / "absent", tmp_path / "run", recipe)
    next(prepared.glob("crops/train/**/*.png")).unlink()
    with pytest.raises(DataError, match="can't read"):
        _go(prepared, tmp_path / "run", recipe)


def test_excluded_sources_are_left_out(write_prepared, recipe):
    rows = [("train", label, f"{label}_{k}", 3, {}) for label in ("real", "fake") for k in "ab"]
    data = PreparedData.load(write_prepared(rows))
    kept = loading.chosen(data, "train", ("fake_a", "real_[xb]"))
    assert [s.source for s in kept] == ["real_a", "fake_b"]
    with pytest.raises(DataError, match="no fake"):
        loading.chosen(data, "train", ("fake_*",))


def test_a_pattern_that_excludes_nothing_is_one_line(prepared, write_prepared, recipe, tmp_path):
    extra = write_prepared([("train", "fake", "recon_a", 70, {})], name="extra")
    data = PreparedData.load(prepared)
    loading.check_excluded(data, [extra], ("gan", "recon_*"))
    with pytest.raises(DataError, match=r"--exclude 'GAN\*' matches no source; there are camera, gan$"):
        _go(prepared, tmp_path / "run", recipe.changed(exclude=("camera", "GAN*")))
    with pytest.raises(DataError, match="there are camera, gan, recon_a"):
        loading.check_excluded(data, [extra], ("recon_b",))


def test_sources_that_are_never_validated_on_are_named(write_prepared, recipe, tmp_path):
    pictures = [
        (split, label, source, redness, {})
        for label, source, split in (
            ("real", "camera", "train"),
            ("real", "camera", "val"),
            ("real", "phone", "train"),
            ("fake", "gan", "train"),
            ("fake", "phone", "val"),
            ("fake", "gan", "val"),
        )
        for redness in range(0, 120, 20)
    ]
    extra = write_prepared([("train", "fake", "recon", 70, {})], name="extra")
    said = []
    trainer.train(
        write_prepared(pictures),
        tmp_path / "run",
        recipe,
        weights="none",
        added=[extra],
        surroundings=_around(say=said.append, stop_after=1),
    )
    assert [line for line in said if "no validation picture" in line] == [
        "note: no validation picture of phone; neither selection nor thresholds see them"
    ]


def test_a_resumed_run_names_the_command_that_started_it(prepared, recipe, tmp_path, monkeypatch):
    out = tmp_path / "run"
    for command, changes in (("train --lr 3", {"stop_after": 2}), ("train --resume", {})):
        monkeypatch.setattr(trainer.provenance, "command", lambda command=command: command)
        _go(prepared, out, recipe, resume=(out / "resume.pt").exists(), **changes)
    assert checkpoint.load(out).info["provenance"]["command"] == "train --lr 3"


@pytest.mark.parametrize("changed", [False, True])
def test_a_finished_run_is_left_as_it_is(changed, prepared, recipe, tmp_path):
    """Its evaluation names the checkpoint by SHA-256; only an uncalibrated one is finished."""
    out = tmp_path / "run"
    first = _go(prepared, out, recipe)
    if changed:
        best = checkpoint.load(out)
        info = best.info | {"calibration": best.info["calibration"] | {"fitted_on": ""}}
        checkpoint.save(out / "best", best.net.state_dict(), info)
    before = {path.name: path.read_bytes() for path in out.glob("*.safetensors")}
    again = _go(prepared, out, recipe, resume=True)
    assert (again.finished, again.metrics) == (True, first.metrics)
    after = {path.name: path.read_bytes() for path in out.glob("*.safetensors")}
    assert (after == before) != changed
    assert checkpoint.load(out).info["calibration"]["fitted_on"]


def test_a_run_is_not_overwritten_and_data_not_swapped(prepared, write_prepared, recipe, tmp_path):
    out = tmp_path / "run"
    _go(prepared, out, recipe, stop_after=1)
    with pytest.raises(OutputError, match="--resume"):
        _go(prepared, out, recipe)
    other = write_prepared(
        [(s, label, "s", 3, {}) for s in ("train", "val") for label in ("real", "fake")], name="other"
    )
    with pytest.raises(DataError, match="isn't the data"):
        _go(other, out, recipe, resume=True)
    (out / "resume.pt").write_bytes(b"junk")
    with pytest.raises(CheckpointError, match="corrupt"):
        _go(prepared, out, recipe, resume=True)


def test_a_diverged_loss_is_one_line(prepared, recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(Engine, "step", lambda *_: torch.tensor(float("nan")))
    with pytest.raises(DataError, match="loss became nan"):
        _go(prepared, tmp_path / "run", recipe)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch": 1}, "batch"),
        ({"samples": 5, "epochs": 1}, "either samples or epochs"),
        ({"lr": 0.0}, "lr"),
        ({"metric": "f1"}, "metric"),
        ({"precision": "int8"}, "precision"),
        ({"source_weights": {"a": 0.0}}, "source weights"),
        ({"source_weights": {"a": float("inf")}}, "source weights must be finite"),
        ({"label_smoothing": 1.0}, "label smoothing"),
        ({"seed": -1}, "seed must"),
        ({"consistency": -1.0}, "consistency must"),
        ({"matched": 1.5}, "matched share"),
        ({"matched": 0.5, "balanced": False}, "balanced batches"),
        ({"mixed": 1.5}, "mixed share"),
        ({"mixed": 0.5, "consistency": 0.5}, "parts are pasted without"),
        ({"bpcer": 0.0}, "BPCER target"),
        ({"bpcer": 0.6}, "BPCER target"),
    ],
)
def test_recipes_are_checked(changes, message):
    with pytest.raises(DataError, match=message):
        preset("robust").changed(**changes)


def test_consistency_needs_degradations():
    with pytest.raises(DataError, match="degradations"):
        preset("article").changed(consistency=1.0)


def test_pairs_hold_a_framed_and_a_degraded_view(prepared):
    hard = dataclasses.replace(Degradations(), gray=1.0, colour=0.0)
    with loading.decoded(PreparedData.load(prepared).samples("train"), 1 << 20) as crops:
        single, pair = (loading.Views(crops, hard, 7, pairs=pairs)[3, 5][0] for pairs in (False, True))
        saturation = [np.ptp(view.astype(int), axis=2).mean() for view in pair]
    assert pair.shape == (2, 128, 128, 3)
    assert np.array_equal(pair[1], single)
    assert saturation[1] < saturation[0] / 2


def test_disagreement_is_the_angle_plus_the_symmetric_divergence():
    features = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 3.0], [1.0, 1.0]])
    scores = torch.log(torch.tensor([[0.5, 0.5], [0.9, 0.1], [0.2, 0.8], [0.2, 0.8]]))
    divergence = sum(0.5 * (p - q) * np.log(p / q) for p, q in [(0.5, 0.9), (0.5, 0.1)])
    assert float(disagreement(features, scores)) == pytest.approx((1 + divergence) / 2)
    same = torch.repeat_interleave(features[::2], 2, 0), torch.repeat_interleave(scores[::2], 2, 0)
    assert float(disagreement(*same)) == pytest.approx(0, abs=1e-6)


def test_recipes_survive_json():
    for recipe in PRESETS.values():
        changed = dataclasses.replace(recipe, exclude=("a", "b"), source_weights={"c": 2.0})
        assert Recipe.from_dict(json.loads(json.dumps(changed.to_dict()))) == changed
    with pytest.raises(DataError, match="robust"):
        preset("best")


def test_added_data_join_the_training_alone(prepared, write_prepared, recipe, tmp_path):
    extra = write_prepared(
        [("train", "fake", "recon_a", 70, {}), ("train", "fake", "recon_b", 70, {})], name="extra"
    )
    chosen = recipe.changed(exclude=("recon_b",), source_weights={"recon_*": 0.5})
    out = tmp_path / "run"

    def go(added, **options):
        around = _around(stop_after=options.pop("stop_after", None))
        return trainer.train(
            prepared, out, chosen, weights="none", added=added, surroundings=around, **options
        )

    go([extra], stop_after=2)
    with pytest.raises(DataError, match="isn't the data"):
        go([], resume=True)
    assert go([extra], resume=True).finished
    facts = checkpoint.load(out).info["data"]
    assert facts["train"]["fake"] == {"gan": 6, "recon_a": 1}
    assert facts["val"]["fake"] == {"gan": 6}
    assert [set(row) for row in facts["added"]] == [{"prepare_sha256", "manifest_sha256"}]


@pytest.mark.parametrize(
    ("split", "label", "source", "message"),
    [
        ("train", "fake", "gan", None),
        ("train", "real", "camera", "1 train pictures of .* under the other label"),
        ("val", "fake", "gan", "1 train pictures of .* in another split"),
        ("test", "fake", "gan", "in another split"),
    ],
)
def test_added_pictures_that_the_data_hold_already(split, label, source, message, write_prepared):
    """A second copy isn't taken; a picture that is measured on, or has the other label, is refused."""
    same = {"sha256": "f" * 64}
    data = PreparedData.load(write_prepared([(split, label, source, 3, same), ("train", "fake", "b", 5, {})]))
    extra = write_prepared([("train", "fake", "x", 3, same), ("train", "fake", "y", 4, {})], name="extra")
    if message is None:
        assert [s.source for s in loading.joining(data, [extra, extra], ())] == ["y"]
    else:
        with pytest.raises(DataError, match=message):
            loading.joining(data, [extra], ())
        assert [s.source for s in loading.joining(data, [extra], ("x",))] == ["y"]


def test_reconstructions_of_an_excluded_source_are_left_out(write_prepared):
    rows = [("train", "real", name, 3, {"sha256": f"{n}" * 64}) for n, name in enumerate("ab", 1)]
    data = PreparedData.load(write_prepared(rows))
    made = [("train", "fake", "recon_x", 3, {"original": "recon_x:" + f"{n}" * 16}) for n in (1, 2)]
    extra = write_prepared(made, name="extra")
    kept = loading.joining(data, [extra], ("a",))
    assert [s.original for s in kept] == ["recon_x:" + "2" * 16]


@pytest.mark.parametrize(
    ("rows", "margin", "message"),
    [
        ([("train", "fake", "gan", 1, {})], 1.5, "another crop rule"),
        ([("val", "fake", "gan", 1, {})], 1.2, "no train split to add"),
    ],
)
def test_data_that_cannot_be_added(prepared, write_prepared, rows, margin, message):
    extra = write_prepared(rows, name="extra", margin=margin)
    with pytest.raises(DataError, match=message):
        loading.joining(PreparedData.load(prepared), [extra], ())
