"""The forwarding rules of an intermediary: the next handler of each message (ebMS 2.0 chapter 10).

A rule names the To party, and may name a service and an action. Of several rules for a message the most exact
one counts: with action before with service before with neither.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from gateway.agreements.pmode_values import (
    is_endpoint,
    require_choice,
    require_condition,
    require_range,
)
from gateway.message_model import Party, PartyId

#: Whether the next handler is asked for an Acknowledgment of its own, and whether for a signed one.
HOP_ACKNOWLEDGMENTS: Final = ("never", "unsigned", "signed")
#: What becomes of the SyncReply of a message, which is for the next handler only.
SYNC_REPLY_CHOICES: Final = ("keep", "add", "remove")
_MAX_RETRIES: Final = 1000
_MAX_SECONDS: Final = 86_400


@dataclass(frozen=True, slots=True)
class ForwardingRule:
    """Messages to the party `to` go to the handler of `next_party` at `endpoint`.

    `service` and `action` limit the rule; None means any. Only the registered parties `senders` may send
    messages this way: the gateway is no open relay. `acknowledgment` is the receipt that the next handler is
    asked for, `sync_reply` the treatment of SyncReply; `retries` is the number of repeats of a message, every
    `retry_interval` seconds.
    """

    to: PartyId
    next_party: str
    endpoint: str
    senders: tuple[str, ...]
    service: str | None = None
    action: str | None = None
    acknowledgment: str = "never"
    sync_reply: str = "keep"
    retries: int = 5
    retry_interval: int = 60

    def __post_init__(self) -> None:
        """Raise GW808 for a field that has a wrong value, or that contradicts another."""
        require_condition(is_endpoint(self.endpoint), "endpoint must be an http(s) URL", "endpoint")
        require_condition(bool(self.senders), "a rule must name the parties that may send", "senders")
        require_condition(
            self.next_party not in self.senders, "the next handler is not one of the senders", "senders"
        )
        require_condition(
            self.action is None or self.service is not None, "an action must have a service", "action"
        )
        require_choice(self.acknowledgment, HOP_ACKNOWLEDGMENTS, "acknowledgment")
        require_choice(self.sync_reply, SYNC_REPLY_CHOICES, "sync_reply")
        require_range(self.retries, 0, _MAX_RETRIES, "retries")
        require_range(self.retry_interval, 1, _MAX_SECONDS, "retry_interval", " seconds")


class ForwardingTable:
    """The forwarding rules of one epoch, found in constant time."""

    def __init__(self, rules: Iterable[ForwardingRule] = ()) -> None:
        self._rules: Final = {(rule.to, rule.service, rule.action): rule for rule in rules}
        #: The parties to whose handlers messages go on, and who may therefore speak about them.
        self.next_parties: Final = frozenset(rule.next_party for rule in self._rules.values())
        #: The parties that may send messages by a rule, and who may therefore ask about them.
        self.senders: Final = frozenset(sender for rule in self._rules.values() for sender in rule.senders)

    def find_rule(self, receiver: Party, service: str, action: str) -> ForwardingRule | None:
        """Return the rule for a message, None when it goes no further."""
        if not self._rules:
            return None
        scopes = ((service, action), (service, None), (None, None))
        rules = (self._rules.get((party_id, *key)) for key in scopes for party_id in receiver.ids)
        return next((rule for rule in rules if rule is not None), None)
