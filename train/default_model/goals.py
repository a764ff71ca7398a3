"""Hold what was recorded of the default model against what it was to reach, and put the table into README.md.

Usage: python train/default_model/goals.py
"""

import json
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fauxface_train import pages

HERE = Path(__file__).parent
PAGE = HERE / "README.md"
RECORD = HERE / "record"
ABLATIONS = HERE.parent / "ablations" / "results.json"
PLAN = ABLATIONS.with_name("plan.toml")
BUNDLE = HERE.parent.parent / "runtime" / "fauxface" / "default_bundle" / "bundle.json"


@dataclass(frozen=True, slots=True)
class Goal:
    """One figure and its bound.

    Attributes:
        what: Name of the figure.
        bound: What was asked.
        value: What was measured.
        least: Whether the bound is the lowest value allowed; else it is the highest.
        where: Of what the value is, where it is the worst of several.
        interval: Its 95 % interval, where it was measured.
    """

    what: str
    bound: float
    value: float
    least: bool = False
    where: str = ""
    interval: tuple[float, float] | None = None

    @property
    def reached(self) -> bool:
        """Whether the value keeps the bound."""
        return self.value >= self.bound if self.least else self.value <= self.bound


def of_test(metrics: Mapping[str, Any]) -> Iterator[Goal]:
    """Yield the goals on the test split, from the content of metrics.json."""
    overall, (pairs,) = metrics["overall"], metrics["pairs"]["subsets"]
    bona_fide, worst = metrics["worst"]["bpcer"], pairs["worst"]
    loss = metrics["robustness"]["conditions"]["jpeg60_half"]["auroc_loss"]
    pair = f"{worst['real']} against {worst['fake']}"
    yield Goal("AUROC", 0.995, **_figure(overall["auroc"]), least=True)
    yield Goal("APCER, all generated faces", 0.1, **_figure(overall["apcer"]))
    yield Goal("BPCER, worst bona fide source", 0.03, **_figure(bona_fide), where=bona_fide["source"])
    yield Goal("ECE", 0.03, **_figure(overall["ece"]))
    yield Goal(f"AUROC, worst pair of {pairs['name']}", 0.95, **_figure(worst), least=True, where=pair)
    yield Goal("AUROC lost after half size and JPEG q60", 0.02, **_figure(loss))


def of_validation(manifest: Mapping[str, Any]) -> Iterator[Goal]:
    """Yield a goal for each bona fide source of validation at the shipped threshold, the worst first.

    From the content of bundle.json: the share that is called generated under the condition where it is
    highest. A face counts as the share of its views.
    """
    held = manifest["provenance"]["held"]
    worst: dict[str, Mapping[str, Any]] = {}
    for row in sorted(held["real_sources"], key=lambda row: row["errors"] / row["samples"], reverse=True):
        worst.setdefault(row["source"], row)
    for row in worst.values():
        found = f"{row['errors']:g} of {row['samples']}, {row['allowed']} allowed"
        where = f"{row['source']}, {row['condition']}; {found}"
        yield Goal("BPCER", held["bpcer_target"], row["errors"] / row["samples"], where=where)


def of_int8(manifest: Mapping[str, Any]) -> Iterator[Goal]:
    """Yield the goals of the int8 variant, from the content of bundle.json."""
    test = manifest["variants"]["int8"]["test"]
    yield Goal("AUROC that int8 loses or gains", 0.002, abs(test["auroc_loss"]))
    yield Goal("verdicts that int8 changes", 0.01, test["flips"])


def of_left_out(results: Mapping[str, Any], generators: Mapping[str, Any]) -> Iterator[Goal]:
    """Yield a goal for each source of the left-out generators by two recipes, the worst first.

    Args:
        results: Content of train/ablations/results.json.
        generators: Of plan.toml: names of the groups that hold all sources of a generator (`left_out`), the
            preset of the shipped model's first cycle (`shipped`), and the variants of which the first that
            was run stands for a group (`shown`).
    """
    rows = {(row["variant"], row["without"]): row for row in results["runs"]}
    for names in ([generators["shipped"]], generators["shown"]):
        made = (
            [rows[name, group] for name in names if (name, group) in rows] for group in generators["left_out"]
        )
        yield from _without([runs[0] for runs in made if runs])


def _without(runs: Sequence[Mapping[str, Any]]) -> list[Goal]:
    found = [
        Goal(
            f"AUROC without {row['without']} in training, `{row['variant']}` of {row['samples']:,} pictures",
            0.9,
            values["auroc"],
            least=True,
            where=source,
        )
        for row in runs
        for source, values in row["left_out"].items()
    ]
    return sorted(found, key=lambda goal: goal.value)


def of_audit(audit: Mapping[str, Any]) -> Iterator[Goal]:
    """Yield a goal for each nuisance that tells the labels apart after the transform, from audit.json."""
    for group in audit["groups"]:
        seen = group["stages"].get("view") or {}
        if seen.get("value") is not None and not seen["constant"]:
            name = group["title"].lower()
            yield Goal(f"AUROC from {name} alone", 0.6, **_figure(seen))


def of_locator(report: Mapping[str, Any]) -> Iterator[Goal]:
    """Yield the locator's goals in a copy of 320 px, each for its worst group, from compare.json."""
    found = report["sides"]["320"]
    limits = (
        ("recall", 0.97, True, "faces that the teacher finds and the locator too"),
        ("precision", 0.97, True, "faces of the locator that the teacher finds too"),
        ("mean_iou", 0.8, True, "mean IoU with the teacher's boxes"),
        ("landmark_error", 0.05, False, "landmark error, share of the box"),
    )
    for key, bound, least, name in limits:
        pick = min if least else max
        where = pick(found["groups"], key=lambda group: found["groups"][group][key])
        for group in (where, "all"):
            row = found["all"] if group == "all" else found["groups"][group]
            interval = row.get(f"{key}_interval")
            yield Goal(name, bound, row[key], least, group, tuple(interval) if interval else None)
    for side, values in report["sides"].items():
        for name, seen in values["negatives"].items():
            extra = seen["found_faces"] - seen["reference_faces"]
            trained = " (most of them trained on)" if name.endswith("backgrounds") else ""
            yield Goal("false faces more than the teacher's", 0, extra, where=f"{name}{trained}, {side} px")
        yield Goal("time, of the teacher's", 1, values["time"]["ratio"], where=f"{side} px")


def _figure(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return a measured figure as arguments of `Goal`."""
    return {"value": found["value"], "interval": (found["low"], found["high"]) if "low" in found else None}


def recorded() -> dict[str, list[Goal]]:
    """Return all goals by where they were measured."""

    def read(path: Path) -> Any:
        return json.loads(path.read_text(encoding="utf-8"))

    generators = tomllib.loads(PLAN.read_text(encoding="utf-8"))["generators"]
    return {
        "Test split": [
            *of_test(read(RECORD / "evaluation" / "metrics.json")),
            *of_int8(read(BUNDLE)),
        ],
        "Validation split, at the shipped threshold (`allowed`: as many don't contradict 1 %)": list(
            of_validation(read(BUNDLE))
        ),
        "Generators left out, in shorter runs: by `robust`, as the first cycle, then by another": list(
            of_left_out(read(ABLATIONS), generators)
        ),
        "Training data after the transform of `robust`, as in the first cycle": list(
            of_audit(read(RECORD / "audit" / "audit.json"))
        ),
        "Training data after a fifth of its degradations, as in the later cycles": list(
            of_audit(read(RECORD / "audit-light" / "audit.json"))
        ),
        "Locator against its teacher, in a copy of 320 px where no other is named": list(
            of_locator(read(RECORD / "locator" / "compare.json"))
        ),
    }


def table(goals: Mapping[str, list[Goal]]) -> str:
    """Return all goals as a Markdown table."""
    rows: list[tuple[str, ...]] = []
    for title, group in goals.items():
        rows.append((f"**{title}**", "", "", ""))
        for goal in group:
            sign = "at least" if goal.least else "at most"
            name = f"{goal.what} ({goal.where})" if goal.where else goal.what
            mark = "reached" if goal.reached else "**not reached**"
            rows.append((name, f"{sign} {goal.bound:g}", _shown(goal), mark))
    return "\n".join(pages.table(("", "asked", "measured", ""), rows))


def _shown(goal: Goal) -> str:
    value = str(goal.value) if isinstance(goal.value, int) else f"{goal.value:.4f}"
    return f"{value} ({goal.interval[0]:.4f} to {goal.interval[1]:.4f})" if goal.interval else value


if __name__ == "__main__":
    PAGE.write_text(
        pages.fill(PAGE.read_text(encoding="utf-8"), "goals", table(recorded())), encoding="utf-8"
    )
    sys.stdout.write(f"{PAGE}\n")
