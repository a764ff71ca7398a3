"""An operating point for the place where a bundle is used, from a few pictures of it; docs/evaluation.md."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypedDict

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, logit

from fauxface.errors import DataError
from fauxface.verdicts import Calibration, Thresholds
from fauxface_train.intervals import clopper_pearson
from fauxface_train.thresholds import BPCER_TARGET, lowest_generated_from, unsure_band

FEWEST = 20
"""Fewer pictures of a label say nothing about it: below it a fit is refused, or leaves the label out."""

ENOUGH = 100
"""From this many pictures of each label on, the temperature is fitted as well as the bias."""

FOLDS = 5
SD_LOG_TEMPERATURE = 0.25
SD_BIAS = 1.0
TRUST = 100
"""So many pictures have half a say where a threshold calls more: reals on a lower `generated_from`, generated
ones on a higher `bona_fide_below`."""

Fitted = Literal["nothing", "bias", "temperature and bias"]


@dataclass(frozen=True, slots=True)
class Rate:
    """Errors among pictures, with the exact 95 % interval (Clopper-Pearson) of their rate.

    Attributes:
        errors: Number of wrong verdicts.
        total: Number of pictures, at least 1.
        low: Lower end of the interval.
        high: Upper end of the interval.
    """

    errors: int
    total: int
    low: float
    high: float

    @classmethod
    def of(cls, wrong: np.ndarray) -> "Rate | None":
        """Count true entries of bool [N]; None where N is 0."""
        if not len(wrong):
            return None
        errors = int(np.count_nonzero(wrong))
        return cls(errors, len(wrong), *clopper_pearson(errors, len(wrong)))


@dataclass(frozen=True, slots=True)
class Errors:
    """What an operating point gets wrong: None where there is no picture of the label.

    Attributes:
        bpcer: Bona fide pictures called generated.
        apcer: Generated pictures not called generated.
        missed: Generated pictures called bona fide; the rest of `apcer` is unsure.
    """

    bpcer: Rate | None
    apcer: Rate | None
    missed: Rate | None


@dataclass(frozen=True, slots=True)
class Refit:
    """A new operating point, and how sure it is.

    Attributes:
        calibration: From logits to probability.
        thresholds: From probability to label.
        fitted: What was fitted; the rest is the parent's.
        before: Errors of the parent's operating point on these pictures.
        after: Errors of the new one by cross-fitting: each picture is judged by a point that was fitted
            without it, so that the interval isn't flattered by the fit.
    """

    calibration: Calibration
    thresholds: Thresholds
    fitted: Fitted
    before: Errors
    after: Errors


def refit(
    logits: np.ndarray,
    labels: np.ndarray,
    sources: np.ndarray | Sequence[str],
    parent: tuple[Calibration, Thresholds],
    bpcer_target: float = BPCER_TARGET,
) -> Refit:
    """Fit an operating point to a few pictures, held near the parent's by how few they are.

    What is fitted: with at least `ENOUGH` pictures of each label temperature and bias, with at least `FEWEST`
    the bias alone, with fewer generated ones neither. The fit minimises the negative log-likelihood, in which
    each label counts as the harmonic mean of the labels' counts, plus half the squared distance from the
    parent's calibration in units of `SD_LOG_TEMPERATURE` (of the logarithm) and `SD_BIAS`: a normal prior,
    which a hundred pictures outweigh and twenty don't.

    `generated_from` is the lowest one that keeps the BPCER on every real source, by the rule of training
    (`choose_thresholds`). Where that lies below the parent's, it is only believed in part: on the scale of
    log-odds, n real pictures move the parent's threshold by the share n / (n + `TRUST`) of the way. Upwards
    it goes at once.

    `bona_fide_below` follows from risk and coverage as in training; where it lies above the parent's, n
    generated pictures move it only the share n / (n + `TRUST`) of the way. With too few of them it stays the
    parent's. It is never above `generated_from`.

    Args:
        logits: float [N, 2], in the order bona fide, generated.
        labels: int [N], 0 bona fide, 1 generated.
        sources: N names.
        parent: The operating point to start from.
        bpcer_target: BPCER that no real source may contradict.

    Raises:
        DataError: There are fewer than `FEWEST` real pictures, or lengths or values are wrong.
    """
    logits, labels, names = np.asarray(logits, np.float64), np.asarray(labels), np.asarray(sources, dtype=str)
    if logits.shape != (len(labels), 2) or names.shape != labels.shape or not np.isfinite(logits).all():
        raise DataError("logits must be finite [N, 2], labels and sources [N]; score the pictures again")
    reals, fakes = (int(np.count_nonzero(labels == value)) for value in (0, 1))
    if reals < FEWEST:
        raise DataError(
            f"{reals} real pictures are too few to hold a BPCER on; give at least {FEWEST}, better {ENOUGH}"
        )
    fitted: Fitted = "nothing"
    if fakes >= FEWEST:
        fitted = "temperature and bias" if min(reals, fakes) >= ENOUGH else "bias"
    rule: _Rule = {"parent": parent, "target": bpcer_target, "fitted": fitted}
    calibration, thresholds = _point(logits, labels, names, **rule)
    crossed = np.empty(len(labels), int)
    for fold in _folds(labels):
        kept = ~fold
        try:
            inner = _point(logits[kept], labels[kept], names[kept], **rule)
        except DataError:  # without these, a real face too many has probability 1
            inner = parent
        crossed[fold] = _verdicts(logits[fold], *inner)
    return Refit(
        calibration,
        thresholds,
        fitted,
        before=_errors(_verdicts(logits, *parent), labels),
        after=_errors(crossed, labels),
    )


class _Rule(TypedDict):
    parent: tuple[Calibration, Thresholds]
    target: float
    fitted: Fitted


def _point(
    logits: np.ndarray,
    labels: np.ndarray,
    names: np.ndarray,
    *,
    parent: tuple[Calibration, Thresholds],
    target: float,
    fitted: Fitted,
) -> tuple[Calibration, Thresholds]:
    old, old_thresholds = parent
    calibration = old if fitted == "nothing" else _fit(logits, labels, old, fitted == "bias")
    p = calibration.probability(logits)
    site = lowest_generated_from(p, labels, names, target)
    reals, fakes = (int(np.count_nonzero(labels == value)) for value in (0, 1))
    before = _moved(old_thresholds.generated_from, old, calibration)
    upper, why = site.value, site.rule
    if site.value < before:
        upper, said = _believed(site.value, before, reals)
        why += f"; that is {site.value:.6g}, {said}"
    if fitted == "nothing":
        lower = min(old_thresholds.bona_fide_below, upper)
        how = "the parent's"
    else:
        lower, risk, coverage = unsure_band(p, labels, names, upper)
        how = f"by risk {risk:.4f} at coverage {coverage:.4f}"
        below = _moved(old_thresholds.bona_fide_below, old, calibration)
        if lower > below:
            found = lower
            lower, said = _believed(found, below, fakes)
            lower = min(lower, upper)
            how += f"; that is {found:.6g}, {said}"
    rule = f"on site, generated from {upper:.6g}: {why}; bona fide below {lower:.6g}: {how}"
    return calibration, Thresholds(lower, upper, rule)


def _believed(found: float, parent: float, count: int) -> tuple[float, str]:
    """Return a threshold between the parent's and the one found, on the scale of log-odds, and why."""
    share = count / (count + TRUST)
    value = float(expit(share * _log_odds(found) + (1 - share) * _log_odds(parent)))
    return value, f"believed to {share:.2f} against the parent's {parent:.6g}"


def _fit(logits: np.ndarray, labels: np.ndarray, parent: Calibration, bias_only: bool) -> Calibration:
    """Return the most likely calibration under a normal prior around the parent's."""
    difference = logits[:, 1] - logits[:, 0]
    counts = np.bincount(labels, minlength=2)
    weight = 2 * counts[0] * counts[1] / counts.sum() / counts[labels]
    reach = np.array([SD_BIAS, 0.0 if bias_only else SD_LOG_TEMPERATURE])

    def at(steps: np.ndarray) -> tuple[float, float]:
        bias, stretch = reach * steps
        return parent.temperature * float(np.exp(stretch)), parent.bias + float(bias)

    def loss(steps: np.ndarray) -> float:
        temperature, bias = at(steps)
        z = difference / temperature + bias
        return float(np.sum(weight * (np.logaddexp(0.0, z) - labels * z)) + np.sum(steps**2) / 2)

    return Calibration(*at(minimize(loss, np.zeros(2), method="L-BFGS-B").x))


def _log_odds(p: float) -> float:
    """Return the log-odds of a probability, which may be 0 or 1."""
    return float(logit(np.clip(p, 1e-12, 1 - 1e-12)))


def _moved(threshold: float, old: Calibration, new: Calibration) -> float:
    """Return the probability that the new calibration gives where the old one gives `threshold`."""
    if (old.temperature, old.bias) == (new.temperature, new.bias):
        return threshold
    difference = (_log_odds(threshold) - old.bias) * old.temperature
    return float(expit(difference / new.temperature + new.bias))


def _folds(labels: np.ndarray) -> list[np.ndarray]:
    """Return `FOLDS` masks that take turns within each label."""
    turn = np.empty(len(labels), int)
    for value in (0, 1):
        mine = np.flatnonzero(labels == value)
        turn[mine] = np.arange(len(mine)) % FOLDS
    return [turn == fold for fold in range(FOLDS)]


def _verdicts(logits: np.ndarray, calibration: Calibration, thresholds: Thresholds) -> np.ndarray:
    """Return int [N]: 0 bona fide, 1 unsure, 2 generated."""
    p = calibration.probability(logits)
    return np.where(p >= thresholds.generated_from, 2, np.where(p < thresholds.bona_fide_below, 0, 1))


def _errors(verdicts: np.ndarray, labels: np.ndarray) -> Errors:
    real, fake = verdicts[labels == 0], verdicts[labels == 1]
    return Errors(Rate.of(real == 2), Rate.of(fake != 2), Rate.of(fake == 0))
