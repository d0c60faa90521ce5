"""Forwarding rules: their limits, and the rule that is found for a message."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.agreements import ForwardingRule, ForwardingTable
from gateway.errors import GatewayError
from gateway.message_model import Party, PartyId

HUB, OTHER = PartyId("hub", "urn:example:party-type"), PartyId("0123", "urn:example:other")


def make_rule(**changes: Any) -> ForwardingRule:
    terms = {"to": HUB, "next_party": "hop", "endpoint": "https://hop.example/msh", "senders": ("broker1",)}
    return ForwardingRule(**(terms | changes))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"retries": 0, "retry_interval": 1},
        {"retries": 1000, "retry_interval": 86_400},
        {"acknowledgment": "never", "sync_reply": "keep"},
        {"acknowledgment": "unsigned", "sync_reply": "add"},
        {"acknowledgment": "signed", "sync_reply": "remove"},
        {"service": "urn:s"},
        {"service": "urn:s", "action": "Submit"},
        {"endpoint": "http://hop.example/msh"},
    ],
)
def test_what_a_rule_may_say(changes: dict[str, Any]) -> None:
    made = make_rule(**changes)
    assert {name: getattr(made, name) for name in changes} == changes


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"endpoint": "mailto:hop@hop.example"}, "endpoint"),
        ({"senders": ()}, "senders"),
        ({"senders": ("broker1", "hop")}, "senders"),
        ({"action": "Submit"}, "action"),
        ({"acknowledgment": "always"}, "acknowledgment"),
        ({"sync_reply": "never"}, "sync_reply"),
        ({"retries": -1}, "retries"),
        ({"retries": 1001}, "retries"),
        ({"retry_interval": 0}, "retry_interval"),
        ({"retry_interval": 86_401}, "retry_interval"),
    ],
)
def test_what_no_rule_says(changes: dict[str, Any], place: str) -> None:
    with pytest.raises(GatewayError) as caught:
        make_rule(**changes)
    assert caught.value.location == place


def test_the_rule_that_says_most_of_a_message_is_found() -> None:
    any_service = make_rule()
    any_action = make_rule(service="urn:s", next_party="a")
    one_action = make_rule(service="urn:s", action="Submit", next_party="b")
    by_other = make_rule(to=OTHER, service="urn:t", senders=("broker2",))
    table = ForwardingTable([any_service, any_action, one_action, by_other])
    # A party has several identifiers: a rule names any of them.
    for ids in ((HUB, OTHER), (OTHER, HUB)):
        receiver = Party(ids, "Hub")
        assert table.find_rule(receiver, "urn:s", "Submit") is one_action
        assert table.find_rule(receiver, "urn:s", "Other") is any_action
        assert table.find_rule(receiver, "urn:x", "Submit") is any_service
        assert table.find_rule(receiver, "urn:t", "Submit") is by_other
    assert table.find_rule(Party((OTHER,), "Hub"), "urn:s", "Submit") is None
    assert (table.next_parties, table.senders) == ({"hop", "a", "b"}, {"broker1", "broker2"})
    assert ForwardingTable().find_rule(Party((HUB,), "Hub"), "urn:s", "Submit") is None
