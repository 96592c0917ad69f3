import pytest

from zoo.errors import HubError
from zoo.hub._http import origin


def test_an_origin_is_scheme_host_and_port():
    assert origin("https://hub.example/a/b?c") == ("https", "hub.example", 443)
    assert origin("http://Hub.Example:8080") == ("http", "hub.example", 8080)
    assert origin("https://hub.example:443") == origin("https://HUB.example/x")


@pytest.mark.parametrize(
    "url",
    ["", "hub.example", "ftp://hub.example", "file:///etc/passwd", "https://:443/", "http://a:x"],
)
def test_what_is_no_url_of_a_hub_is_refused(url):
    with pytest.raises(HubError, match="check HF_ENDPOINT"):
        origin(url)
