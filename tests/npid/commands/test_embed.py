from tests.npid.command_line import check_refused, npid


def test_verify_finds_what_was_altered(tmp_path, model, store):
    assert "all as they were written" in npid("embed", "--verify", store).output
    assert npid("embed", model, "digits", "--split", "test", "--out", tmp_path / "s").exit_code == 0
    rows = tmp_path / "s" / "rows.bin"
    rows.write_bytes(rows.read_bytes()[:-4])
    done = npid("embed", "--verify", tmp_path / "s")
    assert done.exit_code == 1 and "rows.bin: truncated" in done.output
    rows.write_bytes(rows.read_bytes() + b"1234")
    done = npid("embed", "--verify", tmp_path / "s")
    assert done.exit_code == 1 and "rows.bin: altered within rows 0–359" in done.output


def test_bad_input_gets_one_message_and_leaves_nothing(tmp_path, model):
    (tmp_path / "empty").mkdir()
    done = npid("embed", model, tmp_path / "empty", "--out", tmp_path / "s")
    check_refused(done, "empty: no images in it")
    check_refused(npid("embed", model, "digits"), "npid embed takes MODEL DATA --out DIR")
    assert not (tmp_path / "s").exists()


def test_a_second_run_finds_nothing_left_to_embed(tmp_path, model, image_folder, picture):
    words = ["embed", model, image_folder, "--out", tmp_path / "s", "--dtype", "bfloat16"]
    assert "12 rows of 16 bfloat16" in npid(*words).output
    before = (tmp_path / "s" / "rows.bin").read_bytes()
    assert "12 rows of 16 bfloat16" in npid(*words).output
    assert (tmp_path / "s" / "rows.bin").read_bytes() == before
    picture(image_folder / "train" / "dog" / "new.png")
    assert "13 rows" in npid(*words).output
