"""Training recipes: every number that a run depends on, and the two named presets."""

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any, Literal

from fauxface.errors import CheckpointError, DataError

METRICS = ("auroc", "accuracy", "balanced_accuracy", "loss", "worst_source_auroc", "degraded_auroc")
"""Validation metrics that early stopping and the choice of the best checkpoint can follow."""

LOWER_IS_BETTER = frozenset({"loss"})


@dataclass(frozen=True, slots=True)
class Degradations:
    """Probabilities and ranges of the label-blind degradations; see `fauxface_train.augment` for their order.

    Attributes:
        margin: Range of the factor on the nominal square's side.
        shift: Largest shift of the square's centre, as a share of its side.
        rotate: Probability of a small rotation.
        degrees: Largest rotation in degrees.
        edge: Probability that the picture ends inside the crop, mirrored (or filled) beyond its edge.
        backdrop: Probability that all outside an ellipse around the face becomes a plain backdrop.
        badge: Probability of a round badge mask, a banner or a frame, as portraits on web sites have them.
        colour: Probability of a change of brightness, contrast, gamma, white balance and saturation.
        gray: Probability of gray or toned gray.
        equalise: Probability that a crop sharper than a drawn target is softened down to it.
        sharpen: Probability of unsharp masking.
        rounds: Probabilities of zero, one and two rounds of rescale, blur, noise and codec.
        rescale: Probability of a rescale within a round.
        blur: Probability of a blur within a round.
        noise: Probability of noise within a round.
        jpeg: Probability of JPEG within a round.
        webp: Probability of WebP within a round, where there was no JPEG.
        quality: Range of the codecs' quality.
        cutout: Probability of a hidden rectangle.
    """

    margin: tuple[float, float] = (0.86, 1.2)
    shift: float = 0.05
    rotate: float = 0.5
    degrees: float = 12.0
    edge: float = 0.3
    backdrop: float = 0.1
    badge: float = 0.06
    colour: float = 0.7
    gray: float = 0.1
    equalise: float = 0.35
    sharpen: float = 0.15
    rounds: tuple[float, float, float] = (0.22, 0.56, 0.22)
    rescale: float = 0.5
    blur: float = 0.12
    noise: float = 0.18
    jpeg: float = 0.75
    webp: float = 0.3
    quality: tuple[int, int] = (30, 98)
    cutout: float = 0.1

    def scaled(self, strength: float) -> "Degradations":
        """Return the same degradations, each with its probability times `strength`; framing stays.

        Args:
            strength: 0: framing, turning and flip only; 1: unchanged.

        Raises:
            DataError: The strength is negative, or makes a probability larger than 1.
        """
        names = ("edge", "backdrop", "badge", "colour", "gray", "equalise", "sharpen", "cutout")
        _, once, twice = (strength * share for share in self.rounds)
        changes = {name: strength * getattr(self, name) for name in names}
        if not (strength >= 0 and max(once + twice, *changes.values()) <= 1):
            raise DataError(
                f"a strength of {strength:g} makes no probabilities of the degradations; check --strength"
            )
        return dataclasses.replace(self, **changes, rounds=(1 - once - twice, once, twice))

    def framed(self, share: float) -> "Degradations":
        """Return the same degradations with crops framed in a part of the range; the rest stays.

        Args:
            share: In [0, 1]. 0: every crop is framed as a scan frames it, upright; 1: unchanged.

        Raises:
            DataError: The share lies outside.
        """
        if not 0 <= share <= 1:
            raise DataError(f"a share of {share:g} of the framing lies outside [0, 1]; check --framing")
        least, most = (1 + share * (side - 1) for side in self.margin)
        return dataclasses.replace(
            self, margin=(least, most), shift=share * self.shift, rotate=share * self.rotate
        )


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a run's result depends on, apart from the data and the initial weights.

    Attributes:
        preset: Name of the preset that it started from.
        batch: Pictures per step.
        epochs: Length of the run in passes over the train split; 0 where `samples` counts instead.
        samples: Length of the run in pictures; 0 where `epochs` counts instead.
        validate_every: Pictures between two validations; 0: after each epoch.
        optimizer: "sgd" or "adamw".
        lr: Highest learning rate.
        pretrained_lr: Factor on the learning rate of the layers that start from given weights; those that
            start at random have `lr` itself.
        momentum: Momentum of SGD.
        weight_decay: Decoupled for AdamW; norms and biases are spared.
        schedule: "step": times 0.1 after each epoch; "one_cycle": warms up, then falls as a cosine.
        warmup: Share of the run in which one_cycle warms up.
        label_smoothing: Share of the target that is spread over both labels.
        ema: Decay per step of the averaged weights that are validated and saved; 0: none.
        balanced: Whether each batch is half real, half fake, with tempered source weights; else shuffled.
        power: Exponent that tempers source sizes: 1 draws pictures alike, 0 draws sources alike.
        source_weights: Factor on the weight of sources that match a pattern, such as {"headshots_*": 2.0}.
        matched: Share of a balanced batch's bona fide pictures that are drawn to be as sharp as its generated
            ones, one for one.
        exclude: Patterns of sources that are left out of train and val, to measure a run without them.
        degradations: None: only a horizontal flip.
        consistency: Weight of the agreement between a clean and a degraded view of each picture; with 0 there
            is one view, degraded. Two views cost twice the time.
        mixed: Share of a batch's pictures into which a part of another one is pasted; each place of a picture
            is then judged by what lies there.
        taught: Weight of the teachers' answers in the loss; the labels have the rest. 0: no teachers.
        metric: Validation metric that picks the best checkpoint; one of `METRICS`.
        patience: Validations without a better metric after which the run stops; 0: never.
        precision: "auto", "fp32", "bf16" or "fp16".
        channels_last: Whether the network runs in channels_last memory format.
        compile: Whether torch.compile is tried.
        bpcer: BPCER that the val pictures of no real source may contradict; see `choose_thresholds`.
        seed: Seed of sampling, degradations and the initial head.
    """

    preset: str
    batch: int
    epochs: int
    samples: int
    validate_every: int
    optimizer: Literal["sgd", "adamw"]
    lr: float
    momentum: float
    weight_decay: float
    schedule: Literal["step", "one_cycle"]
    warmup: float
    label_smoothing: float
    ema: float
    balanced: bool
    power: float
    metric: str
    patience: int
    precision: str
    channels_last: bool
    compile: bool
    degradations: Degradations | None = None
    source_weights: dict[str, float] = field(default_factory=dict)
    matched: float = 0.0
    exclude: tuple[str, ...] = ()
    consistency: float = 0.0
    mixed: float = 0.0
    taught: float = 0.0
    pretrained_lr: float = 1.0
    bpcer: float = 0.01
    seed: int = 0

    def __post_init__(self) -> None:
        checks = {
            "batch must be at least 2": self.batch >= 2,
            "the seed must be 0 or more": self.seed >= 0,
            "either samples or epochs must be positive": (self.samples > 0) != (self.epochs > 0),
            "validate_every must be 0 or more": self.validate_every >= 0,
            "lr must be positive": self.lr > 0,
            "the factor on pretrained layers' learning rate must lie in [0, 1]": 0 <= self.pretrained_lr <= 1,
            "label smoothing must lie in [0, 1)": 0 <= self.label_smoothing < 1,
            "ema must lie in [0, 1)": 0 <= self.ema < 1,
            "the matched share must lie in [0, 1]": 0 <= self.matched <= 1,
            "only balanced batches can be matched": not self.matched or self.balanced,
            "only balanced batches can weight sources": not self.source_weights or self.balanced,
            "consistency must be 0 or more": self.consistency >= 0,
            "consistency needs degradations": not (self.consistency and self.degradations is None),
            "the mixed share must lie in [0, 1]": 0 <= self.mixed <= 1,
            "parts are pasted without --consistency and --label-smoothing": not (
                self.mixed and (self.consistency or self.label_smoothing)
            ),
            "the teachers' weight must lie in [0, 1]": 0 <= self.taught <= 1,
            "teachers teach without --consistency": not (self.taught and self.consistency),
            "the BPCER target must lie in (0, 0.5]": 0 < self.bpcer <= 0.5,
            "power must lie in [0, 1]": 0 <= self.power <= 1,
            "patience must be 0 or more": self.patience >= 0,
            "the metric degraded_auroc needs degradations": not (
                self.metric == "degraded_auroc" and self.degradations is None
            ),
            f"the metric must be one of {', '.join(METRICS)}": self.metric in METRICS,
            "the precision must be auto, fp32, bf16 or fp16": self.precision in PRECISIONS,
            "source weights must be finite and positive": all(
                0 < value < math.inf for value in self.source_weights.values()
            ),
        }
        for message, ok in checks.items():
            if not ok:
                raise DataError(f"{message}; check the options")

    @property
    def usual_degradations(self) -> Degradations | None:
        """Those of its preset if it has some, for the views that runs are compared by, else its own."""
        return None if self.degradations is None else PRESETS[self.preset].degradations or self.degradations

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-compatible settings."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Recipe":
        """Return the recipe that `to_dict` wrote.

        Raises:
            CheckpointError: It has other fields, as another release writes them.
        """
        fields = dict(values)
        fields["exclude"] = tuple(fields.get("exclude", ()))
        try:
            if fields.get("degradations") is not None:
                ranges: dict[str, Any] = {
                    key: tuple(value) if isinstance(value, list) else value
                    for key, value in fields["degradations"].items()
                }
                fields["degradations"] = Degradations(**ranges)
            return cls(**fields)
        except TypeError as error:
            raise CheckpointError(f"the recipe is of another release of fauxface: {error}") from None

    def changed(self, **overrides: Any) -> "Recipe":
        """Return a copy with those overrides that aren't None; `samples` and `epochs` exclude each other."""
        given = {key: value for key, value in overrides.items() if value is not None}
        if "samples" in given and "epochs" not in given:
            given["epochs"] = 0
        if "epochs" in given and "samples" not in given:
            given["samples"] = 0
        return dataclasses.replace(self, **given)


PRECISIONS = ("auto", "fp32", "bf16", "fp16")

PRESETS = {
    "article": Recipe(
        preset="article",
        batch=4,
        epochs=3,
        samples=0,
        validate_every=0,
        optimizer="sgd",
        lr=0.001,
        momentum=0.9,
        weight_decay=0.0,
        schedule="step",
        warmup=0.0,
        label_smoothing=0.0,
        ema=0.0,
        balanced=False,
        power=1.0,
        metric="accuracy",
        patience=0,
        precision="fp32",
        channels_last=False,
        compile=False,
    ),
    "robust": Recipe(
        preset="robust",
        batch=64,
        epochs=0,
        samples=200_000,
        validate_every=20_000,
        optimizer="adamw",
        lr=0.001,
        momentum=0.0,
        weight_decay=0.02,
        schedule="one_cycle",
        warmup=0.1,
        label_smoothing=0.0,
        ema=0.998,
        balanced=True,
        power=0.5,
        metric="worst_source_auroc",
        patience=0,
        precision="auto",
        channels_last=True,
        compile=True,
        degradations=Degradations().scaled(0.4),
        pretrained_lr=0.1,
    ),
}
"""The reference recipe `article`, to measure against, and ours, `robust`."""


def preset(name: str) -> Recipe:
    """Return a preset by name.

    Raises:
        DataError: There is no such preset.
    """
    try:
        return PRESETS[name]
    except KeyError:
        raise DataError(f"no preset {name!r}; choose one of {', '.join(PRESETS)}") from None
