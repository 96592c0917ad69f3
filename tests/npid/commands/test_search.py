import json

import numpy as np
from PIL import Image

import zoo
from tests.npid.command_line import check_refused, npid


def test_an_image_a_folder_and_a_key_find_their_neighbours(tmp_path, store, digit):
    def found(query, *more):
        done = npid("search", store, query, "--json", tmp_path / "f.json", *more)
        assert done.exit_code == 0, done.output
        return json.loads((tmp_path / "f.json").read_text())["found"], done.output

    [alone], output = found(digit, "--top", 3)
    assert [i["key"] for i in alone["images"]][0] == "train/000017" and alone["images"][0][
        "score"
    ] > 0.999
    assert len(alone["images"]) == 3 and "train/000017" in output
    [same], _ = found(tmp_path)
    assert (
        same["query"] == "digit.png"
        and len(same["images"]) == 10
        and same["images"][:3] == alone["images"]
    )
    [others], _ = found("train/000017", "--top", 2)
    assert [i["row"] for i in others["images"]] == [i["row"] for i in alone["images"][1:]]
    [every], _ = found("train/000017", "--top", 1436)
    assert len({i["row"] for i in every["images"]} - {17}) == 1436


def test_model_and_data_in_place_of_a_store(tmp_path, monkeypatch, model, store, digit):
    monkeypatch.setenv("NPID_CACHE", str(tmp_path / "cache"))
    for _ in range(2):
        done = npid("search", model, "digits", digit)
        assert (
            done.exit_code == 0
            and done.output.split("\n")[1:] == npid("search", store, digit).output.split("\n")[1:]
        )
    [cached] = (tmp_path / "cache" / "stores").iterdir()
    assert len(json.loads((cached / "manifest.json").read_text())["blocks"]) == 1


def test_duplicates_are_listed_and_drawn(tmp_path, model, image_folder):
    twin = image_folder / "train" / "dog" / "twin.png"
    twin.write_bytes((image_folder / "train" / "cat" / "2.png").read_bytes())
    assert npid("embed", model, image_folder, "--out", tmp_path / "s").exit_code == 0
    words = [
        "--duplicates",
        "--threshold",
        0.99999,
        "--sheet",
        tmp_path / "d.png",
        "--json",
        tmp_path / "d.json",
    ]
    done = npid("search", tmp_path / "s", *words)
    assert done.exit_code == 0, done.output
    [group] = json.loads((tmp_path / "d.json").read_text())["found"]
    assert [i["key"] for i in group["images"]] == ["cat/2.png", "dog/twin.png"]
    assert [i["label"] for i in group["images"]] == ["cat", "dog"]


def test_the_sheet_shows_the_query_and_its_neighbours(tmp_path, model, image_folder):
    """Each tile of the sheet is compared with the image that it should show."""
    from downstream.retrieval.contact_sheet import _CAPTION, _GAP, TILE

    assert npid("embed", model, image_folder, "--out", tmp_path / "s").exit_code == 0
    query = image_folder / "test" / "cat" / "0.png"
    words = ["--top", 4, "--sheet", tmp_path / "n.png", "--json", tmp_path / "n.json"]
    assert npid("search", tmp_path / "s", query, *words).exit_code == 0
    [found] = json.loads((tmp_path / "n.json").read_text())["found"]
    with Image.open(tmp_path / "n.png") as page:
        pixels = np.asarray(page.convert("RGB"))
    assert pixels.shape == (TILE + _CAPTION + 2 * _GAP, 5 * (TILE + _GAP) + _GAP, 3)
    wanted = [query, *(image_folder / "train" / i["key"] for i in found["images"])]
    for j, path in enumerate(wanted):
        left = _GAP + j * (TILE + _GAP)
        tile = pixels[_GAP : _GAP + TILE, left : left + TILE]
        assert np.array_equal(tile[3::7, 3::7], np.asarray(Image.open(path))), (
            path
        )  # 16 pixels as 7×7 each
        assert (pixels[_GAP + TILE :, left : left + TILE] < 128).any()  # the caption


def test_bad_input_gets_one_message(tmp_path, model, store):
    text = tmp_path / "text.png"
    text.write_text("no image")
    empty = tmp_path / "empty"
    empty.mkdir()
    spec = zoo.load(model).input
    other = zoo.create("resnet10", embed_dim=16, input=spec).eval()
    zoo.save(other, tmp_path / "other")
    for words, message in [
        ([store, text], "text.png: not an image file"),
        ([store, empty], "empty: no images in it"),
        ([store, "train/00001"], "no image file, no folder and no key of"),
        ([store, "train/000017", "--top", 1437], "between 1 and the"),
        ([store, "train/000017", "--index", "hnsw"], "no such index"),
        ([store, text, "--model", tmp_path / "other"], "another model than that of"),
        ([store, "a", "b", "c"], "npid search takes STORE QUERY"),
        ([empty, "x"], "manifest.json: not found; a store is what"),
        ([store, "--duplicates", "--threshold", 2], "above 0 and at most 1"),
    ]:
        check_refused(npid("search", *words), message)
