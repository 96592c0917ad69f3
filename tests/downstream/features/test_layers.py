import pytest
import torch
from PIL import Image
from torch import nn

import zoo
from downstream.features.layers import activations, frozen, layer_features, pool, state_digest
from zoo import DataError
from zoo.data.sources import open_source


def test_the_pools_leave_what_vissl_says():
    """9216, 9216, 8192, 9216 and 8192 numbers for the maps of a ResNet-50 at 224 pixels."""
    shapes = ((64, 112), (256, 56), (512, 28), (1024, 14), (2048, 7))
    assert [pool(torch.zeros(1, c, s, s)).numel() for c, s in shapes] == [
        9216,
        9216,
        8192,
        9216,
        8192,
    ]
    maps = torch.randn(2, 256, 56, 56)
    torch.testing.assert_close(pool(maps), nn.AvgPool2d(16, 8, 0)(maps))
    assert pool(torch.zeros(1, 32, 16, 16)).shape == (1, 32, 16, 16)
    assert pool(torch.zeros(1, 512, 1, 1)).shape == (1, 512, 1, 1)


@torch.no_grad()
@pytest.mark.parametrize("arch", ["resnet10", "resnet50", "alexnet"])
def test_deep_layers_are_what_the_projection_reads_and_gives(arch):
    torch.manual_seed(0)
    network = zoo.create(arch, embed_dim=8).eval()
    x = torch.randn(2, 3, 64, 64)
    names = [network.layers[0], network.layers[-1], "pooled", "embedding", "pixels"]
    found = activations(network, x, names)
    maps = network.features(x)
    for name in names[:2]:
        torch.testing.assert_close(found[name], pool(maps[name]))
    projection = network.get_submodule(network.projection)
    torch.testing.assert_close(projection(found["pooled"]), network(x))
    torch.testing.assert_close(found["embedding"], network.embed(x))
    assert torch.equal(found["pixels"], x.flatten(1))
    if arch != "alexnet":
        torch.testing.assert_close(found["pooled"], maps["res5"].mean((2, 3)))
    torch.testing.assert_close(activations(network, x, names[:1])[names[0]], found[names[0]])


@torch.no_grad()
def test_all_layers_come_from_one_forward_pass_and_are_kept(network, passes, cache):
    source, names = open_source("digits", "test"), [*network.layers, "embedding"]
    first = layer_features(network, source, names, sha256="abc", batch_size=100)
    assert len(passes) == 4, "one pass for 360 images in batches of 100"
    x = torch.stack([network.preprocess()(source.image(i)) for i in range(3)])
    for name, maps in network.features(x).items():
        torch.testing.assert_close(
            first[name][:3].float(), pool(maps).flatten(1), atol=1e-2, rtol=1e-2
        )
    torch.testing.assert_close(first["embedding"][:3], network.embed(x))
    in_memory = layer_features(network, source, names, batch_size=100)
    assert all(torch.equal(first[name], in_memory[name]) for name in first)
    passes.clear()
    again = layer_features(network, source, names[2:4], sha256="abc", batch_size=100)
    assert not passes and all(torch.equal(first[name], again[name]) for name in again)
    layer_features(network, source, names, sha256="other", batch_size=100)
    layer_features(network, open_source("digits"), names, sha256="abc", batch_size=100)
    network.input = zoo.InputSpec(size=8, crop_pct=1.0)
    layer_features(network, source, names, sha256="abc", batch_size=100)
    assert len(passes) == 4 + 15 + 4, (
        "another model, another split and another transform are other features"
    )
    assert len(list((cache / "features").iterdir())) == 4


def test_an_unreadable_image_is_named_or_skipped(network, image_folder, picture):
    (image_folder / "train" / "cat" / "1.png").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"cat.1\.png"):
        layer_features(network, open_source(str(image_folder)), ["res5"], sha256="abc")
    good = layer_features(
        network, open_source(str(image_folder), skip_bad=True), ["res5"], sha256="abc"
    )["good"]
    assert good.tolist() == [True, False] + [True] * 10
    picture(
        image_folder / "train" / "dog" / "9.png", side=20
    )  # of another size: not from memory, but from files
    good = layer_features(
        network, open_source(str(image_folder), skip_bad=True), ["res5"], sha256="abc"
    )["good"]
    assert good.tolist() == [True, False] + [True] * 11
    with pytest.raises(DataError, match=r"cat.1\.png"):
        layer_features(network, open_source(str(image_folder)), ["res5"], sha256="abc")


def test_frozen_leaves_every_bit_and_tells_when_not(network):
    before = {name: t.clone() for name, t in network.train().state_dict().items()}
    layer_features(network, open_source("digits", "test"), network.layers)
    assert network.training and all(
        torch.equal(before[name], t) for name, t in network.state_dict().items()
    )
    with pytest.raises(RuntimeError, match="a bug"), frozen(network, "cpu"):
        network.bn1.running_mean[0] += 1e-7
    assert state_digest(network) != state_digest(zoo.create("resnet10", embed_dim=16))


def test_rows_of_other_pixels_are_not_taken_from_the_cache(network, tmp_path):
    """Uncompressed files: their size stays."""

    def write(value):
        for number in range(3):
            Image.new("RGB", (16, 16), (value, 40 * number, 0)).save(tmp_path / f"{number}.bmp")
        return layer_features(network, open_source(str(tmp_path)), ["embedding"], sha256="abc")

    first = write(0)["embedding"].clone()
    assert not torch.allclose(write(255)["embedding"], first)
