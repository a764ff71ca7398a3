import csv
import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")

from fauxface.errors import DataError, OutputError
from fauxface_train import evaluate, pages, provenance, report
from fauxface_train.conditions import select
from fauxface_train.dataset import PreparedData
from fauxface_train.matched import Subset
from fauxface_train.scorers import open_scorer

TINY = Path(__file__).parents[1] / "data" / "tiny_bundle"
DOCS = Path(__file__).parents[2] / "docs"


def probability(redness):
    """What the tiny bundle gives: sigmoid(20 * redness / 255 - 2)."""
    return 1 / (1 + np.exp(2 - 20 * redness / 255))


@pytest.fixture
def tiny():
    return open_scorer(TINY, "cpu")


def test_the_nominal_crop_is_scored(steered, tiny):
    samples = evaluate.select(PreparedData.load(steered), "test")
    scores = evaluate.score(tiny, samples, batch=3)
    assert list(scores.logits) == ["clean"]
    got = tiny.calibration.probability(scores.logits["clean"])
    redness = [0, 0, 5, 100, 0, 10, 30, 100, 100, 90, 80, 0, 25, 100]
    np.testing.assert_allclose(got, probability(np.array(redness)), atol=1e-5)


def test_it_is_said_whether_the_model_was_trained_on_these_data(steered, tiny):
    data = PreparedData.load(steered)
    manifest = hashlib.sha256((steered / "manifest.csv").read_bytes()).hexdigest()
    others = "0" * 64
    known = {(manifest, others): "these", (others, manifest): "added", (others,): "others", (): None}
    for trained_on, relation in known.items():
        scorer = dataclasses.replace(tiny, trained_on=trained_on)
        document = evaluate.evaluate(scorer, data, replicates=2).document
        assert document["data"].get("trained_on") == relation
        text = pages.markdown(report.blocks(document))
        assert ("whether these pictures are among those wasn't checked" in text) == (relation == "others")
        assert ("their train split joined the training" in text) == (relation == "added")
        assert ("whether others are among what it saw wasn't checked" in text) == (relation == "added")


@pytest.mark.parametrize(
    ("split", "said"), [("train", "the model was trained"), ("val", "thresholds were chosen"), ("test", None)]
)
def test_it_is_said_what_a_split_was_to_the_model(steered, tiny, split, said):
    document = evaluate.evaluate(tiny, PreparedData.load(steered), replicates=2).document
    document["data"] |= {"trained_on": "these", "split": split}
    line = next(row for row in pages.markdown(report.blocks(document)).splitlines() if "Data:" in row)
    assert line.endswith("generated") if said is None else said in line


def test_it_is_said_where_another_locator_framed_the_faces(steered, tiny):
    data = PreparedData.load(steered)
    for mine, theirs, said in (("ab", "cd", True), ("ab", "ab", None), ("ab", None, None), ("", "cd", None)):
        scorer = dataclasses.replace(tiny, locator_sha256=mine)
        data.info["locator_sha256"] = theirs
        document = evaluate.evaluate(scorer, data, replicates=2).document
        assert document["data"].get("other_locator") is said
        assert ("cut by another locator" in pages.markdown(report.blocks(document))) == bool(said)


def test_it_is_said_where_the_operating_point_was_fitted_to_these_data(steered, tiny):
    data = PreparedData.load(steered)
    manifest = hashlib.sha256((steered / "manifest.csv").read_bytes()).hexdigest()
    mark = data.samples(split="test")[0].sha256[:16]
    for fitted_to, said in (((manifest,), True), ((mark,), True), (("0" * 64,), None)):
        scorer = dataclasses.replace(tiny, fitted_to=fitted_to)
        document = evaluate.evaluate(scorer, data, replicates=2).document
        assert document["data"].get("fitted_to") is said
        assert ("was fitted to pictures of these data" in pages.markdown(report.blocks(document))) == bool(
            said
        )


def test_pictures_that_were_trained_on_are_counted(steered, tiny):
    data = PreparedData.load(steered)
    own, held = data.samples("test"), evaluate.select(data, "all")
    document = evaluate.evaluate(tiny, data, "test", seen=[data], replicates=2).document
    trained = [s for s in held if s.split != "test"]
    assert document["data"]["overlap"] == {"name": "prepared", "pictures": len(trained), "shared": 0}
    text = pages.markdown(report.blocks(document))
    assert f"0 of these pictures are among the {len(trained)} of `prepared`" in text
    other = PreparedData(Path("seen"), data.info, [dataclasses.replace(s, split="val") for s in own[:3]])
    document = evaluate.evaluate(tiny, data, "test", seen=[data, other], replicates=2).document
    both = {"name": "prepared, seen", "pictures": len(trained) + 3, "shared": 3}
    assert document["data"]["overlap"] == both


def test_evaluate_by_hand(steered, tiny):
    document = evaluate.evaluate(tiny, PreparedData.load(steered), replicates=50).document
    overall = document["overall"]
    # Generated from 0.7, that is redness 36: one real of seven, and five fakes of seven.
    assert (overall["bpcer"]["count"], overall["bpcer"]["total"]) == (1, 7)
    assert (overall["apcer"]["count"], overall["apcer"]["total"]) == (2, 7)
    # Bona fide below 0.3, that is redness 14.7: redness 30 and 25 lie between.
    assert overall["confusion"] == {
        "bona_fide": {"bona_fide": 5, "unsure": 1, "generated": 1},
        "generated": {"bona_fide": 1, "unsure": 1, "generated": 5},
    }
    assert document["worst"]["apcer"]["source"] == "diffusion"
    assert document["worst"]["bpcer"]["source"] == "camera"
    cells = {tuple(cell["cell"]): cell["bpcer"]["count"] for cell in document["demographics"]}
    assert cells == {("20-39",): 1, ("female",): 1, ("indian",): 1, ("female", "indian"): 1}
    assert document["model"] == {
        "kind": "bundle",
        "identity": tiny.identity,
        "provider": "cpu",
        "precision": "fp32",
    }
    assert document["operating_point"]["generated_from"] == 0.7
    # The pictures' own hashes are those of their numbers, see write_prepared; the last one is of val.
    own = sorted(hashlib.sha256(f"prepared {number}".encode()).hexdigest() for number in range(14))
    digest = hashlib.sha256("".join(own).encode()).hexdigest()
    assert document["data"]["pictures_sha256"] == digest


@pytest.mark.parametrize(
    ("split", "match"),
    [("dev", "unknown split 'dev'"), ("train", "no sample in split 'train'; it has test, val")],
)
def test_a_split_that_is_not_there_is_refused(split, match, steered, tiny):
    with pytest.raises(DataError, match=match):
        evaluate.evaluate(tiny, PreparedData.load(steered), split)


def test_all_splits_can_be_scored(steered):
    assert len(evaluate.select(PreparedData.load(steered), "all")) == 15


def test_another_margin_is_refused(write_prepared, tiny):
    data = PreparedData.load(write_prepared([("test", "real", "a", 0, {})], margin=1.6))
    with pytest.raises(DataError, match=r"margin 1\.6.*wants 1\.2"):
        evaluate.evaluate(tiny, data)


def test_whole_pictures_pass(write_prepared, tiny):
    data = PreparedData.load(write_prepared([("test", "real", "a", 0, {})], margin=1.0, faces="whole"))
    document = evaluate.evaluate(tiny, data, replicates=5).document
    assert document["overall"]["samples"] == 1
    assert document["data"]["whole"] is True


def test_a_model_of_whole_pictures_takes_no_faces_that_were_cut_out(write_prepared, tiny):
    """Both have the margin 1, and show quite other things."""
    whole = dataclasses.replace(tiny, point=dataclasses.replace(tiny.point, margin=1.0, whole=True))
    rows = [("test", "real", "a", 0, {})]
    data = PreparedData.load(write_prepared(rows, margin=1.0))
    with pytest.raises(
        DataError, match=r"was trained on whole pictures, .* prepare the data again with --faces whole"
    ):
        evaluate.evaluate(whole, data)


def test_what_a_model_before_had_learned_from_is_said_unless_it_was_compared(steered, tiny):
    data = PreparedData.load(steered)
    mine = provenance.hashes(data.root)["manifest_sha256"]
    for before, seen, said in (
        ((), (), False),
        (("f" * 64,), (), True),
        (("f" * 64,), (data,), True),
        ((mine,), (data,), False),
        ((mine,), (), True),
    ):
        later = dataclasses.replace(tiny, learned_before=before)
        found = evaluate.evaluate(later, data, replicates=5, seen=seen).document["data"]
        assert found.get("learned_before", False) is said


def test_a_missing_crop_is_refused(steered, tiny):
    data = PreparedData.load(steered)
    evaluate.select(data, "test")[3].path.unlink()
    with pytest.raises(DataError, match="can't read"):
        evaluate.evaluate(tiny, data)


def test_write_leaves_every_file_and_nothing_else(steered, tiny, tmp_path):
    data = PreparedData.load(steered)
    result = evaluate.evaluate(tiny, data, conditions=select("jpeg60,noise10"), replicates=50)
    out = tmp_path / "deep" / "out"
    written = evaluate.write(result, tiny, data, out)
    assert {path.name for path in written} == {path.name for path in out.iterdir()}
    assert {path.name for path in written} == {
        "metrics.json",
        "scores.csv",
        "report.md",
        "report.html",
        "risk_coverage.png",
        "robustness.png",
        "roc_det.png",
        "reliability.png",
        "confusion.png",
        "errors_per_source.png",
        "scores_per_source.png",
        "pairs.png",
        "predictions.png",
        "mistakes.png",
    }
    assert json.loads((out / "metrics.json").read_text()) == result.document
    with (out / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 14
    assert tuple(rows[0]) == (*evaluate.SCORE_COLUMNS, "p_jpeg60", "p_noise10")
    np.testing.assert_array_equal([float(row["p_noise10"]) for row in rows], result.degraded["noise10"])
    logits = np.array([[row["logit_bona_fide"], row["logit_generated"]] for row in rows], np.float32)
    np.testing.assert_array_equal(logits, result.logits)
    np.testing.assert_array_equal([float(row["p_generated"]) for row in rows], result.scored.p)
    assert [row["called"] for row in rows[:4]] == ["bona_fide", "bona_fide", "bona_fide", "generated"]
    assert (data.root / rows[0]["crop"]).is_file()
    page = (out / "report.html").read_text()
    assert page.count('src="data:image/png;base64,') == len(list(out.glob("*.png"))) == 10
    for name in ("metrics.json", "report.md", "report.html"):
        text = (out / name).read_text()
        assert "crops/" not in text, f"{name} names a file of the data"
        assert str(tmp_path) not in text, f"{name} names a folder of this machine"


def test_one_label_only_is_reported_with_the_reason(write_prepared, tiny, tmp_path):
    data = PreparedData.load(write_prepared([("test", "real", "a", n, {}) for n in (0, 5, 60)]))
    written = evaluate.write(evaluate.evaluate(tiny, data, replicates=5), tiny, data, tmp_path / "out")
    assert "roc_det.png" not in {path.name for path in written}
    text = (tmp_path / "out" / "report.md").read_text()
    assert "Not computed (needs both bona fide and generated samples): AUROC" in text
    assert "| BPCER at the operating point | 0.3333 (0.0084-0.9057) |" in text


def test_out_that_is_a_file_is_refused(steered, tiny, tmp_path):
    data = PreparedData.load(steered)
    result = evaluate.evaluate(tiny, data, replicates=5)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match="is a file"):
        evaluate.write(result, tiny, data, tmp_path / "file")
    with pytest.raises(OutputError, match="can't write into"):
        evaluate.write(result, tiny, data, tmp_path / "file" / "deeper")
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    ("place", "key", "value", "said"),
    [
        ("data", "learned_before", True, "its initial weights or teachers had learned from other data"),
        ("data", "whole", True, "whole pictures, as a scan with --faces whole judges them"),
        ("model", "precision", "int8", "on cpu in int8"),
    ],
)
def test_the_report_says_what_was_measured(steered, tiny, place, key, value, said):
    document = evaluate.evaluate(tiny, PreparedData.load(steered), replicates=5).document
    del document["model"]["precision"]
    assert said not in pages.markdown(report.blocks(document))
    document[place][key] = value
    assert said in pages.markdown(report.blocks(document))


def test_an_evaluation_that_breaks_off_leaves_no_other_report(steered, tiny, tmp_path, monkeypatch):
    data = PreparedData.load(steered)
    result = evaluate.evaluate(tiny, data, replicates=5)
    evaluate.write(result, tiny, data, tmp_path / "out")
    assert (tmp_path / "out/report.md").exists()

    def break_off(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluate.plots, "write_all", break_off)
    with pytest.raises(KeyboardInterrupt):
        evaluate.write(result, tiny, data, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["metrics.json", "scores.csv"]


def test_report_shows_the_figures(steered, tiny):
    document = evaluate.evaluate(tiny, PreparedData.load(steered), replicates=50).document
    text = pages.markdown(report.blocks(document, ["pairs.png"]))
    assert f"| AUROC | {report.show(document['overall']['auroc'])} |" in text
    assert "Highest APCER: 0.6667 (0.0943-0.9916) on diffusion (2 of 3)." in text
    assert "| race | indian | 4 | 0.2500 (0.0063-0.8059) |" in text
    assert "![AUROC per pair of sources](pairs.png)" in text
    lengths = {line.count("|") for line in text.splitlines() if line.startswith("| camera | 4 |")}
    assert lengths == {10}
    assert "Not measured: no condition was chosen." in text
    assert "2 bona fide sources and 2 generated ones. The bootstrap draws sources first" in text


def test_with_enough_sources_intervals_need_no_word(steered, tiny):
    document = evaluate.evaluate(tiny, PreparedData.load(steered), replicates=5).document
    document["sources"] *= 5
    assert "The bootstrap draws" not in pages.markdown(report.blocks(document))


def test_conditions_are_scored_and_shown(steered, tiny):
    grid = select("jpeg30,scale50")
    data = PreparedData.load(steered)
    result = evaluate.evaluate(tiny, data, conditions=grid, replicates=20)
    redness = np.array([0, 0, 5, 100, 0, 10, 30, 100, 100, 90, 80, 0, 25, 100])
    # A plain colour stays as it is when it is shrunk, and nearly so in a JPEG file.
    np.testing.assert_allclose(result.degraded["scale50"], probability(redness), atol=1e-5)
    np.testing.assert_allclose(result.degraded["jpeg30"], probability(redness), atol=0.12)
    assert not np.array_equal(result.degraded["jpeg30"], result.scored.p)
    text = pages.markdown(report.blocks(result.document))
    assert "| scale50 | shrunk to 64 px and enlarged again |" in text
    assert "| diffusion | 0.6667 |" in text
    assert "Highest APCER of a species (generator and condition): 0.6667 (0.0943-0.9916), diffusion" in text


def test_subsets_name_their_worst_pair(steered, tiny):
    subsets = [Subset.parse("cameras=camera:*"), Subset.parse("gan only=*:gan")]
    document = evaluate.evaluate(tiny, PreparedData.load(steered), subsets=subsets, replicates=10).document
    worst = [part["worst"] for part in document["pairs"]["subsets"]]
    assert [(pair["real"], pair["fake"]) for pair in worst] == [("camera", "diffusion"), ("camera", "gan")]
    text = pages.markdown(report.blocks(document))
    assert "| gan only | 2 |" in text
    assert "| camera against gan |" in text


def strict(schema):
    """Return a schema in which every object that lists its properties allows no other."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: strict(value) for key, value in schema.items()}
    return closed | (
        {"additionalProperties": False} if schema.get("type") == "object" and "properties" in schema else {}
    )


@pytest.mark.parametrize("split", ["test", "val"])
def test_metrics_json_is_what_its_schema_says(split, steered, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("fauxface_train.plots.write_all", lambda *_: [])
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((DOCS / "metrics.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    data = PreparedData.load(steered)
    subsets = [Subset.parse("a=camera:*")] if split == "test" else []
    result = evaluate.evaluate(tiny, data, split, conditions=select("quick"), subsets=subsets, replicates=10)
    evaluate.write(result, tiny, data, tmp_path / "out")
    document = json.loads((tmp_path / "out" / "metrics.json").read_text())
    jsonschema.Draft202012Validator(strict(schema)).validate(document)
    described = (DOCS / "evaluation.md").read_text().partition("## metrics.json")[2]
    named = {
        name
        for line in described.splitlines()
        if line.startswith("| `")
        for name in line.split("|")[1].split("`")[1::2]
    }
    assert named == set(document) == set(schema["required"])


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: d["overall"].pop("auroc"),
        lambda d: d["overall"]["auroc"].pop("value"),
        lambda d: d["overall"].update(ece={"value": None}),
        lambda d: d["robustness"]["conditions"].pop("clean"),
        lambda d: d["robustness"]["conditions"]["clean"].pop("apcer_per_source"),
        lambda d: d["sources"][0].pop("bpcer"),
        lambda d: d.update(format="fauxface.evaluation/2"),
    ],
    ids=["figure", "value", "reason", "clean", "sources", "error", "format"],
)
def test_the_schema_refuses_damage(damage, steered, tiny):
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator(json.loads((DOCS / "metrics.schema.json").read_text()))
    document = evaluate.evaluate(tiny, PreparedData.load(steered), replicates=2).document
    assert validator.is_valid(document)
    damage(document)
    assert not validator.is_valid(document)


def test_a_folder_where_the_report_goes_is_refused(steered, tiny, tmp_path):
    (tmp_path / "out/report.md").mkdir(parents=True)
    data = PreparedData.load(steered)
    result = evaluate.evaluate(tiny, data, replicates=5)
    with pytest.raises(OutputError, match=r"can't replace .*report\.md"):
        evaluate.write(result, tiny, data, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["report.md"]
