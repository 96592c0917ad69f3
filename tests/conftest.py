"""Pictures made on the spot, and the real data where it is at hand."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

# detectron2 is on no package index: it is installed, or lies in a folder of its own
# (.ci/detectron2 fills the second)
for folder in (os.environ.get("NPID_DETECTRON2"), Path(sys.prefix) / "detectron2"):
    if folder and Path(folder).is_dir():
        sys.path.append(str(folder))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Features and data sets are kept in a folder of the test's own."""
    monkeypatch.setenv("NPID_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def picture():
    """Writes a random image file: ``picture(path, side)``."""

    def make(path: Path, side: int = 16, seed: int = 0) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)
        Image.fromarray(pixels).save(path)
        return path

    return make


@pytest.fixture
def image_folder(tmp_path, picture):
    """An ImageFolder: 2 classes, 6 training and 2 test images each."""
    for c, name in enumerate(("cat", "dog")):
        for i in range(6):
            picture(tmp_path / "data" / "train" / name / f"{i}.png", seed=c * 10 + i)
        for i in range(2):
            picture(tmp_path / "data" / "test" / name / f"{i}.png", seed=c * 10 + i + 100)
    return tmp_path / "data"


@pytest.fixture(scope="session")
def real():
    """Path of a real data set by name; skips where it is absent (NPID_TEST_DATA)."""

    def find(name: str) -> str:
        for root in (
            os.environ.get("NPID_TEST_DATA"),
            Path(__file__).parents[2] / "shared" / "data",
        ):
            if root and (Path(root) / name).exists():
                return str(Path(root) / name)
        pytest.skip(
            f"the real data set {name} is not here; set NPID_TEST_DATA to the folder that holds it"
        )

    return find
