import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("matplotlib")

import matplotlib
from matplotlib.text import Text

from fauxface.verdicts import Thresholds
from fauxface_train import evaluate, metrics, plots, robustness, selective
from fauxface_train.conditions import select
from fauxface_train.dataset import PreparedData
from fauxface_train.scored import attach

POINT = Thresholds(0.3, 0.7)


def texts(figure):
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def document_of(scored):
    point = {"bona_fide_below": 0.3, "generated_from": 0.7}
    return {
        **metrics.evaluate(scored, POINT, replicates=20),
        "reliability": metrics.reliability(scored),
        "risk_coverage": selective.risk_coverage(scored, POINT, replicates=5),
        "robustness": robustness.evaluate(
            scored, {"blur2": scored.p[::-1]}, select("blur2"), POINT, replicates=5
        ),
        "operating_point": point,
    }


@pytest.fixture
def example(steered):
    samples = evaluate.select(PreparedData.load(steered), "test")
    redness = np.array([0, 0, 5, 100, 0, 10, 30, 100, 100, 90, 80, 0, 25, 100])
    return attach(samples, 1 / (1 + np.exp(2 - 20 * redness / 255))), samples


def test_an_extreme_operating_point_stays_in_the_picture(example):
    scored, _ = example
    document = document_of(scored)
    document["overall"] |= {"bpcer": {"value": 0.0}, "apcer": {"value": 1.0}}
    axes = plots.roc_det(scored, document).axes[1]
    (x,), (y,) = axes.lines[-1].get_data()
    assert axes.lines[-1].get_marker() == "D"
    assert (x, y) == (axes.get_xlim()[0], axes.get_ylim()[1])
    assert not axes.lines[-1].get_clip_on()


def test_write_all_draws_pictures_and_leaves_no_global_state(example, tmp_path):
    scored, samples = example
    before = dict(matplotlib.rcParams)
    written = plots.write_all(tmp_path, scored, document_of(scored), samples)
    assert len(written) == 10
    assert dict(matplotlib.rcParams) == before
    for path in written:
        picture = cv2.imread(str(path))
        assert picture.shape[0] > 200
        assert picture.std() > 1, f"{path.name} is blank"
    assert {path.name for path in tmp_path.iterdir()} >= {path.name for path in written}
    assert not list(tmp_path.glob(".*"))


def test_a_dollar_sign_in_a_name_is_no_formula(example, tmp_path):
    scored, samples = example
    scored.sources[:] = [f"{name[:2]}$5_to_$10" for name in scored.sources]
    assert len(plots.write_all(tmp_path, scored, document_of(scored), samples)) == 10


def test_plots_of_an_earlier_evaluation_go(example, tmp_path):
    scored, samples = example
    for name in ("roc_det.png", "robustness.png", "mine.png"):
        (tmp_path / name).touch()
    mask = scored.labels == 0
    one = scored.take(mask)
    point = {"bona_fide_below": 0.3, "generated_from": 0.7}
    document = document_of(scored) | metrics.evaluate(one, POINT, replicates=2) | {"operating_point": point}
    document["robustness"] = {"conditions": {"clean": {}}}
    plots.write_all(tmp_path, one, document, [s for s, kept in zip(samples, mask, strict=True) if kept])
    assert not (tmp_path / "roc_det.png").exists()
    assert not (tmp_path / "robustness.png").exists()
    assert (tmp_path / "mine.png").exists()


def test_pyplot_is_not_imported():
    assert "pyplot" not in Path(plots.__file__).read_text().replace("touches pyplot", "")


def test_confusion_writes_counts_and_shares():
    figure = plots.confusion(
        {
            "bona_fide": {"bona_fide": 6, "unsure": 1, "generated": 1},
            "generated": {"bona_fide": 0, "unsure": 0, "generated": 0},
        }
    )
    shown = texts(figure)
    assert "6\n75.0%" in shown
    assert shown.count("0\n0.0%") == 3


def test_mistakes_show_the_wrong_ones_worst_first(example):
    scored, samples = example
    figure = plots.mistakes(scored, samples, POINT)
    labels = [axes.get_xlabel() for axes in figure.axes if axes.get_xlabel()]
    assert labels == ["\u2717 generated 0.997", "\u2717 bona fide 0.119", "? unsure 0.490"]


def test_mistakes_of_a_perfect_model_say_so():
    scored = metrics.Scored(np.array([0.1, 0.9]), np.array([0, 1]), np.array(["a", "b"]))
    assert "(there are none)" in texts(plots.mistakes(scored, [], POINT))[-1]


def test_predictions_take_both_labels_alike(example):
    scored, samples = example
    figure = plots.predictions(scored, samples, POINT, count=6)
    titles = [axes.get_title().split("\n")[0] for axes in figure.axes if axes.get_title()]
    assert titles == ["bona fide"] * 3 + ["generated"] * 3


def test_pairs_name_the_worst(example):
    scored, _ = example
    figure = plots.pairs(metrics.pairs(scored, replicates=5))
    assert figure.axes[0].get_title().endswith("0.611: phone against diffusion")


def test_pairs_begin_with_the_sharpest(example):
    scored, _ = example
    sharpness = {"bona_fide": {"camera": 5, "phone": 50, "gan": 1}, "generated": {"gan": 7, "diffusion": 3}}
    sources = [
        {"source": name, "label": label, "sharpness": {"value": value}}
        for label, values in sharpness.items()
        for name, value in values.items()
    ]
    table = metrics.pairs(scored, replicates=2)
    axes = plots.pairs(table, sources).axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["phone", "camera"]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["gan", "diffusion"]
    assert axes.texts[1].get_text() == "0.611"


def test_robustness_writes_every_source_and_condition(example):
    scored, _ = example
    shown = texts(plots.robustness(document_of(scored)["robustness"]["conditions"]))
    assert {"clean", "blur2", "gan", "diffusion", "camera", "phone", "0.667"} <= set(shown)


def test_risk_coverage_tells_the_shipped_band(example):
    scored, _ = example
    shown = texts(plots.risk_coverage(document_of(scored)["risk_coverage"]))
    assert "shipped band, risk 0.1667 at coverage 0.8571" in shown


def test_labels_that_are_told_apart_without_an_error_are_drawn(example, tmp_path):
    """Their figures have no interval."""
    scored, samples = example
    perfect = dataclasses.replace(scored, p=scored.labels * 0.98 + 0.01)
    document = document_of(perfect)
    assert document["robustness"]["conditions"]["clean"]["auroc"] == {"value": 1.0}
    written = plots.write_all(tmp_path, perfect, document, samples)
    assert "robustness.png" in {path.name for path in written}


def test_sources_of_one_label_are_drawn(example, tmp_path):
    scored, samples = example
    mask = scored.labels == 0
    kept = [sample for sample in samples if sample.label == 0]
    written = plots.write_all(tmp_path, scored.take(mask), document_of(scored.take(mask)), kept)
    assert {path.name for path in written} == {
        "confusion.png",
        "risk_coverage.png",
        "robustness.png",
        "errors_per_source.png",
        "scores_per_source.png",
        "predictions.png",
        "mistakes.png",
    }
