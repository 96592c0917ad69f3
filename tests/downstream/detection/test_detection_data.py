"""VOC folders and COCO JSON: what is read, and every fault in them, each with its file. No detectron2 needed."""

import dataclasses
import json
import time

import numpy as np
import pytest
from PIL import Image

from downstream.detection import data
from downstream.detection import voc as voc_format
from downstream.detection.pictures import draw
from downstream.detection.records import Box
from downstream.detection.scores import Detections
from zoo import DataError

BOX = "<bndbox><xmin>3</xmin><ymin>3</ymin><xmax>20</xmax><ymax>20</ymax></bndbox>"
SIZE = "<size><width>64</width><height>48</height></size>"
BOMB = (
    '<!DOCTYPE a [<!ENTITY x0 "ha">'
    + "".join(f'<!ENTITY x{i} "{f"&x{i - 1};" * 50}">' for i in range(1, 12))
    + "]>"
    f"<annotation>{SIZE}<object><name>&x11;</name>{BOX}</object></annotation>"
)


def thing(x1=3, y1=3, x2=20, y2=20, name="red", more=""):
    corners = f"<xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>"
    return f"<annotation>{SIZE}<object><name>{name}</name>{more}<bndbox>{corners}</bndbox></object></annotation>"


def test_a_voc_folder_gives_its_classes_and_boxes_in_continuous_corners(voc):
    train, test = data.read(voc)
    assert train.classes == test.classes == ["blue", "red"]
    assert (train.name, len(train.records), test.name, len(test.records)) == (
        "trainval",
        6,
        "test",
        3,
    )
    first = voc / "Annotations" / "shape 0.xml"
    first.write_text(thing(1, 1, 64, 48))
    record = data.read(voc)[0].records[0]
    assert (record.id, record.file.name, record.width, record.height) == (
        "shape 0",
        "shape 0.png",
        64,
        48,
    )
    box = record.boxes[0]
    assert (box.x1, box.y1, box.x2, box.y2, box.category, box.difficult) == (0, 0, 64, 48, 1, False)


def test_difficult_is_optional_and_boxes_over_the_border_are_clipped_and_counted(voc):
    folder = voc / "Annotations"
    (folder / "shape 0.xml").write_text(thing(-5, 3, 80, 90, more="<difficult>1</difficult>"))
    train, _ = data.read(voc)
    box = train.records[0].boxes[0]
    assert box.difficult and (box.x1, box.y1, box.x2, box.y2) == (0, 2, 64, 48)
    assert train.clipped == 1 and not train.records[1].boxes[0].difficult


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
    began = time.monotonic()
    with pytest.raises(DataError) as caught:
        data.read(voc)
    assert (
        str(path) in str(caught.value)
        and said in str(caught.value)
        and "1 faults" in str(caught.value)
    )
    assert time.monotonic() - began < 5


def test_all_faults_of_a_data_set_come_in_one_message(voc):
    files = [voc / "Annotations" / f"shape {i}.xml" for i in range(5)]
    for file, fault in zip(
        files, ("no-size", "no-name", "inverted", "outside", "bomb"), strict=True
    ):
        file.write_text(BROKEN[fault][0])
    (voc / "Annotations" / "shape 7.xml").write_text(thing(name="green"))  # in the test split
    (voc / "JPEGImages" / "shape 8.png").write_bytes(b"no image")
    with pytest.raises(DataError) as caught:
        data.read(voc)
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
        data.read(voc)


def test_a_split_without_boxes_that_count_and_a_folder_of_another_kind_are_refused(voc, tmp_path):
    for i in (6, 7, 8):
        (voc / "Annotations" / f"shape {i}.xml").write_text(thing(more="<difficult>1</difficult>"))
    with pytest.raises(DataError, match="the split test has no boxes that count"):
        data.read(voc)
    with pytest.raises(DataError, match="neither a VOC folder"):
        data.read(tmp_path)


def test_a_devkit_of_two_years_is_joined_and_scored_by_the_year_of_its_test_split(voc, tmp_path):
    kit = tmp_path / "VOCdevkit"
    kit.mkdir()
    voc.rename(kit / "VOC2007")
    (kit / "VOC2012").symlink_to(kit / "VOC2007")
    train, test = data.read(kit, ("voc_2007_trainval", "voc_2012_trainval"), ("voc_2007_test",))
    assert len(train.records) == 12 and train.name == "2007 trainval+2012 trainval" and test.eleven
    with pytest.raises(
        DataError, match="the config must name them as voc_2007_test, found coco_2017_train"
    ):
        data.read(kit, ("coco_2017_train",), ("coco_2017_val",))


def test_voc_and_coco_of_the_same_scenes_agree(voc, coco):
    for ours, theirs in zip(data.read(voc), data.read(coco), strict=True):
        named = [
            {(b.x1, b.y1, b.x2, b.y2, ours.classes[b.category]) for b in r.boxes}
            for r in ours.records
        ]
        assert named == [
            {(b.x1, b.y1, b.x2, b.y2, theirs.classes[b.category]) for b in r.boxes}
            for r in theirs.records
        ]
        assert theirs.classes == ["red", "blue"]  # by id, the unused one left out


def test_faults_in_coco_json_are_collected_with_their_annotation(coco):
    path = coco / "annotations" / "instances_train2017.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["bbox"] = [5, 5, -3, 4]
    content["annotations"][1]["image_id"] = 9999
    content["annotations"][2]["category_id"] = 55
    content["annotations"][3]["bbox"] = ["a", 1, 2, 3]
    path.write_text(json.dumps(content))
    (coco / "train2017" / "5.png").unlink()
    with pytest.raises(DataError) as caught:
        data.read(coco)
    message = str(caught.value)
    assert "5 faults" in message and all(f"{path}: annotation {i}" in message for i in (1, 2, 3, 4))
    assert f"{coco / 'train2017' / '5.png'}: no such image" in message
    path.write_text("{")
    with pytest.raises(DataError, match="instances_train2017.json: not COCO JSON"):
        data.read(coco)


def test_the_digest_tells_another_box_and_nothing_else(voc):
    before = data.digest(*data.read(voc))
    assert data.digest(*data.read(voc)) == before
    (voc / "Annotations" / "shape 0.xml").write_text(thing())
    assert data.digest(*data.read(voc)) != before


def test_a_picture_has_the_truth_on_the_left_and_confident_detections_on_the_right(voc, tmp_path):
    train, _ = data.read(voc)
    record = dataclasses.replace(train.records[0], boxes=[Box(4, 4, 20, 20, 0)])
    found = Detections(
        np.array([[30, 30, 50, 40], [2, 2, 9, 9]]), np.array([0.9, 0.4]), np.array([1, 1])
    )
    draw(record, found, ["a", "b"], tmp_path / "p" / "x.png")
    plain = np.asarray(Image.open(record.file)).astype(int)
    drawn = np.asarray(Image.open(tmp_path / "p" / "x.png")).astype(int)
    left, right = drawn[:, :64] != plain, drawn[:, 72:] != plain
    assert left[4, 4:20].any(1).all() and not left[21:].any() and not left[:, 40:].any()
    assert right[30, 30:50].any(1).all() and not right[:20].any()  # below 0.5 nothing is drawn


def test_bccd_is_read_whole(bccd):
    faults = data.Faults()
    split = voc_format.read(bccd, "test", faults)
    assert (
        not faults.lines
        and split.classes == ["Platelets", "RBC", "WBC"]
        and len(split.records) == 12
    )
