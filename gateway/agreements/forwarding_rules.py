"""The forwarding rules of an intermediary: which message goes on to which handler (ebMS 2.0 chapter 10).

A rule names the To party, and may name a service and an action. Of several rules for a message
the most exact one counts: with action before with service before with neither.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from gateway.agreements.pmode_values import is_endpoint, require_condition
from gateway.message_model import Party, PartyId

__all__ = ["HOP_ACKNOWLEDGMENTS", "SYNC_REPLY_CHOICES", "ForwardingRule", "ForwardingTable"]

#: Whether the next handler is asked for an Acknowledgment of its own, and whether for a signed one.
HOP_ACKNOWLEDGMENTS: Final = ("never", "unsigned", "signed")
#: What becomes of the SyncReply of a message, which is for the next handler only.
SYNC_REPLY_CHOICES: Final = ("keep", "add", "remove")
_MAX_RETRIES: Final = 1000
_MAX_SECONDS: Final = 86_400


@dataclass(frozen=True, slots=True)
class ForwardingRule:
    """Messages to the party `to` go to the handler of `next_party` at `endpoint`.

    `service` and `action` limit the rule; None means any. Only the registered parties `senders` may
    send messages this way: the gateway is no open relay. `acknowledgment` says what is asked of the
    next handler, `sync_reply` what becomes of SyncReply; `retries` and `retry_interval` (seconds) how
    often a message is sent.
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
        require_condition(is_endpoint(self.endpoint), "endpoint is an http(s) URL", "endpoint")
        require_condition(bool(self.senders), "a rule names the parties that may send", "senders")
        require_condition(
            self.next_party not in self.senders, "the next handler is not one of the senders", "senders"
        )
        require_condition(
            self.action is None or self.service is not None, "an action belongs to a service", "action"
        )
        for name, value, known in (
            ("acknowledgment", self.acknowledgment, HOP_ACKNOWLEDGMENTS),
            ("sync_reply", self.sync_reply, SYNC_REPLY_CHOICES),
        ):
            require_condition(value in known, f"{name} is one of {', '.join(known)}", name)
        require_condition(0 <= self.retries <= _MAX_RETRIES, f"retries is 0 to {_MAX_RETRIES}", "retries")
        require_condition(
            1 <= self.retry_interval <= _MAX_SECONDS,
            f"retry_interval is 1 to {_MAX_SECONDS} seconds",
            "retry_interval",
        )


class ForwardingTable:
    """The forwarding rules of one epoch, found in constant time."""

    def __init__(self, rules: Iterable[ForwardingRule] = ()) -> None:
        self._rules: Final = {(one.to, one.service, one.action): one for one in rules}
        #: The parties to whose handlers messages go on, and who may therefore speak about them.
        self.next_parties: Final = frozenset(one.next_party for one in self._rules.values())
        #: The parties that may send messages by a rule, and who may therefore ask about them.
        self.senders: Final = frozenset(one for rule in self._rules.values() for one in rule.senders)

    def find_rule(self, receiver: Party, service: str, action: str) -> ForwardingRule | None:
        """Return the rule for a message, None when it goes no further."""
        if not self._rules:
            return None
        keys = ((service, action), (service, None), (None, None))
        found = (self._rules.get((one, *key)) for key in keys for one in receiver.ids)
        return next((rule for rule in found if rule is not None), None)
