"""Train variants of the recipe with sources left out, measure them on these, and keep the results.

Usage: python train/ablations/run.py PREPARED RUNS --weights FILE [--only VARIANT] [--without GROUP]
       [--added NAME=FOLDER]

Without --only and --without it does what two cores do in a night; the plan's longer runs want to be named.
Each run goes into RUNS/VARIANT/GROUP. A run that has its result is skipped and one that broke off goes on, so
that the command may be repeated. `table.py` puts the results into docs/training.md.
"""

import argparse
import dataclasses
import json
import shutil
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fauxface import heap
from fauxface.errors import CheckpointError
from fauxface.files import atomic_write
from fauxface.signals import ended_as_by_ctrl_c
from fauxface_train import provenance, trainer
from fauxface_train.conditions import select
from fauxface_train.dataset import PreparedData
from fauxface_train.evaluate import evaluate
from fauxface_train.patterns import matches
from fauxface_train.presets import Degradations, Recipe, preset
from fauxface_train.run_state import RESUME_FILE, read_resume
from fauxface_train.scorers import open_scorer
from fauxface_train.weights import Initial

HERE = Path(__file__).parent
PLAN = HERE / "plan.toml"
RESULTS = HERE / "results.json"
FORMAT = "fauxface.ablations/2"
RESULT = "result.json"


def runs(plan: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield variant and left-out group of each run, what a night has time for first."""
    night = tonight(plan)
    yield from night
    short = {*plan["cameras"]["variants"], *plan["degradations"]["variants"]}
    asked = [(v, group) for group in plan["compare"]["left_out"] for v in plan["variants"] if v not in short]
    asked += [(v, group) for group in plan["generators"]["left_out"] for v in plan["generators"]["variants"]]
    yield from (each for each in dict.fromkeys(asked) if each not in night)


def tonight(plan: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the short runs, and the shipped preset's without each generator: a night on two cores."""
    cameras, parts, generators = plan["cameras"], plan["degradations"], plan["generators"]
    groups = (*cameras["left_out"], *cameras["generators"])
    return [
        *((variant, group) for variant in cameras["variants"] for group in groups),
        *((variant, group) for variant in parts["variants"] for group in parts["left_out"]),
        *((generators["shipped"], group) for group in generators["left_out"]),
    ]


def chosen(
    plan: Mapping[str, Any], only: Sequence[str] | None, without: Sequence[str] | None
) -> list[tuple[str, str]]:
    """Return the plan's runs of these variants and left-out groups; those of a night where none are named."""
    if not only and not without:
        return tonight(plan)
    return [
        (variant, group)
        for variant, group in runs(plan)
        if (not only or variant in only) and (not without or group in without)
    ]


def recipe_of(plan: Mapping[str, Any], variant: str, group: str, samples: int | None = None) -> Recipe:
    """Return the recipe of a run.

    Args:
        plan: Content of plan.toml.
        variant: Name of a variant.
        group: Name of a left-out group.
        samples: Length in place of the plan's; a variant with a length of its own is scaled alike.
    """
    length = plan["samples"] if samples is None else samples
    values = {"samples": plan["samples"], "seed": plan["seed"], **plan["base"], **plan["variants"][variant]}
    for name in ("why", "added", "kept"):
        values.pop(name, None)
    changes = {
        key: tuple(v) if isinstance(v, list) else v for key, v in values.pop("degradations", {}).items()
    }
    values["samples"] = values["samples"] * length // plan["samples"]
    values["validate_every"] = values["samples"]
    values["exclude"] = tuple(plan["left_out"][group])
    kept = {
        source: factor
        for source, factor in values["source_weights"].items()
        if not matches(source, values["exclude"])
    }
    values["degradations"] = dataclasses.replace(Degradations().scaled(values.pop("strength")), **changes)
    values["source_weights"] = kept
    return preset("robust").changed(**values)


def figures(document: Mapping[str, Any], excluded: tuple[str, ...], condition: str) -> dict[str, Any]:
    """Take what the table shows from an evaluation: all of test, the left-out sources, the worst pair."""
    left_out = {
        row["source"]: {key: row[key]["value"] for key in ("auroc", "apcer", "bpcer") if key in row}
        for row in document["sources"]
        if matches(row["source"], excluded)
    }
    return {
        "auroc": document["overall"]["auroc"]["value"],
        "apcer": document["overall"]["apcer"]["value"],
        "bpcer": document["overall"]["bpcer"]["value"],
        "worst_pair": document["pairs"]["worst"],
        "degraded": {"condition": condition}
        | {
            key: document["robustness"]["conditions"][condition][key]["value"]
            for key in ("auroc", "apcer", "bpcer")
        },
        "left_out": left_out,
    }


def run(
    prepared: Path,
    folder: Path,
    recipe: Recipe,
    weights: str,
    added: Sequence[Path] = (),
    *,
    condition: str,
) -> dict[str, Any]:
    """Train and measure one run; return its result. What isn't of this recipe and these sources makes way."""
    digests = [provenance.hashes(each)["manifest_sha256"] for each in (prepared, *added)]
    resume = _goes_on(folder, recipe, weights, digests)
    if not resume:
        shutil.rmtree(folder, ignore_errors=True)
    outcome = trainer.train(prepared, folder, recipe, weights=weights, added=added, resume=resume)
    if not outcome.finished:
        sys.exit(130)
    data = PreparedData.load(prepared)
    document = evaluate(open_scorer(folder), data, "test", conditions=select(condition)).document
    info = json.loads((folder / "best.json").read_text(encoding="utf-8"))
    return {
        **figures(document, recipe.exclude, condition),
        **started_from(info),
        "samples": recipe.samples,
        "seconds": info["provenance"]["seconds"],
        **{key: info["provenance"][key] for key in ("machine", "precision", "versions")},
        "recipe": dataclasses.asdict(recipe),
    }


def main() -> None:
    """Go through the plan."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("prepared", type=Path)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--weights", default="imagenet", help="initial weights, as for fauxface train")
    parser.add_argument("--only", action="append", help="a variant; may be repeated")
    parser.add_argument("--without", action="append", help="a left-out group; may be repeated")
    parser.add_argument(
        "--added", action="append", default=[], help="NAME=FOLDER, prepared data that a variant adds"
    )
    parser.add_argument("--samples", type=int, help="a trial's pictures per run; it isn't recorded")
    options = parser.parse_args()
    heap.keep_freed_memory()
    plan = tomllib.loads(PLAN.read_text(encoding="utf-8"))
    folders = dict(entry.partition("=")[::2] for entry in options.added)
    asked = chosen(plan, options.only, options.without)
    for given, known in ((options.only, {v for v, _ in asked}), (options.without, {g for _, g in asked})):
        if unknown := set(given or ()) - known:
            parser.error(f"the plan has no such run: {', '.join(sorted(unknown))}; see plan.toml")
    needed = {added for variant, _ in asked if (added := plan["variants"][variant].get("added"))}
    if missing := needed - folders.keys():
        parser.error(f"this needs --added {' --added '.join(f'{name}=FOLDER' for name in sorted(missing))}")
    sources = Sources.of(options.prepared, options.weights, folders)
    for variant, group in asked:
        place = options.runs if options.samples is None else options.runs / f"trial-{options.samples}"
        folder = _place(place, variant, group)
        found = folder / RESULT
        recipe = recipe_of(plan, variant, group, options.samples)
        name = plan["variants"][variant].get("added")
        if not is_of(found, recipe, sources, name, condition=plan["condition"]):
            sys.stderr.write(f"== {variant}, without {group}\n")
            added = [Path(folders[name])] if name else []
            condition = plan["condition"]
            result = run(options.prepared, folder, recipe, options.weights, added, condition=condition)
            result = {"variant": variant, "without": group, **result}
            with atomic_write(found) as temporary:
                temporary.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        if options.samples is None:
            _keep(options.runs, sources, plan)


@dataclasses.dataclass(frozen=True, slots=True)
class Sources:
    """What runs start from: the weights, and the SHA-256 of each manifest.csv: the data and further data."""

    data: str
    weights: str
    added: Mapping[str, str]

    @classmethod
    def of(cls, prepared: Path, weights: str, added: Mapping[str, str]) -> "Sources":
        """Look at the data."""
        digests = {name: provenance.hashes(Path(folder))["manifest_sha256"] for name, folder in added.items()}
        return cls(provenance.hashes(prepared)["manifest_sha256"], weights, digests)


def started_from(info: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a checkpoint's description says of the data and weights that its run started from."""
    return {
        "manifest_sha256": info["data"]["manifest_sha256"],
        "added_sha256": [each["manifest_sha256"] for each in info["data"].get("added", ())],
        "initial_weights": info["provenance"]["initial_weights"],
    }


def is_of(
    result: Path, recipe: Recipe, sources: Sources, added: str | None = None, *, condition: str
) -> bool:
    """Tell whether there is a result of this recipe, data and weights; a trial's or an earlier plan's isn't.

    Args:
        result: The run's result.json.
        recipe: What the plan asks for.
        sources: The data and weights.
        added: The name of the further data that the variant adds.
        condition: What test is measured under, too.
    """
    if not result.exists():
        return False
    found = json.loads(result.read_text(encoding="utf-8"))
    try:
        return (
            found.get("manifest_sha256") == sources.data
            and found.get("added_sha256") == ([sources.added.get(added)] if added else [])
            and Initial.from_dict(found["initial_weights"]).is_of(sources.weights)
            and Recipe.from_dict(found["recipe"]) == recipe
            and found.get("degraded", {}).get("condition") == condition
        )
    except CheckpointError:
        return False


def merged(known: Sequence[Mapping[str, Any]], found: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return known and new results in order; a new one replaces that of the same variant and group."""
    every = {(row["variant"], row["without"]): row for row in (*known, *found)}
    return [every[key] for key in sorted(every)]


def _place(runs: Path, variant: str, group: str) -> Path:
    return runs / variant / group.replace(" ", "-")


def _goes_on(folder: Path, recipe: Recipe, weights: str, digests: Sequence[str]) -> bool:
    """Tell whether a run of this recipe, these weights and data (its own, then further) is in the folder."""
    if not (folder / RESUME_FILE).exists():
        return False
    try:
        stored = read_resume(folder)
        data = [each["manifest_sha256"] for each in (stored["data"], *stored["data"].get("added", ()))]
        return (
            data == list(digests)
            and Initial.from_dict(stored["initial"]).is_of(weights)
            and Recipe.from_dict(stored["recipe"]) == recipe
        )
    except CheckpointError:
        return False


def _keep(folder: Path, sources: Sources, plan: Mapping[str, Any]) -> None:
    """Write the plan's results so far into the repository, beside those of other machines."""
    known = json.loads(RESULTS.read_text(encoding="utf-8"))["runs"] if RESULTS.exists() else []
    found = [
        json.loads(path.read_text(encoding="utf-8"))
        for variant, group in runs(plan)
        if is_of(
            path := _place(folder, variant, group) / RESULT,
            recipe_of(plan, variant, group),
            sources,
            plan["variants"][variant].get("added"),
            condition=plan["condition"],
        )
    ]
    with atomic_write(RESULTS) as temporary:
        document = {"format": FORMAT, "runs": merged(known, found)}
        temporary.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    with ended_as_by_ctrl_c():
        main()
