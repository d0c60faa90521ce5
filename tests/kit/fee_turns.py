"""Drawn runs of the fees of one case: levied, paid, confirmed, cancelled, given back, in any order.

Each fee has the number that its agency gives it (`paymentNotice`), so that every notice says which one it
is about; that of the gate before forwarding is the only one of its kind.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine

from gateway.cases import AgencyCallback, Money, NamedFee, Notice, ProviderEvent
from gateway.config import PaymentSettings
from gateway.delivery.agents import PaymentAgent
from gateway.errors import GatewayError
from gateway.hub import apply_call_back
from gateway.hub.completion import operator_actions
from gateway.hub.fees.agency_payment_notes import (
    settle_fee_elsewhere,
    waive_fee,
)
from gateway.hub.fees.payment_events import (
    apply_provider_event,
)
from gateway.hub.fees.payment_policy import PaymentPolicy, Tariff
from gateway.store import agency_requests, cases, deadlines, fees, read_transaction
from tests.flows.craft import Change, all_of, reference, withdrawal
from tests.flows.test_fees import SECRET, Provider
from tests.kit.fee_oracle import FeeModel
from tests.kit.story import AGENCIES, PLAN, Story

__all__ = ["GATE", "FeeEvent", "FeeRun", "draw_fee_event", "draw_fees", "open_fee_story", "serve_fees"]

FeeEvent = tuple[Any, ...]
#: The name of the fee that is due before the application of KPTA is forwarded.
GATE: Final = ""
#: Each fee by its payment notice number: its agency and its amount.
FEES: Final = {
    GATE: ("KPTA", Money(Decimal(30000), "KRW")),
    "K-1": ("KFDA", Money(Decimal(11000), "KRW")),
    "K-2": ("KFDA", Money(Decimal("12.50"), "EUR")),
    "N-1": ("NPQS", Money(Decimal("0.03"), "EUR")),
}
_CODES: Final = {
    "levy": {"application": "Y01", "inspection": "Y05"},
    "cancel": {"application": "Y02", "inspection": "Y06"},
    "confirm": {"application": "Y04", "inspection": "Y08"},
    "refund": {"application": "Y16", "inspection": "Y16"},
}
_DRAWN: Final[dict[str, int]] = {
    "levy": 7, "cancel": 3, "confirm": 3, "refund": 4, "pay": 8, "waive": 1, "settle": 1, "tick": 6,
    "down": 1, "again": 4, "withdraw": 1, "drop": 1, "decide": 1, "keep": 1, "ask": 2,
}  # fmt: skip


def draw_fees(seed: int, length: int = 24) -> list[FeeEvent]:
    """Return the events of a run."""
    drawn = random.Random(seed)
    kinds, weights = list(_DRAWN), list(_DRAWN.values())
    return [
        draw_fee_event(drawn, number, drawn.choices(kinds, weights)[0])
        for number in range(drawn.randint(4, length))
    ]


def draw_fee_event(drawn: random.Random, number: int, kind: str) -> FeeEvent:
    """Return an event of `FeeRun`."""
    name = drawn.choice(list(FEES))
    minute = drawn.randint(-9, 9)
    more: dict[str, Callable[[], tuple[Any, ...]]] = {
        "levy": lambda: (
            *(name, number, minute, drawn.choice([True, False])),
            drawn.choice([None, 0, 5, 20, 600]),
        ),
        "cancel": lambda: (name, number, minute),
        "confirm": lambda: (name, number, minute),
        "refund": lambda: (name, number, drawn.choice([None, None, 1, 2, 3, 9])),
        "pay": lambda: (name, drawn.choice(["a", "a", "b"]), drawn.randint(-9, 0)),
        "waive": lambda: (name,),
        "settle": lambda: (name,),
        "tick": lambda: (drawn.choice([0, 1, 12]),),
        "down": lambda: (drawn.choice([1, 3, 9]),),
        "again": lambda: (drawn.randint(0, 9),),
        "drop": lambda: (drawn.choice(AGENCIES), number),
        "decide": lambda: (drawn.choice(AGENCIES), number),
        "keep": lambda: (drawn.choice(AGENCIES), number),
        "ask": lambda: (drawn.choice(AGENCIES), number, drawn.choice(["D01", "E01"])),
    }
    return (kind, *more.get(kind, tuple)())


def open_fee_story(engine: Engine, folder: Path) -> tuple[Story, Provider]:
    """Return a story in which one document has a tariff, and the payment provider of it."""
    story = Story(engine)
    return story, serve_fees(story, folder)


def serve_fees(story: Story, folder: Path) -> Provider:
    """Give one document a tariff, and return the payment provider of the story."""
    story.hub.payments = PaymentPolicy(True, {"KPTA-PHARM-IMP": Tariff(FEES[GATE][1], days=10)}, SECRET)
    file = folder / "secret"
    file.write_bytes(SECRET)
    settings = PaymentSettings.model_validate(
        {"endpoint": "https://pay.example", "secret": {"file": str(file)}}, context={"home": folder}
    )
    provider = Provider(story)
    story.agents["payment"] = PaymentAgent(story.hub, provider, settings, PLAN)
    story.worker = story.new_worker("w2")
    return provider


class FeeRun:
    """The fees of one case, the model of each, and what was said and told so far."""

    def __init__(
        self,
        story: Story,
        provider: Provider,
        name: str,
        change: Change | None = None,
        *,
        attach: bool = True,
    ) -> None:
        """File the sample submission under a reference, or what `change` makes of it."""
        self.story, self.provider, self.name = story, provider, name
        self.said: list[Callable[[], None]] = []
        self.cancelled: set[str] = set()
        self.decided: set[str] = set()
        #: The agencies that have not said whether they cancel.
        self.asked: set[str] = set()
        self.withdrawn = False
        provider.down = 0
        story.submit(story.submission(change or reference(name)), attach=attach)
        story.tick(seconds=1)
        self.case = int(story.case().id)
        with read_transaction(story.house.engine) as conn:
            asked = agency_requests.list_by_case(conn, self.case)
        self.requests = {row.agency: row for row in asked}
        self.models = {
            one: FeeModel(money.amount) for one, (agency, money) in FEES.items() if agency in self.requests
        }
        if GATE in self.models:
            self._levy_gate()

    def _levy_gate(self) -> None:
        # The hub has levied it, by its own clock: whatever its agency says comes after that.
        self.models[GATE].levy(datetime.min.replace(tzinfo=UTC))
        self.models[GATE].refundable = True
        self.models[GATE].due = self.story.clock() + timedelta(days=10)
        self.settle()

    def run(self, events: Sequence[FeeEvent]) -> None:
        """Let the events happen, then all that is owed, and compare the money with the model."""
        for event in events:
            self.happen(event)
            self.settle()
        self.end()

    def happen(self, event: FeeEvent) -> None:
        """Let an event happen, to the hub and to the model."""
        try:
            getattr(self, f"_do_{event[0]}")(*event[1:])
        except (AssertionError, GatewayError) as failed:
            raise AssertionError(f"{self.name} at {event}: {failed}") from failed

    def settle(self) -> None:
        """Tell the models how late it is."""
        for model in self.models.values():
            model.settle(self.story.clock())

    def end(self) -> None:
        """Let all happen that is owed, and compare."""
        self.provider.down = 0
        for _ in range(4):
            self._requeue()
            self.story.tick(minutes=30)
        self.check()

    # What agencies say.

    def _say(
        self, name: str, step: str, number: int, minute: int, fee: NamedFee, due: int | None = None
    ) -> None:
        agency, _ = FEES[name]
        code = _CODES[step]["application" if name == GATE else "inspection"]
        at = self.story.clock() + timedelta(seconds=30 * minute)
        deadline = None if due is None else self.story.clock() + timedelta(minutes=due)
        notice = Notice(f"{self.name}-{agency}-{number:03}", at, code, deadline=deadline, fee=fee)
        wanted = self._expect(name, step, notice)
        self._call(agency, notice, wanted)
        # A notice that was refused may count later: it is said again only where it was taken.
        if wanted is None:
            self.said.append(lambda: self._call(agency, notice, None))

    def _call(self, agency: str, notice: Notice, wanted: str | None) -> None:
        found = None
        try:
            apply_call_back(self.story.hub, agency, AgencyCallback(notice, self.requests[agency].number))
        except GatewayError as error:
            found = error.problem.id
        assert found == wanted, f"{notice.number} ({notice.status_code}): {found}, not {wanted}"

    def _expect(self, name: str, step: str, notice: Notice) -> str | None:
        """Tell the model what an agency says; return the problem that it must get."""
        agency, _ = FEES[name]
        model = self.models[name]
        held = agency == "KPTA" and self._is_held() and agency not in self.cancelled
        if held and step not in ("cancel", "confirm"):
            return "GW701"
        if step == "refund":
            named = notice.fee.money.amount if notice.fee and notice.fee.money else None
            return self._expect_refund(name, named)
        if step == "levy":
            model.refundable = bool(notice.fee and notice.fee.refundable)
            model.due = notice.deadline
            model.levy(notice.issued_at, asked=agency in self.asked)
            if agency in self.cancelled and model.state == "DUE":
                model.end_with_application(self.story.clock(), decided=True)
        elif step == "cancel":
            model.cancel(notice.issued_at)
        else:
            model.confirm(notice.issued_at)
        return None

    def _expect_refund(self, name: str, amount: Decimal | None) -> str | None:
        model = self.models[name]
        if model.state is None or not self._is_levied(name):
            return "GW711"
        return model.refund(amount)

    def _is_held(self) -> bool:
        return GATE in self.models and self.models[GATE].state == "DUE"

    def _do_levy(self, name: str, number: int, minute: int, refundable: bool, due: int | None = None) -> None:
        # That of the gate is levied by the hub; a number is used for one fee.
        if name != GATE and not self._is_levied(name):
            money = FEES[name][1]
            self._say(name, "levy", number, minute, NamedFee(money, None, name, refundable), due)

    def _do_cancel(self, name: str, number: int, minute: int) -> None:
        self._say(name, "cancel", number, minute, NamedFee(payment_notice=name))

    def _do_confirm(self, name: str, number: int, minute: int) -> None:
        self._say(name, "confirm", number, minute, NamedFee(payment_notice=name))

    def _do_refund(self, name: str, number: int, part: int | None) -> None:
        money = FEES[name][1]
        if part is None:
            named = None
        else:
            named = Money((money.amount * part / 4).quantize(money.amount), money.currency)
            if not named.amount:
                return
        if name != GATE:
            # After every levy, by its own clock.
            self._say(name, "refund", number, 60, NamedFee(named, None, name))

    def _do_again(self, which: int) -> None:
        if self.said:
            self.said[which % len(self.said)]()

    def _do_decide(self, agency: str, number: int) -> None:
        held = agency == "KPTA" and self._is_held()
        if agency in self.cancelled | self.decided or held:
            return
        notice = self.story.notice(agency, number=f"{self.name}-{number:03}")
        self._call(agency, notice, None)
        self.decided.add(agency)
        self._answer(agency)

    def _do_ask(self, agency: str, number: int, code: str) -> None:
        """An agency asks for information, or inspects: no fee ends by that."""
        if agency in self.cancelled or (agency == "KPTA" and self._is_held()):
            return
        self._call(agency, Notice(f"{self.name}-{agency}-{number:03}", self.story.clock(), code), None)

    def _do_keep(self, agency: str, number: int) -> None:
        """An agency says that it does not cancel."""
        if agency in self.asked:
            self._call(agency, Notice(f"{self.name}-{agency}-{number:03}", self.story.clock(), "G04"), None)
            self._answer(agency)

    def _answer(self, agency: str) -> None:
        self.asked.discard(agency)
        for name, (own, _) in FEES.items():
            if own == agency:
                self.models[name].held = False

    def _do_drop(self, agency: str, number: int) -> None:
        """An agency cancels an application by itself."""
        if agency in self.cancelled or (agency == "KPTA" and self._is_held()):
            return
        self._call(agency, Notice(f"{self.name}-{agency}-{number:03}", self.story.clock(), "G01"), None)
        self._end(agency)

    def _end(self, agency: str) -> None:
        self.cancelled.add(agency)
        self.asked.discard(agency)
        for name, (own, _) in FEES.items():
            if own == agency:
                self.models[name].end_with_application(self.story.clock(), decided=agency in self.decided)

    # What the applicant does, the provider tells, and operators do.

    def _do_withdraw(self) -> None:
        if self.withdrawn or self._is_over():
            return
        self.withdrawn = True
        change = all_of(withdrawal, reference(self.name))
        self.story.submit(self.story.submission(change), action="Withdraw", attach=False)
        self.story.tick(seconds=1)
        if self._is_held() and "KPTA" not in self.cancelled:
            self._end("KPTA")
        with read_transaction(self.story.house.engine) as conn:
            rows = agency_requests.list_by_case(conn, self.case)
        self.asked = {row.agency for row in rows if row.cancellation == "ASKED" and row.state != "CANCELLED"}

    def _is_over(self) -> bool:
        with read_transaction(self.story.house.engine) as conn:
            row = cases.find_by_id(conn, self.case)
        return row is None or row.state == "WITHDRAWN" or row.outcome == "REJECTED"

    def _find_fee(self, name: str) -> Any:
        """Return the fee that was levied under a number; None where there is none."""
        agency, money = FEES[name]
        if name != GATE and self.models[name].levied_at is None:
            return None
        with read_transaction(self.story.house.engine) as conn:
            rows = fees.list_by_request(conn, self.requests[agency].id)
        gate = "forwarding" if name == GATE else "result"
        found = [
            one
            for one in rows
            if one.payment_notice == name and one.gate == gate and one.amount == money.digits
        ]
        assert len(found) <= 1, f"{name} was levied {len(found)} times"
        return found[0] if found else None

    def _is_levied(self, name: str) -> bool:
        return self._find_fee(name) is not None

    def _do_pay(self, name: str, mark: str, minute: int) -> None:
        row = self._find_fee(name)
        if row is None or row.number not in [one["order"] for one in self.provider.list_calls("orders")]:
            return
        model, money = self.models[name], FEES[name][1]
        at, key = self.story.clock() + timedelta(minutes=min(minute, 0)), f"P-{row.number}-{mark}"
        wanted = model.pay(key, money.amount, at)
        event = ProviderEvent("paid", row.number, key, money, at)
        found = apply_provider_event(self.story.hub, event)
        assert found == wanted, f"{key} is {found}, not {wanted}"

    def _do_waive(self, name: str) -> None:
        self._operate(name, waive_fee, "CANCELLED")

    def _do_settle(self, name: str) -> None:
        self._operate(name, settle_fee_elsewhere, "CONFIRMED")

    def _operate(self, name: str, act: Callable[..., None], ended: str) -> None:
        row = self._find_fee(name)
        if row is None:
            return
        model = self.models[name]
        wanted, found = (None if model.state == "DUE" else "GW705"), None
        try:
            self.story.operate(lambda *words: act(*words, "levied twice"), row.id)
        except GatewayError as error:
            found = error.problem.id
        assert found == wanted, f"{row.number} is {row.state}: {found}, not {wanted}"
        if wanted is None:
            model.end_by_operator(ended, self.story.clock())

    def _do_down(self, times: int) -> None:
        self.provider.down = times

    def _do_tick(self, minutes: int) -> None:
        self.story.tick(minutes=minutes)

    def _requeue(self) -> None:
        for row in self.story.deliveries(agent="payment", state="FAILED"):
            self.story.operate(operator_actions.requeue_delivery, row.id)

    # The end.

    def check(self) -> None:
        """Compare every fee, and all money that moved, with the model."""
        for name, model in self.models.items():
            row = self._find_fee(name)
            if row is None:
                assert model.paid == {}
                continue
            self._check_fee(name, row, model)
        calls = [one for one in self.provider.list_calls("refunds") if self._is_ours(one["refund"])]
        given = {one["refund"]: Decimal(one["amount"]) for one in calls}
        assert sum(given.values()) == sum(sum(one.back.values()) for one in self.models.values())
        assert not self.story.deliveries(agent="payment", state="QUEUED")

    def _is_ours(self, refund: str) -> bool:
        return any(refund.startswith(row.number) for row in self.requests.values())

    def _check_fee(self, name: str, row: Any, model: FeeModel) -> None:
        with read_transaction(self.story.house.engine) as conn:
            moved = fees.list_movements(conn, row.id)
        paid = {str(one.reference): Decimal(one.amount) for one in moved if one.kind == "payment"}
        assert paid == model.paid, f"{name}: {paid}, not {model.paid}"
        back: dict[str, Decimal] = {}
        for one in moved:
            if one.kind == "refund" and one.payment is not None:
                assert one.state == "DONE", f"{name}: refund {one.reference} is {one.state}"
                back[one.payment] = back.get(one.payment, Decimal(0)) + Decimal(one.amount)
        wanted = {key: amount for key, amount in model.back.items() if amount}
        assert back == wanted, f"{name}: {back} given back, not {wanted}"
        assert all(Decimal(0) <= amount <= paid[key] for key, amount in back.items())
        due = row.state in ("LEVIED", "ORDERED")
        assert due == (model.state == "DUE"), f"{name} is {row.state}, not {model.state}"
        self._check_deadline(name, row, model)
        assert (row.state == "LEVIED") == (due and model.held), f"{name} is {row.state}; held: {model.held}"

    def _check_deadline(self, name: str, fee: Any, model: FeeModel) -> None:
        """Compare the deadlines of a fee with the model: it has one at most, whatever happened."""
        with read_transaction(self.story.house.engine) as conn:
            of_fee = [one for one in deadlines.list_by_case(conn, self.case) if one.cause == fee.number]
        found = [one.state for one in of_fee]
        wanted = model.list_deadlines(self.story.clock())
        assert len(found) == len(wanted), f"{name}: deadlines {found}, not {wanted}"
        assert all(one in wanted[0] for one in found), f"{name}: deadlines {found}, not {wanted}"
        assert all(one.overdue_at for one in of_fee if one.state in ("LATE", "OVERDUE"))
