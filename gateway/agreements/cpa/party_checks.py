"""Rules on the agreement as a whole, on its parties, and on the messages that they send each other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from gateway.agreements.cpa.channel_conversion import BoundAction, ChannelUse, find_counterpart
from gateway.agreements.cpa.cpa_model import ActionBinding, CollaborationRole, CpaParty, Place
from gateway.agreements.cpa.cpa_view import CpaCheck, CpaView, Findings, cite_rule, quote_name
from gateway.agreements.pmode import is_uri
from gateway.agreements.pmode_index import SIGNAL_SERVICE
from gateway.agreements.pmode_values import RESPONDING_MODES
from gateway.wire import TP, format_instant

_ZONE: Final = re.compile(r"(?:Z|[+-][0-9]{2}:[0-9]{2})$")


def _find_status_problems(view: CpaView) -> Findings:
    """Yield a finding if the status is ``proposed``, or does not fit the signatures of the document."""
    document, location = view.document, view.document.status_place.find_attribute("value")
    if document.status == "proposed":
        yield cite_rule("status-proposed", location, "the agreement is proposed, not agreed")
    if document.status == "signed" and not document.signatures:
        yield cite_rule("status-unsigned", location, "the status is signed, and nobody has signed")
    if document.status == "agreed" and document.signatures:
        text = f"the document has {len(document.signatures)} signature(s), and its status is agreed"
        yield cite_rule("status-signatures", location, text)


def _find_period_problems(view: CpaView) -> Findings:
    """Yield findings on Start and End: not readable, without time zone, reversed, ended, or not begun."""
    document = view.document
    for element_name, limit_time, location in (
        ("Start", document.start, document.start_place),
        ("End", document.end, document.end_place),
    ):
        # XPath reads the text on both sides of a comment, as the reader of the document does.
        time_text = str(document.root.xpath(f"string(tp:{element_name})", namespaces={"tp": TP})).strip()
        if limit_time is None:
            message = (
                f"the time {quote_name(time_text)} does not exist or lies outside of the years 1 to 9999"
            )
            yield cite_rule("period-unreadable", location, message)
        elif not _ZONE.search(time_text):
            yield cite_rule("period-unzoned", location, f"{time_text} has no time zone; UTC is taken")
    if document.start is None or document.end is None:
        return
    if document.start >= document.end:
        ends, begins = format_instant(document.end, "seconds"), format_instant(document.start, "seconds")
        message = f"the agreement ends at {ends}, and begins at {begins}"
        yield cite_rule("period-reversed", document.end_place, message)
    elif document.end <= view.at:
        message = f"the agreement ended at {format_instant(document.end, 'seconds')}"
        yield cite_rule("period-ended", document.end_place, message)
    elif document.start > view.at:
        message = f"the agreement begins at {format_instant(document.start, 'seconds')}"
        yield cite_rule("period-later", document.start_place, message)


def _find_limit_problems(view: CpaView) -> Findings:
    """Yield a finding if the number of conversations is limited, or its limit is negative."""
    document, location = view.document, view.document.constraints_place
    limits = (document.invocation_limit, document.concurrent_conversations)
    if location is None:
        return
    if any(limit is not None and limit < 0 for limit in limits):
        yield cite_rule("conversation-negative", location, "a number of conversations must not be negative")
    elif any(limit is not None for limit in limits):
        text = "the number of conversations is limited: a message that begins one more is refused"
        yield cite_rule("conversation-limit", location, text)


def _find_id_problems(view: CpaView) -> Findings:
    """Yield findings on PartyId elements: no type and no URI, a type used twice, or an id of both parties."""
    for party in view.document.parties:
        types: set[str | None] = set()
        for party_name in party.ids:
            if party_name.type is None and not is_uri(party_name.value):
                text = f"PartyId {quote_name(party_name.value)} has no type and is not a URI"
                yield cite_rule("party-id-untyped", party_name.location, text)
            if party_name.type in types:
                type_text = quote_name(party_name.type) if party_name.type is not None else "no type"
                text = f"party {quote_name(party.name)} has two identifiers of the type {type_text}"
                yield cite_rule("party-id-repeated", party_name.location, text)
            types.add(party_name.type)
    first, second = view.document.parties
    for party_name in second.ids:
        if (party_name.value, party_name.type) in {(party_id.value, party_id.type) for party_id in first.ids}:
            text = f"both parties are identified as {quote_name(party_name.value)}"
            yield cite_rule("party-id-shared", party_name.location, text)


def _find_name_problems(view: CpaView) -> Findings:
    for location, subject, text in _list_names(view):
        if text != text.strip() or not text:
            detail = f"{subject} {quote_name(text)} has white space around it"
            yield cite_rule("name-white-space", location, detail if text.strip() else f"{subject} is empty")


def _list_names(view: CpaView) -> Iterator[tuple[Place, str, str]]:
    root = view.document.location
    yield root.find_attribute("cpaid"), "the id of the agreement", view.document.id
    for party in view.document.parties:
        yield from ((party_name.location, "PartyId", party_name.value) for party_name in party.ids)
        yield from _list_role_names(party)


def _list_role_names(party: CpaParty) -> Iterator[tuple[Place, str, str]]:
    for role in party.roles:
        yield role.location, "Role", role.role
        yield role.service_place, "Service", role.service
        for binding, _ in role.list_bindings():
            yield binding.location.find_attribute("action"), "Action", binding.action


def _find_service_problems(view: CpaView) -> Findings:
    """Yield findings on each Service that has no type and is no URI, or is reserved for signals."""
    for party in view.document.parties:
        for role in party.roles:
            service = quote_name(role.service)
            if role.service_type is None and not is_uri(role.service):
                text = f"Service {service} has no type and is not a URI"
                yield cite_rule("service-untyped", role.service_place, text)
            if role.service == SIGNAL_SERVICE:
                text = f"Service {service} is that of the signals of message handlers"
                yield cite_rule("service-reserved", role.service_place, text)


def _find_role_problems(view: CpaView) -> Findings:
    for action in view.actions:
        if action.role.role == action.other_role.role:
            text = f"both parties are {quote_name(action.role.role)} in {quote_name(action.binding.action)}"
            yield cite_rule("role-same", action.role.location, text)


def _find_version_problems(view: CpaView) -> Findings:
    for binding in view.document.list_document_bindings():
        if binding.version != "2.0":
            text = f"version {quote_name(binding.version)} of ebMS is not 2.0"
            yield cite_rule("binding-version", binding.location.find_attribute("version"), text)


PARTY_CHECKS: Final[tuple[CpaCheck, ...]] = (
    _find_status_problems,
    _find_period_problems,
    _find_limit_problems,
    _find_id_problems,
    _find_name_problems,
    _find_service_problems,
    _find_role_problems,
    _find_version_problems,
)


def _find_unmatched_bindings(view: CpaView) -> Findings:
    """Yield a finding for each binding without a counterpart of the other party."""
    for party in view.document.parties:
        other_party = view.document.get_other_party(party)
        for role, binding, _ in party.list_bindings():
            if find_counterpart(role, binding, other_party) is not None:
                continue
            named_binding = (
                other_party.find_binding(binding.partner_binding_id)
                if binding.partner_binding_id is not None
                else None
            )
            if named_binding is not None:
                text = _describe_contradiction(role, binding, named_binding)
                yield cite_rule("binding-contradictory", binding.location, text)
            elif (
                binding.partner_binding_id is None
                or binding.partner_binding_id not in view.document.elements_by_id
            ):
                rule, verb = ("send-unmatched", "receive") if binding.sends else ("receive-unmatched", "send")
                action, name = quote_name(binding.action), quote_name(other_party.name)
                yield cite_rule(rule, binding.location, f"party {name} cannot {verb} {action}")
            else:
                party_name = quote_name(other_party.name)
                text = f"{quote_name(binding.partner_binding_id)} is no binding of party {party_name}"
                yield cite_rule("binding-contradictory", binding.location, text)


def _describe_contradiction(
    role: CollaborationRole, binding: ActionBinding, named_binding: ActionBinding
) -> str:
    """Return why `named_binding`, to which `binding` refers, is not its counterpart."""
    subject = f"binding {quote_name(named_binding.id)} "
    if named_binding.action != binding.action:
        return (
            subject
            + f"is of action {quote_name(named_binding.action)}, this one of {quote_name(binding.action)}"
        )
    if named_binding.sends == binding.sends:
        return (
            subject
            + f"has the same direction: both parties {'send' if named_binding.sends else 'receive'} it"
        )
    return subject + f"is of another service than {quote_name(role.service)}"


def _find_one_sided_bindings(view: CpaView) -> Findings:
    """Yield a finding for each action of which one binding has a reference that is not mutual."""
    for action in view.actions:
        sender_binding, receiver_binding = action.binding, action.receiving_binding
        if (sender_binding.partner_binding_id or receiver_binding.partner_binding_id) and (
            sender_binding.partner_binding_id != receiver_binding.id
            or receiver_binding.partner_binding_id != sender_binding.id
        ):
            target = (
                "another binding"
                if sender_binding.partner_binding_id and receiver_binding.partner_binding_id
                else "none"
            )
            ids = f"{quote_name(sender_binding.id)} and {quote_name(receiver_binding.id)}"
            text = f"{ids} belong together; one names {target}"
            yield cite_rule("binding-one-sided", sender_binding.location, text)


def _find_repeated_actions(view: CpaView) -> Findings:
    """Yield a finding for each action that a party sends in two bindings of one service."""
    for party in view.document.parties:
        seen_names: set[tuple[str, str | None, str]] = set()
        for role, binding, _ in party.list_bindings():
            key = (role.service, role.service_type, binding.action)
            if binding.sends and key in seen_names:
                text = f"party {quote_name(party.name)} sends {quote_name(binding.action)} twice"
                yield cite_rule("action-repeated", binding.location, text)
            if binding.sends:
                seen_names.add(key)


def _find_different_sides(view: CpaView) -> Findings:
    """Yield findings where sender and receiver of an action differ in process, characteristics or package."""
    for action in view.actions:
        sender_binding, receiver_binding = action.binding, action.receiving_binding
        name = quote_name(sender_binding.action)
        if action.role.process_uri != action.other_role.process_uri:
            text = f"{name} is sent in process {quote_name(action.role.process)} and received in "
            text += f"{quote_name(action.other_role.process)}"
            yield cite_rule("process-different", action.role.location, text)
        different_attributes = _list_different_characteristics(action)
        if different_attributes:
            text = f"the sides of {name} differ in {', '.join(different_attributes)}"
            yield cite_rule("characteristics-different", sender_binding.business.location, text)
        if sender_binding.package != receiver_binding.package:
            sent_as, received_as = quote_name(sender_binding.package), quote_name(receiver_binding.package)
            text = f"{name} is sent as {sent_as} and received as {received_as}"
            yield cite_rule("package-different", sender_binding.location.find_attribute("packageId"), text)


def _list_different_characteristics(action: BoundAction) -> list[str]:
    """Return the attributes of BusinessTransactionCharacteristics that differ between sender and receiver."""
    field_by_attribute = {
        "isNonRepudiationRequired": "non_repudiation",
        "isNonRepudiationReceiptRequired": "non_repudiation_receipt",
        "isConfidential": "confidential",
        "isAuthenticated": "authenticated",
        "isTamperProof": "tamper_proof",
    }
    sender_terms, receiver_terms = action.binding.business, action.receiving_binding.business
    return [
        attribute
        for attribute, name in field_by_attribute.items()
        if getattr(sender_terms, name) != getattr(receiver_terms, name)
    ]


def _find_response_problems(view: CpaView) -> Findings:
    for action, sender_use, _ in view.list_channel_uses():
        if action.parent_binding is None:
            yield from _check_responses(action, sender_use)


def _check_responses(action: BoundAction, sender_use: ChannelUse) -> Findings:
    """Yield a finding if the sync reply mode and the nested responses of an action do not fit together."""
    sync_reply_mode = sender_use.channel.sync_reply_mode if sender_use.channel is not None else "none"
    has_response, name = (
        bool(action.binding.nested_bindings or action.receiving_binding.nested_bindings),
        quote_name(action.binding.action),
    )
    if has_response and sync_reply_mode not in RESPONDING_MODES:
        text = f"{name} is answered on its connection, and the channel has syncReplyMode {sync_reply_mode}"
        yield cite_rule("response-asynchronous", action.binding.location, text)
    if not has_response and sync_reply_mode in RESPONDING_MODES:
        text = f"the channel of {name} has syncReplyMode {sync_reply_mode}, and no response is bound inside"
        yield cite_rule("response-unbound", action.binding.location, text)


def _find_short_times(view: CpaView) -> Findings:
    """Yield a finding for each action that must be acknowledged before its first retry (in seconds)."""
    for action, sender_use, _ in view.list_channel_uses():
        limit, sender = action.binding.business.time_to_acknowledge_receipt, sender_use.sender
        interval = sender.retry_interval if sender is not None else None
        if limit is None or interval is None or sender is None or not sender.retries:
            continue
        if 0 <= limit < interval:
            text = f"{quote_name(action.binding.action)} is to be acknowledged within {limit} seconds, "
            text += f"and is repeated after {interval}"
            yield cite_rule("time-to-acknowledge", action.binding.business.location, text)


BINDING_CHECKS: Final[tuple[CpaCheck, ...]] = (
    _find_unmatched_bindings,
    _find_one_sided_bindings,
    _find_repeated_actions,
    _find_different_sides,
    _find_response_problems,
    _find_short_times,
)
