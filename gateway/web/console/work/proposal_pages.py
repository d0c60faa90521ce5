"""Pages of an officer's proposals and of acts on many items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Final

from flask import Blueprint, abort, redirect, render_template, request
from werkzeug.wrappers import Response

from gateway.accounts import PasskeyError, Right
from gateway.cases import DecisionAct, DecisionPurpose
from gateway.errors import GatewayError
from gateway.store import write_transaction
from gateway.web.console.page_formats import translate
from gateway.web.console.page_guards import require_right, services, store_flash_message, visitor
from gateway.web.console.passkey_challenges import finish_passkey_confirmation
from gateway.web.console.work.act_forms import ActForm
from gateway.web.console.work.act_pages import (
    OWN_FIELDS,
    DecidedAct,
    OpenApplication,
    compare_quantities,
    describe_refusal,
    encode_acts,
    finish_act,
    get_officer,
    label_pointers,
    list_possible_acts,
    make_confirmation_offer,
    make_form_context,
    needs_two_officers,
    open_application,
    perform_act,
    propose_act,
    read_act_confirmation,
)
from gateway.web.officers import SESSION_ONLY, ActView, Confirmation, ConfirmationMethod

pages: Final = Blueprint("proposals", __name__, url_prefix="/console")

_Page = str | tuple[str, int] | Response


@pages.get("/applications/<number>/proposal")
@require_right(Right.READ_APPLICATIONS)
def show_proposal(number: str) -> _Page:
    """Show a decision that waits for a second officer."""
    application = open_application(number)
    if application.view.proposal is None:
        abort(HTTPStatus.NOT_FOUND)
    return _render_proposal(application, application.view.proposal)


@pages.post("/applications/<number>/proposal")
@require_right(Right.WORK_ON_APPLICATIONS)
def end_proposal(number: str) -> _Page:
    """Approve, return or withdraw a proposal."""
    application = open_application(number)
    proposal = application.view.proposal
    if proposal is None or str(proposal.row.id) != request.form.get("proposal"):
        store_flash_message(translate("This proposal is no longer waiting."))
        return redirect(f"/console/applications/{number}")
    return finish_act(
        number,
        lambda: _end_proposal(number, proposal),
        lambda problem: _render_proposal(application, proposal, problem=problem),
    )


def _render_proposal(application: OpenApplication, proposal: ActView, problem: str = "") -> str:
    """Return the page of a proposed decision; it says if the application has changed since the proposal."""
    application_form, view = application.application_form, application.view
    decided = DecidedAct(view.number, proposal.row.shown_sha256, proposal.act)
    return render_template(
        "work/proposal.html",
        application=application_form,
        view=view,
        proposal=proposal,
        labels=label_pointers(application_form),
        verdicts=compare_quantities(proposal.act, application_form),
        offer=make_confirmation_offer([decided], decides=True),
        stale=decided.shown_digest != view.shown_digest,
        problem=problem,
    )


def _end_proposal(number: str, proposal: ActView) -> str:
    """Approve, return or withdraw; return the sentence about it. Raises the problem of a refused act."""
    officer, digest = get_officer(), request.form.get("digest", "")
    step = request.form.get("step")
    if step == "return":
        services.desk.return_proposal(officer, proposal.row.id, digest, request.form.get("reason", ""))
        return translate("The proposal went back to its author.")
    if step == "withdraw":
        services.desk.withdraw_proposal(officer, proposal.row.id, digest)
        return translate("The proposal is withdrawn.")
    decided = DecidedAct(number, proposal.row.shown_sha256, proposal.act)
    confirmation = read_act_confirmation([decided], decides=True)
    shown_sha256 = request.form.get("shown", "")[:64]
    outcome = services.desk.approve_proposal(officer, proposal.row.id, digest, shown_sha256, confirmation)
    if outcome.problem is not None:
        raise outcome.problem
    return translate("This was sent.")


_MOST: Final = 50
_NUMBER: Final = "number-"


@pages.post("/work/batch")
@require_right(Right.PROPOSE_DECISIONS)
def decide_batch() -> _Page:
    """Decide several applications at once."""
    chosen = _open_chosen()
    refusal = _find_batch_refusal(chosen)
    if refusal is not None:
        store_flash_message(refusal)
        return redirect("/console/work")
    step = request.form.get("step")
    if step not in ("preview", "confirm"):
        return _render_form(chosen, ActForm(request.form))
    act_form, acts = _read_acts(chosen)
    if act_form.errors:
        return _render_form(chosen, act_form), HTTPStatus.UNPROCESSABLE_ENTITY
    if step == "preview" or request.form.getlist("digest") != [act.digest for act in acts]:
        return _render_preview(chosen, acts)
    return _do_batch(chosen, acts)


def _open_chosen() -> list[OpenApplication]:
    numbers = list(dict.fromkeys(request.form.getlist("number")))[: _MOST + 1]
    return [open_application(number) for number in numbers]


def _find_batch_refusal(chosen: Sequence[OpenApplication]) -> str | None:
    """Return why these applications cannot be decided together; None when they can."""
    if not chosen:
        return translate("Choose applications first.")
    if len(chosen) > _MOST:
        return translate("At most 50 applications are decided together.")
    if len({choice.view.request.document for choice in chosen}) > 1:
        return translate("Only applications of one document are decided together.")
    if any("decide" not in list_possible_acts(choice.view) for choice in chosen):
        return translate("One of these applications cannot be decided now.")
    return None


def _read_acts(chosen: Sequence[OpenApplication]) -> tuple[ActForm, list[DecidedAct]]:
    """Return the act for each application: the same decision for each of its items and laws."""
    act_form, values = ActForm(request.form), request.form
    last_day = act_form.read_last_day(
        make_form_context("decide", chosen[0].application_form, chosen[0].view).today
    )
    pattern = act_form.read_decision("d0", 1, "-", last_day=last_day)
    if pattern is None:
        act_form.errors.setdefault("d0-decision", translate("Choose a decision."))
        return act_form, []
    text, reason = act_form.read_sentence("text"), act_form.read_sentence("reason")
    acts = []
    shown_digests = dict(zip(values.getlist("number"), values.getlist("shown"), strict=False))
    for choice in chosen:
        number = act_form.read_number(f"{_NUMBER}{choice.view.number}")
        decisions = tuple(
            replace(pattern, item=item, law=law, number=number) for item, law in choice.view.required
        )
        act_form.check_last_day(last_day, decisions)
        act = DecisionAct(DecisionPurpose.DECIDE, decisions, reason, last_day, text)
        acts.append(
            DecidedAct(
                choice.view.number, shown_digests.get(choice.view.number, choice.view.shown_digest)[:64], act
            )
        )
    return act_form, acts


def _render_form(chosen: Sequence[OpenApplication], act_form: ActForm) -> str:
    """Return the page with one decision form for all chosen applications."""
    return render_template(
        "work/batch.html",
        chosen=chosen,
        values=act_form.values,
        errors=act_form.errors,
        two_officers=needs_two_officers("decide"),
    )


def _render_preview(chosen: Sequence[OpenApplication], acts: Sequence[DecidedAct], problem: str = "") -> str:
    """Return the page that shows the decisions on all chosen applications before they are sent."""
    decides = not needs_two_officers("decide")
    form_fields = [
        (name, value)
        for name, value in request.form.items(multi=True)
        if name not in OWN_FIELDS and name != "number"
    ]
    return render_template(
        "work/batch_preview.html",
        chosen=chosen,
        acts=acts,
        kept=form_fields,
        verdicts=[
            compare_quantities(act.act, choice.application_form)
            for act, choice in zip(acts, chosen, strict=True)
        ],
        offer=make_confirmation_offer(acts, decides=decides),
        two_officers=not decides,
        problem=problem,
    )


def _do_batch(chosen: Sequence[OpenApplication], acts: Sequence[DecidedAct]) -> _Page:
    """Perform or propose each act of the batch, and return the page with the result of each.

    Returns the preview again, with status 422, if the passkey was not accepted.
    """
    try:
        confirmation = _confirm_batch(acts)
    except PasskeyError:
        refusal = translate("The passkey was not accepted.")
        return _render_preview(chosen, acts, problem=refusal), HTTPStatus.UNPROCESSABLE_ENTITY
    results = [(act, _perform_batch_act(act, confirmation)) for act in acts]
    return render_template("work/batch_done.html", results=results)


def _confirm_batch(acts: Sequence[DecidedAct]) -> Confirmation:
    """Return the confirmation of all acts of the batch: one passkey answer for them together."""
    if needs_two_officers("decide"):
        return SESSION_ONLY
    if request.form.get("confirm") != "passkey":
        return read_act_confirmation(acts, decides=True)
    answer = request.form.get("passkey_answer", "")
    with write_transaction(services.engine, "console.batch") as conn:
        passkey_use = finish_passkey_confirmation(conn, visitor, encode_acts(acts), answer)
    digests = tuple(act.digest for act in acts) if len(acts) > 1 else ()
    return Confirmation(ConfirmationMethod.PASSKEY, octets=passkey_use.evidence, digests=digests)


def _perform_batch_act(decided_act: DecidedAct, confirmation: Confirmation) -> str | None:
    """Perform or propose one act of a batch; return the reason of its refusal, None if it was accepted."""
    try:
        if needs_two_officers("decide"):
            propose_act(decided_act)
        else:
            perform_act(decided_act, confirmation)
    except GatewayError as problem:
        return describe_refusal(problem)
    return None
