"""What an address in a list is, before any lookup: normalised, or refused with its class.

Decisions:
- One parser, ours: what is checked is what is asked. Two parsers that disagree on where the host ends are how checks
  are passed by, so whatever they disagree on (backslashes, control characters, userinfo, percent signs in the host that
  hide others) is refused.
- Only http and https, ports 80 and 443, no userinfo. A list of pictures has no business elsewhere.
- Hosts are compared in one spelling: percent-decoded once, mapped by UTS 46 (full-width digits, ideographic stops),
  IDNA-encoded, lower case, without the trailing dot; odd IPv4 spellings as the address they mean, which is judged here.
- Spaces in a path and letters beyond ASCII are encoded as a browser does: 4 of 10,000 rows of a real list have spaces.
- Names of local networks are refused here already; everything else is judged by the addresses it resolves to.
- `check` is idempotent: a normalised address is its own normal form.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import quote, unquote_to_bytes, urljoin

from stepladder.data.download import addresses
from stepladder.data.download.outcomes import Answer, Refused, told

PORTS = {"http": 80, "https": 443}
LOCAL = ("localhost", "localdomain", "local", "internal", "home.arpa", "intranet", "lan", "corp", "home")
PARTS = re.compile(r"(?i:(https?))://([^/?#]*)([^?#]*)(\?[^#]*)?(?:#.*)?", re.DOTALL)
AUTHORITY = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::([0-9]*))?")
NAME = re.compile(r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})+")
UNWANTED = re.compile(r"[\x00-\x1f\x7f\\]")
SAFE = "/?:@!$&'()*+,;=%[]~"  # not encoded in a path or query
BARE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True)
class Url:
    """A normalised address.

    `text` is what is asked and compared; `host` a lower-case ASCII name or canonical IP address without brackets;
    `target` path and query as they go over the wire; `origin` scheme, host and port.
    """

    text: str
    scheme: str
    host: str
    port: int
    target: str

    @property
    def origin(self) -> str:
        """Scheme, host and port: what one robots.txt speaks for."""
        return self.text[: len(self.text) - len(self.target)]


def check(url: str, longest: int = 4096) -> Url | Answer:
    """`url` normalised, or the answer it gets without being asked: `bad_url` or `blocked_address`.

    `longest` is the cap in characters, before and after normalising.
    """
    try:
        return _parsed(url, longest)
    except Refused as refusal:
        return Answer(refusal.outcome, told(refusal.reason), url=url[:longest].encode("utf-8", "replace").decode())


def follow(url: Url, location: str, longest: int = 4096) -> Url | Answer:
    """Where a redirect from `url` to `location` leads, checked like any address; `redirects` where it leads nowhere."""
    try:
        if UNWANTED.search(location) or not location.strip(" "):
            raise ValueError("no address")
        target = urljoin(url.text, location.strip(" "))
    except ValueError as error:
        return Answer("redirects", told(f"leads to {location[:80]!r}: {error}"), url=url.text)
    step = check(target, longest)
    if isinstance(step, Answer) and step.outcome == "bad_url":
        return Answer("redirects", told(f"leads to {location[:80]!r}: {step.reason}"), url=url.text)
    if isinstance(step, Url) and url.scheme == "https" and step.scheme == "http":
        return Answer("redirects", f"leads from https to {step.text[:80]!r}", url=url.text)
    return step


def _parsed(url: str, longest: int) -> Url:
    if len(url) > longest:
        raise Refused("bad_url", f"{len(url)} characters, more than {longest}")
    url = url.strip(" ")
    if bad := UNWANTED.search(url):
        raise Refused("bad_url", f"holds {bad.group()!r}")
    parts = PARTS.fullmatch(url)
    if parts is None:
        raise Refused("bad_url", f"does not begin with http:// or https://: {url[:40]!r}")
    scheme = parts[1].lower()
    host, port = _authority(parts[2], scheme)
    target = _target(parts[3], parts[4] or "")
    shown = f"[{host}]" if ":" in host else host
    text = f"{scheme}://{shown}{'' if port == PORTS[scheme] else f':{port}'}{target}"
    if len(text) > longest:
        raise Refused("bad_url", f"{len(text)} characters when encoded, more than {longest}")
    return Url(text, scheme, host, port, target)


def _authority(text: str, scheme: str) -> tuple[str, int]:
    if "@" in text:
        raise Refused("bad_url", "holds a user name or password")  # which is not repeated: it may be somebody's
    parts = AUTHORITY.fullmatch(text)
    if parts is None:
        raise Refused("bad_url", f"host {text[:80]!r}")
    port = int(parts[2][:6]) if parts[2] else PORTS[scheme]
    if port not in PORTS.values():
        raise Refused("bad_url", f"port {port}: only 80 and 443 are asked")
    return _host(parts[1]), port


def _host(text: str) -> str:
    """The host in its one spelling; `Refused` for what is no host, or an address or name that is not public."""
    address: IPv4Address | IPv6Address | None
    try:
        host = "" if text.startswith("[") else _name(text)
        address = _ipv6(text[1:-1]) if text.startswith("[") else addresses.ipv4(host)
        why = addresses.refusal(address) if address is not None else ""
    except ValueError as error:
        raise Refused("bad_url", f"host {text[:80]!r}: {error}") from error
    if why:
        raise Refused("blocked_address", why)
    if address is not None:
        return str(address)
    if host in LOCAL or host.endswith(tuple(f".{name}" for name in LOCAL)):
        raise Refused("blocked_address", f"{host[:80]} is a name of local networks")
    if not NAME.fullmatch(host) or len(host) > 253:
        raise Refused("bad_url", f"host {text[:80]!r}")
    return host


def _ipv6(text: str) -> IPv4Address | IPv6Address:
    if "%" in text:
        raise ValueError("has a zone")
    return addresses.plain(IPv6Address(text))


def _name(text: str) -> str:
    """A host percent-decoded, mapped and IDNA-encoded, lower case, without one trailing dot."""
    if "%" in text:
        text = unquote_to_bytes(text).decode()
    if not text.isascii():
        import idna

        text = idna.uts46_remap(text, std3_rules=False, transitional=False)
        text = text if text.isascii() else idna.encode(text).decode()
    return text.lower().removesuffix(".")


def _target(path: str, query: str) -> str:
    try:
        target = quote(_without_dots(path) + query, safe=SAFE)
    except UnicodeEncodeError as error:
        raise Refused("bad_url", "holds half a character") from error
    return BARE_PERCENT.sub("%25", target)


def _without_dots(path: str) -> str:
    """`path` with its `.` and `..` gone, also encoded ones: what robots.txt judges is what the server serves."""
    kept: list[str] = []
    parts = path.split("/")[1:] or [""]
    for part in parts:
        dots = part.lower().replace("%2e", ".")
        if dots == "..":
            del kept[-1:]
        elif dots != ".":
            kept.append(part)
    if dots in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)
