import dataclasses
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("sklearn")

from fauxface.crops import Square
from fauxface.errors import BundleError, DataError, GateError
from fauxface.manifest import OperatingPoint
from fauxface.session import Classifier
from fauxface.verdicts import Calibration, Thresholds
from fauxface_export import accuracy, variants
from fauxface_train import calibration
from fauxface_train.dataset import PreparedData, Sample

BRIGHTNESS = {0: 90, 1: 170}


def sample(split, label, source, number):
    return Sample(
        path=Path(f"{split}-{label}-{number}"),
        split=split,
        label=label,
        source=source,
        square=Square(0, 0, 128),
        sha256=f"{number:064x}",
        original="",
        format="PNG",
        width=128,
        height=128,
        box=(0, 0, 128, 128),
        locator_score=None,
        age=None,
        gender=None,
        race=None,
        dhash="",
    )


def data(counts, margin=1.2, faces="locate"):
    samples = [
        sample(split, label, f"source-{label}-{i % 2}", i)
        for (split, label), count in counts.items()
        for i in range(count)
    ]
    return PreparedData(Path("prepared"), {"crop": {"margin": margin}, "faces": faces}, samples)


COUNTS = {
    (split, label): count for split, count in (("train", 20), ("val", 12), ("test", 12)) for label in (0, 1)
}
ENOUGH = COUNTS | {("test", label): variants.FEWEST_TEST // 2 for label in (0, 1)}


@pytest.fixture
def prepared(monkeypatch, noisy_crops):
    """Prepared data without files: real crops are dark, generated ones bright."""

    def load(given):
        seed = int(given.sha256, 16) + 1000 * ("train", "val", "test").index(given.split)
        return noisy_crops(1, BRIGHTNESS[given.label], seed)[0]

    monkeypatch.setattr(variants, "load_crop", load)
    return data(COUNTS)


@pytest.fixture
def against(prepared, small_onnx, _coarse_entropy):
    made = variants.reference(small_onnx, prepared, OperatingPoint(Calibration(), Thresholds()), {})
    point = OperatingPoint(
        *calibration.operating_point(made.val.logits, made.val.labels, made.val.sources, fitted_on="val")
    )
    return dataclasses.replace(made, point=point)


def test_what_the_test_pictures_are_to_the_model_is_kept(prepared, small_onnx, monkeypatch):
    monkeypatch.setattr("fauxface_train.provenance.hashes", lambda _: {"manifest_sha256": "a" * 64})
    info = {
        "data": {"manifest_sha256": "b" * 64},
        "training": {"initial_weights": {"trained_on": ["c" * 64]}},
        "calibrations": [{"data": {"manifest_sha256": "a" * 64}}],
    }
    made = variants.reference(small_onnx, prepared, OperatingPoint(Calibration(), Thresholds()), info)
    assert made.about == {
        "split": "test",
        "name": "prepared",
        "trained_on": "others",
        "fitted_to": True,
        "learned_before": True,
    }


def test_a_model_of_whole_pictures_is_not_judged_by_faces(prepared):
    with pytest.raises(DataError, match="the model was trained on whole pictures"):
        variants.check_data(prepared, 1.2, whole=True)


def test_reference(against, small_onnx, noisy_crops):
    assert against.calibration.shape == (40, 128, 128, 3)
    assert (len(against.val.samples), len(against.test.samples)) == (24, 24)
    expected = Classifier(small_onnx.read_bytes(), provider="cpu").logits(noisy_crops(1, 90, 2000))
    np.testing.assert_allclose(against.test.logits[0], expected[0], atol=1e-5)
    assert against.val.logits[against.val.labels == 1, 1].min() > against.val.logits[:12, 1].max()


@pytest.mark.parametrize("precision", variants.PRECISIONS)
def test_a_variant_is_made_calibrated_and_checked(precision, against, small_onnx, tmp_path):
    said = []
    target = tmp_path / "variant.onnx"
    made = variants.make(precision, small_onnx, target, against, said.append)
    report = made.report
    assert made.precision == precision
    assert made.point.calibration.fitted_on == "val split, 24 clean crops, to the probabilities of fp32"
    assert made.point != against.point
    for split in ("val", "test"):
        assert report[split]["samples"] == 24
        assert report[split]["auroc_fp32"] == 1
        assert report[split]["flips"] == 0
        assert 0 < report[split]["rms_logit_difference"] < 1
    overall = report["metrics"]["overall"]
    assert (overall["samples"], overall["auroc"]["value"]) == (24, 1)
    assert overall["apcer"]["total"] == overall["bpcer"]["total"] == 12
    figures = made.figures()
    about = {"split": "test", "name": "prepared"}
    assert figures["data"] == report["data"] == about
    assert figures["overall"] == overall
    assert [s["source"] for s in figures["sources"]] == [
        "source-0-0",
        "source-0-1",
        "source-1-0",
        "source-1-1",
    ]
    assert report["limits"] == {"auroc_loss": 0.002, "flips": 0.01}
    assert report["machine"]["packages"]["onnxruntime"]
    assert said[-1].startswith(f"{precision} against fp32 on 24 test pictures: AUROC loss 0.00000")
    logits = Classifier(target.read_bytes(), provider="cpu").logits(against.calibration)
    assert np.isfinite(logits).all()
    if precision == "int8":
        assert report["float_layers"] == []
        assert [c["method"] for c in report["candidates"]] == ["minmax", "entropy", "percentile"]
        best = min(report["candidates"], key=lambda c: c["mean_probability_difference"])
        assert report["method"] == best["method"]
        assert report["operators"]["QLinearConv"] == 4
    fields = variants.in_manifest([made])
    assert fields["operating_points"][precision]["thresholds"]["generated_from"] >= 0.6
    assert fields["variants"][precision] == dict(report)


@pytest.mark.parametrize("precision", variants.PRECISIONS)
@pytest.mark.parametrize("limit", ["FLIP_LIMIT", "AUROC_LOSS_LIMIT"])
def test_a_miss_fails_and_names_layers(precision, limit, against, small_onnx, monkeypatch, tmp_path):
    monkeypatch.setattr(accuracy, limit, -1.0)
    monkeypatch.setattr(variants.quantize, "METHODS", ("minmax",))
    with pytest.raises(GateError, match=r"layers that move the logits most: .*conv") as caught:
        variants.make(precision, small_onnx, tmp_path / "variant.onnx", against)
    message = str(caught.value)
    assert message.startswith(f"{precision} failed on 24 test pictures: AUROC loss ")
    assert message.endswith("no bundle was written")
    assert "\n" not in message


def test_logits_that_aren_t_finite_fail_and_name_layers(against, small_onnx, monkeypatch, tmp_path):
    def refused(_path):
        def score(_crops):
            raise BundleError("the classifier gave logits that aren't finite; export it again")

        return score

    monkeypatch.setattr(variants, "scorer", refused)
    with pytest.raises(
        GateError, match=r"fp16 failed with logits that aren't finite; .*most: .*conv.* \(inf\)"
    ):
        variants.make("fp16", small_onnx, tmp_path / "variant.onnx", against)


def test_a_method_that_holds_the_limits_beats_a_nearer_one(against, small_onnx, tmp_path, monkeypatch):
    real, seen = variants.compare, []

    def compare(*arguments):
        found = real(*arguments)
        seen.append(found)
        probability, flips = {1: (0.006, 0.005)}.get(len(seen), (0.005, 0.011))
        fields = (found.samples, found.auroc_fp32, found.auroc_loss, flips, probability, found.logit)
        return accuracy.Difference(*fields) if len(seen) <= 3 else found

    monkeypatch.setattr(variants, "compare", compare)
    report = variants.make("int8", small_onnx, tmp_path / "variant.onnx", against).report
    assert (report["method"], report["float_layers"]) == ("minmax", [])


def test_layers_stay_in_float_only_where_nothing_else_holds(against, small_onnx, tmp_path, monkeypatch):
    monkeypatch.setattr(variants.quantize, "METHODS", ("minmax",))
    real, seen = variants.compare, []

    def compare(*arguments):
        found = real(*arguments)
        seen.append(found)
        if len(seen) > 2:
            return found
        return accuracy.Difference(found.samples, 1.0, 0.0, 0.02, 0.5, found.logit)

    monkeypatch.setattr(variants, "compare", compare)
    report = variants.make("int8", small_onnx, tmp_path / "variant.onnx", against).report
    assert [c["float_layers"] for c in report["candidates"]] == [
        [],
        ["conv1"],
        ["conv1", "layer2.0.conv1"],
    ]
    assert report["float_layers"] == ["conv1", "layer2.0.conv1"]
    assert report["operators"]["QLinearConv"] == 2


def test_a_graph_that_test_refuses_is_followed_by_one_with_more_in_float(
    against, small_onnx, tmp_path, monkeypatch
):
    monkeypatch.setattr(variants.quantize, "METHODS", ("minmax",))
    real, refused = variants.compare, []

    def compare(fp32, *arguments):
        found = real(fp32, *arguments)
        if fp32 is against.test and not refused:
            refused.append(found)
            return accuracy.Difference(found.samples, 1.0, 0.0, 0.02, 0.5, found.logit)
        return found

    monkeypatch.setattr(variants, "compare", compare)
    said = []
    made = variants.make("int8", small_onnx, tmp_path / "variant.onnx", against, said.append)
    assert made.report["float_layers"] == ["conv1"]
    assert made.report["refused_on_test"] == [["minmax"]]
    assert made.report["operators"]["QLinearConv"] == 3
    assert [line.partition(":")[0] for line in said] == [
        "int8 by minmax",
        "int8 against fp32 on 24 test pictures",
        "int8 by minmax, conv1 in float",
        "int8 against fp32 on 24 test pictures",
    ]


def test_blame_orders_the_layers(against, small_onnx):
    found = variants.blame("int8", small_onnx, against)
    assert sorted(found) == ["conv1", "layer1.0.conv1", "layer1.0.conv2", "layer2.0.conv1"]
    assert list(found.values()) == sorted(found.values(), reverse=True)
    assert max(found.values()) > 0


def scored(*differences):
    values = np.array(differences, np.float32)
    samples = [sample("test", number % 2, "a", number) for number in range(len(values))]
    return accuracy.Scored(samples, np.stack([-values / 2, values / 2], axis=1))


def test_compare():
    fp32 = scored(-3, 3, -2, 2)
    plain = OperatingPoint(Calibration(), Thresholds(0.3, 0.7))
    same = accuracy.compare(fp32, plain, fp32.logits, plain)
    assert (same.auroc_fp32, same.auroc_loss, same.flips, same.logit) == (1, 0, 0, 0)
    assert same.holds
    moved = accuracy.compare(fp32, plain, scored(-3, 3, -2, -2.5).logits, plain)
    assert (moved.auroc_loss, moved.flips, moved.holds) == (0.25, 0.25, False)
    assert moved.logit == pytest.approx(np.sqrt(4.5**2 / 4))
    # A shift that the variant's own calibration undoes changes no decision.
    own = OperatingPoint(Calibration(1.0, -5.0), Thresholds(0.3, 0.7))
    shifted = accuracy.compare(fp32, plain, scored(2, 8, 3, 7).logits, own)
    assert (shifted.flips, shifted.holds) == (0, True)
    assert shifted.probability == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize(
    ("loss", "flips", "holds"),
    [
        (0.002, 0.01, True),
        (-0.5, 0, True),
        (0.00201, 0, False),
        (0, 0.0101, False),
        (float("nan"), 0, False),
        (0, float("nan"), False),
    ],
)
def test_limits(loss, flips, holds):
    assert accuracy.Difference(100, 0.9, loss, flips, 0, 0).holds == holds


def test_calibration_crops_are_balanced_over_sources():
    samples = [sample("train", 0, "large", i) for i in range(90)]
    samples += [sample("train", 0, "small", i) for i in range(3)]
    samples += [sample("train", 1, "large", i) for i in range(50)]
    found = variants.balanced(samples, 30)
    groups = [(s.label, s.source) for s in found]
    assert [groups.count(key) for key in ((0, "large"), (0, "small"), (1, "large"))] == [10, 3, 10]
    assert len(set(map(id, found))) == len(found)


def test_calibration_crops_show_both_labels_however_many_sources_there_are():
    samples = [
        sample("train", label, f"s{i:03d}", i) for label, count in ((0, 90), (1, 60)) for i in range(count)
    ]
    found = variants.balanced(samples, 50)
    assert len(found) == 50
    assert [sum(s.label == label for s in found) for label in (0, 1)] == [30, 20]


@pytest.mark.parametrize(
    ("given", "match"),
    [
        (None, "give --data"),
        (data(COUNTS, margin=1.5), "margin 1.5, the model wants 1.2"),
        *[
            (data({key: n for key, n in COUNTS.items() if key != missing}), f"in its {missing[0]} split")
            for missing in COUNTS
        ],
        (data(COUNTS), "24 pictures in its test split, and 1% changed verdicts .* fewer than 100"),
    ],
)
def test_data_that_can_not_serve(given, match):
    with pytest.raises(DataError, match=match) as caught:
        variants.check_data(given, 1.2)
    assert "\n" not in str(caught.value)


def test_ready_crops_have_no_margin():
    given = data(ENOUGH, margin=1.0, faces="whole")
    assert variants.check_data(given, 1.2) is given


def test_a_matched_point_undoes_a_scale_and_a_shift():
    values = np.linspace(-6, 6, 41)
    fp32 = scored(*values)
    point = OperatingPoint(Calibration(1.5, -0.4), Thresholds(0.3, 0.8, "a rule"))
    moved = np.stack([np.zeros(41), 0.7 * values + 0.3], axis=1).astype(np.float32)
    found = accuracy.matched(fp32, point, moved)
    np.testing.assert_allclose(
        found.calibration.probability(moved), point.calibration.probability(fp32.logits), atol=1e-5
    )
    assert (found.thresholds.bona_fide_below, found.thresholds.generated_from) == (0.3, 0.8)
    assert accuracy.matched(fp32, point, -moved) == point
