"""What goes in is on the page, and nothing on it can do harm or needs a network."""

import base64
import hashlib
import json
import re

import pytest

from downstream.figures import Figure, Series
from downstream.knn import Knn
from downstream.report import gather, render
from downstream.task import TASKS
from tests.pages import EVIL, Html, clusters, results, run_folder


@pytest.fixture
def everything(tmp_path):
    """Run and results of each task; every number is another."""
    matrix = [[7, 1], [2, 6]]
    details = {
        "pretrained/1%": [
            {"top1": 0.8125, "per_class": {"cat": 0.875, "dog": 0.75}, "confusion": matrix}
        ]
    }
    few = {"pretrained/1%/top1": 0.51, "pretrained/1%/top1_std": 0.023, "scratch/1%/top1": 0.3456}
    probes = {
        "conv1": 0.41,
        "res5": 0.62,
        "untrained/conv1": 0.3901,
        "untrained/res5": 0.2,
        "pixels": 0.377,
    }
    for one in (
        results("knn", {"top1": 0.7654}),
        results("linear", probes),
        results("finetune", few, details=details, split_sizes={"train": 800, "test": 16, "1%": 8}),
        results("detect", {"AP": 0.1122, "AP50": 0.3344, "AP50/RBC": 0.55}, data="VOCdevkit"),
    ):
        one.append(tmp_path / "metrics.json")
    return [run_folder(tmp_path / "run"), tmp_path / "metrics.json"]


def test_every_number_of_the_input_is_on_the_page(everything, store):
    page = Html(render(gather([*everything, store]), points=100))
    numbers = [
        "5.432",
        "4.123",
        "31.25",
        "67.89",
        "76.54",
        "51.00 ± 2.30",
        "34.56",
        "11.22",
        "33.44",
        "55.00",
    ]
    numbers += ["41.00", "62.00", "39.01", "20.00", "37.70", "7", "6"]
    missing = [number for number in numbers if number not in page.text]
    assert not missing
    for text in ("80.8", "Wu et al. 2018, Table 1", "cat", "dog", "400 images", "model sha256"):
        assert text in page.text
    assert len([tag for tag, _ in page.tags if tag == "svg"]) == 4  # loss, kNN, layers, few labels


def test_the_plots_of_any_registered_task_are_shown(tmp_path, monkeypatch):
    class Counting(Knn):
        title = "counting"

        def figures(self, results, model_name):
            line = Series(name=f"of {model_name}", points=[(1, results.metrics["top1"]), (2, 7)])
            return [Figure(title="Sheep", x_label="night", y_label="sheep", series=[line])]

    monkeypatch.setitem(TASKS._things, "counting", Counting())
    results("counting", {"top1": 0.5432}, data="meadow").append(tmp_path / "metrics.json")
    results("unheard-of", {"score": 0.1234}, data="meadow").append(tmp_path / "metrics.json")
    page = Html(render(gather([tmp_path])))
    for text in ("Counting", "Sheep", "of abababababab", "54.32", "unheard-of", "12.34"):
        assert text in page.text
    assert len([tag for tag, _ in page.tags if tag == "svg"]) == 1


def test_the_page_needs_nothing_beside_it(everything, store):
    text = render(gather([*everything, store]), points=100)
    page = Html(text)
    for tag, attributes in page.tags:
        for name in ("src", "href", "srcset", "action"):
            if attributes.get(name):
                assert re.match(r"data:|#", attributes[name]), (tag, attributes[name][:80])
    assert "@import" not in text and not re.search(r"url\(\s*['\"]?(?!data:)", text)
    [policy] = [a["content"] for tag, a in page.tags if tag == "meta" and a.get("http-equiv")]
    digest = base64.b64encode(hashlib.sha256(page.scripts[-1].encode()).digest()).decode()
    assert "default-src 'none'" in policy and f"script-src 'sha256-{digest}'" in policy


def test_hostile_names_stay_text(tmp_path):
    store = clusters(tmp_path / "store", 60, classes=[f"{EVIL}{i}" for i in range(10)])
    details = {
        "x": {"top1": 0.5, "per_class": {EVIL: 0.5, "b": 0.5}, "confusion": [[1, 1], [1, 1]]}
    }
    results(EVIL, {EVIL: 0.5}, data=EVIL, settings={EVIL: EVIL}, command=EVIL).append(
        tmp_path / "metrics.json"
    )
    results("linear", {EVIL: 0.5, "res5": 0.4}, details=details).append(tmp_path / "metrics.json")
    inputs = gather([store, tmp_path / "metrics.json"])
    page = Html(render(inputs, title=EVIL, command=EVIL, points=50))
    assert len(page.scripts) == 2 and not any(
        "onerror" in attributes for _, attributes in page.tags
    )
    assert json.loads(page.scripts[0])["classes"][3] == f"{EVIL}3"
    assert page.text.count(EVIL) > 10


def test_a_store_whose_images_are_gone_shows_names(tmp_path, image_folder):
    import shutil

    import zoo
    from downstream.retrieval import EmbedConfig, embed

    zoo.save(zoo.create("resnet10", embed_dim=8, input=zoo.InputSpec(size=16)), tmp_path / "model")
    embed(tmp_path / "model", str(image_folder), tmp_path / "store", EmbedConfig())
    with_images = Html(render(gather([tmp_path / "store"])))
    shutil.rmtree(image_folder)
    without = Html(render(gather([tmp_path / "store"])))
    pictures = [sum(tag == "img" for tag, _ in page.tags) for page in (with_images, without)]
    assert pictures == [
        1 + 1 + 10 * 11,
        1,
    ]  # map without a script, tiles, gallery; then the map alone
    assert "Pictures are missing" in without.text and "cat/0.png" in without.text
