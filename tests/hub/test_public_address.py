"""Which addresses a webhook may be at: a list of what is allowed, tried whole in each run."""

from __future__ import annotations

from gateway.hub import is_public_address

PRIVATE = [
    "127.0.0.1",
    "10.0.0.1",
    "10.255.255.255",
    "192.168.1.1",
    "172.16.0.1",
    "172.31.255.255",
    "169.254.169.254",
    "0.0.0.0",
    "0.1.2.3",
    "100.64.0.1",
    "100.127.255.255",
    "192.0.0.8",
    "192.0.2.1",
    "192.88.99.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "fe80::1",
    "fe80::1%eth0",
    "fc00::1",
    "fdff::1",
    "ff02::1",
    "ff0e::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:192.0.2.1",
    "::ffff:224.0.0.1",
    "::ffff:7f00:1",
    "fec0::1",
    "feff:ffff::1",
    "::8.8.8.8",
    "::7f00:1",
    "::ffff:0:127.0.0.1",
    "::ffff:0:8.8.8.8",
    "64:ff9b::7f00:1",
    "64:ff9b::808:808",
    "64:ff9b:1::7f00:1",
    "64:ff9b:1::808:808",
    "64:ff9b:1:fffe::10.0.0.1",
    "2002:7f00:1::",
    "2002:808:808::1",
    "2001:0:7f00:1::",
    "2001::1",
    "2001:2::1",
    "2001:10::1",
    "2001:20::1",
    "2001:1ff:ffff::1",
    "2001:db8::1",
    "2001:db8:ffff::1",
    "3fff::1",
    "3fff:fff:ffff::1",
    "100::1",
    "100:0:0:1::1",
    "200::1",
    "1fff::1",
    "4000::1",
    "5f00::1",
    "8000::1",
    "e000::1",
]
PUBLIC = [
    "8.8.8.8",
    "1.1.1.1",
    "9.255.255.255",
    "11.0.0.1",
    "100.63.255.255",
    "100.128.0.1",
    "172.15.255.255",
    "172.32.0.1",
    "192.0.1.1",
    "192.167.255.255",
    "192.169.0.1",
    "198.17.255.255",
    "198.20.0.1",
    "223.255.255.255",
    "2606:4700::1111",
    "2001:200::1",
    "2001:4860:4860::8888",
    "2001:db7::1",
    "2001:db9::1",
    "2003::1",
    "2a00:1450::1",
    "3ffe::1",
    "::ffff:8.8.8.8",
]


def test_what_is_not_public_unicast_is_refused() -> None:
    assert [address for address in PRIVATE if is_public_address(address)] == []


def test_what_is_public_unicast_is_allowed() -> None:
    assert [address for address in PUBLIC if not is_public_address(address)] == []


def test_only_numbers_are_addresses() -> None:
    names = ["", "localhost", "not an address", "8.8.8", "8.8.8.8.8", "0x08080808", "134744072", "08.8.8.8"]
    assert [name for name in names if is_public_address(name)] == []
