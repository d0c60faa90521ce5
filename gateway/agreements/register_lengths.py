"""The longest names that come into the register, in octets of UTF-8.

They are columns of indexes, and PostgreSQL keeps at most 2,704 octets in an entry of an index. Only a name
that is loaded or registered is checked: longer names that the register has from before stay readable.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from gateway.agreements.forwarding_rules import ForwardingRule
from gateway.agreements.pmode import PMode
from gateway.agreements.pmode_values import require_condition
from gateway.message_model import PartyId
from gateway.wire import has_more_octets

#: Values of message headers, which have the same bound there, and ids of P-Modes.
_MAX_VALUE_OCTETS: Final = 1024
#: The id of an agreement is in one index with a conversation and a party.
_MAX_AGREEMENT_OCTETS: Final = 600
#: A lane is named by the channel and the party that pulls from it.
_MAX_CHANNEL_OCTETS: Final = 512
#: Each of the four values that a forwarding rule is for, which are in one index.
_MAX_RULE_OCTETS: Final = 640


def check_pmode_lengths(pmode: PMode) -> None:
    """Raise GW808 for a value of a P-Mode that has more octets than the register has room for."""
    _check_length("agreement", pmode.agreement, _MAX_AGREEMENT_OCTETS)
    _check_length("id", pmode.id, _MAX_VALUE_OCTETS)
    _check_length("mpc", pmode.pull_channel or "", _MAX_CHANNEL_OCTETS)
    _check_length("service", pmode.service, _MAX_VALUE_OCTETS)
    _check_length("action", pmode.action, _MAX_VALUE_OCTETS)
    for side_name, party_ids in (("from", pmode.from_party), ("to", pmode.to_party)):
        _check_party_ids(party_ids, side_name)


def check_party_id_lengths(party_ids: Iterable[PartyId]) -> None:
    """Raise GW808 for a new id of a party that has too many octets."""
    for party_id in party_ids:
        _check_party_ids((party_id,), party_id.value[:40])


def check_rule_lengths(rule: ForwardingRule) -> None:
    """Raise GW808 for a new forwarding rule whose To party, service or action has too many octets."""
    _check_length("the To party", rule.to.value, _MAX_RULE_OCTETS, "to")
    _check_length("the type of the To party", rule.to.type or "", _MAX_RULE_OCTETS, "to")
    _check_length("service", rule.service or "", _MAX_RULE_OCTETS)
    _check_length("action", rule.action or "", _MAX_RULE_OCTETS)


def _check_party_ids(party_ids: Iterable[PartyId], location: str) -> None:
    for party_id in party_ids:
        _check_length("a party id", party_id.value, _MAX_VALUE_OCTETS, location)
        _check_length("the type of a party id", party_id.type or "", _MAX_VALUE_OCTETS, location)


def _check_length(subject: str, text: str, most_octets: int, location: str = "") -> None:
    """Raise GW808 for a text of more than `most_octets`; without `location` its place is the `subject`."""
    is_short = not has_more_octets(text, most_octets)
    require_condition(is_short, f"{subject} has more than {most_octets:,} octets", location or subject)
