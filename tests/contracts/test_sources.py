"""What every registered data source must do; a new one is covered by one small example of it."""

import io
import pickle
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import zoo
from npid.main import app
from zoo.data.images import LazyImage
from zoo.data.sources import SOURCES, Source, canonical_name

SIDE = 16


def pixels(seed, side=SIDE):
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)


def png(seed):
    buffer = io.BytesIO()
    Image.fromarray(pixels(seed)).save(buffer, "PNG")
    return buffer.getvalue()


def write_png(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(seed))


def flat_folder(root, patch):
    for seed in range(3):
        write_png(root / f"{seed}.png", seed)
    return str(root)


def folder(root, patch):
    for seed, name in enumerate(("cat/0", "cat/1", "dog/0")):
        write_png(root / "train" / f"{name}.png", seed)
    return str(root)


def parquet(root, patch):
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    root.mkdir()
    images = [{"bytes": png(seed), "path": None} for seed in range(3)]
    table = pa.table({"image": images, "label": [0, 1, 0]})
    pq.write_table(table, root / "train-00000-of-00001.parquet")
    return str(root)


def shards(root, patch):
    root.mkdir()
    with tarfile.open(root / "train-000000.tar", "w") as archive:
        for seed in range(3):
            for name, content in ((f"{seed}.png", png(seed)), (f"{seed}.cls", b"%d" % (seed % 2))):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return str(root)


def places205(root, patch):
    lines = []
    for seed, name in enumerate(("a/abbey/1.jpg", "a/abbey/2.jpg", "z/zoo/1.jpg")):
        write_png(root / "images256" / name, seed)
        lines.append(f"{name} {seed // 2}")
    (root / "train_places205.csv").write_text("\n".join(lines))
    return str(root)


def places365(root, patch):
    lines = []
    for seed, name in enumerate(("/a/abbey/1.jpg", "/a/abbey/2.jpg", "/z/zoo/1.jpg")):
        write_png(root / "data_256" / name[1:], seed)
        lines.append(f"{name} {seed // 2}")
    (root / "places365_train_standard.txt").write_text("\n".join(lines))
    (root / "categories_places365.txt").write_text("/a/abbey 0\n/z/zoo 1\n")
    return str(root)


def digits(root, patch):
    return "digits"


def cifar(root, patch):
    """Five batches of one image each, as the archive unpacks in the cache folder."""
    patch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    patch.setenv("NPID_CACHE", str(root))
    archive = root / "cifar-10-batches-py"
    archive.mkdir(parents=True)
    for number in range(1, 6):
        image = pixels(number, 32).transpose(2, 0, 1).reshape(1, -1)
        batch = {"data": image, "labels": [number]}
        (archive / f"data_batch_{number}").write_bytes(pickle.dumps(batch))
    names = {"label_names": [f"class {i}" for i in range(10)]}
    (archive / "batches.meta").write_bytes(pickle.dumps(names))
    return "cifar10"


def stl(root, patch):
    """Three images, as the archive unpacks in the cache folder."""
    patch.setattr("torchvision.datasets.stl10.check_integrity", lambda *_: True)
    patch.setenv("NPID_CACHE", str(root))
    archive = root / "stl10_binary"
    archive.mkdir(parents=True)
    images = np.stack([pixels(seed, 96).transpose(2, 1, 0) for seed in range(3)])
    (archive / "train_X.bin").write_bytes(images.tobytes())
    (archive / "train_y.bin").write_bytes(np.array([1, 10, 1], np.uint8).tobytes())
    (archive / "class_names.txt").write_text("\n".join(f"class {i}" for i in range(10)))
    return "stl10"


EXAMPLES = {
    "folder": folder,
    "parquet": parquet,
    "shards": shards,
    "places205": places205,
    "places365": places365,
    "digits": digits,
    "cifar": cifar,
    "stl": stl,
}
CASES = [pytest.param((kind, build), id=kind) for kind, build in EXAMPLES.items()]
CASES.append(pytest.param(("folder", flat_folder), id="folder without classes"))


def test_every_kind_has_an_example():
    assert set(EXAMPLES) == set(SOURCES)


@pytest.fixture(params=CASES)
def data(request, tmp_path, monkeypatch):
    """What the user types, for one kind."""
    kind, build = request.param
    data = build(tmp_path / "source", monkeypatch)
    kinds = [name for name in SOURCES if SOURCES[name].accepts(data) and name != "folder"]
    assert kinds == ([] if kind == "folder" else [kind])
    return data


def test_a_source_keeps_its_contract(data):
    source = zoo.open_source(data)
    assert isinstance(source, Source) and len(source) > 0 and source.bad == set()
    keys = [source.key(index) for index in range(len(source))]
    assert len(set(keys)) == len(keys)
    for index in {0, len(source) // 2, len(source) - 1}:
        opened = source.open(index)
        image = source.image(index)
        assert isinstance(opened, LazyImage) and opened.size == image.size
        assert image.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(opened.rgb()), np.asarray(image))
        assert source.find(keys[index]) == index
    assert source.find("no such key") is None
    array = source.array()
    assert array is not None and array.dtype == np.uint8 and source.decoded
    assert array.shape == (len(source), image.height, image.width, 3)
    np.testing.assert_array_equal(array[index], np.asarray(image))


def test_the_same_data_has_the_same_digest_and_fingerprints(data):
    one, other = zoo.open_source(data), zoo.open_source(data)
    assert one.digest == other.digest and one.manifest() == other.manifest()
    for index in range(len(one)):
        assert isinstance(one.fingerprint(index), bytes) and one.fingerprint(index)
        assert one.fingerprint(index) == other.fingerprint(index)
    assert canonical_name(canonical_name(data)) == canonical_name(data)


def test_labels_count_in_the_list_of_classes(data):
    source = zoo.open_source(data)
    if source.labels is None:
        with pytest.raises(zoo.DataError, match="has no labels"):
            source.require_labels()
        return
    labels, classes = source.require_labels()
    assert labels.shape == (len(source),) and labels.dtype == np.int64
    assert labels.min() >= 0 and labels.max() < len(classes)
    assert len(set(classes)) == len(classes)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.manual_seed(0)
    spec = zoo.InputSpec(size=8, crop_pct=1.0)
    backbone = zoo.create("resnet10", embed_dim=4, input=spec).eval()
    return zoo.save(backbone, tmp_path_factory.mktemp("model") / "model")


def test_it_is_embedded_from_the_command_line_and_gone_on_with(data, model, tmp_path):
    count = len(zoo.open_source(data))
    for _ in range(2):
        command = ["embed", str(model), data, "--out", str(tmp_path / "store")]
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.output
        assert f"{count:,} rows of 4 float32" in result.output


@pytest.mark.parametrize("method", ["accepts", "__len__", "key", "open", "fingerprint", "manifest"])
def test_a_kind_that_lacks_a_method_cannot_be_made(method):
    methods = {
        "accepts": classmethod(lambda cls, data: True),
        "__len__": lambda self: 1,
        "key": lambda self, index: "key",
        "open": lambda self, index: LazyImage(Image.fromarray(pixels(0))),
        "fingerprint": lambda self, index: b"1",
        "manifest": lambda self: "one image",
    }
    whole = type("Whole", (Source,), methods)("data", "train")
    assert whole.array().shape == (1, SIDE, SIDE, 3)
    del methods[method]
    with pytest.raises(TypeError, match=f"abstract method '?{method}"):
        type("Part", (Source,), methods)("data", "train")
