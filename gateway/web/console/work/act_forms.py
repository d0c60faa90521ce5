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

    def read_last_day(self, first_allowed_day: date) -> date | None:
        """Return the last day of the certificate in the form, None if it is missing or unreadable.

        A day before `first_allowed_day` is returned, too, and recorded in `errors`.
        """
        last_day = self.read_day("valid_until")
        if last_day is not None and last_day < first_allowed_day:
            self.errors["valid_until"] = translate("This day is over.")
        return last_day

    def check_last_day(self, last_day: date | None, decisions: Sequence[Decision]) -> None:
        """Add an error if there is a last day, but no decision has a certificate with a number."""
        if last_day is not None and not any(
            decision.number for decision in decisions if decision.decision in _APPROVED
        ):
            self.errors["valid_until"] = translate("Give the document number: this is its last day.")

    def read_decision(
        self,
        field_prefix: str,
        item: int,
        law: str,
        purpose: DecisionPurpose = DecisionPurpose.DECIDE,
        last_day: date | None = None,
    ) -> Decision | None:
        """Return the decision in the fields of this name; None if they decide nothing.

        The last day of the certificate, `last_day`, becomes a condition of an approval for the applicant.
        """
        decision_text = self.values.get(f"{field_prefix}-decision", "")
        if not decision_text:
            return None
        if decision_text not in set(DecisionCode):
            self.errors[f"{field_prefix}-decision"] = translate("Choose a decision.")
            return None
        code = DecisionCode.REJECTED if purpose is DecisionPurpose.REVOKE else DecisionCode(decision_text)
        conditions = self._read_conditions(field_prefix)
        if last_day is not None and code in _APPROVED:
            conditions = list_applicant_conditions(code, remove_last_day(conditions), last_day)
        if code is DecisionCode.APPROVED_WITH_CONDITIONS and not conditions:
            self.errors.setdefault(f"{field_prefix}-conditions", translate("Give at least one condition."))
        if code is DecisionCode.REJECTED and not conditions:
            sentence = translate("Give the reason: the applicant is told it.")
            self.errors.setdefault(f"{field_prefix}-conditions", sentence)
        quantity = self._read_quantity(f"{field_prefix}-quantity")
        unit = self.read_token(f"{field_prefix}-unit", _LONGEST_UNIT)
        if quantity is not None and not unit:
            self.errors.setdefault(f"{field_prefix}-unit", translate("Give the unit of the quantity."))
        return Decision(
            item=item,
            law=law,
            decision=code,
            number=self.read_number(f"{field_prefix}-number"),
            date=self.read_day(f"{field_prefix}-date"),
            quantity=quantity,
            unit=unit or None if quantity is not None else None,
            conditions=conditions,
        )

    def _read_conditions(self, field_prefix: str) -> tuple[str, ...]:
        """Return the conditions, of which the field has one on each line."""
        lines = self.read_sentence(f"{field_prefix}-conditions").splitlines()
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

    def read_token(self, name: str, max_characters: int) -> str:
        """Return the text of a field of one line, with single spaces between words.

        A text with more than `max_characters` characters, or one that cannot be sent, is an error of the
        field.
        """
        text = " ".join(self.values.get(name, "").split())
        if len(text) > max_characters:
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
        """Return the quantity in the field `name`, None if it is empty; record an error for other text.

        A quantity with too many digits is returned, too, and recorded in `errors`.
        """
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


def read_act_form(act_kind: str, values: MultiDict[str, str], context: FormContext) -> ActForm:
    """Return the form read from its fields (`values`), with the act of this kind if there is no error."""
    form = ActForm(values)
    readers = {
        "receive": _read_receive,
        "ask": _read_question,
        "inspect": _read_inspection,
        "fee": _read_fee,
    }
    if act_kind in readers:
        readers[act_kind](form, context)
    else:
        _read_decisions(form, context, DecisionPurpose(act_kind))
    if form.errors:
        form.act = None
    return form


def _read_receive(form: ActForm, context: FormContext) -> None:
    form.act = ReceiveAct(_read_code(form, context), form.read_sentence("text"))


def _read_code(form: ActForm, context: FormContext) -> str:
    """Return the status code in the form; record an error if it is not one of the allowed codes."""
    code = form.values.get("status_code", "")
    if code not in context.codes:
        form.errors["status_code"] = translate("Choose what happens.")
    return code


def _read_question(form: ActForm, context: FormContext) -> None:
    """Read a question to the applicant into `form.act`, with the fields that it concerns; record errors."""
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
    """Return the time in the field ``deadline``; without an offset, it is in the zone of `context`.

    Records an error and returns None for a missing or malformed time; a past time is returned with an error.
    """
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
    """Read an inspection into `form.act`, and record its errors in `form.errors`."""
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
    """Read a demand for a fee into `form.act`, and record its errors in `form.errors`."""
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
    """Read the decisions on the required items and laws into `form.act`; record errors in `form.errors`.

    The last day is that of the certificate which the decisions grant. The applicant reads the field ``text``,
    also as the reason of a correction; the field ``reason`` is a remark for the file of the agency.
    """
    # A revocation has no last day, and the last day in a correction may be in the past.
    first_allowed_day = context.today if purpose is DecisionPurpose.DECIDE else date.min
    last_day = None if purpose is DecisionPurpose.REVOKE else form.read_last_day(first_allowed_day)
    applicant_text = form.read_sentence("text")
    decisions = []
    for index, (item, law) in enumerate(context.required):
        decision = form.read_decision(f"d{index}", item, law, purpose, last_day)
        if decision is not None:
            _check_quantity(form, f"d{index}", decision, applicant_text, context)
            decisions.append(decision)
    form.check_last_day(last_day, decisions)
    if purpose is DecisionPurpose.CORRECT and not applicant_text:
        form.errors["text"] = translate("Give the reason: the applicant is told it.")
    if not decisions and not form.errors:
        form.errors["d0-decision"] = translate("Decide at least one item.")
    form.act = DecisionAct(purpose, tuple(decisions), form.read_sentence("reason"), last_day, applicant_text)


def _check_quantity(
    form: ActForm, field_prefix: str, decision: Decision, text: str, context: FormContext
) -> None:
    """Add an error for a unit that is not offered, or a quantity that needs a reason if `text` is empty."""
    verdict = compare_decided_quantity(decision, context.declared.get(decision.item, ()), context.units)
    if verdict is QuantityVerdict.UNIT_UNKNOWN:
        form.errors.setdefault(f"{field_prefix}-unit", translate("Choose a unit of the list."))
    elif verdict is not QuantityVerdict.FITS and not text:
        sentence = translate("A quantity is more than declared, or in another kind of unit. Give the reason.")
        form.errors.setdefault("text", sentence)
