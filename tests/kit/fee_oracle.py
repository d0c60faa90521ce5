"""A second, plain model of one fee: what becomes of the money that is paid for it.

It is written from the rules (`gateway/manual/fees.md`), and not from the code of the hub. It is told
what the agency said, what the payment provider told, and what an operator did.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

__all__ = ["FeeModel"]

_NOTHING = Decimal(0)


@dataclass
class FeeModel:
    """One fee. `state` is DUE, PAID, CONFIRMED or CANCELLED; None while its levy has not come."""

    amount: Decimal
    refundable: bool = False
    state: str | None = None
    levied_at: datetime | None = None
    #: When it was cancelled or confirmed, by the clock of who said so.
    ended_at: datetime | None = None
    #: What its agency said of its end before its levy came: when, and the state.
    early: list[tuple[datetime, str]] = field(default_factory=list)
    #: The payment that counts, and what was ordered back of each payment.
    counted: str | None = None
    paid: dict[str, Decimal] = field(default_factory=dict)
    back: dict[str, Decimal] = field(default_factory=dict)
    #: Whether it can be paid at the provider; what ended before its levy came is paid elsewhere, if at all.
    payable: bool = True
    #: Whether it waits until its agency has said that it does not cancel the application.
    held: bool = False
    #: Until when it is due, where its notice says so; whether that time has begun, and how it has ended.
    due: datetime | None = None
    begun: bool = False
    ended: str | None = None
    #: When it was paid at the provider.
    paid_at: datetime | None = None
    #: What the agency gave back before the provider told of the payment.
    promised: Decimal = _NOTHING

    @property
    def kept(self) -> Decimal:
        """Return what stays of all that was paid."""
        return sum(self.paid.values(), _NOTHING) - sum(self.back.values(), _NOTHING)

    @property
    def left(self) -> Decimal:
        """Return what can still be given back."""
        if self.counted is None:
            return self.amount - self.promised
        return self.paid[self.counted] - self.back.get(self.counted, _NOTHING)

    def levy(self, at: datetime, *, asked: bool = False) -> None:
        """It is due, unless its end was said before, and issued after it.

        While its agency is `asked` whether it cancels the application, it cannot be paid.
        """
        self.levied_at = at
        self.ended_at, self.state = next((one for one in self.early if one[0] >= at), (None, "DUE"))
        self.payable = self.state == "DUE"
        self.held = self.payable and asked

    def cancel(self, at: datetime) -> None:
        """Its agency, or an operator, demands it no more: what was paid goes back."""
        if not self._is_about(at, "CANCELLED"):
            return
        if self.state == "DUE":
            self.state, self.ended_at = "CANCELLED", at
        elif self.state != "CANCELLED":
            self._give_back(self.left)

    def confirm(self, at: datetime) -> None:
        """Its agency has the money."""
        # What was given back, or a part of it, is confirmed no more.
        paid = self.state == "PAID" and not self.back.get(self.counted or "")
        if self._is_about(at, "CONFIRMED") and (self.state == "DUE" or paid):
            self.state, self.ended_at = "CONFIRMED", at
            self.payable = self.payable and not self.held

    def _is_about(self, at: datetime, state: str) -> bool:
        """Return whether an end is about what was levied; one that was issued before the levy is not."""
        if self.levied_at is None:
            self.early.append((at, state))
        return self.levied_at is not None and self.levied_at <= at

    def refund(self, amount: Decimal | None) -> str | None:
        """The agency gives back all that is left, or a part; return the problem that it must get."""
        if self.state == "DUE":
            return "GW711"
        if not self.payable or (self.state == "CANCELLED" and self.counted is None):
            return None
        wanted = self.left if amount is None else amount
        if wanted > self.left:
            return "GW711"
        self._give_back(wanted)
        return None

    def _give_back(self, amount: Decimal) -> None:
        if self.counted is None:
            self.promised += amount if self.payable else _NOTHING
        else:
            self.back[self.counted] = self.back.get(self.counted, _NOTHING) + amount

    def pay(self, reference: str, amount: Decimal, at: datetime) -> str:
        """The provider tells of a payment; return what it is."""
        if reference in self.paid:
            return "repeated"
        self.paid[reference] = amount
        in_time = self.state == "CONFIRMED" and self.ended_at is not None and at <= self.ended_at
        if self.state == "DUE" or (in_time and self.counted is None):
            self.counted = reference
            if self.state == "CONFIRMED" and self.ended == "LATE" and self.due is not None and at <= self.due:
                # Whether its payment or the word of an operator was seen first.
                self.ended = "LATE or MET"
            self.paid_at = at
            self.state = "PAID" if self.state == "DUE" else self.state
            self._give_back(self.promised)
            return "counted"
        self.back[reference] = amount
        return "late" if self.state == "CANCELLED" and len(self.paid) == 1 else "excess"

    def end_by_operator(self, state: str, at: datetime) -> None:
        """An operator has ended it, whatever the clock of its agency says."""
        self.state, self.ended_at = state, at
        self.payable = self.payable and not self.held

    def end_with_application(self, at: datetime, *, decided: bool) -> None:
        """Its application is cancelled."""
        if self.state == "DUE":
            self.state, self.ended_at = "CANCELLED", at
        elif self.state in ("PAID", "CONFIRMED") and self.refundable and not decided:
            self._give_back(self.left)

    def settle(self, now: datetime) -> None:
        """Begin or end the time until which it is due; what is done later than now was not said yet."""
        if self.due is None or self.ended is not None:
            return
        if self.state == "DUE":
            self.begun = self.begun or not self.held
        elif self.begun and self.state == "CANCELLED":
            self.ended = "CANCELLED"
        elif self.begun:
            done_at = self.paid_at if self.state == "PAID" else self.ended_at
            self.ended = "LATE" if done_at is not None and min(done_at, now) > self.due else "MET"

    def list_deadlines(self, now: datetime) -> list[str]:
        """Return the state of its deadline, where it has one."""
        if not self.begun or self.due is None:
            return []
        return [self.ended or ("OVERDUE" if self.due < now else "OPEN")]
