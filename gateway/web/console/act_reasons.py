"""Person and reason, which every form for an act of an operator needs."""

from __future__ import annotations

from typing import Final

from flask import g, request

from gateway.operations import Operator, OperatorDesk
from gateway.web.console.page_guards import services, visitor

_LONGEST_REASON: Final = 500


def get_operator() -> Operator:
    """Return the signed-in person as the author of an act."""
    return Operator(visitor.account, visitor.name, g.network)


def get_operator_desk() -> OperatorDesk:
    """Return the desk that does the acts of operators, or keeps them for a second person."""
    second_person = frozenset(services.settings.console.second_person)
    return OperatorDesk(services.engine, services.settings, services.clock, second_person)


def read_reason() -> str | None:
    """Return the reason in the form as one line; None if it is empty or too long."""
    reason = " ".join(request.form.get("reason", "").split())
    return reason if reason and len(reason) <= _LONGEST_REASON and reason.isprintable() else None
