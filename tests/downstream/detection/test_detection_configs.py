"""Every shipped config: it builds, trains a step and detects, here and in detectron2's own training script."""

import importlib.util
from pathlib import Path

import pytest
import torch

from downstream import detection
from zoo import ModelError

pytest.importorskip(
    "detectron2.modeling", reason="detectron2 is not installed", exc_type=ImportError
)

EXAMPLE = Path(__file__).parents[3] / "examples" / "train_net.py"
REDUCED = [
    "MODEL.DEVICE", "cpu", "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", 8, "MODEL.RPN.PRE_NMS_TOPK_TRAIN", 50,
    "MODEL.RPN.POST_NMS_TOPK_TRAIN", 10, "MODEL.RPN.PRE_NMS_TOPK_TEST", 50, "MODEL.RPN.POST_NMS_TOPK_TEST", 5,
    "INPUT.MIN_SIZE_TRAIN", (48,), "INPUT.MIN_SIZE_TEST", 48, "SOLVER.IMS_PER_BATCH", 1, "DATALOADER.NUM_WORKERS", 0,
]  # fmt: skip


@pytest.mark.parametrize("name", detection.shipped_configs())
def test_a_shipped_config_trains_a_step_and_detects(name):
    from detectron2.config import get_cfg
    from detectron2.modeling import build_model
    from detectron2.solver import build_lr_scheduler, build_optimizer
    from detectron2.structures import Boxes, Instances
    from detectron2.utils.events import EventStorage

    torch.manual_seed(0)
    cfg = get_cfg()
    detection.add_npid_config(cfg)
    cfg.merge_from_file(str(detection.config_file(name)))
    cfg.merge_from_list(REDUCED)
    built = build_model(cfg).train()
    optimizer = build_optimizer(cfg, built)
    build_lr_scheduler(cfg, optimizer)
    truth = Instances((64, 96))
    truth.gt_boxes = Boxes(torch.tensor([[8.0, 8, 40, 50], [50, 10, 90, 60]]))
    truth.gt_classes = torch.tensor([0, 1])
    image = torch.randint(0, 256, (3, 64, 96), dtype=torch.uint8)
    before = {key: p.clone() for key, p in built.named_parameters()}
    with EventStorage():
        losses = built([{"image": image, "instances": truth}])
    assert set(losses) == {"loss_cls", "loss_box_reg", "loss_rpn_cls", "loss_rpn_loc"}
    assert all(torch.isfinite(loss) for loss in losses.values())
    sum(losses.values()).backward()
    optimizer.step()
    moved = {key for key, p in built.named_parameters() if not torch.equal(p, before[key])}
    trained = {key for key, p in built.named_parameters() if p.requires_grad}
    assert moved <= trained and "roi_heads.box_predictor.cls_score.weight" in moved
    assert any(key.startswith("backbone.") for key in moved) and any(
        "rpn_head" in key for key in moved
    )
    with torch.no_grad():
        found = built.eval()([{"image": image, "height": 128, "width": 192}])[0]["instances"]
    assert found.image_size == (128, 192) and len(found) <= 100
    assert found.pred_boxes.tensor.shape == (len(found), 4)
    assert (found.pred_classes < cfg.MODEL.ROI_HEADS.NUM_CLASSES).all()


def test_every_config_has_a_header_with_command_time_and_score():
    for name in detection.shipped_configs():
        header = [
            line
            for line in detection.config_file(name).read_text().splitlines()
            if line.startswith("#")
        ]
        assert all(
            any(word in line for line in header) for word in ("Command:", "Expected:", "Score:")
        ), name
        command = next(line for line in header if "Command:" in line)
        assert f"--config-file {name}" in command and "npid detect" in command


def test_freezing_of_the_paper(model):
    from detectron2.config import get_cfg
    from detectron2.layers import FrozenBatchNorm2d
    from detectron2.modeling import build_model

    cfg = get_cfg()
    detection.add_npid_config(cfg)
    cfg.merge_from_file(str(detection.config_file("voc07_c4_frozen")))
    cfg.merge_from_list([*REDUCED, "MODEL.NPID.ARCH", "resnet18"])
    built = build_model(cfg)
    trained = {name for name, p in built.backbone.named_parameters() if p.requires_grad}
    assert trained and all(
        name.startswith("net.layer3.") for name in trained
    )  # conv1, res2 and res3 are still
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in built.modules())
    assert any(isinstance(module, FrozenBatchNorm2d) for module in built.roi_heads.modules())


def stock():
    """detectron2's training script, as the example has it."""
    spec = importlib.util.spec_from_file_location("stock_train_net", EXAMPLE)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def test_the_example_is_a_stock_script_with_two_lines_of_ours():
    lines = EXAMPLE.read_text().split('"""', 2)[2].splitlines()
    assert [line.strip() for line in lines if "npid" in line or "downstream" in line] == [
        "from downstream.detection import add_npid_config  # ours",
        "add_npid_config(cfg)  # ours",
    ]


def test_a_stock_script_trains_and_scores_with_a_shipped_config_unchanged(model, voc, tmp_path):
    from detectron2.data import MetadataCatalog
    from detectron2.data.datasets import register_pascal_voc
    from detectron2.engine import default_argument_parser

    for xml in (
        voc / "Annotations"
    ).iterdir():  # detectron2's reader takes JPEG, no spaces, and every tag
        text = xml.read_text().replace(
            "<bndbox>", "<pose/><truncated>0</truncated><difficult>0</difficult><bndbox>"
        )
        xml.with_name(xml.name.replace(" ", "_")).write_text(text)
    for image in (voc / "JPEGImages").iterdir():
        image.rename(image.with_name(image.stem.replace(" ", "_") + ".jpg"))
    for names in (voc / "ImageSets" / "Main").iterdir():
        names.write_text(names.read_text().replace(" ", "_"))
    for split in ("trainval", "test"):
        name = f"shapes_{split}_{tmp_path.name}"
        register_pascal_voc(name, str(voc), split, 2007, class_names=["blue", "red"])
        MetadataCatalog.get(name).evaluator_type = "pascal_voc"
    words = [
        "--config-file",
        str(detection.config_file("voc07_c4")),
        "--num-gpus",
        "0",
        *map(str, REDUCED),
    ]
    words += ["DATASETS.TRAIN", f"('shapes_trainval_{tmp_path.name}',)"]
    words += ["DATASETS.TEST", f"('shapes_test_{tmp_path.name}',)"]
    words += [
        "MODEL.WEIGHTS",
        str(model("resnet18")),
        "MODEL.NPID.ARCH",
        "resnet18",
        "SOLVER.MAX_ITER",
        "2",
    ]
    words += ["TEST.PRECISE_BN.NUM_ITER", "1", "OUTPUT_DIR", str(tmp_path / "out")]
    stock().main(default_argument_parser().parse_args(words))
    trained = str(tmp_path / "out" / "model_final.pth")
    assert '"bbox/AP50"' in (tmp_path / "out" / "metrics.json").read_text()
    words_to_score = ["--eval-only", *words, "MODEL.WEIGHTS", trained]
    results = stock().main(default_argument_parser().parse_args(words_to_score))
    assert {"AP", "AP50", "AP75"} <= set(results["bbox"])
    without = [word if word != str(model("resnet18")) else str(model("resnet34")) for word in words]
    with pytest.raises(
        ModelError, match="give resnet18 with imagenet stem, the model is a resnet34"
    ):
        stock().main(default_argument_parser().parse_args(without))
