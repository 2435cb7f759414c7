"""Which URLs and addresses requests of users may name, and which may not."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from taskq.errors import ConfigError, InvalidOption
from taskq.outbound import Networks, Target, is_public, read_url
from taskq.outbound.urls import ANY_PORT, LONGEST

NOT_URLS = (
    *(None, 7, "", "example.com", "//example.com", "https:example.com", "https:///path", "https://"),
    *("file:///etc/passwd", "gopher://example.com", "ftp://example.com", "data:text/plain,x", "unix:///run/x.sock"),
    *("http+unix://%2Frun%2Fx", "javascript:alert(1)", "https://user:pw@example.com", "https://user@example.com"),
    *(
        "http://a#@127.0.0.1",
        "http://a\\@b",
        "http://example.com:0",
        "http://example.com:70000",
        "http://example.com:x",
    ),
    *("http://exam\tple.com", "http://example.com/\n", "http://example.com/ x", "http://example.com/\r\nX: y"),
    *("http://①②⑦.⓪.⓪.①/", "http://exämple.com/", "http://[::1", "http://[::g]/", "http://-a.com", "http://a..b"),
    *("http://127.1", "http://2130706433", "http://0x7f.1", "http://017700000001", "http://0", "http://1.2.3"),
    *("http://[fe80::1%25eth0]/", f"https://example.com/{'x' * LONGEST}", "http://example.com./x#y"),
)
PRIVATE = (
    *("127.0.0.1", "::1", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1"),
    *("224.0.0.1", "192.0.0.192", "255.255.255.255", "198.18.0.1", "203.0.113.9", "240.0.0.1", "192.88.99.1"),
    *("::ffff:169.254.169.254", "64:ff9b::7f00:1", "64:ff9b:1::1", "2002:7f00:1::", "::127.0.0.1", "fec0::1"),
    *("fe80::1", "fc00::1", "fd12::1", "ff02::1", "2001:db8::1", "2001::1", "::", "100::1", "5f00::1", "3fff::1"),
    *("fe80::1%eth0", "2002:0808:0808::1", "::8.8.8.8"),
)
PUBLIC = ("8.8.8.8", "93.184.216.34", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "172.32.0.1")


@pytest.mark.parametrize("url", NOT_URLS, ids=lambda url: repr(url)[:40])
def test_what_is_no_url_of_a_webhook_is_refused_without_being_shown(url: object) -> None:
    with pytest.raises(InvalidOption, match=r"^on_complete_url") as caught:
        read_url("on_complete_url", url)
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://Example.COM", Target("https", "example.com", 443, "/")),
        ("HTTP://example.com:80/a/b?c=d&e", Target("http", "example.com", 80, "/a/b?c=d&e")),
        ("https://[2606:4700::1111]/x", Target("https", "2606:4700::1111", 443, "/x")),
        ("https://8.8.8.8?q=%20", Target("https", "8.8.8.8", 443, "/?q=%20")),
        ("https://xn--exmple-cua.com./", Target("https", "xn--exmple-cua.com.", 443, "/")),
        ("https://my_host/", Target("https", "my_host", 443, "/")),
    ],
)
def test_a_url_is_read(url: str, target: Target) -> None:
    assert read_url("on_complete_url", url) == target


def test_other_ports_are_for_those_who_allow_them() -> None:
    with pytest.raises(InvalidOption, match="port 8080 is not one of those that are allowed"):
        read_url("on_complete_url", "http://example.com:8080/")
    assert read_url("on_complete_url", "http://example.com:8080/", ANY_PORT).port == 8080


@pytest.mark.parametrize("text", PRIVATE)
def test_what_lies_inside_is_not_public(text: str) -> None:
    assert not is_public(ip_address(text))
    assert not Networks([]).allow(ip_address(text))


@pytest.mark.parametrize("text", PUBLIC)
def test_what_lies_out_there_is(text: str) -> None:
    assert is_public(ip_address(text))


def test_networks_that_are_allowed() -> None:
    allowed = Networks(["10.1.0.0/16", "fd00::/8", "127.0.0.1"])
    assert allowed.allow(ip_address("::ffff:10.1.2.3"))
    assert allowed.allow(ip_address("fd12::1"))
    assert allowed.allow(ip_address("127.0.0.1"))
    assert not allowed.allow(ip_address("127.0.0.2"))
    assert not allowed.allow(ip_address("10.2.0.1"))
    with pytest.raises(ConfigError, match="'ten' is no network"):
        Networks(["ten"])
