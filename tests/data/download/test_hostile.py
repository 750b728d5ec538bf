"""The hostile suite: named cases, the class each must get, and no connection to any address but the allowed ones.

`BEYOND` meets a network that records every address and refuses it; `SERVED` meets a hostile server on loopback.
"""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepladder.data.download.addresses import refusal
from stepladder.data.download.outcomes import OUTCOMES, TRANSIENT
from tests.data.download.asked import IMPATIENT, Names, Run, ask, ask_beyond
from tests.data.download.hostile_server import PAGES, ROBOTS
from tests.data.download.test_urls import addresses

NAMES: dict[str, Sequence[Sequence[str]]] = {
    "good.com": [["93.184.215.14"]],
    "both.com": [["93.184.215.14", "2606:2800:21f::1"]],
    "mapped.com": [["::ffff:93.184.215.14"]],
    "rebinding.com": [["93.184.215.15"], ["127.0.0.1"]],
    "nothing.com": [[]],
    "loopback.com": [["127.0.0.1"]],
    "loopback6.com": [["::1"]],
    "private.com": [["10.1.2.3"]],
    "mixed.com": [["93.184.215.14", "192.168.0.1"]],
    "mixed6.com": [["93.184.215.14", "fe80::1%eth0"]],
    "many.com": [[f"93.184.215.{i}" for i in range(200)] + ["10.0.0.1"]],
    "metadata.com": [["169.254.169.254"]],
    "nat.com": [["100.100.100.200"]],
    "agent.com": [["168.63.129.16"]],
    "nat64.com": [["64:ff9b::a9fe:a9fe"]],
    "sixtofour.com": [["2002:a9fe:a9fe::1"]],
    "teredo.com": [["2001:0:4136:e378:8000:63bf:3fff:fdd2"]],
    "mappedloop.com": [["::ffff:127.0.0.1"]],
    "multicast.com": [["224.0.0.1"]],
    "zero.com": [["0.0.0.0"]],
    "inside.com": [["10.0.0.1"]],
    "a.test": [["127.0.0.1"]],
    "xn--bcher-kva.com": [["93.184.215.16"]],
}
G = "93.184.215.14"  # where good.com is
BEYOND: dict[str, tuple[str, str, set[tuple[str, int]]]] = {  # name -> address, class, connections
    "plain": ("http://good.com/a.png", "connect", {(G, 80)}),
    "https": ("https://good.com/a.png", "connect", {(G, 443)}),
    "port of the other scheme": ("http://good.com:443/a.png", "connect", {(G, 443)}),
    "two addresses": ("http://both.com/", "connect", {(G, 80), ("2606:2800:21f::1", 80)}),
    "mapped public": ("http://mapped.com/", "connect", {(G, 80)}),
    "public number": ("http://93.184.215.14/", "connect", {(G, 80)}),
    "public number, odd": ("http://0x5d.184.0153416/", "connect", {(G, 80)}),
    "public IPv6": ("http://[2606:2800:21f::1]/", "connect", {("2606:2800:21f::1", 80)}),
    "letters beyond ASCII": ("http://BÜCHER.com/", "connect", {("93.184.215.16", 80)}),
    "rebinding": ("http://rebinding.com/", "connect", {("93.184.215.15", 80)}),
    "no such name": ("http://missing.com/", "dns", set()),
    "no addresses": ("http://nothing.com/", "dns", set()),
    "name of loopback": ("http://loopback.com/", "blocked_address", set()),
    "name of loopback, IPv6": ("http://loopback6.com/", "blocked_address", set()),
    "name of a private address": ("http://private.com/", "blocked_address", set()),
    "one of two is private": ("http://mixed.com/", "blocked_address", set()),
    "one of two is link-local": ("http://mixed6.com/", "blocked_address", set()),
    "the last of many is private": ("http://many.com/", "blocked_address", set()),
    "name of metadata": ("http://metadata.com/", "blocked_address", set()),
    "name of shared space": ("http://nat.com/", "blocked_address", set()),
    "name of a cloud's agent": ("http://agent.com/", "blocked_address", set()),
    "NAT64 of metadata": ("http://nat64.com/", "blocked_address", set()),
    "6to4 of metadata": ("http://sixtofour.com/", "blocked_address", set()),
    "Teredo": ("http://teredo.com/", "blocked_address", set()),
    "mapped loopback": ("http://mappedloop.com/", "blocked_address", set()),
    "multicast": ("http://multicast.com/", "blocked_address", set()),
    "zero": ("http://zero.com/", "blocked_address", set()),
    "reserved name without loopback": ("http://a.test/", "blocked_address", set()),
    "127.0.0.1": ("http://127.0.0.1/", "blocked_address", set()),
    "localhost": ("http://localhost/", "blocked_address", set()),
    "below localhost": ("http://a.localhost/", "blocked_address", set()),
    "LOCALHOST.": ("http://LOCALHOST./", "blocked_address", set()),
    "full-width localhost": ("http://ｌｏｃａｌｈｏｓｔ/", "blocked_address", set()),
    "local network": ("http://printer.local/", "blocked_address", set()),
    "cloud's metadata name": ("http://metadata.google.internal/", "blocked_address", set()),
    "one number": ("http://2130706433/", "blocked_address", set()),
    "hexadecimal": ("http://0x7f.1/", "blocked_address", set()),
    "two parts": ("http://127.1/", "blocked_address", set()),
    "octal": ("http://0177.0.0.1/", "blocked_address", set()),
    "zero in short": ("http://0/", "blocked_address", set()),
    "percent-encoded": ("http://%31%32%37.0.0.1/", "blocked_address", set()),
    "full-width digits": ("http://１２７.0.0.1/", "blocked_address", set()),
    "circled digits": ("http://①②⑦.0.0.1/", "blocked_address", set()),
    "ideographic stops": ("http://127。0。0。1/", "blocked_address", set()),
    "soft hyphen": ("http://127.0.0.\u00ad1/", "blocked_address", set()),
    "trailing dot": ("http://127.0.0.1./", "blocked_address", set()),
    "trailing dots": ("http://127.0.0.1../", "bad_url", set()),
    "number too large": ("http://4294967296/", "bad_url", set()),
    "five parts": ("http://1.2.3.4.5/", "bad_url", set()),
    "IPv6 loopback": ("http://[::1]/", "blocked_address", set()),
    "IPv6 zone": ("http://[fe80::1%25eth0]/", "bad_url", set()),
    "IPv6 mapped": ("http://[::ffff:7f00:1]/", "blocked_address", set()),
    "IPv6 compatible": ("http://[::127.0.0.1]/", "blocked_address", set()),
    "IPv6 6to4": ("http://[2002:7f00:1::]/", "blocked_address", set()),
    "IPv6 NAT64": ("http://[64:ff9b::7f00:1]/", "blocked_address", set()),
    "IPv6 unique local": ("http://[fd00:ec2::254]/", "blocked_address", set()),
    "IPv6 garbage": ("http://[::g]/", "bad_url", set()),
    "IPv6 open": ("http://[::1/", "bad_url", set()),
    "169.254.169.254": ("http://169.254.169.254/latest/", "blocked_address", set()),
    "10.0.0.1": ("https://10.0.0.1/", "blocked_address", set()),
    "no scheme": ("good.com/a.png", "bad_url", set()),
    "two slashes": ("//good.com/a.png", "bad_url", set()),
    "one slash": ("http:/good.com/a.png", "bad_url", set()),
    "three slashes": ("http:///good.com/a.png", "bad_url", set()),
    "empty": ("", "bad_url", set()),
    "file": ("file:///etc/passwd", "bad_url", set()),
    "file with a host": ("file://good.com/etc/passwd", "bad_url", set()),
    "data": ("data:image/png;base64,iVBORw0KGgo=", "bad_url", set()),
    "ftp": ("ftp://good.com/a.png", "bad_url", set()),
    "gopher": ("gopher://good.com/", "bad_url", set()),
    "javascript": ("javascript:alert(1)", "bad_url", set()),
    "jar": ("jar:http://good.com/!/a.png", "bad_url", set()),
    "port 22": ("http://good.com:22/", "bad_url", set()),
    "port 8080": ("http://good.com:8080/", "bad_url", set()),
    "port 65616": ("http://good.com:65616/", "bad_url", set()),  # 80 modulo 65536
    "port in other digits": ("http://good.com:٨٠/", "bad_url", set()),
    "port -80": ("http://good.com:-80/", "bad_url", set()),
    "user": ("http://good.com@127.0.0.1/", "bad_url", set()),
    "user and password": ("http://a:b@good.com/", "bad_url", set()),
    "encoded @": ("http://127.0.0.1%40good.com/", "bad_url", set()),
    "encoded slash": ("http://127.0.0.1%2fgood.com/", "bad_url", set()),
    "encoded twice": ("http://%2531%2532%2537.0.0.1/", "bad_url", set()),
    "half a character": ("http://good.com/\udc80", "bad_url", set()),
    "bytes that are no letters": ("http://%ff%fe.com/", "bad_url", set()),
    "backslash": ("http://good.com\\@127.0.0.1/", "bad_url", set()),
    "backslashes": ("http:\\\\127.0.0.1\\", "bad_url", set()),
    "space in the host": ("http://good.com 127.0.0.1/", "bad_url", set()),
    "line break": ("http://good.com/a\r\nHost: 127.0.0.1", "bad_url", set()),
    "tab in the scheme": ("ht\ttp://127.0.0.1/", "bad_url", set()),
    "NUL": ("http://good.com\0.127.0.0.1/", "bad_url", set()),
    "too long": ("http://good.com/" + "a" * 4096, "bad_url", set()),
    "too long when encoded": ("http://good.com/" + "é" * 1000, "bad_url", set()),
    "label too long": (f"http://{'a' * 64}.com/", "bad_url", set()),
    "name too long": (f"http://{'a.' * 150}com/", "bad_url", set()),
    "empty label": ("http://good..com/", "bad_url", set()),
    "one label": ("http://com/", "bad_url", set()),
    "snowman": ("http://☃☃.com/", "bad_url", set()),
}


@pytest.mark.parametrize("case", BEYOND)
def test_beyond_this_machine_only_checked_addresses_are_tried(case):
    url, outcome, connections = BEYOND[case]
    run = ask_beyond([url], Names(NAMES))
    assert (run.outcomes, set(run.sockets.tried)) == ([outcome], connections), run.answers
    assert all(not refusal(address) for address, _ in run.sockets.tried)
    assert run.names.asked.count("rebinding.com") <= 1


def test_a_name_that_changes_after_it_was_checked_leads_nowhere_else():
    """Asked again and again: the checked address is kept, and was looked up once."""
    run = ask_beyond(["http://rebinding.com/a.png"] * 3, Names(NAMES))
    assert set(run.sockets.tried) == {("93.184.215.15", 80)}
    assert run.names.asked == ["rebinding.com"]


@settings(max_examples=60)
@given(st.lists(addresses, min_size=5, max_size=20))
def test_no_random_address_leads_to_a_connection_to_an_inner_one(urls):
    """Names resolve to what they say they are, or to loopback; all that is tried is public, on port 80 or 443."""

    class Everywhere(Names):
        async def __call__(self, host: str) -> Sequence[str]:
            return [["127.0.0.1"], ["10.0.0.1"], ["8.8.4.4"]][len(host) % 3]

    run = ask_beyond(urls, Everywhere())
    assert all(not refusal(address) and port in (80, 443) for address, port in run.sockets.tried)
    assert all(answer.outcome in ("bad_url", "blocked_address", "dns", "connect") for answer in run.answers)


# What the hostile server does on a.example: path -> class.
SERVED = {
    **dict.fromkeys(
        ("/png", "/jpeg", "/webp", "/gif", "/just-fits", "/until-close", "/cookie", "/header-folded"), "ok"
    ),
    **dict.fromkeys(("/html", "/svg", "/pdf", "/short", "/endless-html", "/robots-elsewhere"), "not_image"),
    "/empty": "empty",
    **dict.fromkeys(("/big-said", "/big", "/silent-big", "/endless", "/endless-chunks"), "too_big"),
    **dict.fromkeys(("/length-too-long", "/length-too-short", "/length-negative", "/length-twice"), "cut"),
    **dict.fromkeys(("/length-huge", "/chunks-cut", "/chunks-junk", "/chunk-huge", "/reset", "/gzip-cut"), "cut"),
    **dict.fromkeys(("/gzip", "/deflate"), "ok"),
    **dict.fromkeys(("/gzip-bomb", "/deflate-bomb", "/gzip-false", "/gzip-twice", "/br", "/zstd"), "expands"),
    **dict.fromkeys(("/401", "/403"), "forbidden"),
    **dict.fromkeys(("/404", "/410", "/unknown", "/to-404", "/silent-404"), "gone"),
    **dict.fromkeys(("/500", "/502", "/503", "/599", "/503-later"), "server"),
    **dict.fromkeys(("/429", "/429-date", "/429-past", "/429-junk"), "too_many"),
    **dict.fromkeys(("/201", "/204", "/206", "/300", "/304", "/400", "/402", "/418", "/451", "/switching"), "status"),
    **dict.fromkeys(("/x-noai", "/x-noimageai", "/x-noindex", "/x-noimageindex", "/x-none", "/x-noml"), "noai"),
    **dict.fromkeys(("/x-named", "/x-everybody", "/x-other-noai", "/x-other-then-us", "/x-until"), "noai"),
    **dict.fromkeys(("/x-several", "/to-noai", "/to-noai-itself", "/silent-noai"), "noai"),
    **dict.fromkeys(("/x-other-noindex", "/x-fine"), "ok"),
    **dict.fromkeys(("/nothing", "/status-junk", "/status-number", "/status-long", "/http-0.9", "/http-2"), "cut"),
    **dict.fromkeys(("/header-cut", "/header-long", "/header-many", "/header-junk", "/ssh"), "cut"),
    **dict.fromkeys(("/endless-headers", "/endless-line"), "cut"),
    **dict.fromkeys(("/to-metadata", "/to-metadata-name", "/to-loopback", "/to-loopback-number"), "blocked_address"),
    **dict.fromkeys(("/to-localhost", "/to-ipv6", "/to-private", "/to-inside"), "blocked_address"),
    **dict.fromkeys(("/to-file", "/to-data", "/to-gopher", "/to-javascript", "/to-port", "/to-userinfo"), "redirects"),
    **dict.fromkeys(("/to-backslash", "/to-empty", "/to-junk", "/to-half", "/to-long", "/to-nowhere"), "redirects"),
    **dict.fromkeys(("/to-loop", "/to-4"), "redirects"),
    **dict.fromkeys(("/to-1", "/to-2", "/to-3", "/to-http", "/silent-302", "/to-relative", "/to-schemeless"), "ok"),
    **dict.fromkeys(("/by-301", "/by-303", "/by-307", "/by-308"), "ok"),
    "/to-tls": "tls",
    "/to-robots": "robots",
    **dict.fromkeys(("/drip-body", "/drip-status", "/drip-headers", "/drip-continue"), "timeout"),
    **dict.fromkeys(("/endless-continue", "/silent", "/silent-200"), "timeout"),
}
# What its robots.txt files do to /png: first label of the host -> class.
RULED = {
    **dict.fromkeys(("robots-all", "robots-us", "robots-moved", "robots-bomb", "robots-loop", "robots-file"), "robots"),
    **dict.fromkeys(("robots-slow-rules", "robots-stars"), "robots"),
    **dict.fromkeys(("robots-others", "robots-path", "robots-empty", "robots-html", "robots-binary"), "ok"),
    **dict.fromkeys(("robots-401", "robots-410", "robots-long", "robots-missing", "robots-tagged"), "ok"),
    "robots-429": "too_many",
    **dict.fromkeys(("robots-500", "robots-503"), "server"),
    **dict.fromkeys(("robots-cut", "robots-garbage"), "cut"),
    "robots-inside": "blocked_address",
    "robots-silent": "timeout",
}
CASES = {f"http://a.example{path}": outcome for path, outcome in SERVED.items()}
CASES |= {f"http://{host}.example/png": outcome for host, outcome in RULED.items()}


@pytest.fixture(scope="module")
def served() -> Run:
    """All of them asked at once, of one asker; what never ends, of an impatient one."""
    quick = [url for url, outcome in CASES.items() if outcome != "timeout"]
    slow = [url for url in CASES if url not in quick]
    run, late = ask(quick, Names(NAMES)), ask(slow, policy=IMPATIENT)
    answers = dict(zip(quick + slow, run.answers + late.answers, strict=True))
    run.answers[:] = [answers[url] for url in CASES]
    assert set(late.sockets.tried) == {("127.0.0.1", late.server.port)}
    return run


@pytest.mark.parametrize("url", CASES)
def test_what_a_hostile_server_does_has_its_class(served, url):
    answer = served.answers[list(CASES).index(url)]
    assert answer.outcome == CASES[url], answer
    assert bool(answer.body) == (answer.outcome == "ok")
    assert answer.outcome == "ok" or (0 < len(answer.reason) < 300 and "\n" not in answer.reason)
    assert answer.transient == (answer.outcome in TRANSIENT)


def test_nothing_else_was_connected_to(served):
    """0 escapes: of the whole suite, redirects included, loopback's one port is all that was ever tried."""
    assert set(served.sockets.tried) == {("127.0.0.1", served.server.port)}
    assert set(served.names.asked) == {"inside.com"}


def test_every_page_of_the_hostile_server_is_a_case():
    assert set(PAGES) <= set(SERVED) | {"/fuzz"} and set(ROBOTS) <= set(RULED)
    assert len(BEYOND) + len(CASES) > 200
    assert {outcome for _, outcome, _ in BEYOND.values()} | set(CASES.values()) == set(OUTCOMES) - {
        *("decode", "too_many_pixels", "too_small", "hash_changed", "placeholder", "duplicate", "near_duplicate"),
        "host_down",
    }  # those are found after the download, and by who plans it


def test_robots_are_asked_once_and_before_anything_else(served):
    for host in ("a.example", *(f"{name}.example" for name, outcome in RULED.items() if outcome != "timeout")):
        asked = [path for name, path in served.server.asked if name == host]
        assert asked[0] == "/robots.txt"
    assert [host for host, path in served.server.asked if path == "/robots.txt"].count("a.example") == 1
    refused = {f"{name}.example" for name, outcome in RULED.items() if outcome != "ok"}
    assert not [path for host, path in served.server.asked if host in refused and path != "/robots.txt"]


def test_pauses_that_hosts_ask_for(served):
    def pause(path: str) -> float | None:
        return served.answers[list(CASES).index(f"http://a.example{path}")].retry_after

    assert (pause("/429"), pause("/503-later"), pause("/429-past")) == (120, 7, 0)
    assert pause("/429-junk") is None and pause("/png") is None
    assert (pause("/429-date") or 0) > 86400


def test_what_every_host_is_told(served):
    """An honest name with a contact, identity encoding, and nothing of this machine."""
    for head in served.server.heads:
        lines = dict(line.split(": ", 1) for line in head.lower().split("\r\n")[1:] if line)
        assert lines["user-agent"] == "stepladder/0.1 (+tests@a.example)"
        assert lines["accept-encoding"] == "identity"
        assert set(lines) == {"host", "user-agent", "accept-encoding", "accept"}
