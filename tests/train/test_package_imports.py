import ast
from pathlib import Path

TRAIN = Path(__file__).parents[2] / "train" / "fauxface_train"


def imported(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module


def test_train_imports_nothing_of_export():
    found = {path: list(imported(path)) for path in TRAIN.rglob("*.py")}
    assert any(name == "fauxface.crops" for names in found.values() for name in names)
    assert [path for path, names in found.items() if any("fauxface_export" in name for name in names)] == []
