import pytest

from tests.downstream.serve.uploads import png, upload


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "", "localhost@evil", "["],
)
def test_other_names_are_refused(client, host):
    reply = client.get("/", headers={"host": host})
    assert reply.status_code == 403 and "Nearest" not in reply.text


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:8000", "[::1]:8000", "192.168.1.7"])
def test_addresses_and_own_names_are_let_in(client, host):
    assert client.get("/", headers={"host": host}).status_code == 200


def test_forms_of_other_sites_are_refused(client):
    assert upload(client, png(), headers={"origin": "http://evil.example"}).status_code == 403
    assert upload(client, png(), headers={"origin": "null"}).status_code == 403
    assert upload(client, png(), headers={"origin": "http://127.0.0.1:8000"}).status_code == 200


def test_every_reply_keeps_the_page_to_itself(client):
    for path in ("/", "/image/0", "/nowhere", "/serve.js"):
        headers = client.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["cross-origin-resource-policy"] == "same-origin" and "server" not in headers
    text = client.get("/").text
    assert "http://" not in text and "https://" not in text and "<style" not in text
