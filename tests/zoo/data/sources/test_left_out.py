from zoo.data.sources import _left_out as left_out


def test_all_files_are_found_and_a_link_that_leads_back_is_not_followed(tmp_path):
    for name in ("a.png", "sub/b.png", "sub/.hidden/c.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "sub" / "up").symlink_to(tmp_path)
    assert sorted(left_out.walk(tmp_path)) == ["a.png", "sub/.hidden/c.png", "sub/b.png"]


def test_images_are_told_by_their_names():
    assert left_out.is_image("a/B.JPG") and not left_out.is_image("a/b.txt")
    assert not left_out.is_image(".a/b.png") and not left_out.is_image("a/.b.png")


def test_each_reason_is_a_line_with_a_count(tmp_path):
    (tmp_path / "photo").write_bytes(b"\x89PNG\r\n\x1a\n rest")
    (tmp_path / "README").write_bytes(b"text")
    others = [".a.png", "sub/.b.png", "x.psd", "photo", "README", "notes.txt"]
    hidden, unread, nameless = left_out.notes_on(tmp_path, others)
    assert hidden.startswith("2 images (.a.png, sub/.b.png) are left out")
    assert unread.startswith("1 .psd image is left out")
    assert nameless.startswith("1 image (photo) is left out: give the name an ending")


def test_folders_are_listed_by_how_many_they_hold():
    images = ["a/1.png", "a/2.png", "3.png", *(f"{folder}/x.png" for folder in "bcde")]
    line = left_out.note_on_folders(images, "no split")
    assert line.startswith("7 images are left out (2 in a/, 1 in beside them, ")
    assert line.endswith("others in 2 more folders): no split")


def test_bytes_that_are_no_text_are_written_out():
    assert left_out.printable("caf\udce9.png") == r"caf\xe9.png"
