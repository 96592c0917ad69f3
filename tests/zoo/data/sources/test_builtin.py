"""Data sets that are known by name."""

import os

import numpy as np

from zoo.data.sources import canonical_name, open_source


def test_digits_split_once_and_for_all():
    train, test = open_source("digits"), open_source("digits", "test")
    assert (len(train), len(test)) == (1437, 360) and train.classes == test.classes
    assert np.bincount(test.labels).min() > 20 and train.images.max() == 255


def test_a_name_is_a_name_beside_a_folder_of_that_name(tmp_path, monkeypatch, image_folder):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    assert canonical_name("digits") == "digits" and len(open_source("digits")) == 1437
    assert canonical_name(os.path.relpath(image_folder)) == str(image_folder.resolve())


def test_real_cifar(real):
    test = open_source(real("cifar10"), "test")
    assert (
        len(test) == 10_000
        and len(test.classes) == 10
        and np.bincount(test.labels).tolist() == [1000] * 10
    )
    assert test.image(0).size == (32, 32)
