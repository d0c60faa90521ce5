"""Drawn runs of declarations whose items name certificates in several lines, on a real hub.

A line is in kilograms or tonnes, and an item may have two, also of one certificate. Two agencies give one
number: a line says whose it means. Items leave in children, and theirs in children of the children; cases are
withdrawn, and agencies approve, revoke and repeat, in any order. The model is `tests.kit.line_oracle`.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from lxml import etree

from gateway.cases import AgencyCallback, Decision, DecisionCode, Notice
from gateway.store import read_transaction, requirement_quantities, requirement_results
from gateway.wire import WCO_DEC, parse_xml
from tests.flows.craft import Change, all_of, at, reference, withdrawal
from tests.flows.test_partial_release import child
from tests.flows.test_requirement_ledger import using
from tests.kit.goods_oracle import CertificateModel
from tests.kit.goods_turns import GoodsEvent, GoodsRun, draw_events, read_whole
from tests.kit.line_oracle import Certificate, LineModel, LinesModel, Told
from tests.kit.story import LAWS, Story

__all__ = ["TONNE", "Drawn", "LineRun", "draw_lines", "issue_lines"]

#: A line of an item: mark of the certificate, quantity in kilograms, whether it is stated in tonnes.
Drawn = tuple[int, str, str, bool]
_TURNS: Final[dict[str, int]] = {
    "declare": 6, "take": 7, "say": 9, "withdraw": 3, "again": 1, "tick": 3,
}  # fmt: skip
#: Certificates by their marks: two agencies have given one number.
_MARKS: Final = {"X": ("KFDA", "X"), "Y": ("KFDA", "Y"), "Z": ("NPQS", "Y")}
_ITEMS: Final = (1, 2, 3)
_PARTS: Final = (16, 128)
_MOST: Final = (12, 4)
TONNE: Final = 1000


def draw_lines(seed: int, length: int = 16) -> list[GoodsEvent]:
    """Return the events of a run of `LineRun`."""
    return [_draw(random.Random(-seed), 900, "declare"), *draw_events(seed, length, _TURNS, _draw)]


def _draw(drawn: random.Random, number: int, kind: str) -> GoodsEvent:
    amounts = ("20", "40", "60.5") if kind == "declare" else ("5", "10", "20")
    items = sorted(drawn.sample(_ITEMS, drawn.choice((1, 1, 2))))
    lines = tuple(
        (item, drawn.choice("XYZ"), drawn.choice(amounts), drawn.random() < 0.3)
        for item in items
        for _ in range(drawn.choice((1, 1, 2)))
    )
    more: dict[str, tuple[Any, ...]] = {
        "declare": (number, lines),
        "take": (number, drawn.randint(0, 9), tuple(items), lines if drawn.random() < 0.8 else ()),
        "say": (drawn.choice("XYZ"), number, drawn.choice((None, "50", "100", "160")), drawn.randint(-9, 9)),
        "withdraw": (drawn.randint(0, 9),),
        "again": (drawn.randint(0, 5),),
        "tick": (5,),
    }
    return (kind, *more[kind])


class LineRun(GoodsRun):
    """Certificates of two agencies, trees of declarations that name them in lines, and the model of all."""

    def __init__(self, story: Story, name: str) -> None:
        super().__init__(story, name)
        self.model = LinesModel({self._certificate(mark): CertificateModel() for mark in _MARKS})
        self.whole = read_whole(story.submission())

    def _certificate(self, mark: str) -> Certificate:
        agency, number = _MARKS[mark]
        return agency, f"{self.name}-{number}"

    def _do_say(self, mark: str, number: int, quantity: str | None, minute: int) -> None:
        moment: datetime = self.story.clock() + timedelta(seconds=30 * minute)
        agency, named = self._certificate(mark)
        code = DecisionCode.REJECTED if quantity is None else DecisionCode.APPROVED
        amount = None if quantity is None else Decimal(quantity)
        one = Decision(1, LAWS[agency], code, named, quantity=amount, unit=None if amount is None else "KGM")
        notice = Notice(f"{self.name}-{number:03}", moment, "R04" if amount is None else "R01", (one,))
        self._call(agency, AgencyCallback(notice, requirement_number=named))
        self.model.say((agency, named), (moment, notice.number), amount)
        self.story.tick(seconds=1)

    def _do_declare(self, number: int, lines: Sequence[Drawn]) -> None:
        name = f"{self.name}-D{number}"
        self._file_case(name, set(_ITEMS), lines, None, reference(name))

    def _do_take(self, number: int, which: int, items: Sequence[int], lines: Sequence[Drawn]) -> None:
        model = self.model
        names = [one for one in self._list_parents() if self._get_depth(one) < len(_PARTS)
                 and len(model.list_children(one)) < _MOST[self._get_depth(one)]]  # fmt: skip
        if not names:
            return
        parent, name = names[which % len(names)], f"{self.name}-C{number}"
        taken = set(items) & self._get_items(parent)
        if not taken:
            return
        part = _PARTS[self._get_depth(parent)]
        parts = [(item, *self._make_part(item, part)) for item in sorted(taken)]
        number_of = str(self._report(self.cases[parent])["number"])
        self._file_case(name, taken, [one for one in lines if one[0] in taken], parent,
                        child(name, number_of, *parts))  # fmt: skip

    def _list_parents(self) -> list[str]:
        return list(self.model.cases)

    def _get_items(self, name: str) -> set[int]:
        return self.model.cases[name].items

    def _get_depth(self, name: str) -> int:
        above = self.model.cases[name].parent
        return 0 if above is None else 1 + self._get_depth(above)

    def _make_part(self, item: int, part: int) -> tuple[str, str]:
        """Return net mass and pieces of a part of an item, at least the least that its figures can say."""
        net, pieces = (
            max((one / part).quantize(one), Decimal(1).scaleb(int(one.as_tuple().exponent)))
            for one in self.whole[item]
        )
        return f"{net:f}", f"{pieces:f}"

    def _file_case(
        self, name: str, items: set[int], lines: Sequence[Drawn], parent: str | None, change: Change
    ) -> None:
        expected = self._judge_case(name, items, self._make_lines(lines), parent)
        found = self._file(all_of(change, self._name_lines(name, items, lines)))
        assert found == expected, f"{name} has {found}, not {expected}"
        if not found:
            self.cases[name] = int(self.story.case().id)
        self.story.tick(seconds=1)

    def _make_lines(self, lines: Sequence[Drawn]) -> list[LineModel]:
        return [LineModel(item, self._certificate(mark), Decimal(said)) for item, mark, said, _ in lines]

    def _judge_case(self, name: str, items: set[int], lines: list[LineModel], parent: str | None) -> set[str]:
        return self.model.declare(name, items, lines, parent)

    def _name_lines(self, name: str, items: set[int], lines: Sequence[Drawn]) -> Change:
        """Name the certificates, each of its agency, in kilograms or tonnes."""
        places = {item: place for place, item in enumerate(sorted(items), 1)}
        named = [
            (places[item], self._certificate(mark)[1],
             f"{Decimal(said) / TONNE:f}" if is_tonnes else said, "TNE" if is_tonnes else "KGM")
            for item, mark, said, is_tonnes in lines
        ]  # fmt: skip
        issued = [(places[item], self._certificate(mark)[0]) for item, mark, _, _ in lines]
        return all_of(using(name, *named), issue_lines(issued))

    def _do_withdraw(self, which: int) -> None:
        names = list(self.model.cases)
        if not names:
            return
        name = names[which % len(names)]
        is_root = self.model.cases[name].parent is None
        kept = (is_root and self.model.get_outcome(name) == "REJECTED") or self.model.list_children(name)
        found = self._file(all_of(withdrawal, reference(name)), "Withdraw")
        assert found == ({"GW407"} if kept else set()), f"the withdrawal of {name} has {found}"
        if not kept:
            self.model.withdraw(name)
            self.story.tick(seconds=1)
            assert self._report(self.cases.pop(name))["state"] == "WITHDRAWN"

    def check(self) -> None:
        """Compare what is used and waited for, and what each declaration was told."""
        with read_transaction(self.story.house.engine) as conn:
            rows = requirement_quantities.find_requirements(conn, {one for _, one in self.model.certificates})
            waits = {
                name: len(requirement_results.list_awaited_uses(conn, one))
                for name, one in self.cases.items()
            }
        used = {(row.agency, row.number): _sum_kilograms(row.used.items()) for row in rows}
        for one in self.model.certificates:
            wanted = self.model.get_used(one)
            assert used.get(one, 0) == wanted, f"{used.get(one)} of {one} used, not {wanted}"
        for name in self.model.cases:
            wanted_waits = self.model.count_waiting(name)
            assert waits[name] == wanted_waits, f"{name} waits for {waits[name]}, not {wanted_waits}"
            self._check_told(name)

    def _check_told(self, name: str) -> None:
        """Compare the last Result of a case, and what customs heard last of it, with what it must be."""
        found, outcome = self._report(self.cases[name]), self.model.get_outcome(name)
        assert (found["state"], found["outcome"]) == ("CLOSED", outcome), f"{name}: {found['outcome']}"
        results = [
            root
            for root in (parse_xml(unit.payloads[0].content) for unit in self.story.inbox.got)
            if root.tag.endswith("}Result") and root.findtext("{*}CaseNumber") == found["number"]
        ]
        wanted = self.model.list_told(name)
        decisions = (one for one in results[-1].findall("{*}Decision") if one.get("document") == "-")
        told = sorted(map(_read_told, decisions), key=repr)
        assert told == wanted, f"{name} was told {told}, not {wanted}"
        assert results[-1].findtext("{*}Outcome") == outcome
        # What is rejected under the same law is no approval for customs.
        rejected = {one[:2] for one in wanted if one[2] == "REJECTED"}
        approved = [one for one in wanted if one[2] == "APPROVED" and one[:2] not in rejected]
        heard = [
            call
            for call in self.story.soap.calls
            if call.destination == "customs"
            and call.text("CaseNumber") == found["number"]
            and call.operation == "ReportRequirements"
        ]
        if not heard or heard[-1].text("PendingCode") == "18":
            assert not approved or outcome == "REJECTED", f"customs heard nothing of {approved} of {name}"
            return
        requirements = map(_read_heard, heard[-1].body.iter("{*}Requirement"))
        said = sorted((one for one in requirements if not (one[1] or "").startswith("P-")), key=repr)
        assert said == sorted(((one[0], *one[3:]) for one in approved), key=repr), f"{said} of {name}"


def _sum_kilograms(amounts: Any) -> Decimal:
    return sum((Decimal(said) * (TONNE if unit == "TNE" else 1) for unit, said in amounts), Decimal(0))


def _read_told(one: etree._Element) -> Told:
    agency = {LAWS[name]: name for name in ("KFDA", "NPQS")}[one.get("law", "")]
    said = one.find("{*}Quantity")
    quantity = None if said is None else _sum_kilograms([(said.get("unitCode"), said.text)])
    return int(one.get("item", 0)), agency, one.get("decision", ""), one.findtext("{*}Number"), quantity


def _read_heard(one: etree._Element) -> tuple[int, str | None, Decimal | None]:
    unit, said = one.findtext("{*}unit"), one.findtext("{*}quantity")
    quantity = None if said is None else _sum_kilograms([(unit, said)])
    return int(one.findtext("{*}item") or 0), one.findtext("{*}number"), quantity


def issue_lines(issued: Sequence[tuple[int, str]]) -> Change:
    """Name the agency of each line: the place of its item, and the agency, in the order of the lines."""

    def issue(root: etree._Element) -> None:
        for place, goods in enumerate(root.findall(".//{*}GovernmentAgencyGoodsItem"), 1):
            mine = [agency for where, agency in issued if where == place]
            written = [
                one for one in goods.findall("{*}AdditionalDocument") if one.find("{*}WriteOff") is not None
            ]
            for document, agency in zip(written, mine, strict=True):
                issuer = etree.Element(f"{{{WCO_DEC}}}Submitter")
                etree.SubElement(issuer, f"{{{WCO_DEC}}}Name").text = agency
                at(document, "WriteOff").addprevious(issuer)

    return issue
