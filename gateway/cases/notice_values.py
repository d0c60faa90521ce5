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
    MAX_CODE_LENGTH,
    MAX_NUMBER_LENGTH,
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
_ChildrenByName = dict[str, list[etree._Element]]


#: The most characters of the values by which answers are found. The WSDL of a partner may allow more.
_MAX_LENGTHS: Final = {
    **dict.fromkeys(("ReceiptNumber", "NoticeNumber", "number"), MAX_NUMBER_LENGTH),
    "law": MAX_CODE_LENGTH,
}


def read_partner_notice(element: etree._Element) -> PartnerAnswer:
    """Return the acknowledgment, or the notice of an agency or of customs, that an answer contains.

    Raises ValueError, OverflowError or ArithmeticError for a value that the schema accepts and that cannot be
    used, and GW711 for a fee that is no exact amount.
    """
    _check_lengths(element)
    name = etree.QName(element)
    if name.localname == "Acknowledged":
        return AgencyAcknowledgment(receipt_number=_get_text(_list_children(element), "ReceiptNumber"))
    return _read_customs_notice(element) if name.namespace == CUSTOMS else _read_notice(element)


def _check_lengths(element: etree._Element) -> None:
    """Raise ValueError for a number or a code of law in an answer that is too long to be stored."""
    for child in element.iter(etree.Element):
        child_name = etree.QName(child).localname
        max_length = _MAX_LENGTHS.get(child_name)
        if max_length is not None and len(collapse_whitespace(read_leaf_text(child))) > max_length:
            raise ValueError(f"{child_name} has more than {max_length} characters")


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

    The call is SubmitDecision, about an application or a number of the agency's own, or RequestInformation,
    which states no status code. Raises as `read_partner_notice` does.
    """
    notice = _read_notice(element)
    if etree.QName(element).localname == "RequestInformation":
        notice = replace(notice, status_code=INFORMATION_REQUESTED)
    children = _list_children(element)
    requirement = _find_text(children, "RequirementNumber")
    application = None if requirement is not None else _get_text(children, "ApplicationNumber")
    return AgencyCallback(notice, application, requirement)


def _read_fee(element: etree._Element) -> NamedFee:
    """Return the fee of a notice; raises GW711 for an amount that is not exact."""
    children = _list_children(element)
    due_day = _find_text(children, "dueDate")
    return read_named_fee(
        _get_text(children, "amount"),
        _get_text(children, "currency"),
        None if due_day is None else date.fromisoformat(due_day),
        _get_text(children, "paymentNotice"),
        refundable=_get_text(children, "refundable") in ("true", "1"),
    )


def _read_decision(element: etree._Element) -> Decision:
    """Return the decision of a schema-valid Decision element of an agency."""
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
    """Return the notice in a schema-valid element of customs."""
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


def _list_children(parent: etree._Element) -> _ChildrenByName:
    """Return the child elements by their names without namespace: each is read once."""
    children: _ChildrenByName = {}
    for child in parent.iterchildren("*"):
        children.setdefault(child.tag.rpartition("}")[2], []).append(child)
    return children


def _find_text(children: _ChildrenByName, child_name: str) -> str | None:
    """Return the text of the first child of a name; None where there is none."""
    if child_name not in children:
        return None
    text = read_leaf_text(children[child_name][0])
    # Sentences keep their white space; every other type of the contracts is a token or collapses.
    return text if child_name == "Text" else collapse_whitespace(text)


def _get_text(children: _ChildrenByName, child_name: str) -> str:
    return _find_text(children, child_name) or ""


#: Facts that have an element of their own in a notice, repeat the request, or name who is known.
_FACTS_WITHOUT_LINE: Final = frozenset(
    {
        *("application_number", "document_type", "notice_number", "issued_at", "receipt_number", "item"),
        *("status", "phase", "terminal", "outcome", "decision", "echo", "signature", "supplement_due"),
        *("certified.number", "certified.quantity", "certified.condition", "error.part"),
        *("applicant_id", "applicant_name", "applied_on", "agency_name"),
    }
)
#: The kinds of documents that decide, with every status code.
_DECIDING_ROLES: Final = ("certificate", "rejection")
#: The kind of documents that say something of a fee, and the facts that name its amount.
_FEE_ROLE: Final = "fee"
_AMOUNT_FACTS: Final = ("fee_amount", "refund_amount")
#: The mark of a status code after which nothing else is expected.
_FINAL_MARK: Final = "y"
_MAX_TEXT_LENGTH: Final = 4000
#: The facts that name the last day for the applicant's supplement or payment.
_DEADLINE_FACTS: Final = ("supplement_due", "fee_due")
#: A day without a time: its notice gets a place in the day, and waits until the last instant.
_FIRST_TIME, _LAST_TIME = "T00:00:00", "T23:59:59"


def make_notice(
    facts: NoticeFacts,
    bundle: MappingBundle,
    required_subjects: Iterable[Sequence[object]],
    pointers: tuple[str, ...] = (),
) -> Notice:
    """Return the notice of an agency's document by its facts; raise GW717 for facts that make no notice.

    `required_subjects` are the pairs of item and law that its application asks to decide, `pointers` the
    places of its errors in the applicant's message.
    """
    return _NoticeMaker(facts, bundle, read_subjects(required_subjects)).build_notice(pointers)


class _NoticeMaker:
    def __init__(
        self, facts: NoticeFacts, bundle: MappingBundle, required_subjects: list[tuple[int, str]]
    ) -> None:
        self._facts = facts
        self._catalog = bundle.notices
        self._required_subjects = required_subjects

    def build_notice(self, pointers: tuple[str, ...]) -> Notice:
        """Return the notice by the facts of an agency's document; raise GW717 for an unusable fact."""
        issue_fact = self._get_fact("issued_at")
        status_code = self._get_fact("status").value
        decisions = tuple(self._list_decisions(issue_fact))
        return Notice(
            number=self._choose_number(issue_fact, status_code),
            issued_at=self._read_instant(issue_fact, _FIRST_TIME),
            status_code=status_code,
            decisions=decisions if decides_at_once(self._facts) else (),
            text=self._compose_text(),
            pointers=pointers,
            deadline=self._find_deadline(),
            receipt_number=self._find_number("receipt_number"),
            fee=self._find_fee(),
            valid_until=self._find_last_day(),
            version=self._format_version(),
            states_day="T" not in issue_fact.value,
        )

    def _find_fact(self, fact_name: str) -> NoticeFact | None:
        """Return the fact named `fact_name` outside repeated elements, else None."""
        return next(
            (fact for fact in self._facts.facts if fact.name == fact_name and not fact.occurrence), None
        )

    def _get_fact(self, fact_name: str) -> NoticeFact:
        """Return the fact named `fact_name`; raise GW717 if the document does not state it."""
        fact = self._find_fact(fact_name)
        if fact is None:
            raise _make_notice_error(
                f"/{self._facts.notice.root.name}", f"{self._facts.notice.id} states no {fact_name}"
            )
        return fact

    def _find_number(self, fact_name: str) -> str | None:
        fact = self._find_fact(fact_name)
        return None if fact is None else _read_number(fact)

    def _choose_number(self, issue_fact: NoticeFact, status_code: str) -> str:
        """Return the number of the notice, made here for a document without any.

        A certificate has no number of the notice. It differs from another certificate by its own number,
        its status, its time of issue as far as that is stated, and its application: a certificate may be
        corrected twice on one day, and one number may be about two applications.
        """
        if self._find_fact("notice_number") is not None:
            return _read_number(self._get_fact("notice_number"))
        certificate = _read_number(self._get_fact("requirement_number"))
        application = _read_number(self._get_fact("application_number"))
        return shorten_number(f"{certificate}/{status_code}/{issue_fact.value}/{application}")

    def _read_instant(self, fact: NoticeFact, default_time: str) -> datetime:
        """Return the time of a fact; a date alone gets `default_time` in the zone of the notices."""
        moment_text = fact.value if "T" in fact.value else f"{fact.value}{default_time}{self._catalog.zone}"
        try:
            return parse_instant(moment_text)
        except (ValueError, OverflowError) as error:
            raise _make_notice_error(
                fact.xpath, f"{fact.value[:40]!r} is no time that can be used"
            ) from error

    def _find_deadline(self) -> datetime | None:
        """Return the first deadline that the document states, else None; a date means its last second."""
        deadline_fact = next(
            (fact for name in _DEADLINE_FACTS if (fact := self._find_fact(name)) is not None), None
        )
        return None if deadline_fact is None else self._read_instant(deadline_fact, _LAST_TIME)

    def _find_last_day(self) -> date | None:
        return self._find_day("valid_until")

    def _find_day(self, fact_name: str) -> date | None:
        fact = self._find_fact(fact_name)
        return None if fact is None else self._read_day(fact)

    def _read_day(self, fact: NoticeFact) -> date:
        """Return the day of a fact: of an instant, in the zone of the notices."""
        try:
            return date.fromisoformat(localize_moment(fact.value, self._catalog.zone)[:10])
        except (ValueError, OverflowError) as error:
            raise _make_notice_error(
                fact.xpath, f"{fact.value[:40]!r} is no time that can be used"
            ) from error

    def _find_fee(self) -> NamedFee | None:
        """Return the fee that a document about one names: its number, its amount, its last day."""
        if self._facts.notice.role != _FEE_ROLE:
            return None
        money = next(
            (_read_amount(fact) for name in _AMOUNT_FACTS if (fact := self._find_fact(name)) is not None),
            None,
        )
        return NamedFee(money, self._find_day("fee_due"), self._find_number("fee_number") or "")

    def _list_decisions(self, issue_fact: NoticeFact) -> Iterator[Decision]:
        """Yield a decision for each required item and law; none if the document states no decision."""
        decision = self._find_fact("decision")
        if decision is None:
            return
        decision_code = DecisionCode(decision.value)
        document_number = self._find_number("requirement_number")
        day = self._read_day(issue_fact)
        for item, facts in self._list_items():
            quantity, unit = _read_quantity(facts.get("certified.quantity"))
            item_number = facts.get("certified.number")
            conditions = tuple(
                fact.value
                for fact in self._facts.facts
                if fact.name == "certified.condition" and fact.item == str(item)
            )
            for law in dict.fromkeys(law for sequence, law in self._required_subjects if sequence == item):
                certificate = document_number if item_number is None else _read_number(item_number)
                yield Decision(item, law, decision_code, certificate, day, quantity, unit, conditions)

    def _list_items(self) -> Iterator[tuple[int, dict[str, NoticeFact]]]:
        """Yield each decided item with the facts about it: those named, else all of the application."""
        item_facts = [fact for fact in self._facts.facts if fact.name == "item"]
        if self._facts.item_number is None and not any(fact.occurrence for fact in item_facts):
            yield from ((item, {}) for item in dict.fromkeys(item for item, _ in self._required_subjects))
            return
        applied_items = {item for item, _ in self._required_subjects}
        for fact in item_facts:
            item = int(fact.value)
            if item not in applied_items:
                raise _make_notice_error(fact.xpath, f"item {item} is no part of the application")
            yield (
                item,
                {
                    detail.name: detail
                    for detail in self._facts.facts
                    if fact.occurrence and detail.item == fact.value
                },
            )

    def _format_version(self) -> str | None:
        """Return the line of the text with the version of a correction."""
        fact = self._find_fact("version")
        return None if fact is None else self._format_fact(fact)

    def _compose_text(self) -> str:
        """Return the lines of the notice as one text; if it is cut, the last line counts the others."""
        lines: list[str] = []
        remaining_length = _MAX_TEXT_LENGTH - 40  # for the line that counts the omitted lines
        all_lines = list(self._list_lines())
        for line_index, line in enumerate(all_lines):
            if remaining_length < len(line) + 1:
                lines.append(f"… ({len(all_lines) - line_index} / {len(all_lines)})")
                break
            lines.append(line)
            remaining_length -= len(line) + 1
        return "\n".join(lines)

    def _format_fact(self, fact: NoticeFact) -> str:
        """Return a fact as a line for people: English and Korean label, value and unit."""
        fact_type = self._catalog.fact_types[fact.name]
        # An integer is written in its shortest form: 07 and +7 become 7.
        value = str(int(fact.value)) if fact_type.type == "integer" else fact.value
        return f"{fact_type.en} ({fact_type.ko}): {value}" + (f" {fact.unit}" if fact.unit else "")

    def _list_lines(self) -> Iterator[str]:
        """Yield a line for each fact that has no place of its own, and one for each occurrence of several."""
        groups: dict[tuple[tuple[str, int], ...], list[str]] = {}
        ordered_entries: list[str | tuple[tuple[str, int], ...]] = []
        for fact in self._facts.facts:
            fact_type = self._catalog.fact_types.get(fact.name)
            if fact_type is None or fact.name in _FACTS_WITHOUT_LINE or fact.name.endswith(".number"):
                continue
            line = self._format_fact(fact)
            if not fact.occurrence:
                ordered_entries.append(line)
                continue
            if fact.occurrence not in groups:
                ordered_entries.append(fact.occurrence)
            groups.setdefault(fact.occurrence, []).append(line)
        for entry in ordered_entries:
            yield entry if isinstance(entry, str) else f"[{entry[-1][1]}] " + "; ".join(groups[entry])


def decides_at_once(facts: NoticeFacts) -> bool:
    """Return whether a document decides: a certificate, a rejection, a final code, or one with a number.

    A status code that is not final waits for its decisions, in this form as in our operation.
    """
    is_final = facts.find_value("terminal") == _FINAL_MARK
    has_number = facts.find_value("requirement_number") is not None
    return facts.notice.role in _DECIDING_ROLES or is_final or has_number


def _read_number(fact: NoticeFact) -> str:
    """Return the number of a fact with collapsed white space; raise GW717 if it is empty or too long."""
    number = collapse_whitespace(fact.value)
    if not 0 < len(number) <= MAX_NUMBER_LENGTH:
        raise _make_notice_error(
            fact.xpath, f"a number of 1 to {MAX_NUMBER_LENGTH} characters is expected here"
        )
    return number


def _read_quantity(fact: NoticeFact | None) -> tuple[Decimal | None, str | None]:
    """Return quantity and unit of a fact, both None without a fact; raise GW717 for an unusable quantity."""
    if fact is None:
        return None, None
    try:
        quantity = Decimal(fact.value)
    except InvalidOperation as error:
        raise _make_notice_error(fact.xpath, f"{fact.value[:40]!r} is no quantity") from error
    unit = collapse_whitespace(fact.unit)
    if not quantity.is_finite() or quantity < 0 or len(unit) > MAX_CODE_LENGTH:
        raise _make_notice_error(
            fact.xpath, f"{fact.value[:40]} {unit[:40]} is no quantity that can be certified"
        )
    return quantity, unit or None


def _read_amount(fact: NoticeFact) -> Money:
    try:
        return read_money(fact.value, fact.unit)
    except GatewayError as error:
        raise _make_notice_error(fact.xpath, error.detail) from error


def _make_notice_error(xpath: str, detail: str) -> GatewayError:
    return GatewayError(NOTICE_UNREADABLE, detail, xpath)
