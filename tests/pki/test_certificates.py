"""Certificates are read strictly, once, into frozen values."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from gateway import errors
from gateway.errors import GatewayError
from gateway.pki import (
    DEFAULT_RULES,
    MAX_BUNDLE_OCTETS,
    PATH_RULES,
    CertificateRules,
    der_elements,
    make_private_key,
    read_certificate,
    read_certificates,
)
from gateway.pki.certificates import MAX_CERTIFICATE_OCTETS, MAX_EXTENSIONS, MAX_NAMES, find_rule_violation
from gateway_conformance.pki import CertificateOrder, issue_certificate
from tests.pki.certificate_forgery import NOW, Forgery
from tests.pki.conftest import World

_ECDSA_SHA256 = bytes.fromhex("06082a8648ce3d040302")
WEAK_RSA = rsa.generate_private_key(public_exponent=65537, key_size=1024)


def refused(data: bytes) -> str:
    with pytest.raises(GatewayError) as caught:
        read_certificate(data)
    assert caught.value.problem is errors.CERTIFICATE_UNTRUSTED
    assert len(caught.value.detail) <= 300
    return caught.value.detail


def test_what_a_certificate_says(world: World):
    order = CertificateOrder(alternative_names=("dns:broker.example", "uri:urn:party:broker"), serial=77)
    issued = issue_certificate(world.sub, "CN=Broker,O=Example,C=KR", NOW, order)
    read = read_certificate(issued.certificate.der)
    assert read.subject == "CN=Broker,O=Example,C=KR"
    assert read.issuer == "CN=Sub,C=KR"
    assert read.serial == 77
    assert read.not_before < NOW < read.not_after
    assert read.not_before.utcoffset() is not None
    assert read.key_type == "ec"
    assert read.key_usage == {"digitalSignature", "nonRepudiation"}
    assert read.extended_key_usage == {"1.3.6.1.5.5.7.3.2", "1.3.6.1.5.5.7.3.36"}
    assert not read.is_ca
    assert read.path_length is None
    assert read.authority_key_identifier == world.sub.certificate.subject_key_identifier
    assert read.alternative_names == ("dns:broker.example", "uri:urn:party:broker")
    assert read.public_key == issued.key.public_key()
    assert not read.is_self_issued
    assert world.root.certificate.is_self_issued
    assert world.root.certificate.is_ca
    assert world.root.certificate.path_length == 1


def test_pem_and_der_are_the_same_certificate(world: World):
    certificate = world.party.certificate
    assert read_certificate(certificate.pem) == read_certificate(certificate.der) == certificate
    assert read_certificate(b"\n" + certificate.pem + b"\r\n") == certificate
    assert hash(read_certificate(certificate.pem)) == hash(certificate)
    assert x509.load_pem_x509_certificate(certificate.pem).public_bytes(Encoding.DER) == certificate.der


def test_a_certificate_does_not_change(world: World):
    with pytest.raises((FrozenInstanceError, AttributeError)):
        world.party.certificate.serial = 1  # type: ignore[misc]


def test_issuer_and_serial_do_not_make_two_certificates_one(world: World):
    one, other = Forgery().der(world.sub), Forgery().der(world.sub)
    assert read_certificate(one).serial == read_certificate(other).serial
    assert read_certificate(one) != read_certificate(other)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: b"",
        lambda data: b"\x30",
        lambda data: b"not a certificate",
        lambda data: data + b"\x00",
        lambda data: data + data,
        lambda data: data[:-1],
        lambda data: b"\x30\x84\xff\xff\xff\xff" + data[4:],
        lambda data: b"\x30\x80" + data[4:] + b"\x00\x00",
        lambda data: b"\x30\x83\x00" + data[2:],
        lambda data: b"\x31" + data[1:],
        lambda data: b"\x30" + b"\x00" * (MAX_CERTIFICATE_OCTETS * 2),
        lambda data: b"\x30\x82\x90\x00" + b"\x00" * 0x9000,
    ],
)
def test_malformed_octets(world: World, spoil: Any):
    refused(spoil(world.party.certificate.der))


@pytest.mark.parametrize(
    "surround",
    [
        lambda pem: b"\xef\xbb\xbf" + pem,
        lambda pem: b"Bag Attributes\r\n    friendlyName: \xb0\xa1\r\n" + pem,
        lambda pem: b"Certificate:\n    Data:\n" + pem + b"words",
        lambda pem: b"x" * 20_000 + b"\n" + pem,
    ],
)
def test_text_around_a_block_is_left_out(world: World, surround: Any):
    """RFC 7468 section 2 and 5.2."""
    certificate = world.party.certificate
    assert read_certificate(surround(certificate.pem)) == certificate


@pytest.mark.parametrize(
    "spoil",
    [
        lambda pem: pem + pem,
        lambda pem: pem + b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        lambda pem: pem.replace(b"CERTIFICATE", b"NEW CERTIFICATE REQUEST"),
        lambda pem: pem.replace(b"\nMII", b"\nMI*"),
        lambda pem: pem.replace(b"-----END", b"=AAA\n-----END"),
        lambda pem: pem.replace(b"\nMII", b"\nProc-Type: 4,ENCRYPTED\n\nMII"),
    ],
)
def test_malformed_armour(world: World, spoil: Any):
    refused(spoil(world.party.certificate.pem))


@given(st.binary(max_size=200))
def test_no_octets_do_more_than_be_refused(data: bytes):
    refused(data)


@pytest.mark.long
@given(st.data())
def test_no_change_of_a_certificate_does_more_than_be_refused(world: World, data: st.DataObject):
    octets = bytearray(world.party.certificate.der)
    place = data.draw(st.integers(0, len(octets) - 1))
    octets[place] ^= data.draw(st.integers(1, 255))
    try:
        changed = read_certificate(bytes(octets))
    except GatewayError as refusal_:
        if refusal_.problem is not errors.CERTIFICATE_UNTRUSTED:
            raise
    else:
        assert changed != world.party.certificate


@pytest.mark.parametrize(
    ("forgery", "words"),
    [
        (Forgery(key=WEAK_RSA), "RSA key of 1024"),
        (Forgery(key=ec.generate_private_key(ec.SECP256K1())), "secp256k1"),
        (Forgery(key=ec.generate_private_key(ec.SECP224R1())), "secp224r1"),
        # Primes of 2048 bits take a second to find.
        (Forgery(key=dsa.generate_private_key(1024)), "dsa"),
        (Forgery(key=ed448.Ed448PrivateKey.generate()), "Ed448"),
        (
            Forgery(
                extra=[(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True)]
            ),
            "1.2.3.4",
        ),
        (
            Forgery(
                extra=[(x509.SubjectAlternativeName([x509.DNSName("a.example")] * (MAX_NAMES + 1)), False)]
            ),
            "alternative names",
        ),
    ],
)
def test_what_the_rules_refuse(world: World, forgery: Forgery, words: str):
    assert words in refused(forgery.der(world.sub))


def test_a_name_is_measured_in_characters(world: World):
    hangul = Forgery(subject="관" * 64).der(world.sub)
    assert read_certificate(hangul).subject == "CN=" + "관" * 64
    assert "CN in a name has 65 characters" in refused(Forgery(subject="관" * 65).der(world.sub))


@pytest.mark.long
def test_a_small_exponent_is_refused(world: World):
    assert "exponent" in refused(
        Forgery(key=rsa.generate_private_key(public_exponent=3, key_size=2048)).der(world.sub)
    )


@pytest.mark.parametrize("kind", ["rsa-2048", "p-256", "p-384", "p-521", "ed25519"])
def test_keys_that_are_welcome(world: World, kind: str):
    key = make_private_key(kind)
    assert read_certificate(Forgery(key=key).der(world.sub)).public_key == key.public_key()


@pytest.mark.parametrize(
    "serial", [b"\x02\x01\x00", b"\x02\x01\x81", b"\x02\x00", b"\x02\x16\x00" + b"\xff" * 21]
)
def test_serial_numbers_that_are_refused(world: World, serial: bytes):
    good = Forgery(serial=0x7F).der(world.sub)
    head = b"\xa0\x03\x02\x01\x02\x02\x01\x7f"
    assert good.count(head) == 1
    changed = good.replace(head, head[:5] + serial)
    grown = len(serial) - 3
    changed = _lengthen(changed, 0, grown)
    changed = _lengthen(changed, 4, grown)
    detail = refused(changed)
    assert detail in (
        "malformed certificate: it is not a DER sequence that begins with a serial number",
        "the serial number is not positive",
        "the serial number has more than 20 octets",
    )


def test_a_key_of_an_unknown_algorithm_is_refused(world: World):
    good = Forgery(key=make_private_key("rsa-2048")).der(world.sub)
    named = bytes.fromhex("300d06092a864886f70d0101010500")
    assert good.count(named) == 1
    changed = good.replace(named, named[:-3] + b"\x63\x05\x00")
    with pytest.raises(GatewayError):
        read_certificate(changed)
    # Along a path it is the validator that judges it.
    assert read_certificate(changed, PATH_RULES).public_key is None


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("rules", [DEFAULT_RULES, PATH_RULES])
def test_two_signature_algorithms_in_one_certificate(world: World, rules: CertificateRules, place: int):
    """The one in what is signed and the one beside it must be the same (RFC 5280 §4.1.1.2)."""
    good = Forgery().der(world.sub)
    parts = good.split(_ECDSA_SHA256)
    assert len(parts) == 3
    changed = [_ECDSA_SHA256, _ECDSA_SHA256]
    changed[place] = _ECDSA_SHA256[:-1] + b"\x03"
    assert read_certificate(good, rules).subject == "CN=Party"
    with pytest.raises(GatewayError, match="another signature algorithm"):
        read_certificate(parts[0] + changed[0] + parts[1] + changed[1] + parts[2], rules)


def test_what_follows_a_certificate_is_seen(world: World):
    octets = world.party.certificate.der
    assert der_elements.read_certificate_serial(octets) is not None
    assert der_elements.read_certificate_serial(octets + b"\x00") is None
    assert der_elements.read_certificate_serial(octets[:-1]) is None


def test_a_serial_number_of_twenty_octets_is_read(world: World):
    serial = (1 << 159) - 1
    assert read_certificate(Forgery(serial=serial).der(world.sub)).serial == serial


@pytest.mark.parametrize(("first", "good"), [(b"\x00\xff", True), (b"\x01\xff", False)])
def test_the_sign_octet_of_a_serial_number_is_not_counted(world: World, first: bytes, good: bool):
    """Twenty octets of value and a leading zero, or twenty-one octets of value (RFC 5280 §4.1.2.2)."""
    head = b"\xa0\x03\x02\x01\x02\x02\x01\x7f"
    octets = first + b"\xff" * 19
    changed = Forgery(serial=0x7F).der(world.sub).replace(head, head[:6] + bytes([len(octets)]) + octets)
    changed = _lengthen(_lengthen(changed, 0, len(octets) - 1), 4, len(octets) - 1)
    if good:
        assert read_certificate(changed).serial == int.from_bytes(octets)
    else:
        assert refused(changed) == "the serial number has more than 20 octets"


def _lengthen(data: bytes, place: int, by: int) -> bytes:
    length = int.from_bytes(data[place + 2 : place + 4]) + by
    return data[: place + 2] + length.to_bytes(2) + data[place + 4 :]


@pytest.mark.parametrize(("count", "good"), [(MAX_EXTENSIONS, True), (MAX_EXTENSIONS + 1, False)])
def test_a_certificate_has_so_many_extensions(world: World, count: int, good: bool):
    def forge(extra: int) -> bytes:
        strange = [
            (x509.UnrecognizedExtension(x509.ObjectIdentifier(f"1.2.3.{one}"), b"\x05\x00"), False)
            for one in range(extra)
        ]
        return Forgery(extra=strange).der(world.sub)

    usual = len(x509.load_der_x509_certificate(forge(0)).extensions)
    made = forge(count - usual)
    if good:
        assert len(read_certificate(made).extensions) == count
    else:
        assert refused(made) == f"more than {MAX_EXTENSIONS} extensions"


def test_an_extension_twice_is_refused(world: World):
    other = x509.ObjectIdentifier("1.3.6.1.4.1.99999.1")
    again = x509.ObjectIdentifier("1.3.6.1.4.1.99999.2")
    extra = [(x509.UnrecognizedExtension(each, b"\x05\x00"), False) for each in (other, again)]
    good = Forgery(extra=extra).der(world.sub)
    assert read_certificate(good)
    oid = bytes.fromhex("2b06010401868d1f")
    assert good.count(oid + b"\x01") == good.count(oid + b"\x02") == 1
    refused(good.replace(oid + b"\x02", oid + b"\x01"))


def test_a_curve_written_out_in_numbers_is_refused(world: World):
    key = ec.generate_private_key(ec.SECP256R1())
    good = Forgery(key=key).der(world.sub)
    named = bytes.fromhex("301306072a8648ce3d020106082a8648ce3d030107")
    assert good.count(named) == 2 or good.count(named) == 1
    point = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    short = key.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    assert len(point) == 65
    assert len(short) == 33
    numbers = _explicit_p256()
    spki = named + b"\x03\x42\x00" + point
    written = b"\x30\x82" + (9 + len(numbers)).to_bytes(2) + bytes.fromhex("06072a8648ce3d0201") + numbers
    whole = written + b"\x03\x42\x00" + point
    changed = good.replace(b"\x30\x59" + spki, b"\x30\x82" + len(whole).to_bytes(2) + whole)
    grown = len(changed) - len(good)
    changed = _lengthen(_lengthen(changed, 0, grown), 4, grown)
    assert "curve" in refused(changed)


def _explicit_p256() -> bytes:
    """Write the parameters of P-256 as RFC 3279 ECParameters."""

    def wrap(tag: int, content: bytes) -> bytes:
        size = len(content)
        return (
            bytes([tag])
            + (
                bytes([size])
                if size < 128
                else b"\x81" + bytes([size])
                if size < 256
                else b"\x82" + size.to_bytes(2)
            )
            + content
        )

    prime = (1 << 256) - (1 << 224) + (1 << 192) + (1 << 96) - 1
    b = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
    x = 0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296
    y = 0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    seed = bytes.fromhex("c49d360886e704936a6678e1139d26b7819f7e90")
    number = lambda value: wrap(2, (b"\x00" if value >> 255 else b"") + value.to_bytes(32))  # noqa: E731
    field_ = wrap(0x30, bytes.fromhex("06072a8648ce3d0101") + number(prime))
    curve = wrap(0x30, wrap(4, (prime - 3).to_bytes(32)) + wrap(4, b.to_bytes(32)) + wrap(3, b"\x00" + seed))
    base = wrap(4, b"\x04" + x.to_bytes(32) + y.to_bytes(32))
    return wrap(0x30, b"\x02\x01\x01" + field_ + curve + base + number(order) + b"\x02\x01\x01")


def test_laxer_rules_let_a_key_pass_and_the_judge_still_sees_it(world: World):
    octets = Forgery(key=WEAK_RSA).der(world.sub)
    lax = replace(DEFAULT_RULES, rsa_bits=1024)
    certificate = read_certificate(octets, lax)
    assert find_rule_violation(certificate, lax) is None
    assert "1024" in str(find_rule_violation(certificate, DEFAULT_RULES))
    refused(octets)


def test_a_refusal_never_quotes_much():
    refused(b"\x30\x82\x10\x00" + b"A" * 4096)


def test_a_file_of_certificates(world: World):
    chain = (world.party.certificate, world.sub.certificate, world.root.certificate)
    text = b"subject: words\n" + b"\nmore words\n".join(each.pem for each in chain)
    assert read_certificates(text) == chain
    assert read_certificates(world.party.certificate.der) == chain[:1]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda pem: b"",
        lambda pem: pem + b"-----BEGIN PRIVATE KEY-----\nMII=\n-----END PRIVATE KEY-----\n",
        lambda pem: pem + pem.replace(b"MII", b"M*I"),
        lambda pem: pem * 300,
        lambda pem: b" " * (MAX_BUNDLE_OCTETS + 1),
    ],
)
def test_a_file_with_something_else(world: World, spoil: Any):
    with pytest.raises(GatewayError) as caught:
        read_certificates(spoil(world.party.certificate.pem))
    assert caught.value.problem is errors.CERTIFICATE_UNTRUSTED


@pytest.mark.long
@given(st.binary(max_size=40), st.integers(-1, 60))
def test_an_element_lies_within_the_octets(data: bytes, start: int):
    found = der_elements.read_element(data, max(start, 0))
    if found is not None:
        _, content, end = found
        assert max(start, 0) < content <= end <= len(data)


@pytest.mark.parametrize(
    "octets", [b"\x30\x81\x05hello", b"\x30\x82\x00\x05hello", b"\x30\x80hello", b"\x30\x06hello", b"\x30"]
)
def test_an_element_not_in_der(octets: bytes):
    assert der_elements.read_element(octets, 0) is None


def test_reading_again_costs_nothing(world: World):
    assert read_certificate(world.party.certificate.der) is read_certificate(world.party.certificate.der)


def test_an_ed25519_key_is_read(world: World):
    key = ed25519.Ed25519PrivateKey.generate()
    assert read_certificate(Forgery(key=key).der(world.sub)).key_type == "ed25519"


@pytest.mark.parametrize("unused", [1, 7])
def test_a_signature_with_bits_left_over_is_refused(world, unused):
    octets = bytearray(world.party.certificate.der)
    # The last element of a certificate: BIT STRING, its length, the number of unused bits.
    lengths = ((place, len(octets) - place - 2) for place in range(len(octets) - 80, len(octets) - 64))
    (place,) = (place for place, length in lengths if octets[place : place + 2] == bytes([3, length]))
    octets[place + 2] = unused
    octets[-1] &= 0xFF << unused & 0xFF
    with pytest.raises(GatewayError, match="whole octets"):
        read_certificate(bytes(octets))
