"""train/default_model/card.py: the shipped card and figures are those of the record."""

import importlib.util
from pathlib import Path

import pytest

pytest.importorskip("torch")

from fauxface.bundle import Bundle

PATH = Path(__file__).parent.parent.parent / "train" / "default_model" / "card.py"
_spec = importlib.util.spec_from_file_location("default_model_card", PATH)
script = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(script)


def test_the_shipped_card_and_figures_are_made_from_the_record():
    bundle = Bundle.load()
    document, text = script.made(bundle)
    assert text == bundle.card()
    assert document["metrics"] == bundle.document()["metrics"]
    assert document["variants"] == bundle.document()["variants"]
