"""Forwarding rules as values and as rows of the register."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from gateway.agreements import ForwardingRule
from gateway.message_model import PartyId
from gateway.store import ForwardingRuleRow, agreements


def make_forwarding_rule(row: ForwardingRuleRow) -> ForwardingRule:
    """Return a stored rule as a value."""
    return ForwardingRule(
        to=PartyId(row.to_value, row.to_type or None),
        next_party=row.next_party,
        endpoint=row.endpoint,
        senders=tuple(row.senders),
        service=row.service or None,
        action=row.action or None,
        acknowledgment=row.acknowledgment,
        sync_reply=row.sync_reply,
        retries=row.retries,
        retry_interval=row.retry_interval,
    )


def make_rule_columns(rule: ForwardingRule) -> dict[str, Any]:
    """Return the columns in which a rule is stored."""
    return {
        "to_value": rule.to.value,
        "to_type": rule.to.type or "",
        "service": rule.service or "",
        "action": rule.action or "",
        "next_party": rule.next_party,
        "endpoint": rule.endpoint,
        "senders": list(rule.senders),
        "acknowledgment": rule.acknowledgment,
        "sync_reply": rule.sync_reply,
        "retries": rule.retries,
        "retry_interval": rule.retry_interval,
    }


def list_forwarding_rules(conn: Connection) -> tuple[ForwardingRule, ...]:
    """Return every stored rule."""
    return tuple(make_forwarding_rule(row) for row in agreements.list_forwarding_rules(conn))
