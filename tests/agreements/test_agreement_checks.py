"""Each rule for agreements: what breaks it, and that a good agreement breaks none."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from gateway.agreements import (
    AGREEMENT_RULES,
    AgreementFinding,
    HubView,
    KnownCertificate,
    KnownParty,
    find_agreement_findings,
    find_document_findings,
    read_agreement,
)
from gateway.agreements.agreement_rules import AS4_RULES
from gateway.errors import GatewayError
from gateway.message_model import PartyId
from tests.kit.paths import ROOT

GOOD = (ROOT / "conformance" / "agreements" / "example.yaml").read_bytes()
T = "urn:example:party-type"
NOW = datetime(2026, 6, 1, tzinfo=UTC)
DAY = timedelta(days=1)
SIGNING = KnownCertificate("ab" * 32, "signing", NOW - DAY, NOW + 900 * DAY)
BROKER = KnownParty("broker1", "ACTIVE", (PartyId("broker1", T),), (SIGNING,))
HUB = KnownParty("hub", "ACTIVE", (PartyId("hub", T),))
KNOWN = HubView("hub", NOW, (BROKER, HUB), own_certificates=frozenset({"cd" * 32}))


def find(data: bytes, known: HubView = KNOWN) -> tuple[AgreementFinding, ...]:
    return find_agreement_findings(read_agreement(data, "a.yaml"), known)


def broker(**changes: object) -> HubView:
    return replace(KNOWN, parties=(replace(BROKER, **changes), HUB))  # type: ignore[arg-type]


def drop(name: bytes) -> bytes:
    return b"\n".join(line for line in GOOD.splitlines() if name not in line)


def put(old: bytes, new: bytes, data: bytes = GOOD) -> bytes:
    assert old in data
    return data.replace(old, new)


BROKER_ENDPOINT = b"    endpoint: http://127.0.0.1:8901/msh/ebms2\n"
HUB_ENDPOINT = b"    endpoint: http://127.0.0.1:8900/msh/ebms2\n"
SECOND_ID = b"- {type: urn:example:party-type, value: broker1}\n      - {type: urn:other, value: second}"
HELD = replace(SIGNING, begins=NOW - 9 * DAY, ends=NOW - DAY)
PINNED = HUB_ENDPOINT + b"    certificates: [" + b"ef" * 32 + b"]\n"
LOGIN = put(
    b"    endpoint: http://127.0.0.1:8901",
    b"    authentication: [digest, basic]\n    endpoint: https://b.example",
)
CASES = {
    "login-missing": (LOGIN, KNOWN, b"https://b.example", '[tls."b.example"]'),
    "login-impossible": (put(b", basic]", b"]", LOGIN), KNOWN, b"https://b.example", "by digest only"),
    "login-unchecked": (
        put(HUB_ENDPOINT, HUB_ENDPOINT + b"    authentication: [basic]\n"),
        KNOWN,
        b"id: broker1-submit",
        "knows senders by their signatures",
    ),
    "party-unknown": (put(b"value: broker1}", b"value: nobody}"), KNOWN, b"value: nobody}", "|nobody"),
    "party-mixed": (
        put(b"- {type: urn:example:party-type, value: broker1}", SECOND_ID),
        replace(
            KNOWN, parties=(BROKER, HUB, KnownParty("other", "ACTIVE", (PartyId("second", "urn:other"),)))
        ),
        b"value: broker1}",
        "broker1, other",
    ),
    "party-retired": (GOOD, broker(status="RETIRED"), b"value: broker1}", "party broker1 is retired"),
    "party-suspended": (GOOD, broker(status="SUSPENDED"), b"value: broker1}", "party resume broker1"),
    "hub-missing": (
        GOOD,
        replace(KNOWN, hub="centre"),
        b"urn:example:agreement",
        "this hub is party centre, without an id",
    ),
    "period-ended": (GOOD, replace(KNOWN, at=datetime(2031, 1, 1, tzinfo=UTC)), b"2031", "2031-01-01"),
    "period-later": (GOOD, replace(KNOWN, at=datetime(2025, 1, 1, tzinfo=UTC)), b"2026-01", "2026-01-01"),
    "protocol-unknown": (put(b"protocol: ebms2", b"protocol: as4"), KNOWN, b"protocol: as4", "speaks ebms2"),
    "term-unsupported": (
        GOOD,
        replace(KNOWN, list_unsupported_terms=lambda one: ("no such term",) * one.id.endswith("-submit")),
        b"id: broker1-submit",
        "P-Mode broker1-submit: no such term",
    ),
    "certificate-missing": (
        GOOD,
        broker(certificates=()),
        b"value: broker1}",
        "certificate add broker1 FILE",
    ),
    "certificate-later": (
        GOOD,
        broker(certificates=(replace(SIGNING, begins=NOW + DAY),)),
        b"value: broker1}",
        "before 2026-06-02",
    ),
    "pin-unknown": (
        put(
            BROKER_ENDPOINT,
            BROKER_ENDPOINT + b"    certificates: [" + b"ef" * 32 + b", " + b"ab" * 32 + b"]\n",
        ),
        KNOWN,
        b"certificates: [ef",
        "efefefef",
    ),
    "own-pin": (put(HUB_ENDPOINT, PINNED), KNOWN, b"certificates: [ef", "cdcdcdcd"),
    "tls-certificate-missing": (
        put(b"    sign: true", b"    mutual_tls: true"),
        KNOWN,
        b"id: broker1-submit",
        "--use tls",
    ),
    "result-missing": (
        drop(b"broker1-result"),
        KNOWN,
        b"id: broker1-submit",
        "broker1-submit accepts submissions",
    ),
    "case-missing": (put(b", deliver_to: case", b""), KNOWN, b"id: broker1-result", "nothing answers them"),
    "filing-in-mailbox": (
        put(b"action: Amend, deliver_to: case", b"action: Amend"),
        KNOWN,
        b"id: broker1-amend",
        "P-Mode broker1-amend delivers Amend to the mailbox",
    ),
    "nothing-received": (
        GOOD[: GOOD.index(b"  - {id: broker1-submit")]
        + b"  - {id: r, from: hub, to: applicant, service: 'urn:s', action: Other}\n",
        KNOWN,
        b"{id: r",
        "lets the partner send anything",
    ),
    "endpoint-missing": (
        put(BROKER_ENDPOINT, b""),
        KNOWN,
        b"value: broker1}",
        "broker1-result, broker1-notice",
    ),
    "endpoint-same": (put(b":8901", b":8900"), KNOWN, b"endpoint", "the same endpoint"),
    "reply-endpoint-missing": (
        put(b"mode: mshSignalsOnly", b"mode: none", put(HUB_ENDPOINT, b"")),
        KNOWN,
        b"id: broker1-result",
        "broker1-result",
    ),
    "order-incomplete": (
        put(b"    retries: 3 ", b"    message_order: true\n    retries: 3 "),
        KNOWN,
        b"id: broker1-submit",
        "an order, which needs sync_reply_mode: none",
    ),
    "actor-next": (
        put(b"    retries: 3 ", b"    ack_actor: nextMSH\n    retries: 3 "),
        KNOWN,
        b"id: broker1-submit",
        "those of the next handler",
    ),
    "response-not-sent": (
        put(b"mshSignalsOnly", b"signalsAndResponse"),
        KNOWN,
        b"id: broker1-supplement",
        "has none to it",
    ),
    "unsigned": (put(b"    sign: true", b"    sign: false"), KNOWN, b"id: broker1-submit", "nobody signed"),
    "retries-without-receipt": (
        put(b"ack_requested: always", b"ack_requested: never"),
        KNOWN,
        b"id: broker1-submit",
        "3",
    ),
    "retries-without-elimination": (
        put(b"duplicate_elimination: always", b"duplicate_elimination: never"),
        KNOWN,
        b"id: broker1-submit",
        "second effect",
    ),
    "same-messages": (
        GOOD,
        replace(KNOWN, other_pmodes=read_agreement(put(b"broker1-hub", b"other"), "b.yaml").pmodes),
        b"id: broker1-submit",
        "urn:example:agreement:other:2026",
    ),
}


def test_a_good_agreement_has_no_findings() -> None:
    assert find(GOOD) == ()
    loaded = replace(KNOWN, other_pmodes=read_agreement(GOOD, "b.yaml").pmodes)
    assert find(GOOD, loaded) == (), "it replaces itself"


@pytest.mark.night
# Overrides are of the register, and not of a file.
@pytest.mark.parametrize("rule", sorted(AGREEMENT_RULES.keys() - AS4_RULES.keys() - {"overrides-unread"}))
def test_a_rule_is_told_with_its_place(rule: str) -> None:
    data, known, mark, words = CASES[rule]
    line = data[: data.index(mark)].count(b"\n") + 1
    place = f"a.yaml:{line}"
    found = [one for one in find(data, known) if one.rule == rule]
    assert found, find(data, known)
    assert found[0].location == place
    assert words in found[0].text
    assert found[0].severity == AGREEMENT_RULES[rule].severity
    for bad in ("['", "{'", "()", "None"):
        assert bad not in found[0].text


def test_a_login_of_the_settings_is_what_a_partner_wants() -> None:
    for name in ("b.example", "b.example:8443"):
        data = put(b"https://b.example", f"https://{name}".encode(), LOGIN)
        assert find(data, replace(KNOWN, logins=frozenset({name}))) == ()
        (found,) = find(data, replace(KNOWN, logins=frozenset({"other.example"})))
        assert found.rule == "login-missing"


def test_a_password_is_not_sent_without_tls() -> None:
    (found,) = find(put(b"https:", b"http:", LOGIN), replace(KNOWN, logins=frozenset({"b.example"})))
    assert found.rule == "login-impossible"
    assert "without TLS" in found.text


def test_another_authentication_is_no_agreement() -> None:
    with pytest.raises(GatewayError, match="authentication must be one of basic, digest"):
        find(put(b"[digest, basic]", b"[kerberos]", LOGIN))


def list_mailbox_filings(data: bytes, known: HubView = KNOWN) -> list[str]:
    found = [one for one in find(data, known) if one.rule == "filing-in-mailbox"]
    return [one.text.split()[1].removeprefix("broker1-") for one in found]


def test_each_action_of_a_filing_service_that_opens_no_case_is_told() -> None:
    everything = put(b", deliver_to: case", b"")
    assert list_mailbox_filings(everything) == ["submit", "supplement", "withdraw", "amend"]
    # The file alone does not say which side the hub is.
    alone = find_document_findings(read_agreement(everything, "a.yaml"), NOW, frozenset({"ebms2"}))
    assert [one.rule for one in alone] == ["filing-in-mailbox"] * 4


def test_a_service_of_another_name_files_where_it_has_a_case_or_a_result() -> None:
    renamed = put(b"urn:single-window:services:declaration", b"urn:example:filing")
    amends = b"action: Amend, deliver_to: case"
    assert list_mailbox_filings(put(amends, b"action: Amend", renamed)) == ["amend"]
    dropped = put(b", deliver_to: case", b"", renamed)
    assert list_mailbox_filings(dropped) == ["submit", "supplement", "withdraw", "amend"]
    assert list_mailbox_filings(put(b"action: Result", b"action: Answer", dropped)) == []


def test_what_is_no_filing_may_go_to_the_mailbox_and_what_the_hub_sends_too() -> None:
    assert b"id: broker1-store" in GOOD, "an action that goes to the mailbox and files nothing"
    dropped = put(b", deliver_to: case", b"")
    turned = put(b"from: applicant, to: hub", b"from: hub, to: applicant", dropped)
    assert list_mailbox_filings(turned) == []


def test_an_action_of_the_service_that_the_contract_does_not_name_is_told() -> None:
    misnamed = put(b"action: Amend, deliver_to: case", b"action: SubmitDeclaration, deliver_to: mailbox")
    assert list_mailbox_filings(misnamed) == ["amend"]
    (warning,) = [one.text for one in find(misnamed) if one.rule == "filing-in-mailbox"]
    assert "are filed by Submit, Supplement, Amend, Withdraw" in warning
    elsewhere = put(b"urn:single-window:services:declaration", b"urn:example:filing", misnamed)
    assert list_mailbox_filings(elsewhere) == []


def test_errors_come_first() -> None:
    severities = [
        one.severity for one in find(put(b"    sign: true", b"    sign: false"), broker(certificates=()))
    ]
    assert severities == ["error", *["warning"] * 5]


def test_a_certificate_that_ended_is_told_with_its_end() -> None:
    (found,) = find(GOOD, broker(certificates=(HELD,)))
    assert (found.rule, "ended at 2026-05-31T00:00:00Z" in found.text) == ("certificate-missing", True)


def test_a_pinned_certificate_that_nobody_may_use_is_an_error_too() -> None:
    data = put(BROKER_ENDPOINT, BROKER_ENDPOINT + b"    certificates: [" + b"ef" * 32 + b"]\n")
    missing, unknown = find(data)
    assert (missing.rule, unknown.rule) == ("certificate-missing", "pin-unknown")
    assert "no certificate that a P-Mode names (efefefefefefefef)" in missing.text


@pytest.mark.parametrize(("party", "rule"), [("broker1", "pin-unknown"), ("hub", "own-pin")])
def test_certificates_are_checked_in_every_pmode(party: str, rule: str) -> None:
    """A CPA may name other certificates for each action."""
    document = read_agreement(GOOD, "a.yaml")
    known_pin, unknown_pin = ("ab" * 32, "ef" * 32) if party == "broker1" else ("cd" * 32, "ef" * 32)
    sent = [pmode for pmode in document.pmodes if pmode.from_party[0].value == party]
    assert len(sent) > 1
    for number in range(len(sent)):
        pins = {pmode.id: known_pin for pmode in sent} | {sent[number].id: unknown_pin}
        pmodes = tuple(
            replace(pmode, security=replace(pmode.security, certificates=(pins[pmode.id],)))
            if pmode.id in pins
            else pmode
            for pmode in document.pmodes
        )
        rules = [finding.rule for finding in find_agreement_findings(replace(document, pmodes=pmodes), KNOWN)]
        assert rules.count(rule) == 1, number
        assert ("certificate-missing" in rules) is (party == "broker1")


def test_a_certificate_that_one_pmode_names_and_that_begins_later_is_told_as_such() -> None:
    document = read_agreement(GOOD, "a.yaml")
    later = replace(SIGNING, sha256="ef" * 32, begins=NOW + DAY)
    first, *_, last = [pmode for pmode in document.pmodes if pmode.from_party[0].value == "broker1"]
    pins = {first.id: ("ab" * 32,), last.id: ("ef" * 32,)}
    pmodes = tuple(
        replace(pmode, security=replace(pmode.security, certificates=pins.get(pmode.id, ())))
        for pmode in document.pmodes
    )
    (finding,) = find_agreement_findings(
        replace(document, pmodes=pmodes), broker(certificates=(SIGNING, later))
    )
    assert (finding.rule, "no certificate that a P-Mode names before" in finding.text) == (
        "certificate-later",
        True,
    )


def test_a_login_that_nobody_checks_is_told_of_whichever_pmode_wants_it() -> None:
    document = read_agreement(GOOD, "a.yaml")
    for changed in (pmode for pmode in document.pmodes if pmode.from_party[0].value == "broker1"):
        login = replace(changed, transport=replace(changed.transport, authentication=("basic",)))
        pmodes = tuple(login if pmode is changed else pmode for pmode in document.pmodes)
        rules = [finding.rule for finding in find_agreement_findings(replace(document, pmodes=pmodes), KNOWN)]
        assert rules == ["login-unchecked"], changed.id


def test_the_login_of_every_pmode_is_checked() -> None:
    document = read_agreement(LOGIN, "a.yaml")
    sent = [pmode for pmode in document.pmodes if pmode.from_party[0].value == "hub"]
    for changed in (sent[0], sent[-1]):
        pmodes = tuple(
            replace(pmode, endpoint="https://c.example/") if pmode is changed else pmode
            for pmode in document.pmodes
        )
        known = replace(KNOWN, logins=frozenset({"b.example"}))
        (finding,) = find_agreement_findings(replace(document, pmodes=pmodes), known)
        assert (finding.rule, "c.example" in finding.text) == ("login-missing", True)


def test_an_agreement_for_messages_that_nobody_signs_needs_no_certificate() -> None:
    data = put(b"sign: true", b"sign: false", put(b"ack_signed: always", b"ack_signed: never"))
    assert "certificate-missing" not in {one.rule for one in find(data, broker(certificates=()))}


def test_without_outgoing_pmodes_no_endpoint_is_needed() -> None:
    first, store, end = (GOOD.index(name) for name in (b"  - {id: broker1-submit", b"  - id: broker1-store",
                                                        b"  - {id: broker1-withdraw"))  # fmt: skip
    data = GOOD[:first] + GOOD[store:end]
    assert find(put(BROKER_ENDPOINT, b"", data)) == ()


def test_agreements_that_follow_one_another_are_not_for_the_same_messages() -> None:
    before = put(
        b"2031-01-01", b"2027-01-01", put(b"2026-01-01", b"2020-01-01", put(b"broker1-hub", b"other"))
    )
    after = put(b"2026-01-01", b"2027-01-01")
    assert [
        one.rule for one in find(after, replace(KNOWN, other_pmodes=read_agreement(before, "b").pmodes))
    ] == ["period-later"]


def test_the_agreement_of_the_demo_has_no_findings() -> None:
    data = (ROOT / "conformance" / "demo" / "agreement.yaml").read_bytes()
    kind = "urn:single-window:demo:party"
    parties = (replace(BROKER, ids=(PartyId("broker", kind),)), replace(HUB, ids=(PartyId("hub", kind),)))
    data = data.replace(b"{broker}", b"8901").replace(b"{hub}", b"8900")
    assert find(data, replace(KNOWN, parties=parties)) == ()
