"""The quality gate `fauxface export --require`: bounds on an evaluation's figures, or no bundle."""

import math
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fauxface.errors import DataError, GateError
from fauxface.verdicts import LABELS
from fauxface_export.markdown import mapping

EACH = ("real_source", "fake_source", "pair", "demographic")
"""What `[each.…]` ranges over."""

_SIDES = ("min", "max")
_LARGEST = 1e300


@dataclass(frozen=True, slots=True)
class Bound:
    """One bound on one figure of one evaluation.

    Attributes:
        name: The figure's name in full, for example "overall.auroc" or "each.real_source utkface bpcer".
        value: What was measured; None where it couldn't be.
        side: "min" or "max".
        limit: The lowest or highest value allowed.
        reason: Why there is no value.
    """

    name: str
    value: float | None
    side: str
    limit: float
    reason: str = ""

    @property
    def holds(self) -> bool:
        """Whether the figure was measured and keeps the bound."""
        if self.value is None or not math.isfinite(self.value):
            return False
        return self.value >= self.limit if self.side == "min" else self.value <= self.limit

    def sentence(self) -> str:
        """Return one line about a missed bound."""
        wanted = f"must be at {'least' if self.side == 'min' else 'most'} {self.limit:g}"
        if self.value is None:
            return f"missed: {self.name} wasn't measured ({self.reason}), {wanted}"
        return f"missed: {self.name} is {self.value:.6g}, {wanted}"


def check(
    path: Path,
    metrics: Mapping[str, Any],
    say: Callable[[str], None] = lambda _: None,
    *,
    precision: str = "fp32",
) -> None:
    """Hold an evaluation against a table of requirements.

    Args:
        path: TOML; docs/export.md describes it.
        metrics: The content of metrics.json.
        say: Told one line per missed bound, or one that all hold.
        precision: Of which classifier the metrics are. What export doesn't measure of others than fp32, such
            as degradations, isn't held against them.

    Raises:
        DataError: The file can't be read, or names something that the metrics don't have, or bounds nothing.
        GateError: A bound is missed.
    """
    other = precision != "fp32"
    bounds = read(path, metrics, only_measured=other)
    missed = [bound for bound in bounds if not bound.holds]
    of = f" for {precision}" if other else ""
    for bound in missed:
        say(f"{precision} {bound.sentence()}" if other else bound.sentence())
    if missed:
        first = missed[0].sentence().removeprefix("missed: ")
        raise GateError(
            f"{len(missed)} of {len(bounds)} bounds of {path.name} are missed{of}, first: {first}; "
            "no bundle was written"
        )
    say(f"all {len(bounds)} bounds of {path.name} hold{of}" if bounds else f"{path.name} bounds nothing{of}")


def read(path: Path, metrics: Mapping[str, Any], *, only_measured: bool = False) -> list[Bound]:
    """Read a table of requirements and look up every figure that it bounds.

    Args:
        path: TOML; docs/export.md describes it.
        metrics: The content of metrics.json.
        only_measured: Pass over what the metrics don't have.

    Raises:
        DataError: The file can't be read, or names something that the metrics don't have, or bounds nothing.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(
            f"can't read the requirements {path}: {error.strerror or error}; check the path"
        ) from None
    except (ValueError, RecursionError) as error:  # or numbers and nesting beyond all bounds
        raise DataError(f"{path} isn't TOML in UTF-8 ({error}); see docs/export.md") from None
    bounds: list[Bound] = []
    split = mapping(metrics, "data").get("split")
    if split != "test":
        raise DataError(f"{path}: the metrics are of the split {split!r}; bounds hold on test, measure that")
    _check_unseen(path, mapping(metrics, "data"))
    metrics = _measured(metrics)
    for section, content in table.items():
        if not isinstance(content, dict) or not content:
            raise _wrong(path, section, "a table of bounds such as auroc = { min = 0.98 }")
        if only_measured and section not in {"each", "worst_pair", *metrics}:
            continue
        if section == "each":
            for what, figures in content.items():
                bounds += _each(path, what, figures, metrics, lenient=only_measured)
        elif section == "worst_pair":
            worst = mapping(metrics, "pairs").get("worst")
            if not isinstance(worst, dict) or not {"real", "fake"} <= worst.keys():
                raise DataError(f"{path}: the metrics have no worst pair; they need both labels")
            bounds += _section(
                path, f"worst_pair ({worst['real']}, {worst['fake']})", content, worst, flat=True
            )
        else:
            bounds += _section(path, section, content, metrics.get(section), lenient=only_measured)
    if not bounds and not only_measured:
        raise DataError(f"{path} bounds nothing; a gate that can't fail is none, see docs/export.md")
    return bounds


def _measured(metrics: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the metrics, without robustness where no degraded picture was measured."""
    if list(mapping(metrics, "robustness", "conditions")) != ["clean"]:
        return metrics
    return {key: value for key, value in metrics.items() if key != "robustness"}


def _check_unseen(path: Path, data: Mapping[str, Any]) -> None:
    """Refuse figures of pictures that the model, as the metrics themselves say, knows already."""
    shared = mapping(data, "overlap").get("shared")
    if shared not in (None, 0):
        raise DataError(f"{path}: {shared} of the measured pictures were trained on; measure others")
    if data.get("fitted_to"):
        raise DataError(f"{path}: the operating point was fitted to the measured pictures; measure others")


def _section(
    path: Path,
    name: str,
    content: Mapping[str, Any],
    figures: Any,
    *,
    flat: bool = False,
    lenient: bool = False,
) -> Iterator[Bound]:
    """Yield the bounds of one table; tables in it lead deeper into the metrics."""
    if not isinstance(figures, dict):
        raise DataError(f"{path}: the metrics have no section {name}; remove it or measure again")
    for key, limits in content.items():
        where = f"{name}.{key}" if not flat else f"{name} {key}"
        if not isinstance(limits, dict) or not limits:
            raise _wrong(path, where, "a table such as { min = 0.98 }")
        if flat and key != "auroc":
            raise DataError(f"{path}: {where} isn't in the metrics; a pair has auroc alone")
        figure = figures if flat else figures.get(key)
        if figure is None and lenient:
            continue
        if isinstance(figure, dict) and "value" not in figure:
            yield from _section(path, where, limits, figure, lenient=lenient)
        else:
            yield from _bounds(path, where, limits, figure)


def _each(
    path: Path, what: str, content: Any, metrics: Mapping[str, Any], *, lenient: bool
) -> Iterator[Bound]:
    """Yield the bounds on every source, pair or cell."""
    where = f"each.{what}"
    if what not in EACH:
        raise DataError(f"{path}: unknown {where}; choose each.{', each.'.join(EACH)}")
    if not isinstance(content, dict) or not content:
        raise _wrong(path, where, "a table of bounds such as bpcer = { max = 0.03 }")
    try:
        members = list(_members(what, metrics))
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise DataError(f"{path}: the metrics of {where} are damaged ({error!r}); measure again") from None
    if not members and lenient:
        return
    if not members:
        raise DataError(f"{path}: the metrics have no {what.replace('_', ' ')}; remove {where}")
    for key, limits in content.items():
        if not any(key in figures for _, figures in members):
            if lenient:
                continue
            raise DataError(f"{path}: {where}.{key} isn't in the metrics; remove it or measure again")
        for name, figures in members:
            yield from _bounds(path, f"{where} {name} {key}", limits, figures.get(key))


def _members(what: str, metrics: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if what in ("real_source", "fake_source"):
        label = LABELS[what == "fake_source"]
        for source in metrics.get("sources") or []:
            if source["label"] == label:
                yield source["source"], source
    elif what == "pair":
        table = metrics.get("pairs") or {}
        if table.get("auroc"):
            for real, row in zip(table["real_sources"], table["auroc"], strict=True):
                for fake, cell in zip(table["fake_sources"], row, strict=True):
                    yield f"({real}, {fake})", {"auroc": cell}
    else:
        for cell in metrics.get("demographics") or []:
            yield "/".join(cell["cell"]), cell


def _bounds(path: Path, where: str, limits: Any, figure: Any) -> Iterator[Bound]:
    """Yield the bounds on one figure, which is a number or an object with `value`."""
    if figure is None:
        raise DataError(f"{path}: {where} isn't in the metrics; remove it or measure again")
    if not isinstance(limits, dict) or not limits or set(limits) - set(_SIDES):
        raise _wrong(path, where, "{ min = NUMBER }, { max = NUMBER } or both")
    for side, limit in limits.items():
        if isinstance(limit, bool) or not isinstance(limit, int | float) or not abs(limit) <= _LARGEST:
            raise _wrong(path, f"{where}.{side}", "a finite number")
    if "min" in limits and "max" in limits and limits["min"] > limits["max"]:
        raise DataError(f"{path}: {where} has min above max; nothing can fulfil it")
    value, reason = (
        (figure.get("value"), figure.get("reason", "")) if isinstance(figure, dict) else (figure, "")
    )
    if isinstance(value, bool) or not isinstance(value, int | float | None) or abs(value or 0) > _LARGEST:
        raise DataError(f"{path}: {where} is no figure of the metrics; see docs/evaluation.md")
    for side, limit in limits.items():
        yield Bound(where, None if value is None else float(value), side, float(limit), reason)


def _wrong(path: Path, where: str, expected: str) -> DataError:
    return DataError(f"{path}: {where} must be {expected}")
