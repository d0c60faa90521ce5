"""Drawn runs of goods that leave a case: customs clears children, agencies decide and cancel all the same.

`ClearedRun` does what `ReleaseRun` does, with three events more. Customs clears a child, and hears of it
whatever is decided of the parent afterwards. An agency cancels the parent's application by itself. The parent
is withdrawn and every agency refuses to cancel, so that it goes on.
"""

from __future__ import annotations

import random
from typing import Any, Final

import pytest

from gateway.cases import AgencyCallback, CustomsCall, CustomsNotice, Notice, SignedReply
from gateway.errors import CASE_CLOSED, GatewayError
from gateway.hub.customs.customs_reports import apply_customs_call
from gateway.store import agency_requests, read_transaction
from tests.flows.craft import all_of, reference, withdrawal
from tests.kit.cleared_oracle import ClearedParentModel, Told
from tests.kit.goods_oracle import ParentModel
from tests.kit.goods_turns import GoodsEvent, ReleaseRun, draw_events, draw_release
from tests.kit.story import AGENCIES, ITEMS, Story

__all__ = ["ClearedRun", "draw_cleared"]

_SPOKEN: Final = SignedReply(b"<signed call/>", "ab" * 32)
_DRAWN: Final[dict[str, int]] = {
    "take": 8, "change": 2, "give": 2, "say": 10, "again": 2, "tick": 2, "clear": 5, "itself": 1, "refuse": 3,
}  # fmt: skip


def draw_cleared(seed: int, length: int = 16) -> list[GoodsEvent]:
    """Return the events of a run of `ClearedRun`."""
    return draw_events(seed, length, _DRAWN, _draw)


def _draw(drawn: random.Random, number: int, kind: str) -> GoodsEvent:
    if kind in ("clear", "refuse"):
        return (kind, drawn.randint(0, 5), number)
    if kind == "itself":
        return (kind, drawn.choice(AGENCIES), number)
    return draw_release(drawn, number, kind)


class ClearedRun(ReleaseRun):
    """A decided case, its children, which customs clears, and the model of them."""

    model: ClearedParentModel

    def __init__(self, story: Story, name: str) -> None:
        #: Who said each notice, and whether it decides.
        self.spoken: list[tuple[str, bool]] = []
        super().__init__(story, name)

    def _call(self, agency: str, said: AgencyCallback) -> None:
        assert isinstance(said.answer, Notice)
        self.spoken.append((agency, bool(said.answer.decisions)))
        super()._call(agency, said)

    def _make_model(self, whole: Any) -> ParentModel:
        return ClearedParentModel(whole)

    def _do_say(self, agency: str, number: int, code: str, minute: int) -> None:
        # What an agency approves after the withdrawal is asked about: other runs do that.
        if self.model.withdrawn or ITEMS[agency] in self.model.cancelled:
            return
        super()._do_say(agency, number, code, minute)
        self._work()

    def _do_again(self, which: int) -> None:
        agency, decides = self.spoken[which % len(self.spoken)]
        if not (decides and ITEMS[agency] in self.model.cancelled):
            super()._do_again(which)
            return
        with pytest.raises(GatewayError) as refused:
            super()._do_again(which)
        assert refused.value.problem is CASE_CLOSED

    def _do_itself(self, agency: str, number: int) -> None:
        """An agency cancels the application of the parent by itself."""
        if self.model.withdrawn or ITEMS[agency] in self.model.cancelled:
            return
        notice = Notice(f"{self.name}-{agency}-{number:03}", self.story.clock(), "G01")
        self._call(agency, AgencyCallback(notice, self.requests[agency]))
        self.model.cancel(ITEMS[agency])
        self._work()

    def _do_clear(self, which: int, number: int) -> None:
        """Customs clears a child."""
        name = self._choose_child(which)
        if name is None:
            return
        case = self._report(self.cases[name])["number"]
        said = CustomsNotice(f"{self.name}-CUS-{number}", self.story.clock(), "5EC")
        apply_customs_call(self.story.hub, CustomsCall(said, case_number=case), _SPOKEN)
        self.model.clear(name, said.issued_at)
        self._work()

    def _do_change(self, which: int, wanted: Any) -> None:
        if self._choose_child(which) not in self.model.late:
            super()._do_change(which, wanted)

    def _do_give(self, which: int) -> None:
        if self._choose_child(which) not in self.model.late:
            super()._do_give(which)

    def _do_refuse(self, _which: int, number: int) -> None:
        """The parent is withdrawn; each agency that is asked refuses to cancel."""
        wanted = set() if self.model.may_withdraw() else {"GW407"}
        found = self._file(all_of(withdrawal, reference(self.name)), "Withdraw")
        assert found == wanted, f"the withdrawal has {found}, not {wanted}"
        if found:
            return
        with read_transaction(self.story.house.engine) as conn:
            rows = agency_requests.list_by_case(conn, self.cases[self.name])
        for row in rows:
            if row.cancellation == "ASKED" and row.state != "CANCELLED":
                notice = Notice(f"{self.name}-{row.agency}-{number:03}-NO", self.story.clock(), "G04")
                self._call(row.agency, AgencyCallback(notice, row.number))
        self.model.refuse_withdrawal()
        self._work()

    def check(self) -> None:
        """Compare as `ReleaseRun` does, and what customs has heard of each cleared child."""
        if self.model.withdrawn:
            found = self._report(self.cases[self.name])
            assert (found["state"], found["outcome"]) == ("WITHDRAWN", "WITHDRAWN")
            return
        super().check()
        for name, wanted in self.model.late.items():
            heard = self._list_late(self._report(self.cases[name])["number"])
            # Of each item in order: the items of several applications are told in any order.
            by_item = sorted(wanted, key=lambda one: one[0])
            assert heard == by_item, f"customs heard {heard} of {name}, not {wanted}"

    def _list_late(self, number: str) -> list[Told]:
        """Return each item and decision that customs has heard of a case after clearance, each call once."""
        calls = {
            call.envelope: call
            for call in self.story.soap.calls
            if call.text("PendingCode") == "98" and call.text("CaseNumber") == number
        }
        # A cancelled application is told under each of its laws.
        told = [
            list(
                dict.fromkeys(
                    (int(one.findtext("{*}item") or 0), one.findtext("{*}decision"))
                    for one in call.body.findall("{*}Requirement")
                )
            )
            for call in calls.values()
        ]
        return sorted((one for call in told for one in call), key=lambda one: one[0])
