"""What was fetched is put in force when it is signed by its issuer, fresh, and no older than what is held."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from cryptography import x509

from gateway import errors
from gateway.errors import GatewayError
from gateway.pki import (
    AcceptanceTerms,
    Certificate,
    RevocationList,
    TrustPolicy,
    TrustStore,
    accept_delta_list,
    accept_revocation_list,
    check_issuer_path,
    is_issued_by,
    read_certificate,
    read_policy,
    read_revocation_lists,
)
from gateway_conformance.pki import CertificationAuthority, make_authority
from tests.pki.certificate_forgery import DAY, HOUR, NOW, Forgery, crl, entry, scope
from tests.pki.conftest import World


def expected(
    world: World, by: Certificate | None = None, at: datetime = NOW, **policy: Any
) -> AcceptanceTerms:
    trust = TrustStore((world.root.certificate,), (world.sub.certificate,), TrustPolicy(**policy))
    return AcceptanceTerms(by or world.sub.certificate, trust, at)


def refusal(data: bytes, wanted: AcceptanceTerms, held: RevocationList | None = None) -> str:
    with pytest.raises(GatewayError) as caught:
        accept_revocation_list(data, wanted, held)
    assert caught.value.problem is errors.FETCHED_REFUSED
    return caught.value.detail


def numbered(world: World, number: int, **words: Any) -> bytes:
    return crl(world.sub, extra=[(x509.CRLNumber(number), False)], **words)


def one(data: bytes) -> RevocationList:
    return read_revocation_lists(data)[0]


def test_a_list_of_the_issuer_is_taken(world: World) -> None:
    found = accept_revocation_list(numbered(world, 3), expected(world))
    assert (found.number, found.issuer) == (3, "CN=Sub,C=KR")


def test_an_indirect_list_and_one_cut_by_points_are_taken(world: World) -> None:
    point = [x509.UniformResourceIdentifier("http://lists.example/1.crl")]
    for words in ({"indirect_crl": True}, {"full_name": point}, {"only_contains_user_certs": True}):
        assert (
            accept_revocation_list(crl(world.sub, extra=[(scope(**words), True)]), expected(world)).scope
            is not None
        )


def test_what_could_never_help_is_refused(world: World) -> None:
    wanted = expected(world)
    assert "attribute" in refusal(
        crl(world.sub, extra=[(scope(only_contains_attribute_certs=True), True)]), wanted
    )
    assert "critical extension" in refusal(
        crl(
            world.sub,
            [entry(1, extra=[(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3"), b""), True)])],
        ),
        wanted,
    )
    assert "no number" in refusal(crl(world.sub, number=False), wanted)
    assert "changes" in refusal(crl(world.sub, extra=[(x509.DeltaCRLIndicator(1), True)]), wanted)
    assert "where one of" in refusal(crl(world.root), wanted)
    assert "not signed" in refusal(crl(world.sub, key=world.root.key), wanted)


@pytest.mark.parametrize(
    ("at", "words"),
    [
        (NOW - HOUR - timedelta(seconds=301), "is in the future"),
        (NOW - HOUR - timedelta(seconds=300), ""),
        (NOW + 7 * DAY, ""),
        (NOW + 7 * DAY + timedelta(seconds=1), "it ended"),
    ],
)
def test_a_list_is_taken_while_it_is_in_force(world: World, at: datetime, words: str) -> None:
    wanted, data = expected(world, at=at), numbered(world, 3)
    if not words:
        assert accept_revocation_list(data, wanted).number == 3
    else:
        assert words in refusal(data, wanted)


def test_a_list_that_is_too_old_by_the_policy_is_refused(world: World) -> None:
    policy = read_policy(b"[revocation]\ncrl_age_most_hours = 2\n", "policy.toml")
    assert (
        accept_revocation_list(numbered(world, 3), expected(world, crl_age_most=policy.crl_age_most)).number
        == 3
    )
    late = expected(world, at=NOW + 2 * HOUR, crl_age_most=policy.crl_age_most)
    assert "it ended" in refusal(numbered(world, 3), late)


def test_nothing_is_rolled_back(world: World) -> None:
    wanted, held = expected(world), one(numbered(world, 3, starts=NOW - 2 * HOUR))
    assert accept_revocation_list(numbered(world, 3), wanted, held).number == 3
    assert accept_revocation_list(numbered(world, 4, starts=NOW - 2 * HOUR), wanted, held).number == 4
    assert "rolled back" in refusal(numbered(world, 2), wanted, held)
    assert "before the one in force" in refusal(numbered(world, 4, starts=NOW - 3 * HOUR), wanted, held)
    same = one(numbered(world, 3))
    assert accept_revocation_list(numbered(world, 3), wanted, same).number == 3
    assert "same number and time" in refusal(numbered(world, 3, revoked=[entry(5)]), wanted, same)


def test_a_list_whose_key_identifier_does_not_fit_is_refused(world: World) -> None:
    """No judgement could rest on it; the settings name the authority's certificate of before."""
    key_id = x509.AuthorityKeyIdentifier(b"\1" * 20, None, None)
    octets = crl(world.sub, extra=[(x509.CRLNumber(3), False), (key_id, False)])
    assert "its key identifier is not that of CN=Sub,C=KR" in refusal(octets, expected(world))


def test_a_list_in_force_with_a_long_number_is_forgotten_first(world: World) -> None:
    held = one(crl(world.sub, extra=[(x509.CRLNumber(1 << 20000), False)]))
    assert "forget this source first" in refusal(numbered(world, 3), expected(world), held)


def test_changes_fit_no_list_of_another_key(world: World) -> None:
    another_key = make_authority("CN=Sub,C=KR", NOW - DAY, issuer=world.root)
    complete = [one(numbered(world, 3)), one(crl(another_key, extra=[(x509.CRLNumber(5), False)]))]
    with pytest.raises(GatewayError, match="none that it fits"):
        accept_delta_list(changes(world, 5, 6), expected(world), None, complete)
    assert accept_delta_list(changes(world, 3, 6), expected(world), None, complete).number == 6


def test_settings_that_changed_put_nothing_aside(world: World) -> None:
    """The list in force may be the only one that says who was revoked."""
    wanted = expected(world)
    of_root = one(crl(world.root, extra=[(x509.CRLNumber(1), False)]))
    reason = refusal(numbered(world, 3), wanted, of_root)
    assert "the one in force is of CN=Root,C=KR" in reason
    assert "forget this source first" in reason
    another_key = make_authority("CN=Sub,C=KR", NOW - DAY, issuer=world.root)
    by_other_key = one(crl(another_key, extra=[(x509.CRLNumber(1), False)]))
    assert by_other_key.issuer_key == one(numbered(world, 3)).issuer_key
    assert "the one in force is by another key" in refusal(numbered(world, 3), wanted, by_other_key)
    assert "is a list of changes" in refusal(numbered(world, 7), wanted, one(changes(world, 3, 6)))
    with pytest.raises(GatewayError, match=r"GW606 .* is a complete list"):
        accept_delta_list(changes(world, 3, 6), wanted, same := one(numbered(world, 3)), [same])


def changes(world: World, base: int, number: int, **words: Any) -> bytes:
    extra = [(x509.CRLNumber(number), False), (x509.DeltaCRLIndicator(base), True)]
    return crl(world.sub, extra=extra, **words)


@pytest.mark.parametrize(
    ("base", "number", "fits"),
    [(3, 4, True), (1, 4, True), (4, 5, False), (3, 3, True), (1, 2, True)],
)
def test_changes_fit_a_list_in_hand(world: World, base: int, number: int, fits: bool) -> None:
    wanted, complete = expected(world), [one(numbered(world, 3))]
    if fits:
        assert accept_delta_list(changes(world, base, number), wanted, None, complete).base_number == base
    else:
        with pytest.raises(GatewayError, match="none that it fits"):
            accept_delta_list(changes(world, base, number), wanted, None, complete)
    with pytest.raises(GatewayError, match="none that it fits"):
        accept_delta_list(changes(world, base, number), wanted, None, [one(crl(world.root))])


def test_changes_signed_a_second_after_the_complete_list_of_their_number_are_taken(world: World) -> None:
    complete = [one(numbered(world, 10))]
    later = changes(world, 9, 10, starts=NOW - HOUR + timedelta(seconds=1))
    assert accept_delta_list(later, expected(world), None, complete).number == 10


def test_older_changes_do_not_take_the_place_of_newer_ones(world: World) -> None:
    wanted, complete = expected(world), [one(numbered(world, 3))]
    held = one(changes(world, 3, 6))
    assert accept_delta_list(changes(world, 3, 7), wanted, held, complete).number == 7
    with pytest.raises(GatewayError) as caught:
        accept_delta_list(changes(world, 3, 5), wanted, held, complete)
    assert caught.value.problem is errors.FETCHED_REFUSED


def test_changes_belong_to_a_list_of_the_same_scope(world: World) -> None:
    cut = one(crl(world.sub, extra=[(x509.CRLNumber(3), False), (scope(only_contains_ca_certs=True), True)]))
    with pytest.raises(GatewayError, match="none that it fits"):
        accept_delta_list(changes(world, 3, 4), expected(world), None, [cut])
    with pytest.raises(GatewayError, match="complete list"):
        accept_delta_list(numbered(world, 4), expected(world), None, [one(numbered(world, 3))])


def test_a_list_that_is_cut_otherwise_takes_no_place(world: World) -> None:
    """Whoever sits on the way could put a list of few in the place of that of all, and keep it there."""
    wanted, held = expected(world), one(numbered(world, 3))
    few = [(x509.CRLNumber(900), False), (scope(only_contains_ca_certs=True), True)]
    assert "is cut to other" in refusal(crl(world.sub, extra=few), wanted, held)
    assert "is cut to other" in refusal(numbered(world, 901), wanted, one(crl(world.sub, extra=few)))


def test_no_number_and_no_time_is_too_large_to_be_refused(world: World) -> None:
    numbers = (x509.CRLNumber(1 << 159), x509.CRLNumber(1 << 160), x509.CRLNumber(1 << 20000))
    wanted = expected(world, crl_age_most=timedelta(hours=2))
    found = [crl(world.sub, extra=[(number, False)]) for number in numbers]
    assert accept_revocation_list(found[0], wanted).number == 1 << 159
    for long in found[1:]:
        assert "longer than 20 octets" in refusal(long, wanted, one(numbered(world, 3)))
    last = datetime(9999, 12, 31, 23, 59, tzinfo=NOW.tzinfo)
    assert "is in the future" in refusal(numbered(world, 4, starts=last, ends=last), wanted)


def test_an_issuer_that_leads_nowhere_is_refused(world: World) -> None:
    for name, reason in (("CN=Nobody", "no path leads"), ("CN=Sub,C=KR", "signature")):
        stranger = make_authority(name, NOW - DAY)
        with pytest.raises(GatewayError, match=reason):
            check_issuer_path(expected(world, stranger.certificate))
    with pytest.raises(GatewayError, match="expired"):
        check_issuer_path(expected(world, at=world.sub.certificate.not_after + DAY))
    check_issuer_path(expected(world))


def test_an_issuer_that_may_not_sign_lists_is_refused(world: World) -> None:
    forged = Forgery("Sub", ca=False)
    party = read_certificate(forged.der(world.root))
    assert "may not sign lists" in refusal(
        crl(CertificationAuthority(forged.key, party)),
        AcceptanceTerms(party, TrustStore((world.root.certificate,)), NOW),
    )


def test_who_issued_a_certificate(world: World) -> None:
    trust = expected(world).trust
    assert is_issued_by(world.party.certificate, world.sub.certificate, trust)
    assert is_issued_by(world.sub.certificate, world.root.certificate, trust)
    assert not is_issued_by(world.party.certificate, world.root.certificate, trust)
    twin = make_authority("CN=Sub,C=KR", NOW - DAY, issuer=world.root)
    both = TrustStore((world.root.certificate,), (world.sub.certificate, twin.certificate))
    assert not is_issued_by(world.party.certificate, twin.certificate, both)


def test_what_is_fetched_contradicts_no_list_in_hand(world: World) -> None:
    """A list of the settings, or a loaded one, of the same key and kind."""
    in_hand = [one(numbered(world, 20, starts=NOW - 2 * HOUR))]
    with pytest.raises(GatewayError, match=r"GW606 .*number 3 of .* but number 20 of .* is in force here"):
        accept_revocation_list(numbered(world, 3), expected(world), None, in_hand)
    assert accept_revocation_list(numbered(world, 21), expected(world), None, in_hand).number == 21
    assert accept_revocation_list(crl(world.root), expected(world, world.root.certificate), None, in_hand)
