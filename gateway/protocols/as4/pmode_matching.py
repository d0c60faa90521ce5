"""Matches messages of AS4 with P-Modes: their route, their terms, and terms that are not supported."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from gateway.agreements import MessageRoute, PMode, RoutePlaces
from gateway.encryption import is_supported_algorithm
from gateway.errors import HEADER_INCONSISTENT, NOT_SUPPORTED, PARTY_UNKNOWN, PMODE_UNKNOWN, GatewayError
from gateway.message_model import AckRequest, UserMessage
from gateway.protocols.core import ProtocolContext
from gateway.wire import EB3
from gateway.xmlsec import SHA256, get_signature_policy


def list_unsupported_algorithms(pmode: PMode) -> tuple[str, ...]:
    """Return a sentence for each agreed signature, digest or encryption algorithm that is not supported."""
    security, encryption_terms = pmode.security, pmode.encryption
    supported_algorithms = get_signature_policy(security.policy).signature_algorithms
    problems = [
        f"signature algorithm {algorithm[:120]} is not supported by policy {security.policy}"
        for algorithm in security.signature_algorithms
        if algorithm not in supported_algorithms
    ]
    if security.hash_function not in (None, SHA256):
        problems.append(f"digests are written with {SHA256}, not with {security.hash_function}"[:300])
    problems += [
        f"encryption by {algorithm[:120]} is not supported"
        for algorithm in (encryption_terms.algorithms if encryption_terms is not None else ())
        if not is_supported_algorithm(algorithm)
    ]
    return tuple(problems)


#: The channel of messages that name none.
DEFAULT_MPC: Final = f"{EB3}defaultMPC"
_SIGNED_RECEIPT: Final = AckRequest(signed=True)
_UNIT: Final = "/soap12:Envelope/soap12:Header/eb3:Messaging/eb3:UserMessage"
_PLACES: Final = RoutePlaces(
    agreement=f"{_UNIT}/eb3:CollaborationInfo/eb3:AgreementRef",
    sender=f"{_UNIT}/eb3:PartyInfo/eb3:From/eb3:",
    receiver=f"{_UNIT}/eb3:PartyInfo/eb3:To/eb3:",
    service=f"{_UNIT}/eb3:CollaborationInfo/eb3:Service",
    action=f"{_UNIT}/eb3:CollaborationInfo/eb3:Action",
)


def match_agreed_pmode(
    unit: UserMessage, protocol: str, context: ProtocolContext
) -> tuple[PMode, UserMessage]:
    """Return the P-Mode of a business message, and the message with the receipt that the P-Mode demands.

    Raises GW301 to GW304 for a message that no P-Mode agrees to, GW311 for a P-Mode with terms that are
    not supported. A message without AgreementRef belongs to the one P-Mode in force for its parties, roles,
    service, action and channel; the message that is returned names its agreement.
    """
    route = MessageRoute(
        unit.sender, unit.receiver, unit.agreement, unit.service, unit.action, unit.service_type,
        protocol, _PLACES,
    )  # fmt: skip
    if unit.agreement:
        pmode, stated_type = context.agreements.match_pmode(route, context.now), unit.agreement_type
    else:
        pmode = _find_unnamed_pmode(unit, route, context)
        stated_type = pmode.agreement_type
    require_supported_terms(pmode)
    if (unit.mpc or DEFAULT_MPC) != (pmode.mpc or DEFAULT_MPC):
        detail = f"the agreed channel is {pmode.mpc or DEFAULT_MPC}"
        raise GatewayError(HEADER_INCONSISTENT, detail, f"{_UNIT}/@mpc")
    if stated_type != pmode.agreement_type:
        detail = (
            f"the agreement has {'the type ' + pmode.agreement_type if pmode.agreement_type else 'no type'}"
        )
        raise GatewayError(HEADER_INCONSISTENT, detail, f"{_PLACES.agreement}/@type")
    _check_named_pmode(unit, pmode, context)
    # A message of AS4 asks for nothing: its P-Mode says that it is acknowledged, and how.
    agreed_values: dict[str, Any] = {"ack_requested": _SIGNED_RECEIPT, "duplicate_elimination": True}
    if not unit.agreement:
        agreed_values |= {"agreement": pmode.agreement, "agreement_type": pmode.agreement_type}
    return pmode, replace(unit, **agreed_values)


def _check_named_pmode(unit: UserMessage, pmode: PMode, context: ProtocolContext) -> None:
    """Raise GW304 for an AgreementRef that names another P-Mode of the agreement (core §5.2.2.7).

    An id is unique in one handler alone (core D.3.1), and a sender may write its own: an id that
    no P-Mode of the agreement has here is ignored; the parties, roles, service and action decide.
    """
    pmode_id = unit.pmode_id
    if pmode_id in (None, pmode.id):
        return
    if context.agreements.find_by_id(pmode.agreement, pmode_id, context.now) is not None:
        detail = f"the message is not of the P-Mode {pmode_id[:80]!r} by its other values"
        raise GatewayError(HEADER_INCONSISTENT, detail, f"{_PLACES.agreement}/@pmode")


def _find_unnamed_pmode(unit: UserMessage, route: MessageRoute, context: ProtocolContext) -> PMode:
    """Return the one P-Mode for a message without AgreementRef; raise GW302, GW303 (EBMS:0010)."""
    for party_xpath, party in ((_PLACES.sender, unit.sender), (_PLACES.receiver, unit.receiver)):
        if any(context.find_party_name(party_id) is None for party_id in party.ids):
            detail = f"no party {party.ids[0].value[:80]!r}"
            raise GatewayError(PARTY_UNKNOWN, detail, f"{party_xpath}PartyId")
    candidates = context.agreements.list_matching_pmodes(route, context.now)
    channel_pmodes = [
        pmode for pmode in candidates if (pmode.mpc or DEFAULT_MPC) == (unit.mpc or DEFAULT_MPC)
    ]
    if len(channel_pmodes) == 1:
        return channel_pmodes[0]
    detail = "the message names no AgreementRef, and "
    detail += (
        f"{len(channel_pmodes)} agreements have it"
        if channel_pmodes
        else "no agreement has it on this channel"
    )
    raise GatewayError(PMODE_UNKNOWN, detail, f"{_UNIT}/eb3:CollaborationInfo")


def list_unsupported_terms(pmode: PMode) -> tuple[str, ...]:
    """Return a sentence for each term of a P-Mode that this core does not support, or AS4 does not have."""
    reliability = pmode.reliability
    requirements = {
        "messages of AS4 are signed": pmode.security.sign,
        "payloads of AS4 are encrypted by XMLENC": pmode.encryption is None or not pmode.encryption.is_cms,
        "each message of AS4 gets a signed receipt: ack_requested and ack_signed are always": (
            (reliability.ack_requested, reliability.ack_signed) == ("always", "always")
        ),
        "a repeated message of AS4 is never delivered twice: duplicate_elimination is always": (
            reliability.duplicate_elimination == "always"
        ),
        "AS4 has no message order": not reliability.message_order,
        "an intermediary of AS4 is not supported": reliability.ack_actor == "toPartyMSH",
        "reply_pattern says where a receipt of AS4 goes: leave sync_reply_mode out, or let it be "
        "signalsAndResponse in a two-way exchange": (
            pmode.sync_reply_mode == "none"
            or (pmode.sync_reply_mode, pmode.mep, pmode.reply_pattern)
            == ("signalsAndResponse", "two-way", "response")
        ),
        "signals are posted back to an endpoint of the From party: reply_pattern callback needs one": (
            # The receipt of a pulled message goes where the PullRequest went.
            pmode.reply_pattern == "response" or pmode.reply_endpoint is not None or pmode.pull is not None
        ),
        "each party of AS4 has a role": pmode.from_role is not None and pmode.to_role is not None,
    }
    return (
        *(requirement for requirement, is_met in requirements.items() if not is_met),
        *list_unsupported_algorithms(pmode),
    )


def require_supported_terms(pmode: PMode) -> None:
    """Raise GW311 for a P-Mode with terms that this core does not support."""
    for detail in list_unsupported_terms(pmode):
        raise GatewayError(NOT_SUPPORTED, detail, pmode.id)
