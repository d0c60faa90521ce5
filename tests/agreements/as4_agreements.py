"""Short agreements by AS4, one for each profile, and P-Modes that are one step away from a demand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from gateway.agreements import AgreementDocument, PMode, SplittingTerms, read_agreement
from gateway.agreements.pmode_values import PullTerms
from gateway.message_model import PartyId

NOW = datetime(2026, 6, 1, tzinfo=UTC)
_FILE = """\
agreement: {agreement}
protocol: as4
profile: {profile}
valid_from: 2026-01-01T00:00:00Z
valid_until: 2031-01-01T00:00:00Z
parties:
  a:
    ids: [{{type: '{type_a}', value: {a}}}]
    role: {role_a}
    endpoint: https://a.example/msh
  b:
    ids: [{{type: '{type_b}', value: {b}}}]
    role: {role_b}
    endpoint: https://b.example/msh
pmodes:
  - {{id: there, from: a, to: b, service: {service_a}, action: '{action}'}}
  - {{id: back, from: b, to: a, service: {service_b}, action: '{action}'}}
"""
_ISO = "urn:oasis:names:tc:ebcore:partyid-type:iso6523:0088"
_EU = "urn:oasis:names:tc:ebcore:partyid-type:unregistered:eu-customs:"
_EIC = "http://www.entsoe.eu/eic-codes/eic-party-codes-x"
_ACTION = "http://docs.oasis-open.org/ebxml-msg/as4/200902/action"
_PLAIN = {
    "agreement": "urn:example:a-b",
    "type_a": _ISO, "a": "'4035811991014'", "role_a": "Sender", "type_b": _ISO,
    "b": "'4035811991021'", "role_b": "Receiver", "service_a": "urn:example:service",
    "service_b": "urn:example:service", "action": "Store",
}  # fmt: skip
_ICS2 = {
    "agreement": "EU-ICS2-TI-V2.0", "type_a": _EU + "EORI", "a": "NL123456789", "role_a": "Trader",
    "type_b": _EU + "auth", "b": "sti-taxud", "role_b": "Customs",
    "service_a": "{type: eu-customs-service-type, value: eu_ics2_t2c}",
    "service_b": "{type: eu-customs-service-type, value: eu_ics2_c2t}", "action": "IE3F32",
}  # fmt: skip
_ENTSOG = {
    "agreement": "http://entsog.eu/communication/agreements/21X-AA-A-A0A0A-A/21X-BB-B-B0B0B-B/1",
    "type_a": _EIC, "a": "21X-AA-A-A0A0A-A", "role_a": "ZSO", "type_b": _EIC, "b": "21X-BB-B-B0B0B-B",
    "role_b": "ZSH", "service_a": "{type: 'http://edigas.org/service', value: A06}",
    "service_b": "{type: 'http://edigas.org/service', value: A06}", "action": _ACTION,
}  # fmt: skip
_BDEW = {"agreement": "https://www.bdew.de/as4/communication/agreement", "action": _ACTION}
GOOD_AGREEMENTS = {
    name: _FILE.format(profile=name, **_PLAIN | words)
    for name, words in {
        "edelivery-1.15": {}, "edelivery-2.0": {}, "ics2": _ICS2, "entsog-4.0": _ENTSOG, "bdew-1.3": _BDEW,
    }.items()
}  # fmt: skip


def read(text: str) -> AgreementDocument:
    return read_agreement(text.encode(), "a.yaml")


def change(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new)


def _party(one: tuple[PartyId, ...], **changed: str) -> tuple[PartyId, ...]:
    return (replace(one[0], **changed), *one[1:])


def _secure(**changed: Any) -> Callable[[PMode], PMode]:
    return lambda one: replace(one, security=replace(one.security, **changed))


def _rely(**changed: Any) -> Callable[[PMode], PMode]:
    return lambda one: replace(one, reliability=replace(one.reliability, **changed))


def _encrypt_otherwise(one: PMode) -> PMode:
    assert one.encryption is not None
    return replace(one, encryption=replace(one.encryption, algorithms=("aes256-gcm", "rsa-oaep")))


def _agree_otherwise(one: PMode) -> PMode:
    assert one.encryption is not None
    return replace(one, encryption=replace(one.encryption, algorithms=("aes128-gcm", "x448")))


def _turn_encryption(one: PMode) -> PMode:
    if one.encryption is None:
        (other, *_) = read(GOOD_AGREEMENTS["edelivery-1.15"]).pmodes
        return replace(one, encryption=other.encryption)
    return replace(one, encryption=None)


#: For each term a P-Mode whose term is another one; None where no P-Mode can say another.
STEPS_AWAY: dict[str, Callable[[PMode], PMode | None]] = {
    "protocol": lambda one: replace(one, protocol="ebms2"),
    "agreement": lambda one: replace(one, agreement="urn:other"),
    "agreement_type": lambda one: replace(one, agreement_type="other"),
    "mep": lambda one: None if one.profile != "bdew-1.3" else replace(one, mep="two-way"),
    "mep_binding": lambda one: None if one.profile == "ics2" else replace(one, pull=PullTerms("certificate")),
    "mpc": lambda one: replace(one, mpc="urn:other:mpc"),
    "service": lambda one: replace(one, service="urn:other:service"),
    "service_type": lambda one: replace(one, service_type="other"),
    "action": lambda one: replace(one, action="Other"),
    "from.ids": lambda one: replace(one, from_party=(*one.from_party, PartyId("x", "urn:x"))),
    "to.ids": lambda one: replace(one, to_party=(*one.to_party, PartyId("x", "urn:x"))),
    "from.id": lambda one: replace(one, from_party=_party(one.from_party, value="x")),
    "to.id": lambda one: replace(one, to_party=_party(one.to_party, value="x")),
    "from.type": lambda one: replace(one, from_party=_party(one.from_party, type="urn:x")),
    "to.type": lambda one: replace(one, to_party=_party(one.to_party, type="urn:x")),
    "from.role": lambda one: replace(one, from_role=None),
    "to.role": lambda one: replace(one, to_role=None),
    "endpoint": lambda one: replace(one, endpoint="http://b.example/msh"),
    "security.sign": _secure(sign=False),
    "security.signature_algorithm": _secure(signature_algorithms=("urn:other",)),
    "security.hash_function": _secure(hash_function="urn:other"),
    "security.token_reference": _secure(token_reference="IssuerSerial"),
    "security.mutual_tls": _secure(mutual_tls=False),
    "encryption": _turn_encryption,
    "encryption.algorithms": _encrypt_otherwise,
    "encryption.agreement": _agree_otherwise,
    "compression": lambda one: replace(one, packaging=None),
    "splitting.compression": lambda one: replace(one, splitting=SplittingTerms(10**6)),
    "reply_pattern": lambda one: replace(one, reply_pattern="callback"),
    "reliability.ack_requested": _rely(ack_requested="never"),
    "reliability.ack_signed": _rely(ack_signed="never"),
    "reliability.duplicate_elimination": _rely(duplicate_elimination="never"),
    "reliability.retries": _rely(retries=0),
}
