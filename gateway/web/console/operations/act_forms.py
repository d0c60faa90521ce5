"""Whether a person may do an act of an operator."""

from __future__ import annotations

from http import HTTPStatus

from flask import abort

from gateway.accounts import Right
from gateway.operations import ACT_KINDS
from gateway.web.console.page_guards import get_visitor

__all__ = ["require_act_right"]


def require_act_right(act: str) -> None:
    """Answer 403 unless the person may do this act, and 404 where there is no such act."""
    kind = ACT_KINDS.get(act)
    if kind is None:
        abort(HTTPStatus.NOT_FOUND)
    right = Right.MANAGE_ACCOUNTS if kind.subject == "account" else Right.OPERATE
    if not get_visitor().may(Right.ADMINISTER_TRUST if kind.is_trust else right):
        abort(HTTPStatus.FORBIDDEN, "Your role does not have the right to do this.")
