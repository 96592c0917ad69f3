"""Each released model has one generated card in ``model_cards/``, which is what its sources give.

A model that ships with the library keeps its files in ``zoo/released/NAME``; of any other,
``model_cards/NAME`` holds config.json and metrics.json. ``python -m zoo.cards`` writes the cards.
"""

from pathlib import Path

import pytest

import zoo
from zoo import cards

ROOT = Path(__file__).parents[2]


def test_the_cards_are_those_of_the_released_models_word_for_word():
    assert cards.outdated(ROOT / "model_cards") == [], "run python -m zoo.cards model_cards"


@pytest.fixture
def released(tmp_path, monkeypatch):
    """A folder of cards for one bundled model and one whose weights lie elsewhere."""
    monkeypatch.setattr("zoo.models.bundled.FOLDER", tmp_path / "released")
    zoo.save(zoo.create("resnet10", embed_dim=4), tmp_path / "released" / "small")
    folder = zoo.save(zoo.create("resnet18", embed_dim=4), tmp_path / "cards" / "large")
    (folder / "model.safetensors").unlink()
    return tmp_path / "cards"


def test_a_missing_a_changed_and_a_stray_card_are_noticed(released):
    (released / "stray.md").write_text("no model of this name")
    assert cards.outdated(released) == ["large.md", "small.md", "stray.md"]
    cards.write_all(released)
    assert cards.outdated(released) == ["stray.md"]
    (released / "large" / "metrics.json").write_text(
        '[{"task": "knn", "data": "d", "metrics": {"top1": 0.5}}]'
    )
    assert cards.outdated(released) == ["large.md", "stray.md"]
    cards.write_all(released)
    assert "| kNN | d | top1 | 0.5 |" in (released / "large.md").read_text()
