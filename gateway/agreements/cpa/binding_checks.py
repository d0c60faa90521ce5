"""Rules on actions: what one party sends the other must be able to receive, in the same way."""

from __future__ import annotations

from typing import Final

from gateway.agreements.cpa.channel_choice import BoundAction, ChannelUse, find_counterpart
from gateway.agreements.cpa.cpa_model import ActionBinding, CollaborationRole
from gateway.agreements.cpa.cpa_rules import CpaFinding
from gateway.agreements.cpa.cpa_view import CpaCheck, CpaView, Found, quote_name
from gateway.agreements.pmode_values import RESPONDING_MODES

__all__ = ["BINDING_CHECKS"]


def _find_unmatched_bindings(view: CpaView) -> Found:
    for party in view.document.parties:
        other = view.document.get_other_party(party)
        for role, binding, _ in party.list_bindings():
            if find_counterpart(role, binding, other) is not None:
                continue
            named = other.find_binding(binding.other) if binding.other is not None else None
            if named is not None:
                text = _describe_contradiction(role, binding, named)
                yield CpaFinding("binding-contradictory", binding.place, text)
            elif binding.other is None or binding.other not in view.document.names:
                rule, verb = ("send-unmatched", "receive") if binding.sends else ("receive-unmatched", "send")
                action, name = quote_name(binding.action), quote_name(other.name)
                yield CpaFinding(rule, binding.place, f"party {name} cannot {verb} {action}")
            else:
                text = f"{quote_name(binding.other)} is no binding of party {quote_name(other.name)}"
                yield CpaFinding("binding-contradictory", binding.place, text)


def _describe_contradiction(role: CollaborationRole, binding: ActionBinding, named: ActionBinding) -> str:
    told = f"binding {quote_name(named.id)} "
    if named.action != binding.action:
        return told + f"is of action {quote_name(named.action)}, this one of {quote_name(binding.action)}"
    if named.sends == binding.sends:
        return told + f"has the same direction: both parties {'send' if named.sends else 'receive'} it"
    return told + f"is of another service than {quote_name(role.service)}"


def _find_one_sided_bindings(view: CpaView) -> Found:
    for action in view.actions:
        ours, theirs = action.binding, action.other
        if (ours.other or theirs.other) and (ours.other != theirs.id or theirs.other != ours.id):
            told = "another binding" if ours.other and theirs.other else "none"
            text = f"{quote_name(ours.id)} and {quote_name(theirs.id)} belong together; one names {told}"
            yield CpaFinding("binding-one-sided", ours.place, text)


def _find_repeated_actions(view: CpaView) -> Found:
    for party in view.document.parties:
        seen: set[tuple[str, str | None, str]] = set()
        for role, binding, _ in party.list_bindings():
            key = (role.service, role.service_type, binding.action)
            if binding.sends and key in seen:
                text = f"party {quote_name(party.name)} sends {quote_name(binding.action)} twice"
                yield CpaFinding("action-repeated", binding.place, text)
            if binding.sends:
                seen.add(key)


def _find_different_sides(view: CpaView) -> Found:
    for action in view.actions:
        ours, theirs = action.binding, action.other
        name = quote_name(ours.action)
        if action.role.process_uri != action.other_role.process_uri:
            text = f"{name} is sent in process {quote_name(action.role.process)} and received in "
            text += f"{quote_name(action.other_role.process)}"
            yield CpaFinding("process-different", action.role.place, text)
        different = _list_different_wishes(action)
        if different:
            text = f"the sides of {name} differ in {', '.join(different)}"
            yield CpaFinding("characteristics-different", ours.business.place, text)
        if ours.package != theirs.package:
            text = (
                f"{name} is sent as {quote_name(ours.package)} and received as {quote_name(theirs.package)}"
            )
            yield CpaFinding("package-different", ours.place.find_attribute("packageId"), text)


def _list_different_wishes(action: BoundAction) -> list[str]:
    names = {
        "isNonRepudiationRequired": "non_repudiation",
        "isNonRepudiationReceiptRequired": "non_repudiation_receipt",
        "isConfidential": "confidential",
        "isAuthenticated": "authenticated",
        "isTamperProof": "tamper_proof",
    }
    ours, theirs = action.binding.business, action.other.business
    return [told for told, name in names.items() if getattr(ours, name) != getattr(theirs, name)]


def _find_response_problems(view: CpaView) -> Found:
    for action, ours, _ in view.list_uses():
        if action.holder is None:
            yield from _judge_responses(action, ours)


def _judge_responses(action: BoundAction, ours: ChannelUse) -> Found:
    mode = ours.channel.sync_reply_mode if ours.channel is not None else "none"
    nested, name = bool(action.binding.nested or action.other.nested), quote_name(action.binding.action)
    if nested and mode not in RESPONDING_MODES:
        text = f"{name} is answered on its connection, and the channel has syncReplyMode {mode}"
        yield CpaFinding("response-asynchronous", action.binding.place, text)
    if not nested and mode in RESPONDING_MODES:
        text = f"the channel of {name} has syncReplyMode {mode}, and no response is bound inside"
        yield CpaFinding("response-unbound", action.binding.place, text)


def _find_short_times(view: CpaView) -> Found:
    for action, ours, _ in view.list_uses():
        limit, sender = action.binding.business.time_to_acknowledge_receipt, ours.sender
        interval = sender.retry_interval if sender is not None else None
        if limit is None or interval is None or sender is None or not sender.retries:
            continue
        if 0 <= limit < interval:
            text = f"{quote_name(action.binding.action)} is to be acknowledged within {limit} seconds, "
            text += f"and is repeated after {interval}"
            yield CpaFinding("time-to-acknowledge", action.binding.business.place, text)


BINDING_CHECKS: Final[tuple[CpaCheck, ...]] = (
    _find_unmatched_bindings,
    _find_one_sided_bindings,
    _find_repeated_actions,
    _find_different_sides,
    _find_response_problems,
    _find_short_times,
)
