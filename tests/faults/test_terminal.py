"""What files and servers say is shown on the terminal, and never obeyed; faults are one message."""

import errno
import json
import os
import re

import pytest
from typer.testing import CliRunner

import zoo
from npid.console import table
from npid.main import app
from npid.printing import echo
from pretrain.run_folder import MetricsLog
from zoo.errors import ModelError, printable
from zoo.utils.files import WriteError, write_text

HOSTILE = [
    "[/x]",
    "[bold]x",
    "[link=file:///etc]",
    "\x1b[2J\x1b]0;t\x07",
    "\x9b31m",
    "\u202egnp",
    "\udcff",
]
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]")


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_printed_letter_by_letter(capsys, name):
    table(name, (name, name), [(name, 1.0), (name, name)])
    echo(name)
    shown = capsys.readouterr().out
    assert not CONTROL.search(shown.replace("\n", ""))
    assert shown.count(printable(name)) >= 3


@pytest.mark.parametrize("name", HOSTILE[:-1])
def test_an_error_about_a_hostile_name_is_one_message(name):
    done = CliRunner().invoke(app, ["info", f"nowhere/a/{name}"])
    assert done.exit_code == 1 and "npid: " in done.output and "Traceback" not in done.output
    assert not CONTROL.search(done.output.replace("\n", ""))


@pytest.mark.parametrize("name", HOSTILE[:-1])
def test_a_hostile_config_is_shown_and_not_obeyed(tmp_path, name):
    directory = zoo.save(zoo.create("resnet10", embed_dim=2), tmp_path / "m")
    config = json.loads((directory / "config.json").read_text())
    config["npid"] |= {"data": {"name": name, "count": name, "digest": name}, name: name}
    config["npid"]["settings"] = {name: [name]}
    (directory / "config.json").write_text(json.dumps(config))
    done = CliRunner().invoke(app, ["info", str(directory)])
    assert done.exit_code == 0, done.output
    assert not CONTROL.search(done.output.replace("\n", ""))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.ENAMETOOLONG, errno.EACCES])
def test_a_fault_of_the_disk_is_one_message(monkeypatch, tmp_path, number):
    def fail(*_):
        raise OSError(number, os.strerror(number), str(tmp_path / "[/x]"))

    monkeypatch.setattr("zoo.models.find.locate", fail)
    monkeypatch.setattr("zoo.locate", fail)
    done = CliRunner().invoke(app, ["info", "anything"])
    assert done.exit_code == 1 and "Traceback" not in done.output
    assert os.strerror(number) in done.output and "[/x]" in done.output


def test_a_message_has_an_end():
    assert len(str(ModelError("x" * 10**7))) < 30_000


def test_no_home_folder_is_one_message(monkeypatch):
    def none(*_):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr("pathlib.Path.expanduser", none)
    monkeypatch.setattr("pathlib.Path.home", none)
    for name in ("NPID_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    from zoo.data.sources.builtin import cache_folder
    from zoo.hub import pull

    with pytest.raises(zoo.DataError, match="NPID_CACHE"):
        cache_folder()
    with pytest.raises(zoo.HubError, match="HF_HOME"):
        pull("lab/model")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder().name == "npid"


def test_a_damaged_log_of_metrics_is_cut_to_its_whole_lines(tmp_path):
    path = tmp_path / "metrics.jsonl"
    good = '{"step": 1}\n'
    bad = [
        b"\xff\xfe}\n",
        b"[1]\n",
        b'{"step": "x"}\n',
        b"{}\n",
        b'{"step": 1\n',
        b"{" * 9999 + b"}\n",
    ]
    path.write_bytes(good.encode() + b"".join(bad))
    log = MetricsLog(path, 5, False)
    assert path.read_text() == good
    path.unlink()
    path.mkdir()
    with pytest.raises(WriteError, match=r"metrics\.jsonl.*checkpoint"):
        log.write(step=2)


def test_a_name_that_is_no_utf_8_is_written_and_read_back(tmp_path):
    write_text(tmp_path / "x.json", json.dumps(["\udcff"], ensure_ascii=False))
    assert json.loads((tmp_path / "x.json").read_text()) == ["\udcff"]


def test_plots_are_written_whole_or_not_at_all(tmp_path):
    pytest.importorskip("matplotlib")
    from downstream.figures import new_canvas, save_canvas

    canvas = new_canvas("--plot", figsize=(1, 1))
    with pytest.raises(zoo.SettingsError, match="no format of plots"):
        save_canvas(canvas, tmp_path / "x.xyz", "--plot", dpi=50)
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match="cannot write"):
        save_canvas(canvas, tmp_path / "file" / "x.png", "--plot", dpi=50)
    save_canvas(canvas, tmp_path / "x.png", "--plot", dpi=50)
    assert sorted(os.listdir(tmp_path)) == ["file", "x.png"]
