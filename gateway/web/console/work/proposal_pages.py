"""Four eyes: what one officer proposed is approved or returned by another one, or withdrawn."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from flask import Blueprint, abort, redirect, render_template, request
from werkzeug.wrappers import Response

from gateway.accounts import PasskeyError, Right
from gateway.cases import list_unsent_words
from gateway.errors import GatewayError
from gateway.hub import ApplicationForm
from gateway.web.console.page_guards import require_right
from gateway.web.console.page_notices import leave_notice
from gateway.web.console.page_translations import translate
from gateway.web.console.work.act_desk import DecidedAct, WorkDesk, describe_refusal, get_officer
from gateway.web.officers import ApplicationView, ProposalView

__all__ = ["add_proposal_pages"]

_Page = str | tuple[str, int] | Response


def add_proposal_pages(pages: Blueprint, work: WorkDesk) -> None:
    """Add the page of a proposal."""

    @pages.get("/applications/<number>/proposal")
    @require_right(Right.READ_APPLICATIONS)
    def show_proposal(number: str) -> _Page:
        form, view = work.open_application(number)
        if view.proposal is None:
            abort(HTTPStatus.NOT_FOUND)
        return _render(work, (form, view, view.proposal))

    @pages.post("/applications/<number>/proposal")
    @require_right(Right.WORK_ON_APPLICATIONS)
    def end_proposal(number: str) -> _Page:
        form, view = work.open_application(number)
        if view.proposal is None or str(view.proposal.id) != request.form.get("proposal"):
            leave_notice(work.services, translate("This proposal is no longer waiting."))
            return redirect(f"/console/applications/{number}")
        try:
            sentence = _end(work, number, view.proposal)
        except GatewayError as problem:
            told = _render(work, (form, view, view.proposal), problem=describe_refusal(problem))
            return told, int(problem.problem.http or HTTPStatus.CONFLICT)
        except PasskeyError:
            refusal = translate("The passkey was not accepted.")
            return _render(
                work, (form, view, view.proposal), problem=refusal
            ), HTTPStatus.UNPROCESSABLE_ENTITY
        leave_notice(work.services, sentence)
        return redirect(f"/console/applications/{number}")


def _render(
    work: WorkDesk, opened: tuple[ApplicationForm, ApplicationView, ProposalView], **more: Any
) -> str:
    form, view, proposal = opened
    decided = DecidedAct(view.number, proposal.shown, proposal.act)
    return render_template(
        "work/proposal.html",
        application=form,
        view=view,
        proposal=proposal,
        decided=decided,
        unsent=list_unsent_words(proposal.act),
        labels={field.pointer: field.label for field in form.form.list_fields()},
        offer=work.offer_confirmation([decided], decides=True),
        stale=proposal.shown != view.shown,
        **more,
    )


def _end(work: WorkDesk, number: str, proposal: ProposalView) -> str:
    """Approve, return or withdraw; return the sentence about it. Raises the problem of a refused act."""
    officer, digest = get_officer(), request.form.get("digest", "")
    step = request.form.get("step")
    if step == "return":
        work.desk.return_proposal(officer, proposal.id, digest, request.form.get("reason", ""))
        return translate("The proposal went back to its author.")
    if step == "withdraw":
        work.desk.withdraw_proposal(officer, proposal.id, digest)
        return translate("The proposal is withdrawn.")
    decided = DecidedAct(number, proposal.shown, proposal.act)
    confirmation = work.take_confirmation([decided], decides=True)
    shown = request.form.get("shown", "")[:64]
    outcome = work.desk.approve_proposal(officer, proposal.id, digest, shown, confirmation)
    if outcome.problem is not None:
        raise outcome.problem
    return translate("This was sent.")
