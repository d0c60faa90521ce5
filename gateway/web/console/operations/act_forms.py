"""What every form of an act needs: who acts, whether they may, why, and a sentence for the next page."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from flask import abort, g, request

from gateway.accounts import Right
from gateway.operations import ACT_KINDS, Operator
from gateway.web.console.page_guards import get_visitor

__all__ = ["get_operator", "read_reason", "require_act_right"]

_LONGEST_REASON: Final = 500


def get_operator() -> Operator:
    """Return the signed-in person as who acts."""
    visitor = get_visitor()
    return Operator(visitor.account, visitor.name, g.network)


def require_act_right(act: str) -> None:
    """Answer 403 unless the person may do this act, and 404 where there is no such act."""
    kind = ACT_KINDS.get(act)
    if kind is None:
        abort(HTTPStatus.NOT_FOUND)
    if not get_visitor().may(Right.ADMINISTER_TRUST if kind.is_trust else Right.OPERATE):
        abort(HTTPStatus.FORBIDDEN, "Your role does not have the right to do this.")


def read_reason() -> str | None:
    """Return the reason of the form as one line; None where it is empty or too long."""
    words = " ".join(request.form.get("reason", "").split())
    return words if words and len(words) <= _LONGEST_REASON and words.isprintable() else None
