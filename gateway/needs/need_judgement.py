"""Judges a submission by the rules of need: missing, superfluous and disclaimed applications.

Direction, country and goods items are read from a tree that need not be valid: a value that is missing or
has a wrong form is left unknown.

A need is answered by an application of one of its documents for the item, or by a disclaimer of its
law that the law and the table accept. An application that is certainly missing is GW508, one that may be
missing is GW510, an application that no need asks for is GW511, a disclaimer that is not accepted is GW509. A
law for which an item has both a disclaimer and an application is GW516.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Final, Literal

from lxml import etree

from gateway.errors import (
    APPLICATION_SUPERFLUOUS,
    CODE_UNKNOWN,
    DISCLAIMER_CONTRADICTED,
    DISCLAIMER_NOT_ACCEPTED,
    DOCUMENT_NEEDED,
    DOCUMENT_PERHAPS_NEEDED,
    Problem,
)
from gateway.needs.need_index import DocumentNeed, GoodsQuery, NeedIndex
from gateway.wire import (
    TYPE_CODE_POINTER,
    WCO_DEC,
    WCO_MD,
    read_declared_direction,
    read_leaf_text,
    read_tariff_code,
)

_DEC: Final = f"{{{WCO_DEC}}}"
_MD: Final = f"{{{WCO_MD}}}"
_TARIFF_CODE: Final = re.compile(r"[0-9]{2,18}")
_COUNTRY: Final = re.compile(r"[A-Z]{2}")
_SEQUENCE_NUMBER: Final = re.compile(r"\+?0*([0-9]{1,9})(?:\.0*)?")
_FULL_CODE_LENGTH: Final = 10


@dataclass(frozen=True, slots=True)
class GoodsItem:
    """One goods item: its number, its tariff code and its country of origin, both as far as known."""

    number: int
    hs: str
    origin: str | None

    @property
    def pointer(self) -> str:
        """Return the WCO pointer of the item."""
        return f"42A/67A[1]/68A[{self.number}]"


@dataclass(frozen=True, slots=True)
class DeclaredGoods:
    """The goods of a declaration; `direction` and `country` are None where it does not state them."""

    direction: str | None
    country: str | None
    items: tuple[GoodsItem, ...]


def read_declared_goods(declaration: etree._Element) -> DeclaredGoods:
    """Return the goods of a `Declaration`; its parent element states the country of its tariff codes."""
    metadata = declaration.getparent()
    country = None if metadata is None else _read_child_text(metadata, f"{_MD}ResponsibleCountryCode")
    items = _list_grandchildren(declaration, f"{_DEC}GoodsShipment", f"{_DEC}GovernmentAgencyGoodsItem")
    return DeclaredGoods(
        read_declared_direction(declaration),
        country if country and _COUNTRY.fullmatch(country) else None,
        tuple([_read_goods_item(element, position) for position, element in enumerate(items, 1)]),
    )


def _read_goods_item(element: etree._Element, position: int) -> GoodsItem:
    """Return number, tariff code and origin of a goods item; `position` is its number if it states none."""
    number_match = _SEQUENCE_NUMBER.fullmatch(_read_child_text(element, f"{_DEC}SequenceNumeric"))
    origins = _list_grandchildren(element, f"{_DEC}Origin", f"{_DEC}CountryCode")
    origin = read_leaf_text(origins[0]).strip() if origins else ""
    return GoodsItem(
        int(number_match[1]) if number_match else position,
        _read_tariff_code(element),
        origin if _COUNTRY.fullmatch(origin) else None,
    )


def _read_tariff_code(element: etree._Element) -> str:
    """Return the tariff code in whole pairs of digits, at most ten; empty where there is none."""
    code = "".join(read_tariff_code(element).text.split())
    if not _TARIFF_CODE.fullmatch(code):
        return ""
    return code[: min(len(code) // 2 * 2, _FULL_CODE_LENGTH)]


def _read_child_text(element: etree._Element, tag: str) -> str:
    """Return the text of the first child of this name: quicker than that of a path."""
    child = next(element.iterchildren(tag), None)
    return "" if child is None else read_leaf_text(child).strip()


def _list_grandchildren(element: etree._Element, child_tag: str, grandchild_tag: str) -> list[etree._Element]:
    """Return the children of a name in all children of another name: quicker than by a path."""
    return [
        element_below
        for child in element.iterchildren(child_tag)
        for element_below in child.iterchildren(grandchild_tag)
    ]


#: The reasons of a disclaimer, in words.
DISCLAIMER_REASONS: Final = {
    "A": "the use is not covered",
    "B": "the goods are exempt",
    "C": "the submission is waived",
    "Z": "another reason",
}
_FINDING_KINDS: Final = ("error", "missing", "warning")
#: The most findings of one judgement; a declaration has at most 999 items.
MAX_FINDINGS: Final = 100


@dataclass(frozen=True, slots=True)
class FiledDocument:
    """One application of a submission: its position, document, laws, direction, and item numbers."""

    position: int
    document: str
    laws: tuple[str, ...]
    direction: str
    items: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class StatedDisclaimer:
    """The declarant's statement that a law asks nothing of an item, with the reason and its words."""

    item: int
    law: str
    reason: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class CheckedDisclaimer:
    """A disclaimer with its verdict: ``accepted``, ``not accepted``, or ``not needed``."""

    statement: StatedDisclaimer
    verdict: str
    organisations: tuple[str, ...]


#: ``error`` refuses under every policy, ``missing`` where the policy says so, ``warning`` never.
FindingKind = Literal["error", "missing", "warning"]


@dataclass(frozen=True, slots=True)
class NeedFinding:
    """One finding: the problem, its words, its pointer, and whether it may refuse the submission.

    `item` is the goods item that lacks an application, and `need` is its need; both are empty where one
    finding reports several.
    """

    problem: Problem
    text: str
    pointer: str
    kind: FindingKind = "warning"
    item: int = 0
    need: DocumentNeed | None = None


@dataclass(frozen=True, slots=True)
class ItemNeeds:
    """The needs of one goods item, each with the documents filed for it.

    `lacking` are those that nothing answers: neither an application, nor a disclaimer, nor a certificate.
    """

    item: GoodsItem
    needs: tuple[tuple[DocumentNeed, tuple[str, ...]], ...]
    lacking: tuple[DocumentNeed, ...] = ()


@dataclass(slots=True)
class NeedJudgement:
    """The result of the rules of need for a submission; `direction` is None where it is not known."""

    direction: str | None
    items: list[ItemNeeds] = field(default_factory=list)
    findings: list[NeedFinding] = field(default_factory=list)
    disclaimers: list[CheckedDisclaimer] = field(default_factory=list)
    tables: tuple[str, ...] = ()


def evaluate_needs(
    goods: DeclaredGoods,
    applications: Sequence[FiledDocument],
    disclaimers: Sequence[StatedDisclaimer],
    need_index: NeedIndex,
    day: date,
    certified_laws: Collection[tuple[int, str]] = (),
) -> NeedJudgement:
    """Return the judgement, by the rules of a day, of goods with these applications and disclaimers.

    The items and laws in `certified_laws` lack nothing.
    At most a hundred findings are returned: errors first, then missing documents.
    """
    direction = goods.direction or _find_common_direction(applications)
    judgement = NeedJudgement(direction, tables=tuple(table.label for table in need_index.list_tables(day)))
    if direction is None:
        detail = "the type of the declaration says neither import nor export, so its needs are not known"
        judgement.findings.append(NeedFinding(DOCUMENT_PERHAPS_NEEDED, detail, TYPE_CODE_POINTER))
    else:
        _Judgement(judgement, need_index, direction, frozenset(certified_laws), day).judge_goods(
            goods, applications, disclaimers
        )
    _limit_findings(judgement)
    return judgement


def _find_common_direction(applications: Iterable[FiledDocument]) -> str | None:
    directions = {document.direction for document in applications}
    return directions.pop() if len(directions) == 1 else None


def _limit_findings(judgement: NeedJudgement) -> None:
    """Sort the findings by kind, and replace those above `MAX_FINDINGS` by one that counts them."""
    findings = sorted(judgement.findings, key=lambda finding: _FINDING_KINDS.index(finding.kind))
    if len(findings) > MAX_FINDINGS:
        omitted_count = len(findings) - MAX_FINDINGS + 1
        last_finding = findings[MAX_FINDINGS - 1]
        detail = f"and {omitted_count} more findings of the rules of need"
        findings[MAX_FINDINGS - 1 :] = [NeedFinding(last_finding.problem, detail, "42A", last_finding.kind)]
    judgement.findings = findings


class _Judgement:
    """The judgement of one submission on one day, in one direction."""

    def __init__(
        self,
        judgement: NeedJudgement,
        need_index: NeedIndex,
        direction: str,
        certified_laws: Collection[tuple[int, str]],
        day: date,
    ) -> None:
        self._judgement = judgement
        self._index = need_index
        self._direction, self._certified = direction, certified_laws
        self._day = day
        self._needed: set[tuple[int, str]] = set()
        self._other_authorities: dict[str, list[int]] = {}
        #: Items whose needs are not known.
        self._unknown: set[int] = set()

    def judge_goods(
        self, goods: DeclaredGoods, filed: Sequence[FiledDocument], disclaimers: Sequence[StatedDisclaimer]
    ) -> None:
        """Judge each item, then the applications and the disclaimers."""
        disclaimer_by_subject = {(disclaimer.item, disclaimer.law): disclaimer for disclaimer in disclaimers}
        documents_by_item: dict[int, list[str]] = {}
        for document in filed:
            for number in document.items:
                documents_by_item.setdefault(number, []).append(document.document)
        for item in goods.items:
            self._judge_item(
                item, goods.country, documents_by_item.get(item.number, ()), disclaimer_by_subject
            )
        self._judge_applications(filed)
        self._judge_disclaimers(disclaimers)
        self._report_other_authorities()

    def _judge_item(
        self,
        item: GoodsItem,
        country: str | None,
        filed: Sequence[str],
        disclaimer_by_subject: dict[tuple[int, str], StatedDisclaimer],
    ) -> None:
        """Add the needs of `item` to the judgement, with a finding for each one that is not answered.

        An application for one of its documents (`filed`), a disclaimer or a certificate answers a need.
        """
        if not item.hs:
            self._unknown.add(item.number)
            detail = f"item {item.number} has no tariff code in digits, so its needs are not known"
            self._add_finding(DOCUMENT_PERHAPS_NEEDED, detail, item.pointer)
        query = GoodsQuery(item.hs, self._direction, self._day, item.origin, None, country)
        needs = self._index.find_needs(query) if item.hs else ()
        answered = tuple(
            (need, tuple(document for document in filed if document in need.documents)) for need in needs
        )
        lacking = []
        for need, answers in answered:
            self._needed |= {(item.number, document) for document in need.documents}
            subject = (item.number, need.law)
            disclaimed = subject in disclaimer_by_subject or subject in self._certified
            if not need.documents:
                self._other_authorities.setdefault(need.law, []).append(item.number)
            elif not answers and not disclaimed:
                lacking.append(need)
                self._report_missing(item, need)
        self._judgement.items.append(ItemNeeds(item, answered, tuple(lacking)))
        self._judge_answered(item, answered, disclaimer_by_subject)

    def _judge_answered(
        self,
        item: GoodsItem,
        answered: Sequence[tuple[DocumentNeed, tuple[str, ...]]],
        disclaimer_by_subject: Mapping[tuple[int, str], StatedDisclaimer],
    ) -> None:
        """Report each disclaimed law with an application for it, unless another law asks for the same one."""
        needed_elsewhere = {
            document
            for need, answers in answered
            if (item.number, need.law) not in disclaimer_by_subject
            for document in answers
        }
        for need, need_documents in answered:
            filed = [document for document in need_documents if document not in needed_elsewhere]
            if filed and (item.number, need.law) in disclaimer_by_subject:
                law = f"law {need.law} ({self._index.book.get_name(need.law)})"
                detail = f"item {item.number} has a disclaimer of {law}, and {' and '.join(filed)} for it"
                self._add_finding(DISCLAIMER_CONTRADICTED, detail, item.pointer)

    def _report_missing(self, item: GoodsItem, need: DocumentNeed) -> None:
        """Add the finding that `item` lacks an application for `need`: a warning if that is uncertain.

        A certain and mandatory need is `missing`; every other one is only a warning.
        """
        documents = " or ".join(need.documents)
        test = ", a test edition" if need.is_test else ""
        law = f"law {need.law} ({self._index.book.get_name(need.law)}; table {need.table}{test})"
        if need.is_certain and need.mandatory:
            detail = f"item {item.number} ({item.hs}) needs {documents} under {law}"
            self._judgement.findings.append(
                NeedFinding(DOCUMENT_NEEDED, detail, item.pointer, "missing", item.number, need)
            )
            return
        why = "" if need.mandatory else "; it is not mandatory"
        if not need.is_certain:
            short = (
                "its tariff code is too short to tell"
                if len(item.hs) < _FULL_CODE_LENGTH
                else "the data do not tell"
            )
            why += f"; {short}"
        detail = f"item {item.number} ({item.hs}) may need {documents} under {law}{why}"
        self._add_finding(DOCUMENT_PERHAPS_NEEDED, detail, item.pointer)

    def _judge_applications(self, filed: Sequence[FiledDocument]) -> None:
        """Report each application that no need asks for, where the tables know one of its laws."""
        for application in filed:
            is_regulated = any(
                self._index.is_regulated(law, self._direction, self._day) for law in application.laws
            )
            checked_numbers = (number for number in application.items if number not in self._unknown)
            superfluous_numbers = [
                number for number in checked_numbers if (number, application.document) not in self._needed
            ]
            if is_regulated and superfluous_numbers:
                numbers = ", ".join(str(number) for number in superfluous_numbers[:20])
                detail = f"no rule of need asks {application.document} for item {numbers}; "
                detail += "the application is sent on"
                self._add_finding(APPLICATION_SUPERFLUOUS, detail, f"APP[{application.position}]")

    def _judge_disclaimers(self, disclaimers: Sequence[StatedDisclaimer]) -> None:
        """Add a verdict on each disclaimer, and a finding if its law or reason is not accepted."""
        by_item = {judged.item.number: [need for need, _ in judged.needs] for judged in self._judgement.items}
        for disclaimer in disclaimers:
            needs = [need for need in by_item.get(disclaimer.item, ()) if need.law == disclaimer.law]
            accepted = self._index.book.get_accepted_reasons(disclaimer.law)
            is_listed_law = disclaimer.law in self._index.book.laws
            good = (
                is_listed_law
                and disclaimer.reason in accepted
                and all(disclaimer.reason in need.exemptions for need in needs)
            )
            verdict = "not accepted" if not good else "accepted" if needs else "not needed"
            owners = dict.fromkeys(owner for need in needs for owner in need.organisations)
            self._judgement.disclaimers.append(CheckedDisclaimer(disclaimer, verdict, tuple(owners)))
            if not good:
                self._report_not_accepted(disclaimer)

    def _report_not_accepted(self, disclaimer: StatedDisclaimer) -> None:
        """Add the finding for a disclaimer whose law is unknown, or whose law does not accept its reason."""
        book = self._index.book
        pointer = f"42A/67A[1]/68A[{disclaimer.item}]"
        if disclaimer.law not in book.laws:
            detail = f"a disclaimer for item {disclaimer.item} names law {disclaimer.law}, which is not known"
            self._add_finding(CODE_UNKNOWN, detail, pointer, "error")
            return
        why = DISCLAIMER_REASONS.get(disclaimer.reason, disclaimer.reason)
        detail = (
            f"law {disclaimer.law} ({book.get_name(disclaimer.law)}) accepts no disclaimer "
            f"for item {disclaimer.item} with reason {disclaimer.reason} ({why})"
        )
        self._add_finding(DISCLAIMER_NOT_ACCEPTED, detail, pointer, "error")

    def _report_other_authorities(self) -> None:
        """Report each law once that asks for a document which this gateway does not take."""
        for law, item_numbers in sorted(self._other_authorities.items()):
            numbers = ", ".join(str(number) for number in item_numbers[:20])
            detail = (
                f"law {law} ({self._index.book.get_name(law)}) may ask for a document for item {numbers} "
                "that this gateway does not take: ask the authority itself"
            )
            self._add_finding(DOCUMENT_PERHAPS_NEEDED, detail, f"42A/67A[1]/68A[{item_numbers[0]}]")

    def _add_finding(
        self, problem: Problem, detail: str, pointer: str, kind: FindingKind = "warning"
    ) -> None:
        self._judgement.findings.append(NeedFinding(problem, detail, pointer, kind))
