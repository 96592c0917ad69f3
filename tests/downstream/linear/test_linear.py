from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC
from torch import nn
from typer.testing import CliRunner

import zoo
from downstream.features.layers import layer_features
from downstream.linear import PRESETS, Linear, LinearConfig, lbfgs, probe, sgd, svm
from downstream.linear.probe_context import ProbeContext
from downstream.task import TaskInputs
from zoo import DataError, SettingsError
from zoo.data.sources import open_source

QUICK = LinearConfig(layers=("res5",), sweep=(1e-2,), iterations=5)
CROPS = replace(PRESETS["imagenet"], epochs=1, batch_size=64, sweep=(0.1,))


def run(model, data, config):
    return Linear().run(TaskInputs(model, data, skip_bad=config.skip_bad), config)


@pytest.fixture
def model(tmp_path):
    torch.manual_seed(0)
    return zoo.save(
        zoo.create("resnet10", embed_dim=16, input=zoo.InputSpec(size=16, crop_pct=1.0)).eval(),
        tmp_path / "m",
    )


def data(n=400, width=12, classes=4):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, width)) * rng.uniform(0.1, 10, width) + 3
    y = (x @ rng.normal(size=(width, classes)) + rng.gumbel(size=(n, classes))).argmax(1)
    return torch.from_numpy(x), torch.from_numpy(y)


@pytest.mark.parametrize("penalty", [1e-3, 1e-1])
@pytest.mark.parametrize("shape", [(400, 12), (60, 200)])  # the second has fewer rows than columns
@pytest.mark.parametrize("memory", [1 << 30, 0])
def test_the_solver_is_logistic_regression(penalty, shape, memory, monkeypatch):
    monkeypatch.setattr(lbfgs, "_IN_MEMORY", memory)
    monkeypatch.setattr(lbfgs, "_BLOCK", 150 if shape[0] == 400 else 8192)
    x, y = data(*shape)
    ours = lbfgs.fit(x, y, 4, penalties=(penalty, 1.0), iterations=500)[penalty]
    scaled = ((x - x.mean(0)) / x.std(0)).numpy()
    theirs = LogisticRegression(C=1 / (penalty * len(x)), max_iter=5000, tol=1e-8).fit(scaled, y)
    centred = ours.weight.double().numpy() - ours.weight.double().numpy().mean(0)
    np.testing.assert_allclose(centred, theirs.coef_ - theirs.coef_.mean(0), atol=0.02)
    assert (ours(x.float()).argmax(1).numpy() == theirs.predict(scaled)).mean() > 0.99


def test_only_the_rows_asked_for_count():
    x, y = data()
    index = torch.arange(0, 400, 2)
    some = lbfgs.fit(x, y, 4, penalties=(1e-2,), indices=index)[1e-2]
    alone = lbfgs.fit(x[index], y[index], 4, penalties=(1e-2,))[1e-2]
    torch.testing.assert_close(some.weight, alone.weight)


@pytest.mark.parametrize("layer", ["res4", "embedding"])
def test_the_probe_scores_as_scikit_learn_does_on_real_features(model, layer):
    network, train, test = zoo.load(model), open_source("digits"), open_source("digits", "test")
    a, b = (layer_features(network, source, [layer])[layer].float() for source in (train, test))
    std, mean = torch.std_mean(a, 0)
    theirs = LogisticRegression(C=1 / (1e-2 * len(a)), max_iter=2000).fit(
        (a - mean) / std.clamp(min=1e-6), train.labels
    )
    ours = run(model, "digits", replace(QUICK, layers=(layer,), iterations=200)).metrics[
        f"{layer}/top1"
    ]
    assert abs(ours - theirs.score((b - mean) / std.clamp(min=1e-6), test.labels)) <= 0.005


def test_the_svm_is_scikit_learns_also_for_two_classes_and_missing_ones():
    x, y = data()
    ours = svm.fit(x, y, 6, c=0.5)  # two classes have no image
    theirs = LinearSVC(C=0.5, dual="auto", max_iter=10_000, random_state=0).fit(x, y)
    found = ours(x.float())
    assert np.array_equal(found.argmax(1).numpy(), theirs.predict(x))
    np.testing.assert_allclose(found[:, :4].numpy(), theirs.decision_function(x), atol=1e-3)
    two = (y < 2).nonzero()[:, 0]
    both = svm.fit(x[two], y[two], 2, c=0.5)
    theirs.fit(x[two], y[two])
    assert np.array_equal(both(x[two].float()).argmax(1).numpy(), theirs.predict(x[two]))


def test_the_heads_are_vissls():
    """BatchNorm over the channels without weights, then a linear layer: written out for a batch."""
    torch.manual_seed(0)
    head, maps = sgd.Head((5, 3, 3), 4, norm=True), torch.randn(8, 5, 3, 3) * 3 + 1
    plain = nn.Sequential(nn.BatchNorm2d(5, affine=False), nn.Flatten(), head.linear)
    torch.testing.assert_close(head(maps), plain(maps))
    torch.testing.assert_close(head.eval()(maps.flatten(1)), plain.eval()(maps))
    assert len(list(head.parameters())) == 2 and not sgd.Head((5, 3, 3), 4, norm=False).norm


def test_sgd_on_kept_features_is_plain_sgd(model):
    """One head, two epochs, against torch's optimizer step by step."""
    how = replace(
        CROPS,
        crops=False,
        layers=("pooled",),
        norm=False,
        epochs=2,
        lr_milestones=(1,),
        sweep=(0.5,),
    )
    train, test = open_source("digits"), open_source("digits", "test")
    job = ProbeContext(zoo.load(model), None, how.layers, train, test, how)
    head = sgd.solve(job, torch.arange(100), {"pooled": (0.5,)}, seed=3)["pooled", 0.5]
    torch.manual_seed(3)
    plain = sgd.Head((192,), 10, norm=False)
    solver = torch.optim.SGD(
        plain.parameters(), lr=0.5 * 64 / 256, momentum=0.9, nesterov=True, weight_decay=5e-4
    )
    for epoch in range(2):
        solver.param_groups[0]["lr"] = 0.125 * (1, 0.1)[epoch]
        [at] = sgd.epoch_order(3, epoch, 100, 64)
        solver.zero_grad()
        F.cross_entropy(
            plain(job.train_features["pooled"][at]), torch.from_numpy(train.labels)[at]
        ).backward()
        solver.step()
    torch.testing.assert_close(head.linear.weight, plain.linear.weight)


def test_all_heads_share_each_forward_pass_and_learn_apart(model):
    network, train, test = zoo.load(model), open_source("digits"), open_source("digits", "test")
    passes = []
    network.conv1.register_forward_hook(lambda *_: passes.append(1))
    how = replace(CROPS, layers=("conv1", "res5", "embedding"))
    job = ProbeContext(network, None, how.layers, train, test, how)
    together = sgd.solve(job, torch.arange(640), {name: (0.1, 0.01) for name in how.layers}, seed=0)
    assert len(together) == 6 and len(passes) == 10 + 1, "ten batches, and one image for the shapes"
    alone = sgd.solve(job, torch.arange(640), {"conv1": (0.1,)}, seed=0)
    torch.testing.assert_close(
        together["conv1", 0.1].linear.weight, alone["conv1", 0.1].linear.weight
    )


@pytest.mark.parametrize("preset", list(PRESETS))
def test_no_preset_changes_a_bit_of_the_trunk(model, preset, monkeypatch):
    seen = []

    def load(folder, load=zoo.load):
        seen.append(load(folder).train())  # BatchNorm would move in this mode
        return seen[-1]

    monkeypatch.setattr(zoo, "load", load)
    settings = replace(PRESETS[preset].of_length(1), iterations=3)
    results = run(model, "digits", settings)
    [network] = seen
    assert network.training
    monkeypatch.undo()
    kept = zoo.load(model).state_dict()
    assert all(torch.equal(tensor, kept[name]) for name, tensor in network.state_dict().items())
    layers = settings.layers or network.layers
    assert {f"{layer}/{kind}" for layer in layers for kind in ("top1", "top5")} == set(
        results.metrics
    )


def test_the_published_recipes():
    imagenet, places, pooled = (PRESETS[name] for name in ("imagenet", "places205", "pooled"))
    assert (imagenet.sweep, imagenet.epochs, imagenet.lr_milestones) == ((0.01,), 28, (8, 16, 24))
    assert (places.sweep, places.epochs, places.lr_milestones) == ((0.01,), 14, (4, 8, 12))
    assert (
        imagenet.nesterov
        and imagenet.norm
        and imagenet.weight_decay == 5e-4
        and imagenet.batch_size == 256
    )
    assert (pooled.sweep, pooled.epochs, pooled.lr_milestones, pooled.weight_decay) == (
        (30.0,),
        100,
        (60, 80),
        0,
    )
    assert not pooled.norm and pooled.layers == ("pooled",)
    assert (
        imagenet.of_length(7).lr_milestones == (2, 4, 6)
        and min(imagenet.of_length(1).lr_milestones) == 1
    )


def test_crops_teach_and_the_rate_is_chosen_on_training_images_only(model, monkeypatch):
    asked = []

    def spy(score, features, indices, context, accuracy=probe.held_out_accuracy):
        asked.append(len(features))
        return accuracy(score, features, indices, context)

    monkeypatch.setattr(probe, "held_out_accuracy", spy)
    how = replace(
        CROPS, layers=("conv1",), sweep=(1e-6, 0.3), epochs=6, lr_milestones=(5,), scale=(0.7, 1.0)
    )
    results = run(model, "digits", how)
    assert results.details["conv1"][0]["chosen"] == 0.3 and results.metrics["conv1/top1"] > 0.8
    assert asked == [1437, 1437]
    with pytest.raises(SettingsError, match=r"conv1 diverged at 1e\+30; .*--sweep 1e\+29"):
        run(model, "digits", replace(how, sweep=(1e30,), norm=False))


def test_seeds_and_baselines(model):
    settings = replace(
        QUICK,
        layers=("conv1", "res5"),
        baselines=True,
        sweep=(1e-2, 1e-1),
        iterations=10,
        seeds=2,
    )
    results = run(model, "digits", settings)
    names = ["conv1", "res5", "pixels", "untrained/conv1", "untrained/res5"]
    assert list(results.metrics) == [
        f"{name}/{kind}{std}" for name in names for kind in ("top1", "top5") for std in ("", "_std")
    ]
    assert results.metrics["conv1/top1"] > 0.9 and results.split_sizes == {
        "train": 1437,
        "test": 360,
    }
    runs = results.details["untrained/res5"]
    assert [np.sum(run["confusion"]) for run in runs] == [360, 360] and runs[0]["top1"] != runs[1][
        "top1"
    ]
    assert results.metrics["untrained/res5/top1"] == pytest.approx(
        np.mean([run["top1"] for run in runs])
    )
    assert results.details["conv1"][0]["chosen"] in (1e-2, 1e-1)


@pytest.mark.parametrize(
    "how", [QUICK, replace(CROPS, layers=("res5",)), replace(QUICK, solver="svm")]
)
def test_a_class_missing_from_the_test_split_is_fine_and_bad_input_is_named(
    model, image_folder, how
):
    for file in (image_folder / "test" / "cat").iterdir():
        file.unlink()
    (image_folder / "test" / "cat").rmdir()
    results = run(model, str(image_folder), how)
    assert results.split_sizes == {"train": 12, "test": 2} and list(
        results.details["res5"][0]["per_class"]
    ) == ["dog"]
    (image_folder / "train" / "cat" / "1.png").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"cat.1\.png"):
        run(model, str(image_folder), how)
    assert run(model, str(image_folder), replace(how, skip_bad=True)).split_sizes == {
        "train": 11,
        "test": 2,
    }
    for file in (image_folder / "train").glob("*/*.png"):
        if int(file.stem) > 0:
            file.unlink()
    with pytest.raises(DataError, match="2 training images are too few to probe 2 classes"):
        run(model, str(image_folder), how)


def test_settings_that_cannot_be(model):
    for change, message in (
        ({"layers": ("conv7",)}, "no layer conv7; it has conv1.*pooled, embedding"),
        ({"sweep": ()}, "sweep must be one or more numbers"),
        ({"sweep": (-1.0,)}, "none negative"),
        ({"solver": "newton"}, "unknown linear solver 'newton'"),
    ):
        with pytest.raises(SettingsError, match=message):
            run(model, "digits", replace(QUICK, **change))


def test_the_command(model, tmp_path):
    from npid.main import app

    def npid(*words):
        return CliRunner().invoke(app, ["linear", str(model), "digits", *words])

    metrics = tmp_path / "metrics.json"
    done = npid(
        "--layers",
        "res5,pooled",
        "--sweep",
        "0.01",
        "--seeds",
        "2",
        "--baselines",
        "--json",
        str(metrics),
    )
    assert done.exit_code == 0, done.output
    assert (
        "untrained/pooled" in done.output
        and "±" in done.output
        and "top-5" in done.output
        and metrics.exists()
    )
    done = npid("--preset", "pooled", "--no-crops", "--epochs", "2", "--sweep", "0.1,1")
    assert done.exit_code == 0 and "rate" in done.output, done.output
    for words, message in (
        (["--preset", "imagnet"], "did you mean 'imagenet'"),
        (["--sweep", "a"], "--sweep takes numbers"),
    ):
        done = npid(*words)
        assert done.exit_code == 1 and message in done.output
