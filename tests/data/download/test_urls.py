"""Addresses of lists before any lookup: one spelling, idempotent, and nothing that two parsers read differently."""

from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from yarl import URL

from stepladder.data.download.addresses import refusal
from stepladder.data.download.urls import Url, check, follow

NORMAL = {
    "HTTP://A.Example": "http://a.example/",
    "https://a.example:443/x": "https://a.example/x",
    "http://a.example:/x": "http://a.example/x",
    "http://a.example:443/x": "http://a.example:443/x",
    "http://a.example./x": "http://a.example/x",
    "  http://a.example/x  ": "http://a.example/x",
    "http://a.example?q=1#part": "http://a.example/?q=1",
    "http://a.example/a b/c d.png?e f": "http://a.example/a%20b/c%20d.png?e%20f",
    "http://a.example/%7Euser/%zz/100%": "http://a.example/%7Euser/%25zz/100%25",
    "http://a.example/é.png": "http://a.example/%C3%A9.png",
    "http://a.example/a/./b/../c": "http://a.example/a/c",
    "http://a.example/../../c": "http://a.example/c",
    "http://a.example/a/%2E%2e/b/..": "http://a.example/",
    "http://a.example//a//b": "http://a.example//a//b",
    "http://a.example/x?next=http://b.example/../y": "http://a.example/x?next=http://b.example/../y",
    'http://a.example/<"{|}>': "http://a.example/%3C%22%7B%7C%7D%3E",
    "http://bücher.example/": "http://xn--bcher-kva.example/",
    "http://xn--bcher-kva.example/": "http://xn--bcher-kva.example/",
    "http://faß.example/": "http://xn--fa-hia.example/",
    "http://例え。テスト/": "http://xn--r8jz45g.xn--zckzah/",
    "http://a\u200b.example/": "http://a.example/",
    "http://%61.example/": "http://a.example/",
    "http://my_host-.example/": "http://my_host-.example/",
    "http://134744072/": "http://8.8.8.8/",
    "http://[::ffff:8.8.8.8]/": "http://8.8.8.8/",
    "http://[2606:4700:0::1111]/": "http://[2606:4700::1111]/",
}


@pytest.mark.parametrize("url", NORMAL)
def test_normal_form(url):
    found = check(url)
    assert isinstance(found, Url)
    assert found.text == NORMAL[url]
    assert check(found.text) == found
    assert found.text == found.origin + found.target


@pytest.mark.parametrize("url", [url for url in NORMAL if url.strip() == url and "|" not in url and "%zz" not in url])
def test_normal_form_against_yarl(url):
    """The parser that will send it agrees on where it goes."""
    found = check(url)
    assert isinstance(found, Url)
    sent = URL(found.text, encoded=True)
    assert (sent.scheme, sent.raw_host, sent.port) == (found.scheme, found.host, found.port)
    assert sent.raw_path_qs == found.target


# Random addresses: pieces that parsers disagree on, put together in any order.
pieces = st.sampled_from(
    [
        *(
            "http://",
            "https://",
            "HTTP:",
            "//",
            "/",
            "\\",
            "@",
            ":",
            "?",
            "#",
            "%",
            "[",
            "]",
            ".",
            "..",
            " ",
            "\t",
            "\n",
        ),
        *(
            "127.0.0.1",
            "0x7f.1",
            "2130706433",
            "localhost",
            "[::1]",
            "[::ffff:10.0.0.1]",
            "10.0.0.1",
            "169.254.169.254",
        ),
        *("a.example", "example.com", "user:pass", "80", "443", "22", "8.8.8.8", "%31", "%2e", "%2f", "%40", "%00"),
        *("。", "１", "①", "\u00ad", "\u200b", "ａ", "é", "\udc80", "xn--", "file:", "x", "0", "1", "-", "_", "\0"),
    ]
)
addresses = st.one_of(
    st.lists(pieces, max_size=12).map("".join),
    st.lists(pieces, max_size=12).map(lambda parts: "http://" + "".join(parts)),
    st.text(max_size=40).map(lambda text: f"http://{text}"),
)


@given(addresses)
@example("http://a.example/%2e%2e%2f")
def test_normalising_is_idempotent_and_never_lets_an_inner_address_through(url):
    found = check(url)
    if not isinstance(found, Url):
        assert found.outcome in ("bad_url", "blocked_address") and found.reason.isascii() and len(found.reason) <= 200
        assert found.reason and isinstance(found.url.encode(), bytes)  # it can be written down
        return
    assert check(found.text) == found
    assert found.text.isascii() and found.text.isprintable() and " " not in found.text
    assert found.port in (80, 443)
    parts = urlsplit(found.text)
    assert (parts.hostname, parts.username, parts.password) == (found.host, None, None)
    assert URL(found.text, encoded=True).raw_host == found.host
    if parts.netloc.startswith("[") or found.host.replace(".", "").isdigit():
        assert not refusal(found.host)


def test_a_password_is_not_repeated_in_a_reason():
    found = check("http://somebody:secret@a.example/")
    assert not isinstance(found, Url) and "secret" not in found.reason and "user name" in found.reason


def test_rows_of_a_real_list(shared_data: Path):
    """1,000 rows of a real list: all are normalised, idempotently, and the spaces of one are encoded."""
    import pyarrow.parquet as pq

    path = shared_data / "captions/rom1504__img2dataset/tests/test_files/test_1000.parquet"
    if not path.is_file():
        pytest.skip("no real list of addresses")
    urls = pq.read_table(path).column("URL").to_pylist()
    found = [check(url) for url in urls]
    assert len(urls) == 1000 and all(isinstance(url, Url) and check(url.text) == url for url in found)
    spaced = [url for url in urls if " " in url]
    assert spaced and all("%20" in found[urls.index(url)].text for url in spaced)  # pyright: ignore
    changed = [url for url, new in zip(urls, found, strict=True) if isinstance(new, Url) and new.text != url]
    assert len(changed) == 4  # two with an explicit port, one in upper case, one with spaces


HERE = check("https://a.example/b/c?d")
MOVES = {
    "/x": "https://a.example/x",
    "x": "https://a.example/b/x",
    "?x": "https://a.example/b/c?x",
    "//b.example/x": "https://b.example/x",
    "https://b.example/x y": "https://b.example/x%20y",
    "http://b.example/": "redirects",
    "http://127.0.0.1/": "blocked_address",
    "https://[::1]/": "blocked_address",
    "file:///etc/passwd": "redirects",
    "data:image/png;base64,AA": "redirects",
    "https://b.example:22/": "redirects",
    "https://u@b.example/": "redirects",
    "https:\\\\b.example": "redirects",
    "": "redirects",
    "  ": "redirects",
    "https://[": "redirects",
    "/\r\nX: y": "redirects",
}


@pytest.mark.parametrize("location", MOVES)
def test_redirects_are_checked_like_any_address(location):
    assert isinstance(HERE, Url)
    step = follow(HERE, location)
    assert (step.text if isinstance(step, Url) else step.outcome) == MOVES[location]
