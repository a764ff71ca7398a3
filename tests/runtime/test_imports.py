"""The runtime stays lean: no heavy package, nothing else of ours, not even inside a function."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import fauxface

HEAVY = {"torch", "torchvision", "onnx", "onnxscript", "matplotlib", "sklearn", "scipy", "skimage"}
OURS = {"fauxface_train", "fauxface_export", "benchmarks"}
MODULES = sorted(Path(fauxface.__file__).parent.rglob("*.py"))


def imported(tree: ast.AST) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").split(".")[0])
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            names |= {str(a.value).split(".")[0] for a in node.args if isinstance(a, ast.Constant)}
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.name)
def test_module_names_no_heavy_import(path):
    assert not imported(ast.parse(path.read_text(encoding="utf-8"))) & (HEAVY | OURS)


@pytest.mark.parametrize(
    "text",
    [
        "import torch",
        "def f():\n from torch.nn import Module",
        "importlib.import_module('onnx.helper')",
        "import fauxface_train.model as m",
    ],
)
def test_check_sees_what_it_looks_for(text):
    assert imported(ast.parse(text)) & (HEAVY | OURS)


def test_fresh_process_loads_nothing_heavy():
    code = (
        "import sys, pkgutil, importlib, fauxface\n"
        "for m in pkgutil.walk_packages(fauxface.__path__, 'fauxface.'): importlib.import_module(m.name)\n"
        f"print(sorted({(HEAVY | OURS)!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_public_names_are_sorted_and_exist():
    assert fauxface.__all__ == sorted(fauxface.__all__)
    for name in fauxface.__all__:
        assert getattr(fauxface, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = fauxface.nothing


def test_importing_the_package_costs_nothing():
    heavier = {"numpy", "cv2", "PIL", "typer", "onnxruntime"}
    code = f"import sys, fauxface; print(sorted({heavier!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_package_runs_as_a_module():
    ran = subprocess.run(
        [sys.executable, "-m", "fauxface", "info", "nowhere"], capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.startswith("error: BundleError: nowhere doesn't exist")
