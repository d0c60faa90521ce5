"""Makes the values of a notice from the facts of an agency's own document.

The values are equal to those of the agency's call `SubmitDecision`, so that no later step depends on the
form. A fact that has a field of its own (number, time, status, decisions, receipt, deadline, fee) is written
to this field; every other fact becomes a line of the text, with its name in both languages. The facts about a
fee are also written to the text, because the applicant has always read them there. GW717 names the place of a
fact that cannot be used, as an XPath in the agency's document.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Final

from lxml import etree

from gateway.cases.agency_notices import (
    INFORMATION_REQUESTED,
    LONGEST_NUMBER,
    AgencyAcknowledgment,
    AgencyCallback,
    Decision,
    DecisionCode,
    Notice,
    read_subjects,
    shorten_number,
)
from gateway.cases.customs_notices import CustomsNotice, CustomsReason, PartnerAnswer
from gateway.cases.fees import Money, NamedFee, read_money, read_named_fee
from gateway.errors import NOTICE_UNREADABLE, GatewayError
from gateway.harmonize import MappingBundle, NoticeFact, NoticeFacts, localize_moment
from gateway.wire import CUSTOMS, collapse_whitespace, parse_instant, read_leaf_text

#: The children of an element by their names without namespace, in their order.
_Children = dict[str, list[etree._Element]]


def read_partner_notice(element: etree._Element) -> PartnerAnswer:
    """Return the acknowledgment, or the notice of an agency or of customs, that an answer contains.

    Raises ValueError, OverflowError or ArithmeticError for a value that the schema accepts and that cannot be
    used, and GW711 for a fee that is no exact amount.
    """
    name = etree.QName(element)
    if name.localname == "Acknowledged":
        return AgencyAcknowledgment(receipt_number=_get_text(_list_children(element), "ReceiptNumber"))
    return _read_customs_notice(element) if name.namespace == CUSTOMS else _read_notice(element)


def _read_notice(element: etree._Element) -> Notice:
    """Return the notice of an agency in an answer or in a call; raises as `read_partner_notice` does."""
    children = _list_children(element)
    deadline, last_day = _find_text(children, "Deadline"), _find_text(children, "ValidUntil")
    return Notice(
        number=_get_text(children, "NoticeNumber"),
        issued_at=parse_instant(_get_text(children, "IssuedAt")),
        status_code=_get_text(children, "StatusCode"),
        decisions=tuple([_read_decision(decision) for decision in children.get("Decision", ())]),
        text=_get_text(children, "Text"),
        pointers=tuple(
            [collapse_whitespace(read_leaf_text(pointer)) for pointer in children.get("Pointer", ())]
        ),
        deadline=None if deadline is None else parse_instant(deadline),
        fee=_read_fee(children["Fee"][0]) if "Fee" in children else None,
        valid_until=None if last_day is None else date.fromisoformat(last_day),
    )


def read_callback(element: etree._Element) -> AgencyCallback:
    """Return the answer about an application that an agency sends in a call of its own.

    The call is SubmitDecision, or RequestInformation, which states no status code. Raises as
    `read_partner_notice` does.
    """
    notice = _read_notice(element)
    if etree.QName(element).localname == "RequestInformation":
        notice = replace(notice, status_code=INFORMATION_REQUESTED)
    return AgencyCallback(notice, _get_text(_list_children(element), "ApplicationNumber"))


def _read_fee(element: etree._Element) -> NamedFee:
    """Return the fee of a notice; raises GW711 for an amount that is not exact."""
    children = _list_children(element)
    due = _find_text(children, "dueDate")
    return read_named_fee(
        _get_text(children, "amount"),
        _get_text(children, "currency"),
        None if due is None else date.fromisoformat(due),
        _get_text(children, "paymentNotice"),
        refundable=_get_text(children, "refundable") in ("true", "1"),
    )


def _read_decision(element: etree._Element) -> Decision:
    children = _list_children(element)
    day, quantity = _find_text(children, "date"), _find_text(children, "quantity")
    return Decision(
        item=int(_get_text(children, "item")),
        law=_get_text(children, "law"),
        decision=DecisionCode(_get_text(children, "decision")),
        number=_find_text(children, "number"),
        date=None if day is None else date.fromisoformat(day),
        quantity=None if quantity is None else Decimal(quantity),
        unit=_find_text(children, "unit"),
        conditions=tuple([read_leaf_text(condition) for condition in children.get("condition", ())]),
    )


def _read_customs_notice(element: etree._Element) -> CustomsNotice:
    children = _list_children(element)
    return CustomsNotice(
        number=_get_text(children, "NoticeNumber"),
        issued_at=parse_instant(_get_text(children, "IssuedAt")),
        code=_get_text(children, "ResultCode"),
        text=_get_text(children, "Text"),
        reasons=tuple([_read_reason(reason) for reason in children.get("Reason", ())]),
    )


def _read_reason(element: etree._Element) -> CustomsReason:
    children = _list_children(element)
    return CustomsReason(
        _get_text(children, "Text"), _get_text(children, "Pointer"), _get_text(children, "Code")
    )


def _list_children(parent: etree._Element) -> _Children:
    """Return the child elements by their names without namespace: each is read once."""
    children: _Children = {}
    for child in parent.iterchildren("*"):
        children.setdefault(child.tag.rpartition("}")[2], []).append(child)
    return children


def _find_text(children: _Children, name: str) -> str | None:
    """Return the text of the first child of a name; None where there is none."""
    if name not in children:
        return None
    text = read_leaf_text(children[name][0])
    # Sentences keep their white space; every other type of the contracts is a token or collapses.
    return text if name == "Text" else collapse_whitespace(text)


def _get_text(children: _Children, name: str) -> str:
    return _find_text(children, name) or ""


#: Facts that have an element of their own in a notice, repeat the request, or name who is known.
_UNLISTED_FACTS: Final = frozenset(
    {
        *("application_number", "document_type", "notice_number", "issued_at", "receipt_number", "item"),
        *("status", "phase", "terminal", "outcome", "decision", "echo", "signature", "supplement_due"),
        *("certified.number", "certified.quantity", "certified.condition", "error.part"),
        *("applicant_id", "applicant_name", "applied_on", "agency_name"),
    }
)
#: The kinds of documents that decide, with every status code.
_DECIDING: Final = ("certificate", "rejection")
#: The kind of documents that say something of a fee, and the facts that name its amount.
_FEE: Final = "fee"
_AMOUNTS: Final = ("fee_amount", "refund_amount")
#: The mark of a status code after which nothing else is expected.
_FINAL: Final = "y"
_LONGEST_TEXT: Final = 4000
_LONGEST_UNIT: Final = 17
#: The facts that name the last day for the applicant's supplement or payment.
_DUE: Final = ("supplement_due", "fee_due")
#: A day without a time: its notice is ordered by the first instant, and waits until the last one.
_FIRST, _LAST = "T00:00:00", "T23:59:59"


def make_notice(
    facts: NoticeFacts,
    bundle: MappingBundle,
    required: Iterable[Sequence[object]],
    pointers: tuple[str, ...] = (),
) -> Notice:
    """Return the notice of an agency's document by its facts; raise GW717 for facts that make no notice.

    `required` are the pairs of item and law that its application asks to decide, `pointers` the places of its
    errors in the applicant's message.
    """
    return _NoticeMaker(facts, bundle, read_subjects(required)).make(pointers)


class _NoticeMaker:
    def __init__(self, facts: NoticeFacts, bundle: MappingBundle, required: list[tuple[int, str]]) -> None:
        self._facts = facts
        self._catalog = bundle.notices
        self._required = required

    def make(self, pointers: tuple[str, ...]) -> Notice:
        issued = self._get("issued_at")
        status = self._get("status").value
        decisions = tuple(self._list_decisions(issued))
        return Notice(
            number=self._choose_number(issued, status),
            issued_at=self._read_instant(issued, _FIRST),
            status_code=status,
            decisions=decisions if decides_at_once(self._facts) else (),
            text=self._write_text(),
            pointers=pointers,
            deadline=self._find_deadline(),
            receipt_number=self._find_number("receipt_number"),
            fee=self._find_fee(),
            valid_until=self._find_last_day(),
            version=self._write_version(),
        )

    def _find(self, name: str) -> NoticeFact | None:
        return next((fact for fact in self._facts.facts if fact.name == name and not fact.at), None)

    def _get(self, name: str) -> NoticeFact:
        fact = self._find(name)
        if fact is None:
            raise _make_error(f"/{self._facts.notice.root.name}", f"{self._facts.notice.id} states no {name}")
        return fact

    def _find_number(self, name: str) -> str | None:
        fact = self._find(name)
        return None if fact is None else _read_number(fact)

    def _choose_number(self, issued: NoticeFact, status: str) -> str:
        """Return the number of the notice, made here for a document without any.

        A certificate has no number of the notice. It differs from another certificate by its own number,
        its status, its time of issue as far as that is stated, and its application: a certificate may be
        corrected twice on one day, and one number may be about two applications.
        """
        if self._find("notice_number") is not None:
            return _read_number(self._get("notice_number"))
        certificate = _read_number(self._get("requirement_number"))
        application = _read_number(self._get("application_number"))
        return shorten_number(f"{certificate}/{status}/{issued.value}/{application}")

    def _read_instant(self, fact: NoticeFact, time: str) -> datetime:
        text = fact.value if "T" in fact.value else f"{fact.value}{time}{self._catalog.zone}"
        try:
            return parse_instant(text)
        except (ValueError, OverflowError) as error:
            raise _make_error(fact.xpath, f"{fact.value[:40]!r} is no time that can be used") from error

    def _find_deadline(self) -> datetime | None:
        due = next((fact for name in _DUE if (fact := self._find(name)) is not None), None)
        return None if due is None else self._read_instant(due, _LAST)

    def _find_last_day(self) -> date | None:
        return self._find_day("valid_until")

    def _find_day(self, name: str) -> date | None:
        fact = self._find(name)
        return None if fact is None else self._read_day(fact)

    def _read_day(self, fact: NoticeFact) -> date:
        """Return the day of a fact: of an instant, in the zone of the notices."""
        try:
            return date.fromisoformat(localize_moment(fact.value, self._catalog.zone)[:10])
        except (ValueError, OverflowError) as error:
            raise _make_error(fact.xpath, f"{fact.value[:40]!r} is no time that can be used") from error

    def _find_fee(self) -> NamedFee | None:
        """Return the fee that a document about one names: its number, its amount, its last day."""
        if self._facts.notice.role != _FEE:
            return None
        money = next(
            (_read_amount(fact) for name in _AMOUNTS if (fact := self._find(name)) is not None), None
        )
        return NamedFee(money, self._find_day("fee_due"), self._find_number("fee_number") or "")

    def _list_decisions(self, issued: NoticeFact) -> Iterator[Decision]:
        decision = self._find("decision")
        if decision is None:
            return
        code = DecisionCode(decision.value)
        number = self._find_number("requirement_number")
        day = self._read_day(issued)
        for item, facts in self._list_items():
            quantity, unit = _read_quantity(facts.get("certified.quantity"))
            item_number = facts.get("certified.number")
            conditions = tuple(
                fact.value
                for fact in self._facts.facts
                if fact.name == "certified.condition" and fact.item == str(item)
            )
            for law in dict.fromkeys(law for sequence, law in self._required if sequence == item):
                certificate = number if item_number is None else _read_number(item_number)
                yield Decision(item, law, code, certificate, day, quantity, unit, conditions)

    def _list_items(self) -> Iterator[tuple[int, dict[str, NoticeFact]]]:
        """Yield each decided item with the facts about it: those named, else all of the application."""
        item_facts = [fact for fact in self._facts.facts if fact.name == "item"]
        if self._facts.item_number is None and not any(fact.at for fact in item_facts):
            yield from ((item, {}) for item in dict.fromkeys(item for item, _ in self._required))
            return
        applied_items = {item for item, _ in self._required}
        for fact in item_facts:
            item = int(fact.value)
            if item not in applied_items:
                raise _make_error(fact.xpath, f"item {item} is no part of the application")
            yield (
                item,
                {
                    detail.name: detail
                    for detail in self._facts.facts
                    if fact.at and detail.item == fact.value
                },
            )

    def _write_version(self) -> str | None:
        """Return the line of the text with the version of a correction."""
        fact = self._find("version")
        return None if fact is None else self._write_fact(fact)

    def _write_text(self) -> str:
        lines: list[str] = []
        room = _LONGEST_TEXT - 40  # for the line that counts the omitted lines
        written = list(self._list_lines())
        for number, line in enumerate(written):
            if room < len(line) + 1:
                lines.append(f"… ({len(written) - number} / {len(written)})")
                break
            lines.append(line)
            room -= len(line) + 1
        return "\n".join(lines)

    def _write_fact(self, fact: NoticeFact) -> str:
        kind = self._catalog.kinds[fact.name]
        # An integer is written in its shortest form: 07 and +7 become 7.
        value = str(int(fact.value)) if kind.type == "integer" else fact.value
        return f"{kind.en} ({kind.ko}): {value}" + (f" {fact.unit}" if fact.unit else "")

    def _list_lines(self) -> Iterator[str]:
        """Yield a line for each fact that has no place of its own, and one for each occurrence of several."""
        groups: dict[tuple[tuple[str, int], ...], list[str]] = {}
        order: list[str | tuple[tuple[str, int], ...]] = []
        for fact in self._facts.facts:
            kind = self._catalog.kinds.get(fact.name)
            if kind is None or fact.name in _UNLISTED_FACTS or fact.name.endswith(".number"):
                continue
            line = self._write_fact(fact)
            if not fact.at:
                order.append(line)
                continue
            if fact.at not in groups:
                order.append(fact.at)
            groups.setdefault(fact.at, []).append(line)
        for entry in order:
            yield entry if isinstance(entry, str) else f"[{entry[-1][1]}] " + "; ".join(groups[entry])


def decides_at_once(facts: NoticeFacts) -> bool:
    """Return whether a document decides: as a certificate or a refusal, finally, or under a number.

    A status code that is not final waits for its decisions, in this form as in our operation.
    """
    final = facts.find_value("terminal") == _FINAL
    numbered = facts.find_value("requirement_number") is not None
    return facts.notice.role in _DECIDING or final or numbered


def _read_number(fact: NoticeFact) -> str:
    number = collapse_whitespace(fact.value)
    if not 0 < len(number) <= LONGEST_NUMBER:
        raise _make_error(fact.xpath, f"a number of 1 to {LONGEST_NUMBER} characters is expected here")
    return number


def _read_quantity(fact: NoticeFact | None) -> tuple[Decimal | None, str | None]:
    if fact is None:
        return None, None
    try:
        quantity = Decimal(fact.value)
    except InvalidOperation as error:
        raise _make_error(fact.xpath, f"{fact.value[:40]!r} is no quantity") from error
    unit = collapse_whitespace(fact.unit)
    if not quantity.is_finite() or quantity < 0 or len(unit) > _LONGEST_UNIT:
        raise _make_error(fact.xpath, f"{fact.value[:40]} {unit[:40]} is no quantity that can be certified")
    return quantity, unit or None


def _read_amount(fact: NoticeFact) -> Money:
    try:
        return read_money(fact.value, fact.unit)
    except GatewayError as error:
        raise _make_error(fact.xpath, error.detail) from error


def _make_error(xpath: str, detail: str) -> GatewayError:
    return GatewayError(NOTICE_UNREADABLE, detail, xpath)
