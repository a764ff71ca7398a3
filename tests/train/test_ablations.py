"""The scripts in train/ablations: what is run, with which recipe, and what the table says of it."""

import dataclasses
import importlib.util
import json
import tomllib
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

pytest.importorskip("torch")

FOLDER = Path(__file__).parent.parent.parent / "train" / "ablations"


def load(name):
    spec = importlib.util.spec_from_file_location(f"ablations_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


run, table = load("run"), load("table")


@pytest.fixture
def plan():
    return tomllib.loads((FOLDER / "plan.toml").read_text(encoding="utf-8"))


def test_every_variant_meets_what_it_is_compared_by(plan):
    planned = list(run.runs(plan))
    assert len(set(planned)) == len(planned)
    short = {*plan["cameras"]["variants"], *plan["degradations"]["variants"]}
    for group in plan["compare"]["left_out"]:
        met = {variant for variant, found in planned if found == group and variant not in short}
        assert met == set(plan["variants"]) - short
    for variant in plan["generators"]["variants"]:
        met = {group for found, group in planned if found == variant}
        assert met == {*plan["compare"]["left_out"], *plan["generators"]["left_out"]}
    for variant in plan["degradations"]["variants"]:
        met = {group for found, group in planned if found == variant}
        assert met == set(plan["degradations"]["left_out"]) <= {group for v, group in planned if v == "short"}


def test_each_part_meets_each_bona_fide_source_of_test(plan):
    planned = list(run.runs(plan))
    for variant in plan["cameras"]["variants"]:
        groups = [group for found, group in planned if found == variant]
        cameras = set(groups) - set(plan["cameras"]["generators"])
        for source in TEST_SOURCES:
            patterns = [pattern for group in cameras for pattern in plan["left_out"][group]]
            assert any(fnmatchcase(source, pattern) for pattern in patterns) == (source not in GENERATED)
    lengths = {run.recipe_of(plan, variant, "utkface").samples for variant in plan["cameras"]["variants"]}
    assert max(lengths) == run.recipe_of(plan, "short", "utkface").samples < plan["samples"]


def test_runs_are_chosen_by_variant_and_group(plan):
    night = run.chosen(plan, None, None)
    assert set(night) < set(run.runs(plan))
    assert {variant for variant, group in night if plan["variants"][variant].get("samples") != 8000} == {
        "robust",
        "short-consistent",
    }
    assert ("cycle", "sdxl") in run.chosen(plan, ["cycle"], None)
    assert run.chosen(plan, ["robust"], ["sdxl"]) == [("robust", "sdxl")]
    assert run.chosen(plan, ["plain"], ["utkface"]) == []


def test_each_run_has_a_valid_recipe(plan):
    for variant, group in run.runs(plan):
        recipe = run.recipe_of(plan, variant, group)
        assert recipe.exclude == tuple(plan["left_out"][group])
        assert not set(recipe.source_weights) & set(recipe.exclude)
        assert recipe.validate_every == recipe.samples
    degradations = run.recipe_of(plan, "robust", "sdxl").degradations
    assert degradations.colour == pytest.approx(0.4 * run.Degradations().colour)
    alone = run.recipe_of(plan, "short-no-colour", "sdxl").degradations
    assert (alone.colour, alone.gray) == (0, 0)
    assert dataclasses.replace(alone, colour=degradations.colour, gray=degradations.gray) == degradations
    assert run.recipe_of(plan, "short-one-framing", "sdxl").degradations.margin == (1, 1)
    assert run.recipe_of(plan, "consistent", "sdxl", samples=2000).samples == 1000
    assert run.recipe_of(plan, "robust", "sdxl", samples=2000).samples == 2000


def test_every_source_of_test_is_left_out_and_every_generator_as_a_whole(plan):
    whole = plan["generators"]["left_out"]
    for source in TEST_SOURCES:
        found = [
            group
            for group, patterns in plan["left_out"].items()
            if any(fnmatchcase(source, pattern) for pattern in patterns)
        ]
        assert found
        assert sum(group in whole for group in found) == (source in GENERATED)


def test_each_source_weight_is_of_a_source_that_is_left(plan):
    trained = json.loads((RECORD / "classifier" / "best.json").read_text(encoding="utf-8"))["data"]["train"]
    sources = {*trained["real"], *trained["fake"], "recon_nearest"}
    for variant, group in run.runs(plan):
        recipe = run.recipe_of(plan, variant, group)
        left = [s for s in sources if not any(fnmatchcase(s, pattern) for pattern in recipe.exclude)]
        for pattern in recipe.source_weights:
            assert any(fnmatchcase(source, pattern) for source in left), (variant, group, pattern)


RECORD = FOLDER.parent / "default_model" / "record"
METRICS = RECORD / "evaluation" / "metrics.json"
SOURCES = json.loads(METRICS.read_text(encoding="utf-8"))["sources"]
TEST_SOURCES = [row["source"] for row in SOURCES]
GENERATED = {row["source"] for row in SOURCES if row["label"] == "generated"}

DOCUMENT = {
    "overall": {"auroc": {"value": 0.97}, "apcer": {"value": 0.2}, "bpcer": {"value": 0.01}},
    "sources": [
        {"source": "new_gan", "auroc": {"value": 0.9}, "apcer": {"value": 0.5}},
        {"source": "camera", "auroc": {"value": 0.99}, "bpcer": {"value": 0.0}},
    ],
    "robustness": {
        "conditions": {
            "jpeg60_half": {"auroc": {"value": 0.94}, "apcer": {"value": 0.6}, "bpcer": {"value": 0.02}}
        }
    },
    "pairs": {"worst": {"real": "camera", "fake": "new_gan", "value": 0.88, "low": 0.8, "high": 0.9}},
}


def test_figures_are_those_of_the_left_out_sources():
    found = run.figures(DOCUMENT, ("new_*",), "jpeg60_half")
    assert found["left_out"] == {"new_gan": {"auroc": 0.9, "apcer": 0.5}}
    assert found["worst_pair"]["value"] == 0.88
    assert found["degraded"] == {"condition": "jpeg60_half", "auroc": 0.94, "apcer": 0.6, "bpcer": 0.02}
    assert run.figures(DOCUMENT, (), "jpeg60_half")["left_out"] == {}


def test_results_of_other_machines_stay_unless_run_again():
    old = [{"variant": v, "without": "gan", "auroc": 0.8} for v in ("robust", "plain")]
    new = [{"variant": "robust", "without": g, "auroc": 0.9} for g in ("gan", "camera")]
    found = [(row["variant"], row["without"], row["auroc"]) for row in run.merged(old, new)]
    assert found == [("plain", "gan", 0.8), ("robust", "camera", 0.9), ("robust", "gan", 0.9)]


def test_a_trial_s_result_is_neither_kept_nor_taken_for_the_run(plan, prepared, tmp_path, monkeypatch):
    recorded, trained = tmp_path / "results.json", []

    def train(prepared, folder, recipe, weights, added=(), *, condition):
        trained.append(recipe.samples)
        folder.mkdir(parents=True, exist_ok=True)
        data = run.provenance.hashes(prepared)["manifest_sha256"]
        description = {
            "data": {"manifest_sha256": data},
            "provenance": {"initial_weights": {"kind": weights, "sha256": "ab", "fresh": []}},
        }
        degraded = {"condition": condition}
        return {
            "recipe": dataclasses.asdict(recipe),
            "degraded": degraded,
            **run.started_from(description),
        }

    def go(*more):
        given = [
            "run.py",
            str(prepared),
            str(tmp_path / "runs"),
            "--only",
            "robust",
            "--without",
            "sdxl",
            *more,
        ]
        monkeypatch.setattr("sys.argv", given)
        run.main()

    monkeypatch.setattr(run, "run", train)
    monkeypatch.setattr(run, "RESULTS", recorded)
    go("--samples", "640")
    assert not recorded.exists()
    assert not (tmp_path / "runs" / "robust").exists()
    go()
    go()
    assert trained == [640, plan["samples"]]
    (kept,) = json.loads(recorded.read_text())["runs"]
    assert kept["recipe"]["samples"] == plan["samples"]
    with (prepared / "manifest.csv").open("a") as file:
        file.write("\n")
    go()
    assert trained == [640, plan["samples"], plan["samples"]]
    go("--weights", "none")
    assert trained == [640] + 3 * [plan["samples"]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "robust", "--only", "robsut"], "no such run: robsut"),
        (["--only", "robust", "--without", "everything"], "no such run"),
        (["--only", "reconstructed"], "needs --added reconstructions=FOLDER"),
    ],
)
def test_what_cannot_be_run_is_said_at_once(prepared, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.setattr(run, "run", lambda *_: pytest.fail("it trained"))
    monkeypatch.setattr("sys.argv", ["run.py", str(prepared), str(tmp_path / "runs"), *arguments])
    with pytest.raises(SystemExit):
        run.main()
    assert message in capsys.readouterr().err


def test_further_data_are_part_of_what_a_result_is_of(plan, tmp_path):
    recipe = run.recipe_of(plan, "reconstructed", "sdxl")
    found = {
        "recipe": dataclasses.asdict(recipe),
        "manifest_sha256": "ab",
        "added_sha256": ["cd"],
        "degraded": {"condition": "none"},
        "initial_weights": {"kind": "none", "sha256": None, "fresh": []},
    }
    (tmp_path / "result.json").write_text(json.dumps(found))
    for digest, same in (("cd", True), ("ef", False)):
        sources = run.Sources("ab", "none", {"reconstructions": digest})
        assert (
            run.is_of(tmp_path / "result.json", recipe, sources, "reconstructions", condition="none") == same
        )
    assert not run.is_of(tmp_path / "result.json", recipe, run.Sources("ab", "none", {}), condition="none")
    sources = run.Sources("ab", "none", {"reconstructions": "cd"})
    assert not run.is_of(tmp_path / "result.json", recipe, sources, "reconstructions", condition="blur1")
    del found["manifest_sha256"]
    (tmp_path / "result.json").write_text(json.dumps(found))
    assert not run.is_of(tmp_path / "result.json", recipe, sources, "reconstructions", condition="none")


@pytest.mark.parametrize(
    ("weights", "added", "goes_on"),
    [("none", ["cd"], True), ("imagenet", ["cd"], False), ("none", [], False)],
)
def test_a_run_goes_on_with_what_it_was_started_from_alone(
    plan, tmp_path, monkeypatch, weights, added, goes_on
):
    recipe = run.recipe_of(plan, "reconstructed", "sdxl")
    stored = {
        "data": {"manifest_sha256": "ab", "added": [{"manifest_sha256": "cd"}]},
        "initial": {"kind": "none", "sha256": None, "fresh": []},
        "recipe": dataclasses.asdict(recipe),
    }
    (tmp_path / "resume.pt").touch()
    monkeypatch.setattr(run, "read_resume", lambda _: stored)
    assert run._goes_on(tmp_path, recipe, weights, ["ab", *added]) == goes_on
    assert not run._goes_on(tmp_path, recipe.changed(seed=5), "none", ["ab", "cd"])


def test_the_table_shows_what_was_run():
    plan = {
        "variants": {"robust": {"kept": "yes"}, "plain": {"why": "framing only"}, "later": {}},
        "compare": {"left_out": ["old", "gan"]},
        "left_out": {"old": ["new_*"], "gan": ["new_*"], "camera": ["camera"]},
        "condition": "jpeg60_half",
        "cameras": {"variants": ["short"], "left_out": [], "generators": []},
        "degradations": {"variants": [], "left_out": []},
    }
    old = {
        **run.figures(DOCUMENT, ("new_*",), "jpeg60_half"),
        "samples": 32000,
        "seconds": 600,
        "precision": "float32",
    }
    gan = {
        **run.figures(DOCUMENT, ("new_*",), "jpeg60_half"),
        "samples": 32000,
        "seconds": 540,
        "precision": "bfloat16",
    }
    camera = {**run.figures(DOCUMENT, ("camera",), "jpeg60_half"), "samples": 32000, "seconds": 540}
    results = {
        "runs": [
            {"variant": "robust", "without": "old", **old},
            {"variant": "robust", "without": "gan", **gan},
            {"variant": "robust", "without": "camera", **camera},
            {"variant": "robust", "without": "other", **gan},
            {"variant": "plain", "without": "old", **old},
        ],
    }
    lines = table.tables(plan, results).splitlines()
    robust = "| `robust` | 32,000 | 0.9000 (0.9700) | 0.9000 (0.9700) | 10, 9 | float32, bfloat16 | yes |"
    assert robust in lines
    assert "| `plain`: framing only | 32,000 | 0.9000 (0.9700) | - | 10 | float32 | no |" in lines
    assert "| camera | `robust` | 32,000 | 9 | camera | 0.9900 |  | 0.0000 |" in lines
    assert "| other | `robust` | 32,000 | 9 | new_gan | 0.9000 | 0.5000 |  |" in lines
    assert not any("later" in line for line in lines)


def test_the_tables_of_short_runs_show_each_left_out_source_and_their_mean():
    names = ("robust", "short", "short-plain", "short-later", "short-no-codec")
    plan = {
        "variants": {name: {"why": name} for name in names},
        "compare": {"left_out": ["gan"]},
        "left_out": {"gan": ["new_*"], "camera": ["camera"], "phone": ["camera"]},
        "condition": "jpeg60_half",
        "cameras": {"variants": names[1:4], "left_out": ["camera", "phone"], "generators": ["gan"]},
        "degradations": {"variants": ["short-no-codec"], "left_out": ["camera", "gan"]},
    }
    plan["variants"]["short"]["kept"] = "first cycle"
    row = {
        **run.figures(DOCUMENT, ("camera",), "jpeg60_half"),
        "samples": 8000,
        "seconds": 60,
        "precision": "bfloat16",
    }
    both = {"new_gan": {"auroc": 0.9, "apcer": 0.5}, "old_gan": {"auroc": 0.8, "apcer": 0.25}}
    gan = {**row, "left_out": both}
    worse = {**row, "auroc": 0.95, "apcer": 0.4, "left_out": {"camera": {"auroc": 0.95, "bpcer": 0.1}}}
    earlier = {key: value for key, value in worse.items() if key != "degraded"}
    results = {
        "runs": [
            {"variant": "short", "without": "camera", **row},
            {"variant": "short", "without": "phone", **worse},
            {"variant": "short", "without": "gan", **gan},
            {"variant": "short-plain", "without": "camera", **earlier},
            {"variant": "short-plain", "without": "phone", **earlier},
            {"variant": "short-no-codec", "without": "camera", **worse},
            {"variant": "short-no-codec", "without": "gan", **gan},
        ]
    }
    lines = table.tables(plan, results).splitlines()
    gans = "0.9000, 0.500; 0.8000, 0.250"
    cells = f"0.9900, 0.000 | 0.9500, 0.100 | 0.9700, 0.050 | {gans} | 0.9600, 0.300 | 0.9400, 0.600"
    assert f"| `short`: short | 8,000 | {cells} | 3 | first cycle |" in lines
    cells = "0.9500, 0.100 | 0.9500, 0.100 | 0.9500, 0.100 | - | 0.9500, 0.400 | -"
    assert f"| `short-plain`: short-plain | 8,000 | {cells} | 2 | no |" in lines
    cells = f"0.9500, 0.100 | {gans} | 0.9600, 0.300 | 0.9400, 0.600"
    assert f"| `short-no-codec`: short-no-codec | 8,000 | {cells} | 2 | no |" in lines
    assert not any("later" in line for line in lines)
    assert sum("`short`" in line for line in lines) == 2


@pytest.mark.skipif(not (FOLDER / "results.json").exists(), reason="the ablations haven't been run")
def test_the_page_shows_the_committed_results():
    page = table.PAGE.read_text(encoding="utf-8")
    assert "<!-- ablations -->" in page
    assert table.fill(page, "ablations", table.current()) == page
