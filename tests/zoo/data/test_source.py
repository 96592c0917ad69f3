"""What all sources have from their base class."""

import numpy as np
import pytest

from zoo import DataError
from zoo.data.sources import open_source


def test_images_of_one_size_come_as_an_array_and_others_do_not(image_folder, picture):
    array = open_source(str(image_folder)).array()
    assert array.shape == (12, 16, 16, 3)
    np.testing.assert_array_equal(array[3], np.asarray(open_source(str(image_folder)).image(3)))
    picture(image_folder / "train" / "dog" / "z.png", side=17)
    assert open_source(str(image_folder)).array() is None


def test_a_bad_image_is_an_error_unless_skipped_and_indices_stay(image_folder):
    (image_folder / "train" / "cat" / "2.png").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"cat.2\.png"):
        open_source(str(image_folder)).array()
    source = open_source(str(image_folder), skip_bad=True)
    assert len(source.array()) == 12 and source.bad == {2}
