"""What detectron2 learns from us: keys, backbones, heads, and weights of zoo models."""

from typing import Any

from downstream.detection.detectron2_config import require_detectron2


def add_npid_config(cfg: Any) -> None:
    """Make the zoo known to detectron2, and add our keys to a fresh config of it.

    Our backbones and heads go into its registries, and its checkpointer can read zoo models from
    then on. No existing default changes, so configs of others mean what they meant. Calling it
    again is fine.

    The keys, under ``MODEL.NPID``:

    * ``ARCH``: a registered backbone of the zoo; ``STEM``: its stem, the family's own if empty.
    * ``EXTRA_NORM``: a norm layer after res5 in the RoI head (MoCo's recipe for backbones trained
      with live norms).

    Args:
        cfg: as ``get_cfg()`` gives it, before any merge.

    Raises:
        SettingsError: if detectron2 cannot be imported.
    """
    require_detectron2()
    from detectron2.config import CfgNode

    from downstream.detection import checkpoint, network  # noqa: F401  registers on import

    cfg.MODEL.NPID = CfgNode({"ARCH": "resnet50", "STEM": "", "EXTRA_NORM": False})
    checkpoint.install()
