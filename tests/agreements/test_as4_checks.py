"""Each rule for agreements by AS4: what breaks it, and that a good agreement breaks none."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from gateway.agreements import (
    AGREEMENT_RULES,
    AgreementFinding,
    HubView,
    KnownCertificate,
    KnownParty,
    find_agreement_findings,
    read_agreement,
    read_pmodes,
)
from gateway.agreements.agreement_rules import AS4_RULES
from gateway.errors import GatewayError
from gateway.message_model import PartyId
from tests.agreements.as4_agreements import GOOD_AGREEMENTS, NOW
from tests.kit.paths import ROOT

SAMPLE = (ROOT / "conformance" / "agreements" / "as4.yaml").read_text(encoding="utf-8")
T = "urn:example:party-type"
YEAR = timedelta(days=365)
SIGNING = KnownCertificate("ab" * 32, "signing", NOW - YEAR, NOW + 9 * YEAR)
SECRET = KnownCertificate("cd" * 32, "encryption", NOW - YEAR, NOW + 9 * YEAR)
BROKER = KnownParty("broker1", "ACTIVE", (PartyId("broker1", T),), (SIGNING, SECRET))
KNOWN = HubView(
    "hub", NOW, (BROKER, KnownParty("hub", "ACTIVE", (PartyId("hub", T),))), protocols=frozenset({"as4"})
)
#: The rules of the readers of other P-Mode files are in test_peer_pmodes.py.
RULES = [one for one in AS4_RULES if not one.startswith("peer-")]
RSA = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"
ECDSA = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256"
EB3 = "http://docs.oasis-open.org/ebxml-msg/ebms/v3.0/ns/core/200704/"
SPLIT = "splitting: {fragment_size: 1000000},"
SUBMIT = "service: urn:single-window:services:declaration, action: Submit"


def find(text: str, known: HubView = KNOWN) -> tuple[AgreementFinding, ...]:
    return find_agreement_findings(read_agreement(text.encode(), "a.yaml"), known)


def say(*lines: str) -> str:
    """Return the sample with more defaults."""
    return SAMPLE.replace("defaults:\n", "defaults:\n" + "".join(f"  {line}\n" for line in lines))


def secure(words: str) -> str:
    return SAMPLE.replace("    sign: true\n", f"    {words}\n")


def encrypt(*names: str) -> str:
    return say(f"encryption: {{algorithms: [{', '.join(names)}]}}")


def put(old: str, new: str, text: str = SAMPLE) -> str:
    assert old in text, old
    return text.replace(old, new)


def pull(more: str, by: str = "certificate") -> str:
    """Return the sample with Results that are pulled."""
    return put("action: Result}", f"action: Result{more}, pull: {{authorization: {by}}}}}")


NO_ENDPOINT = put("    endpoint: http://127.0.0.1:8901/msh/as4\n", "")
NO_SECRET = replace(KNOWN, parties=(replace(BROKER, certificates=(SIGNING,)), KNOWN.parties[1]))
ICS2 = GOOD_AGREEMENTS["ics2"]
CASES: dict[str, tuple[str, HubView, str]] = {
    "profile-deviation": (
        put("Trader", "Broker", ICS2),
        KNOWN,
        "from.role is Broker; ics2 wants one of Trader, Customs",
    ),
    "profile-advice": (put("TI-V2.0", "TI-V1.0", ICS2), KNOWN, "ics2 wants EU-ICS2-TI-V2.0"),
    "profile-protocol": (
        put("protocol: as4", "protocol: ebms2\nprofile: ics2"),
        KNOWN,
        "the protocol is ebms2",
    ),
    "agreement-untyped": (put("urn:example:agreement:broker1-hub:as4:2026", "ours"), KNOWN, "ours is no URI"),
    "role-missing": (put("    role: Applicant ", "    # role "), KNOWN, "the from party has no role"),
    "role-equal": (put("role: Applicant ", "role: Hub "), KNOWN, "both parties are Hub"),
    "party-ids-several": (
        put("value: broker1}\n", "value: broker1}\n      - {type: urn:b, value: b}\n"),
        KNOWN,
        "2 identifiers",
    ),
    "test-service-delivered": (
        put(SUBMIT, f"service: {EB3}service, action: Submit"),
        KNOWN,
        "deliver_to: case",
    ),
    "test-action-alone": (
        put("action: Submit", f"action: {EB3}test"),
        KNOWN,
        "the test action is in service urn:",
    ),
    "mpc-default-named": (put("urn:example:channel:store", f"{EB3}defaultMPC"), KNOWN, "the default channel"),
    "mep-different": (put("action: Result}", "action: Result, mep: one-way}"), KNOWN, "broker1-result"),
    "mpc-on-push": (put("action: Result}", "action: Result, mpc: urn:x:y}"), KNOWN, "mpc is urn:x:y"),
    "pull-default-mpc": (pull(""), KNOWN, "pull without an mpc"),
    "pull-two-way": (pull(", mpc: urn:x:y"), KNOWN, "pull with mep two-way"),
    "binding-half": (
        pull(", mpc: urn:x:y, mep_binding: push-and-pull"),
        KNOWN,
        "mep_binding is push-and-pull, and no request is agreed",
    ),
    "binding-different": (
        put("action: Submit,", "action: Submit, mep_binding: push-and-push,"),
        KNOWN,
        "is by push-and-push, and broker1-result of the same service by no binding that is agreed",
    ),
    "pull-endpoint-unused": (pull(", mpc: urn:x:y"), KNOWN, "http://127.0.0.1:8901"),
    "pull-username": (pull(", mpc: urn:x:y", "username"), KNOWN, "authorization username"),
    "splitting-endpoint-missing": (
        put("action: Submit,", f"action: Submit, {SPLIT}", NO_ENDPOINT),
        KNOWN,
        "messages are split, and the from party has no endpoint",
    ),
    "splitting-synchronous": (
        put("action: Submit,", f"action: Submit, sync_reply_mode: signalsAndResponse, {SPLIT}"),
        KNOWN,
        "sync_reply_mode is signalsAndResponse",
    ),
    "splitting-interval-short": (
        say("splitting: {fragment_size: 1000000, join_interval: 60}"),
        KNOWN,
        "join_interval is 60, and fragments are repeated for longer: 1200 seconds",
    ),
    "splitting-fragment-large": (
        say("splitting: {fragment_size: 67108864}"),
        KNOWN,
        "fragment_size is 67108864",
    ),
    "splitting-pointless": (
        say("splitting: {fragment_size: 1000000, message_size: 1000000}"),
        KNOWN,
        "message_size is 1000000, and fragment_size is 1000000",
    ),
    "callback-endpoint-missing": (
        put("action: Submit,", "action: Submit, reply_pattern: callback,", NO_ENDPOINT),
        KNOWN,
        "the from party has no endpoint",
    ),
    "receipt-without-signature": (secure("sign: false"), KNOWN, "sign is false"),
    "retries-none": (put("retries: 3", "retries: 0"), KNOWN, "retries is 0"),
    "retries-short": (put("retry_interval: 300", "retry_interval: 10"), KNOWN, "in 40 seconds"),
    "hash-different": (
        secure(f"signature_algorithm: {RSA}\n    hash_function: http://www.w3.org/2001/04/xmlenc#sha512"),
        KNOWN,
        "the signature is rsa-sha256, the digests are sha512",
    ),
    "hash-broken": (secure("hash_function: http://www.w3.org/2000/09/xmldsig#sha1"), KNOWN, "xmldsig#sha1"),
    "signature-broken": (
        secure("signature_algorithm: http://www.w3.org/2000/09/xmldsig#rsa-sha1"),
        KNOWN,
        "rsa-sha1",
    ),
    "encryption-unsigned": (
        put("sign: true", "sign: false", encrypt("aes128-gcm")),
        KNOWN,
        "encrypted, and sign is false",
    ),
    "cipher-missing": (encrypt("rsa-oaep"), KNOWN, "no cipher is among rsa-oaep"),
    "cipher-unauthenticated": (encrypt("aes128-cbc"), KNOWN, "aes128-cbc"),
    "key-transport-weak": (encrypt("aes128-gcm", "rsa-1_5"), KNOWN, "rsa-1_5"),
    "key-agreement-incomplete": (encrypt("aes128-gcm", "x25519"), KNOWN, "x25519 needs a derivation"),
    "key-ways-several": (
        encrypt("aes128-gcm", "x25519", "hkdf", "kw-aes128", "rsa-oaep"),
        KNOWN,
        "beside a transport",
    ),
    "mutual-tls-open": (secure("mutual_tls: true"), KNOWN, "mutual_tls is agreed, and the endpoint is http:"),
    "endpoint-open": (put("127.0.0.1:8901", "b.example:8901"), KNOWN, "http://b.example:8901"),
    "pin-shared": (
        put("    endpoint: ", f"    certificates: [{'ef' * 32}]\n    endpoint: "),
        KNOWN,
        "efefefefefefefef is of both",
    ),
    "own-algorithm": (
        secure(f"signature_algorithm: {RSA}"),
        replace(KNOWN, own_algorithms=frozenset({ECDSA})),
        f"the hub's key signs by {ECDSA}",
    ),
    "encryption-certificate-missing": (encrypt("aes128-gcm", "rsa-oaep"), NO_SECRET, "--use encryption`"),
    "encryption-pin-unknown": (
        say(f"encryption: {{algorithms: [aes128-gcm], certificate: {'12' * 32}}}"),
        KNOWN,
        "1212121212121212",
    ),
}


def test_good_agreements_break_no_rule() -> None:
    assert {one.rule for one in find(SAMPLE)} == {"mpc-on-push"}
    assert {one.rule for one in find(encrypt("aes128-gcm", "rsa-oaep"))} == {"mpc-on-push"}
    for text in GOOD_AGREEMENTS.values():
        assert {one.rule for one in find(text)} <= {"party-unknown", "hub-missing"}


@pytest.mark.night
@pytest.mark.parametrize("rule", RULES)
def test_a_rule_is_told_with_its_clause(rule: str) -> None:
    text, known, words = CASES[rule]
    found = [one for one in find(text, known) if one.rule == rule]
    assert found, find(text, known)
    assert words in found[0].text
    assert found[0].location.startswith("a.yaml:")
    assert found[0].severity == AGREEMENT_RULES[rule].severity
    assert found[0].clause
    for bad in ("['", "{'", "()", "None"):
        assert bad not in found[0].text


@pytest.mark.night
@pytest.mark.parametrize("rule", [one for one in RULES if not one.startswith("profile-")])
def test_ebms_2_has_none_of_these_rules(rule: str) -> None:
    text, known, _ = CASES[rule]
    assert rule not in {one.rule for one in find(put("protocol: as4", "protocol: ebms2", text), known)}


@pytest.mark.night
@pytest.mark.parametrize("binding", ["push-and-pull", "pull-and-push"])
def test_an_exchange_with_both_its_legs_breaks_no_rule(binding: str) -> None:
    # The one that is pulled is the reply by the first, and the request by the second.
    whole = pull(f", mpc: urn:x:y, mep_binding: {binding}").replace(
        "action: Submit,", f"action: Submit, mep_binding: {binding},"
    )
    assert not {"pull-two-way", "binding-half", "mep-different"} & {one.rule for one in find(whole)}
    (first,) = [one.leg for one in read_pmodes(whole.encode(), "a.yaml") if one.action == "Submit"]
    assert first == ("request" if binding == "push-and-pull" else "reply")
    both = whole.replace(
        "action: Submit,", "action: Submit, mpc: urn:x:z, pull: {authorization: certificate},"
    )
    assert "binding-half" in {one.rule for one in find(both)}


@pytest.mark.parametrize(
    ("terms", "words"),
    [
        ("mep_binding: pull-and-pull", "mep_binding must be one of push, pull, sync"),
        ("mep_binding: push-and-pull, mep: one-way", "mep must be two-way by push-and-pull"),
        ("mep_binding: push", "mep must be one-way by push"),
        ("mep_binding: pull, mep: one-way", "a message by pull must be pulled"),
    ],
)
def test_a_binding_that_contradicts_its_message_is_refused(terms: str, words: str) -> None:
    with pytest.raises(GatewayError, match=f"GW808 .*{words}"):
        read_pmodes(put("action: Result}", f"action: Result, {terms}}}").encode(), "a.yaml")


@pytest.mark.parametrize("escape", ["\\x01", "\\0", "\\ud800", "\\ufffe"])
def test_a_value_that_no_message_can_carry_is_refused_with_its_line(escape: str) -> None:
    text = SAMPLE.replace("action: Submit", f'action: "Sub{escape}mit"', 1)
    assert text != SAMPLE
    line = text[: text.index("Sub" + escape)].count("\n") + 1
    with pytest.raises(GatewayError, match=f"GW808 .* at a.yaml:{line}"):
        read_agreement(text.encode(), "a.yaml")


@pytest.mark.parametrize(("levels", "is_refused_for_depth"), [(11, False), (12, True)])
def test_an_agreement_is_not_nested_deeply(levels: int, is_refused_for_depth: bool) -> None:
    with pytest.raises(GatewayError) as refused:
        read_agreement(b"[" * levels + b"x" + b"]" * levels, "a.yaml")
    assert ("nesting of at most 11" in refused.value.detail) is is_refused_for_depth


def test_a_number_of_an_agreement_has_nine_digits() -> None:
    text = SAMPLE.replace("retries: 3", "retries: 1000000000", 1)
    assert text != SAMPLE
    with pytest.raises(GatewayError, match="whole number from 0 to 999999999, found 1000000000"):
        read_agreement(text.encode(), "a.yaml")
