"""Fill the tables of README.md and of the pages of other machines from the result files, between markers.

Usage: python benchmarks/tables.py [--check | --results FOLDER]

With --check nothing is written: the exit code is 1 where a page isn't what the results say, or where a
claim on README.md is missing or doesn't hold: the claims are made of its machine. The claims of a folder of
results that no page shows are printed only.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import harness
import start
from fauxface.errors import FauxfaceError, GateError
from fauxface.files import atomic_write

README = Path(__file__).parent / "README.md"
PAGES = {README: "results", README.with_name("avx2.md"): "results/avx2"}
"""Each page with the folder of its results, seen from the page: one page a machine."""

TRAINING = "training"
NAMES = ("classifier", "face_to_verdict", "video", "roofline", TRAINING)
UNSTEADY = 0.1
"""Part of the median by which the quartiles of a row's rounds may differ before the table shows them."""
NOTHING = "Not measured yet."

REQUIRED = (
    "classifier, int8 against fp32 in ONNX Runtime, batch 8",
    "classifier, int8 against fp32 in ONNX Runtime, batch 1",
    "face to verdict, fauxface int8 against the article's path",
    "int8 classifier's share of the fastest dense int8 product",
    "training, images per second, preset robust against the article's loop",
)
"""Claims that README.md must have, with the batch added where it is found out in the run."""
REQUIRED_OF_A_CLIP = (
    "",
    ": equal verdicts on the same faces",
    ": share of its faces that fauxface locates too",
)
"""How the claims that it must have of each clip go on after the clip's name."""
CLIPS = ("street", "portrait")
"""The clips that it must have: many small faces, one large one."""
NOT_REACHED = (REQUIRED[-1], "video, fauxface int8 against yunet + article, portrait")
"""Claims that README.md says aren't reached."""
LEAST_ROUNDS = 5
"""Fewer have intervals that are much too narrow: a bootstrap of three rounds covers 74 % in place of 95 %."""

Document = dict[str, Any]


class ResultError(FauxfaceError):
    """A result file can't be used."""


def load(path: Path) -> Document:
    """Read a result file.

    Raises:
        ResultError: It isn't one, is corrupt, comes from a trial run, or has too few rounds.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ResultError(f"can't read {path}: {error}; run benchmarks/{path.stem}.py again") from None
    if not isinstance(found, dict) or found.get("format") != harness.FORMAT:
        raise ResultError(f"{path} isn't a result of {harness.FORMAT}; run benchmarks/{path.stem}.py again")
    if found.get("benchmark") != path.stem:
        raise ResultError(f"{path} holds results of {found.get('benchmark')!r}; give each its own file")
    if found.get("trial"):
        raise ResultError(
            f"{path} was measured on a busy machine; run benchmarks/{path.stem}.py without --busy"
        )
    rounds = found.get("settings", {}).get("rounds", LEAST_ROUNDS)
    if rounds < LEAST_ROUNDS:
        raise ResultError(
            f"{path} has {rounds} rounds, too few for intervals; run benchmarks/{path.stem}.py with more"
        )
    return found


def read(folder: Path) -> dict[str, Document]:
    """Return the results that a folder has, by name."""
    return {name: load(folder / f"{name}.json") for name in NAMES if (folder / f"{name}.json").is_file()}


def missing(documents: dict[str, Document], clips: Sequence[str]) -> list[str]:
    """Return the claims that the main page must have and the results don't, as after --skip.

    Args:
        documents: The results.
        clips: Clips that must be among them; every other one that is there needs its claims too.
    """
    rows = documents["video"]["rows"] if "video" in documents else []
    cases = dict.fromkeys([*clips, *(row["case"] for row in rows)])
    video = "video, fauxface int8 against yunet + article, {}{}"
    wanted = [*REQUIRED, *(video.format(case, text) for case in cases for text in REQUIRED_OF_A_CLIP)]
    found = [c["claim"] for document in documents.values() for c in document["claims"]]
    return [text for text in wanted if not any(c == text or c.startswith(f"{text}, batch ") for c in found)]


def sections(folder: Path, link: str = "results") -> dict[str, str]:
    """Return the text of every marked block: one per benchmark, and "claims" for all of them.

    Args:
        folder: The results.
        link: The same, seen from the page.
    """
    documents = read(folder)
    made = dict.fromkeys(NAMES, NOTHING)
    try:
        made |= {name: _section(document, f"{link}/{name}") for name, document in documents.items()}
        made["claims"] = claims([c for document in documents.values() for c in document["claims"]])
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise ResultError(f"a result file in {folder} lacks something: {error!r}; measure again") from None
    return made


def claims(found: list[dict[str, Any]]) -> str:
    """Return the table of all claims."""
    if not found:
        return NOTHING
    lines = ["| claim | found | 95 % interval | wanted | holds |", "|---|---|---|---|---|"]
    for c in found:
        interval = f"{_number(c['low'])} to {_number(c['high'])}" if "low" in c else ""
        holds = "yes" if c["holds"] else "**no**"
        lines.append(f"| {c['claim']} | {_number(c['value'])} | {interval} | {_number(c['aim'])} | {holds} |")
    return "\n".join(lines)


def _section(document: Document, link: str) -> str:
    tables: dict[str, Callable[[Document], list[str]]] = {
        "roofline": _roofline,
        TRAINING: lambda d: _speeds(d, "images/s", lambda seconds: 1 / seconds),
        "video": lambda d: [*_speeds(d, "frames/s", lambda seconds: 1 / seconds), "", *_agreement(d)],
    }
    made = tables.get(document["benchmark"], lambda d: _speeds(d, "ms per face", lambda s: 1000 * s))
    name = document["benchmark"]
    links = f"[{name}.json]({link}.json), [{name}.png]({link}.png)"
    return "\n".join([f"{_conditions(document)} ({links}):", "", *made(document)])


def _conditions(document: Document) -> str:
    machine, rounds = document["machine"], document["settings"]["rounds"]
    sets = ", ".join(machine["instruction_sets"]) or "no known instruction sets"
    text = f"{machine['cores']} cores of {machine['cpu']} ({sets}), {rounds} rounds"
    text += "" if document["benchmark"] == TRAINING else start.model_note(document)
    skipped = document["settings"]["skipped"]
    return f"{text}, without {', '.join(skipped)}" if skipped else text


def _speeds(document: Document, unit: str, shown: Callable[[float], float]) -> list[str]:
    against = next((r["against"] for r in document["ratios"]), None)
    speed = {(r["of"], r["case"]): r for r in document["ratios"]}
    heading = "" if against is None else f"speed against {against}"
    lines = [f"| case | configuration | {unit} | {heading} | 95 % interval |", "|---|---|---|---|---|"]
    for row in document["rows"]:
        found = speed.get((row["configuration"], row["case"]))
        ratio = "1 x" if row["configuration"] == against else ""
        interval = ""
        if found is not None:
            ratio = f"{_number(found['value'])} x"
            interval = f"{_number(found['low'])} to {_number(found['high'])}"
        value = _number(shown(row["seconds_per_unit"])) + _unsteady(row["rounds"], shown)
        value += ", not settled" if row.get("settled") is False else ""
        lines.append(f"| {row['case']} | {row['configuration']} | {value} | {ratio} | {interval} |")
    return lines


def _unsteady(rounds: Sequence[float], shown: Callable[[float], float]) -> str:
    """Return the ends of the middle half of the rounds where they lie far apart, else nothing."""
    low, middle, high = np.percentile(rounds, [25, 50, 75])
    if high - low <= UNSTEADY * middle:
        return ""
    first, last = sorted((shown(low), shown(high)))
    return f" ({_number(first)} to {_number(last)})"


def _agreement(document: Document) -> list[str]:
    lines = [
        "| clip | configuration | peer | faces judged | by the peer | by both | equal verdicts | located |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for case, own in document["agreement"].items():
        for name, others in own.items():
            for peer, a in others.items():
                shares = ["-" if a[key] is None else f"{a[key]:.1%}" for key in ("agreement", "located")]
                counts = f"{a['ours']} | {a['theirs']} | {a['both']}"
                line = f"| {case} | {name} | {peer} | {counts} | {shares[0]} | {shares[1]} |"
                lines.append(line + _details(a))
    if any(_details(a) for own in document["agreement"].values() for o in own.values() for a in o.values()):
        lines[0] += " labels of faces judged by both | probabilities differ by (at most) |"
        lines[1] += "---|---|"
    return lines


def _details(compared: dict[str, Any]) -> str:
    """Return two further cells, or nothing where an older result lacks what they show."""
    if "labels" not in compared:
        return ""
    labels = ", ".join(f"{count} {label}" for label, count in sorted(compared["labels"].items()))
    apart = compared["p_difference"]
    shown = "-" if apart is None else f"{apart['mean']:.3f} ({apart['max']:.3f})"
    return f" {labels or '-'} | {shown} |"


def _roofline(document: Document) -> list[str]:
    found = document["roofs"]
    lines = [
        "| precision | batch | GOP/s | fastest dense product | its GOP/s | share | 95 % interval |",
        "|---|---|---|---|---|---|---|",
    ]
    for p in document["points"]:
        precision = p["precision"]
        lines.append(
            f"| {precision} | {p['case'].removeprefix('batch ')} | {p['ops_per_s'] / 1e9:.0f} "
            f"| {found['product'][precision]} | {found['ops_per_s'][precision] / 1e9:.0f} "
            f"| {p['share']:.1%} | {p['low']:.1%} to {p['high']:.1%} |"
        )
    return lines


def _number(value: float) -> str:
    """Return three significant digits without an exponent."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def fill(text: str, found: dict[str, str]) -> str:
    """Return a page's text with every marked block exchanged.

    Raises:
        GateError: A block is missing, or there is one that no benchmark fills.
    """
    marked = set(re.findall(r"^<!-- results: (\w+) -->$", text, re.M))
    if odd := marked ^ set(found):
        raise GateError(f"the page and tables.py disagree on the blocks {', '.join(sorted(odd))}; fix either")
    for name, section in found.items():
        pattern = rf"(^<!-- results: {name} -->\n).*?(^<!-- /results -->$)"
        text = re.sub(pattern, lambda m, section=section: f"{m[1]}{section}\n{m[2]}", text, flags=re.S | re.M)
    return text


def main() -> None:
    """Fill the pages, or check them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--check",
        action="store_true",
        help="write nothing; fail on a stale table, a missing claim, or one that newly holds or doesn't",
    )
    parser.add_argument("--results", type=Path, help="results; where no page shows them, print their claims")
    arguments = parser.parse_args()
    shown = {(page.parent / link).resolve() for page, link in PAGES.items()}
    if arguments.results is not None and arguments.results.resolve() not in shown:
        sys.stdout.write(f"{arguments.results}\n{sections(arguments.results, '.')['claims']}\n")
        return
    missed: set[str] = set()
    for page, link in PAGES.items():
        text = page.read_text(encoding="utf-8")
        found = sections(page.parent / link, link)
        if page == README:
            missed = {
                c["claim"] for d in read(page.parent / link).values() for c in d["claims"] if not c["holds"]
            }
        filled = fill(text, found)
        if arguments.check and filled != text:
            raise GateError(
                f"benchmarks/{page.name} isn't what the results say; run python benchmarks/tables.py"
            )
        if not arguments.check:
            with atomic_write(page) as temporary:
                temporary.write_text(filled, encoding="utf-8")
            sys.stdout.write(f"{page.name}\n{found['claims']}\n")
    if arguments.check and (absent := missing(read(README.parent / PAGES[README]), CLIPS)):
        raise GateError(f"the results lack claims: {'; '.join(absent)}; measure them, without --skip")
    if arguments.check and (broken := missed - set(NOT_REACHED)):
        raise GateError(f"{len(broken)} claims don't hold: {'; '.join(sorted(broken))}")
    if arguments.check and (reached := set(NOT_REACHED) - missed):
        raise GateError(
            f"{'; '.join(sorted(reached))}: holds now; take it out of NOT_REACHED, and say so on the page"
        )


if __name__ == "__main__":
    harness.run(main)
