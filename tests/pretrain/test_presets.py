import pytest

import zoo
from pretrain import PRESETS
from pretrain.config import from_dict, to_dict


@pytest.mark.parametrize("name", list(PRESETS))
def test_presets_are_valid_and_survive_json(name):
    PRESETS[name].check()
    assert from_dict(to_dict(PRESETS[name])) == PRESETS[name]


@pytest.mark.parametrize("name", list(PRESETS))
def test_each_preset_can_be_planned_and_names_a_backbone(name):
    config = PRESETS[name]
    assert config.backbone in zoo.BACKBONES
    model = zoo.BACKBONES[config.backbone]
    assert config.stem is None or config.stem in model.stems
    assert config.loss.faults(num_rows=config.batch_size) == []


def test_the_papers_recipe_has_the_papers_numbers():
    """Wu et al. 2018, section 4 and the authors' code: τ, D, m, batch and learning rate."""
    config = PRESETS["paper-imagenet"]
    assert (config.loss.temperature, config.embed_dim, config.bank_momentum) == (0.07, 128, 0.5)
    assert (config.batch_size, config.lr, config.epochs) == (256, 0.03, 200)
