from zoo.errors import DataError


def test_a_long_message_is_cut_and_a_short_one_is_not():
    assert str(DataError("a.png: broken")) == "a.png: broken"
    message = "a.png: " + "x" * 10_000_000
    text = str(DataError(message))
    assert text.startswith("a.png: xxx") and len(text) < 100_000
