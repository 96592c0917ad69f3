"""Progress and tables, with a clock of the test's own."""

import io

import pytest
from rich.console import Console

from npid import console


@pytest.fixture
def clock(monkeypatch):
    """Seconds, to be moved by hand."""
    now = [100.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def lines(monkeypatch):
    """What a log that is no terminal gets."""
    buffer = io.StringIO()
    monkeypatch.setattr(console, "log", Console(file=buffer, width=200, highlight=False))
    return buffer


def test_the_rate_counts_from_the_first_images(clock, lines):
    with console.progress_bar("train", 1000, done=200) as bar:
        clock[0] += 60  # loading, compiling
        bar.add(100)
        assert bar.done == 300
        clock[0] += 2
        bar.add(50)
        assert bar.rate() == 25 and bar.rate_text() == "25 images/s"


def test_a_slow_rate_has_a_digit_after_the_point(clock, lines):
    bar = console.ProgressBar("detect", 10)
    bar.add(1)
    clock[0] += 4
    bar.add(2)
    assert bar.rate_text() == "0.5 images/s"


def test_a_line_comes_every_ten_seconds_with_the_time_left(clock, lines):
    bar = console.ProgressBar("train", 1000)
    bar.add(100)
    for _ in range(5):
        clock[0] += 4
        bar.add(20, "loss 3.5")
    printed = lines.getvalue().splitlines()
    assert len(printed) == 1  # after 12 seconds, and not yet again after 20
    assert printed[0].split() == "train 16% 5.0 images/s 2:48 left loss 3.5".split()


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (3599, "59:59"), (3661, "1:01:01")]
)
def test_durations(seconds, text):
    assert console._duration(seconds) == text


def test_a_table_folds_what_is_wide_and_aligns_numbers(monkeypatch):
    buffer = io.StringIO()
    monkeypatch.setattr(console, "out", Console(file=buffer, width=40))
    console.table("Scores", ("name", "top1"), [("x" * 60, 7.0), ("y", 12.346)])
    text = buffer.getvalue()
    assert text.startswith("Scores\n") and text.count("x") == 60
    assert "  7.00 " in text and " 12.35 " in text


def test_files_are_listed_with_their_sizes(tmp_path, capsys):
    (tmp_path / "b.bin").write_bytes(b"x" * 2500)
    (tmp_path / "a.txt").write_text("1")
    (tmp_path / "folder").mkdir()
    console.print_files(tmp_path)
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(str(tmp_path / "a.txt"))
    assert second.startswith(str(tmp_path / "b.bin")) and "2.5 kB" in second
