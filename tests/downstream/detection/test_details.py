from dataclasses import replace

from downstream.detection.data import read_splits
from downstream.detection.details import data_details, data_notes


def test_what_was_left_out_of_all_splits_is_counted_and_worded(voc):
    train, test = read_splits(voc)
    clean = data_details(train, test)
    assert set(clean.values()) == {0} and data_notes(clean) == []
    lines = [f"{number}.png: broken" for number in range(150)]
    train = replace(train, left_out=lines, notes=["a note"])
    test = replace(test, left_out=["last.png: broken"])
    details = data_details(train, test)
    assert details["images left out"] == 151
    assert details["why images were left out"] == lines[:100]
    notes = data_notes(details)
    assert notes[0] == "images left out: 151" and notes[-1] == "a note"
    assert notes[1:-1] == [f"left out: {line}" for line in lines[:5]]
