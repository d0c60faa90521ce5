"""Drawn runs of declarations that ask agencies and name certificates, and of their held children.

The first declaration of a tree has an application for each item. Its children are held until its agencies
have decided, and while an item has no approval; they may have children, which are held with them. Agencies
decide, correct themselves, and say numbers of their own, in any order. `AskedModel` is written from the rules
(`gateway/manual/partial-release.md`, `rules-of-need.md`, `requirement-ledger.md`).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final

from lxml import etree

from gateway.cases import AgencyCallback, Decision, DecisionCode, Notice
from gateway.store import agency_requests, read_transaction, requirement_results
from gateway.wire import parse_xml
from tests.flows.craft import Change, all_of, reference, withdrawal
from tests.flows.test_held_case_waking import naming
from tests.flows.test_held_cases import HOLD
from tests.kit.goods_oracle import CertificateModel, Rank
from tests.kit.goods_turns import GoodsEvent, draw_events
from tests.kit.line_oracle import Certificate, LineModel, LinesModel
from tests.kit.line_turns import TONNE, Drawn, LineRun, issue_lines
from tests.kit.story import AGENCIES, ITEMS, LAWS, Story

__all__ = ["AskedModel", "AskedRun", "draw_asked"]

_TURNS: Final[dict[str, int]] = {
    "declare": 2, "take": 9, "decide": 9, "say": 7, "withdraw": 4, "again": 2, "tick": 2,
}  # fmt: skip
_CODES: Final = ("APPROVED", "APPROVED", "APPROVED", "REJECTED")
#: Certificates that do not answer the need of an item: it is the application that does.
_MARKS: Final = {1: "XYZ", 2: "Z", 3: "XY"}
_AGENCY_OF: Final = {item: agency for agency, item in ITEMS.items()}


def draw_asked(seed: int, length: int = 20) -> list[GoodsEvent]:
    """Return the events of a run of `AskedRun`."""
    return [_draw(random.Random(-seed), 900, "declare"), *draw_events(seed, length, _TURNS, _draw)]


def _draw(drawn: random.Random, number: int, kind: str) -> GoodsEvent:
    amounts = ("20", "40", "60.5") if kind == "declare" else ("5", "10", "20")
    items = sorted(drawn.sample(sorted(_MARKS), drawn.choice((1, 1, 2))))
    lines = tuple(
        (item, drawn.choice(_MARKS[item]), drawn.choice(amounts), drawn.random() < 0.3)
        for item in items
        for _ in range(drawn.choice((1, 1, 2)))
    )
    more: dict[str, tuple[Any, ...]] = {
        "declare": (number, lines),
        "take": (number, drawn.randint(0, 9), tuple(items), lines if drawn.random() < 0.7 else ()),
        "decide": (
            drawn.randint(0, 9),
            drawn.choice(AGENCIES),
            number,
            drawn.choice(_CODES),
            drawn.randint(-9, 9),
        ),
        "say": (drawn.choice("XYZ"), number, drawn.choice((None, "50", "100", "160")), drawn.randint(-9, 9)),
        "withdraw": (drawn.randint(0, 9),),
        "again": (drawn.randint(0, 5),),
        "tick": (5,),
    }
    return (kind, *more[kind])


@dataclass
class HeldModel:
    """A child that is held: the case that it names, its items and lines."""

    parent: str
    items: set[int]
    lines: list[LineModel]


@dataclass
class AskedModel(LinesModel):
    """Certificates, declarations that ask agencies and name certificates, and their held children."""

    #: What the agencies of a first declaration have said of each item, by rank.
    decided: dict[str, dict[int, dict[Rank, str]]] = field(default_factory=dict)
    held: dict[str, HeldModel] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    #: All declarations in the order of their first filing: so they are served, also one that was held.
    filed: list[str] = field(default_factory=list)

    def is_decided(self, name: str) -> bool:
        """Return whether nobody has to decide about a case any more."""
        return self.cases[name].parent is not None or set(self.decided[name]) == self.cases[name].items

    def get_applied(self, name: str) -> dict[int, str]:
        """Return the decision on each item of a case by the application of the first one above it."""
        said = self.decided[list(self._list_line(name))[-1]]
        return {item: said[item][max(said[item])] for item in self.cases[name].items if item in said}

    def list_rejected(self, name: str) -> set[int]:
        """Return the items that are rejected, by an application or a certificate."""
        said = {item for item, code in self.get_applied(name).items() if code == "REJECTED"}
        return super().list_rejected(name) | said

    def open(self, name: str, lines: Sequence[LineModel]) -> set[str]:
        """A declaration is filed that asks an agency for each item; return why it is refused."""
        self.decided[name] = {}
        self.filed.append(name)
        return self.declare(name, set(_MARKS), lines)

    def take(self, name: str, parent: str, items: set[int], lines: Sequence[LineModel]) -> set[str]:
        """A child is filed; return why it is refused. It may be held."""
        self.filed.append(name)
        if self._can_leave(parent, items):
            return self.declare(name, items, lines, parent)
        self.held[name] = HeldModel(parent, items, list(lines))
        return set()

    def _can_leave(self, parent: str, items: set[int]) -> bool:
        if parent in self.held or not self.is_decided(parent):
            return False
        said = self.get_applied(parent)
        return all(said[item] == "APPROVED" for item in items)

    def decide(self, name: str, item: int, rank: Rank, code: str) -> None:
        """An agency decides about an item of a first declaration."""
        self.decided[name].setdefault(item, {})[rank] = code
        if self.is_decided(name):
            self._serve([one.certificate for one in self.cases[name].lines] or list(self.certificates)[:1])
        self.resume()

    def say(self, certificate: Certificate, rank: Rank, quantity: Any) -> None:
        """An agency approves a quantity under a number, or takes it back."""
        super().say(certificate, rank, quantity)
        self.resume()

    def withdraw(self, name: str) -> None:
        """A child is withdrawn, held or not; what waits for it is refused."""
        if self.held.pop(name, None) is None:
            super().withdraw(name)
        self._refuse_below(name)
        self.resume()

    def _refuse_below(self, name: str) -> None:
        for one in [child for child, held in self.held.items() if held.parent == name]:
            del self.held[one]
            self.refused.add(one)
            self._refuse_below(one)

    def resume(self) -> None:
        """Let held children go on that may, one after another."""
        for name, one in list(self.held.items()):
            if self._can_leave(one.parent, one.items):
                lines = [LineModel(line.item, line.certificate, line.quantity) for line in one.lines]
                if not self.declare(name, one.items, lines, one.parent):
                    del self.held[name]
                    self.cases = dict(sorted(self.cases.items(), key=lambda one: self.filed.index(one[0])))
                    self.resume()
                    return

    def _settle(self, name: str, certificate: Certificate) -> list[Certificate]:
        """Before all have decided nothing is given back, and nothing taken again."""
        if self.is_decided(name):
            return super()._settle(name, certificate)
        self._join(name, certificate)
        return []


class AskedRun(LineRun):
    """Certificates, trees of declarations that ask agencies, their held children, and the model of all."""

    model: AskedModel

    def __init__(self, story: Story, name: str) -> None:
        super().__init__(story, name)
        story.hub.need_policy = HOLD
        self.model = AskedModel({self._certificate(mark): CertificateModel() for mark in "XYZ"})
        self.requests: dict[str, dict[str, str]] = {}

    def _do_declare(self, number: int, lines: Sequence[Drawn]) -> None:
        name = f"{self.name}-D{number}"
        expected = self.model.open(name, self._make_lines(lines))
        found = self._file(all_of(_strip, *self._name_all(lines), reference(name)), attach=True)
        assert found == expected, f"{name} has {found}, not {expected}"
        if found:
            del self.model.decided[name]
            return
        self.cases[name] = int(self.story.case().id)
        with read_transaction(self.story.house.engine) as conn:
            asked = agency_requests.list_by_case(conn, self.cases[name])
        self.requests[name] = {row.agency: row.number for row in asked}
        assert set(self.requests[name]) == set(AGENCIES), f"{name} is {self.story.case().state}"
        self.story.tick(seconds=1)

    def _name_all(self, lines: Sequence[Drawn]) -> list[Change]:
        """Name the certificates at the items; the applications stay."""
        made = [
            naming(self._certificate(mark)[1], said, item, "KGM")
            if not is_tonnes
            else naming(self._certificate(mark)[1], f"{Decimal(said) / TONNE:f}", item, "TNE")
            for item, mark, said, is_tonnes in lines
        ]
        return [*made, issue_lines([(item, self._certificate(mark)[0]) for item, mark, _, _ in lines])]

    def _list_parents(self) -> list[str]:
        return [*self.model.cases, *self.model.held]

    def _get_depth(self, name: str) -> int:
        if name in self.model.held:
            return 1 + self._get_depth(self.model.held[name].parent)
        return super()._get_depth(name)

    def _get_items(self, name: str) -> set[int]:
        return self.model.held[name].items if name in self.model.held else self.model.cases[name].items

    def _judge_case(self, name: str, items: set[int], lines: list[LineModel], parent: str | None) -> set[str]:
        assert parent is not None
        return self.model.take(name, parent, items, lines)

    def _do_decide(self, which: int, agency: str, number: int, code: str, minute: int) -> None:
        names = list(self.requests)
        if names:
            self._decide(names[which % len(names)], agency, number, code, minute)

    def _decide(self, name: str, agency: str, number: int, code: str, minute: int) -> None:
        moment = self.story.clock() + timedelta(seconds=30 * minute)
        one = Decision(ITEMS[agency], LAWS[agency], DecisionCode(code), f"P-{name}-{agency}")
        notice = Notice(
            f"{name}-{agency}-{number:03}", moment, "R04" if code == "REJECTED" else "R01", (one,)
        )
        self.model.decide(name, ITEMS[agency], (moment, notice.number), code)
        self._call(agency, AgencyCallback(notice, self.requests[name][agency]))
        self.story.tick(seconds=1)

    def _do_withdraw(self, which: int) -> None:
        """A child is withdrawn; the first declaration would ask its agencies."""
        model = self.model
        names = [
            one for one in self._list_parents() if one in model.held or model.cases[one].parent is not None
        ]
        if not names:
            return
        name = names[which % len(names)]
        kept = {"GW407"} if name in model.cases and model.list_children(name) else set()
        found = self._file(all_of(withdrawal, reference(name)), "Withdraw")
        assert found == kept, f"the withdrawal of {name} has {found}, not {kept}"
        if not found:
            model.withdraw(name)
            self.story.tick(seconds=1)
            assert self._report(self.cases.pop(name))["state"] == "WITHDRAWN"

    def run(self, events: Sequence[GoodsEvent]) -> None:
        """Let the events happen, and each agency decide that has not; then compare."""
        super().run(events)
        for name in list(self.requests):
            for place, agency in enumerate(AGENCIES):
                if ITEMS[agency] not in self.model.decided[name]:
                    self._decide(name, agency, 950 + place, "APPROVED", 0)
        super().run(())

    def check(self) -> None:
        """Compare what is used and waited for, who is held, and what each declaration was told."""
        for name in (*self.model.held, *self.model.refused):
            state = "HELD" if name in self.model.held else "REFUSED"
            found = self._report(self.cases[name])
            assert found["state"] == state, f"{name} is {found['state']}, not {state}"
            if state == "HELD":
                with read_transaction(self.story.house.engine) as conn:
                    waits = len(requirement_results.list_awaited_uses(conn, self.cases[name]))
                assert waits == len(self.model.held[name].lines), f"{name}, which is held, waits for {waits}"
        super().check()

    def _check_told(self, name: str) -> None:
        if self.model.is_decided(name):
            super()._check_told(name)
            self._check_applied(name)
        else:
            assert self._report(self.cases[name])["state"] == "IN_PROGRESS"

    def _check_applied(self, name: str) -> None:
        """Compare what a case was told of the applications above it."""
        number = self._report(self.cases[name])["number"]
        results = [root for root in (parse_xml(unit.payloads[0].content) for unit in self.story.inbox.got)
                   if root.tag.endswith("}Result") and root.findtext("{*}CaseNumber") == number]  # fmt: skip
        told = {int(one.get("item", 0)): one.get("decision") for one in results[-1].findall("{*}Decision")
                if one.get("document") != "-"}  # fmt: skip
        wanted = self.model.get_applied(name)
        assert told == wanted, f"{name} was told {told} of its applications, not {wanted}"


def _strip(root: etree._Element) -> None:
    for goods in root.findall(".//{*}GovernmentAgencyGoodsItem"):
        for one in goods.findall("{*}AdditionalDocument"):
            if one.find("{*}WriteOff") is not None:
                goods.remove(one)
