"""Which execution provider runs which nodes of a session's model."""

from collections import Counter
from typing import Any

_HEAVY = frozenset(
    {
        *("Conv", "ConvInteger", "FusedConv", "NhwcConv", "NhwcFusedConv", "QLinearConv"),
        *("FusedGemm", "FusedMatMul", "Gemm", "MatMul", "MatMulInteger", "QGemm", "QLinearMatMul"),
    }
)
"""Operators that take next to all the time of a classifier."""


def why_idle(session: Any, name: str) -> str | None:
    """Return why a provider (ONNX Runtime's name) doesn't run the session's model, or None where it does.

    It does where it runs each convolution and matrix product; `elsewhere` tells what else others run.
    """
    if name not in session.get_providers():
        return "its libraries or its device weren't found; check its driver, or use --provider cpu"
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return "this ONNX Runtime can't tell what runs a model; install 1.24 or newer, or use --provider cpu"
    # Being registered isn't enough: OpenVINO, for one, may leave every node of a model to the CPU provider.
    parts = session.get_provider_graph_assignment_info()
    if not any(part.ep_name == name and part.get_nodes() for part in parts):
        return "it takes no part of this model, which would run on the CPU; use --provider cpu"
    heavy = [part.ep_name for part in parts for node in part.get_nodes() if node.op_type in _HEAVY]
    others = sorted({other for other in heavy if other != name})
    if others:
        return (
            f"it leaves {sum(other != name for other in heavy)} of the model's {len(heavy)} convolutions and "
            f"matrix products to {' and '.join(others)}; choose another --provider or --precision"
        )
    return None


def elsewhere(session: Any, name: str) -> dict[str, int]:
    """Return how many nodes of the model other providers run, by ONNX Runtime's name of theirs."""
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return {}
    counts = Counter[str]()
    for part in session.get_provider_graph_assignment_info():
        counts[part.ep_name] += len(part.get_nodes())
    return {other: count for other, count in sorted(counts.items()) if other != name and count}
