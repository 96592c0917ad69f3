from dataclasses import replace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import zoo
from downstream.finetune import Finetune, FinetuneConfig
from downstream.finetune.classifier import Classifier
from downstream.finetune.subsets import label_subset
from downstream.finetune.training import fit, score_classifier, training_schedule
from downstream.task import TaskInputs
from zoo import DataError, SettingsError
from zoo.data.sources import open_source

QUICK = FinetuneConfig(labels=("2",), epochs=1, batch_size=8)


def run(model, data, config):
    return Finetune().run(TaskInputs(model, data, skip_bad=config.skip_bad), config)


@pytest.fixture
def model(tmp_path):
    torch.manual_seed(0)
    return zoo.save(
        zoo.create("resnet10", embed_dim=16, input=zoo.InputSpec(size=16, crop_pct=1.0)).eval(),
        tmp_path / "m",
    )


def test_subsets_are_balanced_nested_and_seeded():
    source = open_source("digits")
    parts = [label_subset(source, amount, 3) for amount in ("1", "2%", "5", "10%", "20%", "100%")]
    for small, large in zip(parts, parts[1:], strict=False):
        assert set(small) < set(large)
    assert np.bincount(source.labels[parts[2]]).tolist() == [5] * 10
    share = np.bincount(source.labels[parts[3]]) / np.bincount(source.labels)
    assert np.abs(share - 0.1).max() < 0.005
    assert len(parts[-1]) == len(source)
    assert np.array_equal(parts[2], label_subset(source, "5", 3))
    assert not np.array_equal(parts[2], label_subset(source, "5", 4))


def test_amounts_that_cannot_be_are_refused_with_the_minimum():
    source = open_source("digits")
    with pytest.raises(SettingsError, match=r"0\.1% of 1437 images .* at least 0\.7%"):
        label_subset(source, "0.1%", 0)
    with pytest.raises(SettingsError, match=r"smallest class of digits has \d+"):
        label_subset(source, "1000", 0)
    with pytest.raises(SettingsError, match="got 'many'"):
        label_subset(source, "many", 0)


def test_published_lists_are_read_by_key_or_name(image_folder, tmp_path):
    source = open_source(str(image_folder))
    by_key = tmp_path / "list.txt"
    by_key.write_text("\n".join([source.key(7), source.key(2)]))
    assert label_subset(source, str(by_key), 0).tolist() == [2, 7]
    for split in ("train", "test"):
        for c in ("cat", "dog"):
            for file in (image_folder / split / c).iterdir():
                file.rename(file.with_name(f"{c}_{file.name}"))
    source = open_source(str(image_folder))
    by_key.write_text("cat_3.png\ndog_0.png\n")
    assert [source.key(i) for i in label_subset(source, str(by_key), 0)] == [
        "cat/cat_3.png",
        "dog/dog_0.png",
    ]
    by_key.write_text("cat_3.png\nbird_0.png\n")
    with pytest.raises(DataError, match=r"1 of 2 images are not in .*bird_0\.png"):
        label_subset(source, str(by_key), 0)


def test_a_part_can_be_written_and_used_again(model, tmp_path):
    run(model, "digits", replace(QUICK, scratch=False, lists=tmp_path / "lists"))
    again = tmp_path / "lists" / "2-seed0.txt"
    source = open_source("digits")
    assert np.array_equal(label_subset(source, str(again), 5), label_subset(source, "2", 0))


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


def test_results_hold_every_seed_and_both_beginnings(model):
    results = run(model, "digits", replace(QUICK, seeds=2))
    assert set(results.metrics) == {
        f"{init}/2/{metric}{std}"
        for init in ("pretrained", "scratch")
        for metric in ("top1", "top5")
        for std in ("", "_std")
    }
    runs = [run["top1"] for run in results.details["pretrained/2"]]
    assert results.metrics["pretrained/2/top1"] == pytest.approx(np.mean(runs))
    assert results.metrics["pretrained/2/top1_std"] == pytest.approx(np.std(runs, ddof=1))


def test_bad_images_and_missing_classes(model, image_folder):
    for file in (image_folder / "test" / "cat").iterdir():
        file.unlink()
    (image_folder / "test" / "cat").rmdir()
    results = run(model, str(image_folder), replace(QUICK, labels=("100%",)))
    assert list(results.details["pretrained/100%"][0]["per_class"]) == ["dog"]
    (image_folder / "train" / "cat" / "1.png").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"cat.1\.png"):
        run(model, str(image_folder), replace(QUICK, labels=("100%",)))
    run(model, str(image_folder), replace(QUICK, labels=("100%",), skip_bad=True))


def test_the_command_prints_a_table_and_draws(model, tmp_path):
    from npid.main import app

    plot, metrics = tmp_path / "curve.png", tmp_path / "metrics.json"
    asked = [
        "--labels",
        "1,3",
        "--epochs",
        "1",
        "--seeds",
        "2",
        "--plot",
        str(plot),
        "--json",
        str(metrics),
    ]
    result = CliRunner().invoke(app, ["finetune", str(model), "digits", *asked])
    assert result.exit_code == 0, result.output
    assert (
        "scratch" in result.output
        and "±" in result.output
        and plot.stat().st_size > 5000
        and metrics.exists()
    )


@torch.no_grad()
def test_a_classifier_over_layers_sees_their_pooled_maps_side_by_side():
    backbone = zoo.create("resnet10").eval()
    classifier = Classifier(backbone, 7, ("res3", "res5")).eval()
    torch.nn.init.normal_(classifier.head.weight)
    x = torch.randn(2, 3, 32, 32)
    maps = backbone.features(x)
    fourths = maps["res3"].unflatten(3, (4, 2)).unflatten(2, (4, 2)).mean((3, 5))  # 8×8 to 4×4
    columns = torch.cat([fourths.flatten(1), maps["res5"].flatten(1)], 1)
    columns *= (1 + classifier.norm.eps) ** -0.5  # no statistics were seen yet
    assert torch.allclose(
        classifier(x), columns @ classifier.head.weight.T + classifier.head.bias, atol=1e-4
    )


def test_an_unknown_layer_is_named(model):
    with pytest.raises(SettingsError, match="has no layer res9; it has conv1"):
        run(model, "digits", replace(QUICK, layers=("res9",)))
