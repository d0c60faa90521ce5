"""A word that is fresh no more still condemns, unless a newer one has been heard since."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from cryptography import x509

from gateway.pki import (
    Certificate,
    CertificateUse,
    RevocationData,
    TrustStore,
    read_certificate,
    validate_path,
)
from tests.pki.certificate_forgery import DAY, HOUR, NOW, Forgery, crl, entry, scope
from tests.pki.conftest import World
from tests.pki.test_ocsp import BAD, GOOD, Answer

SERIAL = 4713
CLEAR, REVOKED = "valid", "GW207"
FEW = frozenset({x509.ReasonFlags.key_compromise})
REST = frozenset(x509.ReasonFlags) - FEW - {x509.ReasonFlags.unspecified, x509.ReasonFlags.remove_from_crl}


@pytest.fixture(scope="module")
def leaf(world: World) -> Certificate:
    return read_certificate(Forgery(serial=SERIAL).der(world.root))


def said(world: World, leaf: Certificate, lists: list[bytes], *responses: bytes) -> str:
    trust = TrustStore((world.root.certificate,))
    words = RevocationData(lists, responses=responses)
    verdict = validate_path(leaf, NOW, CertificateUse.SIGNING, trust, words)
    return verdict.problem.id if verdict.problem else verdict.status


def answer(world: World, leaf: Certificate, status: object, age: timedelta, ends: timedelta) -> bytes:
    made = Answer(leaf, world.root.certificate, status, NOW - age, NOW + ends)  # type: ignore[arg-type]
    return made.der(world.root.certificate, world.root.key)


def complete(world: World, starts: datetime, **words: object) -> bytes:
    return crl(world.root, extra=[(x509.CRLNumber(5), False)], starts=starts, **words)  # type: ignore[arg-type]


def changes(world: World, starts: datetime, ends: datetime, *, number: int = 6, key: object = None) -> bytes:
    extra = [(x509.CRLNumber(number), False), (x509.DeltaCRLIndicator(5), True)]
    return crl(world.root, [entry(SERIAL)], extra=extra, starts=starts, ends=ends, key=key)


def test_a_responder_that_falls_silent_brings_nobody_back(world: World, leaf: Certificate) -> None:
    """The list is older than the answer and knows nothing of it."""
    old = complete(world, NOW - 2 * DAY)
    assert said(world, leaf, [old]) == CLEAR
    assert said(world, leaf, [old], answer(world, leaf, BAD, 2 * HOUR, -HOUR)) == REVOKED


def test_changes_that_have_ended_bring_nobody_back(world: World, leaf: Certificate) -> None:
    old = complete(world, NOW - 2 * DAY)
    assert said(world, leaf, [old, changes(world, NOW - DAY, NOW - HOUR)]) == REVOKED


def test_a_newer_word_says_that_it_is_over(world: World, leaf: Certificate) -> None:
    """Else a suspension would never end."""
    revoked = answer(world, leaf, BAD, 2 * HOUR, -HOUR)
    newer = complete(world, NOW - HOUR)
    assert said(world, leaf, [newer], revoked) == CLEAR
    assert said(world, leaf, [complete(world, NOW - DAY)], revoked) == REVOKED
    fresh = answer(world, leaf, GOOD, HOUR, HOUR)
    assert said(world, leaf, [], revoked, fresh) == CLEAR
    assert said(world, leaf, [complete(world, NOW - DAY)], revoked, fresh) == CLEAR
    ended = changes(world, NOW - DAY, NOW - HOUR)
    assert said(world, leaf, [complete(world, NOW - 2 * DAY), ended], fresh) == CLEAR


def test_a_word_of_the_same_moment_says_that_it_is_over(world: World, leaf: Certificate) -> None:
    revoked = answer(world, leaf, BAD, 2 * HOUR, -HOUR)
    assert said(world, leaf, [complete(world, NOW - 2 * HOUR)], revoked) == CLEAR


def test_changes_that_repeat_earlier_ones_say_that_it_is_over(world: World, leaf: Certificate) -> None:
    old, ended = complete(world, NOW - 2 * DAY), changes(world, NOW - DAY, NOW - HOUR)

    def later(base: int, starts: datetime) -> bytes:
        extra = [(x509.CRLNumber(7), False), (x509.DeltaCRLIndicator(base), True)]
        return crl(world.root, extra=extra, starts=starts)

    assert said(world, leaf, [old, ended, later(5, NOW - HOUR)]) == CLEAR
    # Changes since a later list need not repeat the entry; changes of an earlier time do not know of it.
    assert said(world, leaf, [old, ended, later(6, NOW - HOUR)]) == REVOKED
    assert said(world, leaf, [old, ended, later(5, NOW - 2 * DAY)]) == REVOKED


def test_a_newer_word_on_some_reasons_is_not_enough(world: World, leaf: Certificate) -> None:
    revoked = answer(world, leaf, BAD, 2 * HOUR, -HOUR)
    number = (x509.CRLNumber(9), False)
    few = crl(world.root, extra=[number, (scope(only_some_reasons=FEW), True)])
    rest = crl(world.root, extra=[number, (scope(only_some_reasons=REST), True)])
    old = complete(world, NOW - DAY)
    assert said(world, leaf, [old, few], revoked) == REVOKED
    assert said(world, leaf, [old, few, rest], revoked) == CLEAR


def test_an_old_word_of_anybody_else_says_nothing(world: World, leaf: Certificate) -> None:
    old = complete(world, NOW - 2 * DAY)
    forged = changes(world, NOW - DAY, NOW - HOUR, key=world.sub.key)
    assert said(world, leaf, [old, forged]) == CLEAR
    made = Answer(leaf, world.root.certificate, BAD, NOW - 2 * HOUR, NOW - HOUR)
    assert said(world, leaf, [old], made.der(world.sub.certificate, world.sub.key)) == CLEAR
