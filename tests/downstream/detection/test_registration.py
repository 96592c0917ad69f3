"""Our backbones in detectron2's own training script."""

import importlib.util
from pathlib import Path

import pytest

from downstream import detection
from tests.downstream.detection.detectors import REDUCED
from zoo import ModelError

pytest.importorskip(
    "detectron2.modeling", reason="detectron2 is not installed", exc_type=ImportError
)


EXAMPLE = Path(__file__).parents[3] / "examples" / "train_net.py"


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


@pytest.mark.slow
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
