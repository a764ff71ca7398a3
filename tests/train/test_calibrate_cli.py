import hashlib
import json
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

pytest.importorskip("scipy")
pytest.importorskip("onnxruntime")

from fauxface.bundle import Bundle, write_manifest
from fauxface.errors import BundleError, DataError, MissingExtraError, OutputError
from fauxface_train import calibrate_cli
from fauxface_train.dataset import PreparedData

TINY = Path(__file__).parents[1] / "data" / "tiny_bundle"


@pytest.fixture
def run():
    app = typer.Typer()
    app.callback()(lambda: None)
    calibrate_cli.register(app)

    def invoke(*arguments):
        return CliRunner().invoke(app, ["calibrate", *map(str, arguments)])

    return invoke


ROWS = [
    *[("train", "real", "lobby", 20 + k, {}) for k in range(25)],
    *[("test", "fake", "gan", 80 + k, {}) for k in range(30)],
]


@pytest.fixture
def prepared(write_prepared):
    """Redness 20 to 44 for 25 camera faces, some of which the tiny bundle calls generated; 30 generated."""
    return write_prepared(ROWS)


OF_POINTS = (
    "## Operating point",
    "## Other precisions",
    "## Evaluation",
    "## Media analysis as NIST SP 800-63A-4 asks for it",
    "## Limits and known failures",
)


def parent_with(folder, **changes):
    """Copy the tiny bundle and change its manifest."""
    shutil.copytree(TINY, folder)
    write_manifest(folder, manifest(folder) | changes)
    return folder


def digest(file):
    return hashlib.sha256(file.read_bytes()).hexdigest()


def manifest(folder):
    return json.loads((folder / "bundle.json").read_text())


def test_a_bundle_is_calibrated_and_signed_off(run, prepared, tmp_path):
    out = tmp_path / "new"
    result = run(TINY, prepared, "--out", out, "--signed-off-by", "A. Operator")
    assert result.exit_code == 0, result.output
    parent, bundle = Bundle.load(TINY), Bundle.load(out)
    assert bundle.manifest.provenance["calibrations"][0]["signed_off_by"] == "A. Operator"
    assert "Signed off by A. Operator." in bundle.card()
    chosen = bundle.manifest.thresholds
    assert f"| {chosen.bona_fide_below:.6g} | {chosen.generated_from:.6g} |" in bundle.card()
    assert result.output.endswith(f"model {bundle.sha256}\n")
    assert bundle.classifier_bytes() == parent.classifier_bytes()
    assert bundle.manifest.calibration.fitted_on.startswith("bias on 55 pictures on site")
    assert bundle.manifest.calibration.temperature == 1.0
    (record,) = bundle.manifest.provenance["calibrations"]
    assert record["parent"] == {"sha256": parent.sha256, "name": "tiny"}
    assert record["data"]["real"] == {"lobby": 25}
    assert record["data"]["fake"] == {"gan": 30}
    assert record["data"]["name"] == "prepared"
    assert record["created"] == bundle.manifest.created != parent.manifest.created
    figures = record["results"]["fp32"]
    assert figures["before"]["bpcer"]["errors"] > figures["after"]["bpcer"]["errors"]
    assert figures["after"]["bpcer"]["high"] > 0.1
    assert f"BPCER before {figures['before']['bpcer']['errors'] / 25:.3f}" in result.output
    missed = figures["after"]["missed"]
    shown = f"{missed['errors'] / 30:.3f} ("
    assert f"generated called bona fide after  {shown}" in result.output
    assert str(tmp_path) not in (out / "bundle.json").read_text()
    card = bundle.card()
    assert "Calibrated on site" in card
    assert f"| generated called bona fide | {figures['before']['missed']['errors'] / 30:.3f} (" in card
    assert parent.sha256 in card
    assert bundle.manifest.provenance["made_by"] == "tests/data/make_tiny_bundle.py"
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


@pytest.fixture
def further(write_prepared):
    """Other pictures of the same colours."""
    return write_prepared([("test", "real", "lobby", 20 + k, {}) for k in range(25)], name="further")


def test_a_bundle_under_another_name_has_a_card_of_that_name(run, prepared, tmp_path):
    parent = tmp_path / "parent"
    shutil.copytree(TINY, parent)
    (parent / "MODEL_CARD.md").write_text("# Model card: tiny\n\n# Model card: of another\n")
    write_manifest(parent, manifest(parent))
    for name, title in (("shop <b> door", "shop &lt;b> door"), ("tiny", "tiny")):
        result = run(parent, prepared, "--out", tmp_path / name, "--name", name)
        assert result.exit_code == 0, result.output
        card = (tmp_path / name / "MODEL_CARD.md").read_text()
        assert card.startswith(f"# Model card: {title}\n\n# Model card: of another\n")


def test_a_second_calibration_keeps_the_first_in_the_record(run, prepared, further, tmp_path):
    assert run(TINY, prepared, "--out", tmp_path / "a").exit_code == 0
    assert run(tmp_path / "a", further, "--out", tmp_path / "b", "--name", "second").exit_code == 0
    bundle = Bundle.load(tmp_path / "b")
    first, second = bundle.manifest.provenance["calibrations"]
    assert second["parent"]["sha256"] == Bundle.load(tmp_path / "a").sha256
    assert first["parent"]["sha256"] == Bundle.load(TINY).sha256
    assert bundle.manifest.name == "second"
    assert bundle.card().count("## Calibrated on site") == 1


def one_more(prepared, write_prepared):
    """Write prepared data that hold those pictures and another one."""
    more = write_prepared([*ROWS, ("train", "real", "lobby", 70, {})], name="more")
    lines = (prepared / "manifest.csv").read_text().splitlines()
    last = (more / "manifest.csv").read_text().splitlines()[-1]
    (more / "manifest.csv").write_text("\n".join([*lines, last, ""]))
    return more


def test_the_same_pictures_don_t_count_twice(run, prepared, write_prepared, tmp_path):
    assert run(TINY, prepared, "--out", tmp_path / "a").exit_code == 0
    more = one_more(prepared, write_prepared)
    for data, of in ((prepared, 55), (more, 56)):
        result = run(tmp_path / "a", data, "--out", tmp_path / "b", "--name", "second")
        assert isinstance(result.exception, DataError)
        assert f"was calibrated on 55 of these {of} pictures, which would count twice" in str(
            result.exception
        )
    assert not (tmp_path / "b").exists()


def test_of_many_pictures_those_with_the_lowest_digests_are_known_again(
    run, prepared, write_prepared, tmp_path, monkeypatch
):
    monkeypatch.setattr("fauxface_train.site_bundle._MOST_MARKS", 20)
    assert run(TINY, prepared, "--out", tmp_path / "a").exit_code == 0
    (record,) = Bundle.load(tmp_path / "a").manifest.provenance["calibrations"]
    kept = record["data"]["pictures"]
    assert kept == sorted(s.sha256[:16] for s in PreparedData.load(prepared).samples())[:20]
    more = one_more(prepared, write_prepared)
    result = run(tmp_path / "a", more, "--out", tmp_path / "b", "--name", "second")
    assert "was calibrated on at least 20 of these 56 pictures" in str(result.exception)


def test_bad_options_are_refused_before_the_work(run, prepared, tmp_path):
    for name in ("", "n" * 101):
        result = run(TINY, tmp_path / "none", "--out", tmp_path / "b", "--name", name)
        assert isinstance(result.exception, BundleError)
        assert "name must be 1 to 100 printable characters" in str(result.exception)
    result = run(TINY, prepared, "--out", tmp_path / "b", "--faces", "whole")
    assert (result.exit_code, "not for prepared data" in result.output) == (2, True)
    assert not (tmp_path / "b").exists()


def test_variants_get_their_own_operating_point_and_unknown_fields_stay(run, prepared, further, tmp_path):
    parent = tmp_path / "parent"
    shutil.copytree(TINY, parent)
    shutil.copy(parent / "classifier.onnx", parent / "classifier_int8.onnx")
    document = manifest(parent) | {"later": {"kept": 1}, "metrics": {"overall": 3}}
    document["classifier"] = {"fp32": "classifier.onnx", "int8": "classifier_int8.onnx"}
    document["operating_points"] = {
        "int8": {
            "calibration": {"temperature": 3.0, "bias": 1.0, "fitted_on": "x"},
            "thresholds": {"bona_fide_below": 0.2, "generated_from": 0.9, "rule": "y"},
        }
    }
    test = {"auroc_loss": 0.001, "flips": 0.004, "mean_probability_difference": 0.01}
    variant = {"method": "percentile", "metrics": {"overall": 4}, "test": test}
    document["variants"] = {"int8": variant, "later": 5}
    (parent / "MODEL_CARD.md").write_text(
        "# tiny\n\n## Model\n\n" + "".join(f"{h}\n\nX.\n\n" for h in OF_POINTS)
    )
    write_manifest(parent, document)
    out = tmp_path / "new"
    assert run(parent, prepared, "--out", out).exit_code == 0
    new = manifest(out)
    assert new["variants"] == {"int8": {"method": "percentile", "test": {"auroc_loss": 0.001}}, "later": 5}
    assert new["provenance"]["calibrations"][0]["parent_variants"] == {
        "int8": {"metrics": {"overall": 4}, "test": {key: test[key] for key in test if key != "auroc_loss"}}
    }
    card = Bundle.load(out).card()
    mark = '**These no longer hold: see "Calibrated on site" at the end.**'
    assert all(f"{heading}\n\n{mark}\n\nX." in card for heading in OF_POINTS)
    assert card.count(mark) == len(OF_POINTS)
    assert run(out, further, "--out", tmp_path / "newer").exit_code == 0
    assert Bundle.load(tmp_path / "newer").card().count(mark) == len(OF_POINTS)
    assert new["later"] == {"kept": 1}
    assert new["metrics"] == {}
    assert new["provenance"]["calibrations"][0]["parent_metrics"] == {"overall": 3}
    assert new["operating_points"]["int8"]["calibration"]["temperature"] == 3.0
    assert new["calibration"]["temperature"] == 1.0
    assert set(new["operating_points"]) == {"int8"}
    assert set(new["provenance"]["calibrations"][0]["results"]) == {"fp32", "int8"}


def test_of_the_training_data_only_test_counts(run, write_prepared, tmp_path):
    rows = [(split, "real", "lobby", 20 + k, {}) for split in ("train", "val", "test") for k in range(25)]
    data = write_prepared(rows)
    training = {"data": {"manifest_sha256": digest(data / "manifest.csv")}}
    parent = parent_with(tmp_path / "parent", provenance=training)
    result = run(parent, data, "--out", tmp_path / "new")
    assert result.exit_code == 0, result.output
    assert "The network was trained on these data, so only their test split was used." in result.output
    (record,) = manifest(tmp_path / "new")["provenance"]["calibrations"]
    assert record["data"]["real"] == {"lobby": 25}
    assert record["data"]["trained_on"] == "these"
    assert "only their test split was used" in Bundle.load(tmp_path / "new").card()
    other = write_prepared(rows[:25], name="other")
    for known, said in ((training, "on other data, wasn't checked"), ({"calibrations": 7}, "isn't known")):
        parent = parent_with(tmp_path / said[-7:], provenance=known)
        result = run(parent, other, "--out", tmp_path / f"new {said[-7:]}")
        assert result.exit_code == 0, result.output
        assert said in result.output


def test_of_data_whose_train_split_joined_the_training_it_doesn_t_count(run, write_prepared, tmp_path):
    rows = [(split, "real", "lobby", 20 + k, {}) for split in ("train", "val", "test") for k in range(25)]
    data = write_prepared(rows)
    joined = {"manifest_sha256": digest(data / "manifest.csv")}
    provenance = {"data": {"manifest_sha256": "0" * 64, "added": [joined]}}
    result = run(parent_with(tmp_path / "parent", provenance=provenance), data, "--out", tmp_path / "new")
    assert result.exit_code == 0, result.output
    assert "joined the network's training, so it wasn't used" in result.output
    (record,) = manifest(tmp_path / "new")["provenance"]["calibrations"]
    assert record["data"]["real"] == {"lobby": 50}
    assert record["data"]["trained_on"] == "added"


def test_nothing_is_left_of_training_data_without_a_test_split(run, write_prepared, tmp_path):
    data = write_prepared([("train", "real", "lobby", k, {}) for k in range(30)])
    training = {"data": {"manifest_sha256": digest(data / "manifest.csv")}}
    result = run(parent_with(tmp_path / "parent", provenance=training), data, "--out", tmp_path / "new")
    assert isinstance(result.exception, DataError)
    assert "no picture left to calibrate on" in str(result.exception)
    assert not (tmp_path / "new").exists()


def test_faces_that_the_gates_stop_are_left_out(run, write_prepared, tmp_path):
    turned = {"landmarks": "30 40 60 40 75 57 35 70 55 70"}
    rows = [("test", "real", "lobby", 20 + k, {}) for k in range(25)]
    rows += [("test", "real", "lobby", 120, turned) for _ in range(6)]
    rows += [("test", "real", "lobby", 120, {"box_w": 30, "box_h": 30}) for _ in range(3)]
    parent = parent_with(tmp_path / "parent", gates={"max_yaw": 40})
    result = run(parent, write_prepared(rows), "--out", tmp_path / "new")
    assert result.exit_code == 0, result.output
    assert "9 more are unsure by the bundle's gates and were left out." in result.output
    (record,) = manifest(tmp_path / "new")["provenance"]["calibrations"]
    assert record["data"]["gated"] == {"max_yaw": 6, "min_face_px": 3}
    assert record["data"]["real"] == {"lobby": 25}
    assert record["results"]["fp32"]["before"]["bpcer"]["total"] == 25


def test_a_precision_of_a_later_release_is_passed_over(run, prepared, tmp_path):
    later = {"fp32": "classifier.onnx", "int4": "classifier.onnx"}
    assert (
        run(parent_with(tmp_path / "parent", classifier=later), prepared, "--out", tmp_path / "new").exit_code
        == 0
    )
    (record,) = manifest(tmp_path / "new")["provenance"]["calibrations"]
    assert set(record["results"]) == {"fp32"}


def test_a_point_of_fp32s_own_is_replaced_and_that_of_a_later_precision_stays(run, prepared, tmp_path):
    point = {
        "calibration": {"temperature": 3.0, "bias": 1.0, "fitted_on": "x"},
        "thresholds": {"bona_fide_below": 0.2, "generated_from": 0.9, "rule": "y"},
    }
    parent = parent_with(
        tmp_path / "parent",
        classifier={"fp32": "classifier.onnx", "int4": "classifier.onnx"},
        operating_points={"fp32": point, "int4": point},
        provenance={"failures": {"pictures": 3}},
    )
    assert run(parent, prepared, "--out", tmp_path / "new").exit_code == 0
    new = Bundle.load(tmp_path / "new").manifest
    (record,) = new.provenance["calibrations"]
    result, used = record["results"]["fp32"], new.operating_point()
    assert used.calibration.bias == result["bias"]
    assert used.thresholds.generated_from == result["generated_from"]
    assert "on site" in used.calibration.fitted_on
    assert set(new.operating_points) == {"int4"}
    assert new.operating_point("int4").thresholds.generated_from == 0.9
    assert new.provenance["failures"] == {"model": Bundle.load(parent).sha256, "pictures": 3}


def test_pictures_are_cut_by_the_bundles_own_rule(run, tmp_path):
    rng = np.random.default_rng(0)
    for number in range(22):
        noise = rng.integers(100, 140, (12, 12, 3), np.uint8)
        picture = cv2.resize(noise, (90, 90), interpolation=cv2.INTER_CUBIC)
        (tmp_path / "mine" / "real" / "lobby").mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(tmp_path / "mine" / "real" / "lobby" / f"{number}.png"), picture)
    result = run(TINY, tmp_path / "mine", "--out", tmp_path / "new", "--faces", "whole")
    assert result.exit_code == 0, result.output
    assert "of 22 pictures can be used" in result.output
    assert "APCER after  not known: no picture" in result.output
    (record,) = manifest(tmp_path / "new")["provenance"]["calibrations"]
    assert record["data"]["name"] == "mine"
    assert record["results"]["fp32"]["fitted"] == "nothing"


def test_pictures_that_cannot_be_used_are_named(run, tmp_path):
    folder = tmp_path / "mine" / "real"
    folder.mkdir(parents=True)
    for number in range(12):
        (folder / f"{number:02}.png").write_bytes(b"no picture")
    result = run(TINY, tmp_path / "mine", "--out", tmp_path / "new", "--faces", "whole")
    assert isinstance(result.exception, DataError)
    assert str(result.exception) == "none of 12 pictures could be used (found 12, unreadable 12); see above"
    named = [line for line in result.output.splitlines() if line.startswith("left out: ")]
    assert len(named) == 11
    assert named[0].startswith(f"left out: {folder / '00.png'}: ")
    assert named[-1] == "left out: 2 more"


def test_what_is_refused_leaves_nothing(run, write_prepared, tmp_path):
    few = write_prepared([("test", "real", "lobby", k, {}) for k in range(5)], name="few")
    other = write_prepared([("test", "real", "lobby", k, {}) for k in range(30)], name="other", margin=2.0)
    elsewhere = write_prepared([("test", "real", "lobby", k, {}) for k in range(30)], name="elsewhere")
    told = json.loads((elsewhere / "prepare.json").read_text())
    (elsewhere / "prepare.json").write_text(json.dumps(told | {"locator_sha256": "0" * 64}))
    (tmp_path / "taken").mkdir()
    for data, out, error, message in [
        (few, "new", DataError, "5 real pictures are too few"),
        (other, "new", DataError, "cut with margin 2"),
        (elsewhere, "new", DataError, "cut with another locator"),
        (tmp_path / "absent", "new", DataError, "does not exist"),
        (few, "taken", OutputError, "exists"),
    ]:
        result = run(TINY, data, "--out", tmp_path / out)
        assert result.exit_code == 1
        assert isinstance(result.exception, error), result.exception
        assert message in str(result.exception)
    assert not (tmp_path / "new").exists()
    assert list((tmp_path / "taken").iterdir()) == []


def test_a_missing_extra_is_named(run, monkeypatch):
    import importlib.util

    honest = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "scipy" else honest(name))
    result = run(TINY, "data", "--out", "new")
    assert isinstance(result.exception, MissingExtraError)
    assert "fauxface[calibrate]" in str(result.exception)


def test_neither_torch_nor_sklearn_is_needed():
    code = (
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('torch', 'sklearn', 'matplotlib'): raise ImportError(name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "import fauxface_train.site_bundle, fauxface_train.prepare, fauxface_train.calibrate_cli"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", ["", " ", "two\nlines"])
def test_who_signs_off_has_a_name_on_one_line(run, prepared, tmp_path, name):
    result = run(TINY, prepared, "--out", tmp_path / "new", "--signed-off-by", name)
    assert result.exit_code == 2
    assert "on one line" in result.output
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_no_face_stays_in_the_temporary_folder_when_it_is_ended(run, tmp_path, monkeypatch, number):
    from fauxface_train import site_bundle

    def end(*_, **__):
        assert list(work.rglob("*.png"))
        signal.raise_signal(number)

    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(work))
    monkeypatch.setattr(site_bundle, "calibrate", end)
    rng = np.random.default_rng(0)
    (tmp_path / "mine" / "real").mkdir(parents=True)
    for name in range(3):
        noise = cv2.resize(rng.integers(0, 255, (9, 9, 3), np.uint8), (90, 90), interpolation=cv2.INTER_CUBIC)
        assert cv2.imwrite(str(tmp_path / "mine" / "real" / f"{name}.png"), noise)
    result = run(TINY, tmp_path / "mine", "--out", tmp_path / "new", "--faces", "whole")
    assert result.exit_code == 130
    assert "interrupted; nothing was written" in result.output
    assert list(work.iterdir()) == []
    assert not (tmp_path / "new").exists()
