"""Faults 10 to 15 for the tasks that learn from labels, as a user meets them."""

import shutil

import pytest
from PIL import Image
from typer.testing import CliRunner

from npid.main import app
from tests.stores import save_small_model

TASKS = {
    "knn": ["--k", "3"],
    "linear": ["--layers", "res5", "--sweep", "0.01"],
    "linear crops": ["--layers", "res5", "--preset", "imagenet", "--epochs", "1"],
    "linear svm": ["--preset", "svm", "--sweep", "1"],
    "finetune": ["--labels", "100%", "--epochs", "1", "--no-scratch"],
}


@pytest.fixture
def model(tmp_path):
    return save_small_model(tmp_path / "m")


@pytest.fixture(params=list(TASKS))
def npid(request, model, image_folder):
    """Runs one task on the image folder."""

    def run(*words):
        name = request.param.split()[0]
        return CliRunner().invoke(
            app, [name, str(model), str(image_folder), *TASKS[request.param], *words]
        )

    return run


def refused(done, *messages):
    assert done.exit_code == 1 and isinstance(done.exception, SystemExit), done.output
    output = done.output.replace("\n", "")
    assert "Traceback" not in output and all(message in output for message in messages), done.output


def test_a_truncated_image_is_named_and_skipped_only_when_asked(npid, image_folder):
    for split, name in (("train", "cat/3.png"), ("test", "dog/1.png")):
        path = (image_folder / split / name).with_suffix(".jpg")
        Image.radial_gradient("L").resize((16, 16)).save(path)
        (image_folder / split / name).unlink()
        path.write_bytes(path.read_bytes()[:-40])  # the header is whole: only decoding fails
        refused(npid(), f"{path.stem}.jpg", "cannot be decoded")
        done = npid("--skip-bad")
        assert done.exit_code == 0, done.output
        path.unlink()


def test_classes_that_are_missing_empty_or_strange(npid, image_folder, picture):
    shutil.rmtree(image_folder / "test" / "cat")
    done = npid()
    assert done.exit_code == 0, done.output
    (image_folder / "train" / "emu").mkdir()
    refused(npid(), "class folders without an image: emu")
    (image_folder / "train" / "emu").rmdir()
    picture(image_folder / "test" / "emu" / "0.png")
    refused(npid(), "classes emu are not among those of")


def test_a_part_below_the_number_of_classes_states_the_least(model, image_folder):
    words = ["finetune", str(model), str(image_folder), "--labels"]
    refused(CliRunner().invoke(app, [*words, "8%"]), "take at least 17%")
    refused(CliRunner().invoke(app, [*words, "7"]), "smallest class", "has 6")
    refused(
        CliRunner().invoke(app, ["knn", str(model), str(image_folder), "--k", "13"]),
        "13 is larger than the 12",
    )
