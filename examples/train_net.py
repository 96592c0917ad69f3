"""detectron2's training script with the zoo's backbones.

It is detectron2's tools/train_net.py in short, plus two lines of ours::

    DETECTRON2_DATASETS=data python examples/train_net.py --num-gpus 8 \
        --config-file downstream/detection/configs/voc07_c4.yaml MODEL.WEIGHTS models/mine
"""

import os

from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import get_cfg
from detectron2.data import MetadataCatalog
from detectron2.engine import DefaultTrainer, default_argument_parser, default_setup, launch
from detectron2.evaluation import COCOEvaluator, PascalVOCDetectionEvaluator

from downstream.detection import add_npid_config  # ours


class Trainer(DefaultTrainer):
    """detectron2's trainer, which evaluates as the data set asks for."""

    @classmethod
    def build_evaluator(cls, cfg, dataset_name):
        """Build VOC's evaluator or COCO's."""
        if MetadataCatalog.get(dataset_name).evaluator_type == "pascal_voc":
            return PascalVOCDetectionEvaluator(dataset_name)
        return COCOEvaluator(dataset_name, output_dir=os.path.join(cfg.OUTPUT_DIR, "inference"))


def setup(args):
    """Read the config file and the options."""
    cfg = get_cfg()
    add_npid_config(cfg)  # ours
    cfg.merge_from_file(args.config_file)
    cfg.merge_from_list(args.opts)
    cfg.freeze()
    default_setup(cfg, args)
    return cfg


def main(args):
    """Train, or score a checkpoint with ``--eval-only``."""
    cfg = setup(args)
    if args.eval_only:
        model = Trainer.build_model(cfg)
        DetectionCheckpointer(model, save_dir=cfg.OUTPUT_DIR).resume_or_load(
            cfg.MODEL.WEIGHTS, resume=args.resume
        )
        return Trainer.test(cfg, model)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=args.resume)
    return trainer.train()


if __name__ == "__main__":
    args = default_argument_parser().parse_args()
    launch(
        main,
        args.num_gpus,
        num_machines=args.num_machines,
        machine_rank=args.machine_rank,
        dist_url=args.dist_url,
        args=(args,),
    )
