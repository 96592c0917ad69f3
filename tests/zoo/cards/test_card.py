import json
import re

import pytest
import torch
import yaml

import zoo
from zoo import cards

RESULTS = [
    {
        "task": "knn",
        "data": "cifar10",
        "split_sizes": {"train": 50, "test": 10},
        "settings": {"k": 200, "temperature": 0.07},
        "metrics": {"top1": 0.6125, "top5": 0.9375},
        "command": "npid knn m cifar10",
    },
    {"task": "detect", "data": "voc", "settings": {}, "metrics": {"AP50": 71.25}},
    {"task": "retrieval", "data": "/home/me/pipe|name", "settings": {}, "metrics": {"map": 0.5}},
]


@pytest.fixture(scope="module")
def model():
    model = zoo.create("resnet10", embed_dim=8)
    model.meta = {
        "data": {"name": "cifar10", "count": 50},
        "settings": {"lr": 0.03, "loss": {"tau": 0.07}},
        "versions": {"torch": "2.15"},
    }
    return model


@pytest.fixture
def folder(model, tmp_path):
    return zoo.save(model, tmp_path / "m")


def header(card):
    return yaml.safe_load(card.split("---")[1])


def test_results_stand_in_the_table_and_in_the_model_index(folder):
    (folder / "metrics.json").write_text(json.dumps(RESULTS))
    card = cards.render(folder, repo="lab/m")
    assert "| kNN | cifar10 | top1 | 0.6125 |" in card
    assert "- kNN on cifar10: `npid knn m cifar10` (k 200, temperature 0.07)" in card
    assert (
        "| detection | voc | AP50 | 71.25 |" in card
        and "| pipe\\|name |" in card
        and "/home" not in card
    )
    (index,) = header(card)["model-index"]
    values = {
        (r["dataset"]["name"], m["name"]): m["value"]
        for r in index["results"]
        for m in r["metrics"]
    }
    assert values[("cifar10", "kNN top5")] == 0.9375 and values[("voc", "detection AP50")] == 71.25
    assert index["name"] == "lab/m" and len(values) == 4


def test_a_task_that_no_card_knows_names_itself(folder):
    result = {"task": "voc-seg", "data": "voc", "metrics": {"miou": 0.5}}
    names = {"title": "segmentation", "hub_task_type": "image-segmentation"}
    (folder / "metrics.json").write_text(json.dumps([result, {**result, **names}]))
    card = cards.render(folder)
    assert (
        "| voc-seg | voc | miou | 0.5 |" in card and "| segmentation | voc | miou | 0.5 |" in card
    )
    evaluations = header(card)["model-index"][0]["results"]
    types = {entry["task"]["type"] for entry in evaluations}
    assert types == {"feature-extraction", "image-segmentation"}


def test_without_metrics_there_is_no_number_of_merit(folder):
    card = cards.render(folder)
    assert "None have been recorded" in card and "model-index" not in card
    results = card.split("## Results")[1].split("## How")[0]
    assert not re.search(r"\d", results)


def test_every_setting_and_the_training_data_are_stated(folder):
    card = cards.render(folder)
    for row in (
        "| settings.lr | 0.03 |",
        "| settings.loss.tau | 0.07 |",
        "| data.count | 50 |",
        "torch 2.15",
    ):
        assert row in card
    assert "Not stated in the export: ask the owner" in card and "license" not in header(card)
    assert header(card)["npid"]["data"] == "cifar10" and cards.TAG in header(card)["tags"]


def test_a_card_without_any_meta_says_so(tmp_path):
    zoo.save(zoo.create("resnet18", embed_dim=8), tmp_path / "m")
    card = cards.render(tmp_path / "m")
    assert (
        "The export does not say." in card
        and "timm.create_model" in card
        and "--format detectron2" in card
    )


def test_a_small_stem_is_said_to_load_here_only(folder):
    card = cards.render(folder)
    assert (
        "loads in this library only" in card
        and "timm.create_model" not in card
        and "detectron2" not in card
    )


def test_the_parameters_are_counted(folder, model):
    count = sum(p.numel() for p in model.parameters())
    card = cards.render(folder)
    assert f"{count:,} parameters" in card and header(card)["npid"]["parameters"] == count


def test_the_same_files_give_the_same_card(folder):
    assert cards.render(folder, repo="lab/m") == cards.render(folder, repo="lab/m")


def test_a_pretraining_datas_absence_is_said(tmp_path):
    zoo.save(zoo.create("resnet10", embed_dim=8), tmp_path / "m")
    assert "Not stated in the export.\n" in cards.render(tmp_path / "m")


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "3",
        "[3]",
        '[{"task": "knn"}]',
        '[{"task": "knn", "data": "d", "metrics": {"top1": "good"}}]',
    ],
)
def test_malformed_metrics_get_our_error(folder, content):
    (folder / "metrics.json").write_text(content)
    with pytest.raises(zoo.ModelError, match=r"metrics\.json"):
        cards.render(folder)


@pytest.mark.parametrize("arch", ["resnet18", "vgg16", "alexnet", "vit_tiny"])
def test_only_the_loaders_that_were_tried_are_promised(tmp_path, monkeypatch, arch):
    """Those of ``tests/zoo/interop/test_other_libraries.py``: transformers for ResNets alone."""
    zoo.save(zoo.create("resnet18", embed_dim=8), tmp_path / "m")
    with torch.device("meta"):
        model = zoo.create(arch, embed_dim=8)
    monkeypatch.setattr("zoo.cards.card.describe", lambda directory: model)
    card = cards.render(tmp_path / "m")
    assert ("AutoModel.from_pretrained" in card) == (arch == "resnet18")
    assert ("timm.create_model" in card) == (model.timm_name is not None)


def test_an_input_without_all_its_values_is_shown_as_it_is_used(folder):
    path = folder / "config.json"
    config = json.loads(path.read_text())
    del config["npid"]["input"]["mean"], config["npid"]["input"]["crop_pct"]
    path.write_text(json.dumps(config))
    assert "normalised with mean 0.485, 0.456, 0.406" in cards.render(folder)
