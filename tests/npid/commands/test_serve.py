"""What the command does around the app; the app has its own tests, and a browser's."""

import socket
import sys

import pytest

from npid.commands.serve import _listen
from tests.npid.command_line import check_refused, npid
from zoo import SettingsError


def test_the_address_is_shown_and_the_app_listens_there(monkeypatch, store):
    uvicorn = pytest.importorskip("uvicorn")
    pytest.importorskip("python_multipart")
    ports = []

    def run(server, sockets):
        assert server.config.app is not None
        ports.append(sockets[0].getsockname()[1])
        sockets[0].close()

    monkeypatch.setattr(uvicorn.Server, "run", run)
    done = npid("serve", store, "--port", 0)
    assert done.exit_code == 0, done.output
    assert f"1,437 images of {store} at http://127.0.0.1:{ports[0]}/" in done.output


def test_a_port_that_is_taken_gets_one_message():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=f"--port {port}: cannot listen there"):
            _listen("127.0.0.1", port)


def test_a_package_that_is_missing_is_named_with_how_to_install_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    check_refused(npid("serve", tmp_path), "pip install 'npid-zoo[serve]'")
