"""Reads the forms of acts: from the fields that an officer filled in, it makes an act, or error sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time
from decimal import Decimal
from typing import Final
from zoneinfo import ZoneInfo

from werkzeug.datastructures import MultiDict

from gateway.cases import (
    Decision,
    DecisionAct,
    DecisionCode,
    DecisionPurpose,
    DeclaredQuantity,
    FeeAct,
    InformationAct,
    InspectionAct,
    OfficerAct,
    QuantityVerdict,
    ReceiveAct,
    compare_decided_quantity,
    compose_act_text,
    list_applicant_conditions,
    read_money,
    remove_last_day,
)
from gateway.errors import GatewayError
from gateway.harmonize import UnitTable
from gateway.web.console.page_formats import join_thousands, read_day, read_moment, read_quantity, translate
from gateway.wire import find_day, find_unclear_character

_LONGEST_SENTENCE: Final = 4000
_LONGEST_NUMBER: Final = 128
_LONGEST_UNIT: Final = 17
_LONGEST_KIND: Final = 200
_LONGEST_VENUE: Final = 500
_DIGITS: Final = 18
_DECIMALS: Final = 6
_MOST_POINTERS: Final = 200
_APPROVED: Final = (DecisionCode.APPROVED, DecisionCode.APPROVED_WITH_CONDITIONS)


@dataclass(slots=True)
class ActForm:
    """A form that was filled in: the act, if there is no error, and the error sentences by field.

    Each method that reads a field adds its error to `errors`.
    """

    values: MultiDict[str, str]
    act: OfficerAct | None = None
    errors: dict[str, str] = field(default_factory=dict)

    def read_last_day(self, first: date) -> date | None:
        """Return the last day of the certificate in the form; a day before `first` is an error."""
        until = self.read_day("valid_until")
        if until is not None and until < first:
            self.errors["valid_until"] = translate("This day is over.")
        return until

    def check_last_day(self, until: date | None, decisions: Sequence[Decision]) -> None:
        """Add an error if there is a last day, but no decision has a certificate with a number."""
        if until is not None and not any(
            decision.number for decision in decisions if decision.decision in _APPROVED
        ):
            self.errors["valid_until"] = translate("Give the document number: this is its last day.")

    def read_decision(
        self,
        name: str,
        item: int,
        law: str,
        purpose: DecisionPurpose = DecisionPurpose.DECIDE,
        until: date | None = None,
    ) -> Decision | None:
        """Return the decision in the fields of this name; None if they decide nothing.

        The last day of the certificate, `until`, becomes a condition of an approval for the applicant.
        """
        decision_text = self.values.get(f"{name}-decision", "")
        if not decision_text:
            return None
        if decision_text not in set(DecisionCode):
            self.errors[f"{name}-decision"] = translate("Choose a decision.")
            return None
        code = DecisionCode.REJECTED if purpose is DecisionPurpose.REVOKE else DecisionCode(decision_text)
        conditions = self._read_conditions(name)
        if until is not None and code in _APPROVED:
            conditions = list_applicant_conditions(code, remove_last_day(conditions), until)
        if code is DecisionCode.APPROVED_WITH_CONDITIONS and not conditions:
            self.errors.setdefault(f"{name}-conditions", translate("Give at least one condition."))
        if code is DecisionCode.REJECTED and not conditions:
            sentence = translate("Give the reason: the applicant is told it.")
            self.errors.setdefault(f"{name}-conditions", sentence)
        quantity = self._read_quantity(f"{name}-quantity")
        unit = self.read_token(f"{name}-unit", _LONGEST_UNIT)
        if quantity is not None and not unit:
            self.errors.setdefault(f"{name}-unit", translate("Give the unit of the quantity."))
        return Decision(
            item=item,
            law=law,
            decision=code,
            number=self.read_number(f"{name}-number"),
            date=self.read_day(f"{name}-date"),
            quantity=quantity,
            unit=unit or None if quantity is not None else None,
            conditions=conditions,
        )

    def _read_conditions(self, name: str) -> tuple[str, ...]:
        """Return the conditions, of which the field has one on each line."""
        lines = self.read_sentence(f"{name}-conditions").splitlines()
        return tuple(line.strip() for line in lines if line.strip())

    def read_sentence(self, name: str) -> str:
        """Return the text of a field."""
        text = self.values.get(name, "").replace("\r\n", "\n").strip()
        if len(text) > _LONGEST_SENTENCE:
            self.errors[name] = translate("This is too long: at most 4,000 characters.")
        elif any(not sign.isprintable() and sign not in "\n\t" for sign in text):
            self.errors[name] = translate("This contains a character that cannot be sent.")
        return text

    def read_number(self, name: str) -> str | None:
        """Return the number of a decision; None if the field is empty."""
        number = self.read_token(name, _LONGEST_NUMBER)
        if find_unclear_character(number) is not None:
            self.errors[name] = translate("This contains a character that cannot be sent.")
        return number or None

    def read_token(self, name: str, longest: int) -> str:
        """Return the text of a field of one line, with single spaces between words.

        A text with more than `longest` characters, or one that cannot be sent, is an error of the field.
        """
        text = " ".join(self.values.get(name, "").split())
        if len(text) > longest:
            self.errors[name] = translate("This is too long.")
        elif not text.isprintable():
            self.errors[name] = translate("This contains a character that cannot be sent.")
        return text

    def read_day(self, name: str) -> date | None:
        """Return the day in a field; None if there is none."""
        text = self.values.get(name, "").strip()
        if not text:
            return None
        day = read_day(text)
        if day is None:
            self.errors[name] = translate("This is not a day.")
        return day

    def _read_quantity(self, name: str) -> Decimal | None:
        text = join_thousands(self.values.get(name, "").strip())
        if not text:
            return None
        quantity = read_quantity(text)
        if quantity is None:
            self.errors[name] = translate("This is not a quantity.")
            return None
        digits = f"{quantity:f}"
        if len(digits.replace(".", "")) > _DIGITS or len(digits.partition(".")[2]) > _DECIMALS:
            self.errors[name] = translate("A quantity has at most 18 digits, 6 of them decimals.")
        return quantity


@dataclass(frozen=True, slots=True)
class FormContext:
    """The context of a form: the decisions required, the pointers of its fields, the codes, the time.

    `required` are pairs of item and law. `codes` are the status codes that the act may send, each with its
    event. `declared` is the declared quantity of each item, `units` are the units of the table.
    """

    required: Sequence[tuple[int, str]]
    pointers: Mapping[str, object]
    codes: Mapping[str, str]
    declared: Mapping[int, Sequence[DeclaredQuantity]]
    units: UnitTable
    now: datetime
    zone: ZoneInfo

    @property
    def today(self) -> date:
        """Return the present day."""
        return find_day(self.now, self.zone)


def read_act_form(kind: str, values: MultiDict[str, str], context: FormContext) -> ActForm:
    """Return the form read from its fields (`values`), with the act of this kind if there is no error."""
    form = ActForm(values)
    readers = {
        "receive": _read_receive,
        "ask": _read_question,
        "inspect": _read_inspection,
        "fee": _read_fee,
    }
    if kind in readers:
        readers[kind](form, context)
    else:
        _read_decisions(form, context, DecisionPurpose(kind))
    if form.errors:
        form.act = None
    return form


def _read_receive(form: ActForm, context: FormContext) -> None:
    form.act = ReceiveAct(_read_code(form, context), form.read_sentence("text"))


def _read_code(form: ActForm, context: FormContext) -> str:
    code = form.values.get("status_code", "")
    if code not in context.codes:
        form.errors["status_code"] = translate("Choose what happens.")
    return code


def _read_question(form: ActForm, context: FormContext) -> None:
    text = form.read_sentence("text")
    if not text:
        form.errors.setdefault("text", translate("Say what the applicant should give."))
    pointers = tuple(
        dict.fromkeys(pointer for pointer in form.values.getlist("pointer") if pointer in context.pointers)
    )
    if not pointers:
        form.errors["pointer"] = translate("Tick at least one field.")
    elif len(pointers) > _MOST_POINTERS:
        form.errors["pointer"] = translate("Tick at most 200 fields.")
    form.act = InformationAct(text, pointers, _read_deadline(form, context))


def _read_deadline(form: ActForm, context: FormContext) -> datetime | None:
    text = form.values.get("deadline", "").strip()
    if not text:
        form.errors["deadline"] = translate("Give a deadline.")
        return None
    deadline = read_moment(text, context.zone)
    if deadline is None:
        form.errors["deadline"] = translate("This is not a time.")
        return None
    if deadline <= context.now:
        form.errors["deadline"] = translate("The deadline must be in the future.")
    return deadline


def _read_inspection(form: ActForm, context: FormContext) -> None:
    code, on = _read_code(form, context), form.read_day("on")
    act = InspectionAct(
        code,
        kind=form.read_token("kind", _LONGEST_KIND),
        day=on,
        venue=form.read_token("place", _LONGEST_VENUE),
        findings=form.read_sentence("findings"),
        text=form.read_sentence("text"),
        deadline=_find_inspection_end(code, on, context),
    )
    if len(compose_act_text(act)) > _LONGEST_SENTENCE:
        form.errors.setdefault("text", translate("This is too long: at most 4,000 characters."))
    form.act = act


def _find_inspection_end(code: str, on: date | None, context: FormContext) -> datetime | None:
    """Return the end of the inspection day `on`; None for a past day, or if `code` orders no inspection."""
    if on is None or on < context.today or context.codes.get(code) != "inspect":
        return None
    return datetime.combine(on, time(23, 59, 59), context.zone)


def _read_fee(form: ActForm, context: FormContext) -> None:
    amount, currency = _read_amount(form)
    until = form.read_day("until")
    if until is not None and until < context.today:
        form.errors["until"] = translate("This day is over.")
    form.act = FeeAct(
        _read_code(form, context),
        amount=amount,
        last_day=until,
        note=form.read_sentence("note"),
        currency=currency,
        text=form.read_sentence("text"),
    )


def _read_amount(form: ActForm) -> tuple[str, str]:
    """Return amount and currency of a fee, with the decimals of the currency; both empty without a fee."""
    amount = join_thousands(form.read_token("amount", _LONGEST_NUMBER))
    if not amount:
        return "", ""
    currency = form.read_token("currency", _LONGEST_NUMBER).upper()
    try:
        money = read_money(amount, currency)
    except GatewayError:
        form.errors["amount"] = translate("This is not an amount of money in this currency.")
        return amount, currency
    return money.digits, money.currency


def _read_decisions(form: ActForm, context: FormContext, purpose: DecisionPurpose) -> None:
    # A revocation has no last day, and the last day in a correction may be in the past.
    first = context.today if purpose is DecisionPurpose.DECIDE else date.min
    until = None if purpose is DecisionPurpose.REVOKE else form.read_last_day(first)
    text = form.read_sentence("text")
    decisions = []
    for index, (item, law) in enumerate(context.required):
        decision = form.read_decision(f"d{index}", item, law, purpose, until)
        if decision is not None:
            _check_quantity(form, f"d{index}", decision, text, context)
            decisions.append(decision)
    form.check_last_day(until, decisions)
    if purpose is DecisionPurpose.CORRECT and not text:
        form.errors["text"] = translate("Give the reason: the applicant is told it.")
    if not decisions and not form.errors:
        form.errors["d0-decision"] = translate("Decide at least one item.")
    form.act = DecisionAct(purpose, tuple(decisions), form.read_sentence("reason"), until, text)


def _check_quantity(form: ActForm, name: str, decision: Decision, text: str, context: FormContext) -> None:
    """Add an error for a unit that is not offered, or a quantity that needs a reason if `text` is empty."""
    verdict = compare_decided_quantity(decision, context.declared.get(decision.item, ()), context.units)
    if verdict is QuantityVerdict.UNIT_UNKNOWN:
        form.errors.setdefault(f"{name}-unit", translate("Choose a unit of the list."))
    elif verdict is not QuantityVerdict.FITS and not text:
        sentence = translate("A quantity is more than declared, or in another kind of unit. Give the reason.")
        form.errors.setdefault("text", sentence)
