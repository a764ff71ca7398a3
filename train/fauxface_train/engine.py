"""One step of optimisation: precision, memory format, compilation, optimiser and averaged weights."""

import contextlib
import copy
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F
from torchvision.models import ResNet

from fauxface.errors import DataError
from fauxface_train import mixing
from fauxface_train.distilling import Teachers, divergence
from fauxface_train.model import Deployed
from fauxface_train.presets import Recipe
from fauxface_train.products import pays, processor_flags, use_products
from fauxface_train.sampling import Plan
from fauxface_train.weights import Initial

Say = Callable[[str], None]


def pick_device(name: str) -> torch.device:
    """Return the device for "auto", "cpu", "cuda", "cuda:N" or "mps"; that GPU is the process's from then on.

    Raises:
        DataError: The device is unknown, isn't there, or can't compute.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise DataError(f"no device {name!r}; use auto, cpu, cuda, cuda:N or mps") from None
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(device.type, False) or (
        device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()
    ):
        raise DataError(f"device {name!r} isn't available on this machine; use --device auto")
    if device.type == "cuda" and (problem := _why_unusable(device)) is not None:
        raise DataError(f"device {name!r} can't be used: {problem}; free it, or use --device cpu")
    return device


def _why_unusable(device: torch.device) -> str | None:
    """Return why a GPU can't compute, as an old one of which PyTorch has no kernels, or None.

    A numbered one becomes the process's own, so that "cuda" alone means it, too.
    """
    try:
        if device.index is not None:
            torch.cuda.set_device(device)
        torch.ones(1, device=device).add_(1).item()
    except RuntimeError as error:
        return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
    return None


def pick_precision(name: str, device: torch.device) -> torch.dtype:
    """Return the type that matrix products run in: mixed precision only where it is fast."""
    if name != "auto":
        return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[name]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(False) else torch.float16
    if device.type == "cpu" and torch.ops.mkldnn._is_mkldnn_bf16_supported():
        flags = processor_flags()
        if flags.get("avx512_bf16") or flags.get("amx_bf16") or flags.get("bf16"):
            return torch.bfloat16
    return torch.float32


def rate(recipe: Recipe, plan: Plan, step: int) -> float:
    """Return the learning rate of a step: a closed form, so that a resumed run continues it exactly.

    "one_cycle" rises linearly to `lr` within the warm-up and falls as half a cosine to a thousandth of it
    (the shape of Smith and Topin, "Super-convergence", 2018, without a change of momentum).
    """
    if recipe.schedule == "step":
        return recipe.lr * 0.1 ** (step // plan.epoch)
    warm = max(1, round(recipe.warmup * plan.steps))
    if step < warm:
        return recipe.lr * (step + 1) / warm
    done = (step - warm) / max(1, plan.steps - warm)
    return recipe.lr * (0.001 + 0.999 * 0.5 * (1 + math.cos(math.pi * done)))


class Engine:
    """A network under training.

    Args:
        net: Initialised ResNet18.
        recipe: Optimiser, precision and so on.
        device: Where it trains.
        say: Takes lines for the log.
        initial: What the network started from.
        teachers: Models that it learns from, too, where the recipe gives them weight.
    """

    def __init__(
        self,
        net: ResNet,
        recipe: Recipe,
        device: torch.device,
        say: Say,
        initial: Initial,
        *,
        teachers: Teachers | None = None,
    ) -> None:
        self.recipe = recipe
        self._teachers = teachers or Teachers()
        self.device = device
        self.dtype = pick_precision(recipe.precision, device)
        self.net = net.to(device)
        if recipe.channels_last:
            self.net = self.net.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self._module = Deployed(self.net).to(device).train()
        self._average = copy.deepcopy(self._module).eval() if recipe.ema else None
        if pays(device, self.dtype):
            use_products(self.net)
        self.optimizer, self._factors = _optimizer(self.net, recipe, initial)
        self._scaler = torch.amp.GradScaler(device.type, enabled=self.dtype == torch.float16)
        self._paired = recipe.consistency > 0
        self._eager: Callable[..., Any] = self._module
        if recipe.mixed:
            self._eager = self._module.cells
        elif self._paired:
            self._eager = self._module.embed
        self._forward = self._eager
        self.compiled = recipe.compile and self._compile(say)

    @property
    def deployed(self) -> Deployed:
        """The module to validate and save: the averaged weights where there are some."""
        return self._average if self._average is not None else self._module

    def autocast(self) -> AbstractContextManager:
        """Return the context of mixed precision."""
        if self.dtype == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, self.dtype)

    def step(self, crops: torch.Tensor, labels: torch.Tensor, lr: float, number: int) -> torch.Tensor:
        """Optimise on one batch.

        Args:
            crops: uint8 [B, 128, 128, 3] RGB; [B, 2, 128, 128, 3] where the recipe asks for consistency.
            labels: int64 [B].
            lr: Learning rate of layers that started at random.
            number: Number of the step, from 0.

        Returns:
            The batch's loss, a detached scalar on the device.

        Raises:
            DataError: The device has too little memory.
        """
        for group, factor in zip(self.optimizer.param_groups, self._factors, strict=True):
            group["lr"] = lr * factor
        self._module.train()
        try:
            loss = self._loss(
                crops.to(self.device, non_blocking=True), labels.to(self.device, non_blocking=True), number
            )
            self.optimizer.zero_grad(set_to_none=True)
            self._scaler.scale(loss).backward()
            self._scaler.step(self.optimizer)
        except torch.OutOfMemoryError:
            raise self._too_large() from None
        self._scaler.update()
        self._follow(number)
        return loss.detach()

    def _too_large(self) -> DataError:
        return DataError(
            f"a batch of {self.recipe.batch} doesn't fit the memory of {self.device}; "
            "train with a smaller --batch, or free the device"
        )

    def _loss(self, crops: torch.Tensor, labels: torch.Tensor, number: int) -> torch.Tensor:
        smoothing = self.recipe.label_smoothing
        if self.recipe.mixed:
            rng = np.random.default_rng([self.recipe.seed, 6, number])
            crops, generated = mixing.paste(crops, labels, self.recipe.mixed, rng)
            with self.autocast():
                cells = self._forward(crops)
            return self._taught(mixing.loss(cells, generated), cells.mean((1, 2)), crops, number)
        if not self._paired:
            with self.autocast():
                scores = self._forward(crops)
            loss = F.cross_entropy(scores, labels, label_smoothing=smoothing)
            return self._taught(loss, scores, crops, number)
        with self.autocast():
            features, scores = self._forward(crops.flatten(0, 1))
        loss = F.cross_entropy(scores, labels.repeat_interleave(2), label_smoothing=smoothing)
        return loss + self.recipe.consistency * disagreement(features, scores)

    def _taught(
        self, loss: torch.Tensor, scores: torch.Tensor, crops: torch.Tensor, number: int
    ) -> torch.Tensor:
        """Return the labels' loss, with the distance from the teachers' answers where there are some."""
        weight = self.recipe.taught
        if not weight:
            return loss
        odds = torch.from_numpy(self._teachers.log_odds(crops.cpu().numpy(), number)).to(self.device)
        return (1 - weight) * loss + weight * divergence(scores, odds)

    @torch.no_grad()
    def _follow(self, number: int) -> None:
        """Let the averaged weights follow; the decay grows to its value so that the start is forgotten."""
        if self._average is None:
            return
        decay = min(self.recipe.ema, (1 + number) / (10 + number))
        pairs = zip(self._average.net.state_dict().values(), self.net.state_dict().values(), strict=True)
        for mean, new in pairs:
            if mean.is_floating_point():
                mean.lerp_(new, 1 - decay)
            else:
                mean.copy_(new)

    def _compile(self, say: Say) -> bool:
        """Compile the forward pass, proving on one batch that it works; say why where it doesn't."""
        before = copy.deepcopy(self.net.state_dict())
        views = (2,) if self._paired else ()
        shape = (self.recipe.batch, *views, 128, 128, 3)
        crops = torch.zeros(shape, dtype=torch.uint8, device=self.device)
        labels = torch.arange(self.recipe.batch, device=self.device) % 2
        say("compiling the network; this takes a minute")
        self._forward = torch.compile(self._eager)
        try:
            self._loss(crops, labels, 0).backward()
            return True
        except torch.OutOfMemoryError:
            raise self._too_large() from None
        except Exception as error:  # the compiler's back ends raise whatever they like
            reason = (str(error).strip().splitlines() or [""])[0][:160]
            say(
                f"torch.compile doesn't work here, training goes on without: {type(error).__name__}: {reason}"
            )
            self._forward = self._eager
            return False
        finally:
            self.net.load_state_dict(before)
            self.optimizer.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Any]:
        """Return all that a resumed run needs of the engine, as tensors and plain values."""
        return {
            "net": self.net.state_dict(),
            "average": self._average.net.state_dict() if self._average is not None else None,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned."""
        self.net.load_state_dict(state["net"])
        if self._average is not None:
            self._average.net.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        if state["scaler"]:  # empty where the run so far was on a device that needs none
            self._scaler.load_state_dict(state["scaler"])


def disagreement(features: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    """Return how much the two views of each picture differ, averaged over the pictures.

    It is one minus the cosine of their features, plus the symmetric Kullback-Leibler divergence of their
    probabilities (half the sum of both directions).

    Args:
        features: [2 B, F]; clean and degraded views take turns.
        scores: float32 logits [2 B, 2] in the same order.

    Returns:
        A scalar, 0 where the views agree in all.
    """
    clean, hard = features.float().unflatten(0, (-1, 2)).unbind(1)
    angle = 1 - F.cosine_similarity(clean, hard, dim=1)
    p, q = scores.log_softmax(1).unflatten(0, (-1, 2)).unbind(1)
    divergence = ((p.exp() - q.exp()) * (p - q)).sum(1) / 2
    return (angle + divergence).mean()


def _optimizer(net: ResNet, recipe: Recipe, initial: Initial) -> tuple[torch.optim.Optimizer, list[float]]:
    """Return the recipe's optimiser, and the factor on the learning rate of each of its groups.

    Norms and biases aren't decayed by AdamW.
    """
    groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
    for name, parameter in net.named_parameters():
        factor = 1.0 if initial.is_random(name) else recipe.pretrained_lr
        decay = recipe.weight_decay if recipe.optimizer == "sgd" or parameter.ndim > 1 else 0.0
        groups.setdefault((factor, decay), []).append(parameter)
    described = [{"params": chosen, "weight_decay": decay} for (_, decay), chosen in groups.items()]
    factors = [factor for factor, _ in groups]
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(described, lr=recipe.lr, momentum=recipe.momentum), factors
    return torch.optim.AdamW(described, lr=recipe.lr, foreach=True), factors
