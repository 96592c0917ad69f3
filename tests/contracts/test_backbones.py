"""What every registered backbone must do; a new one is covered by being registered."""

import pytest
import torch

import zoo

# every network with its own stem, and every stem on a small network
CASES = sorted(
    {(a, zoo.BACKBONES[a].stem) for a in zoo.list_backbones()}
    | {("resnet18", "cifar"), ("resnet10", "imagenet")}
)


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def model(request):
    arch, stem = request.param
    return zoo.create(arch, embed_dim=16, stem=stem).eval()


@pytest.fixture(scope="module")
def x(model):
    size = 64 if model.input.size == 224 else 32
    return torch.randn(2, 3, size, size, generator=torch.manual_seed(0))


@torch.no_grad()
def test_embeds_on_the_unit_sphere(model, x):
    v = model.embed(x)
    assert v.shape == (2, 16) and v.dtype == torch.float32
    torch.testing.assert_close(v.norm(dim=1), torch.ones(2))
    torch.testing.assert_close(v, torch.nn.functional.normalize(model(x), dim=1))


@torch.no_grad()
def test_features_are_what_the_layers_see_in_a_forward_pass(model, x):
    """The last tap, pooled and projected by hand, is the forward pass; each tap alone equals the tap among all."""
    every = model.features(x)
    assert list(every) == list(model.layers)
    for name in model.layers:
        torch.testing.assert_close(model.features(x, [name])[name], every[name])
        assert every[name].ndim == 4 and (every[name] >= 0).all()
    top = every[model.layers[-1]]
    head = model._modules.get("classifier", model._modules.get("fc"))
    pool = torch.nn.Identity() if "fc" in model._modules else model.trunk[-1]
    torch.testing.assert_close(head(model.avgpool(pool(top)).flatten(1)), model(x))
    assert model.feature_dim == model.get_submodule(model.projection).in_features
    with pytest.raises(zoo.SettingsError, match="conv9"):
        model.features(x, ["conv9"])


def test_the_key_names_are_torchvisions(model):
    import torchvision

    if model.stem == "imagenet" and model.arch != "resnet10":
        theirs = getattr(torchvision.models, model.arch)(num_classes=16).state_dict()
        ours = model.state_dict()
        assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}


@torch.no_grad()
def test_a_saved_model_loads_to_the_same_embedding(model, x, tmp_path):
    zoo.save(model, tmp_path / "m")
    again = zoo.load(tmp_path / "m")
    assert not again.training and again.input == model.input and again.stem == model.stem
    assert torch.equal(again.embed(x), model.embed(x))


def test_preprocessing_gives_the_input_size(model):
    picture = torch.randint(0, 256, (3, 300, 400), dtype=torch.uint8)
    for train in (False, True):
        out = model.preprocess(train)(picture)
        assert out.shape == (3, model.input.size, model.input.size) and out.dtype == torch.float32
