"""Scores against a slow definition, and the task on images whose colours tell the classes."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import zoo
from downstream.report import gather, render
from downstream.segmentation import (
    SegmentConfig,
    add_to_confusion,
    confusion_matrix,
    fit,
    joined_maps,
    make_head,
    segmentation_scores,
)
from downstream.tasks import TASKS, run_task
from npid.main import app
from tests.segmentation_data import save_mask, write_voc
from zoo.data.segmentation import IGNORED, open_segmentation
from zoo.errors import DataError, SettingsError

QUICK = {"layers": ("conv1",), "size": 32, "epochs": 6, "batch_size": 4}


@pytest.fixture(scope="module")
def stripes(tmp_path_factory):
    return write_voc(tmp_path_factory.mktemp("voc") / "Stripes")


@pytest.fixture(scope="module")
def stripe_results(stripes):
    return run_task("segment", "npid-cifar10-small", str(stripes), **QUICK)


def slow_scores(masks, predictions, num_classes):
    """Mean IoU, pixel accuracy and IoU per class, pixel by pixel as VOC defines them."""
    both = [0] * num_classes
    either = [0] * num_classes
    right = 0
    counted = 0
    for mask, prediction in zip(masks, predictions, strict=True):
        for truth, predicted in zip(
            mask.flatten().tolist(), prediction.flatten().tolist(), strict=True
        ):
            if truth == IGNORED:
                continue
            counted += 1
            right += truth == predicted
            for number in range(num_classes):
                both[number] += truth == number and predicted == number
                either[number] += truth == number or predicted == number
    ious = {}
    for number in range(num_classes):
        if either[number]:
            ious[number] = both[number] / either[number]
    return sum(ious.values()) / len(ious), right / counted, ious


@pytest.mark.parametrize("seed", range(5))
def test_scores_are_those_of_the_slow_definition(seed):
    draw = np.random.default_rng(seed)
    num_classes = 5
    masks = []
    predictions = []
    confusion = torch.zeros(num_classes, num_classes, dtype=torch.int64)
    for height, width in ((7, 9), (1, 4), (12, 5)):
        mask = draw.choice([0, 1, 2, IGNORED], (height, width))  # class 3 never, 4 never seen
        prediction = draw.integers(0, 4, (height, width))  # class 4 never predicted either
        masks.append(mask)
        predictions.append(prediction)
        add_to_confusion(confusion, torch.from_numpy(mask), torch.from_numpy(prediction))
    mean, accuracy, ious = slow_scores(masks, predictions, num_classes)
    scores = segmentation_scores(confusion, list("abcde"))
    assert scores["mIoU"] == pytest.approx(mean, abs=1e-12)
    assert scores["pixel_accuracy"] == pytest.approx(accuracy, abs=1e-12)
    for number, name in enumerate("abcde"):
        assert scores.get(f"IoU/{name}") == (
            pytest.approx(ious[number], abs=1e-12) if number in ious else None
        )
    assert "IoU/e" not in scores


def test_masks_that_ignore_everything_score_nothing():
    confusion = torch.zeros(3, 3, dtype=torch.int64)
    add_to_confusion(confusion, torch.full((4, 4), IGNORED), torch.zeros(4, 4, dtype=torch.int64))
    assert segmentation_scores(confusion, "abc") == {"mIoU": 0.0, "pixel_accuracy": 0.0}


@pytest.mark.parametrize("arch", list(zoo.BACKBONES))
def test_a_head_fits_the_maps_of_any_backbone(arch):
    with torch.device("meta"):  # shapes, and no numbers
        backbone = zoo.create(arch, embed_dim=8).eval()
        layers = backbone.layers[-2:]
        side = backbone.input.size
        maps = joined_maps(backbone, torch.empty(2, 3, side, side), layers)
        infos = [info for info in backbone.feature_info if info.name in layers]
        assert maps.shape[1] == sum(info.channels for info in infos)
        for kind in ("linear", "fcn"):
            scores = make_head(kind, maps.shape[1], 7)(maps)
            assert scores.shape == (2, 7, *maps.shape[-2:])


def test_coarser_maps_are_resized_to_the_finest():
    backbone = zoo.load("npid-cifar10-small")
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        coarse, fine = backbone.features(images, ["res5", "res4"]).values()
        maps = joined_maps(backbone, images, ["res5", "res4"])
    assert coarse.shape[-1] * 2 == fine.shape[-1] == maps.shape[-1]
    torch.testing.assert_close(maps[:, coarse.shape[1] :], fine)
    # bilinear: positions of the fine map lie a quarter off those of the coarse one
    inner = (coarse[..., :-1, :-1] * 9 + coarse[..., 1:, 1:]) / 16
    inner = inner + (coarse[..., :-1, 1:] + coarse[..., 1:, :-1]) * 3 / 16
    torch.testing.assert_close(maps[:, : coarse.shape[1], 1:-1:2, 1:-1:2], inner)


def test_colours_are_learned_and_the_scores_are_those_of_the_predictions(stripes, stripe_results):
    metrics = stripe_results.metrics
    assert metrics["pretrained/mIoU"] > 0.7 and metrics["pretrained/pixel_accuracy"] > 0.8
    assert {"scratch/mIoU", "scratch/IoU/brick", "pretrained/IoU/water"} <= set(metrics)
    assert stripe_results.split_sizes == {"train": 8, "test": 4}
    assert stripe_results.settings["size"] == 32 and stripe_results.settings["head"] == "linear"
    counts = np.array(stripe_results.details["pretrained"]["confusion"])
    assert counts.sum() == 4 * 40 * 26  # all but the two lines that are ignored


def test_the_same_seed_gives_the_same_numbers(stripes, stripe_results):
    again = run_task("segment", "npid-cifar10-small", str(stripes), workers=2, **QUICK)
    assert again.metrics == stripe_results.metrics


def test_a_frozen_backbone_stays_and_another_learns(stripes):
    train, test = open_segmentation(stripes)
    for freeze in (True, False):
        backbone = zoo.load("npid-cifar10-small")
        before = {name: value.clone() for name, value in backbone.state_dict().items()}
        config = SegmentConfig(head="fcn", freeze=freeze, **{**QUICK, "epochs": 1})
        head = fit(backbone, train, config)
        changed = [
            name for name, value in backbone.state_dict().items() if not value.equal(before[name])
        ]
        assert bool(changed) is not freeze
        assert ("bn1.running_mean" in changed) is not freeze
        counts = confusion_matrix(backbone, head, test, config)
        assert int(counts.sum()) == 4 * 40 * 26 and not head.training and not backbone.training


def test_an_image_without_a_labelled_pixel_does_no_harm(tmp_path):
    root = write_voc(tmp_path / "voc", train=2, test=1)
    for name in ("000", "001"):
        save_mask(root, name, np.full((28, 40), IGNORED, np.uint8))
    results = run_task(
        "segment", "npid-cifar10-small", str(root), scratch=False, **{**QUICK, "epochs": 1}
    )
    assert np.isfinite(list(results.metrics.values())).all()


def test_the_command_prints_scores_and_writes_results_that_a_report_shows(stripes, tmp_path):
    words = ["segment", "npid-cifar10-small", stripes, "--size", 32, "--epochs", 1]
    words += ["--layers", "res2,res3", "--head", "fcn", "--no-freeze", "--no-scratch"]
    words += ["--json", tmp_path / "metrics.json"]
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0 and "mIoU" in done.output and "brick" in done.output, done.output
    [entry] = json.loads((tmp_path / "metrics.json").read_text())
    assert entry["hub_task_type"] == "image-segmentation"
    assert entry["settings"]["layers"] == ["res2", "res3"]
    assert not [name for name in entry["metrics"] if name.startswith("scratch/")]
    page = render(gather([tmp_path / "metrics.json"]))
    assert f"{100 * entry['metrics']['pretrained/mIoU']:.2f}" in page


def test_bad_masks_are_one_message_before_anything_is_trained(tmp_path):
    root = write_voc(tmp_path / "voc")
    save_mask(root, "002", np.full((28, 40), 9, np.uint8))
    Image.new("RGB", (40, 28)).save(root / "SegmentationClass" / "003.png")
    done = CliRunner().invoke(app, ["segment", "npid-cifar10-small", str(root)])
    assert done.exit_code == 1 and "Traceback" not in done.output
    assert "002.png: has the class 9" in done.output and "003.png" in done.output


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"head": "unet"}, "head must be one of linear, fcn, got 'unet'"),
        ({"layers": ("res9",)}, "resnet10.* has no layer res9; it has conv1"),
        ({"layers": ("res5", "res5")}, "layers are named twice"),
        ({"lr": 0.0, "flip": 2.0}, "lr must be positive, got 0.0; flip must lie in"),
        ({"batch_size": 1}, "batch_size must be at least 2, got 1"),
        ({"lr": 1e30}, "training diverged in step"),
    ],
)
def test_settings_that_cannot_be_used_are_named(stripes, changes, message):
    with pytest.raises(SettingsError, match=message):
        run_task("segment", "npid-cifar10-small", str(stripes), **{**QUICK, **changes})


def test_a_backbone_of_one_size_gets_that_size(stripes, monkeypatch):
    monkeypatch.setattr(zoo.BACKBONES["resnet10"], "takes_any_size", False)
    model = stripes.parent / "fixed"
    zoo.save(zoo.create("resnet10", embed_dim=8, input=zoo.InputSpec(size=32)), model)
    with pytest.raises(SettingsError, match="takes images of 32 pixels only, not 64"):
        run_task("segment", model, str(stripes), size=64)
    results = run_task("segment", model, str(stripes), epochs=1, scratch=False)
    assert results.settings["size"] == 32


def test_a_folder_without_masks_is_one_message(tmp_path):
    with pytest.raises(DataError, match="not in VOC's segmentation layout"):
        run_task("segment", "npid-cifar10-small", str(tmp_path))
    assert TASKS["segment"].hub_task_type == "image-segmentation"
