"""Drawn runs of one case on a real hub: events in any order, with losses and repeats, and what must follow.

A run is a list of events, drawn from a seed (`draw_run`). `CaseRun` lets them happen, tells the second
model (`tests.kit.case_oracle`) what could be seen from outside, and compares. `find_shortest` takes
events away from a run that fails as long as it fails.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

from sqlalchemy import Connection

from gateway.cases import AgencyAcknowledgment, AgencyCallback, Decision, DecisionCode, Notice
from gateway.errors import REFUSED_FOR_GOOD, GatewayError
from gateway.hub import apply_call_back
from gateway.hub.completion import operator_actions
from gateway.state_machines import CASE
from gateway.store import (
    agency_requests,
    cases,
    deliveries,
    lanes,
    notices,
    read_transaction,
    write_transaction,
)
from gateway.wire import parse_xml
from tests.flows.craft import all_of, because, reference, text, withdrawal, without
from tests.flows.item_changes import add_item, new_application, remove_item
from tests.kit.case_oracle import ApplicationModel, CaseModel
from tests.kit.claims import claim_deliveries
from tests.kit.story import AGENCIES, ITEMS, LAWS, Call, Story, unreachable

__all__ = ["CaseRun", "Event", "draw_late_run", "draw_run", "find_shortest"]

#: What happens: its name, and words that say to whom and which.
Event = tuple[Any, ...]
_KINDS: Final = {
    "SubmitApplication": "submit", "SubmitSupplement": "supplement", "CancelApplication": "cancel",
}  # fmt: skip
#: What the declarant may change in an application, by its agency: no other request changes by it.
_CHANGES: Final = {
    "KPTA": "Fields/ImporterRemarks",
    "KFDA": "Fields/Item/ProductNameKo",
    "NPQS": "Fields/Item/PlaceOfProduction",
}
#: The applications that a run may add, in the order in which it does.
_ADDED: Final = ("added-1", "added-2")
_ASKING: Final = ("D01", "C04", "Y01")
#: The number of a notice of the hub about a fee: that of the application, and the place of the fee.
_FEE_STEP: Final = re.compile(r"^A[0-9A-Z]+-F[0-9]{2}")
_DECIDING: Final = {
    "APPROVED": "R01", "REJECTED": "R04", "APPROVED_WITH_CONDITIONS": "R01", "NOT_CONCERNED": "R01",
}  # fmt: skip
_DRAWN: Final[dict[str, int]] = {
    "work": 12, "tick": 6, "decide": 8, "ask": 3, "acknowledge": 2, "early": 2, "again": 5, "lose": 4,
    "refuse": 2, "amend": 3, "withdraw": 2, "supplement": 2, "cancels": 4, "itself": 1,
    "requeue": 2, "drop": 1, "hold": 1, "release": 2, "repost": 1, "remove": 1, "add": 2,
}  # fmt: skip


#: What may happen to a declaration that is withdrawn: agencies decide all the same.
_DRAWN_LATE: Final[dict[str, int]] = {
    "work": 6, "tick": 6, "decide": 24, "early": 3, "again": 4, "cancels": 7, "lose": 3, "requeue": 2,
    "drop": 2, "hold": 1, "release": 2, "acknowledge": 1, "ask": 2, "refuse": 1, "withdraw": 1, "amend": 1,
    "itself": 1, "repost": 1,
}  # fmt: skip


def draw_run(seed: int, length: int = 18) -> list[Event]:
    """Return the events of a run; those that cannot happen when it is their turn are left out."""
    return _draw_events(random.Random(seed), _DRAWN, 0, length)


def draw_late_run(seed: int, length: int = 18) -> list[Event]:
    """Return the events of a run whose declaration is withdrawn first, after some agencies have rejected."""
    drawn = random.Random(seed)
    rejecting = drawn.sample(AGENCIES, drawn.randint(1, len(AGENCIES) - 1))
    begun: list[Event] = [("tick", 0), *(("decide", one, 100, "REJECTED", -9) for one in rejecting)]
    begun += [("cancels", one, 101, "G03", True) for one in AGENCIES if one not in rejecting]
    begun += [("withdraw", "KPTA"), ("tick", 1)]
    return begun + _draw_events(drawn, _DRAWN_LATE, 102, length)


def _draw_events(drawn: random.Random, kinds: dict[str, int], first: int, length: int) -> list[Event]:
    names, weights = list(kinds), list(kinds.values())
    return [
        _draw_event(drawn, first + number, drawn.choices(names, weights)[0])
        for number in range(drawn.randint(4, length))
    ]


def _draw_event(drawn: random.Random, number: int, kind: str) -> Event:
    agency = drawn.choice([*AGENCIES, *AGENCIES, *_ADDED])
    more: dict[str, Callable[[], tuple[Any, ...]]] = {
        "work": lambda: (drawn.choice([deliveries.LOCAL, "soap:customs", *AGENCIES, *AGENCIES]),),
        "tick": lambda: (drawn.choice([0, 1, 5]),),
        "decide": lambda: (agency, number, drawn.choice(list(_DECIDING)), drawn.randint(-9, 9)),
        "early": lambda: (agency, number, drawn.choice(list(_DECIDING)), drawn.randint(-9, 9)),
        "ask": lambda: (agency, number, drawn.choice(_ASKING), drawn.randint(-9, 9)),
        "again": lambda: (drawn.randint(0, 9),),
        "lose": lambda: (agency, drawn.choice([True, False]), drawn.choice([1, 1, 5])),
        "amend": lambda: (drawn.choice([*AGENCIES, *_ADDED, None]), number),
        "add": lambda: (drawn.choice(["KPTA", "NPQS"]),),
        "cancels": lambda: (agency, number, drawn.choice(["G03", "G04"]), drawn.choice([True, False])),
        "itself": lambda: (agency, number),
    }
    words = more.get(kind, lambda: (agency,))()
    return (kind, *words)


def find_shortest(events: Sequence[Event], fails: Callable[[Sequence[Event]], bool]) -> list[Event]:
    """Return a part of `events` that fails as well, and of which no single event can be left out."""
    left, tried = list(events), 0
    while tried < len(left):
        shorter = [*left[:tried], *left[tried + 1 :]]
        if fails(shorter):
            left, tried = shorter, 0
        else:
            tried += 1
    return left


@dataclass
class _Laid:
    """What an agency answers to its next call; `heard` says whether it knows of the call."""

    answer: Any
    heard: bool = True


@dataclass(frozen=True)
class _Place:
    """Where an application stands: its agency, its one item, and its id in the submission."""

    agency: str
    item: int

    @property
    def id(self) -> str:
        return f"A{self.item}"

    @property
    def path(self) -> str:
        return f"Application[@id='{self.id}']"

    @property
    def change(self) -> str:
        """Return the path of what the declarant may change."""
        return f"{self.path}/{_CHANGES[self.agency]}"


class CaseRun:
    """One case of a story, the model of it, and what its partners have said so far.

    An application has the name of its agency. What the declarant adds has a name of its own.
    """

    def __init__(self, story: Story, name: str) -> None:
        self.story, self.name = story, name
        self.model = CaseModel({agency: ApplicationModel() for agency in AGENCIES})
        self.places = {agency: _Place(agency, ITEMS[agency]) for agency in AGENCIES}
        self.numbers: dict[str, str] = {}
        self.laid: dict[str, list[_Laid]] = {name: [] for name in (*AGENCIES, *_ADDED)}
        self.said: list[tuple[str, Notice]] = []
        self.known: set[str] = set()
        self.told: set[str] = set()
        self.left_out: set[str] = set()
        self.values: dict[str, str] = {}
        story.soap.answers.clear()
        story.soap.broken.clear()
        for agency in AGENCIES:
            self._do_release(agency)
        for agency in AGENCIES:
            story.soap.answers[agency] = _Endless(partial(self._answer, agency))
        self.sent = story.submit(story.submission(reference(name)))
        self._admit()
        self.case = self.newest = int(story.case().id)
        self.refusal = ""

    def run(self, events: Sequence[Event]) -> None:
        """Let the events happen, then all that is owed, and compare the end with the model."""
        for event in events:
            if any(word in _ADDED and word not in self.places for word in event):
                continue
            try:
                getattr(self, f"_do_{event[0]}")(*event[1:])
                self._compare()
            except (AssertionError, GatewayError) as failed:
                raise AssertionError(f"at {event}: {failed}") from failed
        self._complete()
        self._compare()
        self._check_end()

    # What the hub does.

    def _work(self, lane: str) -> int:
        """Let a worker do one delivery of a lane."""
        story, now = self.story, self.story.clock()
        with write_transaction(story.house.engine, "delivery.claim") as conn:
            leases = claim_deliveries(conn, lane, "w1", now, now + timedelta(seconds=60))
        for lease in leases:
            story.worker._run_attempt(lease)
        assert story.inbox.broken + story.soap.broken == []
        return len(leases)

    def _admit(self) -> None:
        while self._work(deliveries.LOCAL):
            pass

    def _do_work(self, lane: str) -> None:
        self._work(lane)

    def _do_tick(self, minutes: int) -> None:
        self.story.tick(minutes=minutes)

    # What agencies answer, and say of themselves.

    def _answer(self, _agency: str, call: Call) -> Any:
        number = call.text("ApplicationNumber") or ""
        name = self._find_name(number)
        if name is None:
            return AgencyAcknowledgment(f"R-{number}")  # of an earlier run
        self.numbers[name] = number
        kind = self._kind_of(name, call)
        laid = self.laid[name].pop(0) if self.laid[name] else _Laid(AgencyAcknowledgment(f"R-{number}"))
        self.model.call(name, kind)
        answer = laid.answer(kind) if callable(laid.answer) else laid.answer
        if isinstance(answer, GatewayError):
            refused = answer.problem is REFUSED_FOR_GOOD and call.operation == "SubmitApplication"
            self.model.fail(name, kind, refused=refused)
            raise answer
        if isinstance(answer, Notice):
            self._heard(name, answer)
        self.model.answer(name, acknowledged=isinstance(answer, AgencyAcknowledgment))
        return answer

    def _find_name(self, number: str) -> str | None:
        """Return the name of an application of this run."""
        with read_transaction(self.story.house.engine) as conn:
            asked = agency_requests.list_by_case(conn, self.case)
        known = {row.number: row.application for row in asked}
        return next((name for name, one in self.places.items() if one.id == known.get(number)), None)

    def _kind_of(self, name: str, call: Call) -> str:
        kind = _KINDS[call.operation]
        waiting = self.model.applications[name].waiting
        return next(one for one in waiting if one == kind or (kind != "cancel" and one == "amend"))

    def _do_lose(self, agency: str, heard: bool, times: int) -> None:
        self.laid[agency] += [_Laid(unreachable(), heard) for _ in range(times)]

    def _do_refuse(self, agency: str) -> None:
        self.laid[agency].append(_Laid(GatewayError(REFUSED_FOR_GOOD, "unknown document")))

    def _notice(self, agency: str, number: int, status: str, code: str | None, minute: int) -> Notice:
        place = self.places[agency]
        law = LAWS[place.agency]
        said = () if code is None else (Decision(place.item, law, DecisionCode(code), "P"),)
        at = self.story.clock() + timedelta(seconds=30 * minute)
        return Notice(f"{self.name}-{agency}-{number:03}", at, status, said)

    def _do_decide(self, agency: str, number: int, code: str, minute: int) -> None:
        self._say(agency, self._notice(agency, number, _DECIDING[code], code, minute))

    def _do_ask(self, agency: str, number: int, status: str, minute: int) -> None:
        self._say(agency, self._notice(agency, number, status, None, minute))

    def _do_itself(self, agency: str, number: int) -> None:
        self._say(agency, self._notice(agency, number, "G01", None, 0))

    def _do_cancels(self, agency: str, number: int, status: str, at_once: bool) -> None:
        """Answer the question whether the agency cancels: to the call itself, or in a call of its own."""
        notice = self._notice(agency, number, status, None, 0)
        if at_once:
            self.laid[agency].append(
                _Laid(lambda kind: notice if kind == "cancel" else AgencyAcknowledgment(f"R-{agency}"))
            )
        elif self.model.applications[agency].is_asked and self.model.applications[agency].question_heard:
            self._say(agency, notice)

    def _do_early(self, agency: str, number: int, code: str, minute: int) -> None:
        """Decide in a call that comes before the answer to the hub's own call."""

        def say_first(kind: str) -> Any:
            self._say(agency, self._notice(agency, number, _DECIDING[code], code, minute))
            return AgencyAcknowledgment(f"R-{agency}")

        self.laid[agency].append(_Laid(say_first))

    def _do_acknowledge(self, agency: str) -> None:
        if agency in self.numbers:
            self._call_back(agency, AgencyAcknowledgment(f"R-{self.numbers[agency]}"))
            self.model.applications[agency].spoken = True

    def _do_again(self, which: int) -> None:
        if self.said:
            self._say(*self.said[which % len(self.said)])

    def _say(self, agency: str, notice: Notice) -> None:
        """Let an agency that knows its application call; what the hub answers must be what the model says."""
        if agency not in self.numbers:
            return
        known = notice.number in self.known
        wanted = self._heard(agency, notice)
        found = None
        try:
            self._call_back(agency, notice)
        except GatewayError as error:
            found = error.problem.id
        assert found == wanted, f"{notice.number} ({notice.status_code}): {found}, not {wanted}"
        assert known or (notice.number in self.known) == (found is None)

    def _heard(self, agency: str, notice: Notice) -> str | None:
        rank: tuple[datetime, str] = (notice.issued_at, notice.number)
        code = notice.decisions[0].decision.value if notice.decisions else None
        self.said.append((agency, notice))
        one = self.model.applications[agency]
        if notice.number in self.known:
            return "GW703" if one.cancelled and code is not None else None
        problem = self.model.notice(agency, rank, notice.status_code, code)
        if problem is None:
            self.known.add(notice.number)
        return problem

    def _call_back(self, agency: str, answer: Any) -> None:
        caller = self.places[agency].agency
        apply_call_back(self.story.hub, caller, AgencyCallback(answer, self.numbers[agency]))

    # What the declarant sends.

    def _turn(self, action: str, *changes: Any) -> bool:
        """Send a turn of the case and let it be admitted; return whether it was accepted."""
        gone = [f"Application[@id='{one}']" for one in sorted(self.left_out)]
        more = [
            change
            for one in self.places.values()
            if one.item > len(AGENCIES)
            for change in (
                add_item(one.item, ITEMS[one.agency], f"Goods {one.item}"),
                new_application(one.id, one.item, f"A{ITEMS[one.agency]}"),
            )
        ]
        left = [*more, *(without(path) for path in gone)]
        # An application that is left out takes with it what was changed in it.
        said = {path: value for path, value in self.values.items() if not path.startswith(tuple(gone))}
        values = [text(path, value) for path, value in said.items()]
        values += [remove_item(self.places[name].item) for name in self._removed()]
        kept = [] if action == "Withdraw" else [*left, *values]
        root = self.story.submission(all_of(reference(self.name), *kept, *changes))
        attach = root.find("{*}Application/{*}Attachment") is not None
        self.sent = self.story.submit(root, action=action, attach=attach)
        self._admit()
        newest = self.story.case()
        self.refusal = str((newest.detail or {}).get("problems")) if newest.id > self.newest else ""
        self.newest = int(newest.id)
        return not self.refusal

    def _do_amend(self, agency: str | None, number: int) -> None:
        before = dict(self.values)
        self._leave_out()
        if agency in self._cancelled() | self._removed():
            return
        if agency is not None:
            self.values[self.places[agency].change] = f"다른 이름 {number}"
        wanted = self.model.may_amend() and len(self.left_out) < len(self.places)
        overtaken = ["amend", "supplement"] if agency and self._has_failed(agency) else []
        words = (text("Function", "13"), lambda root: because(root, "17", "A name was wrong."))
        found = self._turn("Amend", *words)
        if not found:
            self.values = before
        assert found == wanted, f"amendment accepted: {found} {self.refusal}"
        if found:
            self.model.amend(agency, overtaken)

    def _do_remove(self, agency: str) -> None:
        """Amend the declaration without the item of an agency, and without its application."""
        gone = self._removed() | self._cancelled() | {agency}
        if agency in self._removed() or len(gone) == len(self.places):
            return
        wanted = self.model.may_amend()
        self._leave_out()
        self.left_out.add(self.places[agency].id)
        words = (text("Function", "13"), lambda root: because(root, "17", "It does not come."))
        found = self._turn("Amend", remove_item(self.places[agency].item), *words)
        assert found == wanted, f"removal accepted: {found} {self.refusal}"
        if found:
            self.model.remove(agency)

    def _do_add(self, agency: str) -> None:
        """Amend the declaration with another item, and an application for it to an agency that has one."""
        if len(self.places) == len(AGENCIES) + len(_ADDED):
            return
        wanted = self.model.may_amend()
        name = _ADDED[len(self.places) - len(AGENCIES)]
        self.places[name] = _Place(agency, len(self.places) + 1)
        self._leave_out()
        found = self._turn("Amend", text("Function", "13"), lambda root: because(root, "17", "More comes."))
        assert found == wanted, f"addition accepted: {found} {self.refusal}"
        if found:
            self.model.add(name)
        else:
            del self.places[name]

    def _removed(self) -> set[str]:
        return {name for name, one in self.model.applications.items() if one.removed}

    def _cancelled(self) -> set[str]:
        return {name for name, one in self.model.applications.items() if one.cancelled}

    def _leave_out(self) -> None:
        self.left_out = {self.places[name].id for name in self._cancelled() | self._removed()}

    def _do_withdraw(self, _agency: str = "") -> None:
        wanted = self.model.may_withdraw()
        found = self._turn("Withdraw", withdrawal)
        assert found == wanted, f"withdrawal accepted: {found} {self.refusal}"
        if found:
            self.model.withdraw()

    def _do_supplement(self, agency: str) -> None:
        wanted = self.model.may_supplement(agency)
        others = [without(place.path) for one, place in self.places.items() if one != agency]
        self.left_out.clear()
        mine = self.places[agency].change
        kept, self.values = self.values, {path: said for path, said in self.values.items() if path == mine}
        found = self._turn("Supplement", text("Function", "35"), *others)
        self.values = kept
        assert found == wanted, f"supplement accepted: {found} {self.refusal}"
        if found:
            self.model.supplement(agency)

    def _do_repost(self, _agency: str) -> None:
        """Send the last message again, as a broker does whose receipt was lost."""
        self._admit()
        before = self.story.steps(CASE, self.case)
        answer = self.story.house.post(self.story.broker.seal(self.sent))
        assert answer.status == 200
        self._admit()
        assert self.story.steps(CASE, self.case) == before
        assert self.story.case().id == self.newest

    # What operators do.

    def _failed(self, *names: str) -> list[Any]:
        rows = self.story.deliveries(case_id=self.case, state="FAILED")
        return [row for row in rows if not names or self._name_of(row) in names]

    def _name_of(self, delivery: Any) -> str | None:
        """Return the name of the application that a delivery is about."""
        if delivery.subject_type != "request":
            return None
        with read_transaction(self.story.house.engine) as conn:
            row = agency_requests.find_by_id(conn, int(delivery.subject_id))
        return None if row is None else self._find_name(row.number)

    def _has_failed(self, name: str) -> bool:
        """Return whether a supplement or an amendment of an application has failed."""
        kinds = ("amend:", "supplement:")
        return any(row.dedupe_key.startswith(kinds) for row in self._failed(name))

    def _do_requeue(self, _agency: str = "") -> None:
        for row in self._failed():
            self.story.operate(operator_actions.requeue_delivery, row.id)
            name = self._name_of(row)
            if name is not None and row.parameters.get("operation") == "SubmitApplication":
                self.model.applications[name].refused = False

    def _do_drop(self, agency: str) -> None:
        """Give up a question whether an agency cancels, or an amended application."""
        for row in self._failed(agency):
            amends = row.dedupe_key.startswith("amend:")
            if amends or row.parameters.get("operation") == "CancelApplication":
                self.story.operate(operator_actions.cancel_delivery, row.id)
                self.model.drop(agency, "amend" if amends else "cancel")

    def _do_hold(self, name: str) -> None:
        agency = self.places[name].agency
        with write_transaction(self.story.house.engine) as conn:
            if agency not in _list_held(conn):
                operator_actions.hold_lane(conn, agency, self.story.clock(), "operator", "under repair")

    def _do_release(self, name: str) -> None:
        agency = self.places[name].agency
        with write_transaction(self.story.house.engine) as conn:
            if agency in _list_held(conn):
                operator_actions.release_lane(conn, agency, self.story.clock(), "operator")

    # The end.

    def _complete(self) -> None:
        """Let everybody do what is owed: calls arrive, every agency answers and decides."""
        for name in self.places:
            self.laid[name].clear()
            self._do_release(name)
        for turn in range(6):
            self._do_requeue()
            for _ in range(3):
                self.story.tick(minutes=30)
            for position, agency in enumerate(self.places):
                one = self.model.applications[agency]
                if one.is_asked:
                    self._do_cancels(agency, 900 + turn, "G03" if (turn + position) % 2 else "G04", False)
                elif one.decision is None and not one.cancelled and not one.removed:
                    self._do_decide(agency, 950 + turn, "APPROVED", turn)
            self.story.tick()

    def _compare(self) -> None:
        """Compare what the hub holds of the case with the model."""
        with read_transaction(self.story.house.engine) as conn:
            row = cases.find_by_id(conn, self.case)
            asked = agency_requests.list_by_case(conn, self.case)
        assert row is not None
        assert row.outcome == self.model.outcome, f"outcome {row.outcome}, not {self.model.outcome}"
        ended = "WITHDRAWN" if self.model.withdrawn else None
        assert (row.state == "WITHDRAWN") == (ended is not None), row.state
        assert len(asked) == len(self.places)
        for one in asked:
            name = next(name for name, place in self.places.items() if place.id == one.application)
            model = self.model.applications[name]
            assert (one.state == "CANCELLED") == model.cancelled, f"{name} is {one.state}"
            decided = model.closed and not model.cancelled if model.removed else model.decision is not None
            assert (one.state == "DECIDED") == decided, f"{name} is {one.state}, {model.decision}"
            asked_now = one.cancellation == "ASKED" and one.state != "CANCELLED"
            assert asked_now == model.is_asked, f"{name} is asked: {one.cancellation}, not {model.question}"

    def _check_end(self) -> None:
        """The case has ended, the last Result says so, and nothing that was stated is gone."""
        story = self.story
        with read_transaction(story.house.engine) as conn:
            row = cases.find_by_id(conn, self.case)
            asked = agency_requests.list_by_case(conn, self.case)
            kept = {one.number for each in asked for one in notices.list_by_request(conn, each.id)}
        assert row is not None
        assert row.state in ("CLOSED", "WITHDRAWN"), row.state
        assert not [
            one for one in story.deliveries(case_id=self.case) if one.state not in ("DELIVERED", "CANCELLED")
        ]
        assert kept == self.known
        heard = [kind for one in asked for kind in story.evidence("request", one.id)]
        assert heard.count("notice") == len(self.known)
        self._check_applicant()
        self._check_customs(row.number)

    def _check_customs(self, number: str) -> None:
        """What customs was told last is what stands: no approval that was taken back, and none too few."""
        told: set[int] | None = set()
        for call in self.story.soap.calls:
            if call.destination != "customs" or call.text("CaseNumber") != number:
                continue
            if call.operation == "WithdrawDeclaration":
                told = None
            elif call.text("PendingCode") in ("18", "19"):
                told = {int(one.findtext("{*}item")) for one in call.body.findall("{*}Requirement")}
        assert told == (None if self.model.withdrawn else self.model.approved)

    def _check_applicant(self) -> None:
        ours = [root for root in map(_read_message, self.story.inbox.got) if self._is_ours(root)]
        told = [one.findtext(".//{*}NoticeNumber") for one in ours if one.tag.endswith("}Notice")]
        # The hub tells the steps of a fee too, which the model does not know.
        agencies = [one for one in told if one and not _FEE_STEP.search(one)]
        assert sorted(agencies) == sorted(self.known)
        result = [one for one in ours if one.tag.endswith("}Result")][-1]
        assert result.findtext("{*}Outcome") == self.model.outcome
        decided = {
            int(one.get("item", "0")): one.get("decision", "") for one in result.findall("{*}Decision")
        }
        # What is said after the withdrawal and before its Result is made stands in that Result.
        assert decided in (self.model.told if self.model.withdrawn else [self.model.said])
        assert sorted(one.get("id", "") for one in result.findall("{*}Problem")) == self.model.problems

    def _is_ours(self, root: Any) -> bool:
        number = root.findtext("{*}CaseNumber") or root.get("caseNumber")
        with read_transaction(self.story.house.engine) as conn:
            row = cases.find_by_id(conn, self.case)
        return row is not None and number == row.number


class _Endless(list[Any]):
    """Answers every call by the same function."""

    def popleft(self) -> Any:
        return self[0]

    def __init__(self, answer: Callable[[Call], Any]) -> None:
        super().__init__([answer])


def _list_held(conn: Connection) -> set[str]:
    return {row.name for row in lanes.list_held_lanes(conn)}


def _read_message(unit: Any) -> Any:
    return parse_xml(unit.payloads[0].content)
