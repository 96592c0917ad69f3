"""``npid detect`` as a user types it: training, resuming, scoring, pictures, and what it refuses."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import zoo.results
from npid.main import app
from zoo import RunError
from zoo.utils.files import WriteError
from zoo.utils.signals import Stopped

SMALL = [
    "MODEL.RPN.PRE_NMS_TOPK_TRAIN", 50, "MODEL.RPN.POST_NMS_TOPK_TRAIN", 10, "MODEL.RPN.PRE_NMS_TOPK_TEST", 50,
    "MODEL.RPN.POST_NMS_TOPK_TEST", 5, "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", 8, "INPUT.MIN_SIZE_TRAIN", "(48,)",
    "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION", 4, "INPUT.MIN_SIZE_TEST", 48, "SOLVER.IMS_PER_BATCH", 2,
    "SOLVER.CHECKPOINT_PERIOD", 2, "SOLVER.STEPS", "()",
]  # fmt: skip


def npid(*words):
    return CliRunner().invoke(app, ["detect", *(str(word) for word in words)])


def test_without_detectron2_one_message_says_how_to_install_it(monkeypatch, model, voc, tmp_path):
    for name in ("detectron2", "detectron2.modeling"):
        monkeypatch.setitem(sys.modules, name, None)
    done = npid(model("resnet10"), voc, "--out", tmp_path / "run")
    assert done.exit_code == 1 and "detection needs detectron2" in done.output
    assert (
        "git+https://github.com/facebookresearch/detectron2" in done.output
        and not (tmp_path / "run").exists()
    )


needs_detectron2 = pytest.mark.usefixtures("detectron2")


@pytest.fixture
def detectron2():
    pytest.importorskip(
        "detectron2.modeling", reason="detectron2 is not installed", exc_type=ImportError
    )


@needs_detectron2
def test_from_a_model_and_a_voc_folder_to_scores_and_pictures(model, voc, tmp_path):
    run, scores = tmp_path / "run", tmp_path / "all.json"
    start = [
        model("resnet10"),
        voc,
        "--out",
        run,
        "--device",
        "cpu",
        "--json",
        scores,
        "--pictures",
        2,
    ]
    more = [
        "SOLVER.MAX_ITER",
        5,
        "TEST.PRECISE_BN.ENABLED",
        True,
        "TEST.PRECISE_BN.NUM_ITER",
        2,
        *SMALL,
    ]
    done = npid(*start, *more)
    assert done.exit_code == 0, done.output
    assert "AP50/blue" in done.output and "Environment" not in done.output
    results = zoo.results.read_results(run / "metrics.json")[0]
    assert {"AP", "AP50", "AP75", "AP50/blue", "AP50/red"} == set(results.metrics)
    assert results.split_sizes == {"trainval": 6, "test": 3} and results.settings["iterations"] == 5
    assert zoo.results.read_results(scores) == [results]
    assert sorted(path.name for path in (run / "pictures").iterdir()) == [
        "shape 6.png",
        "shape 7.png",
    ]
    assert Image.open(run / "pictures" / "shape 6.png").size == (2 * 64 + 8, 48)
    kept = ["model_0000001.pth", "model_0000003.pth", "model_final.pth"]
    assert sorted(path.name for path in run.glob("*.pth")) == kept
    assert "Running precise-BN" in (run / "log.txt").read_text()

    done = npid(*start, *more)
    assert done.exit_code == 1 and "already holds a run" in done.output
    done = npid(*start, "--eval-only")  # with the run's own config
    assert done.exit_code == 0, done.output
    assert zoo.results.read_results(run / "metrics.json")[1].metrics == results.metrics
    done = npid(*start, "--resume", "SOLVER.MAX_ITER", 7)
    assert done.exit_code == 0, done.output
    iterations = [
        json.loads(line)["iteration"] for line in (run / "metrics.jsonl").read_text().splitlines()
    ]
    assert iterations[-1] == 6 and 4 in iterations

    done = npid(*start, "--resume", *more, "SOLVER.BASE_LR", 0.5)
    assert done.exit_code == 1 and "SOLVER.BASE_LR was 0.01, is 0.5" in done.output
    text = (voc / "Annotations" / "shape 0.xml").read_text()
    (voc / "Annotations" / "shape 0.xml").write_text(text.replace("blue", "red"))
    done = npid(*start, "--resume")
    assert done.exit_code == 1 and "data: digest was" in done.output


@needs_detectron2
def test_from_coco_json_and_from_random_weights(model, coco, tmp_path):
    run = tmp_path / "run"
    done = npid(
        model("resnet10"),
        coco,
        "--out",
        run,
        "--scratch",
        "--pictures",
        0,
        "SOLVER.MAX_ITER",
        1,
        *SMALL,
    )
    assert done.exit_code == 0, done.output
    results = zoo.results.read_results(run / "metrics.json")[0]
    assert {"AP", "AP50", "AP75", "AP50/blue", "AP50/red"} == set(
        results.metrics
    ) and results.settings["scratch"]
    assert results.split_sizes == {"train": 6, "val": 3} and not (run / "pictures").exists()


@needs_detectron2
def test_killed_at_any_moment_a_run_goes_on_from_its_newest_checkpoint(model, voc, tmp_path):
    run, many = tmp_path / "run", ["SOLVER.MAX_ITER", 100000, *SMALL]
    words = [str(word) for word in (model("resnet10"), voc, "--out", run, "--device", "cpu", *many)]
    paths = os.pathsep.join(path for path in sys.path if path)
    process = subprocess.Popen(
        [sys.executable, "-m", "npid", "detect", *words],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 300
    while (
        not (run / "last_checkpoint").is_file()
        and process.poll() is None
        and time.monotonic() < deadline
    ):
        time.sleep(0.05)
    assert process.poll() is None, process.stderr.read()
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stderr.close()
    (run / ".model_0000099.pth.torn").write_bytes(b"half")
    saved = int((run / "last_checkpoint").read_text().split("_")[1].split(".")[0])
    done = npid(*words[:4], "--device", "cpu", "--resume", "SOLVER.MAX_ITER", saved + 2)
    assert done.exit_code == 0, done.output
    log = (run / "log.txt").read_text()
    assert (
        f"Starting training from iteration {saved + 1}" in log
        and not (run / ".model_0000099.pth.torn").exists()
    )
    content = torch.load(run / "model_final.pth")
    assert (
        content["iteration"] == saved + 1 and content["trainer"]["_trainer"]["optimizer"]["state"]
    )


@needs_detectron2
def test_a_signal_saves_and_stops_with_its_own_exit_code(model, voc, tmp_path, monkeypatch):
    from downstream.detection import task

    run, steps = tmp_path / "run", []

    def progress(images, note):
        steps.append(images)
        if len(steps) == 4:  # the first tells where it begins
            os.kill(os.getpid(), signal.SIGTERM)

    settings = task.Settings(options=tuple(str(word) for word in ("SOLVER.MAX_ITER", 9, *SMALL)))
    with pytest.raises(Stopped, match="go on with --resume") as caught:
        task.run(model("resnet10"), str(voc), run, settings, progress)
    assert caught.value.signal == signal.SIGTERM
    assert (run / "last_checkpoint").read_text() == "model_0000002.pth"
    with (
        pytest.MonkeyPatch.context() as patch
    ):  # a save that breaks off leaves the newest checkpoint as it is

        def half(content, path):
            path.write_bytes(b"half")
            raise OSError(28, "No space left on device")

        patch.setattr(torch, "save", half)
        with pytest.raises(WriteError, match=r"cannot write .*model_0000003\.pth: No space left"):
            task.run(model("resnet10"), str(voc), run, task.Settings(resume=True))
    assert (run / "last_checkpoint").read_text() == "model_0000002.pth" and len(
        list(run.glob("*.pth"))
    ) == 2
    with pytest.raises(RunError, match="infinite or NaN|diverged"):
        wild = (*settings.options, "SOLVER.BASE_LR", "1e30", "SOLVER.WARMUP_ITERS", "0")
        task.run(model("resnet10"), str(voc), tmp_path / "wild", task.Settings(options=wild))


@needs_detectron2
def test_a_resumed_run_sees_other_images_than_it_began_with(model, voc, tmp_path, monkeypatch):
    from downstream.detection import task
    from downstream.detection import trainer as trainers

    seen = []
    read = trainers.Reader.__call__

    def note(self, entry):
        seen.append(entry["image_id"])
        return read(self, entry)

    monkeypatch.setattr(trainers.Reader, "__call__", note)
    options = tuple(str(word) for word in ("SOLVER.MAX_ITER", 2, *SMALL))
    task.run(
        model("resnet10"), str(voc), tmp_path / "run", task.Settings(options=options, pictures=0)
    )
    first = [id for id in seen if id not in {"shape 6", "shape 7", "shape 8"}]
    seen.clear()
    longer = task.Settings(options=("SOLVER.MAX_ITER", "4"), resume=True, pictures=0)
    task.run(model("resnet10"), str(voc), tmp_path / "run", longer)
    assert [id for id in seen if id in set(first)][: len(first)] != first


@needs_detectron2
def test_images_are_read_as_everywhere_and_a_truncated_one_is_named(model, voc, tmp_path):
    from detectron2.config import get_cfg
    from torch._utils import ExceptionWrapper

    from downstream.detection.trainer import Reader, UnreadableImage

    reader = Reader(get_cfg(), False)
    file = voc / "JPEGImages" / "shape 0.png"
    deep = np.full((48, 64), 40000, np.uint16)
    Image.fromarray(deep).save(file)
    entry = {"file_name": str(file), "image_id": "shape 0", "width": 64, "height": 48}
    assert (
        reader(entry)["image"] == round(40000 / 65535 * 255)
    ).all()  # a plain conversion gives 255
    Image.new("RGBA", (64, 48), (255, 0, 0, 0)).save(file)
    assert (reader(entry)["image"] == 255).all()  # the hidden red does not show

    broken = voc / "JPEGImages" / "shape 1.png"
    Image.open(broken).save(broken, format="JPEG")  # whose header can be read without the rest
    broken.write_bytes(broken.read_bytes()[:-300])
    with pytest.raises(UnreadableImage) as caught:
        reader(entry | {"file_name": str(broken)})
    with pytest.raises(UnreadableImage) as again:  # as a worker process hands it over
        try:
            raise caught.value
        except UnreadableImage:
            ExceptionWrapper().reraise()
    assert str(again.value) == str(caught.value) and str(caught.value).startswith(str(broken))
    done = npid(model("resnet10"), voc, "--out", tmp_path / "run", "SOLVER.MAX_ITER", 6, *SMALL)
    assert (
        done.exit_code == 1
        and "shape 1.png: cannot be decoded" in done.output
        and "Traceback" not in done.output
    )


@needs_detectron2
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--config-file", "voc07_c5"], "no config file 'voc07_c5' (did you mean 'voc07_c4'?)"),
        (["SOLVER.MAX_ITER"], "options are KEY VALUE pairs"),
        (["SOLVER.MAX_ITERS", "5"], "Non-existent key: SOLVER.MAX_ITERS"),
        (["SOLVER.MAX_ITER", "many"], "SOLVER.MAX_ITER"),
        (["MODEL.WEIGHTS", "nowhere"], "MODEL.WEIGHTS is nowhere, but MODEL is"),
        (["--eval-only"], "holds no checkpoint to score"),
        (["INPUT.FORMAT", "BGR"], "INPUT.FORMAT is BGR, the model needs RGB"),
    ],
)
def test_options_that_cannot_be_used(model, voc, tmp_path, words, said):
    done = npid(model("resnet10"), voc, "--out", tmp_path / "run", *words)
    assert done.exit_code == 1 and said in " ".join(done.output.split()), done.output
    assert not list(tmp_path.glob("run/*.pth"))
