from dataclasses import replace

import numpy as np
import pytest
import torch

import zoo
from downstream.finetune import FinetuneConfig
from downstream.finetune.subsets import label_subset
from downstream.finetune.training import fit, score_classifier, training_schedule
from zoo.data.sources import open_source

QUICK = FinetuneConfig(labels=("2",), epochs=1, batch_size=8)


def test_every_weight_learns_and_the_head_at_its_own_rate(model):
    source = open_source("digits")
    before = zoo.load(model)
    frozen = {name: t.clone() for name, t in before.state_dict().items()}
    after = fit(
        before, source, label_subset(source, "5", 0), replace(QUICK, lr=1e-9, head_lr=1e7), 0
    )
    moved = {
        n: (after.backbone.state_dict()[n] - t).abs().max()
        for n, t in frozen.items()
        if not n.startswith("fc")
    }
    assert max(v.item() for n, v in moved.items() if "weight" in n) < 1e-6
    torch.manual_seed(0)
    fresh = torch.nn.Linear(after.backbone.feature_dim, 10)
    assert after.head is after.backbone.fc and (after.head.weight - fresh.weight).abs().max() > 1e-3
    after = fit(zoo.load(model), source, label_subset(source, "5", 0), replace(QUICK, lr=0.1), 0)
    assert all(
        not torch.equal(after.backbone.state_dict()[n], t)
        for n, t in frozen.items()
        if n.endswith("conv1.weight")
    )


def test_the_schedule_drops_where_the_paper_says():
    drops = [d for _, d, _ in training_schedule(FinetuneConfig(), 512, 0)]
    assert [drops.count(d) for d in (0, 1, 2)] == [30, 30, 10]
    stretched = list(
        training_schedule(replace(QUICK, epochs=10, lr_milestones=(5,), least_steps=40), 16, 0)
    )
    assert len(stretched) == 20 and [d for _, d, _ in stretched] == [0] * 10 + [1] * 10
    places = stretched[0][2].flatten().tolist()
    assert sorted(places) == list(range(16))


def test_few_labels_are_learned_and_scored_against_the_plain_way(model):
    how = replace(
        QUICK,
        labels=("20",),
        epochs=25,
        batch_size=32,
        lr=0.05,
        lr_milestones=(20,),
        scale=(0.7, 1.0),
    )
    source, test = open_source("digits"), open_source("digits", "test")
    network = fit(zoo.load(model), source, label_subset(source, "20", 0), how, 0)
    scores = score_classifier(network, test, how)
    with torch.no_grad():
        x = torch.stack([network.backbone.preprocess()(test.image(i)) for i in range(len(test))])
        logits = network(x).numpy()
    found = logits.argmax(1)
    assert scores["top1"] == pytest.approx((found == test.labels).mean(), abs=0.006)
    ranked = np.argsort(-logits, 1)[:, :5]
    assert scores["top5"] == pytest.approx(
        np.mean([y in row for y, row in zip(test.labels, ranked, strict=True)]), abs=0.006
    )
    assert np.array(scores["confusion"]).sum(1).tolist() == np.bincount(test.labels).tolist()
    assert scores["top1"] > 0.8
