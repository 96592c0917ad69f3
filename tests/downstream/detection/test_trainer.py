"""How images are read while a detector trains."""

import numpy as np
import pytest
from PIL import Image

from tests.downstream.detection.detectors import FEW_REGIONS, detect, npid
from zoo.results import read_results

pytestmark = pytest.mark.usefixtures("detectron2")


def test_a_resumed_run_sees_other_images_than_it_began_with(model, voc, tmp_path, monkeypatch):
    from downstream.detection import trainer as trainers

    seen = []
    read = trainers.ImageMapper.__call__

    def note(self, entry):
        seen.append(entry["image_id"])
        return read(self, entry)

    monkeypatch.setattr(trainers.ImageMapper, "__call__", note)
    run = tmp_path / "run"
    detect(model("resnet10"), voc, run, "SOLVER.MAX_ITER", 2, *FEW_REGIONS, pictures=0)
    first = [id for id in seen if id not in {"shape 6", "shape 7", "shape 8"}]
    seen.clear()
    detect(model("resnet10"), voc, run, "SOLVER.MAX_ITER", 4, resume=True, pictures=0)
    assert [id for id in seen if id in set(first)][: len(first)] != first


def test_images_are_read_as_everywhere_and_a_truncated_one_is_named(model, voc, tmp_path):
    from detectron2.config import get_cfg
    from torch._utils import ExceptionWrapper

    from downstream.detection.trainer import ImageMapper, UnreadableImageError

    reader = ImageMapper(get_cfg(), False)
    file = voc / "JPEGImages" / "shape 0.png"
    deep = np.full((48, 64), 40000, np.uint16)
    Image.fromarray(deep).save(file)
    entry = {"file_name": str(file), "image_id": "shape 0", "width": 64, "height": 48}
    grey = round(40000 / 65535 * 255)  # a plain conversion gives 255
    assert (reader(entry)["image"] == grey).all()
    Image.new("RGBA", (64, 48), (255, 0, 0, 0)).save(file)
    assert (reader(entry)["image"] == 255).all()  # the hidden red does not show

    broken = voc / "JPEGImages" / "shape 1.png"
    Image.open(broken).save(broken, format="JPEG")  # whose header can be read without the rest
    broken.write_bytes(broken.read_bytes()[:-300])
    with pytest.raises(UnreadableImageError) as caught:
        reader(entry | {"file_name": str(broken)})
    with pytest.raises(UnreadableImageError) as again:  # as a worker process hands it over
        try:
            raise caught.value
        except UnreadableImageError:
            ExceptionWrapper().reraise()
    assert str(again.value) == str(caught.value) and str(caught.value).startswith(str(broken))
    run = tmp_path / "run"
    done = npid(model("resnet10"), voc, "--out", run, "SOLVER.MAX_ITER", 6, *FEW_REGIONS)
    assert done.exit_code == 1 and "shape 1.png: cannot be decoded" in done.output
    assert "Traceback" not in done.output


def test_images_left_out_are_counted_in_output_and_results(model, voc, tmp_path):
    broken = voc / "JPEGImages" / "shape 7.png"
    broken.write_bytes(broken.read_bytes()[:-40])
    run = tmp_path / "run"
    words = [model("resnet10"), voc, "--out", run, "--pictures", 0]
    options = ["SOLVER.MAX_ITER", 1, *FEW_REGIONS]
    done = npid(*words, "--split", "trainval", "--test-split", "val", *options)
    assert done.exit_code == 1 and "no split 'val'" in done.output
    done = npid(*words, *options)
    assert done.exit_code == 1 and "1 faults" in done.output
    assert "shape 7.png: cannot be decoded" in done.output
    assert not list(run.glob("*.pth"))
    done = npid(*words, "--skip-bad", *options)
    assert done.exit_code == 0, done.output
    assert "note: images left out: 1" in done.output
    results = read_results(run / "metrics.json")[0]
    assert results.split_sizes == {"trainval": 6, "test": 2}
    assert results.details["images left out"] == 1
