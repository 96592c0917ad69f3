import json
import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file

import zoo


@pytest.fixture
def saved(tmp_path):
    model = zoo.create("resnet10", embed_dim=8).eval()
    model.meta = {"data": "made up"}
    zoo.save(model, tmp_path / "m", bank=torch.nn.functional.normalize(torch.randn(5, 8)))
    return model, tmp_path / "m"


def edit(folder, change):
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def test_the_bank_and_the_meta_come_back(saved):
    model, folder = saved
    assert zoo.load(folder).meta == {"data": "made up"}
    assert zoo.load_bank(folder).shape == (5, 8)
    (folder / "bank.safetensors").unlink()
    assert zoo.load_bank(folder) is None


def test_one_error_lists_every_mismatch_and_the_model_is_untouched(saved):
    _, folder = saved

    def spoil(tensors):
        del tensors["fc.bias"], tensors["bn1.weight"]
        tensors["extra"] = torch.zeros(1)
        tensors["fc.weight"] = tensors["fc.weight"][:3].contiguous()
        tensors["bn1.bias"] = tensors["bn1.bias"].half()
        tensors["conv1.weight"][0] = torch.nan

    edit(folder, spoil)
    with pytest.raises(zoo.ModelError) as caught:
        zoo.load(folder)
    for part in (
        "missing (2)",
        "fc.bias",
        "bn1.weight",
        "unexpected (1): extra",
        "wrong shape (1): fc.weight is (3,",
    ):
        assert part in str(caught.value)
    for part in (
        "wrong type (1): bn1.bias is float16 instead of float32",
        "not finite (1): conv1.weight",
    ):
        assert part in str(caught.value)
    model = zoo.create("resnet10", embed_dim=8)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(zoo.ModelError):
        zoo.models.model_dir.load_strictly(model, load_file(folder / "model.safetensors"), "file")
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


@torch.no_grad()
def test_half_precision_takes_half_the_space_and_is_loaded_as_fp32(saved, tmp_path):
    model, folder = saved
    again, x = zoo.load(zoo.save(model, tmp_path / "half", half=True)), torch.randn(4, 3, 32, 32)
    assert all(t.dtype == torch.float32 for t in again.parameters()) and again.meta == model.meta
    for name, ours in again.features(x).items():
        torch.testing.assert_close(ours, model.features(x)[name], rtol=0.01, atol=0.01)
    torch.testing.assert_close(again.embed(x), model.embed(x), rtol=0, atol=2e-3)
    whole, half = ((f / "model.safetensors").stat().st_size for f in (folder, tmp_path / "half"))
    assert half < 0.52 * whole
    stored = load_file(tmp_path / "half" / "model.safetensors")
    assert (
        stored["conv1.weight"].dtype == torch.float16
        and stored["bn1.running_var"].dtype == torch.float32
    )
    assert (
        "precision"
        not in json.loads((zoo.save(again, tmp_path / "b") / "config.json").read_text())["npid"]
    )


def test_half_precision_must_be_what_the_config_says(saved, tmp_path):
    model, folder = saved
    zoo.save(model, tmp_path / "half", half=True)
    for a, b in ((folder, tmp_path / "half"), (tmp_path / "half", folder)):
        mixed = tmp_path / f"{a.name}-{b.name}"
        mixed.mkdir()
        (mixed / "config.json").write_bytes((a / "config.json").read_bytes())
        (mixed / "model.safetensors").write_bytes((b / "model.safetensors").read_bytes())
        with pytest.raises(zoo.ModelError, match=r"wrong type \(\d+\): conv1.weight is float"):
            zoo.load(mixed)


@pytest.mark.parametrize(("value", "half"), [(1e5, True), (torch.inf, False)])
def test_what_would_not_load_is_not_saved(saved, tmp_path, value, half):
    model, _ = saved
    model.fc.weight.data[0, 0] = value
    with pytest.raises(zoo.ModelError, match="fc.weight"):
        zoo.save(model, tmp_path / "n", half=half)
    assert not (tmp_path / "n").exists()


def test_a_truncated_file_and_a_pickle_are_refused(saved):
    _, folder = saved
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    for cut in (0, 4, 100, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(zoo.ModelError, match=r"model\.safetensors"):
            zoo.load(folder)
    path.write_bytes(pickle.dumps({"conv1.weight": 1}))
    with pytest.raises(zoo.ModelError, match="pickle"):
        zoo.load(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.pop("arch"),
        lambda c: c.update(arch="resnet9000"),
        lambda c: c.update(dim="8"),
        lambda c: c.update(dim=0),
        lambda c: c.update(npid=[]),
        lambda c: c["npid"].update(stem="funny"),
        lambda c: c["npid"]["input"].pop("size") and c["npid"]["input"].update(sise=3),
        lambda c: c["npid"]["input"].update(mean=None),
        lambda c: c["npid"]["input"].update(size="big"),
        lambda c: c["npid"].update(precision="int4"),
    ],
)
def test_a_bad_config_gets_our_error(saved, change):
    _, folder = saved
    path = folder / "config.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))
    with pytest.raises(zoo.ModelError, match=r"config\.json"):
        zoo.load(folder)


def test_a_missing_model_says_where_it_looked(tmp_path):
    with pytest.raises(zoo.ModelError, match="nowhere"):
        zoo.load(tmp_path / "nowhere")


def test_saving_over_a_full_folder_needs_replace(saved):
    model, folder = saved
    with pytest.raises(zoo.NpidError, match="not empty"):
        zoo.save(model, folder)
    zoo.save(zoo.create("resnet10", embed_dim=4), folder, replace=True)
    assert zoo.load(folder).embed_dim == 4 and zoo.load_bank(folder) is None
    assert [p.name for p in folder.parent.iterdir()] == [folder.name]


@torch.no_grad()
def test_timm_loads_the_same_directory(tmp_path):
    timm = pytest.importorskip("timm")
    model = zoo.create("resnet18").eval()
    zoo.save(model, tmp_path / "m")
    theirs = timm.create_model(f"local-dir:{tmp_path / 'm'}", pretrained=True).eval()
    x = torch.randn(2, 3, 224, 224)
    torch.testing.assert_close(theirs(x), model(x))


@torch.no_grad()
def test_the_config_of_before_says_dim(saved):
    """Directories that older versions wrote, and the models that ship with the library."""
    model, folder = saved
    config = json.loads((folder / "config.json").read_text())
    assert config["embed_dim"] == 8 and "dim" not in config
    config["dim"] = config.pop("embed_dim")
    (folder / "config.json").write_text(json.dumps(config))
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(zoo.load(folder).embed(x), model.embed(x))
    assert zoo.models.model_dir.read_config(folder)["embed_dim"] == 8


@torch.no_grad()
@pytest.mark.parametrize("name", zoo.list_models())
def test_models_that_ship_load_whole(name):
    model = zoo.load(name)
    size = model.input.size
    assert model.embed(torch.rand(1, 3, size, size)).shape == (1, model.embed_dim)
