"""Drawn runs of shared goods under the policy `hold`: what lacks a document is held until it is there.

`HeldReleaseRun`: a case, which may be held itself, and children of it that are filed before or after it is
decided. `HeldResultRun`: declarations whose items need documents, and agencies that approve numbers without
an application. They are filed again by code 35 and 13, withdrawn, and run out of time; messages are repeated,
and the process dies at a commit. After each event the held and the ended cases are compared with the second
model (`tests.kit.hold_oracle`).
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any, Final

from gateway.config import NeedSettings
from gateway.store import agency_requests, cases, read_transaction
from tests.flows.craft import Change, all_of, reference, supplement, text, withdrawal, without
from tests.flows.item_changes import remove_item
from tests.flows.test_amendments import amendment
from tests.flows.test_held_cases import run_and_die
from tests.flows.test_requirement_ledger import using
from tests.kit.goods_oracle import CertificateModel
from tests.kit.goods_turns import (
    GoodsEvent,
    GoodsRun,
    ReleaseRun,
    ResultRun,
    draw_events,
    draw_release,
    read_whole,
)
from tests.kit.hold_oracle import HeldCaseModel, HeldLedgerModel, HeldParentModel, Lines
from tests.kit.kills import die_at
from tests.kit.story import AGENCIES, ITEMS, LAWS, Story

#: A child takes more than is left of its parent, or its parent cannot be used.
_HINDERING = ("GW415", "GW416")

__all__ = ["HeldReleaseRun", "HeldResultRun", "draw_held_releases", "draw_held_results"]

HOLD: Final = NeedSettings(imports="hold", hold_time=timedelta(hours=48))
_PLACES: Final = ("admit.held", "admit.resumed", "hold.told", "hold.looked", "hold.ended", "admit.case")
#: How many quarters of an item a child takes.
_PARTS: Final = (5, 4, 4, 3, 3, 3, 2, 2, 1)
_HOURS: Final = (1, 7, 20)
_RELEASING: Final[dict[str, int]] = {
    "take": 8, "change": 2, "refile": 5, "give": 3, "say": 8, "again": 2, "parent": 2, "file": 5, "pass": 4,
    "intime": 1, "repeat": 2, "die": 2,
}  # fmt: skip
_STATING: Final[dict[str, int]] = {
    "declare": 8, "refile": 6, "say": 8, "again": 2, "withdraw": 4, "pass": 3, "intime": 1, "repeat": 2,
    "die": 2,
}  # fmt: skip
_LACKING: Final = without("Application[@id='A3']")
#: How the parent is filed while it is held: action, change, whether it lacks an application still.
_FILED: Final[dict[str, tuple[str, Change, bool]]] = {
    "whole": ("Supplement", supplement, False),
    "lacking": ("Supplement", all_of(supplement, _LACKING), True),
    "amended": ("Amend", amendment(), False),
    "amended, lacking": ("Amend", amendment(_LACKING), True),
}
#: How a held declaration is filed again; `other` is a supplement that changes it.
_AGAIN: Final = ("same", "same", "changed", "changed", "changed", "other")
#: The agency of each number, and the items that need a document.
_AGENCY_OF: Final = {"X": "NPQS", "Y": "NPQS", "Z": "KFDA"}
_NEEDY: Final = {2: LAWS["KFDA"], 3: LAWS["NPQS"]}
#: The numbers that are drawn for an item; nothing, and that of another law, answer no need.
_MARKS: Final = {2: ("Z", "Z", "Z", "X", None), 3: ("X", "X", "Y", "Y", "Z", None)}


def draw_held_releases(seed: int, length: int = 18) -> list[GoodsEvent]:
    """Return the events of a run of `HeldReleaseRun`."""
    opened = ("open", random.Random(seed).random() < 0.5)
    return [opened, *draw_events(seed, length, _RELEASING, _draw_held_release)]


def _draw_held_release(drawn: random.Random, number: int, kind: str) -> GoodsEvent:
    items = drawn.sample(sorted(ITEMS.values()), drawn.choice((1, 1, 1, 2, 3)))
    wanted = tuple((item, drawn.choice(_PARTS)) for item in sorted(items))
    again = (drawn.randint(0, 5), drawn.choice(_AGAIN), wanted)
    if kind == "take":
        return ("take", number, wanted)
    file = ("file", drawn.choice(list(_FILED)))
    if kind == "intime":
        return ("intime", drawn.choice((("refile", *again), file)))
    return _draw_common(drawn, kind, again) or (file if kind == "file" else draw_release(drawn, number, kind))


def _draw_common(drawn: random.Random, kind: str, again: tuple[Any, ...]) -> GoodsEvent | None:
    more: dict[str, tuple[Any, ...]] = {
        "refile": again,
        "pass": (drawn.choice(_HOURS),),
        "repeat": (drawn.randint(0, 5),),
        "die": (f"{drawn.choice(_PLACES)}.{drawn.choice(('before', 'after'))}_commit",),
    }
    return (kind, *more[kind]) if kind in more else None


def draw_held_results(seed: int, length: int = 18) -> list[GoodsEvent]:
    """Return the events of a run of `HeldResultRun`."""
    return draw_events(seed, length, _STATING, _draw_held_result)


def _draw_held_result(drawn: random.Random, number: int, kind: str) -> GoodsEvent:
    items = drawn.choice(((2,), (3,), (3,), (2, 3)))
    lines = [(item, drawn.choice(_MARKS[item]), drawn.choice(("20", "40", "60.5"))) for item in items]
    again = (drawn.randint(0, 5), drawn.choice(_AGAIN), *lines)
    quantity = drawn.choice((None, "50", "100", "100.5", "160"))
    more: dict[str, tuple[Any, ...]] = {
        "declare": (number, *lines),
        "say": (drawn.choice("XXYZZ"), number, quantity, drawn.randint(-9, 9)),
        "again": (drawn.randint(0, 5),),
        "withdraw": (drawn.randint(0, 5),),
        "intime": (("refile", *again),),
    }
    return _draw_common(drawn, kind, again) or (kind, *more[kind])


class _HoldingRun(GoodsRun):
    """A run under the policy `hold`; `model` is that of its cases."""

    model: HeldParentModel | HeldLedgerModel

    def __init__(self, story: Story, name: str) -> None:
        GoodsRun.__init__(self, story, name)
        story.hub.need_policy = HOLD
        self.fatal = ""
        self.is_late, self.late = False, timedelta()
        #: Cases whose last hold may have ended before its declarant was told of it.
        self.unsure: set[str] = set()

    def run(self, events: Sequence[GoodsEvent]) -> None:
        """Let the events happen, and compare after each of them who is held and who goes on."""
        for event in events:
            try:
                getattr(self, f"_do_{event[0]}")(*event[1:])
                self._settle()
            except AssertionError as failed:
                raise AssertionError(f"at {event}: {failed}") from failed
        self._end()
        self.check()

    def _end(self) -> None:
        """Let all that is held run out of time."""
        for hours in (50, 1):
            self._do_pass(hours)
            self._settle()

    def _work(self) -> None:
        """Let the workers do what is due; the process may die at a commit, and the time of a hold be over."""
        self.story.clock.forward(seconds=self.late.total_seconds())
        self.late = timedelta()
        place, self.fatal = self.fatal, ""
        if place:
            with contextlib.suppress(AssertionError):
                die_at(self.story, place, lambda hub: run_and_die(self.story, hub))
            self.story.tick(minutes=2)
        super()._work()

    def _do_die(self, place: str) -> None:
        self.fatal = place

    def _do_pass(self, hours: int) -> None:
        self.story.clock.forward(hours=hours)

    def _do_repeat(self, which: int) -> None:
        """A message comes again, as it was."""
        if self.sent:
            self.story.house.post(self.story.broker.seal(self.sent[which % len(self.sent)]))

    def _do_intime(self, event: GoodsEvent) -> None:
        """What was received in time counts, also where its hold is over when it is admitted."""
        self.is_late = True
        getattr(self, f"_do_{event[0]}")(*event[1:])
        self.is_late = False
        self.story.tick(minutes=1)

    def _file_held(self, change: Change, action: str, until: datetime, *, attach: bool = False) -> set[str]:
        """File a held declaration again; it may be admitted when its time is over since."""
        late = until + timedelta(minutes=5) - self.story.clock()
        self.late = max(late, timedelta()) if self.is_late else timedelta()
        return self._file(change, action, attach=attach)

    def _note_late(self, name: str) -> None:
        if self.is_late:
            self.unsure.add(name)

    def _read_case(self, name: str) -> Any:
        with read_transaction(self.story.house.engine) as conn:
            return cases.find_by_id(conn, self.cases[name])

    def _settle(self) -> None:
        """Compare who is held, and who went on."""
        self._work()
        self.model.expire(self.story.clock())
        states = {name: self._read_case(name).state for name in self.model.held}
        assert "REFUSED" not in states.values(), f"a hold has ended too early: {states}"
        self.model.resume([name for name, state in states.items() if state != "HELD"])

    def _check_until(self, name: str, filed: datetime) -> datetime:
        """Return until when a case is held, as it says; it was filed at a moment, and admitted since."""
        row = self._read_case(name)
        assert row.state == "HELD", f"{name} is {row.state}, not HELD"
        until = datetime.fromisoformat(row.detail["held"]["until"])
        assert filed <= until - HOLD.hold_time <= self.story.clock(), f"{name} is held until {until}"
        return until

    def _check_ended(self, name: str, state: str) -> None:
        """Compare a case that was refused when its time was over, or withdrawn; it is told of once."""
        row = self._read_case(name)
        assert row.state == state, f"{name} is {row.state}, not {state}"
        if state == "REFUSED":
            problems = [one["id"] for one in row.detail["problems"]]
            # What it lacked, and what kept it from going on when others had brought something.
            assert problems
            assert set(problems) <= {"GW508", *_HINDERING}, problems
            assert self.story.evidence("case", row.id).count("refused") == 1
            told = [one for one in self._list_told("Result", row.number)]
            assert [one.findtext("{*}Outcome") for one in told] == ["REFUSED"]

    def _list_told(self, kind: str, number: str) -> list[Any]:
        return [one for one in self.story.inbox.documents(kind) if one.findtext("{*}CaseNumber") == number]

    def _check_told(self, name: str, times: int) -> None:
        told = self._list_told("Notice", self._read_case(name).number)
        holds = [held for one in told for held in one.findall("{*}Held")]
        lacking = [[(one.get("item"), one.text) for one in held.findall("{*}Missing")] for held in holds]
        # What others bring may change what a held case lacks: that is told, too.
        changes = sum(before != after for before, after in pairwise(lacking))
        least = times - 1 if name in self.unsure else times
        assert least <= len(lacking) <= times + changes, (
            f"{name} was told {len(lacking)} times that it is held, not {times}"
        )

    def _check_holds(self, told: dict[str, int]) -> None:
        assert not self.model.held
        for name, state in self.model.ended.items():
            self._check_ended(name, state)
        for name, times in told.items():
            self._check_told(name, times)
        assert self.story.deliveries(state="FAILED") == []


class HeldReleaseRun(_HoldingRun, ReleaseRun):
    """A case that may be held, its children, which may be held, and the model of them."""

    model: HeldParentModel

    def __init__(self, story: Story, name: str) -> None:
        _HoldingRun.__init__(self, story, name)

    def _do_open(self, lacking: bool) -> None:
        root = self.story.submission(all_of(reference(self.name), *([_LACKING] if lacking else [])))
        self.model = HeldParentModel(read_whole(root))
        filed = self.story.clock()
        self.story.submit(root)
        self._work()
        parent = self.story.case()
        self.cases[self.name], self.number = int(parent.id), str(parent.number)
        if lacking:
            self.model.state = "HELD"
            self.model.parent = HeldCaseModel(None, self._check_until(self.name, filed))
            self.model.told[self.name] = 1
        else:
            self._open()

    def _open(self) -> None:
        self.model.state = "OPEN"
        with read_transaction(self.story.house.engine) as conn:
            asked = agency_requests.list_by_case(conn, self.cases[self.name])
        self.requests = {row.agency: row.number for row in asked}
        assert set(self.requests) == set(AGENCIES), f"{set(self.requests)} are asked"

    def _do_file(self, kind: str) -> None:
        """The parent is filed again while it is held, or when that is over."""
        action, change, lacking = _FILED[kind]
        if self.model.state == "OPEN":
            return
        self._note_late(self.name)
        expected = set() if self.model.state == "HELD" else {"GW407"}
        until = self.model.parent.until if self.model.parent else self.story.clock()
        found = self._file_held(all_of(reference(self.name), change), action, until, attach=True)
        assert found == expected, f"{action} of the parent has {found}, not {expected}"
        if self.model.state == "HELD" and lacking:
            self.model.told[self.name] += 1
        elif self.model.state == "HELD":
            self._open()

    def _do_parent(self, action: str) -> None:
        if self.model.state == "OPEN":
            super()._do_parent(action)
        elif action == "Withdraw":
            expected = set() if self.model.state == "HELD" else {"GW407"}
            found = self._file(all_of(withdrawal, reference(self.name)), action)
            assert found == expected, f"the withdrawal of the parent has {found}, not {expected}"
            if self.model.state == "HELD":
                self.model.withdraw_parent()

    def _do_say(self, agency: str, number: int, code: str, minute: int) -> None:
        if self.model.state == "OPEN":
            super()._do_say(agency, number, code, minute)

    def _do_take(self, number: int, wanted: Sequence[tuple[int, int]]) -> None:
        name, filed = f"{self.name}-C{number}", self.story.clock()
        taken = self._make_wanted(wanted)
        expected = self.model.file(name, taken, filed)
        found = self._file(self._make_child(name, taken))
        assert found == expected, f"{name} has {found}, not {expected}"
        if not found:
            self.cases[name] = int(self.story.case().id)
        if name in self.model.held:
            self.model.held[name].until = self._check_until(name, filed)

    def _do_refile(self, which: int, kind: str, wanted: Sequence[tuple[int, int]]) -> None:
        name = _choose(self.model.held, which)
        if name is None:
            return
        self._note_late(name)
        before, until = self.model.held[name].wanted, self.model.held[name].until
        taken = before if kind == "same" else self._make_wanted(wanted)
        is_other = kind == "other" and taken != before
        expected = {"GW404"} if is_other else self.model.file_again(name, taken)
        change = amendment() if kind == "changed" else supplement
        action = "Amend" if kind == "changed" else "Supplement"
        found = self._file_held(all_of(self._make_child(name, taken), change), action, until)
        assert found == expected, f"{action} of {name} has {found}, not {expected}"

    def _do_give(self, which: int) -> None:
        name = _choose([*self.model.children, *self.model.held], which)
        if name is None:
            return
        assert self._file(all_of(withdrawal, reference(name)), "Withdraw") == set()
        self.model.give(name)
        assert self._read_case(name).state == "WITHDRAWN"

    def _end(self) -> None:
        for agency in AGENCIES:
            if ITEMS[agency] not in self.model.decided:
                self._do_say(agency, 901, "APPROVED", 0)
        self._settle()
        super()._end()

    def check(self) -> None:
        """Compare what stays, what the parent and each child were told, and how each hold ended."""
        if self.model.state == "OPEN":
            super().check()
        else:
            self._check_ended(self.name, self.model.state)
        self._check_holds(self.model.told)


def _choose(names: Iterable[str], which: int) -> str | None:
    known = sorted(names)
    return known[which % len(known)] if known else None


class HeldResultRun(_HoldingRun, ResultRun):
    """Certificates of agencies, the declarations that name them, which may be held, and the model of both."""

    model: HeldLedgerModel

    def __init__(self, story: Story, name: str) -> None:
        _HoldingRun.__init__(self, story, name)
        self.model = HeldLedgerModel(
            {self._number(one): CertificateModel() for one in _AGENCY_OF},
            laws=_NEEDY,
            law_of={self._number(one): LAWS[agency] for one, agency in _AGENCY_OF.items()},
        )

    def _do_say(self, mark: str, number: int, quantity: str | None, minute: int) -> None:
        self.say(_AGENCY_OF[mark], mark, number, quantity, minute)

    def count_items(self, name: str) -> int:
        """Return how many items a declaration has."""
        return len(self.model.cases[name])

    def _make_lines(self, lines: Sequence[tuple[int, str | None, str]]) -> Lines:
        return {
            item: None if mark is None else (self._number(mark), Decimal(quantity))
            for item, mark, quantity in lines
        }

    def _make_declaration(self, name: str, lines: Lines) -> Change:
        used = [(item, one[0], f"{one[1]:f}", "KGM") for item, one in lines.items() if one is not None]
        removed = [remove_item(item) for item in (1, 2, 3) if item not in lines]
        return all_of(using(name, *used), *removed, text(".//GoodsItemQuantity", str(len(lines))))

    def _do_declare(self, number: int, *lines: tuple[int, str | None, str]) -> None:
        name, wanted, filed = f"{self.name}-D{number}", self._make_lines(lines), self.story.clock()
        self.model.file(name, wanted, filed)
        found = self._file(self._make_declaration(name, wanted))
        assert found == set(), f"{name} has {found}"
        self.cases[name] = int(self.story.case().id)
        if name in self.model.held:
            self.model.held[name].until = self._check_until(name, filed)

    def _do_refile(self, which: int, kind: str, *lines: tuple[int, str | None, str]) -> None:
        name = _choose(self.model.held, which)
        if name is None:
            return
        self._note_late(name)
        before, until = self.model.held[name].wanted, self.model.held[name].until
        drawn = self._make_lines(lines)
        wanted = before if kind == "same" else {item: drawn.get(item, before[item]) for item in before}
        expected = {"GW404"} if kind == "other" and wanted != before else set()
        change = amendment() if kind == "changed" else supplement
        action = "Amend" if kind == "changed" else "Supplement"
        if not expected:
            self.model.file(name, wanted, self.story.clock(), again=True)
        found = self._file_held(all_of(self._make_declaration(name, wanted), change), action, until)
        assert found == expected, f"{action} of {name} has {found}, not {expected}"

    def _do_withdraw(self, which: int) -> None:
        name = _choose([*self.model.cases, *self.model.held], which)
        if name is None:
            return
        expected = {"GW407"} if self.model.is_rejected(name) else set()
        found = self._file(all_of(withdrawal, reference(name)), "Withdraw")
        assert found == expected, f"the withdrawal of {name} has {found}, not {expected}"
        if not found:
            self.model.withdraw(name)

    def check(self) -> None:
        """Compare what is used, who waits, what each declaration was told, and how each hold ended."""
        super().check()
        self._check_holds(self.model.told)
