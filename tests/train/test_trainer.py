import csv
import hashlib
import json

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("tensorboard")

from fauxface.errors import CheckpointError, DataError, OutputError  # noqa: E402
from fauxface_train import checkpoint, loading, provenance, trainer, training_set  # noqa: E402
from fauxface_train.dataset import PreparedData  # noqa: E402
from fauxface_train.engine import Engine  # noqa: E402
from fauxface_train.presets import METRICS, Degradations, Recipe, preset  # noqa: E402
from fauxface_train.run_state import Surroundings, read_resume  # noqa: E402
from fauxface_train.sampling import Plan  # noqa: E402

pytestmark = pytest.mark.usefixtures("narrow_network")


@pytest.fixture
def recipe():
    return preset("robust").changed(
        batch=4, samples=24, validate_every=12, precision="fp32", compile=False, metric="auroc"
    )


def _around(**changes):
    return Surroundings(**{"device": "cpu", "workers": 0, "say": lambda _: None, **changes})


def _go(prepared, out, recipe, resume=False, teachers=(), **around):
    return trainer.train(
        prepared,
        out,
        recipe,
        weights="none",
        teachers=teachers,
        resume=resume,
        surroundings=_around(**around),
    )


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


@pytest.mark.parametrize("name", ["robust", "article", "consistent", "matched", "mixed", "taught"])
def test_interrupted_and_resumed_equals_uninterrupted(name, prepared, recipe, tmp_path):
    if name == "article":
        recipe = preset("article").changed(epochs=2)
    if name == "consistent":
        recipe = recipe.changed(consistency=0.5)
    if name == "matched":
        recipe = recipe.changed(matched=0.5)
    if name == "mixed":
        recipe = recipe.changed(mixed=0.5)
    teachers = []
    if name == "taught":
        teachers = [tmp_path / "other"]
        _go(prepared, teachers[0], recipe.changed(seed=7))
        recipe = recipe.changed(mixed=0.5, taught=0.5)
    whole, parts = tmp_path / "whole", tmp_path / "parts"

    def _go_on(out, **options):
        return _go(prepared, out, recipe, teachers=teachers, **options)

    _go_on(whole)
    for stop in (2, 3):
        outcome = _go_on(parts, resume=(parts / "resume.pt").exists(), stop_after=stop)
        assert not outcome.finished
        assert checkpoint.load(parts / "last.safetensors").info["provenance"]["samples"] == 4 * stop
    assert _go_on(parts, resume=True).finished
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
    samples = PreparedData.load(prepared).samples("train")
    with loading.decoded(samples, 1 << 20) as cached:
        assert cached.in_memory
        plan = Plan([0] * 6 + [1] * 6, ["a"] * 12, recipe)
        parallel = list(loading.batches(loading.Views(cached, Degradations(), 7), plan.batches(1), 1))
        with loading.decoded(samples, 10_000) as direct:
            assert not direct.in_memory
            serial = list(loading.batches(loading.Views(direct, Degradations(), 7), plan.batches(1), 0))
    assert len(parallel) == len(serial) == 5
    for (pictures, labels), (others, targets) in zip(parallel, serial, strict=True):
        assert pictures.dtype == torch.uint8
        assert torch.equal(pictures, others)
        assert torch.equal(labels, targets)


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
    assert checkpoint.load(tmp_path / "run" / "last.safetensors").info["metrics"]["auroc"] == 0.7
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


@pytest.mark.parametrize(("name", "noted"), [("article", True), ("robust", False)])
def test_the_article_notes_data_without_truncated_pictures(name, noted, prepared, recipe, tmp_path):
    said = []
    chosen = preset("article").changed(epochs=1) if name == "article" else recipe
    trainer.train(prepared, tmp_path / "run", chosen, weights="none", surroundings=_around(say=said.append))
    assert any("--tolerate-truncated" in line for line in said) == noted


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


def test_a_pattern_that_excludes_nothing_is_one_line(prepared, write_prepared, recipe, tmp_path):
    extra = write_prepared([("train", "fake", "recon_a", 70, {})], name="extra")
    data = PreparedData.load(prepared)
    training_set.check_excluded(data, [extra], ("gan", "recon_*"))
    with pytest.raises(DataError, match=r"--exclude 'GAN\*' matches no source; there are camera, gan$"):
        _go(prepared, tmp_path / "run", recipe.changed(exclude=("camera", "GAN*")))
    with pytest.raises(DataError, match="there are camera, gan, recon_a"):
        training_set.check_excluded(data, [extra], ("recon_b",))


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
    for name in ("last.safetensors", "last.pt", "log.csv"):
        other = tmp_path / name.replace(".", "_")
        other.mkdir()
        (other / name).write_text("kept")
        with pytest.raises(OutputError, match=f"already holds {name}"):
            _go(prepared, other, recipe)
        assert (other / name).read_text() == "kept"
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


def test_a_network_that_diverged_in_its_last_step_is_one_line(prepared, recipe, tmp_path, monkeypatch):
    def diverging(engine, *_):
        with torch.no_grad():
            engine.deployed.net.fc.weight.fill_(float("nan"))
        return torch.tensor(0.5)

    monkeypatch.setattr(Engine, "step", diverging)
    with pytest.raises(DataError, match="answers aren't finite"):
        _go(prepared, tmp_path / "run", recipe.changed(ema=0.0))


def test_weights_and_what_they_learned_from_are_kept(prepared, write_prepared, recipe, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    _go(prepared, first, recipe)
    rows = [(s, x, "more", 6, {}) for s in ("train", "val") for x in ("real", "fake") for _ in range(4)]
    other = write_prepared(rows, name="other")

    def go(weights, **options):
        around = _around(stop_after=options.pop("stop_after", None))
        return trainer.train(other, second, recipe, weights=weights, surroundings=around, **options)

    go(str(first), stop_after=2)
    with pytest.raises(CheckpointError, match="started with other weights"):
        go("none", resume=True)
    assert go(str(first), resume=True).finished
    known = provenance.trained_on(checkpoint.load(second).info)
    hashes = [provenance.hashes(folder)["manifest_sha256"] for folder in (other, prepared)]
    assert list(known) == hashes
    assert provenance.relation(known, PreparedData.load(prepared)) == "added"


def test_a_taught_run_names_its_teachers_and_what_they_learned_from(
    prepared, write_prepared, recipe, tmp_path
):
    first, second = tmp_path / "first", tmp_path / "second"
    _go(prepared, first, recipe)
    rows = [(s, x, "more", 6, {}) for s in ("train", "val") for x in ("real", "fake") for _ in range(4)]
    other = write_prepared(rows, name="other")
    taught = recipe.changed(taught=0.5)
    _go(other, second, taught, teachers=[first], stop_after=2)
    for teachers, message in (([first, first], "with 1 teachers"), ([], "with 1 teachers")):
        with pytest.raises(CheckpointError, match=message):
            _go(other, second, taught, resume=True, teachers=teachers)
    third = tmp_path / "third"
    _go(prepared, third, recipe.changed(seed=3))
    with pytest.raises(CheckpointError, match="started with other teachers"):
        _go(other, second, taught, resume=True, teachers=[third])
    assert _go(other, second, taught, resume=True, teachers=[first]).finished
    info = checkpoint.load(second).info
    digest = hashlib.sha256((first / "best.safetensors").read_bytes()).hexdigest()
    assert [each["sha256"] for each in info["provenance"]["teachers"]] == [digest]
    hashes = [provenance.hashes(folder)["manifest_sha256"] for folder in (other, prepared)]
    assert list(provenance.trained_on(info)) == hashes
    assert "teachers" not in checkpoint.load(first).info["provenance"]


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


def test_a_run_that_another_process_goes_on_with_names_both(prepared, recipe, tmp_path, monkeypatch):
    """What was trained by other code, or in another type, isn't recorded as the last process's."""
    out, said = tmp_path / "run", []
    for commit, changes in (("a" * 40, {"stop_after": 1}), ("a" * 40, {"stop_after": 2}), ("b" * 40, {})):
        monkeypatch.setattr(trainer.provenance, "commit", lambda commit=commit: commit)
        _go(prepared, out, recipe, resume=(out / "resume.pt").exists(), say=said.append, **changes)
    found = checkpoint.load(out).info["provenance"]
    first, second = found["processes"]
    assert (first["from_samples"], first["commit"]) == (0, "a" * 40)
    assert (second["from_samples"], second["commit"], found["commit"]) == (
        2 * recipe.batch,
        "b" * 40,
        "b" * 40,
    )
    assert [line for line in said if "what trained up to here" in line] == [
        "note: what trained up to here had another commit; both are recorded"
    ]


def test_a_run_of_one_process_tells_of_no_others(prepared, recipe, tmp_path):
    out = tmp_path / "run"
    _go(prepared, out, recipe, stop_after=1)
    _go(prepared, out, recipe, resume=True)
    assert "processes" not in checkpoint.load(out).info["provenance"]
