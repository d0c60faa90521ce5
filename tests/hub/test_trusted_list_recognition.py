"""What stands between the judge and the lists: it asks them late, and believes them less."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from sqlalchemy import Engine

from gateway.errors import CERTIFICATE_UNTRUSTED, REVOCATION_UNKNOWN, GatewayError
from gateway.hub import RecognitionPolicy, TrustedListCache, import_trusted_list
from gateway.hub.trust.trusted_lists import LoadedTrustedLists, Recognizer
from gateway.pki import (
    DEFAULT_POLICY,
    CertificateExaminer,
    CertificateUse,
    RevocationData,
    TrustPolicy,
    TrustStore,
    Verdict,
    validate_octets,
)
from gateway.recognition import (
    RecognitionContext,
    SchemePointer,
    TrustedListDraft,
    open_trusted_list,
    sign_trusted_list,
)
from gateway.recognition.recognition_chain import compute_unchanged_until
from gateway.store import NewTrustedList, fetched_lists, make_engine, read_transaction, write_transaction
from gateway_conformance.pki import (
    CertificationAuthority,
    issue_certificate,
    make_authority,
    make_revocation_list,
)
from tests.kit.databases import BOTH_AT_LANDING
from tests.recognition import sample_lists
from tests.recognition.sample_lists import DAY, GRANTED, NOW, QC, SIGNATURES, country
from tests.recognition.test_etsi_trusted_list import Anybody

ZED = country("Zed")
TERMS = RecognitionPolicy(frozenset({country("Home").operator.certificate}))
CRL = make_revocation_list(ZED.authority, [], NOW - DAY, NOW + 30 * DAY)


def lists(engine: Engine) -> None:
    treaty = sample_lists.rule([f"{QC} {SIGNATURES}"], [GRANTED], "qualified")
    own, _ = sample_lists.own_list(schemes=(sample_lists.scheme("ZZ", "Zed", treaty),))
    theirs = sample_lists.etsi_list("ZZ", "Zed", [sample_lists.etsi_service(ZED.authority.certificate)])
    for octets in (own, theirs):
        import_trusted_list(engine, octets, NOW, TERMS)


@pytest.fixture(scope="module")
def recognizer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Recognizer]]:
    from gateway.store import migrate_schema

    engine = make_engine(f"sqlite:///{tmp_path_factory.mktemp('lists')}/gateway.sqlite3")
    migrate_schema(engine)
    lists(engine)

    def made(examine: Any = None, terms: RecognitionPolicy = TERMS) -> Recognizer:
        found = Recognizer(terms, examine)
        with read_transaction(engine) as conn:
            found.reload_lists(conn)
        return found

    yield made
    engine.dispose()


def judged(by: Recognizer, *crls: bytes, policy: TrustPolicy = DEFAULT_POLICY, at: datetime = NOW) -> Verdict:
    store = TrustStore((country("Home").authority.certificate,), policy=policy)
    return by(ZED.party.certificate.der, CertificateUse.SIGNING, at, store, RevocationData(crls))


@pytest.mark.long
def test_what_a_list_admits_is_judged_in_the_process_that_may_be_killed(
    recognizer: Callable[..., Recognizer],
) -> None:
    examiner = CertificateExaminer()
    try:
        verdict = judged(recognizer(examiner), CRL)
    finally:
        examiner.close()
    assert (verdict.status, verdict.mode, verdict.levels) == ("valid", "trust-list", {"qualified"})
    assert verdict.source == "ZZ 5: P, A service, by KR 7"
    assert verdict.path == (ZED.party.certificate, ZED.authority.certificate)


def test_a_verdict_is_good_no_longer_than_the_lists_say_the_same(
    recognizer: Callable[..., Recognizer],
) -> None:
    verdict = judged(recognizer(), CRL, at=NOW + 29 * DAY)
    assert verdict.status == "valid"
    # Both lists are due in thirty days, when the revocation list is too.
    assert verdict.valid_until == NOW + 30 * DAY - timedelta(microseconds=1)


def test_what_policy_tolerates_of_our_own_it_does_not_of_others(
    recognizer: Callable[..., Recognizer],
) -> None:
    uses = {**DEFAULT_POLICY.uses}
    uses[CertificateUse.SIGNING] = replace(uses[CertificateUse.SIGNING], accept_indeterminate=True)
    verdict = judged(recognizer(), policy=replace(DEFAULT_POLICY, uses=uses))
    assert (verdict.status, verdict.problem, verdict.is_accepted) == (
        "indeterminate",
        REVOCATION_UNKNOWN,
        False,
    )


def test_no_list_takes_back_what_our_own_anchors_find_revoked(tmp_path: Path) -> None:
    """Lists of others know one key of an authority; a list by its other key, or of its issuer, revokes."""
    from gateway.store import migrate_schema

    root = make_authority("CN=National Root", NOW - 30 * DAY, path_length=2)
    earlier, newer = (
        make_authority("CN=National Sub", NOW - 30 * DAY, issuer=root, path_length=0) for _ in range(2)
    )
    party = issue_certificate(earlier, "CN=Party", NOW - DAY).certificate
    treaty = sample_lists.rule([f"{QC} {SIGNATURES}"], [GRANTED], "qualified")
    own, _ = sample_lists.own_list(schemes=(sample_lists.scheme("ZZ", "Zed", treaty),))
    theirs = sample_lists.etsi_list("ZZ", "Zed", [sample_lists.etsi_service(earlier.certificate)])
    engine = make_engine(f"sqlite:///{tmp_path}/gateway.sqlite3")
    migrate_schema(engine)
    for octets in (own, theirs):
        import_trusted_list(engine, octets, NOW, TERMS)
    recognizer = Recognizer(TERMS)
    with read_transaction(engine) as conn:
        recognizer.reload_lists(conn)

    def list_revoked(authority: CertificationAuthority, *serials: int) -> bytes:
        return make_revocation_list(authority, serials, NOW - DAY, NOW + DAY)

    def judge(*lists: bytes, anchor: CertificationAuthority = root) -> str:
        trust = TrustStore((anchor.certificate,), (earlier.certificate, newer.certificate))
        verdict = recognizer(party.der, CertificateUse.SIGNING, NOW, trust, RevocationData(lists))
        return verdict.problem.id if verdict.problem else verdict.mode

    clear = [list_revoked(root), list_revoked(earlier)]
    assert judge(*clear) == "anchor"
    assert judge(*clear, anchor=country("Home").authority) == "trust-list"
    assert judge(*clear, list_revoked(newer, party.serial)) == "GW207"
    assert judge(list_revoked(root, earlier.certificate.serial), list_revoked(earlier)) == "GW207"
    engine.dispose()


@pytest.mark.parametrize("fails_at", [1, 2])
def test_a_judgement_that_could_not_be_made_refuses_nobody(
    recognizer: Callable[..., Recognizer], fails_at: int
) -> None:
    """Neither by our own anchors nor by those of a list: whoever asks again is judged again."""
    asked = 0

    def examine(leaf: bytes, use: CertificateUse, at: datetime, *known: Any) -> Verdict:
        nonlocal asked
        asked += 1
        if asked == fails_at:
            return Verdict.make_transient("ended", at)
        return validate_octets(leaf, use, at, *known)

    verdict = judged(recognizer(examine), CRL)
    assert (verdict.is_transient, verdict.is_accepted, asked) == (True, False, fails_at)


def test_octets_that_are_no_certificate_are_refused_as_ever(recognizer: Callable[..., Recognizer]) -> None:
    store = TrustStore((country("Home").authority.certificate,))
    verdict = recognizer()(b"\x30\x00", CertificateUse.SIGNING, NOW, store, RevocationData())
    assert (verdict.status, verdict.problem, verdict.mode) == ("invalid", CERTIFICATE_UNTRUSTED, "anchor")


def test_of_a_closed_list_no_update_is_due() -> None:
    _, root = sample_lists.own_list()
    for held, dues in ((root, 1), (replace(root, next_update=None), 0), (None, 0)):
        recognizer = Recognizer()
        lists = LoadedTrustedLists(held)
        recognizer.list_cache = cast("Any", SimpleNamespace(load_lists=lambda *_, lists=lists: lists))
        recognizer.reload_lists(cast("Any", None))
        assert len(list(recognizer.list_due_updates(NOW + 31 * DAY))) == dues


def test_until_when_lists_stay_as_they_are() -> None:
    later = sample_lists.rule(["ca"], ["granted"], "basic", since=NOW + 5 * DAY, until=NOW + 9 * DAY)
    ended = replace(later, since=NOW - 9 * DAY, until=NOW - 5 * DAY)
    begins = sample_lists.standing("ca", "granted", -7)
    _, root = sample_lists.own_list(
        rules=(later, ended), services=(sample_lists.service(ZED.authority, begins),)
    )
    recognition = RecognitionContext(sample_lists.trust(), root)
    found, at = [], NOW
    for _ in range(4):
        at = compute_unchanged_until(recognition, at) + timedelta(microseconds=1)
        found.append((at - NOW) / DAY)
    assert found == [5, 7, 9, 30]
    assert compute_unchanged_until(recognition, NOW + 31 * DAY).year == 9999


@BOTH_AT_LANDING
def test_of_a_territory_the_last_list_counts_and_of_roots_each_signers(engine: Engine) -> None:
    def add(conn: Any, territory: str, sequence: int, named_by: str | None, signer: bytes = b"one") -> int:
        new = NewTrustedList(
            form="own",
            territory=territory,
            sequence=sequence,
            sha256=f"{territory}{sequence}",
            signer=signer,
            issued=NOW,
            next_update=None,
            content=f"{territory} {sequence}".encode(),
            named_by=named_by,
            taken_by="operator",
        )
        return fetched_lists.insert_trusted_list(conn, new, NOW)

    with write_transaction(engine) as conn:
        for words in (
            ("KR", 1, None),
            ("ZZ", 1, "KR 1"),
            ("KR", 2, None),
            ("KR", 1, None, b"other"),
            ("YY", 3, "KR 2"),
            ("ZZ", 2, "KR 2"),
        ):
            number = add(conn, *words)
    with read_transaction(engine) as conn:
        found = [(row.territory, row.sequence) for row in fetched_lists.list_latest_trusted_lists(conn)]
        assert fetched_lists.get_trusted_list_content(conn, number) == b"ZZ 2"
        assert len(fetched_lists.list_all_trusted_lists(conn)) == 6
    assert found == [("KR", 2), ("KR", 1), ("YY", 3), ("ZZ", 2)]


@pytest.mark.vectors
def test_published_lists_come_by_way_of_the_list_of_lists(sqlite_url: str, vectors: Path) -> None:
    """We name who signs the European list of lists; that one names who signs the Irish list."""
    folder = vectors / "vectors" / "dss" / "tsl"
    at = datetime(2019, 10, 10, tzinfo=UTC)
    operator = make_authority("CN=Operator", at - DAY, "p-256")
    ours = issue_certificate(operator, "CN=Lists", at - DAY).signer
    first = (folder / "eu-lotl.xml").read_bytes()
    europe = open_trusted_list(first, Anybody()).signer  # type: ignore[arg-type]
    draft = TrustedListDraft(
        "Home", "KR", 1, at + 30 * DAY, schemes=(SchemePointer("EU", (europe,), rules=()),)
    )
    engine, terms = make_engine(sqlite_url), RecognitionPolicy(frozenset({ours.certificate}))

    def take(octets: bytes) -> tuple[str, int, int | None, str | None]:
        done = import_trusted_list(engine, octets, at, terms)
        return done.list.territory, done.list.sequence, done.previous_sequence, done.named_by

    irish = (folder / "ie-tl.xml").read_bytes()
    assert take(sign_trusted_list(draft, ours, now=at - timedelta(hours=1))) == ("KR", 1, None, None)
    with pytest.raises(GatewayError, match="GW205"):
        take(irish)
    assert take(first) == ("EU", 248, None, "KR 1")
    assert take(irish) == ("IE", 18, None, "EU 248")
    assert take((folder / "eu-lotl-250.xml").read_bytes()) == ("EU", 250, 248, "KR 1")
    for octets, problem in (
        (first, "GW804 sequence number 248, and 250 is in hand"),
        ((folder / "eu-lotl-broken-sig.xml").read_bytes(), "GW202"),
        ((folder / "eu-lotl-pivot.xml").read_bytes(), "GW205"),
        ((folder / "fi-v5.xml").read_bytes(), "GW205"),
    ):
        with pytest.raises(GatewayError, match=problem):
            take(octets)
    with read_transaction(engine) as conn:
        lists = TrustedListCache().load_lists(conn, terms)
    found = RecognitionContext(TrustStore(()), lists.root, lists.others).list_current_lists(at)
    assert [(each.territory, each.sequence) for each, _ in found] == [("KR", 1), ("EU", 250), ("IE", 18)]
    engine.dispose()
