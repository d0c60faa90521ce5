"""The judge remembers what it may, as long as it may."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway import errors
from gateway.pki import CertificateUse, CertificateValidator, RevocationData, TrustStore, Verdict
from gateway.pki import certificate_validation as trust_module
from gateway.pki.certificate_validation import REFUSAL_LIFETIME
from gateway_conformance.pki import issue_certificate, make_revocation_list
from tests.pki.certificate_forgery import DAY, NOW, Forgery
from tests.pki.conftest import World


class Count:
    """Counts how often a path was really validated; a refusal is validated twice, and counts once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls = 0
        real = trust_module.validate_path
        refused: list[tuple[Any, ...]] = []

        def counted(*arguments: Any) -> Verdict:
            verdict = real(*arguments)
            if refused == [arguments[1:]]:
                refused.clear()
                return verdict
            self.calls += 1
            refused[:] = [] if verdict.is_accepted else [arguments[1:]]
            return verdict

        monkeypatch.setattr(trust_module, "validate_path", counted)


@pytest.fixture
def count(monkeypatch: pytest.MonkeyPatch) -> Count:
    return Count(monkeypatch)


@pytest.fixture
def judge(world: World) -> CertificateValidator:
    return CertificateValidator(world.trust, world.revocations)


def test_a_second_question_is_answered_from_memory(world: World, judge: CertificateValidator, count: Count):
    octets = world.party.certificate.der
    first = judge(octets, CertificateUse.SIGNING, NOW)
    assert first.status == "valid"
    assert judge(bytes(bytearray(octets)), CertificateUse.SIGNING, NOW + DAY) is first
    assert count.calls == 1


def test_another_use_is_another_question(world: World, judge: CertificateValidator, count: Count):
    octets = world.party.certificate.der
    assert judge(octets, CertificateUse.SIGNING, NOW).status == "valid"
    assert judge(octets, CertificateUse.TLS_SERVER, NOW).problem is errors.CERTIFICATE_UNTRUSTED
    assert count.calls == 2


def test_memory_never_outlives_the_lists(world: World, judge: CertificateValidator, count: Count):
    octets = world.party.certificate.der
    end = judge(octets, CertificateUse.SIGNING, NOW).valid_until
    assert judge(octets, CertificateUse.SIGNING, end).status == "valid"
    assert count.calls == 1
    late = judge(octets, CertificateUse.SIGNING, end + timedelta(seconds=1))
    assert late.problem is errors.REVOCATION_UNKNOWN
    assert count.calls == 2


def test_memory_says_nothing_of_the_past(world: World, judge: CertificateValidator, count: Count):
    octets = world.party.certificate.der
    assert judge(octets, CertificateUse.SIGNING, NOW).status == "valid"
    assert judge(octets, CertificateUse.SIGNING, NOW - 2 * DAY).status != "valid"
    assert count.calls == 2


def test_new_lists_are_seen_at_once(world: World, judge: CertificateValidator, count: Count):
    octets = world.party.certificate.der
    assert judge(octets, CertificateUse.SIGNING, NOW).status == "valid"
    condemned = RevocationData(
        [world.root_crl, make_revocation_list(world.sub, [world.party.certificate.serial], NOW)]
    )
    assert judge.epoch == 0
    assert judge.replace_trust(revocations=condemned) == judge.epoch == 1
    assert not judge._valid_verdicts
    assert judge(octets, CertificateUse.SIGNING, NOW).problem is errors.CERTIFICATE_REVOKED
    assert judge.replace_trust(trust=TrustStore((world.sub.certificate,)), revocations=world.revocations) == 2
    verdict = judge(octets, CertificateUse.SIGNING, NOW)
    assert verdict.path[-1] == world.sub.certificate
    assert judge.replace_trust(epoch=77) == judge.epoch == 77
    assert count.calls == 3


def test_no_lists_is_not_the_same_as_no_change(world: World, judge: CertificateValidator):
    judge.replace_trust(revocations=RevocationData())
    assert (
        judge(world.party.certificate.der, CertificateUse.SIGNING, NOW).problem is errors.REVOCATION_UNKNOWN
    )


def test_a_verdict_of_an_old_epoch_is_not_kept(
    world: World, judge: CertificateValidator, monkeypatch: pytest.MonkeyPatch
):
    real = trust_module.validate_path

    def slow(*arguments: Any) -> Verdict:
        verdict = real(*arguments)
        monkeypatch.setattr(trust_module, "validate_path", real)
        judge.replace_trust(revocations=RevocationData())
        return verdict

    monkeypatch.setattr(trust_module, "validate_path", slow)
    assert judge(world.party.certificate.der, CertificateUse.SIGNING, NOW).status == "valid"
    assert not judge._valid_verdicts
    assert judge(world.party.certificate.der, CertificateUse.SIGNING, NOW).status == "indeterminate"


def test_refusals_are_remembered_briefly(world: World, judge: CertificateValidator, count: Count):
    octets = world.outcast.certificate.der
    first = judge(octets, CertificateUse.SIGNING, NOW)
    assert first.problem is errors.CERTIFICATE_REVOKED
    assert judge(octets, CertificateUse.SIGNING, NOW + REFUSAL_LIFETIME) is first
    assert count.calls == 1
    judge(octets, CertificateUse.SIGNING, NOW + REFUSAL_LIFETIME + timedelta(seconds=1))
    assert count.calls == 2


@pytest.mark.parametrize("at", [datetime.min, datetime.max, datetime.max - timedelta(seconds=30)])
def test_a_certificate_is_judged_at_the_ends_of_the_calendar(
    world: World, judge: CertificateValidator, count: Count, at: datetime
):
    octets, moment = world.party.certificate.der, at.replace(tzinfo=UTC)
    assert judge(octets, CertificateUse.SIGNING, moment).status == "invalid"
    assert judge(octets, CertificateUse.SIGNING, moment).status == "invalid"
    assert count.calls == 1


@pytest.mark.parametrize("octets", [b"", b"words", b"\x30\x03\x02\x01\x00"])
def test_what_is_no_certificate(judge: CertificateValidator, octets: bytes):
    verdict = judge(octets, CertificateUse.SIGNING, NOW)
    assert verdict.status == "invalid"
    assert verdict.problem is errors.CERTIFICATE_UNTRUSTED


def test_bad_certificates_displace_no_good_one(world: World, count: Count):
    judge = CertificateValidator(world.trust, world.revocations, capacity=8)
    judge(world.party.certificate.der, CertificateUse.SIGNING, NOW)
    for turn in range(50):
        judge(b"worthless %d" % turn, CertificateUse.SIGNING, NOW)
    assert len(judge._refusal_verdicts) <= 2
    judge(world.party.certificate.der, CertificateUse.SIGNING, NOW)
    assert count.calls == 1


def test_memory_has_an_end(world: World):
    judge = CertificateValidator(world.trust, world.revocations, capacity=4)
    for turn in range(10):
        party = issue_certificate(world.sub, f"Party {turn}", NOW)
        assert judge(party.certificate.der, CertificateUse.SIGNING, NOW).status == "valid"
        assert len(judge._valid_verdicts) <= 4


def test_a_known_certificate_costs_microseconds(world: World, judge: CertificateValidator):
    octets = world.party.certificate.der
    judge(octets, CertificateUse.SIGNING, NOW)
    best = min(_timed(judge, octets) for _ in range(20))
    # One microsecond where it was measured, path validation a thousand.
    assert best < 50e-6


def _timed(judge: CertificateValidator, octets: bytes) -> float:
    start = time.perf_counter()
    for _ in range(100):
        judge(octets, CertificateUse.SIGNING, NOW)
    return (time.perf_counter() - start) / 100


@pytest.mark.long
def test_many_threads_ask_at_once(world: World):
    judge = CertificateValidator(world.trust, world.revocations, capacity=8)
    parties = [issue_certificate(world.sub, f"Party {turn}", NOW).certificate.der for turn in range(12)]
    parties += [Forgery(serial=9000 + turn).der() for turn in range(4)]
    wrong: list[object] = []

    def ask(first: int) -> None:
        for turn in range(60):
            place = (first + turn) % len(parties)
            try:
                verdict = judge(parties[place], CertificateUse.SIGNING, NOW + timedelta(seconds=turn))
                if (verdict.status == "valid") != (place < 12):
                    wrong.append((place, verdict))
            except Exception as error:
                wrong.append(error)
            if turn % 20 == 0:
                judge.replace_trust()

    threads = [threading.Thread(target=ask, args=(first,)) for first in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_judge_can_be_told_its_epoch(world: World):
    assert CertificateValidator(world.trust, epoch=5).epoch == 5


def test_the_policy_of_the_store_is_the_judges(world: World):
    lax = replace(world.trust, policy=replace(world.trust.policy, revocation="if_present"))
    assert (
        CertificateValidator(lax)(world.party.certificate.der, CertificateUse.SIGNING, NOW).status == "valid"
    )
    moment: datetime = NOW
    assert (
        CertificateValidator(world.trust)(world.party.certificate.der, CertificateUse.SIGNING, moment).status
        == "indeterminate"
    )


def test_a_refusal_is_remembered_only_when_it_comes_twice(world: World):
    octets, asked = world.party.certificate.der, list[datetime]()
    good = Verdict("valid", None, "", (), NOW + DAY, NOW)
    bad = Verdict("invalid", errors.CERTIFICATE_UNTRUSTED, "a signature is wrong", (), NOW, NOW)
    answers = [bad, good, bad, bad]

    def examine(_der: bytes, _use: CertificateUse, at: datetime, *_given: object) -> Verdict:
        asked.append(at)
        return answers.pop(0)

    judge = CertificateValidator(world.trust, world.revocations, examine=examine)
    assert (judge(octets, CertificateUse.SIGNING, NOW).is_transient, len(asked)) == (True, 2)
    assert judge(octets, CertificateUse.SIGNING, NOW).status == "invalid"
    assert judge(octets, CertificateUse.SIGNING, NOW).status == "invalid"
    assert len(asked) == 4
