"""What vision transformers add to the contract of all backbones."""

import pytest
import torch
from torchvision.models.vision_transformer import VisionTransformer

import zoo


@pytest.mark.parametrize(
    ("size", "stem", "patches"),
    [
        (224, "patch16", 14),
        (128, "patch16", 8),
        (64, "patch8", 8),
        (32, "patch4", 8),
        (28, "patch4", 7),
        (16, "patch4", 4),
        (30, "patch2", 15),
        (8, "patch2", 4),
    ],
)
def test_patches_are_chosen_by_the_input(size, stem, patches):
    with torch.device("meta"):
        model = zoo.create("vit_tiny", embed_dim=8, input=zoo.InputSpec(size=size))
        maps = model.features(torch.empty(1, 3, size, size), ["block3"])["block3"]
    assert model.stem == stem and maps.shape == (1, 192, patches, patches)


def test_the_inputs_that_stems_are_made_for():
    family = zoo.BACKBONES["vit_tiny"]
    sizes = [family.default_input(stem).size for stem in family.stems]
    assert sizes == [224, 64, 32, 16]


@torch.no_grad()
def test_the_last_block_leads_to_the_embedding():
    """By torchvision's own class with the same weights, and by its own last norm and head."""
    torch.manual_seed(0)
    model = zoo.create("vit_tiny", embed_dim=8, stem="patch4").eval()
    theirs = VisionTransformer(
        image_size=32,
        patch_size=4,
        num_layers=12,
        num_heads=3,
        hidden_dim=192,
        mlp_dim=768,
        num_classes=8,
    ).eval()
    theirs.load_state_dict(model.state_dict())
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(model(images), theirs(images))

    tokens = []
    theirs.encoder.layers[-1].register_forward_hook(lambda *given: tokens.append(given[-1]))
    theirs(images)
    expected = tokens[0][:, 1:].transpose(1, 2).reshape(2, 192, 8, 8)
    torch.testing.assert_close(model.features(images, ["block12"])["block12"], expected)


def test_a_new_projection_gives_different_images_different_embeddings():
    torch.manual_seed(0)
    model = zoo.create("vit_tiny", embed_dim=8, stem="patch4").eval()
    first, second = model.embed(torch.randn(2, 3, 32, 32))
    assert first.norm() > 0.99 and first @ second < 0.9999


def test_what_a_vision_transformer_cannot_be():
    with pytest.raises(zoo.SettingsError, match="30 pixels cannot be cut into patches of 4"):
        zoo.create("vit_tiny", stem="patch4", input=zoo.InputSpec(size=30))
    with torch.device("meta"):
        model = zoo.create("vit_tiny")
    with pytest.raises(zoo.SettingsError, match="vit_tiny cannot be cut.*take a ResNet"):
        model.trunk_and_head()
    assert not model.detectron2_compatible and model.timm_name is None


@torch.no_grad()
def test_its_weights_are_recognised_by_their_names(tmp_path):
    from safetensors.torch import save_file

    model = zoo.create("vit_tiny", embed_dim=8, stem="patch16").eval()
    save_file(model.state_dict(), tmp_path / "vit.safetensors")
    report = zoo.convert(tmp_path / "vit.safetensors", tmp_path / "out", arch="vit_tiny")
    assert report.stem == "patch16" and not report.missing and not report.ignored
    images = torch.randn(1, 3, 224, 224)
    assert torch.equal(zoo.load(tmp_path / "out")(images), model(images))
