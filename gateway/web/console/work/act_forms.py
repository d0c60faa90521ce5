"""Reads the forms of acts: what an officer fills in becomes an act, or a sentence at each wrong field."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Final
from zoneinfo import ZoneInfo

from werkzeug.datastructures import MultiDict

from gateway.cases import (
    Decision,
    DecisionAct,
    DecisionCode,
    DecisionPurpose,
    FeeAct,
    InformationAct,
    InspectionAct,
    OfficerAct,
    ReceiveAct,
)
from gateway.web.console.form_numbers import read_day, read_moment, read_quantity
from gateway.web.console.page_translations import translate

__all__ = [
    "ActForm",
    "FormContext",
    "check_last_day",
    "read_act_form",
    "read_decision_fields",
    "read_last_day",
    "remove_validity",
]

_LONGEST_SENTENCE: Final = 4000
_LONGEST_NUMBER: Final = 128
_LONGEST_UNIT: Final = 17
_DIGITS: Final = 18
_DECIMALS: Final = 6
_MOST_POINTERS: Final = 200
#: The condition that tells the applicant the last day of a certificate.
_VALIDITY: Final = "유효기간: {} (valid until)"
_IS_VALIDITY: Final = re.compile(re.escape(_VALIDITY).replace(r"\{\}", r"\d{4}-\d\d-\d\d"))
_APPROVED: Final = (DecisionCode.APPROVED, DecisionCode.APPROVED_WITH_CONDITIONS)

#: A pair of item and law that is to be decided.
Pair = tuple[int, str]


@dataclass(slots=True)
class ActForm:
    """A form as it was filled in: the act, when nothing is wrong, and the sentences at its fields."""

    act: OfficerAct | None = None
    errors: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FormContext:
    """What a form is about: the pairs to decide, the pointers of its fields, the codes, the time."""

    required: Sequence[Pair]
    pointers: Mapping[str, object]
    codes: Sequence[str]
    now: datetime
    zone: ZoneInfo

    @property
    def today(self) -> date:
        """Return the day it is now."""
        return self.now.astimezone(self.zone).date()


def read_act_form(kind: str, values: MultiDict[str, str], context: FormContext) -> ActForm:
    """Return the act of this kind that a form says."""
    form = ActForm()
    readers = {
        "receive": _read_receive,
        "ask": _read_question,
        "inspect": _read_inspection,
        "fee": _read_fee,
    }
    if kind in readers:
        readers[kind](form, values, context)
    else:
        _read_decisions(form, values, context, DecisionPurpose(kind))
    if form.errors:
        form.act = None
    return form


def _read_receive(form: ActForm, values: MultiDict[str, str], context: FormContext) -> None:
    form.act = ReceiveAct(_read_code(form, values, context))


def _read_code(form: ActForm, values: MultiDict[str, str], context: FormContext) -> str:
    code = values.get("status_code", "")
    if code not in context.codes:
        form.errors["status_code"] = translate("Choose what happens.")
    return code


def _read_question(form: ActForm, values: MultiDict[str, str], context: FormContext) -> None:
    text = _read_sentence(form, values, "text")
    if not text:
        form.errors.setdefault("text", translate("Say what the applicant should give."))
    pointers = tuple(dict.fromkeys(one for one in values.getlist("pointer") if one in context.pointers))
    if not pointers:
        form.errors["pointer"] = translate("Tick at least one field.")
    elif len(pointers) > _MOST_POINTERS:
        form.errors["pointer"] = translate("Tick at most 200 fields.")
    form.act = InformationAct(text, pointers, _read_deadline(form, values, context))


def _read_deadline(form: ActForm, values: MultiDict[str, str], context: FormContext) -> datetime | None:
    said = values.get("deadline", "").strip()
    if not said:
        form.errors["deadline"] = translate("Give a deadline.")
        return None
    deadline = read_moment(said, context.zone)
    if deadline is None:
        form.errors["deadline"] = translate("This is not a time.")
        return None
    if deadline <= context.now:
        form.errors["deadline"] = translate("The deadline must be in the future.")
    return deadline


def _read_inspection(form: ActForm, values: MultiDict[str, str], context: FormContext) -> None:
    form.act = InspectionAct(
        _read_code(form, values, context),
        kind=_read_sentence(form, values, "kind"),
        on=_read_day(form, values, "on"),
        place=_read_sentence(form, values, "place"),
        findings=_read_sentence(form, values, "findings"),
    )


def _read_fee(form: ActForm, values: MultiDict[str, str], context: FormContext) -> None:
    form.act = FeeAct(
        _read_code(form, values, context),
        amount=_read_token(form, values, "amount", _LONGEST_NUMBER),
        until=_read_day(form, values, "until"),
        note=_read_sentence(form, values, "note"),
    )


def _read_decisions(
    form: ActForm, values: MultiDict[str, str], context: FormContext, purpose: DecisionPurpose
) -> None:
    # What is revoked has no last day, and a correction may say that it was an earlier one.
    first = context.today if purpose is DecisionPurpose.DECIDE else date.min
    until = None if purpose is DecisionPurpose.REVOKE else read_last_day(form, values, first)
    made = [
        one
        for place, pair in enumerate(context.required)
        if (one := read_decision_fields(form, values, f"d{place}", pair, purpose, until)) is not None
    ]
    check_last_day(form, until, made)
    reason = _read_sentence(form, values, "reason")
    if purpose is not DecisionPurpose.DECIDE and not reason:
        form.errors["reason"] = translate("Give the reason.")
    if not made and not form.errors:
        form.errors["d0-decision"] = translate("Decide at least one item.")
    form.act = DecisionAct(purpose, tuple(made), reason, until)


def read_last_day(form: ActForm, values: MultiDict[str, str], first: date) -> date | None:
    """Return the last day of the certificate that a form says: none before the day `first`."""
    until = _read_day(form, values, "valid_until")
    if until is not None and until < first:
        form.errors["valid_until"] = translate("This day is over.")
    return until


def check_last_day(form: ActForm, until: date | None, made: Sequence[Decision]) -> None:
    """Tell that a last day is said where no decision gives a certificate with a number."""
    if until is not None and not any(one.number for one in made if one.decision in _APPROVED):
        form.errors["valid_until"] = translate("Give the document number: this is its last day.")


def remove_validity(conditions: Sequence[str]) -> list[str]:
    """Return conditions without the one that tells the last day of a certificate."""
    return [one for one in conditions if not _IS_VALIDITY.fullmatch(one)]


def read_decision_fields(
    form: ActForm,
    values: MultiDict[str, str],
    name: str,
    pair: Pair,
    purpose: DecisionPurpose = DecisionPurpose.DECIDE,
    until: date | None = None,
) -> Decision | None:
    """Return the decision that the fields of this name say; None where nothing is decided.

    An approval tells the last day of its certificate, `until`, to the applicant as a condition.
    """
    said = values.get(f"{name}-decision", "")
    if not said:
        return None
    if said not in set(DecisionCode):
        form.errors[f"{name}-decision"] = translate("Choose a decision.")
        return None
    code = DecisionCode.REJECTED if purpose is DecisionPurpose.REVOKE else DecisionCode(said)
    conditions = _read_conditions(form, values, name)
    if until is not None and code in _APPROVED:
        conditions = (*remove_validity(conditions), _VALIDITY.format(until.isoformat()))
    if code is DecisionCode.APPROVED_WITH_CONDITIONS and not conditions:
        form.errors.setdefault(f"{name}-conditions", translate("Give at least one condition."))
    if code is DecisionCode.REJECTED and not conditions:
        form.errors.setdefault(f"{name}-conditions", translate("Give the reason: the applicant is told it."))
    quantity = _read_quantity(form, values, f"{name}-quantity")
    unit = _read_token(form, values, f"{name}-unit", _LONGEST_UNIT)
    if quantity is not None and not unit:
        form.errors.setdefault(f"{name}-unit", translate("Give the unit of the quantity."))
    return Decision(
        item=pair[0],
        law=pair[1],
        decision=code,
        number=_read_token(form, values, f"{name}-number", _LONGEST_NUMBER) or None,
        date=_read_day(form, values, f"{name}-date"),
        quantity=quantity,
        unit=unit or None if quantity is not None else None,
        conditions=conditions,
    )


def _read_conditions(form: ActForm, values: MultiDict[str, str], name: str) -> tuple[str, ...]:
    """Return the conditions, one a line."""
    lines = _read_sentence(form, values, f"{name}-conditions").splitlines()
    return tuple(line.strip() for line in lines if line.strip())


def _read_sentence(form: ActForm, values: MultiDict[str, str], name: str) -> str:
    text = values.get(name, "").replace("\r\n", "\n").strip()
    if len(text) > _LONGEST_SENTENCE:
        form.errors[name] = translate("This is too long: at most 4,000 characters.")
    elif any(not sign.isprintable() and sign not in "\n\t" for sign in text):
        form.errors[name] = translate("This contains a character that cannot be sent.")
    return text


def _read_token(form: ActForm, values: MultiDict[str, str], name: str, longest: int) -> str:
    text = " ".join(values.get(name, "").split())
    if len(text) > longest:
        form.errors[name] = translate("This is too long.")
    elif not text.isprintable():
        form.errors[name] = translate("This contains a character that cannot be sent.")
    return text


def _read_day(form: ActForm, values: MultiDict[str, str], name: str) -> date | None:
    said = values.get(name, "").strip()
    if not said:
        return None
    day = read_day(said)
    if day is None:
        form.errors[name] = translate("This is not a day.")
    return day


def _read_quantity(form: ActForm, values: MultiDict[str, str], name: str) -> Decimal | None:
    said = values.get(name, "").strip().replace(",", "")
    if not said:
        return None
    quantity = read_quantity(said)
    if quantity is None:
        form.errors[name] = translate("This is not a quantity.")
        return None
    shown = f"{quantity:f}"
    if len(shown.replace(".", "")) > _DIGITS or len(shown.partition(".")[2]) > _DECIMALS:
        form.errors[name] = translate("A quantity has at most 18 digits, 6 of them decimals.")
    return quantity
