"""``npid detect`` as a user types it: training, resuming, scoring, pictures, refusals."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from downstream.detection.config import DetectConfig
from tests.downstream.detection.detectors import FEW_REGIONS, npid
from zoo.results import read_results

needs_detectron2 = pytest.mark.usefixtures("detectron2")


def test_without_detectron2_one_message_says_how_to_install_it(monkeypatch, model, voc, tmp_path):
    for name in ("detectron2", "detectron2.modeling"):
        monkeypatch.setitem(sys.modules, name, None)
    done = npid(model("resnet10"), voc, "--out", tmp_path / "run")
    assert done.exit_code == 1 and "detection needs detectron2" in done.output
    assert (
        "git+https://github.com/facebookresearch/detectron2" in done.output
        and not (tmp_path / "run").exists()
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
        *FEW_REGIONS,
    ]
    done = npid(*start, *more)
    assert done.exit_code == 0, done.output
    assert "AP50/blue" in done.output and "Environment" not in done.output
    results = read_results(run / "metrics.json")[0]
    assert {"AP", "AP50", "AP75", "AP50/blue", "AP50/red"} == set(results.metrics)
    assert results.split_sizes == {"trainval": 6, "test": 3} and results.settings["iterations"] == 5
    assert read_results(scores) == [results]
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
    assert read_results(run / "metrics.json")[1].metrics == results.metrics
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
        *FEW_REGIONS,
    )
    assert done.exit_code == 0, done.output
    results = read_results(run / "metrics.json")[0]
    assert {"AP", "AP50", "AP75", "AP50/blue", "AP50/red"} == set(
        results.metrics
    ) and results.settings["scratch"]
    assert results.split_sizes == {"train": 6, "val": 3} and not (run / "pictures").exists()


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


def test_the_settings_are_recorded_without_the_folder():
    recorded = DetectConfig(out=Path("run"), options=("SOLVER.MAX_ITER", "5")).recorded()
    names = {"options", "config_file", "scratch", "resume", "eval_only", "pictures"}
    assert set(recorded) == names | {"seed", "device", "workers"}


def test_the_task_is_known_without_torch():
    code = (
        "import sys, downstream.detection.task;"
        "print(sorted({'torch', 'detectron2'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
