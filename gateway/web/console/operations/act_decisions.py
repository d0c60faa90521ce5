"""Decisions about acts that wait: confirmed, approved, rejected or withdrawn."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus

from flask import abort
from werkzeug.wrappers import Response

from gateway.accounts import LINK_CODE_OCTETS, Right, format_link_code
from gateway.operations import ACT_KINDS, ActOrder, describe_order
from gateway.store import OperatorActRow, accounts, write_transaction
from gateway.web.console.act_reasons import get_operator, get_operator_desk, translate_act
from gateway.web.console.kept_forms import answer_missing_proof
from gateway.web.console.page_formats import translate, translate_word
from gateway.web.console.page_guards import services, visitor
from gateway.web.console.people.managed_accounts import tell_of_link


def require_act_right(act: str) -> None:
    """Answer 403 unless the person may perform this act, and 404 if there is no such act."""
    act_kind = ACT_KINDS.get(act)
    if act_kind is None:
        abort(HTTPStatus.NOT_FOUND)
    right = Right.MANAGE_ACCOUNTS if act_kind.subject_kind == "account" else Right.OPERATE
    if not visitor.may(Right.ADMINISTER_TRUST if act_kind.changes_trust else right):
        abort(HTTPStatus.FORBIDDEN, "Your role does not have the right to do this.")


def answer_unproven_order(order: ActOrder) -> Response | None:
    """Return the page to sign in again if an act to be done gives access and the proof is old, else None."""
    if not ACT_KINDS[order.act].gives_access:
        return None
    purpose = f"{translate_act(order.act)} ({describe_order(order)})"
    return answer_missing_proof(purpose, "/console/operations")


def answer_unproven_decision(act_row: OperatorActRow, decision: str) -> Response | None:
    """Return the page to sign in again if a decision gives access and the proof is old, else None.

    An operator who has proposed roles must not approve them at the unlocked browser of another person. Who
    may not decide so is not asked.
    """
    may_decide = {
        "approve": visitor.may(Right.APPROVE_OPERATIONS),
        "confirm": act_row.proposed_by == visitor.account,
    }
    if not may_decide.get(decision) or not ACT_KINDS[act_row.act].gives_access:
        return None
    details = act_row.object
    if "after" in act_row.parameters:
        roles = ", ".join(map(translate_word, act_row.parameters["after"])) or translate("none")
        details = f"{act_row.parameters['name']}, {act_row.parameters['organisation']}: {roles}"
    purpose = f"{translate_act(act_row.act)} ({details})"
    if decision == "approve":
        purpose = f"{translate('Approve and do it')}: {purpose}"
    return answer_missing_proof(purpose, f"/console/operations/acts/{act_row.id}")


@dataclass(frozen=True, slots=True)
class DecidedAct:
    """The result of a decision about an act in a sentence, and the code of the link that it made good."""

    sentence: str
    link_code: str = ""


def decide_on_act(act_row: OperatorActRow, decision: str, reason: str) -> DecidedAct:
    """Approve, reject, confirm or withdraw a stored act of operators.

    Answers 403 without the right, and 404 for another `decision`. Raises GW705 for an act that does not wait.
    """
    desk, operator = get_operator_desk(), get_operator()
    if decision in ("approve", "reject"):
        if not visitor.may(Right.APPROVE_OPERATIONS):
            abort(HTTPStatus.FORBIDDEN, "Your role does not have the right to do this.")
        if decision == "approve":
            return _approve_act(act_row, reason)
        desk.end_act(act_row.id, operator, "REJECTED", reason)
        return DecidedAct(translate("The act is rejected."))
    if decision not in ("confirm", "withdraw"):
        abort(HTTPStatus.NOT_FOUND)
    require_act_right(act_row.act)
    if decision == "withdraw":
        desk.end_act(act_row.id, operator, "WITHDRAWN", reason)
        return DecidedAct(translate("The act is withdrawn."))
    is_performed, sentence = desk.confirm_draft(act_row.id, operator, reason)
    return DecidedAct(sentence if is_performed else translate("The act waits for a second person."))


def _approve_act(act_row: OperatorActRow, reason: str) -> DecidedAct:
    """Approve an act; where it makes a link good, make its code, and tell the person of the account."""
    code = format_link_code(services.random(LINK_CODE_OCTETS)) if "link" in act_row.parameters else ""
    sentence = get_operator_desk().approve_act(act_row.id, get_operator(), reason, code)
    if act_row.act == "account invite":
        with write_transaction(services.engine, "console.notice") as conn:
            account_row = accounts.find_by_id(conn, act_row.parameters["account"])
            if account_row is not None:
                tell_of_link(conn, account_row, f"{act_row.proposer}, {visitor.name}")
    return DecidedAct(sentence, code)
