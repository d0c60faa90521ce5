"""Makes the values of a notice from the facts of an agency's own document.

The values are those that the agency's call `SubmitDecision` would have brought, so that nothing that
follows depends on the form.  What has a place of its own (number, time, status, decisions, receipt,
deadline, fee) stands there; every other fact becomes a line of the text, with its name in both languages.
So does what is said of a fee, which the applicant read there before.
GW717 names the place of a fact that cannot be used, as an XPath in the agency's document.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Final

from gateway.cases.agency_notices import Decision, DecisionCode, Notice, read_subjects
from gateway.cases.exact_money import Money, read_money
from gateway.cases.named_fees import NamedFee
from gateway.cases.notice_numbers import LONGEST_NUMBER, shorten_number
from gateway.errors import NOTICE_UNREADABLE, GatewayError
from gateway.harmonize import MappingBundle, NoticeFact, NoticeFacts
from gateway.wire import collapse_whitespace, parse_instant

__all__ = ["decides_at_once", "make_notice"]

#: Facts that have a place of their own in a notice, repeat the request, or name who is known.
_PLACED: Final = frozenset(
    {
        *("application_number", "document_type", "notice_number", "issued_at", "receipt_number", "item"),
        *("status", "phase", "terminal", "outcome", "decision", "echo", "signature", "supplement_due"),
        *("certified.number", "certified.quantity", "certified.condition", "error.part"),
        *("applicant_id", "applicant_name", "applied_on", "agency_name"),
    }
)
#: The kinds of documents that decide whatever their status code.
_DECIDING: Final = ("certificate", "rejection")
#: The kind of documents that say something of a fee, and the facts that name its amount.
_FEE: Final = "fee"
_AMOUNTS: Final = ("fee_amount", "refund_amount")
#: The mark of a status code after which nothing else is expected.
_FINAL: Final = "y"
_LONGEST_TEXT: Final = 4000
_LONGEST_UNIT: Final = 17
#: The facts that name the last day for what the agency waits for.
_DUE: Final = ("supplement_due", "fee_due")
#: A day without a time: its notice is ordered by the first instant, and waits until the last one.
_FIRST, _LAST = "T00:00:00", "T23:59:59"


def make_notice(
    facts: NoticeFacts,
    bundle: MappingBundle,
    required: Iterable[Sequence[object]],
    pointers: tuple[str, ...] = (),
) -> Notice:
    """Return the notice that a document of an agency means; raise GW717 for what it cannot mean.

    `required` are the pairs of item and law that its application asks to decide, `pointers` the places
    of its errors in the applicant's message.
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
        number, former = self._choose_numbers(issued, status)
        decisions = tuple(self._list_decisions(issued))
        notice = Notice(
            number=number,
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
        # Earlier versions read nothing of a fee.
        known = replace(notice, number=former, decisions=decisions, fee=None)
        return notice if known == notice else replace(notice, former=known)

    def _find(self, name: str) -> NoticeFact | None:
        return next((one for one in self._facts.facts if one.name == name and not one.at), None)

    def _get(self, name: str) -> NoticeFact:
        found = self._find(name)
        if found is None:
            raise _make_error(f"/{self._facts.notice.root.name}", f"{self._facts.notice.id} states no {name}")
        return found

    def _find_number(self, name: str) -> str | None:
        found = self._find(name)
        return None if found is None else _read_number(found)

    def _choose_numbers(self, issued: NoticeFact, status: str) -> tuple[str, str]:
        """Return the notice's number, and the one that earlier versions made for a document without any.

        A certificate has no number of the notice. What tells it from another one is its own number, its
        status, its time of issue as far as it is stated, and its application: it may be corrected twice on
        one day, and one number may be about two applications.
        """
        if self._find("notice_number") is not None:
            return (_read_number(self._get("notice_number")),) * 2
        named = f"{_read_number(self._get('requirement_number'))}/{status}"
        application = _read_number(self._get("application_number"))
        made = shorten_number(f"{named}/{issued.value}/{application}")
        return made, f"{named}/{issued.value[:10]}"

    def _read_instant(self, fact: NoticeFact, time: str) -> datetime:
        text = fact.value if "T" in fact.value else f"{fact.value}{time}{self._catalog.zone}"
        try:
            return parse_instant(text)
        except (ValueError, OverflowError) as error:
            raise _make_error(fact.xpath, f"{fact.value[:40]!r} is no time that can be used") from error

    def _find_deadline(self) -> datetime | None:
        found = next((one for name in _DUE if (one := self._find(name)) is not None), None)
        return None if found is None else self._read_instant(found, _LAST)

    def _find_last_day(self) -> date | None:
        return self._find_day("valid_until")

    def _find_day(self, name: str) -> date | None:
        found = self._find(name)
        return None if found is None else date.fromisoformat(found.value[:10])

    def _find_fee(self) -> NamedFee | None:
        """Return the fee that a document about one names: its number, its amount, its last day."""
        if self._facts.notice.role != _FEE:
            return None
        money = next((_read_amount(one) for name in _AMOUNTS if (one := self._find(name)) is not None), None)
        return NamedFee(money, self._find_day("fee_due"), self._find_number("fee_number") or "")

    def _list_decisions(self, issued: NoticeFact) -> Iterator[Decision]:
        said = self._find("decision")
        if said is None:
            return
        code = DecisionCode(said.value)
        number = self._find_number("requirement_number")
        day = date.fromisoformat(issued.value[:10])
        for item, about in self._list_items():
            quantity, unit = _read_quantity(about.get("certified.quantity"))
            own = about.get("certified.number")
            conditions = tuple(
                one.value
                for one in self._facts.facts
                if one.name == "certified.condition" and one.item == str(item)
            )
            for law in dict.fromkeys(law for sequence, law in self._required if sequence == item):
                named = number if own is None else _read_number(own)
                yield Decision(item, law, code, named, day, quantity, unit, conditions)

    def _list_items(self) -> Iterator[tuple[int, dict[str, NoticeFact]]]:
        """Yield each decided item with the facts about it: those named, else all of the application."""
        named = [one for one in self._facts.facts if one.name == "item"]
        if self._facts.item_number is None and not any(one.at for one in named):
            yield from ((item, {}) for item in dict.fromkeys(item for item, _ in self._required))
            return
        asked = {item for item, _ in self._required}
        for fact in named:
            item = int(fact.value)
            if item not in asked:
                raise _make_error(fact.xpath, f"item {item} is no part of the application")
            yield item, {one.name: one for one in self._facts.facts if fact.at and one.item == fact.value}

    def _write_version(self) -> str | None:
        """Return the line of the text with the version of a correction."""
        found = self._find("version")
        return None if found is None else self._write_fact(found)

    def _write_text(self) -> str:
        lines: list[str] = []
        room = _LONGEST_TEXT - 40  # for the line that counts what is left out
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
        # A number is told as such: 07 and +7 are 7.
        value = str(int(fact.value)) if kind.type == "integer" else fact.value
        return f"{kind.en} ({kind.ko}): {value}" + (f" {fact.unit}" if fact.unit else "")

    def _list_lines(self) -> Iterator[str]:
        """Yield a line for each fact that has no place of its own, and one for each occurrence of several."""
        groups: dict[tuple[tuple[str, int], ...], list[str]] = {}
        order: list[str | tuple[tuple[str, int], ...]] = []
        for fact in self._facts.facts:
            kind = self._catalog.kinds.get(fact.name)
            if kind is None or fact.name in _PLACED or fact.name.endswith(".number"):
                continue
            words = self._write_fact(fact)
            if not fact.at:
                order.append(words)
                continue
            if fact.at not in groups:
                order.append(fact.at)
            groups.setdefault(fact.at, []).append(words)
        for one in order:
            yield one if isinstance(one, str) else f"[{one[-1][1]}] " + "; ".join(groups[one])


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
