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
    path_validation,
    read_certificate,
    read_revocation_lists,
    validate_path,
)
from gateway.pki.path_building import PathFailure
from gateway.pki.revocation_data import RevocationList
from gateway_conformance.pki import CertificationAuthority, make_authority
from tests.pki.certificate_forgery import DAY, HOUR, NOW, Forgery, crl, entry, scope
from tests.pki.conftest import World
from tests.pki.test_ocsp import BAD, Answer

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
        ({"number": 3}, {"part": USERS}, False),
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
    assert succession(world.sub, world.root).repeats_list(*lists) is repeats
    # A signature that nobody verified proves nothing.
    assert not succession(world.sub).repeats_list(*lists)


@pytest.mark.parametrize("key_id", [b"", None])
def test_a_list_of_another_key_repeats_nothing(world: World, key_id: bytes | None) -> None:
    other = other_key(world)
    earlier = read(make(world.root, at=EARLIER, key_id=key_id))
    later, again = read(make(other, 10, key_id=key_id)), read(make(world.root, 10, key_id=key_id))
    assert earlier.issuer_key == later.issuer_key
    for authorities in ((world.root, other), (other, world.root), (world.root,)):
        assert not succession(*authorities).repeats_list(later, earlier)
        assert succession(*authorities).repeats_list(again, earlier)


def test_another_certificate_of_the_same_key_is_the_same_signer(world: World) -> None:
    renewed = replace(world.root, certificate=read_certificate(_renew(world.root)))
    lists = read(make(world.root, 10)), read(make(world.root, at=EARLIER, key_id=None))
    assert succession(renewed).repeats_list(*lists)


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
    with pytest.raises(GatewayError, match="signed by no authority"):
        rules.check_list(read(make(world.root, key_id=b"\1" * 20)))
    for octets in (make(world.root), make(world.root, at=NOW + timedelta(minutes=5)), make(world.sub)):
        rules.check_list(read(octets))


def test_a_list_whose_signer_has_ended_is_refused(world: World) -> None:
    """No judgement could rest on it, and it would put the one in force aside."""
    ended = ListSuccession((world.root.certificate,), world.root.certificate.not_after + DAY)
    with pytest.raises(GatewayError, match="that signed it is not valid now"):
        ended.check_list(read(make(world.root, 10, ended.at - HOUR, ends=ended.at + DAY)))


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


def test_two_lists_of_one_number_and_second_have_the_same_entries(world: World) -> None:
    rules, held = succession(world.root, world.sub), [read(make(world.root, 9))]
    with pytest.raises(GatewayError, match=r"GW208 .*number 9 of .* is in force with other entries"):
        rules.check_order(read(make(world.root, 9, revoked=True)), held)
    for octets in (
        make(world.root, 9),
        make(world.root, 9, ends=NOW + DAY),
        make(world.root, 9, part=USERS, revoked=True),
        make(world.sub, 9, revoked=True),
        make(world.root, 9, base=8, revoked=True),
    ):
        rules.check_order(read(octets), held)
    changes = [read(make(world.root, 9, base=7, revoked=True))]
    rules.check_order(read(make(world.root, 9, base=8)), changes)
    with pytest.raises(GatewayError, match="with other entries"):
        rules.check_order(read(make(world.root, 9, base=7)), changes)


def test_a_list_that_proves_nothing_refuses_no_other_one(world: World) -> None:
    rules, crl = succession(world.root), read(make(world.root, 9))
    rules.check_order(crl, [read(make(world.root, 8, NOW + DAY))])
    rules.check_order(crl, [read(make(world.root, 1 << 20000, EARLIER))])
    attributes = scope(only_contains_attribute_certs=True)
    rules.check_order(
        read(make(world.root, 9, part=attributes)), [read(make(world.root, 10, EARLIER, part=attributes))]
    )


@pytest.mark.parametrize("bit", [160, 20000])
def test_a_number_longer_than_20_octets_is_refused(world: World, bit: int) -> None:
    rules, number = succession(world.root), 1 << bit
    for octets in (make(world.root, number), make(world.root, 9, base=number)):
        with pytest.raises(GatewayError, match=r"GW208 .*Root.*longer than 20 octets"):
            rules.check_list(read(octets))
    rules.check_list(read(make(world.root, (1 << 160) - 1)))


def judge(
    world: World,
    lists: Sequence[bytes],
    *others: CertificationAuthority,
    responses: Sequence[bytes] = (),
    leaf: bytes | None = None,
) -> str:
    """Return the verdict on a certificate of the root, where the root also has an older clear list."""
    certificate = read_certificate(leaf or Forgery(serial=SERIAL).der(world.root))
    store = TrustStore((world.root.certificate,), tuple(each.certificate for each in others))
    data = RevocationData([*lists, make(world.root, 1, at=EARLIER - DAY)], responses=responses)
    verdict = validate_path(certificate, NOW, CertificateUse.SIGNING, store, data)
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
    assert judged(make(second, 11, EARLIER, ends=ends, revoked=True), make(second, 12)) == "valid"


def test_the_list_of_another_key_takes_no_answer_of_a_responder_back(world: World) -> None:
    second = make_authority(get_name(world), NOW - 30 * DAY, issuer=world.root, path_length=0)
    leaf = Forgery(serial=SERIAL).der(world.root)
    ends = NOW - timedelta(minutes=30)
    answer = Answer(read_certificate(leaf), world.root.certificate, BAD, EARLIER, ends)
    revoked = [answer.der(world.root.certificate, world.root.key)]

    def judged(*lists: bytes) -> str:
        return judge(world, lists, second, responses=revoked, leaf=leaf)

    assert judged() == "GW207"
    assert judged(make(second, 12)) == "GW207"
    assert judged(make(second, 12), make(world.root, 12)) == "valid"


def test_the_issuer_of_lists_that_a_certificate_names_takes_an_answer_back(world: World) -> None:
    named = make_authority("CN=Lists,C=KR", NOW - 30 * DAY, issuer=world.root, path_length=0)
    issuers = [x509.DirectoryName(x509.load_der_x509_certificate(named.certificate.der).subject)]
    points = x509.CRLDistributionPoints([x509.DistributionPoint(None, None, None, issuers)])
    leaf = Forgery(serial=SERIAL, extra=[(points, False)]).der(world.root)
    answer = Answer(read_certificate(leaf), world.root.certificate, BAD, EARLIER, NOW - timedelta(minutes=30))
    revoked = [answer.der(world.root.certificate, world.root.key)]
    for at, verdict in ((NOW - HOUR, "valid"), (EARLIER - HOUR, "GW207")):
        indirect = make(named, 9, at, part=INDIRECT)
        assert judge(world, [indirect], named, responses=revoked, leaf=leaf) == verdict


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize(
    ("ended", "fresh", "verdict"),
    [
        ({"number": 11}, {"number": 10}, "GW207"),
        ({"number": 11}, {"number": 11}, "GW207"),
        ({"number": 11}, {"number": 12}, "valid"),
        ({"number": 11}, {"number": 10, "at": EARLIER + timedelta(seconds=1)}, "valid"),
        ({"number": 11, "base": 9}, {"number": 10}, "GW207"),
        ({"number": 11, "base": 9}, {"number": 11}, "valid"),
        # Changes take nothing back that a complete list said.
        ({"number": 11}, {"number": 12, "base": 9, "at": NOW - HOUR}, "GW207"),
        ({"number": 11, "part": USERS}, {"number": 50}, "GW207"),
        ({"number": 11, "part": USERS}, {"number": 2, "at": EARLIER + timedelta(seconds=1)}, "valid"),
        ({"number": 11, "part": USERS, "base": 9}, {"number": 2, "at": NOW - HOUR}, "valid"),
        # The changes of another part of the certificates are none of what the ended ones said.
        ({"number": 11, "part": USERS, "base": 9}, {"number": 12, "base": 9}, "GW207"),
    ],
)
def test_of_two_lists_of_a_second_the_lower_number_takes_nothing_back(
    world: World, order: int, ended: dict[str, Any], fresh: dict[str, Any], verdict: str
) -> None:
    ends = NOW - timedelta(minutes=30)
    lists = [
        make(world.root, revoked=True, ends=ends, **{"at": EARLIER, **ended}),
        make(world.root, **{"at": EARLIER, **fresh}),
    ]
    assert judge(world, lists[::order]) == verdict


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
    lists = [make(world.root, 11), make(world.root, 10, revoked=True)]
    assert judge(world, lists[::order]) == "valid"


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize(
    ("revoking", "clear"),
    [
        ({}, {}),
        ({}, {"number": 50, "part": USERS}),
        ({}, {"number": 2, "part": USERS}),
        ({"part": USERS}, {"number": 50}),
        ({"part": USERS}, {"number": 2}),
    ],
)
def test_where_lists_of_a_second_cannot_be_compared_each_revokes(
    world: World, order: int, revoking: dict[str, Any], clear: dict[str, Any]
) -> None:
    """Numbers of the parts are counted apart; the lists may have come by different ways."""
    lists = [make(world.root, revoked=True, **revoking), make(world.root, **clear)]
    assert judge(world, lists[::order]) == "GW207"
    assert judge(world, [*lists, make(world.root, 60, NOW - timedelta(minutes=1))]) == "valid"


@pytest.mark.parametrize("order", [1, -1])
def test_changes_of_a_later_time_than_the_complete_list_count(world: World, order: int) -> None:
    lists = [make(world.root, 10, EARLIER), make(world.root, 10, base=9, revoked=True)]
    assert judge(world, lists[::order]) == "GW207"


@pytest.mark.parametrize("order", [1, -1])
def test_changes_of_an_earlier_time_release_nothing(world: World, order: int) -> None:
    hold, release = (
        [entry(SERIAL, extra=[(x509.CRLReason(reason), False)])]
        for reason in (x509.ReasonFlags.certificate_hold, x509.ReasonFlags.remove_from_crl)
    )
    held = crl(world.root, hold, extra=[(x509.CRLNumber(10), False)])
    numbers = [(x509.CRLNumber(11), False), (x509.DeltaCRLIndicator(9), True)]
    for at, verdict in ((EARLIER, "GW207"), (NOW - HOUR, "valid")):
        released = crl(world.root, release, starts=at, extra=numbers)
        assert judge(world, [held, released][::order]) == verdict


def test_a_signer_is_judged_once_for_all_its_lists(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the time of a judgement grows with the power of keys times lists."""
    validated, validate_chain = [], path_validation.validate_chain

    def count_validation(*arguments: Any) -> PathFailure | None:
        validated.append(arguments)
        return validate_chain(*arguments)

    monkeypatch.setattr(path_validation, "validate_chain", count_validation)
    keys = [
        make_authority(get_name(world), NOW - 30 * DAY, issuer=world.root, path_length=0) for _ in range(3)
    ]
    ages = [timedelta(minutes=number + 1) for number in range(8)]
    lists = [make(key, 20 - step, NOW - age) for key in keys for step, age in enumerate(ages)]
    counts = []
    for some in (lists[::4], lists):
        validated.clear()
        assert judge(world, some, *keys) == "valid"
        counts.append(len(validated))
    assert counts[0] == counts[1] < 100


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
