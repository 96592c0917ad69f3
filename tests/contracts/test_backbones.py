"""What every registered backbone must do; a new one is covered by being registered."""

import pytest
import torch
from torch import nn

import zoo
from zoo.models.backbone import POOLED, Backbone

# Their other stems say no more than those of the smaller member of the same family.
ONE_STEM = ("resnet34", "resnet50", "resnet101", "resnet152", "vit_small")


def cases():
    """Each backbone with each of its stems."""
    for arch in zoo.list_backbones():
        family = zoo.BACKBONES[arch]
        stems = [family.default_stem(None)] if arch in ONE_STEM else family.stems
        for stem in stems:
            yield arch, stem


@pytest.fixture(scope="module", params=list(cases()), ids="-".join)
def model(request):
    arch, stem = request.param
    return zoo.create(arch, embed_dim=16, stem=stem).eval()


@pytest.fixture(scope="module")
def images(model):
    """Two of them; smaller than the input where the network takes any size."""
    size = model.input.size
    if model.takes_any_size:
        size = 64 if size == 224 else 32
    return torch.randn(2, 3, size, size, generator=torch.manual_seed(0))


@torch.no_grad()
def test_embeds_on_the_unit_sphere(model, images):
    embeddings = model.embed(images)
    assert embeddings.shape == (2, 16) and embeddings.dtype == torch.float32
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(2))
    torch.testing.assert_close(embeddings, nn.functional.normalize(model(images), dim=1))


@torch.no_grad()
def test_each_layer_alone_is_the_layer_among_all(model, images):
    every = model.features(images)
    assert tuple(every) == model.layers
    for name in model.layers:
        torch.testing.assert_close(model.features(images, [name])[name], every[name])
    with pytest.raises(zoo.SettingsError, match="conv9"):
        model.features(images, ["conv9"])


@torch.no_grad()
def test_feature_info_is_true_of_the_maps(model):
    """On an input that every stride divides, so that no border blurs the reduction.

    Only shapes are looked at: on torch's meta device nothing is computed.
    """
    size = 256 if model.takes_any_size else model.input.size
    with torch.device("meta"):
        shapes = zoo.create(model.arch, embed_dim=16, stem=model.stem).eval()
        maps = shapes.features(torch.empty(1, 3, size, size))
    border = 2 if model.stem == "cifar-pad2" else 1  # that stem pads by one pixel more a side
    for info in model.feature_info:
        assert maps[info.name].ndim == 4
        assert maps[info.name].shape[1] == info.channels
        for side in maps[info.name].shape[2:]:
            assert abs(side - size / info.reduction) <= border


@torch.no_grad()
def test_intermediates_come_in_order_and_end_in_the_forward_pass(model, images):
    requested = [POOLED, *reversed(model.layers)]
    found = list(model.forward_intermediates(images, requested))
    assert [name for name, _ in found] == [*model.layers, POOLED]
    _, pooled = found[-1]
    assert pooled.shape == (2, model.feature_dim)
    assert model.feature_dim == model.get_submodule(model.projection).in_features
    torch.testing.assert_close(model.project(pooled), model(images))
    assert list(model.forward_intermediates(images, [])) == []


@torch.no_grad()
def test_nothing_above_the_last_layer_requested_is_computed(model, images):
    calls = []
    handle = model.get_submodule(model.projection).register_forward_hook(
        lambda *_: calls.append("projection")
    )
    model.features(images)
    assert not calls
    model(images)
    assert calls == ["projection"], "the hook does see it"
    handle.remove()


@torch.no_grad()
def test_trunk_and_head_are_the_network_cut_in_two(model, images):
    try:
        cut = model.trunk_and_head()
    except zoo.SettingsError as error:
        assert model.arch in str(error)
        return
    assert [stage.name for stage in cut.stages] == list(model.layers)
    maps = images
    every = model.features(images)
    for stage in cut.stages:
        for module in stage.modules:
            maps = module(maps)
        torch.testing.assert_close(maps, every[stage.name])

    names = {name for name in cut.head.state_dict() if not name.endswith("num_batches_tracked")}
    assert names and names <= set(model.state_dict())
    regions = every[cut.head_input]
    if cut.head_resolution is not None:
        regions = nn.functional.adaptive_avg_pool2d(regions, cut.head_resolution)
    vectors = cut.head(regions)
    if cut.head_resolution is None:
        vectors = vectors.mean((2, 3))
        pooled = dict(model.forward_intermediates(images, [POOLED]))[POOLED]
        torch.testing.assert_close(vectors, pooled)
    assert vectors.shape == (2, model.feature_dim)


def test_the_names_of_layers_and_tensors_are_there(model):
    state = model.state_dict()
    kernel = state[f"{model.first_conv}.weight"]
    assert kernel.shape[1] == 3 and kernel.shape[-1] == model.stems[model.stem]
    assert state[f"{model.projection}.weight"].shape == (16, model.feature_dim)
    assert model.stem in model.stems and (model.timm_name is None or model.timm_classifier)


def test_the_key_names_are_torchvisions(model):
    import torchvision

    factory = getattr(torchvision.models, model.arch, None)
    if model.stem == "imagenet" and factory is not None:
        with torch.device("meta"):
            theirs = factory(num_classes=16).state_dict()
        ours = model.state_dict()
        assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}


@torch.no_grad()
def test_a_saved_model_loads_to_the_same_embedding(model, images, tmp_path):
    zoo.save(model, tmp_path / "m")
    again = zoo.load(tmp_path / "m")
    assert not again.training and again.input == model.input and again.stem == model.stem
    assert again.feature_info == model.feature_info
    assert torch.equal(again.embed(images), model.embed(images))


def test_preprocessing_gives_the_input_size(model):
    picture = torch.randint(0, 256, (3, 300, 400), dtype=torch.uint8)
    for train in (False, True):
        out = model.preprocess(train)(picture)
        assert out.shape == (3, model.input.size, model.input.size) and out.dtype == torch.float32


@pytest.mark.parametrize("method", sorted(Backbone.__abstractmethods__))
def test_a_family_that_lacks_a_method_cannot_be_made(method):
    """Not when the method is first called, in the middle of a run, but at once and by name."""

    def unused(self, *_):
        raise NotImplementedError

    methods = dict.fromkeys(Backbone.__abstractmethods__ - {method}, unused)
    incomplete = type("Incomplete", (Backbone,), methods)
    with pytest.raises(TypeError, match=method):
        incomplete(8, "imagenet", zoo.InputSpec())
    whole = type("Whole", (Backbone,), methods | {method: unused})
    assert whole(8, "imagenet", zoo.InputSpec()).embed_dim == 8
