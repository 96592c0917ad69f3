import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

import zoo
from downstream import linear as task
from downstream.layers import layer_features, pool
from zoo import DataError, SettingsError
from zoo.sources import open_source


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NPID_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def model(tmp_path):
    torch.manual_seed(0)
    return zoo.save(zoo.create("resnet10", dim=16, input=zoo.InputSpec(size=16, crop_pct=1.0)).eval(), tmp_path / "m")


def test_the_pools_leave_what_vissl_says():
    """9216, 9216, 8192, 9216 and 8192 numbers for the maps of a ResNet-50 at 224 pixels."""
    shapes = ((64, 112), (256, 56), (512, 28), (1024, 14), (2048, 7))
    assert [pool(torch.zeros(1, c, s, s)).shape[1] for c, s in shapes] == [9216, 9216, 8192, 9216, 8192]
    maps = torch.randn(2, 256, 56, 56)
    expected = nn.AvgPool2d(16, 8, 0)(maps).flatten(1)
    torch.testing.assert_close(pool(maps), expected)
    assert pool(torch.zeros(1, 32, 16, 16)).shape[1] == 32 * 16 * 16
    assert pool(torch.zeros(1, 512, 1, 1)).shape[1] == 512


@pytest.mark.parametrize("penalty", [1e-3, 1e-1])
def test_the_solver_is_logistic_regression(penalty):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 12)) * rng.uniform(0.1, 10, 12) + 3
    y = (x @ rng.normal(size=(12, 4)) + rng.gumbel(size=(400, 4))).argmax(1)
    ours = task.fit(torch.from_numpy(x), torch.from_numpy(y), 4, penalty=penalty, iterations=500)
    scaled = (x - x.mean(0)) / x.std(0, ddof=1)
    theirs = LogisticRegression(C=1 / (penalty * 400), max_iter=5000, tol=1e-8).fit(scaled, y)
    centred = ours.weight.double().numpy() - ours.weight.double().numpy().mean(0)
    np.testing.assert_allclose(centred, theirs.coef_ - theirs.coef_.mean(0), atol=0.02)
    found = ours.logits(torch.from_numpy(x)).argmax(1).numpy()
    assert (found == theirs.predict(scaled)).mean() > 0.99


def test_the_probe_scores_as_sklearn_does_on_real_features(model, cache):
    network, train, test = zoo.load(model), open_source("digits"), open_source("digits", "test")
    a, b = (layer_features(network, source, ["res4"])["res4"].float() for source in (train, test))
    settings = task.Settings(penalties=(1e-2,))
    y, z = torch.from_numpy(train.labels), torch.from_numpy(test.labels)
    ours, _ = task.probe(a, y, b, z, 10, settings)
    std, mean = torch.std_mean(a, 0)
    scale = std.clamp(min=1e-6)
    theirs = LogisticRegression(C=1 / (1e-2 * len(a)), max_iter=2000).fit((a - mean) / scale, y)
    assert abs(ours - theirs.score((b - mean) / scale, z)) <= 0.005


def test_weights_and_batchnorm_statistics_are_left_as_they_are(model):
    network = zoo.load(model).train()
    before = {name: t.clone() for name, t in network.state_dict().items()}
    layer_features(network, open_source("digits", "test"), network.layers)
    assert all(torch.equal(before[name], t) for name, t in network.state_dict().items())


@torch.no_grad()
def test_all_layers_come_from_one_forward_pass_and_are_kept(model, cache):
    network, source = zoo.load(model), open_source("digits", "test")
    passes = []
    network.conv1.register_forward_hook(lambda *_: passes.append(1))
    first = layer_features(network, source, network.layers, sha256="abc", batch=100)
    assert len(passes) == 4, "one pass for 360 images in batches of 100"
    x = torch.stack([network.preprocess()(source.image(i)) for i in range(3)])
    for name, maps in network.features(x).items():
        torch.testing.assert_close(first[name][:3].float(), pool(maps), atol=1e-2, rtol=1e-2)
    passes.clear()
    again = layer_features(network, source, network.layers, sha256="abc", batch=100)
    assert not passes and all(torch.equal(first[name], again[name]) for name in first)
    layer_features(network, source, network.layers, sha256="other", batch=100)
    layer_features(network, open_source("digits"), network.layers, sha256="abc", batch=100)
    assert len(passes) == 4 + 15, "another model and another split are other features"
    [kept, *_] = sorted((cache / "features").iterdir())
    kept.write_bytes(kept.read_bytes()[:100])  # damaged: made again
    assert torch.equal(layer_features(network, source, network.layers, sha256="abc")["res2"], first["res2"])


def test_the_task_beats_chance_and_lists_its_baselines(model, cache):
    settings = task.Settings(
        layers=("conv1", "res5"), untrained=True, pixels=True, penalties=(1e-2, 1e-1), iterations=40
    )
    results = task.run(model, "digits", settings)
    assert set(results.metrics) == {"conv1", "res5", "pixels", "untrained/conv1", "untrained/res5"}
    assert results.metrics["conv1"] > 0.9 and results.split_sizes == {"train": 1437, "test": 360}
    assert results.settings["chosen"]["conv1"] in (1e-2, 1e-1)


def test_a_class_missing_from_the_test_split_is_fine_and_bad_input_is_named(model, cache, image_folder):
    for file in (image_folder / "test" / "cat").iterdir():
        file.unlink()
    (image_folder / "test" / "cat").rmdir()
    quick = task.Settings(layers=("res5",), iterations=5)
    assert task.run(model, str(image_folder), quick).split_sizes == {"train": 12, "test": 2}
    with pytest.raises(SettingsError, match="no layer conv7; it has conv1"):
        task.run(model, str(image_folder), task.Settings(layers=("conv7",)))
    with pytest.raises(SettingsError, match="penalties"):
        task.run(model, str(image_folder), task.Settings(penalties=()))
    (image_folder / "train" / "cat" / "1.png").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"cat.1\.png"):
        task.run(model, str(image_folder), quick)
    skipping = task.Settings(layers=("res5",), iterations=5, skip_bad=True)
    assert task.run(model, str(image_folder), skipping).split_sizes == {"train": 11, "test": 2}
