"""Signers whom the authorities of others admit: each decision says by which way, and ends with its list."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from lxml import etree
from sqlalchemy import Engine

from gateway.cli.registration import load_crls, register_certificate
from gateway.errors import GatewayError
from gateway.evidence import list_subject_leaves
from gateway.hub import ImportedList, RecognitionPolicy, TrustedListCache, import_trusted_list
from gateway.hub.trust import (
    trusted_lists,
)
from gateway.hub.trust import trusted_lists as trust_lists
from gateway.hub.trust.trusted_lists import (
    Recognizer,
)
from gateway.message_model import ErrorSignal, PartyId, Payload, UserMessage
from gateway.operations import load_unchecked_agreement
from gateway.pki import CertificateUse, KeySigner, ListSuccession
from gateway.protocols import ProtocolContext
from gateway.recognition import EquivalenceRule, SchemePointer, TrustedListDraft, vouch_for_document
from gateway.store import fetched_lists as held
from gateway.store import make_engine, messages, parties, read_transaction, write_transaction
from gateway.wire import serialize_element
from gateway_conformance.pki import make_revocation_list
from tests.flows.craft import text
from tests.kit.audited import list_actions
from tests.kit.databases import BOTH
from tests.kit.house import AGREEMENT, PARTY_TYPE, Neighbour, authority, signer_named
from tests.kit.story import LABEL, Story
from tests.recognition import sample_lists
from tests.recognition.sample_lists import DAY, GRANTED, NOW, QC, SIGNATURES, WITHDRAWN, country

ZED = country("Zed").party.signer
OPERATOR = country("Home").operator.certificate
TREATY = sample_lists.rule([f"{QC} {SIGNATURES}"], [GRANTED], "qualified")
ON_VOUCHING = sample_lists.rule(["gold"], ["vouched"], "basic")
GATEWAY = "yan-gateway"


class Stranger(Neighbour):
    """A partner whose key another country's authority certified."""

    signer: KeySigner = ZED

    def context(self) -> ProtocolContext:
        return replace(super().context(), signers={self.name: self.signer})


def terms(**more: Any) -> RecognitionPolicy:
    return RecognitionPolicy(frozenset({OPERATOR}), **more)


def ours(sequence: int = 7, *more: SchemePointer, treaty: EquivalenceRule = TREATY, **words: object) -> bytes:
    voucher = SchemePointer("YY", (signer_named(GATEWAY).certificate,), "voucher", rules=(ON_VOUCHING,))
    schemes = (sample_lists.scheme("ZZ", "Zed", treaty), voucher, *more)
    return sample_lists.own_list(
        TrustedListDraft("Home", "KR", sequence, NOW + 30 * DAY), schemes=schemes, **words
    )[0]


def theirs(sequence: int = 5, status: str = GRANTED, **words: Any) -> bytes:
    service = sample_lists.etsi_service(country("Zed").authority.certificate, [(status, 40)])
    return sample_lists.etsi_list("ZZ", "Zed", [service], sequence=sequence, **words)


class Abroad:
    """A hub that recognises ZZ by its list and YY by its gateway, and a firm of each."""

    def __init__(
        self, engine: Engine, said: RecognitionPolicy | None = None, own: bytes | None = None
    ) -> None:
        self.story = Story(engine, terms=said or terms())
        self.engine, self.clock = engine, self.story.clock
        agreement = AGREEMENT.replace(b"broker1", b"zed")
        self.zed = Stranger("zed", self.clock, agreement)
        self.gateway = Neighbour(GATEWAY, self.clock, AGREEMENT.replace(b"broker1", GATEWAY.encode()))
        foreign = country("Zed").authority
        now = self.clock()
        with write_transaction(engine) as conn:
            self._party(conn, "zed", "applicant", ZED.certificate.der, "ZZ001")
            self._party(conn, "yan", "applicant", country("Yan").party.certificate.der, "YY001")
            self._party(conn, GATEWAY, "voucher", signer_named(GATEWAY).certificate.der)
            parties.insert_mandate(conn, GATEWAY, "yan", now)
            for one in (self.zed, self.gateway):
                load_unchecked_agreement(conn, one.agreement, "agreement", now)
            listed = make_revocation_list(foreign, [], now - timedelta(hours=1), now + 400 * DAY)
            load_crls(conn, listed, ListSuccession((foreign.certificate,), now))
        self.take(ours() if own is None else own)
        self.take(theirs())

    def _party(self, conn: Any, name: str, role: str, der: bytes, *ids: str) -> None:
        named = [PartyId(one, "urn:example:customs-id") for one in ids]
        parties.register_party(conn, name, name, role, self.clock(), [PartyId(name, PARTY_TYPE), *named])
        register_certificate(conn, name, der, self.clock())

    def take(self, octets: bytes) -> ImportedList:
        return import_trusted_list(self.engine, octets, self.clock(), self.story.house.terms)

    def submission(self, declarant: str, signer: KeySigner) -> etree._Element:
        return self.story.submission(text(".//Declarant/ID", declarant), signer)

    def vouched(self, *levels: str, territory: str = "YY", ago: timedelta = timedelta(0)) -> bytes:
        document = serialize_element(self.submission("YY001", country("Yan").party.signer))
        now = self.clock() - ago
        return vouch_for_document(document, levels or ("gold",), territory, signer_named(GATEWAY), now=now)

    def send(self, sender: Neighbour, content: bytes) -> tuple[UserMessage, str]:
        """Post a submission; returns the message, and "Receipt" or what it was refused for."""
        first = sender.message("Submit", content)
        label = Payload("korean-label@sample", "application/pdf", LABEL)
        unit = replace(first, payloads=(*first.payloads, label))
        said = sender.open(self.story.house.post(sender.seal(unit))).unit
        return unit, said.errors[0].description if isinstance(said, ErrorSignal) else type(said).__name__

    def said(self, sender: Neighbour) -> str:
        return self.send(sender, b"<a/>")[1]

    def ways(self, unit: UserMessage) -> list[dict[str, Any]]:
        """Return by which way the signer of a message, and that of what it carried, was admitted."""
        sender = unit.sender.ids[0].value
        with read_transaction(self.engine) as conn:
            row = messages.find_by_message_id(conn, "in", sender, unit.message_id)
            assert row is not None
            proofs = [
                *list_subject_leaves(conn, "message", row.id),
                *list_subject_leaves(conn, "case", row.case_id or 0),
            ]
        return [way for one in proofs if (way := json.loads(one.data).get("admitted"))]

    def problems(self) -> list[dict[str, str]]:
        case = self.story.case()
        assert case.state in ("REFUSED", "CLOSED")
        return list(case.detail["problems"])

    def audited(self) -> list[str]:
        with read_transaction(self.engine) as conn:
            return [row.outcome for row in list_actions(conn, action="trust_list.import")]


@pytest.fixture
def abroad(sqlite_url: str) -> Iterator[Abroad]:
    engine = make_engine(sqlite_url)
    yield Abroad(engine)
    engine.dispose()


@pytest.mark.long
@BOTH
def test_each_decision_says_by_which_way_its_signer_was_admitted(engine: Engine) -> None:
    abroad = Abroad(engine)
    story = abroad.story
    home = story.submit()
    listed, told = abroad.send(abroad.zed, serialize_element(abroad.submission("ZZ001", ZED)))
    document = abroad.vouched()
    carried, answered = abroad.send(abroad.gateway, document)
    assert (told, answered) == ("Receipt", "Receipt")
    story.worker.run_once()
    anchor = {"mode": "anchor", "source": "CN=Test CA"}
    message, case = abroad.ways(home)
    assert message == anchor
    assert anchor.items() <= case.items()
    message, case = abroad.ways(listed)
    source = "ZZ 5: P, A service, by KR 7"
    assert message == {"mode": "trust-list", "source": source, "levels": ["qualified"]}
    assert message.items() <= case.items()
    assert case["certificate"] == ZED.certificate.sha256
    message, case = abroad.ways(carried)
    assert message == anchor
    assert (case["mode"], case["levels"]) == ("vouched", ["basic"])
    assert case["source"] == f"CN={GATEWAY} ({GATEWAY}) for YY, by KR 7"
    assert case["certificate"] == country("Yan").party.certificate.sha256
    assert case["voucher"]["certificate"] == signer_named(GATEWAY).certificate.sha256
    assert anchor.items() <= case["voucher"].items()
    found = story.case()
    assert (found.declarant, found.applicant) == ("yan", GATEWAY)
    with read_transaction(engine) as conn:
        # Both signatures are kept, octet for octet, in what was received.
        assert messages.load_payloads(conn, found.message)[0].content == document


@pytest.mark.long
def test_what_a_newer_list_withdraws_is_refused_at_the_next_message(engine: Engine) -> None:
    abroad = Abroad(engine)
    assert abroad.said(abroad.zed) == "Receipt"
    done = abroad.take(theirs(6, WITHDRAWN))
    assert (done.was_activated, done.previous_sequence, done.named_by) == (True, 5, "KR 7")
    assert abroad.said(abroad.zed).startswith("GW205 A service is 'withdrawn' on the list of ZZ")
    # Back to the list that admitted him: nobody can.
    with pytest.raises(GatewayError, match="GW804 sequence number 5, and 6 is in hand"):
        abroad.take(theirs())
    assert abroad.said(abroad.zed).startswith("GW205")
    assert abroad.take(theirs(7)).previous_sequence == 6
    assert abroad.said(abroad.zed) == "Receipt"


@pytest.mark.long
def test_a_list_that_is_refused_changes_nothing(abroad: Abroad) -> None:
    with read_transaction(abroad.engine) as conn:
        same = [held.get_trusted_list_content(conn, row.id) for row in held.list_all_trusted_lists(conn)]
    assert [abroad.take(octets).was_activated for octets in same] == [False, False]
    assert abroad.audited() == ["done", "done"]
    good = theirs(6, WITHDRAWN)
    for wrong, problem in (
        (good.replace(b"withdrawn", b"granted", 1), "GW202"),
        (sample_lists.etsi_list("ZZ", "Mallory", sequence=6), "GW205"),
        (sample_lists.etsi_list("YY", "Zed", sequence=6), "GW205"),
        (theirs(6, WITHDRAWN, issued=NOW + DAY), "GW804"),
        (theirs(6, WITHDRAWN, next_update=NOW.isoformat()), "GW804"),
        (ours(7, issued=NOW - 2 * DAY), "GW804"),
        (sample_lists.own_list(TrustedListDraft("Home", "JP", 8, NOW + DAY))[0], "GW205"),
        (b"<list/>", "GW201"),
    ):
        with pytest.raises(GatewayError, match=problem):
            abroad.take(wrong)
    assert [one[:5] for one in abroad.audited()[:8]] == [
        *("GW201", "GW205", "GW804", "GW804", "GW804", "GW205", "GW205", "GW202")
    ]
    assert abroad.said(abroad.zed) == "Receipt"
    with read_transaction(abroad.engine) as conn:
        assert [(row.territory, row.sequence) for row in held.list_all_trusted_lists(conn)] == [
            ("ZZ", 5),
            ("KR", 7),
        ]


def test_a_list_ends_with_its_time_though_nothing_changed(abroad: Abroad) -> None:
    abroad.take(theirs(6, next_update=(NOW + timedelta(hours=2)).isoformat()))
    assert abroad.said(abroad.zed) == "Receipt"
    assert list(abroad.story.hub.recognizer.list_due_updates(abroad.clock())) == [
        "the trusted list of ZZ 6: its next update is due at 2026-11-20T11:00:00Z;"
        " after that it admits no signer"
    ]
    # The verdict is remembered, but no longer than the list says what it says.
    abroad.clock.forward(hours=2)
    assert abroad.said(abroad.zed).startswith("GW205")


def test_a_rule_of_ours_that_begins_or_ends_counts_from_then_on(sqlite_url: str) -> None:
    later = replace(TREATY, since=NOW + timedelta(hours=1), until=NOW + timedelta(hours=3))
    engine = make_engine(sqlite_url)
    abroad = Abroad(engine, own=ours(treaty=later))
    told = []
    for _ in range(4):
        told.append(abroad.said(abroad.zed)[:5])
        abroad.clock.forward(hours=1)
    assert told == ["GW205", "Recei", "Recei", "GW205"]
    engine.dispose()


@pytest.mark.long
def test_levels_that_are_not_enough_for_the_use_admit_nobody(sqlite_url: str) -> None:
    engine = make_engine(sqlite_url)
    abroad = Abroad(engine, terms(uses={CertificateUse.SIGNING: frozenset({"excellent", "basic"})}))
    told = abroad.said(abroad.zed)
    assert told.startswith("GW205 admitted by trust-list (ZZ 5: P, A service) as qualified: not enough here")
    assert abroad.send(abroad.gateway, abroad.vouched())[1] == "Receipt"
    abroad.story.worker.run_once()
    assert abroad.story.case().state == "IN_PROGRESS"
    engine.dispose()


@pytest.mark.parametrize(
    "said",
    [
        RecognitionPolicy(),
        terms(uses={}),
        RecognitionPolicy(frozenset({country("Zed").operator.certificate})),
    ],
)
def test_whom_the_settings_do_not_name_admits_nobody(sqlite_url: str, said: RecognitionPolicy) -> None:
    engine = make_engine(sqlite_url)
    abroad = Abroad(engine)
    abroad.story.house.terms = said
    hub = abroad.story.house.new_hub()
    parcel = abroad.zed.seal(abroad.zed.message("Submit"))
    refused = abroad.zed.open(abroad.story.house.post(parcel, hub)).unit
    assert isinstance(refused, ErrorSignal)
    assert refused.errors[0].description.startswith("GW205 no path leads to a trust anchor")
    engine.dispose()


def test_nobody_may_bring_a_list_where_no_signer_is_named(abroad: Abroad) -> None:
    with pytest.raises(GatewayError, match="GW801 no certificate is configured"):
        import_trusted_list(abroad.engine, ours(8), abroad.clock(), RecognitionPolicy())


@pytest.mark.long
def test_for_whom_we_know_ourselves_no_list_is_asked(abroad: Abroad, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    real = trusted_lists.admit_by_recognition

    def counted(certificate: Any, *rest: Any, **more: Any) -> Any:
        asked.append(certificate.subject)
        return real(certificate, *rest, **more)

    monkeypatch.setattr(trusted_lists, "admit_by_recognition", counted)
    for _ in range(3):
        abroad.story.submit()
        assert abroad.said(abroad.zed) == "Receipt"
    # Once for him whom only a list admits: his verdict is remembered as any other.
    assert asked == [ZED.certificate.subject]


@pytest.mark.long
def test_a_list_that_came_meanwhile_is_what_the_next_one_is_held_against(
    abroad: Abroad, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, between = trust_lists._verify_list, [theirs(9, WITHDRAWN)]

    def overtaken(*words: Any) -> Any:
        found = real(*words)
        if between:
            abroad.take(between.pop())
        return found

    monkeypatch.setattr(trust_lists, "_verify_list", overtaken)
    with pytest.raises(GatewayError, match="GW804 sequence number 8, and 9 is in hand"):
        abroad.take(theirs(8))
    assert abroad.said(abroad.zed).startswith("GW205")


def test_what_was_changed_in_the_database_counts_for_nothing(
    abroad: Abroad, caplog: pytest.LogCaptureFixture
) -> None:
    table = held.trust_lists
    with write_transaction(abroad.engine) as conn:
        forged = theirs().replace(b"A service", b"B service")
        conn.execute(table.update().where(table.c.territory == "ZZ").values(content=forged))
    with read_transaction(abroad.engine) as conn:
        lists = TrustedListCache().load_lists(conn, terms())
    assert (lists.root is not None, lists.others) == (True, ())
    assert "the trusted list of ZZ" in caplog.text
    fresh = Recognizer(terms())
    with read_transaction(abroad.engine) as conn:
        fresh.reload_lists(conn)
    told = list(fresh.list_due_updates(NOW + 31 * DAY))
    assert len(told) == 1
    assert told[0].startswith("the trusted list of KR 7: its next update was due")


def suspend(party: str) -> Any:
    return lambda conn: parties.set_party_status(conn, party, "SUSPENDED")


def other_role(conn: Any) -> None:
    conn.execute(parties.parties.update().where(parties.parties.c.id == GATEWAY).values(role="applicant"))


@pytest.mark.parametrize(
    ("words", "change", "problem"),
    [
        ({}, other_role, f"party {GATEWAY} is not registered as a voucher"),
        ({}, suspend("yan"), "the signer's certificate is not registered"),
        ({"territory": "ZZ"}, None, "may not vouch for 'ZZ'"),
        ({"ago": timedelta(days=1, seconds=1)}, None, "too long ago"),
        ({"ago": timedelta(seconds=-9)}, None, "in the future"),
        ({"levels": ("tin",)}, None, "no rule maps the levels of 'YY'"),
    ],
    ids=["role", "suspended", "territory", "old", "to come", "level"],
)
def test_a_word_that_does_not_count_refuses_the_submission(
    abroad: Abroad, words: dict[str, Any], change: Any, problem: str
) -> None:
    levels = words.pop("levels", ())
    document = abroad.vouched(*levels, **words)
    if change is not None:
        with write_transaction(abroad.engine) as conn:
            change(conn)
            parties.increment_register_version(conn)
    assert abroad.send(abroad.gateway, document)[1] == "Receipt"
    abroad.story.worker.run_once()
    (found,) = abroad.problems()
    assert (found["id"], problem in found["text"]) == ("GW205", True), found


@pytest.mark.long
def test_a_gateway_vouches_for_those_whose_mandate_it_holds(abroad: Abroad) -> None:
    """A signer of another country is registered too: his own gateway answers for him, and no other."""
    document = vouch_for_document(
        serialize_element(abroad.submission("ZZ001", ZED)),
        ["gold"],
        "YY",
        signer_named(GATEWAY),
        now=abroad.clock(),
    )
    abroad.send(abroad.gateway, document)
    abroad.story.worker.run_once()
    (found,) = abroad.problems()
    assert (found["id"], "vouches for zed and holds no mandate" in found["text"]) == ("GW405", True)


def test_what_a_list_withdrew_no_gateway_brings_back(abroad: Abroad) -> None:
    with write_transaction(abroad.engine) as conn:
        parties.insert_mandate(conn, GATEWAY, "zed", abroad.clock())
    abroad.take(theirs(6, WITHDRAWN))
    document = vouch_for_document(
        serialize_element(abroad.submission("ZZ001", ZED)),
        ["gold"],
        "YY",
        signer_named(GATEWAY),
        now=abroad.clock(),
    )
    assert abroad.send(abroad.gateway, document)[1] == "Receipt"
    abroad.story.worker.run_once()
    (found,) = abroad.problems()
    assert (found["id"], "is 'withdrawn' on the list of ZZ" in found["text"]) == ("GW205", True)


@pytest.mark.long
def test_nobody_vouches_for_what_we_know_to_be_revoked(abroad: Abroad) -> None:
    """Else who stole a key would only need a gateway that has not heard of it."""
    broker = signer_named("broker1")
    document = vouch_for_document(
        serialize_element(abroad.story.submission()),
        ["gold"],
        "YY",
        signer_named(GATEWAY),
        now=abroad.clock(),
    )
    now = abroad.clock()
    with write_transaction(abroad.engine) as conn:
        listed = make_revocation_list(authority(), [broker.certificate.serial], now, number=9)
        load_crls(conn, listed, ListSuccession((authority().certificate,), now))
    abroad.clock.forward(minutes=1)
    abroad.send(abroad.gateway, document)
    abroad.story.worker.run_once()
    assert abroad.problems()[0]["id"] == "GW207"


@pytest.mark.long
def test_a_word_is_as_old_as_when_it_came(abroad: Abroad) -> None:
    """What waited for us is judged by its age at the door."""
    document = abroad.vouched(ago=timedelta(hours=23))
    abroad.send(abroad.gateway, document)
    abroad.clock.forward(hours=5)
    abroad.story.worker.run_once()
    assert abroad.story.case().declarant == "yan"
    assert abroad.story.case().state == "IN_PROGRESS"


def test_both_signatures_of_what_was_vouched_for_must_be_good(abroad: Abroad) -> None:
    document = abroad.vouched()
    for wrong, problem in (
        (document.replace(b'value="gold"', b'value="lead"'), "GW202"),
        (document.replace(b'territory="YY"', b'territory="ZZ"'), "GW202"),
    ):
        assert wrong != document
        abroad.send(abroad.gateway, wrong)
        abroad.story.worker.run_once()
        assert abroad.problems()[0]["id"] == problem


@pytest.mark.long
def test_only_the_gateway_that_vouches_sends_for_a_party_without_its_mandate(abroad: Abroad) -> None:
    document = abroad.vouched()
    abroad.send(abroad.story.broker, document)
    abroad.story.worker.run_once()
    (found,) = abroad.problems()
    assert (found["id"], "holds no mandate of yan" in found["text"]) == ("GW405", True)
    # The decision to refuse says too by which way the signer was admitted.
    with read_transaction(abroad.engine) as conn:
        (refused,) = [
            one for one in list_subject_leaves(conn, "case", abroad.story.case().id) if one.kind == "refused"
        ]
        mandated = {"party": "broker1", "on_behalf_of": "yan", "valid_from": NOW - DAY}
    assert json.loads(refused.data)["admitted"]["mode"] == "vouched"
    with write_transaction(abroad.engine) as conn:
        parties.insert_mandate(conn, **mandated)  # type: ignore[arg-type]
    abroad.send(abroad.story.broker, abroad.vouched())
    abroad.story.worker.run_once()
    assert abroad.story.case().declarant == "yan"


def test_who_is_vouched_for_may_not_sign_alone(abroad: Abroad) -> None:
    abroad.send(abroad.gateway, serialize_element(abroad.submission("YY001", country("Yan").party.signer)))
    abroad.story.worker.run_once()
    assert abroad.problems()[0]["id"] == "GW205"


def test_our_list_takes_back_what_it_named(abroad: Abroad) -> None:
    bare = sample_lists.own_list(TrustedListDraft("Home", "KR", 8, NOW + 30 * DAY))[0]
    assert abroad.take(bare).named_by is None
    assert abroad.said(abroad.zed).startswith("GW205 no path")
    with pytest.raises(GatewayError, match="GW205"):
        abroad.take(theirs(6))
