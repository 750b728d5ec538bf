"""Addresses: what is public, and what odd spellings mean, against the C library and Python's own registry."""

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stepladder.data.download.addresses import ipv4, plain, refusal

# What `ipaddress` of some Python calls global, or not private, and what must be refused all the same.
REFUSED = [
    *("0.0.0.0", "0.1.2.3", "10.0.0.1", "127.0.0.1", "127.255.255.254", "172.16.0.1", "192.168.1.1", "255.255.255.255"),
    *("100.64.0.1", "100.100.100.200", "169.254.169.254", "169.254.170.2", "168.63.129.16", "192.88.99.1"),
    *("192.0.0.8", "192.0.0.192", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1"),
    *("224.0.0.1", "239.255.255.250", "240.0.0.1"),
    *("::", "::1", "::127.0.0.1", "::8.8.8.8", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:0:127.0.0.1"),
    *("64:ff9b::8.8.8.8", "64:ff9b:1::1", "100::1", "2001::1", "2001:0:53aa:64c:0:0:0:1", "2001:10::1", "2001:db8::1"),
    *("2002:7f00:1::", "2002:808:808::", "3fff::1", "4000::1", "5f00::1", "fc00::1", "fd00:ec2::254"),
    *("fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "ff0e::1"),
]
PUBLIC = ["8.8.8.8", "1.1.1.1", "93.184.215.14", "168.63.129.17", "2606:4700::1111", "2a00:1450:4001::200e"]


@pytest.mark.parametrize("address", REFUSED)
def test_what_is_not_public_is_refused_with_its_reason(address):
    assert "is not public" in refusal(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_asked(address):
    assert refusal(address) == ""


@given(st.integers(0, 2**32 - 1))
def test_no_address_that_python_calls_private_or_multicast_is_public(number):
    address = IPv4Address(number)
    assert refusal(address) or (address.is_global and not address.is_multicast)
    assert refusal(IPv6Address(f"::ffff:{address}")) == refusal(address)


@given(st.integers(0, 2**128 - 1) | st.integers(2**125, 2**126 - 1))
def test_no_ipv6_address_outside_of_what_was_given_out_is_public(number):
    address = plain(IPv6Address(number))
    assert refusal(address) or (address.is_global and (number >> 125 == 1 or address.version == 4))


SPELLINGS = {
    **dict.fromkeys(("2130706433", "0x7f.1", "127.1", "0177.0.0.1", "0x7f000001", "127.0x0.0.01", "017700000001"), 1),
    **dict.fromkeys(("127.0.1", "0x7f.0x000.1"), 1),
}


@pytest.mark.parametrize("host", SPELLINGS)
def test_odd_spellings_of_loopback_are_loopback(host):
    assert ipv4(host) == IPv4Address("127.0.0.1") == ip_address(socket.inet_ntoa(socket.inet_aton(host)))


part = st.one_of(
    st.integers(0, 300).map(str), st.integers(0, 300).map(oct), st.integers(0, 300).map(hex),
    st.integers(0, 2**33).map(str), st.integers(0, 400).map(lambda value: f"0{value:o}"),
)  # fmt: skip


@given(st.lists(part, min_size=1, max_size=5).map(".".join))
@example("0")
@example("4294967296")
@example("1.2.3.256")
def test_spellings_mean_what_the_c_library_says(host):
    host = host.replace("0o", "0")
    try:
        expected = socket.inet_ntoa(socket.inet_aton(host))
    except OSError:
        with pytest.raises(ValueError, match="part"):
            ipv4(host)
    else:
        assert str(ipv4(host)) == expected


@pytest.mark.parametrize("host", ["a.example", "1.2.3.com", "0x7f.example", "127.0.0.1x", "x", "", "cafe", "1.0x7g"])
def test_a_host_whose_last_label_is_no_number_is_a_name(host):
    assert ipv4(host) is None


@pytest.mark.parametrize("host", ["09.1.1.1", "1.1.1.08", "a.b.1", "1.2.3.4.5", "256.1.1.1", "1..1", ".1", "9" * 5000])
def test_a_host_that_ends_in_a_number_and_is_no_address_is_an_error(host):
    with pytest.raises(ValueError):
        ipv4(host)
