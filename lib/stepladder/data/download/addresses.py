"""Which IP addresses may be connected to, and what odd spellings of one mean.

Decisions:
- A download goes to public hosts only. The question is not "is it private": `is_private` says no to carrier-grade NAT
  (100.64/10, where one cloud keeps its metadata), and `is_global` says yes to multicast, to every form of IPv6 that
  carries an IPv4 address, and to the agent of another cloud. So: IPv4 must be global, not multicast and off a list;
  IPv6 must lie in 2000::/3, all that was ever given out, and off a list.
- An IPv4 address mapped into IPv6 is judged as the IPv4 address it is. Addresses of tunnels (6to4, Teredo, NAT64) are
  refused whatever they carry: no picture lives there, and where they lead depends on the network we happen to be in.
- `ipv4` reads what a browser and the C library read: 2130706433, 0x7f.1, 127.1 and 0177.0.0.1 are one address.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

# Refused although `is_global` says yes, in some version of Python at least.
DENIED_4 = {
    ip_network("100.64.0.0/10"): "shared address space of providers",
    ip_network("168.63.129.16/32"): "a cloud's agent",
    ip_network("169.254.0.0/16"): "link-local, where clouds keep metadata",
    ip_network("192.0.0.0/24"): "protocol assignments",
    ip_network("192.88.99.0/24"): "6to4 relays",
}
GIVEN_OUT = ip_network("2000::/3")
DENIED_6 = {
    ip_network("64:ff9b::/96"): "NAT64",
    ip_network("64:ff9b:1::/48"): "NAT64",
    ip_network("2001::/32"): "Teredo",
    ip_network("2001::/23"): "protocol assignments",
    ip_network("2001:db8::/32"): "documentation",
    ip_network("2002::/16"): "6to4",
    ip_network("3fff::/20"): "documentation",
    ip_network("fd00:ec2::254/128"): "a cloud's metadata",
}


def refusal(address: str | IPv4Address | IPv6Address) -> str:
    """Why nothing is connected to `address` (canonical spelling); empty where it is public.

    Raises:
        ValueError: not an IP address.
    """
    parsed = plain(address)
    denied = DENIED_4 if parsed.version == 4 else DENIED_6
    for network, why in denied.items():
        if parsed in network:
            return f"{parsed} is not public: {why}"
    if parsed.is_multicast or not parsed.is_global or (parsed.version == 6 and parsed not in GIVEN_OUT):
        return f"{parsed} is not public: {_kind(parsed)}"
    return ""


def plain(address: str | IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """`address` as an object, one mapped into IPv6 as the IPv4 address it is; `ValueError` where it is none."""
    parsed = ip_address(address)
    return parsed.ipv4_mapped or parsed if isinstance(parsed, IPv6Address) else parsed


def _kind(address: IPv4Address | IPv6Address) -> str:
    kinds = ("loopback", "multicast", "link_local", "unspecified", "private", "reserved")
    return next((kind.replace("_", "-") for kind in kinds if getattr(address, f"is_{kind}")), "not given out")


def ipv4(host: str) -> IPv4Address | None:
    """The IPv4 address that `host` spells (lower case, without trailing dot); None where it is a name.

    A host whose last label is a number can only be an address: https://url.spec.whatwg.org/#concept-ipv4-parser.

    Raises:
        ValueError: its last label is a number, but it spells no address.
    """
    labels = host.split(".")
    if not _is_number(labels[-1]):
        return None
    if len(labels) > 4:
        raise ValueError(f"{host[:80]!r} has {len(labels)} parts, an IPv4 address at most 4")
    *heads, last = [_number(label) for label in labels]
    if any(head > 255 for head in heads) or last >= 256 ** (4 - len(heads)):
        raise ValueError(f"{host[:80]!r} has a part that is too large for an IPv4 address")
    return IPv4Address(last + sum(head << (24 - 8 * place) for place, head in enumerate(heads)))


def _is_number(label: str) -> bool:
    digits = label.isascii() and label.isdigit()
    return digits or (label.startswith("0x") and all(letter in "0123456789abcdef" for letter in label[2:]))


def _number(label: str) -> int:
    if label.startswith("0x"):
        return int(label[2:] or "0", 16)
    if not (label.isascii() and label.isdigit()):
        raise ValueError(f"{label[:80]!r} is no part of an IPv4 address")
    return int(label, 8) if label.startswith("0") else int(label)
