"""Who works on an application: it is taken, released, and handed over."""

from __future__ import annotations

from http import HTTPStatus

from flask import Blueprint, abort, redirect, request
from werkzeug.wrappers import Response

from gateway.accounts import Right
from gateway.errors import GatewayError
from gateway.store import read_row_number
from gateway.web.console.page_guards import require_right
from gateway.web.console.page_notices import leave_notice
from gateway.web.console.page_translations import translate
from gateway.web.console.work.act_desk import WorkDesk, describe_refusal, get_officer

__all__ = ["add_claim_pages"]


def add_claim_pages(pages: Blueprint, work: WorkDesk) -> None:
    """Add the acts that change who works on an application."""

    @pages.post("/work/claims")
    @require_right(Right.WORK_ON_APPLICATIONS)
    def change_claim() -> Response:
        act, _, rest = request.form.get("claim", "").partition(" ")
        number, _, said = rest.partition(" ")
        version = read_row_number(said)
        if act not in _ACTS or version is None or not (number.isascii() and number.isalnum()):
            abort(HTTPStatus.BAD_REQUEST)
        leave_notice(work.services, _change(work, act, number, version))
        return redirect("/console/work" if act == "take" else f"/console/applications/{number}")


_ACTS = ("take", "open", "release", "give")


def _change(work: WorkDesk, act: str, number: str, version: int) -> str:
    """Change a claim; return the sentence about it, also of a refusal."""
    officer = get_officer()
    try:
        if act in ("take", "open"):
            work.desk.claim_application(officer, number, version)
            return translate("You work on {number} now.").format(number=number)
        if act == "release":
            work.desk.release_application(officer, number, version)
            return translate("{number} is free again.").format(number=number)
        to = read_row_number(request.form.get("to", ""))
        if to is None:
            return translate("Choose an officer.")
        claim = work.desk.hand_over_application(officer, number, to, version)
        return translate("{number} was handed to {name}.").format(number=number, name=claim.name or "")
    except GatewayError as problem:
        return describe_refusal(problem)
