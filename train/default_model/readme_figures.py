"""Put the default bundle's figures into README.md, between two markers; a test checks that they are current.

Usage: python train/default_model/readme_figures.py
"""

import json
import sys
import tomllib
from pathlib import Path
from typing import Any

from fauxface_train.pages import fill

ROOT = Path(__file__).parent.parent.parent
README = ROOT / "README.md"
RECORD = Path(__file__).parent / "record"
EVALUATION = RECORD / "evaluation" / "metrics.json"
ELSEWHERE = RECORD / "evaluation-unseen" / "metrics.json"
RECENT = RECORD / "evaluation-recent" / "metrics.json"
ABLATIONS = ROOT / "train" / "ablations" / "results.json"
PLAN = ABLATIONS.with_name("plan.toml")
BUNDLE = ROOT / "runtime" / "fauxface" / "default_bundle" / "bundle.json"

NEW_CAMERAS = {"nba_headshots": "studio portraits of athletes", "tabler_portraits": "portraits in a web kit"}
"""Sources of camera faces that training saw nothing of, and what they are."""

_ROWS = (
    ("AUROC", "auroc"),
    ("EER", "eer"),
    ("TPR at 1 % FPR", "tpr_at_fpr_0.01"),
    (
        "APCER at the shipped threshold (generated faces not called so; unsure is an error)",
        "apcer",
    ),
    ("BPCER at the shipped threshold (camera faces called generated)", "bpcer"),
    ("Unsure", "unsure"),
    ("ECE", "ece"),
)


def figures(
    document: dict[str, Any],
    evaluation: dict[str, Any],
    ablations: dict[str, Any],
    elsewhere: dict[str, Any],
    recent: dict[str, Any],
) -> str:
    """Return the README's section as Markdown.

    Args:
        document: bundle.json.
        evaluation: The whole of the evaluation that bundle.json holds a part of.
        ablations: The ablations' results.
        elsewhere: The evaluation on faces of a data set that training saw nothing of.
        recent: The evaluation on faces by recent generators, and on photographs of unknown sites.
    """
    generators = tomllib.loads(PLAN.read_text(encoding="utf-8"))["generators"]
    metrics = document["metrics"]
    overall = metrics["overall"]
    last = document["provenance"]["training"]
    cycles = [*last.get("before", ()), last]
    reals, fakes = (
        sum(row["label"] == label for row in metrics["sources"]) for label in ("bona_fide", "generated")
    )
    lines = [
        f"On the {metrics['data']['split']} split of the sources it was trained on (other pictures of them: "
        f"{overall['bona_fide']} camera faces of {reals} sources, {overall['generated']} generated ones of "
        f"{fakes}), 95 % intervals in brackets, which are too narrow with so few sources:",
        "",
        "| | |",
        "|---|---|",
        *(f"| {name} | {_shown(overall[key])} |" for name, key in _ROWS),
        "",
        f"Worst source for APCER: {_worst(metrics, 'apcer')}; for BPCER: {_worst(metrics, 'bpcer')}. These "
        "sources were seen in training; cameras and generators that weren't will be judged worse. Per "
        "source, with terms: [model card](runtime/fauxface/default_bundle/MODEL_CARD.md). Measured by "
        "`fauxface evaluate` (commands and logs: [train/default_model](train/default_model/)); the "
        f"training took {sum(run['seconds'] for run in cycles) / 3600:.1f} hours on "
        f"{' and '.join(dict.fromkeys(map(_machine, cycles)))}.",
        "",
        _degraded(evaluation, document),
        "",
        _unseen(ablations, generators),
        "",
        _elsewhere(elsewhere),
        "",
        _recent(recent),
    ]
    return "\n".join(lines)


def _shown(figure: dict[str, Any]) -> str:
    if figure["value"] is None:
        return "-"
    text = f"{figure['value']:.4f}"
    return f"{text} ({figure['low']:.4f}-{figure['high']:.4f})" if "low" in figure else text


def _worst(metrics: dict[str, Any], key: str) -> str:
    figure = metrics["worst"][key]
    return f"{figure['source']} with {_shown(figure)}"


def _unseen(ablations: dict[str, Any], generators: dict[str, Any]) -> str:
    """Say what a left-out generator costs: by the first cycle's preset, and by the best tried."""
    rows = {(run["variant"], run["without"]): run for run in ablations["runs"]}
    own, best = [], []
    for group in generators["left_out"]:
        own += [rows[name, group] for name in [generators["shipped"]] if (name, group) in rows]
        best += [rows[name, group] for name in generators["shown"] if (name, group) in rows][:1]
    missing = [name for name in generators["left_out"] if name not in {run["without"] for run in own}]
    but = f"; not tried so without {' and '.join(missing)}" if missing else ""
    return (
        f"Of generators that weren't: with each one left out in turn, runs of {_pictures(own)} pictures by "
        f"the preset of the shipped model's first cycle (`{generators['shipped']}`{but}; that cycle had "
        "faces by MobileStyleGAN, too) had an AUROC of "
        f"{_range(own)} weren't called generated. The recipe whose worst generator is told best, which isn't "
        f"shipped, was trained on {_pictures(best)} pictures each time and chosen with a look at these very "
        "test pictures, had "
        f"{_range(best)} weren't "
        "([table](docs/training.md#what-was-tried)). So `bona_fide` doesn't rule out a generator that the "
        "model never saw."
    )


def _pictures(runs: list[dict[str, Any]]) -> str:
    lengths = sorted({run["samples"] for run in runs})
    return " to ".join(f"{count:,}" for count in dict.fromkeys((lengths[0], lengths[-1])))


def _range(runs: list[dict[str, Any]]) -> str:
    """Return the worst and best AUROC of left-out sources, and of how many pictures what follows is true."""
    found = [
        (figures["auroc"], figures["apcer"], source)
        for run in runs
        for source, figures in run["left_out"].items()
    ]
    (worst, _, hardest), (best, _, easiest) = min(found), max(found)
    apcer = [each for _, each, _ in found]
    shares = f"{100 * min(apcer):.0f} % to {100 * max(apcer):.0f} %"
    return f"{worst:.3f} ({hardest}) to {best:.3f} ({easiest}), and {shares} at the run's own threshold"


def _degraded(evaluation: dict[str, Any], document: dict[str, Any]) -> str:
    """Say what compression does to the errors, and what another precision does."""
    seen = evaluation["robustness"]["conditions"]

    def missed(name: str) -> str:
        return f"{100 * seen[name]['apcer']['value']:.0f} %"

    int8 = document["variants"]["int8"]["metrics"]["overall"]
    return (
        f"**Many recompressed generated faces pass**: {missed('clean')} of the test split's aren't called "
        f"generated as stored, {missed('jpeg75')} after JPEG of quality 75 at 128 px, {missed('jpeg60')} of "
        f"60, {missed('jpeg30')} of 30, {missed('webp50')} after WebP of 50. All this is of fp32; int8, that "
        f"most CPUs take, has an APCER of {_shown(int8['apcer'])} and a BPCER of {_shown(int8['bpcer'])}."
    )


def _elsewhere(metrics: dict[str, Any]) -> str:
    """Say what the model does on a data set that training saw nothing of."""
    overall = metrics["overall"]
    return (
        f"Of a data set that training saw nothing of, {overall['generated']} StyleGAN2 faces in the npm "
        f"package fake-avatars, against the same camera faces: AUROC {_shown(overall['auroc'])}, APCER "
        f"{_shown(overall['apcer'])}. Expect no better of a site that the model doesn't know."
    )


def _recent(metrics: dict[str, Any]) -> str:
    """Say what the model does on recent generators and on photographs of further sites, none in training."""
    overall, sources = metrics["overall"], {source["source"]: source for source in metrics["sources"]}
    cameras = ", of ".join(
        f"{sources[name]['samples']} {what} {_shown(sources[name]['bpcer'])}"
        for name, what in NEW_CAMERAS.items()
    )
    return (
        f"Of {overall['generated']} faces by recent generators of pictures and clips from text (Flux, "
        "HiDream, Qwen-Image, Z-Image, Wan, LTX and others, as ComfyUI's template packages on PyPI show "
        "them), against the same camera faces and those of two further sites: AUROC "
        f"{_shown(overall['auroc'])}, APCER {_shown(overall['apcer'])}. **Don't rely on it for such "
        f"pictures.** BPCER at the two sites: of {cameras}."
    )


def _machine(training: dict[str, Any]) -> str:
    machine = training["machine"]
    return f"{machine['cores']} cores of an {machine['cpu']}"


if __name__ == "__main__":
    document = json.loads(BUNDLE.read_text(encoding="utf-8"))
    recorded = (EVALUATION, ABLATIONS, ELSEWHERE, RECENT)
    text = figures(document, *(json.loads(path.read_text(encoding="utf-8")) for path in recorded))
    README.write_text(fill(README.read_text(encoding="utf-8"), "metrics", text), encoding="utf-8")
    sys.stdout.write(f"{README}\n")
