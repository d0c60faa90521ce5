"""A list takes the place of those that it repeats: by the same key, of the same certificates, and later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from asn1crypto import core as asn1_core
from asn1crypto import crl as asn1_crl
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.errors import GatewayError
from gateway.pki import (
    CertificateUse,
    ListSuccession,
    RevocationData,
    TrustStore,
    read_certificate,
    read_revocation_lists,
    validate_path,
)
from gateway.pki.revocation_data import RevocationList
from gateway_conformance.pki import CertificationAuthority, make_authority
from tests.pki.certificate_forgery import DAY, HOUR, NOW, Forgery, crl, entry, scope
from tests.pki.conftest import World

SERIAL = 4714
USERS, AUTHORITIES = scope(only_contains_user_certs=True), scope(only_contains_ca_certs=True)
INDIRECT = scope(indirect_crl=True)


def make(
    authority: CertificationAuthority,
    number: int | None = 9,
    at: datetime = NOW - HOUR,
    *,
    base: int | None = None,
    part: x509.IssuingDistributionPoint | None = None,
    key_id: bytes | None = b"",
    revoked: bool = False,
    **words: Any,
) -> bytes:
    """Make a list; `key_id` is by default that of the authority, None leaves it out."""
    key_id = authority.certificate.subject_key_identifier if key_id == b"" else key_id
    extra: list[tuple[x509.ExtensionType, bool]] = [(x509.CRLNumber(number), False)] if number else []
    extra += [(x509.AuthorityKeyIdentifier(key_id, None, None), False)] if key_id else []
    extra += [(x509.DeltaCRLIndicator(base), True)] if base is not None else []
    extra += [(part, True)] if part else []
    entries = [entry(SERIAL)] if revoked else []
    return crl(authority, entries, starts=at, extra=extra, number=bool(number), **words)


def read(octets: bytes) -> RevocationList:
    return read_revocation_lists(octets)[0]


def get_name(world: World) -> str:
    return x509.load_der_x509_certificate(world.root.certificate.der).subject.rfc4514_string()


def other_key(world: World) -> CertificationAuthority:
    """Return an authority of the same name with a key of its own."""
    return make_authority(get_name(world), NOW - 30 * DAY)


EARLIER = NOW - 2 * HOUR


def succession(*authorities: CertificationAuthority) -> ListSuccession:
    return ListSuccession(tuple(each.certificate for each in authorities), NOW)


@pytest.mark.parametrize(
    ("later", "earlier", "repeats"),
    [
        ({"number": 10}, {"at": EARLIER}, True),
        ({"number": 9}, {"at": EARLIER}, True),
        ({"number": 8}, {"at": EARLIER}, False),
        ({"number": 10, "at": EARLIER}, {}, False),
        ({"number": None}, {"at": EARLIER}, False),
        ({"number": 10, "at": NOW + HOUR}, {}, False),
        # Changes do not repeat what they are applied to, nor changes to an earlier list.
        ({"number": 10, "base": 9}, {"at": EARLIER}, False),
        ({"number": 11, "base": 9}, {"number": 10, "base": 9, "at": EARLIER}, True),
        ({"number": 12, "base": 11}, {"number": 10, "base": 9, "at": EARLIER}, False),
        ({"number": 10}, {"number": 10, "base": 9, "at": EARLIER}, True),
        ({"number": 10}, {"number": 11, "base": 9, "at": EARLIER}, False),
        # Parts are numbered apart; a list for everything has all of them.
        ({"number": 10, "part": AUTHORITIES}, {"part": USERS, "at": EARLIER}, False),
        ({"number": 10, "part": USERS}, {"part": USERS, "at": EARLIER}, True),
        ({"number": 10, "part": USERS}, {"at": EARLIER}, False),
        ({"number": 3}, {"part": USERS, "at": EARLIER}, True),
        ({"number": 3}, {"part": USERS}, True),
        ({"number": 3, "at": EARLIER}, {"part": USERS}, False),
        ({"number": 30}, {"part": INDIRECT, "at": EARLIER}, False),
        ({"number": 3, "base": 1}, {"part": USERS, "at": EARLIER}, False),
        ({"number": 30, "part": USERS}, {"number": 9, "base": 8, "at": EARLIER}, False),
    ],
)
def test_what_a_later_list_repeats(
    world: World, later: dict[str, Any], earlier: dict[str, Any], repeats: bool
) -> None:
    lists = read(make(world.root, **later)), read(make(world.root, **earlier))
    assert succession(world.sub, world.root).repeats(*lists) is repeats
    # A signature that nobody verified proves nothing.
    assert not succession(world.sub).repeats(*lists)


@pytest.mark.parametrize("key_id", [b"", None])
def test_a_list_of_another_key_repeats_nothing(world: World, key_id: bytes | None) -> None:
    other = other_key(world)
    earlier = read(make(world.root, at=EARLIER, key_id=key_id))
    later, again = read(make(other, 10, key_id=key_id)), read(make(world.root, 10, key_id=key_id))
    assert earlier.issuer_key == later.issuer_key
    for authorities in ((world.root, other), (other, world.root), (world.root,)):
        assert not succession(*authorities).repeats(later, earlier)
        assert succession(*authorities).repeats(again, earlier)


def test_another_certificate_of_the_same_key_is_the_same_signer(world: World) -> None:
    renewed = replace(world.root, certificate=read_certificate(_renew(world.root)))
    lists = read(make(world.root, 10)), read(make(world.root, at=EARLIER, key_id=None))
    assert succession(renewed).repeats(*lists)


def _renew(authority: CertificationAuthority) -> bytes:
    renewed = Forgery(ca=True, key=authority.key, extra=[(x509.BasicConstraints(True, 1), True)])
    name = x509.load_der_x509_certificate(authority.certificate.der).subject
    builder = x509.load_der_x509_certificate(renewed.der())
    again = (
        x509.CertificateBuilder(name, name, authority.key.public_key(), 4712)
        .not_valid_before(NOW - DAY)
        .not_valid_after(NOW + DAY)
    )
    for extension in builder.extensions:
        again = again.add_extension(extension.value, extension.critical)
    return again.sign(authority.key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def test_a_list_that_proves_nothing_is_refused(world: World) -> None:
    rules = succession(world.root, world.sub)
    refused = {
        "it has no number": make(world.root, None),
        "in the future": make(world.root, at=NOW + HOUR),
        "it ended at": make(world.root, ends=NOW - timedelta(minutes=1)),
        "attribute certificates": make(world.root, part=scope(only_contains_attribute_certs=True)),
        "signed by no authority": make(world.root, key=ec.generate_private_key(ec.SECP256R1())),
    }
    for words, octets in refused.items():
        with pytest.raises(GatewayError, match=rf"GW208 .*Root.*{words}"):
            rules.check_list(read(octets))
    with pytest.raises(GatewayError, match="signed by no authority"):
        rules.check_list(read(make(other_key(world))))
    with pytest.raises(GatewayError, match="it ended at"):
        ListSuccession(rules.authorities, NOW, timedelta(minutes=30)).check_list(read(make(world.root)))
    for octets in (make(world.root), make(world.root, at=NOW + timedelta(minutes=5)), make(world.sub)):
        rules.check_list(read(octets))


def test_a_number_is_not_rolled_back(world: World) -> None:
    rules = succession(world.root, world.sub)
    held = [read(make(world.root, 9, EARLIER)), read(make(world.root, 20, EARLIER, part=USERS))]
    for number, at in ((8, NOW - HOUR), (10, EARLIER - HOUR)):
        with pytest.raises(GatewayError, match=rf"GW208 .*number {number} of .* but number 9 of"):
            rules.check_order(read(make(world.root, number, at)), held)
    for octets in (
        make(world.root, 10),
        make(world.root, 9, EARLIER + HOUR),
        make(world.root, 8, EARLIER - HOUR),
        make(world.sub, 1),
        make(world.root, 1, base=0),
    ):
        rules.check_order(read(octets), held)


def judge(world: World, lists: Sequence[bytes], *others: CertificationAuthority) -> str:
    """Return the verdict on a certificate of the root, where the root also has an older clear list."""
    leaf = read_certificate(Forgery(serial=SERIAL).der(world.root))
    store = TrustStore((world.root.certificate,), tuple(each.certificate for each in others))
    data = RevocationData([*lists, make(world.root, 1, at=EARLIER - DAY)])
    verdict = validate_path(leaf, NOW, CertificateUse.SIGNING, store, data)
    return verdict.problem.id if verdict.problem else verdict.status


@pytest.mark.parametrize("order", [1, -1])
def test_the_list_of_another_key_takes_no_revocation_back(world: World, order: int) -> None:
    """All keys lead to the same anchor, so that the list of each one counts."""
    second, third = (
        make_authority(get_name(world), NOW - 30 * DAY, issuer=world.root, path_length=0) for _ in range(2)
    )

    def judged(*lists: bytes) -> str:
        return judge(world, lists[::order], second, third)

    ends = NOW - timedelta(minutes=30)
    assert judged(make(second, 12)) == "valid"
    assert judged(make(world.root, at=EARLIER, revoked=True), make(second, 12)) == "GW207"
    assert judged(make(world.root, at=EARLIER, ends=ends, revoked=True), make(second, 12)) == "GW207"
    assert judged(make(world.root, at=EARLIER, ends=ends, revoked=True), make(world.root, 12)) == "valid"
    assert judged(make(world.root, 12), make(second, 11, EARLIER, revoked=True)) == "GW207"
    assert judged(make(second, 11, EARLIER, revoked=True), make(third, 12)) == "GW207"
    assert judged(make(second, 11, EARLIER, ends=ends, revoked=True), make(third, 12)) == "GW207"
    assert judged(make(second, 11, EARLIER, ends=ends, revoked=True), make(world.root, 12)) == "valid"


@pytest.mark.parametrize("order", [1, -1])
def test_changes_of_one_key_do_not_belong_to_the_list_of_another(world: World, order: int) -> None:
    second = make_authority(get_name(world), NOW - 30 * DAY, issuer=world.root, path_length=0)
    on_hold = [entry(SERIAL, extra=[(x509.CRLReason(x509.ReasonFlags.certificate_hold), False)])]
    released = [entry(SERIAL, extra=[(x509.CRLReason(x509.ReasonFlags.remove_from_crl), False)])]
    number, delta = (
        (x509.CRLNumber(9), False),
        [(x509.CRLNumber(10), False), (x509.DeltaCRLIndicator(9), True)],
    )
    revoking = make(world.root, 10, EARLIER, base=9, key_id=None, revoked=True)
    complete = make(world.root, 9, EARLIER - HOUR, key_id=None)
    later = make(second, 12, key_id=None)
    assert judge(world, [complete, revoking, later][::order], second) == "GW207"
    held = crl(world.root, on_hold, starts=EARLIER, extra=[number])
    for by, verdict in ((world.root, "valid"), (second, "GW207")):
        release = crl(by, released, extra=delta)
        assert judge(world, [held, release][::order], second) == verdict


@pytest.mark.parametrize("order", [1, -1])
def test_of_two_lists_of_a_second_the_higher_number_counts(world: World, order: int) -> None:
    lists = [make(world.root, 10), make(world.root, 11, revoked=True)]
    assert judge(world, lists[::order]) == "GW207"


def encode(tag: int, content: bytes) -> bytes:
    """Encode a value in DER; its content has less than 65536 octets."""
    size = len(content).to_bytes(2, "big").lstrip(b"\x00")
    return bytes([tag]) + (size if len(content) < 128 else bytes([0x80 + len(size)]) + size) + content


def test_a_list_from_the_first_year_stops_nothing(world: World) -> None:
    listed = asn1_crl.CertificateList.load(make(world.root))
    begins = (NOW - HOUR).strftime("\x17\x0d%y%m%d%H%M%SZ").encode()
    tbs = encode(0x30, listed["tbs_cert_list"].contents.replace(begins, b"\x18\x0f00010101000000Z"))
    key = world.root.key
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    signature = asn1_core.OctetBitString(key.sign(tbs, ec.ECDSA(hashes.SHA256()))).dump()
    first = encode(0x30, tbs + listed["signature_algorithm"].dump() + signature)
    assert read(first).this_update.year == 1
    succession(world.root).check_list(read(first))
    assert judge(world, [first, make(world.root, revoked=True)]) == "GW207"
    assert judge(world, [first]) == "valid"
