"""What every form of an act of an operator needs: who acts, and why."""

from __future__ import annotations

from typing import Final

from flask import g, request

from gateway.operations import Operator
from gateway.web.console.page_guards import get_visitor

__all__ = ["get_operator", "read_reason"]

_LONGEST_REASON: Final = 500


def get_operator() -> Operator:
    """Return the signed-in person as who acts."""
    visitor = get_visitor()
    return Operator(visitor.account, visitor.name, g.network)


def read_reason() -> str | None:
    """Return the reason of the form as one line; None where it is empty or too long."""
    words = " ".join(request.form.get("reason", "").split())
    return words if words and len(words) <= _LONGEST_REASON and words.isprintable() else None
