import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from PIL import Image

import zoo
from pretrain import PretrainConfig, Stopped, override, pretrain
from pretrain.checkpoint import read_progress
from pretrain.trainer import learning_rate, resolve_amp
from tests.pretrain.runs import TINY, Crash, content, crash_at, same
from zoo.data.augment import Augmentation
from zoo.data.sources import open_source
from zoo.utils.files import folder_lock


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {
            "loss.name": "nce",
            "loss.negatives": "64",
            "loss.proximal": "5",
            "bank_dtype": "int8",
        },
        {
            "loss.name": "parametric",
            "bank_init": "random",
            "schedule": "step",
            "lr_milestones": "1",
        },
        {
            "loss.name": "infonce",
            "loss.negatives": "64",
            "loss.shared": "true",
            "amp": "bfloat16",
            "augment.size": "16",
        },
    ],
)
def test_a_run_that_is_resumed_in_mid_epoch_ends_bit_for_bit_the_same(
    tmp_path, monkeypatch, changes
):
    source, how = open_source("digits"), override(TINY, changes)
    pretrain(source, tmp_path / "whole", how)
    monkeypatch.setattr("pretrain.trainer.SAVE_EVERY", 0.0)
    with pytest.raises(Crash):
        pretrain(source, tmp_path / "cut", how, on_step=crash_at(7))
    assert read_progress(tmp_path / "cut").total == 6
    pretrain(source, tmp_path / "cut", how, resume=True)
    whole = content(tmp_path / "whole")
    assert same(whole, content(tmp_path / "cut"))
    assert any(name.startswith("optimizer.") for name in whole) and whole["bank.rows"].shape == (
        1437,
        8,
    )
    lines = [
        [json.loads(x) for x in (tmp_path / r / "metrics.jsonl").read_text().splitlines()]
        for r in ("whole", "cut")
    ]
    assert [(x["epoch"], x["loss"]) for x in lines[0]] == [
        (x["epoch"], x["loss"]) for x in lines[1]
    ]


RUN = """
import sys
from pretrain import pretrain
from pretrain.config import from_dict
import pretrain.trainer, json
pretrain.trainer.SAVE_EVERY = 0.0
from zoo.data.sources import open_source
import torch
torch.set_num_threads(1)
config = from_dict(json.loads(sys.argv[2]))
steps_left = int(sys.argv[3])

def on_step(now):
    global steps_left
    print(now["step"], flush=True)
    steps_left -= 1
    if steps_left == 0:
        sys.stdin.read()

pretrain.pretrain(open_source("digits"), sys.argv[1], config, resume=True, on_step=on_step)
"""


@pytest.mark.slow
def test_sigkill_at_random_moments_changes_nothing(tmp_path):
    """Killed anywhere and resumed until it ends; equal to a run that was never stopped.

    One that is to be killed waits after a few steps, so that no machine is too fast for it.
    """
    from pretrain.config import to_dict

    how = replace(TINY, epochs=3)

    def start(run, steps=-1):
        command = [sys.executable, "-c", RUN, str(run), json.dumps(to_dict(how)), str(steps)]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)

    whole = start(tmp_path / "whole")
    _, errors = whole.communicate()
    assert whole.returncode == 0, errors
    chance = random.Random(0)
    for _ in range(3):
        steps = chance.randint(1, 4)
        process = start(tmp_path / "cut", steps + 1)
        for _ in range(steps):
            process.stdout.readline()
        time.sleep(chance.random() * 0.05)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    last = start(tmp_path / "cut")
    out, err = last.communicate()
    assert last.returncode == 0, err
    assert int(out.split()[0]) > 2, "nothing was resumed"
    assert same(content(tmp_path / "whole"), content(tmp_path / "cut"))


def test_sigterm_saves_after_the_step_and_says_so(tmp_path):
    def on_step(now):
        if now["step"] == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Stopped) as caught:
        pretrain(open_source("digits"), tmp_path / "run", TINY, on_step=on_step)
    assert caught.value.signal == signal.SIGTERM and read_progress(tmp_path / "run").total == 3
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_what_cannot_be_resumed_is_refused(tmp_path, image_folder, picture):
    source = open_source(str(image_folder))
    how = override(TINY, {"batch_size": "4", "epochs": "1"})
    run = pretrain(source, tmp_path / "run", how)
    with pytest.raises(zoo.RunError, match="holds a run already; add --resume"):
        pretrain(source, run, how)
    with pytest.raises(zoo.SettingsError, match=r"lr is 0\.05, asked for 0\.5"):
        pretrain(source, run, replace(how, lr=0.5), resume=True)
    with folder_lock(run), pytest.raises(zoo.RunError, match="another process trains here"):
        pretrain(source, run, how, resume=True)
    picture(image_folder / "train" / "cat" / "new.png")
    with pytest.raises(zoo.RunError, match="images was 12, now 13"):
        pretrain(open_source(str(image_folder)), run, how, resume=True)
    (image_folder / "train" / "cat" / "0.png").unlink()
    with pytest.raises(zoo.RunError, match="digest"):
        pretrain(open_source(str(image_folder)), run, how, resume=True)


def test_a_run_goes_on_with_a_copy_of_its_images_and_not_with_other_pixels(tmp_path):
    def write(value):
        (tmp_path / "data").mkdir(exist_ok=True)
        for number in range(8):
            image = Image.new("RGB", (16, 16), (value, 10 * number, 0))
            image.save(tmp_path / "data" / f"{number}.bmp")

    write(0)
    config = override(TINY, {"batch_size": "4", "epochs": "1"})
    run = pretrain(open_source(str(tmp_path / "data")), tmp_path / "run", config)
    shutil.copytree(tmp_path / "data", tmp_path / "elsewhere" / "data")
    copy = open_source(str(tmp_path / "elsewhere" / "data"))
    pretrain(copy, run, replace(config), resume=True)
    write(100)
    with pytest.raises(zoo.RunError, match="images have changed since .* though not in size"):
        pretrain(open_source(str(tmp_path / "data")), run, config, resume=True)


@pytest.mark.parametrize("workers", [0, 2])
def test_images_of_any_size_train_from_files_the_same_with_any_workers(
    tmp_path, image_folder, picture, workers
):
    picture(image_folder / "train" / "cat" / "wide.png", side=40)
    how = PretrainConfig(
        backbone="resnet10",
        embed_dim=8,
        epochs=2,
        batch_size=4,
        amp="float32",
        augment=Augmentation(size=16),
        bank_init="features",
    )
    results = []
    for name, count in (("a", workers), ("b", 0)):
        run = pretrain(open_source(str(image_folder)), tmp_path / name, how, workers=count)
        results.append(content(run))
    assert same(*results)


def test_a_bad_image_stops_the_run_unless_skipped(tmp_path, image_folder, picture):
    picture(image_folder / "train" / "cat" / "wide.png", side=40)
    (image_folder / "train" / "dog" / "3.png").write_bytes(b"broken")
    how = PretrainConfig(
        backbone="resnet10",
        embed_dim=8,
        epochs=1,
        batch_size=4,
        amp="float32",
        augment=Augmentation(size=16),
    )
    with pytest.raises(zoo.DataError, match=r"dog.3\.png: not an image"):
        pretrain(open_source(str(image_folder)), tmp_path / "a", how, workers=1)
    source = open_source(str(image_folder), skip_bad=True)
    pretrain(source, tmp_path / "b", how, workers=1)
    assert {source.key(i) for i in source.bad} <= {"dog/3.png"}


def test_learning_rates():
    step = PretrainConfig(lr=1.0, epochs=10, lr_milestones=(4, 8))
    assert [round(learning_rate(step, e), 3) for e in (0, 3.9, 4, 8)] == [1, 1, 0.1, 0.01]
    cosine = PretrainConfig(lr=1.0, epochs=10, schedule="cosine", warmup=2)
    assert [round(learning_rate(cosine, e), 3) for e in (0, 1, 2, 6, 10)] == [0, 0.5, 1, 0.5, 0]


def test_bf16_is_refused_where_the_cpu_gets_it_wrong(tmp_path):
    cpu = torch.device("cpu")
    assert resolve_amp(replace(TINY, amp="auto"), cpu) == "float32"
    with pytest.raises(zoo.SettingsError, match=r"augment\.size=8"):
        resolve_amp(replace(TINY, amp="bfloat16"), cpu)
    assert resolve_amp(override(TINY, {"augment.size": "16", "amp": "bfloat16"}), cpu) == "bfloat16"
