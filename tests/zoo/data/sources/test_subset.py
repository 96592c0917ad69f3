import numpy as np
import pytest

from zoo import SettingsError
from zoo.data.sources import Subset, open_source


def test_a_subset_has_the_images_labels_and_keys_of_the_whole():
    whole = open_source("digits")
    part = Subset(whole, np.array([7, 3, 100]))
    assert len(part) == 3 and part.classes == whole.classes
    assert part.labels.tolist() == whole.labels[[7, 3, 100]].tolist()
    assert [part.key(i) for i in range(3)] == [whole.key(i) for i in (7, 3, 100)]
    assert np.array_equal(part.array(), whole.array()[[7, 3, 100]])
    assert np.array_equal(np.asarray(part.image(1)), whole.array()[3])
    assert part.open(2).size == (8, 8) and part.fingerprint(2) == whole.fingerprint(100)
    assert part.find(whole.key(3)) == 1 and part.find(whole.key(4)) is None
    assert not Subset.accepts("digits")


def test_the_digest_tells_subsets_apart():
    whole = open_source("digits")
    digests = {Subset(whole, np.array(index)).digest for index in ([1, 2], [2, 1], [1, 3])}
    assert len(digests) == 3 and whole.digest not in digests


def test_unreadable_images_keep_their_place(image_folder):
    (image_folder / "train" / "cat" / "2.png").write_bytes(b"no image")
    whole = open_source(str(image_folder), skip_bad=True)
    part = Subset(whole, np.array([4, 2]))
    assert part.array() is not None and part.bad == {1}


@pytest.mark.parametrize("index", [[], [1, 1], [-1], [1437]])
def test_an_index_that_is_none_is_refused(index):
    with pytest.raises(SettingsError, match="distinct indices below 1437"):
        Subset(open_source("digits"), np.array(index))
