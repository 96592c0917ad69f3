"""VOC folders: what is read, and every fault in them, each with its file. No detectron2 needed."""

import pytest

from downstream.detection import voc as voc_format
from downstream.detection.annotations import Faults
from downstream.detection.data import read_splits
from tests.downstream.detection.boxes import BOX, SIZE, thing
from zoo import DataError

BOMB = (
    '<!DOCTYPE a [<!ENTITY x0 "ha">'
    + "".join(f'<!ENTITY x{i} "{f"&x{i - 1};" * 50}">' for i in range(1, 12))
    + "]>"
    f"<annotation>{SIZE}<object><name>&x11;</name>{BOX}</object></annotation>"
)


def test_difficult_is_optional_and_boxes_over_the_border_are_clipped_and_counted(voc):
    folder = voc / "Annotations"
    (folder / "shape 0.xml").write_text(thing(-5, 3, 80, 90, more="<difficult>1</difficult>"))
    train, _ = read_splits(voc)
    box = train.images[0].boxes[0]
    assert box.difficult and (box.x1, box.y1, box.x2, box.y2) == (0, 2, 64, 48)
    assert train.clipped == 1 and not train.images[1].boxes[0].difficult


def test_a_voc_folder_gives_its_classes_and_boxes_in_continuous_corners(voc):
    train, test = read_splits(voc)
    assert train.classes == test.classes == ["blue", "red"]
    assert (train.name, len(train.images), test.name, len(test.images)) == (
        "trainval",
        6,
        "test",
        3,
    )
    first = voc / "Annotations" / "shape 0.xml"
    first.write_text(thing(1, 1, 64, 48))
    record = read_splits(voc)[0].images[0]
    assert (record.id, record.path.name, record.width, record.height) == (
        "shape 0",
        "shape 0.png",
        64,
        48,
    )
    box = record.boxes[0]
    assert (box.x1, box.y1, box.x2, box.y2, box.category, box.difficult) == (0, 0, 64, 48, 1, False)


BROKEN = {
    "no-size": ("<annotation/>", "<annotation> lacks <size>"),
    "no-width": (
        "<annotation><size><height>48</height></size></annotation>",
        "<size> lacks <width>",
    ),
    "no-name": (f"<annotation>{SIZE}<object>{BOX}</object></annotation>", "<object> lacks <name>"),
    "no-box": (
        f"<annotation>{SIZE}<object><name>red</name></object></annotation>",
        "'red' lacks <bndbox>",
    ),
    "no-corner": (thing().replace("<ymax>20</ymax>", ""), "<bndbox> lacks <ymax>"),
    "not-a-number": (thing(x1="left"), "<xmin> is 'left', expected a number"),
    "nan": (thing(x1="nan"), "no number"),
    "inverted": (thing(20, 3, 3, 20), "inverted or empty"),
    "outside": (thing(70, 3, 90, 20), "outside of the image of 64×48"),
    "wrong-size": (thing().replace("64", "640"), "is 640×48, but shape 0.png has 64×48"),
    "torn": (thing()[:60], "not well-formed XML"),
    "bomb": (BOMB, "declares the entity 'x0'"),
    "no-xml": (None, "no such file"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_annotation_is_named_with_what_is_wrong(voc, fault):
    content, said = BROKEN[fault]
    path = voc / "Annotations" / "shape 0.xml"
    path.write_text(content) if content is not None else path.unlink()
    with pytest.raises(DataError) as caught:
        read_splits(voc)
    assert (
        str(path) in str(caught.value)
        and said in str(caught.value)
        and "1 faults" in str(caught.value)
    )


def test_all_faults_of_a_data_set_come_in_one_message(voc):
    files = [voc / "Annotations" / f"shape {i}.xml" for i in range(5)]
    for file, fault in zip(
        files, ("no-size", "no-name", "inverted", "outside", "bomb"), strict=True
    ):
        file.write_text(BROKEN[fault][0])
    (voc / "Annotations" / "shape 7.xml").write_text(thing(name="green"))  # in the test split
    (voc / "JPEGImages" / "shape 8.png").write_bytes(b"no image")
    with pytest.raises(DataError) as caught:
        read_splits(voc)
    message = str(caught.value)
    assert all(str(file) in message for file in files) and "7 faults" in message
    assert "shape 7.xml: unknown class 'green'; the classes are blue, red" in message
    assert "shape 8.png: cannot be read as an image" in message


@pytest.mark.parametrize(
    ("lists", "said"),
    [
        ({}, r"expected trainval\.txt and test\.txt .* found nothing"),
        ({"trainval": "", "test": "shape 7"}, r"trainval\.txt: lists no images"),
        (
            {"trainval": "shape 0\nshape 0", "test": "shape 7"},
            r"trainval\.txt: lists shape 0 twice",
        ),
    ],
)
def test_faulty_lists_of_images(voc, lists, said):
    for path in (voc / "ImageSets" / "Main").iterdir():
        path.unlink()
    for name, content in lists.items():
        (voc / "ImageSets" / "Main" / f"{name}.txt").write_text(content)
    with pytest.raises(DataError, match=said):
        read_splits(voc)


def test_bccd_is_read_whole(bccd):
    faults = Faults()
    split = voc_format.read(bccd, "test", faults)
    assert (
        not faults.lines
        and split.classes == ["Platelets", "RBC", "WBC"]
        and len(split.images) == 12
    )


@pytest.mark.parametrize(
    ("said", "difficult"),
    [("Unspecified", False), ("false", False), ("", False), ("1", True), ("true", True)],
)
def test_difficult_is_what_says_so(voc, said, difficult):
    more = f"<difficult>{said}</difficult>"
    (voc / "Annotations" / "shape 0.xml").write_text(thing(more=more))
    assert read_splits(voc)[0].images[0].boxes[0].difficult is difficult


def test_a_difficult_that_says_neither_is_an_error(voc):
    (voc / "Annotations" / "shape 0.xml").write_text(thing(more="<difficult>7</difficult>"))
    with pytest.raises(DataError, match="<difficult> is '7', expected 0 or 1"):
        read_splits(voc)


def test_a_box_without_area_is_left_out_and_counted(voc):
    (voc / "Annotations" / "shape 0.xml").write_text(thing(20, 3, 19, 20))
    train, _ = read_splits(voc)
    assert train.empty_boxes == 1 and not train.images[0].boxes
