"""States the differences of two agreements in words of the business: ``retries of Order: 3 becomes 5``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from gateway.agreements.pmode import PMode, pmode_to_json

#: Terms that are not compared: names that no message carries, and the parties of the direction.
_IGNORED_TERMS: Final = {"id", "from_party", "to_party", "service", "service_type", "action"}
#: Terms of the agreement as a whole: told once where every message changes alike.
_AGREEMENT_TERM_NAMES: Final = {
    "agreement": "name of the agreement",
    "valid_from": "begin of the agreement",
    "valid_until": "end of the agreement",
    "protocol": "protocol",
    "profile": "profile",
    "conversations.invocations": "most invocations of the process",
    "conversations.concurrent": "most open conversations",
}
_TERM_NAMES: Final = {
    "security.sign": "signature",
    "security.policy": "policy of signatures",
    "security.mutual_tls": "client certificate on the connection",
    "security.sign_status": "signature of status requests",
    "security.certificates": "certificates of the sender",
    "security.reply_certificates": "certificates of who acknowledges",
    "security.signature_algorithms": "algorithms of signatures",
    "security.hash_function": "hash function",
    "security.trust_anchors": "trust anchors of the receiver",
    "security.non_repudiation_of_origin": "proof of origin",
    "security.non_repudiation_of_receipt": "proof of receipt",
    "security.token_reference": "reference to the certificate of a signature",
    "security.authenticated": "authentication",
    "security.confidential": "confidentiality",
    "security.tamper_proof": "protection from changes",
    "reliability.ack_requested": "acknowledgment",
    "reliability.ack_signed": "signed acknowledgment",
    "reliability.duplicate_elimination": "elimination of duplicates",
    "reliability.retries": "retries",
    "reliability.retry_interval": "time between retries",
    "reliability.persist_duration": "time for which duplicates are known",
    "reliability.message_order": "order of messages",
    "reliability.ack_actor": "who acknowledges",
    "sync_reply_mode": "answer on the connection",
    "endpoint": "endpoint of the receiver",
    "reply_endpoint": "endpoint of the sender",
    "endpoints": "endpoints of the receiver",
    "deliver_to": "delivery",
    "from_role": "role of the sender",
    "to_role": "role of the receiver",
    "encryption": "encryption",
    "packaging": "packaging",
    "signals": "channels of signals",
    "alternatives": "other channels",
    "channel": "channel",
    "answers": "request that is answered",
    "answered_by": "answers on the connection",
    "business.time_to_perform": "time to perform",
    "business.time_to_acknowledge_receipt": "time to acknowledge receipt",
    "business.time_to_acknowledge_acceptance": "time to acknowledge acceptance",
}
_DURATION_TERMS: Final = ("retry_interval", "persist_duration", "time_to_", "join_interval")
_DURATION_UNITS: Final = ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))
_MAX_CHARACTERS: Final = 120


class TermDifference(NamedTuple):
    """One difference: of which action (empty: of the whole), which term, how it was and becomes."""

    action: str
    term: str
    before: str
    after: str

    @property
    def sentence(self) -> str:
        """Return the difference in words."""
        if not self.term:
            return f"{self.action} {self.after}"
        subject = f"{self.term} of {self.action}" if self.action else self.term
        return f"{subject}: {self.before} becomes {self.after}"


def list_differences(old_pmodes: Sequence[PMode], new_pmodes: Sequence[PMode]) -> tuple[TermDifference, ...]:
    """Return the differences between two agreements: those of the whole first, then by action.

    Messages are compared where service, action and direction are the same.
    """
    before, after = _index_pmodes(old_pmodes), _index_pmodes(new_pmodes)
    action_labels = _label_actions([*before, *after])
    differences: list[TermDifference] = []
    for pmode_key in dict.fromkeys((*before, *after)):
        action_label = action_labels[pmode_key]
        if pmode_key not in after:
            differences.append(TermDifference(action_label, "", "", "is no longer agreed"))
        elif pmode_key not in before:
            differences.append(TermDifference(action_label, "", "", "is new"))
        else:
            differences += _compare_terms(action_label, before[pmode_key], after[pmode_key])
    return tuple(_merge_common_differences(differences, len(before.keys() & after.keys())))


_PModeKey = tuple[str, str | None, str, tuple[Any, ...], tuple[Any, ...]]


def _index_pmodes(pmodes: Sequence[PMode]) -> dict[_PModeKey, PMode]:
    return {
        (pmode.service, pmode.service_type, pmode.action, pmode.from_party, pmode.to_party): pmode
        for pmode in sorted(pmodes, key=lambda pmode: (pmode.service, pmode.action, pmode.id))
    }


def _label_actions(pmode_keys: Sequence[_PModeKey]) -> dict[_PModeKey, str]:
    """Return the action of each key, with the sender where both parties send it."""
    action_labels = {}
    for key in pmode_keys:
        same_action_keys = {candidate for candidate in pmode_keys if candidate[2] == key[2]}
        sender = (
            f" from {key[3][0].value}"
            if len({same_action[3] for same_action in same_action_keys}) > 1
            else ""
        )
        service = f" of {key[0]}" if len({same_action[:2] for same_action in same_action_keys}) > 1 else ""
        action_labels[key] = key[2] + service + sender
    return action_labels


def _compare_terms(action_label: str, old_pmode: PMode, new_pmode: PMode) -> Iterator[TermDifference]:
    """Yield the terms that differ between two P-Modes, with the old and the new value in words."""
    old_values, new_values = (
        dict(_flatten_terms(pmode_to_json(old_pmode))),
        dict(_flatten_terms(pmode_to_json(new_pmode))),
    )
    for term_path in dict.fromkeys((*old_values, *new_values)):
        if term_path in _IGNORED_TERMS or old_values.get(term_path) == new_values.get(term_path):
            continue
        term_name = (
            _AGREEMENT_TERM_NAMES.get(term_path)
            or _TERM_NAMES.get(term_path)
            or term_path.replace("_", " ").replace(".", ", ")
        )
        old_text, new_text = (
            _describe_value(term_path, flattened.get(term_path)) for flattened in (old_values, new_values)
        )
        yield TermDifference(action_label, term_name, old_text, new_text)


def _flatten_terms(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each term as its path (names joined by dots) and value; a group in `_TERM_NAMES` is one value."""
    for name, value in values.items():
        term_path = f"{prefix}{name}"
        if isinstance(value, dict) and term_path not in _TERM_NAMES:
            yield from _flatten_terms(value, f"{term_path}.")
        else:
            yield term_path, value


def _describe_value(term_path: str, term_value: Any) -> str:
    """Return a value in words: a duration with its unit, a SHA-256 digest as 16 digits, a long text cut."""
    if term_value is None or term_value in ([], {}):
        return "none"
    if isinstance(term_value, bool):
        return "yes" if term_value else "no"
    if isinstance(term_value, int) and any(part in term_path for part in _DURATION_TERMS):
        return _describe_duration(term_value)
    if isinstance(term_value, list):
        return ", ".join(_describe_value(term_path, member) for member in term_value)[:_MAX_CHARACTERS]
    if isinstance(term_value, dict):
        texts = (
            f"{name} {_describe_value(term_path, member)}"
            for name, member in term_value.items()
            if member not in (None, [], False)
        )
        return "; ".join(texts).replace("_", " ")[:_MAX_CHARACTERS]
    value_text = str(term_value)
    return value_text[:16] if len(value_text) == 64 and value_text.isalnum() else value_text[:_MAX_CHARACTERS]


def _describe_duration(seconds: int) -> str:
    """Return seconds in the largest unit that divides them."""
    unit_seconds, unit = next(
        (entry for entry in _DURATION_UNITS if seconds and seconds % entry[0] == 0), _DURATION_UNITS[-1]
    )
    unit_count = seconds // unit_seconds
    return f"{unit_count} {unit}{'' if unit_count == 1 else 's'}"


def _merge_common_differences(
    differences: Sequence[TermDifference], pair_count: int
) -> Iterator[TermDifference]:
    """Yield a difference only once, for the whole agreement, if all of the pairs of messages have it.

    `pair_count` is the number of these pairs.
    """
    change_counts = Counter(
        (difference.term, difference.before, difference.after) for difference in differences
    )
    common_changes = [
        key
        for key, count in change_counts.items()
        if key[0] in _AGREEMENT_TERM_NAMES.values() and count == pair_count
    ]
    yield from (TermDifference("", *key) for key in common_changes)
    yield from (
        difference
        for difference in differences
        if (difference.term, difference.before, difference.after) not in common_changes
    )
