"""Judges a submission by the rules of need: what is missing, superfluous, disclaimed.

A need is answered by an application of one of its documents for the item, or by a disclaimer of its
law that the law and the table accept. What is missing for certain is GW508, what may be missing is
GW510, an application that no need asks for is GW511, a disclaimer that is not accepted is GW509. What
is both disclaimed and applied for is GW516.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Final, Literal

from gateway.errors import (
    APPLICATION_SUPERFLUOUS,
    CODE_UNKNOWN,
    DISCLAIMER_CONTRADICTED,
    DISCLAIMER_NOT_ACCEPTED,
    DOCUMENT_NEEDED,
    DOCUMENT_PERHAPS_NEEDED,
    Problem,
)
from gateway.needs.goods_items import DeclaredGoods, GoodsItem
from gateway.needs.need_index import DocumentNeed, GoodsQuery, NeedIndex

__all__ = [
    "DISCLAIMER_REASONS",
    "FiledDocument",
    "ItemNeeds",
    "NeedFinding",
    "NeedJudgement",
    "StatedDisclaimer",
    "WeighedDisclaimer",
    "judge_needs",
]

#: The reasons of a disclaimer, in words.
DISCLAIMER_REASONS: Final = {
    "A": "the use is not covered",
    "B": "the goods are exempt",
    "C": "the submission is waived",
    "Z": "another reason",
}
_KINDS: Final = ("error", "missing", "warning")
#: A declaration has at most 999 items; nobody reads more findings than this.
MOST_FINDINGS: Final = 100
_FULL: Final = 10


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
class WeighedDisclaimer:
    """A disclaimer with what became of it: ``accepted``, ``not accepted``, or ``not needed``."""

    stated: StatedDisclaimer
    verdict: str
    organisations: tuple[str, ...]


#: ``error`` refuses whatever the policy, ``missing`` where the policy says so, ``warning`` never.
FindingKind = Literal["error", "missing", "warning"]


@dataclass(frozen=True, slots=True)
class NeedFinding:
    """One finding: the problem, its words, its pointer, and whether it may refuse the submission.

    `item` and `need` say what is missing; they are empty where several findings are told as one.
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
    """What the rules of need say of a submission; `direction` is None where it is not known."""

    direction: str | None
    items: list[ItemNeeds] = field(default_factory=list)
    findings: list[NeedFinding] = field(default_factory=list)
    disclaimers: list[WeighedDisclaimer] = field(default_factory=list)
    tables: tuple[str, ...] = ()


def judge_needs(
    goods: DeclaredGoods,
    filed: Sequence[FiledDocument],
    disclaimers: Sequence[StatedDisclaimer],
    index: NeedIndex,
    day: date,
    covered: Collection[tuple[int, str]] = (),
) -> NeedJudgement:
    """Return what the rules say on a day of goods with these applications and disclaimers.

    The items and laws in `covered` lack nothing.
    Of the findings at most a hundred are told: errors first, then what is missing.
    """
    direction = goods.direction or _find_common_direction(filed)
    judgement = NeedJudgement(direction, tables=tuple(one.label for one in index.list_tables(day)))
    if direction is None:
        words = "the type of the declaration says neither import nor export, so its needs are not known"
        judgement.findings.append(NeedFinding(DOCUMENT_PERHAPS_NEEDED, words, "42A/D013"))
    else:
        _Judging(judgement, index, (direction, frozenset(covered)), day).judge_goods(
            goods, filed, disclaimers
        )
    _cut_findings(judgement)
    return judgement


def _find_common_direction(filed: Iterable[FiledDocument]) -> str | None:
    directions = {one.direction for one in filed}
    return directions.pop() if len(directions) == 1 else None


def _cut_findings(judgement: NeedJudgement) -> None:
    told = sorted(judgement.findings, key=lambda one: _KINDS.index(one.kind))
    if len(told) > MOST_FINDINGS:
        more = len(told) - MOST_FINDINGS + 1
        last = told[MOST_FINDINGS - 1]
        words = f"and {more} more findings of the rules of need"
        told[MOST_FINDINGS - 1 :] = [NeedFinding(last.problem, words, "42A", last.kind)]
    judgement.findings = told


class _Judging:
    """The judgement of one submission on one day, in one direction."""

    def __init__(
        self,
        judgement: NeedJudgement,
        index: NeedIndex,
        stated: tuple[str, frozenset[tuple[int, str]]],
        day: date,
    ) -> None:
        self._judgement = judgement
        self._index = index
        self._direction, self._covered = stated
        self._day = day
        self._needed: set[tuple[int, str]] = set()
        self._outside: dict[str, list[int]] = {}
        #: Items of which it is not known what they need.
        self._unknown: set[int] = set()

    def judge_goods(
        self, goods: DeclaredGoods, filed: Sequence[FiledDocument], disclaimers: Sequence[StatedDisclaimer]
    ) -> None:
        """Judge each item, then the applications and the disclaimers."""
        stated = {(one.item, one.law): one for one in disclaimers}
        by_item: dict[int, list[str]] = {}
        for one in filed:
            for number in one.items:
                by_item.setdefault(number, []).append(one.document)
        for item in goods.items:
            self._judge_item(item, goods.country, by_item.get(item.number, ()), stated)
        self._judge_applications(filed)
        self._judge_disclaimers(disclaimers)
        self._tell_other_authorities()

    def _judge_item(
        self,
        item: GoodsItem,
        country: str | None,
        filed: Sequence[str],
        stated: dict[tuple[int, str], StatedDisclaimer],
    ) -> None:
        if not item.hs:
            self._unknown.add(item.number)
            words = f"item {item.number} has no tariff code in digits, so its needs are not known"
            self._add_finding(DOCUMENT_PERHAPS_NEEDED, words, item.pointer)
        query = GoodsQuery(item.hs, self._direction, self._day, item.origin, None, country)
        needs = self._index.find_needs(query) if item.hs else ()
        answered = tuple((need, tuple(one for one in filed if one in need.documents)) for need in needs)
        lacking = []
        for need, answers in answered:
            self._needed |= {(item.number, one) for one in need.documents}
            subject = (item.number, need.law)
            disclaimed = subject in stated or subject in self._covered
            if not need.documents:
                self._outside.setdefault(need.law, []).append(item.number)
            elif not answers and not disclaimed:
                lacking.append(need)
                self._tell_missing(item, need)
        self._judgement.items.append(ItemNeeds(item, answered, tuple(lacking)))
        self._judge_answered(item, answered, stated)

    def _judge_answered(
        self,
        item: GoodsItem,
        answered: Sequence[tuple[DocumentNeed, tuple[str, ...]]],
        stated: Mapping[tuple[int, str], StatedDisclaimer],
    ) -> None:
        """Tell each disclaimed law with an application for it, unless another law asks for the same one."""
        asked = {
            one for need, answers in answered if (item.number, need.law) not in stated for one in answers
        }
        for need, answers in answered:
            filed = [one for one in answers if one not in asked]
            if filed and (item.number, need.law) in stated:
                law = f"law {need.law} ({self._index.book.get_name(need.law)})"
                words = f"item {item.number} has a disclaimer of {law}, and {' and '.join(filed)} for it"
                self._add_finding(DISCLAIMER_CONTRADICTED, words, item.pointer)

    def _tell_missing(self, item: GoodsItem, need: DocumentNeed) -> None:
        documents = " or ".join(need.documents)
        test = ", a test edition" if need.is_test else ""
        law = f"law {need.law} ({self._index.book.get_name(need.law)}; table {need.table}{test})"
        if need.is_certain and need.mandatory:
            words = f"item {item.number} ({item.hs}) needs {documents} under {law}"
            self._judgement.findings.append(
                NeedFinding(DOCUMENT_NEEDED, words, item.pointer, "missing", item.number, need)
            )
            return
        why = "" if need.mandatory else "; it is not mandatory"
        if not need.is_certain:
            short = "its tariff code is too short to tell" if len(item.hs) < _FULL else "the data do not tell"
            why += f"; {short}"
        words = f"item {item.number} ({item.hs}) may need {documents} under {law}{why}"
        self._add_finding(DOCUMENT_PERHAPS_NEEDED, words, item.pointer)

    def _judge_applications(self, filed: Sequence[FiledDocument]) -> None:
        """Tell each application that no need asks for, where the tables know one of its laws."""
        for one in filed:
            regulated = any(self._index.is_regulated(law, self._direction, self._day) for law in one.laws)
            known = (number for number in one.items if number not in self._unknown)
            items = [number for number in known if (number, one.document) not in self._needed]
            if regulated and items:
                numbers = ", ".join(str(number) for number in items[:20])
                words = f"no rule of need asks {one.document} for item {numbers}; the application is sent on"
                self._add_finding(APPLICATION_SUPERFLUOUS, words, f"APP[{one.position}]")

    def _judge_disclaimers(self, disclaimers: Sequence[StatedDisclaimer]) -> None:
        by_item = {one.item.number: [need for need, _ in one.needs] for one in self._judgement.items}
        for one in disclaimers:
            needs = [need for need in by_item.get(one.item, ()) if need.law == one.law]
            accepted = self._index.book.get_accepted_reasons(one.law)
            known = one.law in self._index.book.laws
            good = known and one.reason in accepted and all(one.reason in need.exemptions for need in needs)
            verdict = "not accepted" if not good else "accepted" if needs else "not needed"
            owners = dict.fromkeys(owner for need in needs for owner in need.organisations)
            self._judgement.disclaimers.append(WeighedDisclaimer(one, verdict, tuple(owners)))
            if not good:
                self._tell_not_accepted(one)

    def _tell_not_accepted(self, one: StatedDisclaimer) -> None:
        book = self._index.book
        pointer = f"42A/67A[1]/68A[{one.item}]"
        if one.law not in book.laws:
            words = f"a disclaimer for item {one.item} names law {one.law}, which is not known"
            self._add_finding(CODE_UNKNOWN, words, pointer, "error")
            return
        why = DISCLAIMER_REASONS.get(one.reason, one.reason)
        words = (
            f"law {one.law} ({book.get_name(one.law)}) accepts no disclaimer for item {one.item} "
            f"with reason {one.reason} ({why})"
        )
        self._add_finding(DISCLAIMER_NOT_ACCEPTED, words, pointer, "error")

    def _tell_other_authorities(self) -> None:
        """Tell each law once that asks for a document which this gateway does not take."""
        for law, items in sorted(self._outside.items()):
            numbers = ", ".join(str(number) for number in items[:20])
            words = (
                f"law {law} ({self._index.book.get_name(law)}) may ask for a document for item {numbers} "
                "that this gateway does not take: ask the authority itself"
            )
            self._add_finding(DOCUMENT_PERHAPS_NEEDED, words, f"42A/67A[1]/68A[{items[0]}]")

    def _add_finding(self, problem: Problem, words: str, pointer: str, kind: FindingKind = "warning") -> None:
        self._judgement.findings.append(NeedFinding(problem, words, pointer, kind))
