"""What a comparison must show, and the comparison as tables."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fauxface_train.pages import table, without_tags


@dataclass(frozen=True, slots=True)
class Bar:
    """Limits that every group must keep at every side; None asks for nothing.

    Attributes:
        min_recall: Lowest share of the reference's faces that are found.
        min_precision: Lowest share of found faces that are the reference's.
        min_iou: Lowest mean IoU.
        max_landmark_error: Highest mean landmark error, as a share of the box's longer side.
        max_time_ratio: Highest median time, over the reference's.
        max_extra_false: How many more faces than the reference may be found in each of the negatives.
    """

    min_recall: float | None = None
    min_precision: float | None = None
    min_iou: float | None = None
    max_landmark_error: float | None = None
    max_time_ratio: float | None = None
    max_extra_false: int | None = None

    def misses(self, report: dict[str, Any]) -> list[str]:
        """Return one line for each limit that a report of `compare` doesn't keep; unmeasured is missed."""
        lines = [line for side, values in report["sides"].items() for line in self._misses(side, values)]
        if report["skipped"] and replace(self, max_time_ratio=None) != Bar():
            lines.append(f"{len(report['skipped'])} files couldn't be read or broke off; see skipped")
        return lines

    def _misses(self, side: str, values: dict[str, Any]) -> Iterator[str]:
        limits = (
            ("recall", self.min_recall, 1),
            ("precision", self.min_precision, 1),
            ("mean_iou", self.min_iou, 1),
            ("landmark_error", self.max_landmark_error, -1),
        )
        if values["all"]["reference_faces"] == 0 and any(limit is not None for _, limit, _ in limits):
            yield f"{side} px: the reference finds no face that is large enough; give pictures with faces"
        asked = [(key, limit, sign) for key, limit, sign in limits if limit is not None]
        for name, group in values["groups"].items() if asked else ():
            for miss in _group_misses(group, asked):
                yield f"{name} at {side} px: {miss}"
        if self.max_time_ratio is not None and not values["time"]["ratio"] <= self.max_time_ratio:
            yield f"{side} px: time ratio {values['time']['ratio']:.3f}, asked {self.max_time_ratio:g}"
        if self.max_extra_false is None:
            return
        if not values["negatives"]:
            yield f"{side} px: no negatives given to count false faces on"
        for name, seen in values["negatives"].items():
            if seen["pictures"] == 0:
                yield f"{name} at {side} px: {_UNREAD}"
            allowed = seen["reference_faces"] + self.max_extra_false
            if seen["found_faces"] > allowed:
                yield f"{name} at {side} px: {seen['found_faces']} false faces, {allowed} allowed"


_UNREAD = "none of its files could be read"


def _group_misses(group: dict[str, Any], asked: Sequence[tuple[str, float, int]]) -> Iterator[str]:
    """Yield which limits (key, limit, and -1 where it is the highest value) the figures of a path miss."""
    if group["reference_faces"] == group["found_faces"] == 0:
        yield "neither finds a face in it, so nothing can be measured" if group["pictures"] else _UNREAD
        return
    for key, limit, sign in asked:
        value = group[key]
        if value is None or sign * value < sign * limit:
            yield f"{key} {_text(value)}, asked {limit:g}"


def render(report: dict[str, Any], misses: list[str] | None = None) -> str:
    """Return a report of `compare` as Markdown.

    Args:
        report: What `compare` returned.
        misses: Lines of `Bar.misses`; None where nothing was asked.
    """
    head = (
        f"Faces of at least {report['smallest_px']:g} px in a copy of at most "
        f"{report['nominal_side_px']} px; score {report['threshold']:g}, reference's "
        f"{report['reference_threshold']:g}; one of {report['every']} frames of a video. Landmark error: "
        "mean distance over the box's longer side. 95 % intervals in brackets"
        + (", over files where a file gave several pictures." if report.get("grouped") else ".")
    )
    if report.get("min_scale") is not None:  # reports of earlier releases don't have it
        head += (
            f" Searched in copies of {report['min_scale']:g} of a picture, at least half as long as allowed."
        )
    lines = ["# Face locator against its reference", "", head, ""]
    for side, values in report["sides"].items():
        lines += [
            f"## Longest side at most {side} px",
            "",
            *_rates(values["groups"] | {"all": values["all"]}),
        ]
        lines += ["", "Recall by size of the face, px in the small copy:", "", *_bands(values)]
        if values["negatives"]:
            rows = [
                [
                    name,
                    *(
                        str(seen[key])
                        for key in ("pictures", "found_faces", "reference_faces", "found_by_both")
                    ),
                ]
                for name, seen in values["negatives"].items()
            ]
            title = ("No faces here", "pictures", "found", "by the reference", "by both")
            lines += ["", *table(title, rows)]
        if values["conditions"]:
            lines += ["", "Under hard conditions:", "", *_rates(values["conditions"])]
        time = values["time"]
        lines += [
            "",
            f"Time on {side} x {side} px, each network on one thread: median "
            f"{time['locator_ms']:.2f} ms (p90 {time['locator_ms_p90']:.2f}), reference "
            f"{time['reference_ms']:.2f} ms (p90 {time['reference_ms_p90']:.2f}), ratio {time['ratio']:.3f}. "
            f"Million multiply-adds: {_millions(time['locator_macs'])}, reference "
            f"{_millions(time['reference_macs'])}.",
            "",
        ]
    if misses is not None:
        lines += [
            "## What was asked",
            "",
            *([f"- missed: {without_tags(line)}" for line in misses] or ["All kept."]),
            "",
        ]
    lines += [f"- skipped: {without_tags(line)}" for line in report["skipped"]]
    return "\n".join(lines).rstrip() + "\n"


def _millions(count: int | None) -> str:
    return "not counted" if count is None else f"{count / 1e6:.1f}"


def _rates(groups: dict[str, Any]) -> list[str]:
    title = (
        "Group", "pictures", "faces", "found", "recall", "precision", "IoU", "landmarks", "recall, any size",
        "precision, any size",
    )  # fmt: skip
    rows = [
        [
            name,
            *(str(rates[key]) for key in ("pictures", "reference_faces", "found_faces")),
            *(_with_interval(rates, key) for key in ("recall", "precision")),
            *(_text(rates[key]) for key in ("mean_iou", "landmark_error")),
            *(_text(rates["any_size"][key]) for key in ("recall", "precision")),
        ]
        for name, rates in groups.items()
    ]
    return table(title, rows)


def _bands(values: dict[str, Any]) -> list[str]:
    bands = values["all"]["bands"]
    title = ["Group", *(f"from {band['from_px']:g}" for band in bands)]
    groups = values["groups"] | {"all": values["all"]}
    return table(
        title,
        [
            [name, *(f"{_text(band['recall'])} of {band['reference_faces']}" for band in rates["bands"])]
            for name, rates in groups.items()
        ],
    )


def _with_interval(rates: dict[str, Any], key: str) -> str:
    if rates[key] is None:
        return "-"
    low, high = rates[f"{key}_interval"]
    return f"{rates[key]:.4f} ({low:.3f}-{high:.3f})"


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
