"""Asking one address: what the environment must not change, what passes through, and what is shared between calls."""

import asyncio
import dataclasses
import ssl
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepladder.data.download import asking, connecting, robots
from stepladder.data.download.asking import Asker
from stepladder.data.download.connecting import Loopback
from stepladder.data.download.outcomes import OUTCOMES, TRANSIENT, Answer, Refused
from stepladder.data.download.policy import Policy
from stepladder.data.download.reading import images, reserved, retry_after
from tests.data.download.asked import IMPATIENT, POLICY, Names, Sockets, ask, ask_beyond
from tests.data.download.hostile_server import PNG, HostileServer, always

# Loopback ------------------------------------------------------------------------------------------------------------


def test_loopback_serves_reserved_names_and_nothing_else():
    urls = [f"http://{host}/png" for host in ("a.test", "b.example", "c.d.invalid")]
    urls += [f"http://{host}/png" for host in ("127.0.0.1", "localhost", "[::1]", "test.com", "example.com", "a.test.")]
    run = ask(urls, Names({"test.com": [["127.0.0.1"]]}))
    assert run.outcomes == ["ok"] * 3 + ["blocked_address"] * 4 + ["dns", "ok"]
    assert set(run.sockets.tried) == {("127.0.0.1", run.server.port)}


def test_a_number_of_the_served_port_is_refused_even_then():
    """Not even the very address and port that were handed over are asked by number."""

    async def tried() -> Answer:
        async with HostileServer() as server, Asker(POLICY, Loopback("127.0.0.1", server.port)) as asker:
            return await asker.ask(f"http://127.0.0.1:{server.port}/png")

    assert asyncio.run(tried()).outcome == "bad_url"


@pytest.mark.parametrize("address", ["10.0.0.1", "169.254.169.254", "0.0.0.0", "8.8.8.8", "localhost", "::2"])
def test_no_other_address_can_be_handed_over(address):
    with pytest.raises(ValueError):
        Loopback(address, 80)


def test_nothing_but_code_makes_a_loopback(monkeypatch: pytest.MonkeyPatch):
    """No field of the policy, no variable, no address does; without the object reserved names are names like others."""
    for name in ("LOOPBACK", "STEPLADDER_LOOPBACK", "AIOHTTP_LOOPBACK", "HOSTALIASES", "LOCALDOMAIN", "RES_OPTIONS"):
        monkeypatch.setenv(name, "127.0.0.1:80")
    assert not [field.name for field in dataclasses.fields(Policy) if "loop" in field.name or "address" in field.name]
    urls = ["http://a.test/", "http://a.example/#127.0.0.1", "http://a.invalid:80/?loopback=127.0.0.1:80"]
    run = ask_beyond(urls, Names({"a.test": [["127.0.0.1"]]}))
    assert run.outcomes == ["blocked_address", "dns", "dns"] and not run.sockets.tried


# Names ---------------------------------------------------------------------------------------------------------------


def test_a_name_looked_up_again_is_judged_again(monkeypatch: pytest.MonkeyPatch):
    """Where checked addresses are not kept, the lookup that answers loopback refuses the name."""
    monkeypatch.setattr(connecting, "LOOKUP_S", 0)
    names = Names({"rebinding.com": [["93.184.215.14"], ["127.0.0.1"]]})
    run = ask_beyond(["http://rebinding.com/"] * 2, names, dataclasses.replace(POLICY, robots=False))
    assert run.outcomes == ["connect", "blocked_address"]
    assert run.sockets.tried == [("93.184.215.14", 80)]


def test_sockets_are_judged_whoever_asks_for_them():
    """The last gate holds by itself: with a resolver that judges nothing, no socket is made for an inner address."""
    gate = connecting.Gate(POLICY, Loopback("127.0.0.1", 4321), open_socket=Sockets())
    for address, port in [("127.0.0.1", 80), ("10.0.0.1", 4321), ("169.254.169.254", 80), ("127.0.0.2", 4321)]:
        with pytest.raises(connecting.Blocked, match="not public"):
            gate.socket((2, 1, 6, "", (address, port)))
    for address, port in [("127.0.0.1", 4321), ("8.8.8.8", 80)]:
        with pytest.raises(ConnectionRefusedError, match="recorded"):
            gate.socket((2, 1, 6, "", (address, port)))


def test_a_slow_name_server_costs_the_limit_of_a_connection():
    class Slow(Names):
        async def __call__(self, host: str):
            await asyncio.sleep(60)
            return []

    run = ask_beyond(["http://slow.com/"], Slow(), dataclasses.replace(POLICY, connect_s=0.05))
    assert (run.outcomes, run.answers[0].reason) == (["dns"], "robots.txt: no answer in 0.05 s")


def test_names_are_looked_up_as_absolute_ones(loopback: list[str]):
    """The system's own lookup is asked with a trailing dot, so that no search domain completes the name."""

    async def tried() -> Answer:
        async with Asker(POLICY) as asker:
            return await asker.ask("http://db.prod/")

    assert asyncio.run(tried()).outcome == "dns"
    assert loopback == ["getaddrinfo db.prod."]
    loopback.clear()


# Environment ---------------------------------------------------------------------------------------------------------


def test_no_proxy_of_the_environment_unless_asked(monkeypatch: pytest.MonkeyPatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    names = {"good.com": [["93.184.215.14"]], "inner.com": [["10.0.0.1"]]}
    assert ask_beyond(["http://good.com/"], Names(names)).sockets.tried == [("93.184.215.14", 80)]
    asked = dataclasses.replace(POLICY, proxies=True, robots=False)
    run = ask_beyond(["http://good.com/", "http://inner.com/", "http://10.0.0.1/"], Names(names), asked)
    assert set(run.sockets.tried) == {("127.0.0.1", 9)}
    assert run.outcomes == ["connect", "blocked_address", "blocked_address"]


def test_no_netrc_and_no_cookies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / ".netrc").write_text("default login somebody password something\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    monkeypatch.setenv("HOME", str(tmp_path))
    run = ask(["http://a.example/cookie", "http://a.example/png"], at_once=False)
    assert run.outcomes == ["ok", "ok"]
    assert not [head for head in run.server.heads if "authorization" in head.lower() or "cookie:" in head.lower()]


# Deadlines and errors ------------------------------------------------------------------------------------------------


def test_one_deadline_for_everything():
    """robots.txt, redirects and body together: what drips is cut although every single read is fast."""
    run = ask(["http://a.example/drip-body", "http://robots-silent.example/png"] * 5, policy=IMPATIENT)
    assert run.outcomes == ["timeout"] * 10
    assert {answer.reason for answer in run.answers} == {"no whole answer in 0.6 s"}
    assert all(answer.seconds > 0.59 for answer in run.answers)
    assert run.server.asked.count(("robots-silent.example", "/robots.txt")) == 1


@pytest.mark.parametrize("error", [NameError, TypeError, AttributeError, ZeroDivisionError, KeyError])
def test_an_error_of_ours_passes_through(error):
    """Neither what judges bytes, nor what looks names up, nor what reads rules is covered up as a fault of the web."""

    def broken(*_):
        raise error("ours")

    async def accepting() -> Answer:
        async with HostileServer() as server, Asker(POLICY, Loopback("127.0.0.1", server.port)) as asker:
            return await asker.ask("http://a.example/png", accept=broken)

    async def looking_up() -> Answer:
        async with Asker(POLICY, lookup=broken) as asker:
            return await asker.ask("http://good.com/")

    for run in (accepting, looking_up):
        with pytest.raises(error, match="ours"):
            asyncio.run(run())


def test_what_is_under_way_can_be_given_up():
    """Cancelling is no outcome: who asked is told, and leaving the context ends what is left."""

    async def cancelled() -> bool:
        async with HostileServer() as server, Asker(POLICY, Loopback("127.0.0.1", server.port)) as asker:
            task = asyncio.create_task(asker.ask("http://robots-silent.example/png"))
            await asyncio.sleep(0.05)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            return task.cancelled()

    assert asyncio.run(cancelled())


HEADS = [b"HTTP/1.1 200 OK\r\n"] * 4 + [
    b"HTTP/1.0 302 \r\n",
    b"HTTP/1.1 100 \r\n\r\n",
    b"HTTP/1.1 999 x\r\n",
    b"HTTP/1.1 204\r\n",
]
LINES = [
    *(
        b"Content-Length: 208\r\n",
        b"Content-Length: 9\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Content-Encoding: gzip\r\n",
    ),
    *(b"Location: http://10.0.0.1/\r\n", b"Location: /png\r\n", b"Connection: keep-alive\r\n", b"Retry-After: 1e9\r\n"),
    *(b"X-Robots-Tag: a:b:c,,:\r\n", b"Content-Type: \xff\r\n", b"Set-Cookie: =;\r\n", b"Content-Encoding: \xff\r\n"),
]
BODIES = [PNG, PNG, b"9\r\n" + PNG[:9] + b"\r\n", b"0\r\n\r\n", b"\x1f\x8b\x08\0", b"\r\n", b"\n", b""]
pieces = st.sampled_from([*HEADS, *LINES, *BODIES]) | st.binary(max_size=20)
orderly = st.tuples(
    st.sampled_from(HEADS),
    st.lists(st.sampled_from(LINES), max_size=3, unique=True).map(b"".join),
    st.just(b"\r\n"),
    st.lists(st.sampled_from(BODIES) | st.binary(max_size=20), max_size=3).map(b"".join),
).map(b"".join)


@settings(max_examples=200)
@given(orderly | st.lists(pieces, min_size=1, max_size=12).map(b"".join))
def test_whatever_bytes_come_are_an_outcome(sent: bytes):
    """Answers that are nearly right, and pieces in any order: never an exception, and `ok` only with accepted bytes."""
    always("/fuzz", sent)
    run = ask(["http://robots-empty.example/fuzz"], policy=IMPATIENT)
    answer = run.answers[0]
    assert answer.outcome in OUTCOMES and images(answer.body) == (answer.outcome == "ok")
    assert all(text.isascii() for text in (answer.reason, answer.url, *answer.headers.values()))
    assert set(run.sockets.tried) == {("127.0.0.1", run.server.port)}


# Connections ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def signed(tmp_path: Path) -> tuple[ssl.SSLContext, list[str | None], Path]:
    """What a server of `cdn.example` needs for TLS, names that clients greeted it with, and who signed: itself."""
    pytest.importorskip("cryptography", reason="makes the certificate")
    path = _certificate(tmp_path)
    context, greeted = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), []
    context.load_cert_chain(path)
    context.sni_callback = lambda _, name, __: greeted.append(name)
    return context, greeted, path


def test_a_certificate_that_nobody_signed_is_an_outcome(signed):
    context, greeted, _ = signed
    run = ask(["https://cdn.example/png"], tls=context)
    assert run.outcomes == ["tls"] and "certificate" in run.answers[0].reason
    assert greeted == ["cdn.example"] and not run.server.asked


def test_host_and_tls_name_stay_the_names(signed, monkeypatch: pytest.MonkeyPatch):
    """The connection goes to a number, greets by name and asks by name; https leads to https only."""
    context, greeted, path = signed
    monkeypatch.setattr(aiohttp.connector, "_SSL_CONTEXT_VERIFIED", ssl.create_default_context(cafile=path))
    run = ask(["https://cdn.example/png", "https://cdn.example/to-http", "https://other.example/png"], tls=context)
    assert run.outcomes == ["ok", "redirects", "tls"]
    assert set(greeted) == {"cdn.example", "other.example"}
    assert set(run.server.asked) == {("cdn.example", path) for path in ("/robots.txt", "/png", "/to-http")}
    assert "from https to" in run.answers[1].reason


def _certificate(folder: Path) -> Path:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "cdn.example")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(1), now + timedelta(1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("cdn.example")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    text = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ) + certificate.public_bytes(serialization.Encoding.PEM)
    (folder / "both.pem").write_bytes(text)
    return folder / "both.pem"


def test_one_asker_serves_many_at_once():
    run = ask([f"http://h{i % 40}.example/png" for i in range(400)])
    assert run.outcomes == ["ok"] * 400
    assert len([path for _, path in run.server.asked if path == "/robots.txt"]) == 40
    assert {answer.body for answer in run.answers} == {PNG}


# robots.txt ----------------------------------------------------------------------------------------------------------


def test_rules_are_of_the_address_that_is_served():
    """Dots in a path and letters in percents do not lead around a rule."""
    paths = ["/png", "/x/../private/a", "/%70rivate/a", "/x/%2e%2e/private/a", "/private/../png", "/Private/a"]
    run = ask([f"http://robots-others.example{path}" for path in paths])
    assert run.outcomes == ["ok", "robots", "robots", "robots", "ok", "gone"]
    wild = ask([f"http://robots-path.example{path}" for path in ("/png", "/a.gif", "/a.gif?b", "/page", "/x.gifx")])
    assert wild.outcomes == ["ok", "robots", "gone", "robots", "gone"]


def test_rules_are_kept_for_a_day_and_failures_for_a_minute(monkeypatch: pytest.MonkeyPatch):
    now = [0.0]
    monkeypatch.setattr(robots, "time", SimpleNamespace(monotonic=lambda: now[0]))

    async def asked() -> list[tuple[str, int, int]]:
        found = []
        async with HostileServer() as server, Asker(POLICY, Loopback("127.0.0.1", server.port)) as asker:
            for now[0] in (0.0, 59.0, 61.0, 86_399.0, 86_401.0):
                good = await asker.ask("http://robots-empty.example/png")
                await asker.ask("http://robots-503.example/png")
                counts = [server.asked.count((f"robots-{name}.example", "/robots.txt")) for name in ("empty", "503")]
                found.append((good.outcome, *counts))
        return found

    assert asyncio.run(asked()) == [("ok", 1, 1), ("ok", 1, 1), ("ok", 1, 2), ("ok", 1, 3), ("ok", 2, 3)]


def test_each_scheme_and_port_has_rules_of_its_own():
    run = ask(["http://a.example/png", "http://a.example:443/png"])
    assert sorted(host for host, path in run.server.asked if path == "/robots.txt") == ["a.example", "a.example:443"]


def test_rules_that_are_kept_are_bounded(monkeypatch: pytest.MonkeyPatch):
    """The oldest are forgotten and asked again."""
    monkeypatch.setattr(robots, "CACHE", 3 * robots.LEAST)
    assert ask(["http://robots-slow-rules.example/png"]).outcomes == ["robots"]  # heavier than all that is kept
    urls = [f"http://h{i}.example/png" for i in (0, 1, 2, 0, 3, 4, 0)]
    run = ask(urls, at_once=False)
    assert run.outcomes == ["ok"] * 7
    assert [host for host, path in run.server.asked if path == "/robots.txt"].count("h0.example") == 2


def test_who_does_not_obey_does_not_ask():
    """`robots=False`, for hosts of one's own: neither robots.txt is asked nor X-Robots-Tag read."""
    run = ask(["http://robots-all.example/x-noai"], policy=dataclasses.replace(POLICY, robots=False))
    assert (run.outcomes, run.server.asked) == (["ok"], [("robots-all.example", "/x-noai")])
    assert run.answers[0].headers["x_robots"] == "noai"


def test_what_headers_decide_is_decided_before_the_body():
    """Bodies that never come are not waited for."""
    run = ask([f"http://a.example/silent-{what}" for what in ("noai", "404", "big", "302")])
    assert run.outcomes == ["noai", "gone", "too_big", "ok"]


# Headers -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "directive"),
    [
        (["noai"], "noai"),
        (["NOAI, NoImageAI"], "noai"),
        ([" nofollow ,  noimageindex "], "noimageindex"),
        (["index", "archive", "none"], "none"),
        (["stepladder: noindex"], "noindex"),
        (["Stepladder : NoIndex"], "noindex"),
        (["googlebot: noindex"], ""),
        (["googlebot: noindex, nofollow, none"], ""),
        (["googlebot: noindex", "noindex"], "noindex"),
        (["googlebot: index, stepladder: none"], "none"),
        (["googlebot: noai"], "noai"),
        (["max-image-preview: none"], ""),
        (["unavailable_after: 25 Jun 2010 15:00:00 PST, noindex"], "noindex"),
        (["noindexed", "nonesuch", "no ai", "", ",", ":"], ""),
        ([], ""),
    ],
)
def test_x_robots_tag(values: list[str], directive: str):
    assert reserved(values, "stepladder") == directive


@given(st.text(max_size=40) | st.none())
def test_retry_after_is_a_pause_or_nothing(value):
    pause = retry_after(value)
    assert pause is None or 0 <= pause <= 366 * 86400


@pytest.mark.parametrize(("value", "pause"), [("0", 0), (" 120 ", 120), ("9" * 500, 366 * 86400), ("-5", None)])
def test_retry_after_in_seconds(value, pause):
    assert retry_after(value) == pause


def test_retry_after_as_a_date():
    later = datetime.now(UTC) + timedelta(seconds=90)
    assert 80 < (retry_after(later.strftime("%a, %d %b %Y %H:%M:%S GMT")) or 0) < 91


def test_what_is_known_without_asking_needs_no_client():
    """Lists are judged, and loopback is handed over, without the import of a HTTP client."""
    modules = ", ".join(f"stepladder.data.download.{name}" for name in ("outcomes", "urls", "connecting", "robots"))
    check = f"import sys, {modules}; assert not {{'aiohttp', 'protego', 'yarl', 'idna'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True)


# Outcomes ------------------------------------------------------------------------------------------------------------


def test_classes_are_known_and_say_what_they_are():
    assert set(OUTCOMES) >= TRANSIENT and all(len(text) > 5 for text in OUTCOMES.values())
    assert {outcome for _, outcome in asking.ERRORS} <= set(OUTCOMES)
    with pytest.raises(ValueError, match="'fine'"):
        Answer("fine")
    assert str(Refused("cut", "short")) == "cut: short"
