import csv
import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")

from fauxface.errors import DataError, OutputError
from fauxface_train import evaluate, report
from fauxface_train.dataset import PreparedData
from fauxface_train.scorers import open_scorer

TINY = Path(__file__).parents[1] / "data" / "tiny_bundle"


def probability(redness):
    """What the tiny bundle gives: sigmoid(20 * redness / 255 - 2)."""
    return 1 / (1 + np.exp(2 - 20 * redness / 255))


@pytest.fixture
def tiny():
    return open_scorer(TINY, "cpu")


def test_the_nominal_crop_is_scored(steered, tiny):
    samples = evaluate.select(PreparedData.load(steered), "test")
    got = tiny.calibration.probability(evaluate.score(tiny, samples, batch=3))
    redness = [0, 0, 5, 100, 0, 10, 30, 100, 100, 90, 80, 0, 25, 100]
    np.testing.assert_allclose(got, probability(np.array(redness)), atol=1e-5)


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
    assert document["model"] == {"kind": "bundle", "identity": tiny.identity, "provider": "cpu"}
    assert document["operating_point"]["generated_from"] == 0.7


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
    assert evaluate.evaluate(tiny, data, replicates=5).document["overall"]["samples"] == 1


def test_a_missing_crop_is_refused(steered, tiny):
    data = PreparedData.load(steered)
    evaluate.select(data, "test")[3].path.unlink()
    with pytest.raises(DataError, match="can't read"):
        evaluate.evaluate(tiny, data)


def test_write_leaves_every_file_and_nothing_else(steered, tiny, tmp_path):
    data = PreparedData.load(steered)
    result = evaluate.evaluate(tiny, data, replicates=50)
    out = tmp_path / "deep" / "out"
    written = evaluate.write(result, tiny, data, out)
    assert {path.name for path in written} == {path.name for path in out.iterdir()}
    assert {path.name for path in written} == {
        "metrics.json",
        "scores.csv",
        "report.md",
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
    assert tuple(rows[0]) == evaluate.SCORE_COLUMNS
    logits = np.array([[row["logit_bona_fide"], row["logit_generated"]] for row in rows], np.float32)
    np.testing.assert_array_equal(logits, result.logits)
    np.testing.assert_array_equal([float(row["p_generated"]) for row in rows], result.scored.p)
    assert [row["called"] for row in rows[:4]] == ["bona_fide", "bona_fide", "bona_fide", "generated"]
    assert (data.root / rows[0]["crop"]).is_file()
    for name in ("metrics.json", "report.md"):
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


def test_report_shows_the_figures(steered, tiny):
    document = evaluate.evaluate(tiny, PreparedData.load(steered), replicates=50).document
    text = report.render(document, ["pairs.png"])
    assert f"| AUROC | {report.show(document['overall']['auroc'])} |" in text
    assert "Highest APCER: 0.6667 (0.0943-0.9916) on diffusion (2 of 3)." in text
    assert "| race | indian | 4 | 0.2500 (0.0063-0.8059) |" in text
    assert "![AUROC per pair of sources](pairs.png)" in text
    lengths = {line.count("|") for line in text.splitlines() if line.startswith("| camera | 4 |")}
    assert lengths == {9}


def test_tables_escape_pipes():
    assert report.table(["a"], [["x|y"]])[-1] == r"| x\|y |"
