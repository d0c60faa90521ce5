"""Drawn runs of goods that several declarations share, on a real hub.

`ReleaseRun`: the items of a decided case leave in child declarations, which are amended and withdrawn,
while agencies change what they decided. `ResultRun`: agencies say results without an application, and
declarations name the numbers, before or after. After each run all quantities, decisions and outcomes are
compared with the second model (`tests.kit.goods_oracle`).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from lxml import etree

from gateway.cases import AgencyCallback, Decision, DecisionCode, Notice
from gateway.hub import apply_call_back
from gateway.message_model import UserMessage
from gateway.operations import read_case_report
from gateway.store import (
    agency_requests,
    cases,
    read_transaction,
    requirement_quantities,
    requirement_results,
)
from gateway.wire import parse_xml
from tests.flows.craft import Change, all_of, reference, withdrawal
from tests.flows.test_amendments import amendment
from tests.flows.test_partial_release import child
from tests.flows.test_requirement_ledger import using
from tests.kit.goods_oracle import Amounts, CertificateModel, LedgerModel, ParentModel
from tests.kit.story import AGENCIES, ITEMS, LAWS, Story

__all__ = [
    "GoodsEvent",
    "GoodsRun",
    "ReleaseRun",
    "ResultRun",
    "draw_events",
    "draw_release",
    "draw_releases",
    "draw_results",
    "read_whole",
]

#: What happens: its name, and words that say to whom and which.
GoodsEvent = tuple[Any, ...]
_CODES: Final = ("APPROVED", "APPROVED", "APPROVED_WITH_CONDITIONS", "REJECTED")
_STATUS: Final = {"REJECTED": "R04"}
_GOODS: Final = ".//{*}GovernmentAgencyGoodsItem"
_MEASURES: Final = ("NetNetWeightMeasure", "TariffQuantity")
#: Which part of what an item has whole a child takes: too much, all, a part, nothing.
_PARTS: Final = (8, 4, 3, 2, 2, 1, 1, 1, 0)
_RELEASING: Final[dict[str, int]] = {
    "take": 8, "change": 4, "give": 3, "say": 5, "again": 2, "parent": 2, "tick": 3,
}  # fmt: skip
_STATING: Final[dict[str, int]] = {"declare": 7, "say": 7, "again": 3, "withdraw": 3, "tick": 3}


def draw_releases(seed: int, length: int = 14) -> list[GoodsEvent]:
    """Return the events of a run of `ReleaseRun`."""
    return draw_events(seed, length, _RELEASING, draw_release)


def draw_events(
    seed: int, length: int, weights: dict[str, int], draw: Callable[[random.Random, int, str], GoodsEvent]
) -> list[GoodsEvent]:
    """Return at most so many events, each kind as often as its weight says."""
    drawn = random.Random(seed)
    kinds = drawn.choices(list(weights), list(weights.values()), k=drawn.randint(4, length))
    return [draw(drawn, number, kind) for number, kind in enumerate(kinds)]


def draw_release(drawn: random.Random, number: int, kind: str) -> GoodsEvent:
    """Return an event of `ReleaseRun`."""
    items = tuple(sorted(drawn.sample(sorted(ITEMS.values()), drawn.choice((1, 1, 2, 3)))))
    wanted = tuple((item, drawn.choice(_PARTS)) for item in items)
    more: dict[str, tuple[Any, ...]] = {
        "take": (number, wanted),
        "change": (drawn.randint(0, 5), wanted),
        "give": (drawn.randint(0, 5),),
        "say": (drawn.choice(AGENCIES), number, drawn.choice(_CODES), drawn.randint(-9, 9)),
        "again": (drawn.randint(0, 5),),
        "parent": (drawn.choice(("Amend", "Withdraw")),),
        "tick": (drawn.choice((0, 1, 5)),),
    }
    return (kind, *more[kind])


def draw_results(seed: int, length: int = 16) -> list[GoodsEvent]:
    """Return the events of a run of `ResultRun`."""
    return draw_events(seed, length, _STATING, draw_result)


def draw_result(drawn: random.Random, number: int, kind: str) -> GoodsEvent:
    """Return an event of `ResultRun`."""
    lines = [(item, drawn.choice("XY"), drawn.choice(("20", "40", "60.5"))) for item in (1, 2)]
    more: dict[str, tuple[Any, ...]] = {
        "declare": (number, *drawn.choice((lines[:1], lines[1:], lines))),
        "say": (
            drawn.choice("XY"),
            number,
            drawn.choice((None, "50", "100", "100.5", "160")),
            drawn.randint(-9, 9),
        ),
        "again": (drawn.randint(0, 5),),
        "withdraw": (drawn.randint(0, 5),),
        "tick": (drawn.choice((0, 1, 5)),),
    }
    return (kind, *more[kind])


class GoodsRun:
    """A story, and the cases of it by their references."""

    def __init__(self, story: Story, name: str) -> None:
        self.story, self.name = story, name
        self.cases: dict[str, int] = {}
        self.said: list[Callable[[], object]] = []
        self.sent: list[UserMessage] = []

    def run(self, events: Sequence[GoodsEvent]) -> None:
        """Let the events happen, and compare after each of them that all is as the model says."""
        for event in events:
            try:
                getattr(self, f"_do_{event[0]}")(*event[1:])
            except AssertionError as failed:
                raise AssertionError(f"at {event}: {failed}") from failed
        for _ in range(3):
            self.story.tick(minutes=2)
        self.check()

    def check(self) -> None:
        """Compare with the model."""
        raise NotImplementedError

    def _do_tick(self, minutes: int) -> None:
        self.story.tick(minutes=minutes)

    def _do_again(self, which: int) -> None:
        if self.said:
            self.said[which % len(self.said)]()

    def _call(self, agency: str, said: AgencyCallback) -> None:
        self.said.append(lambda: apply_call_back(self.story.hub, agency, said))
        self.said[-1]()

    def _file(self, change: Change, action: str = "Submit", *, attach: bool = False) -> set[str]:
        """Send a submission; return the problems for which it is refused."""
        newest = self._find_newest()
        self.sent.append(self.story.submit(self.story.submission(change), action=action, attach=attach))
        self._work()
        row = self.story.case()
        if row.id == newest or row.state != "REFUSED":
            return set()
        return {one["id"] for one in (row.detail or {})["problems"]}

    def _work(self) -> None:
        """Let the workers do what is due."""
        self.story.tick(seconds=1)

    def _find_newest(self) -> int:
        with read_transaction(self.story.house.engine) as conn:
            return max((int(row.id) for row in cases.list_cases(conn, limit=1)), default=0)

    def _report(self, case: int) -> dict[str, Any]:
        with read_transaction(self.story.house.engine) as conn:
            row = cases.find_by_id(conn, case)
            assert row is not None
            return read_case_report(conn, row)

    def _check_case(self, name: str, outcome: str, decisions: dict[int, str]) -> None:
        """Compare one case, and the last Result of it, with what it must be."""
        found = self._report(self.cases[name])
        assert found["outcome"] == outcome, f"{name}: {found['outcome']}, not {outcome}"
        assert found["state"] == "CLOSED", f"{name} is {found['state']}"
        last = self._read_last_result(found["number"])
        told = {int(one.get("item", "0")): one.get("decision") for one in last.findall("{*}Decision")}
        assert told == decisions, f"{name} was told {told}, not {decisions}"
        assert last.findtext("{*}Outcome") == outcome

    def _read_last_result(self, number: str) -> etree._Element:
        results = [
            root
            for root in (parse_xml(unit.payloads[0].content) for unit in self.story.inbox.got)
            if root.tag.endswith("}Result") and root.findtext("{*}CaseNumber") == number
        ]
        return results[-1]


class ReleaseRun(GoodsRun):
    """A decided case, its children, and the model of them."""

    def __init__(self, story: Story, name: str) -> None:
        super().__init__(story, name)
        root = story.submission(reference(name))
        self.model = self._make_model(read_whole(root))
        story.submit(root)
        story.tick(seconds=1)
        parent = story.case()
        self.cases[name], self.number = int(parent.id), str(parent.number)
        with read_transaction(story.house.engine) as conn:
            asked = agency_requests.list_by_case(conn, parent.id)
        self.requests = {row.agency: row.number for row in asked}
        for agency in AGENCIES:
            self._do_say(agency, 900, "APPROVED", -10)
        story.tick(seconds=1)

    def _make_model(self, whole: dict[int, Amounts]) -> ParentModel:
        return ParentModel(whole)

    def _do_say(self, agency: str, number: int, code: str, minute: int) -> None:
        item, at = ITEMS[agency], self.story.clock() + timedelta(seconds=30 * minute)
        notice = f"{self.name}-{agency}-{number:03}"
        conditions = ("keep dry",) if code == "APPROVED_WITH_CONDITIONS" else ()
        one = Decision(item, LAWS[agency], DecisionCode(code), f"P-{notice}", conditions=conditions)
        said = Notice(notice, at, _STATUS.get(code, "R01"), (one,))
        self.model.say(item, (at, notice), code)
        self._call(agency, AgencyCallback(said, self.requests[agency]))

    def _make_wanted(self, wanted: Sequence[tuple[int, int]]) -> dict[int, Amounts]:
        return {
            item: tuple((one * part / 4).quantize(one) for one in self.model.whole[item])
            for item, part in wanted
        }

    def _make_child(self, name: str, wanted: dict[int, Amounts]) -> Change:
        return child(
            name, self.number, *((item, f"{net:f}", f"{pieces:f}") for item, (net, pieces) in wanted.items())
        )

    def _do_take(self, number: int, wanted: Sequence[tuple[int, int]]) -> None:
        name, taken = f"{self.name}-C{number}", self._make_wanted(wanted)
        expected = self.model.take(name, taken)
        found = self._file(self._make_child(name, taken))
        assert found == expected, f"{name} has {found}, not {expected}"
        if not found:
            self.cases[name] = int(self.story.case().id)

    def _choose_child(self, which: int) -> str | None:
        names = sorted(self.model.children)
        return names[which % len(names)] if names else None

    def _do_change(self, which: int, wanted: Sequence[tuple[int, int]]) -> None:
        name = self._choose_child(which)
        if name is None:
            return
        taken = self._make_wanted(wanted)
        expected = self.model.change(name, taken)
        found = self._file(all_of(self._make_child(name, taken), amendment()), "Amend")
        assert found == expected, f"the amendment of {name} has {found}, not {expected}"

    def _do_give(self, which: int) -> None:
        name = self._choose_child(which)
        if name is None:
            return
        assert self._file(all_of(withdrawal, reference(name)), "Withdraw") == set()
        del self.model.children[name]
        assert self._report(self.cases.pop(name))["state"] == "WITHDRAWN"

    def _do_parent(self, action: str) -> None:
        """The parent of what has left is not amended, and not withdrawn."""
        if self.model.children:
            change = withdrawal if action == "Withdraw" else amendment()
            found = self._file(all_of(change, reference(self.name)), action, attach=action == "Amend")
            assert found == {"GW407"}, f"{action} of the parent has {found}"

    def check(self) -> None:
        """Compare what stays, and what the parent and each child were told."""
        model = self.model
        found: dict[int, list[str]] = {}
        for one in self._report(self.cases[self.name])["stays"]:
            found.setdefault(one["item"], []).append(one["quantity"])
        for item in found:
            left = model.get_left(item)
            assert sorted(map(Decimal, found[item])) == sorted(left), (
                f"{found[item]} stay of {item}, not {left}"
            )
            assert all(one >= 0 for one in left)
        assert all(item in found for taken in model.children.values() for item in taken)
        self._check_case(self.name, model.get_outcome(), model.decisions)
        for name, taken in model.children.items():
            told = {item: model.decisions[item] for item in taken if item in model.decisions}
            self._check_case(name, model.get_outcome(name), told)


def read_whole(root: etree._Element) -> dict[int, Amounts]:
    """Return what each item of a submission has of each measure."""
    return {_read_number(one): _read_amounts(one) for one in root.findall(_GOODS)}


def _read_number(goods: etree._Element) -> int:
    return int(goods.findtext("{*}SequenceNumeric") or 0)


def _read_amounts(goods: etree._Element) -> Amounts:
    measures = goods.find("{*}Commodity/{*}GoodsMeasure")
    assert measures is not None
    return tuple(Decimal(measures.findtext(f"{{*}}{name}") or "") for name in _MEASURES)


class ResultRun(GoodsRun):
    """Certificates of an agency, the declarations that name them, and the model of both."""

    AGENCY: Final = "KFDA"

    def __init__(self, story: Story, name: str) -> None:
        super().__init__(story, name)
        self.model = LedgerModel({self._number(one): CertificateModel() for one in "XY"})

    def _number(self, mark: str) -> str:
        return f"{self.name}-{mark}"

    def _do_say(self, mark: str, number: int, quantity: str | None, minute: int) -> None:
        self.say(self.AGENCY, mark, number, quantity, minute)
        self.story.tick(seconds=1)

    def say(self, agency: str, mark: str, number: int, quantity: str | None, minute: int) -> None:
        """Let an agency approve a quantity under a number of its own, or reject it."""
        at: datetime = self.story.clock() + timedelta(seconds=30 * minute)
        code = DecisionCode.REJECTED if quantity is None else DecisionCode.APPROVED
        amount = None if quantity is None else Decimal(quantity)
        unit = None if quantity is None else "KGM"
        one = Decision(1, LAWS[agency], code, self._number(mark), quantity=amount, unit=unit)
        notice = Notice(f"{self.name}-{number:03}", at, _STATUS.get(code.value, "R01"), (one,))
        self._call(agency, AgencyCallback(notice, requirement_number=self._number(mark)))
        self.model.say(self._number(mark), (at, notice.number), amount)

    def _do_declare(self, number: int, *lines: tuple[int, str, str]) -> None:
        name = f"{self.name}-D{number}"
        uses = {item: (self._number(mark), Decimal(quantity)) for item, mark, quantity in lines}
        expected = self.model.declare(name, uses)
        change = using(
            name, *((item, used, f"{quantity:f}", "KGM") for item, (used, quantity) in uses.items())
        )
        found = self._file(change)
        assert found == expected, f"{name} has {found}, not {expected}"
        if not found:
            self.cases[name] = int(self.story.case().id)

    def count_items(self, name: str) -> int:
        """Return how many items a declaration has."""
        return 3

    def _do_withdraw(self, which: int) -> None:
        names = sorted(self.model.cases)
        if not names:
            return
        name = names[which % len(names)]
        assert self._file(all_of(withdrawal, reference(name)), "Withdraw") == set()
        self.model.withdraw(name)
        self.story.tick(seconds=1)
        assert self._report(self.cases.pop(name))["state"] == "WITHDRAWN"

    def check(self) -> None:
        """Compare what is used of each certificate, who waits, and what each declaration was told."""
        with read_transaction(self.story.house.engine) as conn:
            rows = requirement_quantities.find_requirements(conn, list(self.model.certificates))
            waits = {
                name: len(requirement_results.list_awaited_uses(conn, case))
                for name, case in self.cases.items()
            }
        used = {row.number: Decimal(row.used.get("KGM", 0)) for row in rows}
        for number in self.model.certificates:
            wanted = self.model.get_used(number)
            assert used.get(number, Decimal(0)) == wanted, (
                f"{used.get(number)} of {number} used, not {wanted}"
            )
        for name, uses in self.model.cases.items():
            assert waits[name] == sum(not one.joined for one in uses.values()), (
                f"{name} waits for {waits[name]}"
            )
            self._check_case(
                name, self.model.get_outcome(name, self.count_items(name)), self.model.get_decisions(name)
            )
            self._check_warnings(name)
            self._check_customs(name)

    def _check_warnings(self, name: str) -> None:
        """Compare what the last Result of a declaration says of the numbers that it waits for."""
        last = self._read_last_result(self._report(self.cases[name])["number"])
        found = [one.get("id", "") for one in last.findall("{*}Warning")]
        told, wanted = sorted(one for one in found if one in ("GW411", "GW413")), self.model.list_warned(name)
        assert told == wanted, f"{name} was warned of {told}, not {wanted}"

    def _check_customs(self, name: str) -> None:
        """Compare what customs heard last of a declaration with what is written off for it."""
        number, wanted = self._report(self.cases[name])["number"], self.model.get_told(name)
        heard = [
            call
            for call in self.story.soap.calls
            if call.destination == "customs"
            and call.text("CaseNumber") == number
            and call.operation == "ReportRequirements"
        ]
        if not heard or heard[-1].text("PendingCode") == "18":
            assert not wanted, f"customs heard nothing of {wanted} of {name}"
            return
        assert self.model.get_outcome(name, self.count_items(name)) != "REJECTED"
        told = {}
        for one in heard[-1].body.iter("{*}Requirement"):
            named = one.findtext("{*}number"), one.findtext("{*}unit")
            said = one.findtext("{*}quantity")
            item = int(one.findtext("{*}item") or 0)
            assert item not in told, f"customs heard twice of item {item} of {name}"
            assert (said is None) == (named[1] is None), f"{named} of {name}"
            told[item] = None if named[0] is None else (named[0], None if said is None else Decimal(said))
        assert told == wanted, f"customs heard {told} of {name}, not {wanted}"
