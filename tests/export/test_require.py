import json
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from fauxface.errors import DataError, GateError
from fauxface_export import require

MODEL = Path(__file__).parents[2] / "train" / "default_model"
DEFAULT = MODEL / "require.toml"


def figure(value, **more):
    return {"value": value, "low": value - 0.01, "high": value + 0.01} | more


METRICS = {
    "data": {"split": "test"},
    "overall": {
        "samples": 130,
        "auroc": figure(0.9876),
        "ece": figure(0.012),
        "eer": {"value": None, "reason": "needs both bona fide and generated samples"},
    },
    "labels": {"generated": {"apcer": figure(0.2)}},
    "worst": {"apcer": {"source": "gan", **figure(0.3)}},
    "sources": [
        {"source": "camera", "label": "bona_fide", "bpcer": figure(0.0123)},
        {"source": "phone", "label": "bona_fide", "bpcer": figure(0.4321)},
        {"source": "gan", "label": "generated", "apcer": figure(0.2345)},
    ],
    "pairs": {
        "real_sources": ["camera", "phone"],
        "fake_sources": ["gan"],
        "auroc": [[figure(0.9911)], [figure(0.7531)]],
        "worst": {"real": "phone", "fake": "gan", **figure(0.7531)},
    },
    "demographics": [{"by": ["gender", "race"], "cell": ["female", "indian"], "bpcer": figure(0.0456)}],
}


@pytest.fixture
def check(tmp_path):
    def run(text, metrics=METRICS):
        path = tmp_path / "require.toml"
        path.write_text(text)
        lines = []
        try:
            require.check(path, metrics, lines.append)
        except GateError as error:
            return lines, str(error)
        return lines, None

    return run


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("[overall]\nauroc = { min = 0.98 }\nsamples = { min = 100, max = 130 }", 3),
        ("[labels.generated]\napcer = { max = 0.2 }", 1),
        ("[worst]\napcer = { max = 0.3 }", 1),
        ("[worst_pair]\nauroc = { min = 0.75 }", 1),
        ("[each.real_source]\nbpcer = { max = 0.5 }", 2),
        ("[each.fake_source]\napcer = { min = 0.1, max = 0.5 }", 2),
        ("[each.pair]\nauroc = { min = 0.7531 }", 2),
        ("[each.demographic]\nbpcer = { max = 0.05 }", 1),
    ],
)
def test_bounds_that_hold_are_counted(check, text, count):
    assert check(text) == ([f"all {count} bounds of require.toml hold"], None)


@pytest.mark.parametrize(
    ("text", "missed"),
    [
        ("[overall]\nauroc = { min = 0.99 }", ["overall.auroc is 0.9876, must be at least 0.99"]),
        (
            "[overall]\neer = { max = 0.5 }",
            ["overall.eer wasn't measured (needs both bona fide and generated samples), must be at most 0.5"],
        ),
        (
            "[each.real_source]\nbpcer = { max = 0.01 }",
            [
                "each.real_source camera bpcer is 0.0123, must be at most 0.01",
                "each.real_source phone bpcer is 0.4321, must be at most 0.01",
            ],
        ),
        ("[worst]\napcer = { max = 0.1 }", ["worst.apcer is 0.3, must be at most 0.1"]),
        (
            "[worst_pair]\nauroc = { min = 0.8 }",
            ["worst_pair (phone, gan) auroc is 0.7531, must be at least 0.8"],
        ),
        (
            "[each.pair]\nauroc = { min = 0.8 }",
            ["each.pair (phone, gan) auroc is 0.7531, must be at least 0.8"],
        ),
        (
            "[each.demographic]\nbpcer = { max = 0.03 }",
            ["each.demographic female/indian bpcer is 0.0456, must be at most 0.03"],
        ),
    ],
)
def test_each_missed_bound_is_one_line(check, text, missed):
    lines, error = check(text)
    assert lines == [f"missed: {line}" for line in missed]
    assert error is not None
    assert error.startswith(f"{len(missed)} of ")
    assert error.endswith("no bundle was written")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "bounds nothing"),
        ("[overall]", "must be a table"),
        ("[overall]\nauroc = {}", "must be a table"),
        ("auroc = 0.9", "must be a table"),
        ("[overall]\nauroc = 0.9", "must be a table"),
        ("[overall]\nauroc = { least = 0.9 }", "min = NUMBER"),
        ("[overall]\nauroc = { min = 0.9, typo = 1 }", "min = NUMBER"),
        ("[overall]\nauroc = { min = true }", "finite number"),
        ("[overall]\nauroc = { min = nan }", "finite number"),
        ("[overall]\nauroc = { min = -inf }", "finite number"),
        ("[overall]\nauroc = { min = '0.9' }", "finite number"),
        ("[overall]\nauroc = { min = 0.9, max = 0.8 }", "min above max"),
        ("[overall]\nauroq = { min = 0.9 }", "overall.auroq isn't in the metrics"),
        ("[overal]\nauroc = { min = 0.9 }", "no section overal"),
        ("[labels.fake]\napcer = { max = 0.2 }", "labels.fake isn't in the metrics"),
        ("[each]\nreal_source = 3", "must be a table"),
        ("[each.source]\nbpcer = { max = 1 }", "unknown each.source"),
        ("[each.real_source]\napcer = { max = 1 }", "isn't in the metrics"),
        ("[each.real_source]\nbpcer = 0.1", "min = NUMBER"),
        ("[worst_pair]\nbpcer = { max = 1 }", "a pair has auroc alone"),
        ("[worst_pair]\nauroc = { }", "must be a table"),
        ("[worst]\napcer = { source = 1 }", "min = NUMBER"),
        ("[sources]\ncamera = { max = 1 }", "no section sources"),
        ("[overall", "isn't TOML"),
        ("[overall]\nauroc = { max = " + 400 * "9" + " }", "finite number"),
        ("[overall]\nauroc = { max = " + 5000 * "9" + " }", "isn't TOML"),
        ("a = " + 3000 * "[" + 3000 * "]", "isn't TOML"),
    ],
)
def test_what_could_never_fail_is_refused(check, text, said):
    with pytest.raises(DataError, match=said):
        check(text)


@pytest.mark.parametrize("table", ["each.real_source", "each.demographic", "each.pair", "worst_pair"])
def test_nothing_to_bound_is_refused(check, table):
    with pytest.raises(DataError, match="the metrics have no"):
        check(f"[{table}]\nbpcer = {{ max = 1 }}", {"data": {"split": "test"}, "overall": {}})


@pytest.mark.parametrize("table", ["each.real_source", "each.demographic", "each.pair"])
def test_of_a_precision_only_what_export_measures_is_bounded(tmp_path, table):
    (tmp_path / "require.toml").write_text(f"[{table}]\nbpcer = {{ max = 1 }}")
    measured = {"data": {"split": "test"}, "overall": {}}
    assert require.read(tmp_path / "require.toml", measured, only_measured=True) == []


@pytest.mark.parametrize("split", ["train", "val", "all", None])
def test_bounds_hold_on_test_alone(check, split):
    with pytest.raises(DataError, match="bounds hold on test"):
        check("[overall]\nauroc = { min = 0.9 }", METRICS | {"data": {"split": split}})


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ({"data": "test"}, "bounds hold on test"),
        ({"overall": {"auroc": figure(0.9) | {"value": 10**400}}}, "is no figure"),
        ({"pairs": 3}, "no worst pair"),
    ],
)
def test_metrics_of_other_kinds_are_one_line(check, damage, said):
    table = "worst_pair" if "pairs" in damage else "overall"
    with pytest.raises(DataError, match=said):
        check(f"[{table}]\nauroc = {{ min = 0.9 }}", METRICS | damage)


@pytest.mark.parametrize(
    ("table", "broken"),
    [
        ("real_source", {"sources": 5}),
        ("real_source", {"sources": [1]}),
        ("demographic", {"demographics": [1]}),
        ("demographic", {"demographics": [{"bpcer": 1}]}),
        ("pair", {"pairs": {"auroc": [[1]]}}),
    ],
)
def test_damaged_metrics_are_one_line(check, table, broken):
    with pytest.raises(DataError, match="are damaged") as caught:
        check(f"[each.{table}]\nbpcer = {{ max = 1 }}", METRICS | broken)
    assert "\n" not in str(caught.value)


def test_bounds_on_robustness_need_a_condition(tmp_path):
    path = tmp_path / "require.toml"
    path.write_text("[robustness.worst]\napcer = { max = 0.9 }")
    worst = {"apcer": {"condition": "clean", "source": "gan", **figure(0.3)}}
    degraded = {"conditions": {"clean": {}, "jpeg60": {}}, "worst": worst}
    assert [bound.holds for bound in require.read(path, METRICS | {"robustness": degraded})] == [True]
    clean = METRICS | {"robustness": {"conditions": {"clean": {}}, "worst": worst}}
    with pytest.raises(DataError, match="the metrics have no section robustness; remove it or measure again"):
        require.read(path, clean)
    assert require.read(path, clean, only_measured=True) == []


def test_requirements_must_exist(tmp_path):
    with pytest.raises(DataError, match="can't read the requirements"):
        require.check(tmp_path / "absent.toml", METRICS)


@pytest.mark.parametrize("folder", ["evaluation", "evaluation-bundle"], ids=["fp32", "int8"])
def test_the_default_model_s_records_keep_its_requirements(folder):
    recorded = json.loads((MODEL / "record" / folder / "metrics.json").read_text(encoding="utf-8"))
    said = []
    require.check(DEFAULT, recorded, said.append)
    assert "bounds of require.toml hold" in said[0]


def test_the_default_models_requirements_bound_what_evaluate_writes():
    degraded = {"conditions": {"jpeg60_half": {"auroc_loss": {"value": 0.01}}}}
    overall = METRICS["overall"] | {"apcer": figure(0.2)}
    bounds = require.read(DEFAULT, {**METRICS, "overall": overall, "robustness": degraded})
    assert {bound.name for bound in bounds} >= {
        "overall.auroc",
        "overall.ece",
        "each.real_source phone bpcer",
        "robustness.conditions.jpeg60_half.auroc_loss",
    }
    assert not all(bound.holds for bound in bounds)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            {"overlap": {"name": "mine", "pictures": 900, "shared": 5}},
            "5 of the measured pictures were trained on",
        ),
        ({"fitted_to": True}, "fitted to the measured pictures"),
        ({"overlap": {"name": "mine", "pictures": 900, "shared": 0}}, None),
    ],
)
def test_figures_of_pictures_that_the_model_knows_are_no_measure(check, data, message):
    metrics = METRICS | {"data": {"split": "test", **data}}
    bound = "[overall]\nauroc = { min = 0.98 }"
    if message is None:
        assert check(bound, metrics)[1] is None
        return
    with pytest.raises(DataError, match=message):
        check(bound, metrics)


def test_a_worst_pair_without_names_is_one_line(check):
    with pytest.raises(DataError, match="have no worst pair"):
        check("[worst_pair]\nauroc = { min = 0.5 }", METRICS | {"pairs": {"worst": {"value": 0.9}}})
