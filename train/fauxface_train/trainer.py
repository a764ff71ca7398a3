"""A training run from prepared data to a calibrated checkpoint; it can be stopped and resumed at any time."""

import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fauxface.errors import CheckpointError, DataError, OutputError
from fauxface.files import usable_folder
from fauxface.progress import Progress
from fauxface_train import checkpoint, loading, provenance, training_set, validation
from fauxface_train.dataset import PreparedData
from fauxface_train.distilling import Teachers
from fauxface_train.engine import Engine, pick_device, rate
from fauxface_train.logs import Logs
from fauxface_train.model import Deployed, build
from fauxface_train.presets import LOWER_IS_BETTER, Recipe
from fauxface_train.run_state import (
    RESUME_FILE,
    Outcome,
    Position,
    Surroundings,
    interruptible,
    read_resume,
)
from fauxface_train.sampling import Plan
from fauxface_train.weights import Initial, initialise

_LOG_EVERY_STEPS = 20
_UNCALIBRATED = {
    "calibration": {"temperature": 1.0, "bias": 0.0, "fitted_on": ""},
    "thresholds": {
        "bona_fide_below": 0.5,
        "generated_from": 0.5,
        "rule": "not chosen: the run isn't finished",
    },
}


def stored_recipe(out: Path) -> Recipe:
    """Return the recipe of a run that can be resumed.

    Raises:
        CheckpointError: There is none, or its file is corrupt.
    """
    return Recipe.from_dict(read_resume(out)["recipe"])


def train(
    folder: str | Path,
    out: str | Path,
    recipe: Recipe,
    *,
    weights: str | None = None,
    added: Sequence[str | Path] = (),
    teachers: Sequence[str | Path] = (),
    resume: bool = False,
    surroundings: Surroundings | None = None,
) -> Outcome:
    """Train, validate, choose the best checkpoint and calibrate it.

    Args:
        folder: Prepared data, with a train and a val split.
        out: The run's folder.
        recipe: What is done.
        weights: Initial weights; see `weights.initialise`. None: "imagenet". A resumed run doesn't load them
            again, but refuses others than its own.
        added: Further prepared data, whose train pictures join those of `folder`; a resumed run needs them
            too.
        teachers: Models whose answers are learned, too, with the recipe's weight `taught`; a resumed run
            needs them too.
        resume: Continue the run in `out`, with the recipe that it was started with.
        surroundings: Where and how it runs.

    Returns:
        How it ended. The run's folder then holds best and last checkpoints, log.csv, curves.png and
        tensorboard/.

    Raises:
        DataError: The data lack a split or a label, or differ from those of the resumed run; or the loss
            isn't finite; or there are teachers without weight, or weight without teachers.
        CheckpointError: The initial weights, a teacher or the resume file can't be used.
        OutputError: `out` holds another run, or can't be written.
    """
    around = surroundings or Surroundings()
    out = usable_folder(out)
    stored = _begun(out, resume, weights, teachers)
    if stored is not None:
        recipe = Recipe.from_dict(stored["recipe"])
    device = pick_device(around.device)
    data = PreparedData.load(folder)
    if recipe.preset == "article" and not data.info.get("tolerate_truncated"):
        around.say(
            "note: the article's recipe tolerates truncated pictures; prepare with --tolerate-truncated"
        )
    if stored is None:
        training_set.check_excluded(data, added, recipe.exclude)
    samples = training_set.chosen(data, "train", recipe.exclude) + training_set.joining(
        data, added, recipe.exclude
    )
    val_samples = training_set.chosen(data, "val", recipe.exclude)
    facts = provenance.describe_data(data, samples, val_samples, added)
    if unseen := training_set.without_validation(data, samples, val_samples):
        around.say(
            f"note: no validation picture of {', '.join(unseen)}; neither selection nor thresholds see them"
        )
    if stored is not None and stored["data"] != facts:
        raise DataError(
            f"{' with '.join(map(str, (folder, *added)))} isn't the data that {out} was started with; "
            "give those, or start a new run"
        )
    asked = Teachers.load(teachers, recipe.taught, device, data)
    if stored is not None and not asked.are(stored.get("teachers", ())):
        raise CheckpointError(f"{out} was started with other teachers; give those, or start a new run")
    val = validation.prepare(val_samples, recipe.usual_degradations)
    with loading.decoded(samples, around.cache_bytes) as crops:
        if not crops.in_memory:
            around.say(
                "the crops don't fit the memory budget (see --cache-gb) or the temporary folder (TMPDIR) "
                "and are decoded at each use"
            )
        sharp = loading.sharpness_of(crops) if recipe.matched else None
        plan = Plan([s.label for s in samples], [s.source for s in samples], recipe, sharp)
        rebuilt = training_set.of_reconstructions(samples, plan.shares[1])
        if recipe.balanced and rebuilt > training_set.MOST_RECONSTRUCTIONS:
            around.say(
                f"note: {100 * rebuilt:.0f} % of the generated pictures are reconstructions, more than a "
                "third; lower their --source-weight"
            )
        torch.manual_seed(recipe.seed)
        net = build()
        if stored is None:
            initial = initialise(net, weights or "imagenet", lambda: loading.probe_faces(crops, recipe))
            around.say(initial.sentence())
        else:
            initial = Initial.from_dict(stored["initial"])
        engine = Engine(net, recipe, device, around.say, initial, teachers=asked)
        run = Run(
            out=out,
            recipe=recipe,
            plan=plan,
            engine=engine,
            val=val,
            crop={
                "margin": data.margin,
                "min_face_px": data.min_face_px,
                **({"locator_sha256": known} if (known := data.info.get("locator_sha256")) else {}),
                **({"faces": "whole"} if data.whole else {}),
            },
            facts=facts,
            initial=initial,
            teachers=asked,
            around=around,
        )
        if stored is not None:
            engine.restore(stored["engine"])
            run.position = Position(**stored["position"])
        views = loading.Views(crops, recipe.degradations, recipe.seed, pairs=recipe.consistency > 0)
        return run.go(views)


def _begun(
    out: Path, resume: bool, weights: str | None, teachers: Sequence[str | Path]
) -> dict[str, Any] | None:
    """Return the resume file's content where a run goes on; refuse to lose one, or to go on as another."""
    if not resume:
        if (out / RESUME_FILE).exists():
            raise OutputError(
                f"{out} already holds a run; add --resume to continue it, or choose another --out"
            )
        held = [
            name
            for name in ("best.safetensors", "last.safetensors", "last.pt", "log.csv")
            if (out / name).exists()
        ]
        if held:
            raise OutputError(f"{out} already holds {held[0]}, and no run to resume; choose another --out")
        return None
    stored = read_resume(out)
    if weights is not None and not Initial.from_dict(stored["initial"]).is_of(weights):
        raise CheckpointError(f"{out} was started with other weights; drop --weights, or start a new run")
    count = len(stored.get("teachers", ()))
    if len(teachers) != count:
        raise CheckpointError(f"{out} was started with {count} teachers; give the same ones by --teacher")
    return stored


class Run:
    """A run under way; `train` makes one."""

    def __init__(
        self,
        *,
        out: Path,
        recipe: Recipe,
        plan: Plan,
        engine: Engine,
        val: validation.Validation,
        crop: Mapping[str, float | str],
        facts: Mapping[str, Any],
        initial: Initial,
        teachers: Teachers,
        around: Surroundings,
    ) -> None:
        self.position = Position()
        self._commit = provenance.commit()  # of what was loaded: later the sources may have moved on
        self._out, self._recipe, self._plan, self._engine = out, recipe, plan, engine
        self._val, self._crop, self._facts, self._initial = val, dict(crop), dict(facts), initial
        self._around, self._teachers = around, teachers
        self._trained = 0
        self._training_seconds = 0.0

    def go(self, views: loading.Views) -> Outcome:
        """Train to the end, or until interrupted."""
        at, plan = self.position, self._plan
        at.command = at.command or provenance.command()
        around, engine = self._around, self._engine
        if at.step < plan.steps:
            self._note_process()
        workers = loading.default_workers(engine.device) if around.workers is None else around.workers
        around.say(
            f"training on {engine.device.type} in {str(engine.dtype).removeprefix('torch.')}"
            f"{', compiled' if engine.compiled else ''}, {workers} workers: "
            f"{plan.samples} pictures in {plan.steps} steps from {at.samples}"
        )
        begun = time.monotonic() - at.seconds
        with Logs(self._out, at.rows) as logs, interruptible() as interrupted, loading.deaths_told():
            stopped = False
            if at.step < plan.steps and not self._is_stale():
                stopped = self._steps(views, workers, logs, begun, interrupted)
            at.seconds = time.monotonic() - begun
            if stopped:
                self._save_position(logs)
                return self._outcome(False, {})
            metrics = self._finished()
            if metrics is None:
                metrics = self._finish()
                self._save_position(logs)
        return self._outcome(True, metrics)

    def _note_process(self) -> None:
        """Record what trains from here on; say so where it isn't what trained before."""
        at, here = self.position, self._process()
        last = {key: value for key, value in (at.processes or [here])[-1].items() if key != "from_samples"}
        if last != here:
            differs = ", ".join(key for key in here if last.get(key) != here[key])
            self._around.say(f"note: what trained up to here had another {differs}; both are recorded")
        if not at.processes or last != here:
            at.processes.append({"from_samples": at.samples, **here})

    def _process(self) -> dict[str, Any]:
        """Return what a process's part of a result depends on, by rounding at least."""
        engine = self._engine
        return {
            "commit": self._commit,
            "versions": provenance.versions(),
            "machine": provenance.machine(),
            "device": str(engine.device),
            "precision": str(engine.dtype).removeprefix("torch."),
            "compiled": engine.compiled,
        }

    def _steps(
        self, views: loading.Views, workers: int, logs: Logs, begun: float, interrupted: threading.Event
    ) -> bool:
        """Go through the batches that are left; return whether the run was interrupted."""
        at, plan, engine, around = self.position, self._plan, self._engine, self._around
        losses = [torch.tensor(value, device=engine.device) for value in at.losses]
        saved = mark = time.monotonic()
        pin = engine.device.type == "cuda"
        source = loading.batches(views, plan.batches(at.step), workers, pin)
        with Progress(plan.samples - at.samples, "train", "images") as progress:
            for crops, labels in source:
                lr = rate(self._recipe, plan, at.step)
                losses.append(engine.step(crops, labels, lr, at.step))
                before, at.samples, at.step = at.samples, at.samples + len(labels), at.step + 1
                self._trained += len(labels)
                last = at.step == plan.steps
                if at.step % _LOG_EVERY_STEPS == 0 or last:
                    mean = self._mean(losses)
                    now = time.monotonic()
                    self._training_seconds += now - mark
                    self._add_train_row(logs, mean, lr, now - begun)
                    mark = now
                progress.advance(len(labels), f"loss {logs.rows[-1]['loss']:.3f}" if logs.rows else "")
                if last or self._validation_due(before):
                    self._training_seconds += time.monotonic() - mark
                    at.seconds = time.monotonic() - begun
                    at.losses = [float(loss) for loss in losses]
                    self._validate(logs)
                    saved = mark = time.monotonic()
                    if self._is_stale():
                        around.say(
                            f"no better {self._recipe.metric} in {at.stale} validations: stopping early"
                        )
                        return False
                if interrupted.is_set() or at.step == around.stop_after:
                    at.losses = [float(loss) for loss in losses]
                    return not last
                if time.monotonic() - saved > around.checkpoint_seconds:
                    at.losses = [float(loss) for loss in losses]
                    at.seconds = time.monotonic() - begun
                    self._save_position(logs)
                    saved = mark = time.monotonic()
        return False

    def _validation_due(self, before: int) -> bool:
        every = self._recipe.validate_every
        if every:
            return self.position.samples // every > before // every
        return self.position.step % self._plan.epoch == 0

    def _is_stale(self) -> bool:
        return 0 < self._recipe.patience <= self.position.stale

    def _mean(self, losses: list[torch.Tensor]) -> float:
        """Return the mean of the losses and forget them."""
        mean = float(torch.stack(losses).mean())
        losses.clear()
        if not np.isfinite(mean):
            raise DataError(
                f"the loss became {mean} after {self.position.samples} pictures; use a lower --lr or fp32"
            )
        return mean

    def _add_train_row(self, logs: Logs, loss: float, lr: float, seconds: float) -> None:
        speed = self._trained / max(self._training_seconds, 1e-9)
        values = {"seconds": seconds, "lr": lr, "loss": loss, "images_per_s": speed}
        logs.add("train", self.position.samples, values)

    def _validate(self, logs: Logs) -> None:
        """Measure the validation metrics, keep the best checkpoint, save the position."""
        at, name = self.position, self._recipe.metric
        metrics = self._measure(self._engine.deployed.eval(), mixed=True)
        value = metrics[name]
        better = at.best is None or (value < at.best if name in LOWER_IS_BETTER else value > at.best)
        if better:
            at.best, at.best_samples, at.stale = value, at.samples, 0
            self._save("best", metrics, _UNCALIBRATED)
        else:
            at.stale += 1
        logs.add("val", at.samples, {"seconds": at.seconds, **metrics, "best": better})
        shown = ", ".join(f"{key} {number:.4f}" for key, number in metrics.items())
        self._around.say(f"{at.samples} pictures: {shown}{' (best)' if better else ''}")
        self._save_position(logs, metrics)

    def _measure(self, module: Deployed, mixed: bool) -> dict[str, float]:
        engine = self._engine
        autocast = engine.autocast if mixed else None
        return validation.measured(
            self._val, lambda crops: validation.logits(module, crops, engine.device, autocast)
        )

    def _finished(self) -> dict[str, float] | None:
        """Return the metrics of the best checkpoint where an earlier process has calibrated it, else None.

        Written again it would have another SHA-256, and its evaluation would belong to no checkpoint.
        """
        info = checkpoint.load(self._out / "best.safetensors").info
        if not (info.get("calibration") or {}).get("fitted_on"):
            return None
        return {name: value for name, value in info["metrics"].items() if name != "source_auroc"}

    def _finish(self) -> dict[str, float]:
        """Calibrate the best weights on the validation split and write them with all that is known."""
        from fauxface_train.decide import decide

        best = checkpoint.load(self._out / "best.safetensors")
        engine, val = self._engine, self._val
        module = best.deployed().to(engine.device)
        decided, scores = decide(
            val, lambda crops: validation.logits(module, crops, engine.device), self._recipe.bpcer
        )
        metrics = self._measure(module, mixed=False)
        margin = scores[:, 1].astype(np.float64) - scores[:, 0]
        sources = validation.per_source(margin, val.labels, val.sources)
        self._save("best", {**metrics, "source_auroc": sources}, decided, best.net.state_dict())
        return metrics

    def _save(
        self,
        name: str,
        metrics: Mapping[str, Any],
        decided: Mapping[str, Any],
        state: Mapping[str, torch.Tensor] | None = None,
    ) -> None:
        at = self.position
        info = checkpoint.describe(
            **self._crop,
            config=self._recipe.to_dict(),
            metrics=dict(metrics),
            **decided,
            data=self._facts,
            provenance={
                "command": at.command,
                **self._process(),
                **({"processes": at.processes} if len(at.processes) > 1 else {}),
                "initial_weights": self._initial.to_dict(),
                **({"teachers": self._teachers.to_list()} if self._teachers.scorers else {}),
                "samples": at.samples,
                "selected_at_samples": at.best_samples if name == "best" else at.samples,
                "seconds": round(at.seconds, 1),
            },
        )
        checkpoint.save(self._out / name, state or self._engine.deployed.net.state_dict(), info)

    def _save_position(self, logs: Logs, metrics: Mapping[str, Any] | None = None) -> None:
        """Write the last checkpoint, the file to resume from, and the logs."""
        at = self.position
        at.rows = list(logs.rows)
        measured = {"kind": "val", "samples": at.samples}.items() <= (at.rows[-1] if at.rows else {}).items()
        if metrics is not None or not (measured or at.step == self._plan.steps):
            self._save("last", metrics or {}, _UNCALIBRATED)
        content = {
            "recipe": self._recipe.to_dict(),
            "data": self._facts,
            "initial": self._initial.to_dict(),
            "teachers": self._teachers.to_list(),
            "position": {name: getattr(at, name) for name in Position.__slots__},
            "engine": self._engine.state(),
        }
        with checkpoint.writing(self._out / RESUME_FILE) as temporary:
            torch.save(content, temporary)
        logs.write()

    def _outcome(self, finished: bool, metrics: dict[str, float]) -> Outcome:
        return Outcome(finished, self.position.samples, self._plan.samples, metrics)
