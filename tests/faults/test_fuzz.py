"""Thousands of damaged and hostile files: only our own error, nothing run, no half a model."""

import collections
import io
import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save as to_safetensors

import zoo
from zoo.interop import unpickle
from zoo.models.model_dir import load_directory, read_config, read_tensors

pytestmark = pytest.mark.slow

RUN = {
    "exec",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "subprocess.Popen",
    "pickle.find_class",
    "shutil.rmtree",
}
watched: list[str] = []
watching = False


def audit(event, args):
    module = (
        event == "exec" and args[0].co_filename != "<string>"
    )  # Python's own import of a codec, say
    if watching and event in RUN and not module:
        watched.append(event)


sys.addaudithook(audit)  # cannot be taken away again, hence the switch


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


def saved(zipped):
    content = {
        "state_dict": {"a": torch.arange(6.0).view(2, 3), "b": torch.zeros(2).half()},
        "n": [1, 2.5, "x", None],
    }
    content["o"] = collections.OrderedDict(s=np.float64(1), t=np.arange(3))
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


PICKLES = [saved(True), saved(False)]
PICKLES += [
    pickle.dumps({"m": {"w": np.ones((2, 2), "f4")}, "s": {1, 2}, "d": {3: (4, [5])}}, p)
    for p in range(6)
]

EDIT = st.tuples(
    st.sampled_from(["flip", "set", "cut", "insert", "drop", "copy"]),
    st.integers(0, 10**6),
    st.integers(0, 255),
)


def mutate(content: bytes, edits) -> bytes:
    for kind, place, value in edits:
        at = place % (len(content) or 1)
        if kind == "flip":
            content = (
                content[:at] + bytes([content[at] ^ (1 << value % 8)]) + content[at + 1 :]
                if content
                else b"?"
            )
        elif kind == "set":
            content = content[:at] + bytes([value]) + content[at + 1 :]
        elif kind == "cut":
            content = content[:at]
        elif kind == "insert":
            content = content[:at] + bytes([value]) * (value % 5 + 1) + content[at:]
        elif kind == "drop":
            content = content[:at] + content[at + value % 9 + 1 :]
        else:
            content = content[:at] + content[value : value + 40] + content[at:]
    return content


EDITS = st.lists(EDIT, min_size=1, max_size=4)


def many(examples):
    return settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )


def read(path, content):
    """The content, or None for our error; any other error is the test's failure."""
    global watching
    path.write_bytes(content)
    watched.clear()
    watching = True
    try:
        return unpickle.read(path)
    except zoo.ModelError as error:
        assert str(path) in str(error)
        return None
    finally:
        watching = False
        assert not watched


@many(2000)
@given(which=st.integers(0, len(PICKLES) - 1), edits=EDITS)
def test_mutated_checkpoints(folder, which, edits):
    read(folder / "f", mutate(PICKLES[which], edits))


NAMES = [
    b"cposix\nsystem\n",
    b"cbuiltins\neval\n",
    b"cos\nsystem\n",
    b"ctorch._utils\n_rebuild_tensor_v2\n",
]
NAMES += [
    b"ccollections\nOrderedDict\n",
    b"cnumpy.core.multiarray\n_reconstruct\n",
    b"cnumpy\ndtype\n",
    b"c_codecs\nencode\n",
]
NAMES += [
    b"clib.NCEAverage\nNCEAverage\n",
    b"ctorch\nFloatStorage\n",
    b"ccopyreg\n_reconstructor\n",
    b"cbuiltins\nset\n",
]
VALUES = [
    b"N",
    b"]",
    b"}",
    b")",
    b"K\x07",
    b"X\x02\x00\x00\x00f4",
    b"X\x07\x00\x00\x00storage",
    b"M\xff\xff",
    b"C\x04abcd",
    b"\x88",
]
VALUES += [
    b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"\x8f",
    b"G" + bytes(8),
    b"J\xff\xff\xff\xff",
]
ACTS = [
    b"R",
    b"\x81",
    b"\x92",
    b"b",
    b"s",
    b"u",
    b"a",
    b"e",
    b"(",
    b"t",
    b"\x85",
    b"\x86",
    b"\x87",
    b"l",
    b"d",
    b"0",
    b"1",
    b"2",
]
ACTS += [
    b"q\x00",
    b"h\x00",
    b"\x94",
    b"Q",
    b"\x93",
    b"o",
    b"\x90",
    b"\x91",
    b"i" + NAMES[0][1:],
    b"\x82\x01",
    b"P1\n",
    b"\x97",
]


@many(2000)
@given(program=st.lists(st.sampled_from(NAMES + VALUES * 2 + ACTS * 2), max_size=30))
def test_random_programs(folder, program):
    found = read(folder / "f", b"\x80\x02" + b"".join(program) + b".")
    if any(name in program for name in NAMES[:3]):
        assert found is None


TENSORS = {"bank": torch.arange(6.0).view(2, 3), "n": torch.zeros((), dtype=torch.long)}


@many(1000)
@given(edits=EDITS)
def test_mutated_safetensors(folder, edits):
    path = folder / "f.safetensors"
    path.write_bytes(mutate(to_safetensors(TENSORS), edits))
    try:
        found = read_tensors(path)
    except zoo.ModelError:
        return
    assert all(isinstance(tensor, torch.Tensor) for tensor in found.values())


class Whole:
    """A saved model, and its files' content."""

    def __init__(self, folder):
        model = zoo.create("resnet10", embed_dim=2).eval()
        zoo.save(model, folder)
        self.shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
        self.config, self.weights = (
            (folder / "config.json").read_bytes(),
            (folder / "model.safetensors").read_bytes(),
        )


@pytest.fixture(scope="module")
def whole(folder):
    return Whole(folder / "m")


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(
        [10**9, 2**63, -1, 0, [], {}, [1] * 3, "resnet18", "cifar", "imagenet", [[[]]]]
    ),
)


def loads_whole_or_not_at_all(folder, whole):
    try:
        model = load_directory(folder / "m")
    except zoo.ModelError:
        return
    assert all(
        torch.isfinite(tensor).all() and not tensor.is_meta
        for tensor in model.state_dict().values()
    )
    assert {k: v.shape for k, v in model.state_dict().items()} == whole.shapes
    model.preprocess()


@many(500)
@given(edits=EDITS)
def test_mutated_configs(folder, whole, edits):
    (folder / "m" / "config.json").write_bytes(mutate(whole.config, edits))
    try:
        config = read_config(folder / "m")
    except zoo.ModelError:
        return
    assert isinstance(config["embed_dim"], int) and isinstance(config["arch"], str)


@many(400)
@given(
    where=st.sampled_from(
        ["arch", "dim", "embed_dim", "npid", "stem", "input", "size", "crop_pct", "mean", "std"]
    ),
    value=ODD,
)
def test_odd_values_in_the_config(folder, whole, where, value):
    config = json.loads(whole.config)
    spot = (
        config
        if where in config
        else config["npid"]
        if where in config["npid"]
        else config["npid"]["input"]
    )
    spot[where] = value
    (folder / "m" / "config.json").write_text(json.dumps(config))
    loads_whole_or_not_at_all(folder, whole)


@many(100)
@given(
    edits=st.lists(
        EDIT.map(lambda edit: (edit[0], edit[1] % 20_000, edit[2])), min_size=1, max_size=3
    )
)
def test_mutated_weights(folder, whole, edits):
    (folder / "m" / "config.json").write_bytes(whole.config)
    (folder / "m" / "model.safetensors").write_bytes(mutate(whole.weights, edits))
    try:
        loads_whole_or_not_at_all(folder, whole)
    finally:
        (folder / "m" / "model.safetensors").write_bytes(whole.weights)


def test_a_deeply_nested_config_gets_our_error(folder, whole):
    (folder / "m" / "config.json").write_text("[" * 100_000)
    with pytest.raises(zoo.ModelError, match=r"config\.json"):
        load_directory(folder / "m")


def test_the_watch_would_notice(folder):
    global watching
    watched.clear()
    watching = True
    pickle.loads(pickle.dumps(collections.OrderedDict()))
    watching = False
    assert watched == ["pickle.find_class"]


@pytest.mark.skipif(sys.platform != "linux", reason="the measure of memory is Linux's")
def test_small_pickles_cost_little(tmp_path):
    command = [sys.executable, "-m", "tests.faults.small_pickles", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = done.stdout.splitlines()
    assert len(lines) == 25
    for line in lines:
        megabytes, message, size, name = line.split(maxsplit=3)
        assert int(megabytes) < 300 and int(message) < 3000 and int(size) < 1_500_000, name
        assert int(message) > 0, name  # refused; none of them is a checkpoint
