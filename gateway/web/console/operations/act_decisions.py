"""Decisions about acts that wait: confirmed, approved, rejected or withdrawn."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from flask import abort
from werkzeug.wrappers import Response

from gateway.accounts import LINK_CODE_OCTETS, Right, format_link_code
from gateway.operations import ACT_KINDS
from gateway.store import OperatorActRow, accounts, operator_acts, read_transaction, write_transaction
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


_ACCOUNT_ACTS: Final = ("account add", "account role", "account invite")


def answer_missing_proof_of_approval(act_id: int) -> Response | None:
    """Return the page to sign in again if an approval gives access and the proof is old, else None.

    An operator who has proposed roles must not approve them at the unlocked browser of another person.
    """
    with read_transaction(services.engine) as conn:
        row = operator_acts.find_act(conn, act_id)
    if row is None or row.act not in _ACCOUNT_ACTS:
        return None
    details = [row.parameters["name"]]
    if "after" in row.parameters:
        roles = ", ".join(map(translate_word, row.parameters["after"])) or translate("none")
        details.append(f"{row.parameters['organisation']}: {roles}")
    purpose = f"{translate('Approve and do it')}: {translate_act(row.act)} ({', '.join(details)})"
    return answer_missing_proof(purpose, f"/console/operations/acts/{act_id}")


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
