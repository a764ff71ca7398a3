import copy
import json
from pathlib import Path

import cv2
import jsonschema
import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")

import typer
from typer.testing import CliRunner

from fauxface.errors import DataError, FauxfaceError, GateError, OutputError
from fauxface_train import data_cli
from fauxface_train.audit import features, plots, report, run
from fauxface_train.audit.classifiers import Judge
from fauxface_train.audit.measure import choose
from fauxface_train.dataset import PreparedData

SCHEMA = jsonschema.Draft202012Validator(
    json.loads((Path(__file__).parents[3] / "docs/audit.schema.json").read_text())
)


def call(*arguments):
    app = typer.Typer()
    data_cli.register(app)
    result = CliRunner().invoke(app, ["data", "audit", *map(str, arguments)])
    if isinstance(result.exception, FauxfaceError):
        raise result.exception
    return result


def values_of(document, stage):
    return {group["name"]: group["stages"][stage]["value"] for group in document["groups"]}


# What is done to the generated pictures alone, as (pixels, file quality).
PLANTS = {
    "file_size": lambda p, rgb: (rgb, 35),
    "jpeg": lambda p, rgb: (rgb, 75),
    "dimensions": lambda p, rgb: (rgb[8:], 85),
    "blockiness": lambda p, rgb: (
        cv2.imdecode(np.frombuffer(p.jpeg(rgb, 20), np.uint8), cv2.IMREAD_COLOR)[..., ::-1],
        85,
    ),
    "colour": lambda p, rgb: (np.clip(rgb * np.array([1.5, 1.0, 0.6]), 0, 255).astype(np.uint8), 85),
    "gray": lambda p, rgb: (np.repeat(rgb.mean(axis=2, keepdims=True).astype(np.uint8), 3, axis=2), 85),
    "sharpness": lambda p, rgb: (p.blurred(rgb, 1.2), 85),
    "border": lambda p, rgb: (cv2.copyMakeBorder(rgb[20:], 20, 0, 0, 0, cv2.BORDER_REFLECT_101), 85),
}


@pytest.mark.parametrize("name", PLANTS)
def test_each_planted_shortcut_is_caught_and_absent_without_the_plant(pictures, name):
    """The group that sees it nears 1; with nothing planted it stays near chance."""

    def vector(number, planted):
        rgb, quality = pictures.face(number), 85
        if planted:
            rgb, quality = PLANTS[name](pictures, rgb)
        data = pictures.jpeg(rgb, quality)
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        height, width = decoded.shape[:2]
        if name in features.PIXEL_GROUPS:
            return features.PIXEL_GROUPS[name](np.ascontiguousarray(decoded))
        return {
            "file_size": lambda: features.file_size(len(data), width, height),
            "jpeg": lambda: features.jpeg_tables(data),
            "dimensions": lambda: features.dimensions(width, height),
        }[name]()

    labels = np.arange(80) % 2
    judge = Judge(labels, np.where(labels == 1, "gan", "camera"), replicates=20)
    known, names = np.ones(80, bool), features.GROUPS[name].names
    planted = np.array([vector(i, bool(label)) for i, label in enumerate(labels)])
    clean = np.array([vector(i, False) for i in range(80)])
    assert judge.judge(planted, known, names)["value"] > 0.9
    assert judge.judge(clean, known, names)["value"] < 0.7


@pytest.fixture
def planted(write_data, pictures):
    """Reals: soft, blocky, small, tightly framed, one of two sources gray. Fakes: sharp, large, with room."""
    known = {"age": 30, "gender": "female", "race": "indian"}
    rows = []
    for number in range(60):
        rgb = pictures.face(number)
        soft = pictures.blurred(rgb, 4.0)
        source = f"camera{number % 2}"
        if number % 2:
            soft = np.repeat(soft[..., :1], 3, axis=2)
        small = cv2.resize(soft, (120, 120), interpolation=cv2.INTER_AREA)
        tight = {"box_x": 2, "box_y": 2, "box_w": 116, "box_h": 116}
        rows.append(("real", source, pictures.jpeg(small, 50), small, known | tight))
        sharp = pictures.face(1000 + number, 200)
        rows.append(("fake", f"gan{number % 2}", pictures.jpeg(sharp, 95), sharp[20:180, 20:180], {}))
    return write_data(rows, "planted")


def test_planted_data_fail_the_gate_and_the_report_says_why(planted, tmp_path):
    out = tmp_path / "report"
    with pytest.raises(GateError, match=r"can be told by .*sharpness 0\.\d+.*limit 0\.6.*audit\.md"):
        call(planted, "--out", out, "--fail-above", "0.6")
    document = json.loads((out / "audit.json").read_text())
    SCHEMA.validate(document)
    raw, view = values_of(document, "raw"), values_of(document, "view")
    for name in ("file_size", "dimensions", "jpeg", "blockiness", "sharpness", "face_size", "tightness"):
        assert raw[name] > 0.95, name
    assert values_of(document, "input")["jpeg"] == values_of(document, "input")["dimensions"] == 0.5
    assert view["dimensions"] == view["face_size"] == 0.5
    assert view["tightness"] > 0.6
    assert view["sharpness"] > 0.6
    assert set(document["gate"]["failed"]) == {
        name for name, value in view.items() if value is not None and value > 0.6
    }
    assert {"age", "gender"} <= set(document["gate"]["not_judged"])
    gray = next(g for g in document["groups"] if g["name"] == "gray")["stages"]["raw"]
    assert gray["carried_by"] == "camera1"
    age = next(g for g in document["groups"] if g["name"] == "age")["stages"]["view"]
    assert age == {"value": None, "reason": "known of bona fide pictures only"}
    page = (out / "audit.md").read_text()
    assert "**Failed** (no AUROC after the transform above 0.6)" in page
    assert "| Gray share | raw files | " in page
    for path in out.iterdir():
        if path.suffix == ".png":
            assert f"]({path.name})" in page
            assert cv2.imread(str(path)).std() > 5
    assert {p.name for p in out.iterdir()} == {
        "audit.json",
        "audit.md",
        "groups.png",
        *(f"sources_{stage}.png" for stage in ("raw", "crop", "input", "view")),
    }
    assert str(tmp_path) not in page + (out / "audit.json").read_text()


def test_clean_data_pass_and_originals_may_be_gone(clean_rows, write_data, tmp_path):
    root = write_data(clean_rows)
    originals = sorted((tmp_path / "prepared-originals").iterdir())
    for path in originals[10:]:
        path.unlink()
    originals[0].write_bytes(originals[1].read_bytes())
    out = tmp_path / "report"
    out.mkdir()
    of_ones_own, left = out / "sources_of_funding.png", out / "sources_raw.png"
    for path in (of_ones_own, left):
        path.write_bytes(b"before")
    result = call(root, "--out", out, "--fail-above", "0.7")
    assert result.exit_code == 0, result.output
    assert of_ones_own.read_bytes() == b"before"
    assert not left.exists() or left.read_bytes() != b"before"
    document = json.loads((out / "audit.json").read_text())
    SCHEMA.validate(document)
    assert document["gate"]["failed"] == []
    assert document["data"]["originals"] == {"asked": True, "read": 9, "missing": 150, "changed": 1}
    raw = document["groups"][0]["stages"]["raw"]
    assert raw["value"] is None
    assert "fewer than 20" in raw["reason"]
    assert "9 read, 150 missing or unreadable, 1 changed" in result.output
    assert "**Passed**" in (out / "audit.md").read_text()


def test_without_originals_the_manifest_still_tells_sizes_and_the_result_is_repeatable(
    clean_rows, write_data, monkeypatch
):
    monkeypatch.setattr(Path, "read_bytes", guarded(Path.read_bytes))
    few = {name: features.GROUPS[name] for name in ("dimensions", "jpeg", "sharpness")}
    monkeypatch.setattr(features, "GROUPS", few)
    data = PreparedData.load(write_data(clean_rows[:44]))
    first, second = (run.audit(data, count=44, originals=False, seed=3, replicates=10) for _ in range(2))
    SCHEMA.validate(first)
    assert first | {"created": ""} == second | {"created": ""}
    assert first["data"]["samples"] == 44
    raw = {group["name"]: group["stages"]["raw"] for group in first["groups"]}
    assert raw["dimensions"]["value"] == 0.5
    assert raw["sharpness"] == {"value": None, "reason": "the original files weren't read"}
    assert "not read, as asked" in report.render(first)


def test_the_transform_has_the_strength_that_one_trains_with(clean_rows, write_data, monkeypatch):
    few = {name: features.GROUPS[name] for name in ("jpeg", "sharpness")}
    monkeypatch.setattr(features, "GROUPS", few)
    data = PreparedData.load(write_data(clean_rows[:44]))
    made = run.audit(data, count=44, originals=False, strength=0, replicates=10)
    SCHEMA.validate(made)
    assert made["settings"]["transform"] == "robust, strength 0"
    assert made["settings"]["degradations"]["gray"] == 0
    assert "Transform: preset robust, strength 0; seed 0" in report.render(made)
    made = run.audit(data, count=44, originals=False, framing=0.5, replicates=10)
    assert made["settings"]["transform"] == "robust, framing 0.5"
    assert made["settings"]["degradations"]["shift"] == pytest.approx(0.025)
    with pytest.raises(DataError, match="check --strength"):
        run.audit(data, count=44, originals=False, strength=1e9)


def guarded(read_bytes):
    """Refuse to read originals."""

    def read(self):
        assert "prepared-originals" not in str(self)
        return read_bytes(self)

    return read


def test_added_data_are_judged_with_those_that_they_join(write_prepared):
    def rows(split, label, source):
        return [(split, label, source, redness, {}) for redness in range(20)]

    data = PreparedData.load(
        write_prepared(
            [*rows("train", "real", "camera"), *rows("train", "fake", "gan"), *rows("val", "real", "b")]
        )
    )
    extra = write_prepared([*rows("train", "fake", "further"), *rows("val", "fake", "held")], name="extra")
    document = run.audit(data, added=[extra], originals=False, replicates=20)
    SCHEMA.validate(document)
    assert document["data"]["added"] == ["extra"]
    assert "split all, and the train pictures of `extra`: 40" in report.render(document, [])
    assert (document["data"]["bona_fide"], document["data"]["generated"]) == (40, 40)
    with pytest.raises(DataError, match="nothing to add to val"):
        run.audit(data, split="val", added=[extra])


def test_what_was_made_of_one_photograph_is_one_group_without_it_too(write_prepared):
    rebuilt = {"original": f"recon_x:{'1' * 16}"}
    rows = [
        ("train", "real", "camera", 1, {"sha256": "2" * 64}),
        *(("train", "fake", "recon_x", n, rebuilt) for n in (2, 3)),
        ("train", "fake", "recon_x", 4, {"original": f"recon_x:{'2' * 16}"}),
    ]
    samples = PreparedData.load(write_prepared(rows)).samples("train")
    keys = {(s.source, s.original): key for s, key in zip(samples, run._photographs(samples), strict=True)}
    assert keys["recon_x", rebuilt["original"]] == "1" * 16
    assert sorted(run._photographs(samples)) == ["1" * 16] * 2 + ["2" * 16] * 2


def test_what_training_excludes_is_not_judged(write_prepared):
    def rows(split, label, source):
        return [(split, label, source, redness, {}) for redness in range(20)]

    data = PreparedData.load(
        write_prepared(
            [*rows("train", "real", "camera"), *rows("train", "fake", "gan"), *rows("train", "fake", "odd")]
        )
    )
    extra = write_prepared([*rows("train", "fake", "odd2"), *rows("train", "fake", "c")], name="extra")
    document = run.audit(data, added=[extra], exclude=["odd*"], originals=False, replicates=20)
    SCHEMA.validate(document)
    assert (document["data"]["bona_fide"], document["data"]["generated"]) == (20, 40)
    assert document["data"]["excluded"] == ["odd*"]
    assert "the train pictures of `extra`, without `odd*`: 20" in report.render(document, [])
    with pytest.raises(DataError, match="'nothing' matches no source"):
        run.audit(data, exclude=["nothing"])


def test_choice_is_balanced_over_labels_and_sources(write_prepared):
    rows = [("train", "real", "big", 0, {})] * 50 + [("test", "real", "small", 0, {})] * 4
    rows += [("train", "fake", "one", 0, {})] * 30 + [("val", "fake", "two", 0, {})] * 30
    samples = PreparedData.load(write_prepared(rows)).samples()
    chosen = choose(samples, 40, seed=0)
    counts = {name: sum(s.source == name for s in chosen) for name in ("big", "small", "one", "two")}
    assert counts == {"big": 16, "small": 4, "one": 10, "two": 10}
    assert set(choose(samples[::-1], 40, seed=0)) == set(chosen)
    assert set(choose(samples, 40, seed=1)) != set(chosen)
    assert len(choose(samples, 1000, seed=0)) == len(samples)


@pytest.fixture
def document():
    """A hand-made document with one group in every state."""
    found = {
        "value": 0.7,
        "low": 0.58,
        "high": 0.8,
        "samples": 100,
        "constant": False,
        "across_sources": {"value": 0.52, "folds": [0.5, 0.54]},
        "features": [
            {"name": "log_laplacian_variance", "auroc": 0.7, "median_bona_fide": 1.0, "median_generated": 2.0}
        ],
        "sources": [
            {"source": "cam|1", "label": "bona_fide", "samples": 50, "auroc": 0.9, "without": 0.55},
            {"source": "gan", "label": "generated", "samples": 50, "auroc": 0.6, "without": None},
        ],
        "carried_by": "cam|1",
    }
    view = copy.deepcopy(found) | {"value": 0.61, "low": 0.55, "high": 0.66}
    constant = copy.deepcopy(found) | {"value": 0.5, "low": 0.5, "high": 0.5, "constant": True}
    none = {"value": None, "reason": "known of bona fide pictures only"}
    names = ("raw", "crop", "input", "view")
    states = {
        "sharpness": (found, found, found, view),
        "dimensions": (found, found, constant, constant),
        "age": (none,) * 4,
    }
    groups = [
        {"name": name, "title": name.title(), "stages": dict(zip(names, row, strict=True))}
        for name, row in states.items()
    ]
    return {
        "format": run.FORMAT,
        "created": "2026-01-01T00:00:00+00:00",
        "fauxface": "0",
        "data": {
            "name": "mine",
            "split": "all",
            "samples": 100,
            "bona_fide": 50,
            "generated": 50,
            "originals": {"asked": True, "read": 100, "missing": 0, "changed": 0},
        },
        "settings": {
            "seed": 0,
            "folds": 5,
            "confidence": 0.95,
            "replicates": 10,
            "transform": "robust",
            "degradations": {},
        },
        "stages": [{"name": n, "title": t} for n, t in run.STAGES.items()],
        "groups": groups,
        "gate": run.gate(groups, 0.6),
    }


@pytest.mark.parametrize(
    ("limit", "failed"), [(0.6, ["sharpness"]), (0.61, []), (0.58, ["sharpness"]), (1.0, [])]
)
def test_gate_holds_the_figure_itself_after_the_transform(document, limit, failed, tmp_path):
    SCHEMA.validate(document)
    document["gate"] = run.gate(document["groups"], limit)
    assert document["gate"]["failed"] == failed
    if failed:
        with pytest.raises(GateError, match=r"sharpness 0\.610"):
            run.require(document, tmp_path / "audit.md")
    else:
        run.require(document, tmp_path / "audit.md")


@pytest.mark.parametrize(("counts", "said"), [((20, 20), False), ((20, 21), False), ((20, 96), True)])
def test_sources_with_fewer_pictures_are_said_so(document, counts, said):
    for found in (found for group in document["groups"] for found in group["stages"].values()):
        for count, row in zip(counts, found.get("sources", ()), strict=False):
            row |= {"label": "bona_fide", "samples": count}
    page = report.render(document, [])
    assert ("balanced over labels and sources, as far as there are pictures" in page) == said


def test_a_figure_without_an_interval_is_shown_alone(document):
    found = document["groups"][0]["stages"]["raw"]
    del found["low"], found["high"]
    SCHEMA.validate(document)
    assert "| Sharpness | 0.700 |" in report.render(document, [])
    assert plots.groups(document).axes


def test_report_shows_the_stages_side_by_side(document):
    page = report.render(document, ["groups.png"])
    interval = "0.700 (0.580-0.800)"
    assert f"| Sharpness | {interval} | {interval} | {interval} | 0.610 (0.550-0.660) |" in page
    assert f"| Dimensions | {interval} | {interval} | 0.5, all alike | 0.5, all alike |" in page
    assert "| Dimensions | -0.200 | +0.000 | -0.200 |" in page
    assert "No figure (known of bona fide pictures only): Age." in page
    assert r"| Sharpness | raw files | 0.700 | cam\|1 (0.550 without it) | cam\|1 0.900, gan 0.600 |" in page
    assert "| Dimensions | network input |" not in page.partition("## Which sources carry it")[2]
    assert "![AUROC of each nuisance at each stage](groups.png)" in page


def test_plots_draw_limit_and_every_source(document):
    figure = plots.groups(document)
    assert any(line.get_linestyle() == "--" for line in figure.axes[0].lines)
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert labels == ["Sharpness", "Dimensions"]
    heat = plots.sources(document, "raw").axes[0]
    assert [text.get_text() for text in heat.get_yticklabels()] == ["cam|1 (bona fide)", "gan (generated)"]


@pytest.mark.parametrize("options", [(), ("--split", "test")])
def test_too_few_pictures_are_refused(write_data, clean_rows, tmp_path, options):
    root = write_data(clean_rows[:30])
    where = "split test of" if options else "15 bona fide pictures were taken of"
    with pytest.raises(DataError, match=f"{where}.*at least 20"):
        call(root, "--out", tmp_path / "report", *options)


def test_out_is_checked_before_the_work(write_data, clean_rows, tmp_path):
    root = write_data(clean_rows[:4])
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="is a file"):
        call(root, "--out", tmp_path / "file")


@pytest.mark.parametrize("limit", ["0.4", "1.1", "nan", "x"])
def test_bad_limits(tmp_path, limit):
    assert call(tmp_path, "--fail-above", limit).exit_code == 2
