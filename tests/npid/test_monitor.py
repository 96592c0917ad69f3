"""The kNN score that is shown while a model learns."""

import logging

import numpy as np
import pytest
import torch

import zoo
from npid.monitor import knn_monitor
from pretrain.memory_bank import LocalBank
from zoo.data.sources import Subset, open_source
from zoo.data.splits import labelled_splits

COLOURS = {"ant": (200, 0, 0), "bee": (0, 200, 0), "cat": (0, 0, 200)}


@pytest.fixture
def write(tmp_path):
    """Writes parquet of plain colours: ``write(folder, split, names, label)``."""
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")

    def make(folder, split, labels, names=None):
        import io

        from PIL import Image

        images = []
        for label in labels:
            name = label if names is None else names[label or 0]
            buffer = io.BytesIO()
            Image.new("RGB", (8, 8), COLOURS[name]).save(buffer, "PNG")
            images.append({"bytes": buffer.getvalue(), "path": None})
        (tmp_path / folder).mkdir(exist_ok=True)
        table = pa.table({"image": images, "label": labels})
        pq.write_table(table, tmp_path / folder / f"{split}.parquet")
        return str(tmp_path / folder)

    return make


def score(data):
    """The monitor's score, with a bank that holds the embeddings of the training images."""
    train = open_source(data)
    torch.manual_seed(0)
    model = zoo.create("resnet10", embed_dim=8, input=zoo.InputSpec(size=8, crop_pct=1.0)).eval()
    scores = []
    monitor = knn_monitor(train, device="cpu", workers=0, on_score=scores.append)
    if monitor is None:
        return None
    bank = LocalBank.random(len(train), 8, seed=0)
    images = torch.from_numpy(train.array()).permute(0, 3, 1, 2)
    vectors = model.embed(zoo.data.augment.normalise(images, model.input.mean, model.input.std))
    bank.update(torch.arange(len(train)), vectors.detach(), 0.0)
    assert monitor(model, bank) == {"top1": scores[0]}
    return scores[0]


def test_classes_are_matched_by_name_where_some_do_not_occur(write):
    names = ["ant", "bee", "cat"]
    train, test = [0, 1, 2, 0, 1, 2], [1, 2, 2]
    numbers = write("numbers", "train", train, names)
    write("numbers", "test", test, names)
    texts = write("texts", "train", [names[i] for i in train])
    write("texts", "test", [names[i] for i in test])
    assert score(texts) == score(numbers) == 1.0
    other = write("other", "train", ["cat", "ant", "bee"])
    write("other", "test", ["cat", "ant"])
    assert score(other) == 1.0
    assert labelled_splits(other)[1].labels.tolist() == [2, 0]


def test_images_without_a_label_do_not_vote_and_are_not_scored(write):
    names = ["ant", "bee", "cat"]
    data = write("gaps", "train", [0, None, 1, 1], names)
    write("gaps", "test", [1, None, -1], names)
    assert score(data) == 1.0


def test_a_labelled_validation_split_is_scored_where_the_test_split_has_none(write):
    data = write("three", "train", ["ant", "bee"])
    write("three", "test", [None, None], ["ant"])
    write("three", "val", ["bee", "bee"])
    assert score(data) == 1.0


def test_why_there_is_no_score_is_said_where_the_labels_disagree(write, caplog):
    data = write("strange", "train", ["ant", "bee"])
    write("strange", "test", ["cat"])
    with caplog.at_level(logging.WARNING):
        assert score(data) is None
    assert "no kNN score while training" in caplog.text and "lacks: cat" in caplog.text
    assert (
        knn_monitor(
            Subset(open_source("digits"), np.arange(9)), device="cpu", workers=0, on_score=print
        )
        is not None
    )
