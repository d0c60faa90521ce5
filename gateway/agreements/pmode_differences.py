"""States the differences of two agreements in words of the business: ``retries of Order: 3 becomes 5``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from gateway.agreements.pmode import PMode, pmode_to_json

#: Terms that are not compared: names that no message carries, and the parties of the direction.
_UNTOLD: Final = {"id", "from_party", "to_party", "service", "service_type", "action"}
#: Terms of the agreement as a whole: told once where every message changes alike.
_WHOLE: Final = {
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
_DURATIONS: Final = ("retry_interval", "persist_duration", "time_to_", "join_interval")
_UNITS: Final = ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))
_MOST_CHARACTERS: Final = 120


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


def list_differences(old: Sequence[PMode], new: Sequence[PMode]) -> tuple[TermDifference, ...]:
    """Return the differences between two agreements: those of the whole first, then by action.

    Messages are compared where service, action and direction are the same.
    """
    before, after = _index_pmodes(old), _index_pmodes(new)
    names = _name_actions([*before, *after])
    differences: list[TermDifference] = []
    for key in dict.fromkeys((*before, *after)):
        name = names[key]
        if key not in after:
            differences.append(TermDifference(name, "", "", "is no longer agreed"))
        elif key not in before:
            differences.append(TermDifference(name, "", "", "is new"))
        else:
            differences += _compare_terms(name, before[key], after[key])
    return tuple(_join_common(differences, len(before.keys() & after.keys())))


_Key = tuple[str, str | None, str, tuple[Any, ...], tuple[Any, ...]]


def _index_pmodes(pmodes: Sequence[PMode]) -> dict[_Key, PMode]:
    return {
        (pmode.service, pmode.service_type, pmode.action, pmode.from_party, pmode.to_party): pmode
        for pmode in sorted(pmodes, key=lambda pmode: (pmode.service, pmode.action, pmode.id))
    }


def _name_actions(keys: Sequence[_Key]) -> dict[_Key, str]:
    """Return the action of each key, with the sender where both parties send it."""
    names = {}
    for key in keys:
        others = {candidate for candidate in keys if candidate[2] == key[2]}
        sender = f" from {key[3][0].value}" if len({same_action[3] for same_action in others}) > 1 else ""
        service = f" of {key[0]}" if len({same_action[:2] for same_action in others}) > 1 else ""
        names[key] = key[2] + service + sender
    return names


def _compare_terms(name: str, old: PMode, new: PMode) -> Iterator[TermDifference]:
    before, after = dict(_flatten(pmode_to_json(old))), dict(_flatten(pmode_to_json(new)))
    for path in dict.fromkeys((*before, *after)):
        if path in _UNTOLD or before.get(path) == after.get(path):
            continue
        term = _WHOLE.get(path) or _TERM_NAMES.get(path) or path.replace("_", " ").replace(".", ", ")
        was, becomes = (_describe_value(path, flattened.get(path)) for flattened in (before, after))
        yield TermDifference(name, term, was, becomes)


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        path = f"{prefix}{name}"
        if isinstance(value, dict) and path not in _TERM_NAMES:
            yield from _flatten(value, f"{path}.")
        else:
            yield path, value


def _describe_value(path: str, value: Any) -> str:
    if value is None or value in ([], {}):
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and any(part in path for part in _DURATIONS):
        return _describe_duration(value)
    if isinstance(value, list):
        return ", ".join(_describe_value(path, member) for member in value)[:_MOST_CHARACTERS]
    if isinstance(value, dict):
        texts = (
            f"{name} {_describe_value(path, member)}"
            for name, member in value.items()
            if member not in (None, [], False)
        )
        return "; ".join(texts).replace("_", " ")[:_MOST_CHARACTERS]
    text = str(value)
    return text[:16] if len(text) == 64 and text.isalnum() else text[:_MOST_CHARACTERS]


def _describe_duration(seconds: int) -> str:
    """Return seconds in the largest unit that divides them."""
    size, unit = next((entry for entry in _UNITS if seconds and seconds % entry[0] == 0), _UNITS[-1])
    number = seconds // size
    return f"{number} {unit}{'' if number == 1 else 's'}"


def _join_common(differences: Sequence[TermDifference], pairs: int) -> Iterator[TermDifference]:
    """Yield a difference only once, for the whole agreement, if all of the pairs of messages have it.

    `pairs` is the number of these pairs.
    """
    counts = Counter((difference.term, difference.before, difference.after) for difference in differences)
    whole = [key for key, count in counts.items() if key[0] in _WHOLE.values() and count == pairs]
    yield from (TermDifference("", *key) for key in whole)
    yield from (
        difference
        for difference in differences
        if (difference.term, difference.before, difference.after) not in whole
    )
