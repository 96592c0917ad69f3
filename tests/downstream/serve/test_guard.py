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


@pytest.mark.parametrize("origin", ["http://[", "http://[::1", "//", "[", "http://a]b", "\x7f"])
def test_a_bad_origin_is_refused(client, origin):
    reply = client.get("/", headers={"origin": origin})
    assert reply.status_code == 403 and "content-security-policy" in reply.headers


def test_a_body_that_does_not_come_is_given_up(client, engine):
    import anyio

    from downstream.serve import create_app

    app = create_app(engine)
    app.seconds = 0.0
    sent = []

    async def receive():
        await anyio.sleep_forever()

    async def send(message):
        sent.append(message)

    headers = [(b"host", b"localhost"), (b"content-type", b"multipart/form-data; boundary=x")]
    scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": headers}
    anyio.run(app, scope, receive, send)
    assert sent[0]["status"] == 408
    assert (b"x-content-type-options", b"nosniff") in sent[0]["headers"]


def test_a_failure_of_ours_keeps_the_page_to_itself_too(engine, monkeypatch):
    from starlette.testclient import TestClient

    from downstream.serve import create_app

    monkeypatch.setattr(engine, "search_row", lambda row: 1 / 0)
    with TestClient(
        create_app(engine), base_url="http://127.0.0.1:8000", raise_server_exceptions=False
    ) as client:
        reply = client.get("/?row=1")
    assert reply.status_code == 500 and "content-security-policy" in reply.headers
    assert "ZeroDivision" not in reply.text
