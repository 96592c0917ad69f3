"""Every shipped config: it builds, trains a step and detects."""

import pytest
import torch

from downstream import detection
from tests.downstream.detection.detectors import REDUCED

pytest.importorskip(
    "detectron2.modeling", reason="detectron2 is not installed", exc_type=ImportError
)


@pytest.mark.slow
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
