"""From the logits of a validation split to calibrated probabilities and the thresholds of the verdict.

Everything here looks at validation scores only; what is chosen is measured on another split by
`fauxface evaluate`. docs/evaluation.md defines every term used here.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from fauxface.errors import DataError
from fauxface.verdicts import Calibration, Thresholds
from fauxface_train.calibration_views import CLEAN, HARD, WEB
from fauxface_train.thresholds import BPCER_TARGET, choose_thresholds, require_both

TEMPERATURE_RANGE = (0.05, 20.0)
BIAS_RANGE = (-10.0, 10.0)
SHARES = {CLEAN: 0.60, WEB: 0.35, HARD: 0.05}
"""What the conditions weigh in the fit of temperature and bias."""


def fit(
    logits: np.ndarray,
    labels: np.ndarray,
    *,
    weights: np.ndarray | None = None,
    views: int = 1,
    fitted_on: str = "",
) -> Calibration:
    """Fit what makes sigmoid((logits[1] - logits[0]) / temperature + bias) a probability.

    Minimises the class-balanced negative log-likelihood (each label has half of the weight, so the
    probability assumes that a real and a generated face are equally likely beforehand). The targets are
    smoothed to 1 / (n + 2) and (n + 1) / (n + 2), n being the label's number of faces, which keeps the fit
    finite where the scores separate the labels perfectly. Temperature lies in [0.05, 20], bias in [-10, 10].

    Sources: Platt, "Probabilistic outputs for support vector machines", 1999 (smoothed targets); Guo et al.,
    "On calibration of modern neural networks", ICML 2017 (temperature).

    Args:
        logits: float [N, 2], in the order bona fide, generated.
        labels: int [N], 0 bona fide, 1 generated.
        weights: float [N], above 0, what each sample counts within its label; None: all alike.
        views: How many samples show each face; n counts the faces.
        fitted_on: What the samples were, in words; kept with the result.

    Returns:
        The calibration; its `probability(logits)` is what the runtime computes.

    Raises:
        DataError: A label has no sample, or a logit isn't finite.
    """
    difference, positive = _checked(np.asarray(logits, np.float64), labels)
    counts = np.bincount(positive, minlength=2) / views
    target = np.where(positive == 1, (counts[1] + 1) / (counts[1] + 2), 1 / (counts[0] + 2))
    each = np.ones(len(positive)) if weights is None else np.asarray(weights, np.float64)
    weight = 0.5 * each / np.bincount(positive, weights=each, minlength=2)[positive]

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        slope, bias = parameters
        z = slope * difference + bias
        value = np.sum(weight * (np.logaddexp(0.0, z) - target * z))
        residual = weight * (expit(z) - target)
        return float(value), np.array([np.sum(residual * difference), np.sum(residual)])

    low, high = TEMPERATURE_RANGE
    result = minimize(
        loss,
        x0=np.array([1.0, 0.0]),
        jac=True,
        method="L-BFGS-B",
        bounds=[(1 / high, 1 / low), BIAS_RANGE],
        options={"ftol": 1e-14, "gtol": 1e-9, "maxiter": 500},
    )
    slope, bias = result.x
    return Calibration(temperature=float(1 / slope), bias=float(bias), fitted_on=fitted_on)


def operating_point(
    logits: np.ndarray | Mapping[str, np.ndarray],
    labels: np.ndarray,
    sources: np.ndarray | Sequence[str],
    bpcer_target: float = BPCER_TARGET,
    *,
    fitted_on: str = "",
) -> tuple[Calibration, Thresholds]:
    """Fit the calibration and choose the thresholds: all that turns a classifier's logits into verdicts.

    Temperature and bias are fitted on all conditions together, each with its share of `SHARES`: no two
    numbers fit every condition, so the mix leans to what a model mostly sees. The thresholds are chosen on
    all but the hard one, which shows what blur and coarse codecs do to the scores but isn't what a BPCER is
    promised for.

    Args:
        logits: float [N, 2], or the same faces' logits by condition ("clean", "web", "hard"), each [N, 2], or
            [N, K, 2] where each face was framed K times.
        labels: int [N], 0 bona fide, 1 generated.
        sources: N names.
        bpcer_target: BPCER that no real source may contradict; see `choose_thresholds`.
        fitted_on: What the faces were, in words; the conditions are added.

    Returns:
        The calibration and the thresholds.

    Raises:
        DataError: A label has no sample, lengths differ, or a logit isn't finite.
    """
    by_condition = dict(logits) if isinstance(logits, Mapping) else {"": logits}
    labels, names = np.asarray(labels), np.asarray(sources, dtype=str)
    shown = f"{fitted_on} ({', '.join(by_condition)} views)" if isinstance(logits, Mapping) else fitted_on
    if any(values.shape[:1] != labels.shape for values in by_condition.values()):
        raise DataError("every condition needs one pair of logits per label; score the same faces under each")
    views = [(name, view) for name, values in by_condition.items() for view in _framings(values)]
    times = Counter(name for name, _ in views)
    shares = np.repeat([SHARES.get(name, 1.0) / times[name] for name, _ in views], len(labels))
    every = np.concatenate([view for _, view in views])
    fitted = fit(every, np.tile(labels, len(views)), weights=shares, views=len(views), fitted_on=shown)
    held = [(name, view) for name, view in views if name != HARD] or views
    p = np.stack([fitted.probability(view) for _, view in held], axis=1)
    conditions = [name for name, _ in held] if isinstance(logits, Mapping) else None
    return fitted, choose_thresholds(p, labels, names, bpcer_target, conditions=conditions)


def _framings(logits: np.ndarray) -> list[np.ndarray]:
    """Return one [N, 2] per framing."""
    return [logits] if logits.ndim == 2 else list(np.moveaxis(logits, 1, 0))


def _checked(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return logit differences and integer labels, or raise DataError."""
    labels = np.asarray(labels)
    if logits.ndim != 2 or logits.shape[1] != 2 or labels.shape != logits.shape[:1]:
        raise DataError(
            f"logits must be [N, 2] and labels [N], not {list(logits.shape)} and {list(labels.shape)}"
        )
    if not np.all(np.isfinite(logits)):
        raise DataError("a logit isn't finite; the network has diverged, train it with a lower learning rate")
    require_both(labels)
    return logits[:, 1] - logits[:, 0], labels.astype(np.intp)
