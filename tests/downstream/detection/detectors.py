"""Small detectors, and what is compared of them."""

import torch
from typer.testing import CliRunner

from downstream import detection
from downstream.detection.config import DetectConfig
from downstream.detection.task import Detect
from downstream.task import TaskInputs
from npid.main import app

DEPTHS = [
    "resnet10",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "vgg16",
    "alexnet",
]


POOLED = {"alexnet": 6, "vgg16": 7}


def config(path, name="base_c4", **options):
    """A config for the model in a folder, with few regions."""
    from detectron2.config import get_cfg

    cfg = get_cfg()
    detection.add_npid_config(cfg)
    cfg.merge_from_file(
        str(
            detection.config_file(name)
            if "base" not in name
            else detection.CONFIGS / f"{name}.yaml"
        )
    )
    detection.adopt(cfg, path)
    cfg.MODEL.DEVICE, cfg.MODEL.RESNETS.NORM, cfg.MODEL.ROI_HEADS.NUM_CLASSES = "cpu", "FrozenBN", 2
    for key, value in options.items():
        cfg.merge_from_list([key.replace("__", "."), value])
    return cfg


def detector(cfg, load=True):
    from detectron2.checkpoint import DetectionCheckpointer
    from detectron2.modeling import build_model

    torch.manual_seed(1)
    built = build_model(cfg)
    if load:
        DetectionCheckpointer(built).load(cfg.MODEL.WEIGHTS)
    return built.eval()


def ours(net, photo):
    """Every layer's features of an image as the zoo computes them."""
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (net.input.mean, net.input.std))
    return net.features(((photo / 255 - mean) / std)[None])


def theirs(built, photo):
    """The same inside detectron2: its normalisation, the backbone, and res5 in the RoI head."""
    images = built.preprocess_image([{"image": photo}])
    found = built.backbone(images.tensor)
    head = built.roi_heads.box_head
    return found | ({"res5": head.net(found["res4"])} if "res4" in found else {})


def error(built, net, photo):
    """The largest difference of any layer, relative to the layer's largest value."""
    found, expected = theirs(built, photo), ours(net, photo)
    assert set(found) == set(expected)
    return max(
        float((found[k] - expected[k]).abs().max() / expected[k].abs().max()) for k in expected
    )


_FEW_PROPOSALS = {
    "MODEL.RPN.PRE_NMS_TOPK_TRAIN": 50,
    "MODEL.RPN.POST_NMS_TOPK_TRAIN": 10,
    "MODEL.RPN.PRE_NMS_TOPK_TEST": 50,
    "MODEL.RPN.POST_NMS_TOPK_TEST": 5,
    "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": 8,
    "INPUT.MIN_SIZE_TEST": 48,
}


def options(settings):
    """detectron2's KEY VALUE pairs, one after the other."""
    words = []
    for key, value in settings.items():
        words += [key, value]
    return words


REDUCED = options(
    {
        **_FEW_PROPOSALS,
        "MODEL.DEVICE": "cpu",
        "INPUT.MIN_SIZE_TRAIN": (48,),
        "SOLVER.IMS_PER_BATCH": 1,
        "DATALOADER.NUM_WORKERS": 0,
    }
)
FEW_REGIONS = options(
    {
        **_FEW_PROPOSALS,
        "INPUT.MIN_SIZE_TRAIN": "(48,)",
        "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": 4,
        "SOLVER.IMS_PER_BATCH": 2,
        "SOLVER.CHECKPOINT_PERIOD": 2,
        "SOLVER.STEPS": "()",
    }
)


def detect(model, data, out, *options, on_progress=None, **settings):
    """Run the task as Python users do."""
    words = tuple(str(option) for option in options)
    config = DetectConfig(out=out, options=words, **settings)
    return Detect().run(TaskInputs(model, str(data)), config, on_progress)


def npid(*words):
    """Run the command as a user types it."""
    return CliRunner().invoke(app, ["detect", *(str(word) for word in words)])
