"""Our export in the real detectron2; skipped where it cannot be imported."""

import logging

import pytest
import torch

import zoo

detectron2 = pytest.importorskip(
    "detectron2.modeling", reason="detectron2 is not installed", exc_type=ImportError
)


@torch.no_grad()
@pytest.mark.parametrize(("arch", "depth"), [("resnet18", 18), ("resnet50", 50)])
def test_every_tensor_is_matched_and_the_features_are_ours(tmp_path, caplog, arch, depth):
    from detectron2.checkpoint import DetectionCheckpointer
    from detectron2.config import get_cfg

    model = zoo.create(arch, embed_dim=8).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    zoo.save(model, tmp_path / "m")
    zoo.convert(tmp_path / "m", tmp_path / "m.pkl", format="detectron2")

    cfg = get_cfg()
    cfg.MODEL.BACKBONE.NAME, cfg.MODEL.BACKBONE.FREEZE_AT = "build_resnet_backbone", 0
    cfg.MODEL.RESNETS.DEPTH, cfg.MODEL.RESNETS.NORM, cfg.MODEL.RESNETS.STRIDE_IN_1X1 = (
        depth,
        "BN",
        False,
    )
    cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 64 if depth == 18 else 256
    cfg.MODEL.RESNETS.OUT_FEATURES = ["res2", "res3", "res4", "res5"]
    theirs = detectron2.build_backbone(cfg).eval()
    before = {name: tensor.clone() for name, tensor in theirs.state_dict().items()}
    with caplog.at_level(logging.WARNING):
        DetectionCheckpointer(theirs).load(str(tmp_path / "m.pkl"))
    assert not [
        r for r in caplog.records if "checkpoint" in r.getMessage() and r.levelno >= logging.WARNING
    ]

    after, sent = theirs.state_dict(), zoo.interop.detectron2.detectron2_names(model.state_dict())
    assert {name for name in after if "num_batches" not in name} == set(sent)
    assert all(torch.equal(after[name], sent[name]) for name in sent)
    assert any(not torch.equal(before[name], after[name]) for name in sent)
    x = torch.randn(2, 3, 64, 64)
    ours = model.features(x)
    for name, found in theirs(x).items():
        assert (found - ours[name]).abs().max() <= 1e-5 * ours[name].abs().max()
