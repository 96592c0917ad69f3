import pytest

import zoo
from downstream.knn import Knn, KnnConfig
from downstream.task import TaskInputs
from zoo import DataError, SettingsError
from zoo.results import read_results


def run(model, data, config):
    return Knn().run(TaskInputs(model, data, skip_bad=config.skip_bad), config)


def test_the_task_scores_a_model_and_keeps_its_results(tmp_path):
    model = zoo.create("resnet10", embed_dim=16, input=zoo.InputSpec(size=16, crop_pct=1.0)).eval()
    zoo.save(model, tmp_path / "m")
    results = run(tmp_path / "m", "digits", KnnConfig(k=20))
    assert 0.3 < results.metrics["top1"] <= 1 and results.split_sizes == {
        "train": 1437,
        "test": 360,
    }
    results.append(tmp_path / "m" / "metrics.json")
    results.append(tmp_path / "m" / "metrics.json")
    assert read_results(tmp_path / "m" / "metrics.json") == [results, results]
    with pytest.raises(SettingsError, match="k=2000 is larger than the 1437"):
        run(tmp_path / "m", "digits", KnnConfig(k=2000))
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(DataError, match=r"bad\.json"):
        read_results(tmp_path / "bad.json")


def test_bad_images_are_named_or_left_out_and_unlabelled_data_is_refused(
    tmp_path, image_folder, picture
):
    zoo.save(zoo.create("resnet10", embed_dim=8).eval(), tmp_path / "m")
    (image_folder / "train" / "cat" / "1.png").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"cat.1\.png"):
        run(tmp_path / "m", str(image_folder), KnnConfig(k=3))
    skipping = KnnConfig(k=3, skip_bad=True)
    assert run(tmp_path / "m", str(image_folder), skipping).split_sizes == {
        "train": 11,
        "test": 4,
    }
    picture(
        image_folder / "train" / "cat" / "wide.png", side=40
    )  # no longer of one size: read one by one
    assert run(tmp_path / "m", str(image_folder), skipping).split_sizes == {
        "train": 12,
        "test": 4,
    }
    with pytest.raises(DataError, match=r"cat.1\.png"):
        run(tmp_path / "m", str(image_folder), KnnConfig(k=3))
    with pytest.raises(DataError, match="no test split"):
        run(tmp_path / "m", str(image_folder / "train" / "dog"), skipping)
