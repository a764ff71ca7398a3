"""Time whole pipelines on clips, from opening the file to the last verdict, and compare what they say.

Usage: python benchmarks/video.py [--video [NAME=]FILE...] [--frames N] [--rounds 5] [--skip NAME]...

Every pipeline goes through the same frames with the same weights, calibration and thresholds. The peers look
for faces in the full frame. Whatever a pipeline finds, it classifies, as `fauxface scan` does. Without
--video a clip is made of the demo's pictures.
"""

from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import harness
import peers
import start
import weights
from fauxface.bundle import Bundle
from fauxface.demo import collect_pictures, make_clip
from fauxface.errors import GateError, VideoError
from harness import Row, Turn
from plots import bars

PEER = "yunet + article"
OVERLAP = 0.5
"""Least intersection over union of two boxes that are the same face."""
CONFIRMED = 0.3
"""Least overlap of a peer's box with another peer's; their boxes are drawn by different rules."""
AGREEMENT = 0.98
SAME_CLASSIFIER = 0.5
"""Least share of equal verdicts with any peer: they have the same weights, and cut the faces differently."""
LOCATED = 0.9
"""Least share of the peer's faces that fauxface must locate: else the speeds are of different work."""

Face = dict[str, Any]
Frames = list[list[Face]]
"""The faces of each frame."""


def iou(first: list[float], second: list[float]) -> float:
    """Return intersection over union of two boxes x, y, width, height."""
    width = min(first[0] + first[2], second[0] + second[2]) - max(first[0], second[0])
    height = min(first[1] + first[3], second[1] + second[3]) - max(first[1], second[1])
    shared = max(0.0, width) * max(0.0, height)
    total = first[2] * first[3] + second[2] * second[3] - shared
    return shared / total if total > 0 else 0.0


def pairs(ours: list[Face], theirs: list[Face]) -> list[tuple[Face, Face]]:
    """Return the faces of one frame that both found, best overlap first, each used once."""
    overlaps = sorted(
        ((iou(a["box"], b["box"]), i, j) for i, a in enumerate(ours) for j, b in enumerate(theirs)),
        reverse=True,
    )
    used_ours: set[int] = set()
    used_theirs: set[int] = set()
    found = []
    for overlap, i, j in overlaps:
        if overlap >= OVERLAP and i not in used_ours and j not in used_theirs:
            used_ours.add(i)
            used_theirs.add(j)
            found.append((ours[i], theirs[j]))
    return found


def judged(face: Face) -> bool:
    """Tell whether a face was judged by its probability, and not refused for its size or quality."""
    return face["reason"] is None or face["reason"].startswith("probability")


def compare(ours: list[list[Face]], theirs: list[list[Face]]) -> dict[str, Any]:
    """Compare fauxface's verdicts with a peer's, frame by frame.

    Returns:
        "frames"; "ours" and "theirs", the faces judged; "both", those that both judged; "refused", those that
        the peer judged and fauxface located but refused; "equal", of both the ones with the same label;
        "labels", how often fauxface gives each label to faces that both judged, and "p_difference", the mean
        and the largest difference of their two probabilities; "agreement", equal over both; "located", the
        share of the peer's faces that fauxface located. The last three are None where there is no such face.
    """
    counts = {"frames": len(ours), "ours": 0, "theirs": 0, "both": 0, "refused": 0, "equal": 0}
    labels: Counter[str] = Counter()
    apart: list[float] = []
    for own, every in zip(ours, theirs, strict=True):
        other = [face for face in every if judged(face)]
        counts["ours"] += sum(judged(face) for face in own)
        counts["theirs"] += len(other)
        for face, against in pairs(own, other):
            if judged(face):
                counts["both"] += 1
                counts["equal"] += face["label"] == against["label"]
                labels[face["label"]] += 1
                apart.append(abs(face["p"] - against["p"]))
            else:
                counts["refused"] += 1
    return {
        **counts,
        "labels": dict(labels),
        "p_difference": _spread(apart),
        "agreement": _share(counts["equal"], counts["both"]),
        "located": _share(counts["both"] + counts["refused"], counts["theirs"]),
    }


def _spread(values: list[float]) -> dict[str, float] | None:
    return {"mean": round(sum(values) / len(values), 4), "max": round(max(values), 4)} if values else None


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def claims(rows: list[Row], cases: list[str], agreement: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what the project claims of video, for the most reduced precision that was measured."""
    found = []
    for case in cases:
        measured = [
            r.configuration for r in rows if r.case == case and r.configuration.startswith("fauxface")
        ]
        if not measured:
            continue
        fast = measured[-1]
        text = f"video, {fast} against {PEER}, {case}"
        found += harness.speed_claim(rows, text, (fast, case), (PEER, case), 6.0)
        shares = agreement.get(case, {}).get(fast, {}).get(PEER, {})
        for key, what, aim in (
            ("agreement", "equal verdicts on the same faces", AGREEMENT),
            ("located", "share of its faces that fauxface locates too", LOCATED),
        ):
            if shares.get(key) is not None:
                found.append(harness.claim(f"{text}: {what}", shares[key], aim))
    return found


def clips(given: list[str], folder: Path) -> dict[str, Path]:
    """Return the clips by the name of their case; one of the demo's pictures where none was given.

    Args:
        given: FILE, whose case gets the file's name, or NAME=FILE.
        folder: Where the demo's clip is made.

    Raises:
        VideoError: There is no such file, or two have one name.
    """
    if not given:
        return {"demo": make_clip(collect_pictures(folder / "demo"), folder / "demo.mp4")}
    parts = [text.rpartition("=") for text in given]
    named = {name or Path(file).stem: Path(file).resolve() for name, _, file in parts}
    missing = [path for path in named.values() if not path.is_file()]
    if missing or len(named) < len(given):
        problem = f"{missing[0]}: there is no such file" if missing else "two clips have the same name"
        raise VideoError(f"{problem}; give each clip once")
    return named


def main() -> None:
    """Measure, compare the verdicts, write JSON and plot."""
    parser = harness.parser(__doc__, "video", rounds=5, seconds=0.0)
    parser.add_argument(
        "--video", nargs="+", default=[], metavar="[NAME=]FILE", help="clips; one of the demo by default"
    )
    parser.add_argument("--frames", type=harness.positive, help="first frames of each clip in place of all")
    arguments = parser.parse_args()
    began = start.before(arguments)
    bundle = Bundle.load(arguments.bundle)
    with ExitStack() as stack:
        made = stack.enter_context(weights.files(bundle))
        shown = clips(arguments.video, made.folder)
        locator = made.folder / "locator.onnx"
        locator.write_bytes(bundle.locator_bytes())
        spec = bundle.manifest.locator
        shared = {
            "weights": str(made.weights),
            "rule": weights.rule(bundle),
            "locator": str(locator),
            "score_threshold": spec.score_threshold,
            "nms_threshold": spec.nms_threshold,
            "bundle": str(bundle.path),
        }
        own = peers.own(bundle)
        workers = peers.open_workers(stack, [*own, *peers.PIPELINES], "pipeline.py", shared, arguments)
        answers: dict[str, dict[str, Frames]] = {}
        for case, path in shown.items():
            for worker in workers.values():
                worker.ask("prepare", case=case, spec={"video": str(path), "frames": arguments.frames})
            # This is the warm-up too: graphs are made for the clip's size.
            answers[case] = {name: worker.ask("answer", case=case) for name, worker in workers.items()}
        agreement = agreements(answers)
        turns = [
            Turn(worker, case, arguments.seconds, least=1, lead=0, warm_up=0)
            for case in shown
            for worker in workers.values()
        ]
        rows = harness.measure(turns, arguments.rounds, busy=arguments.busy)
        content = harness.document(
            arguments,
            rows,
            versions=peers.versions(workers),
            began=began,
            unit="frame",
            frames=arguments.frames,
            ratios=harness.ratios_to(rows, PEER),
            claims=claims(rows, list(shown), agreement),
            agreement=agreement,
        )
    harness.write(content, arguments.out)
    bars(content, arguments.out.with_suffix(".png"), "ms per frame, from file to verdicts")


def agreements(answers: dict[str, dict[str, Frames]]) -> dict[str, Any]:
    """Return, by case, own configuration and peer, how far the verdicts on confirmed faces agree.

    Raises:
        GateError: The pipelines saw different numbers of frames, or one of them can't be of this classifier.
    """
    made = {}
    for case, found in answers.items():
        if len({len(frames) for frames in found.values()}) > 1:
            counts = ", ".join(f"{name} {len(frames)}" for name, frames in found.items())
            raise GateError(f"the pipelines saw different numbers of frames of {case}: {counts}")
        own = {name: frames for name, frames in found.items() if name.startswith("fauxface")}
        rivals = {name: frames for name, frames in found.items() if name not in own}
        sure = {
            name: confirmed(frames, [other for rest, other in rivals.items() if rest != name])
            for name, frames in rivals.items()
        }
        made[case] = {
            name: {peer: compare(frames, theirs) for peer, theirs in sure.items()}
            for name, frames in own.items()
        }
        for name, others in made[case].items():
            for peer, shares in others.items():
                if shares["agreement"] is not None and shares["agreement"] < SAME_CLASSIFIER:
                    raise GateError(f"{case}: {peer} gives most faces another verdict than {name}; look why")
    return made


def confirmed(frames: Frames, others: list[Frames]) -> Frames:
    """Return the faces that one of the others sees too: what a single detector sees may be none, say a shoe.

    Without others, all faces are returned.
    """
    if not others:
        return frames
    return [
        [
            face
            for face in faces
            if any(iou(face["box"], seen["box"]) >= CONFIRMED for other in others for seen in other[number])
        ]
        for number, faces in enumerate(frames)
    ]


if __name__ == "__main__":
    harness.run(main)
