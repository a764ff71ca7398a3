"""Initial weights: ImageNet's, a bundle's, a file's or none; folded batch norm is inflated again."""

import hashlib
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import onnx
import torch
from google.protobuf.message import DecodeError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torchvision.models import ResNet, ResNet18_Weights

from fauxface.bundle import Bundle
from fauxface.errors import CheckpointError
from fauxface.manifest import MANIFEST_NAME
from fauxface_train.checkpoint import description, resolve
from fauxface_train.model import ARCHITECTURE, IMAGENET_MEAN, IMAGENET_STD, Deployed
from fauxface_train.provenance import from_bundle, trained_on

Faces = Callable[[], np.ndarray]
"""Returns a few hundred train crops, uint8 [N, 128, 128, 3] RGB; called only for folded weights."""


@dataclass(frozen=True, slots=True)
class Initial:
    """Where a run's initial weights came from.

    Attributes:
        kind: "none", "imagenet", "bundle", or the file's suffix without its dot.
        sha256: Hash of the file, of the bundle, or of the downloaded tensors; None for "none".
        fresh: Layers that the weights didn't hold and that keep their random initialisation.
        trained_on: SHA-256 of the manifest.csv of each prepared data set that they are known to have learned
            from; see `provenance.trained_on`.
        from_bundle: Whether they are a bundle's, or were trained from one; see `provenance.from_bundle`.
    """

    kind: str
    sha256: str | None
    fresh: tuple[str, ...]
    trained_on: tuple[str, ...] = ()
    from_bundle: bool = False

    def is_random(self, parameter: str) -> bool:
        """Tell whether a parameter of the network started at random: a fresh layer's, or its batch norm's."""
        layer = parameter.rpartition(".")[0]
        return self.kind == "none" or layer in self.fresh or layer in map(_norm_of, self.fresh)

    def sentence(self) -> str:
        """Return one line for the log."""
        fresh = f"; fresh: {', '.join(self.fresh)}" if self.fresh and self.kind != "none" else ""
        return f"initial weights: {self.kind}{f' {self.sha256[:12]}' if self.sha256 else ''}{fresh}"

    def to_dict(self) -> dict[str, Any]:
        """Return it JSON-compatible, as run and bundle record it."""
        return {
            "kind": self.kind,
            "sha256": self.sha256,
            "fresh": list(self.fresh),
            "trained_on": list(self.trained_on),
            "from_bundle": self.from_bundle,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Initial":
        """Return what `to_dict` wrote; a record of an earlier version may lack what weights had learned."""
        return cls(
            values["kind"],
            values["sha256"],
            tuple(values["fresh"]),
            tuple(values.get("trained_on", ())),
            values.get("from_bundle", values["kind"] == "bundle"),
        )

    def is_of(self, weights: str) -> bool:
        """Tell whether these are the weights that `initialise` would take; downloads aren't compared.

        Raises:
            CheckpointError: There are no such weights.
            BundleError: The bundle is refused.
        """
        kind, digest = _identity(weights)
        return kind == self.kind and (digest is None or digest == self.sha256)


def _identity(weights: str) -> tuple[str, str | None]:
    """Return kind and SHA-256 of initial weights, None where they'd have to be downloaded first."""
    if weights in {"none", "imagenet"}:
        return weights, None
    if bundle := _bundle(weights):
        return "bundle", bundle.sha256
    path = _file(weights)
    return path.suffix.lstrip("."), hashlib.sha256(path.read_bytes()).hexdigest()


def _bundle(weights: str) -> Bundle | None:
    """Return the bundle that is meant, None where a run or a file is."""
    if weights == "shipped":
        return Bundle.load(None)
    return Bundle.load(Path(weights)) if (Path(weights) / MANIFEST_NAME).is_file() else None


def _file(weights: str) -> Path:
    """Return the file that is meant, a run's best checkpoint where its folder is given."""
    path = Path(weights)
    if path.is_dir():
        path = resolve(path)
    if not path.is_file():
        raise CheckpointError(f"no weights at {weights}; give imagenet, shipped, none or an existing file")
    return path


def initialise(net: ResNet, weights: str, faces: Faces) -> Initial:
    """Fill a network with initial weights.

    The head is kept at its random initialisation unless the weights hold one with the same number of labels.

    Args:
        net: The network to fill, with its two-way head.
        weights: "none", "imagenet", "shipped" for the default bundle's, the folder of a run or a bundle, or a
            .pth, .pt, .safetensors or .npz file with torchvision's names. An .npz without batch-norm entries
            holds weights with batch norm folded in; layers that are absent from it stay at their
            initialisation.
        faces: Source of crops for folded weights.

    Raises:
        CheckpointError: The file is missing, corrupt, or of another architecture, or the download failed.
        BundleError: The bundle is refused.
    """
    if weights == "none":
        return Initial("none", None, ())
    if weights == "imagenet":
        state = _download()
        fresh = _fill(net, state, "torchvision's ImageNet weights")
        return Initial("imagenet", _state_sha256(state), fresh)
    if bundle := _bundle(weights):
        fresh = _inflate(net, _of_bundle(bundle), faces, f"the bundle {bundle.manifest.name}")
        return Initial(
            "bundle", bundle.sha256, fresh, trained_on(bundle.manifest.provenance), from_bundle=True
        )
    path = _file(weights)
    state = _read(path)
    if path.suffix == ".npz" and not any("bn" in name or "running" in name for name in state):
        fresh = _inflate(net, state, faces, path.name)
    else:
        fresh = _fill(net, state, path.name)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    info = description(path) or {}
    return Initial(path.suffix.lstrip("."), digest, fresh, trained_on(info), from_bundle=from_bundle(info))


def _download() -> dict[str, torch.Tensor]:
    weights = ResNet18_Weights.IMAGENET1K_V1
    try:
        return dict(weights.get_state_dict(progress=False, check_hash=True))
    except (URLError, OSError, RuntimeError) as error:
        reason = getattr(error, "reason", None) or error
        raise CheckpointError(
            f"can't download torchvision's ImageNet weights ({reason}); pass --weights FILE or --weights none"
        ) from None


def _read(path: Path) -> dict[str, torch.Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as archive:
                return {name: torch.from_numpy(archive[name]) for name in archive.files}
        if path.suffix in {".pth", ".pt"}:
            return _unwrapped(torch.load(path, map_location="cpu", weights_only=True), path)
    except CheckpointError:
        raise
    except (SafetensorError, zipfile.BadZipFile, OSError, ValueError, TypeError) as error:
        raise _corrupt(path, error) from None
    except Exception as error:  # torch.load lets whatever the bytes provoke through
        raise _corrupt(path, error) from None
    raise CheckpointError(f"{path.name} isn't .pth, .pt, .safetensors or .npz; convert it to one of those")


def _of_bundle(bundle: Bundle) -> dict[str, torch.Tensor]:
    """Return the fp32 graph's weights by torchvision's names; export folded batch norm into them."""
    try:
        graph = onnx.load_model_from_string(bundle.classifier_bytes()).graph
        tensors = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
        layers = [node for node in graph.node if node.op_type in {"Conv", "Gemm"}]
        state = {}
        for node in layers:
            name = node.input[1].removeprefix("net.").removesuffix(".weight")
            for part, tensor in zip(("weight", "bias"), node.input[1:3], strict=True):
                state[f"{name}.{part}"] = torch.from_numpy(tensors[tensor].copy())
    except (DecodeError, KeyError, ValueError, TypeError) as error:
        raise CheckpointError(
            f"the classifier of {bundle.path} isn't one that fauxface exported ({error}); give another bundle"
        ) from None
    return state


def _corrupt(path: Path, error: Exception) -> CheckpointError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
    return CheckpointError(f"{path.name} is corrupt or holds more than weights ({reason}); get it again")


def _unwrapped(content: Any, path: Path) -> dict[str, torch.Tensor]:
    """Take the state out of the wrappings that training scripts put around it."""
    for key in ("state_dict", "model", "net"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(isinstance(v, torch.Tensor) for v in content.values()):
        raise CheckpointError(f"{path.name} holds no state of named tensors; save net.state_dict()")
    return {str(name).removeprefix("module."): tensor for name, tensor in content.items()}


def _fill(net: ResNet, state: Mapping[str, torch.Tensor], name: str) -> tuple[str, ...]:
    """Load a whole network's state; only the head may be absent or of another number of labels."""
    own = net.state_dict()
    optional = {key for key in own if key.endswith("num_batches_tracked")}
    head = {"fc.weight", "fc.bias"}
    fits = all(key in state and state[key].shape == own[key].shape for key in head)
    needed = own.keys() - optional - (set() if fits else head)
    chosen = {key: state[key] for key in state.keys() & own.keys() if fits or key not in head}
    _check(own, chosen, needed, state.keys() - own.keys(), name)
    net.load_state_dict(chosen, strict=False)
    return () if fits else ("fc",)


def _check(
    own: Mapping[str, torch.Tensor],
    chosen: Mapping[str, torch.Tensor],
    needed: set[str],
    unknown: set[str],
    name: str,
) -> None:
    missing = sorted(needed - chosen.keys())
    wrong = sorted(key for key, tensor in chosen.items() if tensor.shape != own[key].shape)
    if missing or unknown or wrong:
        if wrong:
            what = f"{wrong[0]} is {list(chosen[wrong[0]].shape)}, not {list(own[wrong[0]].shape)}"
        else:
            what = f"{missing[0]} is missing" if missing else f"{min(unknown)} is unknown"
        raise CheckpointError(f"{name} isn't a {ARCHITECTURE}: {what}; give weights of that architecture")
    for key, tensor in chosen.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise CheckpointError(f"{name} holds NaN or infinite weights in {key}; get it again")


def _norm_of(conv: str) -> str:
    """Return the name of the batch norm behind a convolution of torchvision's ResNet."""
    if conv.endswith("downsample.0"):
        return f"{conv[:-1]}1"
    head, _, last = conv.rpartition(".")
    return f"{head}.{last.replace('conv', 'bn')}".lstrip(".")


def _inflate(net: ResNet, state: Mapping[str, torch.Tensor], faces: Faces, name: str) -> tuple[str, ...]:
    """Load convolutions with batch norm folded in, and give each its batch norm back.

    Folded weights equal the original network in eval mode only. One pass of faces gives each convolution's
    mean and variance per channel; with running_mean = mean, running_var = variance, weight =
    sqrt(variance + eps) and bias = folded bias + mean, the batch norm adds the folded bias and nothing else:
    the network computes the same function, and normalises. Layers without weights get the measured statistics
    with weight 1 and bias 0.
    """
    own = net.state_dict()
    modules = dict(net.named_modules())
    convs = [key for key, module in modules.items() if isinstance(module, nn.Conv2d)]
    names = {f"{conv}.{part}" for conv in convs for part in ("weight", "bias")} | {"fc.weight", "fc.bias"}
    weights = {key: tensor for key, tensor in state.items() if key in own}
    head = {"fc.weight", "fc.bias"} & weights.keys()
    if len(head) < 2 or any(weights[key].shape != own[key].shape for key in head):
        weights = {key: tensor for key, tensor in weights.items() if key not in head}
    _check(own, weights, {"conv1.weight"}, state.keys() - names, name)
    known = [conv for conv in convs if f"{conv}.weight" in state]
    biases = {}
    for conv in known:
        bias = state.get(f"{conv}.bias")
        channels = own[f"{conv}.weight"].shape[0]
        if bias is None or bias.shape != (channels,):
            raise CheckpointError(f"{name} has no bias of {channels} channels for {conv}; fold it again")
        biases[_norm_of(conv)] = bias.float()
    net.load_state_dict(weights, strict=False)
    _measure(net, modules, {_norm_of(conv): biases.get(_norm_of(conv)) for conv in convs}, faces())
    fresh = [conv for conv in convs if conv not in known]
    return (*fresh, *(() if "fc.weight" in weights else ("fc",)))


def _measure(
    net: ResNet,
    modules: Mapping[str, nn.Module],
    biases: Mapping[str, torch.Tensor | None],
    crops: np.ndarray,
) -> None:
    """Set every batch norm from what reaches it in one pass; see `_inflate`."""

    def hook_for(bias: torch.Tensor | None) -> Callable[[nn.Module, tuple[torch.Tensor, ...]], None]:
        def hook(norm: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            assert isinstance(norm, nn.BatchNorm2d)
            assert norm.running_mean is not None
            assert norm.running_var is not None
            variance, mean = torch.var_mean(inputs[0], dim=(0, 2, 3), correction=0)
            norm.running_mean.copy_(mean)
            norm.running_var.copy_(variance)
            if bias is not None:
                norm.weight.copy_(torch.sqrt(variance + norm.eps))
                norm.bias.copy_(bias + mean)

        return hook

    handles = [modules[name].register_forward_pre_hook(hook_for(bias)) for name, bias in biases.items()]
    training = net.training
    try:
        with torch.no_grad():
            Deployed(net, IMAGENET_MEAN, IMAGENET_STD).eval()(torch.from_numpy(crops))
    finally:
        for handle in handles:
            handle.remove()
        net.train(training)


def _state_sha256(state: Mapping[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode())
        digest.update(state[name].contiguous().numpy().tobytes())
    return digest.hexdigest()
