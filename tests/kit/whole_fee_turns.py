"""Drawn runs of the fees of one case together with all that a case can turn to.

Beside what `FeeRun` draws, the declaration is amended, customs clears it and takes that back, agencies
correct what they decided, also after the clearance, and the officers of one agency decide at the console.
Whatever happens, the money is as the model says, and the case ends.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine

from gateway.cases import (
    CustomsCall,
    CustomsNotice,
    Decision,
    DecisionAct,
    DecisionCode,
    DecisionPurpose,
    Notice,
    ReceiveAct,
    SignedReply,
)
from gateway.hub.customs.customs_reports import apply_customs_call
from gateway.store import agency_requests, cases, read_transaction
from tests.flows.craft import all_of, reference, text, withdrawal
from tests.flows.test_amendments import amendment
from tests.flows.test_fees import Provider
from tests.kit.fee_turns import GATE, FeeEvent, FeeRun, draw_fees, serve_fees
from tests.kit.officers import ConsoleStory
from tests.kit.story import AGENCIES, ITEMS, LAWS

__all__ = ["WholeFeeRun", "draw_whole_fees", "open_whole_fee_story"]

#: The agency whose officers decide at the console.
CONSOLE: Final = "NPQS"
#: What the declarant may change in an application, by its agency: no other request changes by it.
_CHANGES: Final = {
    "KPTA": "Application[@id='A1']/Fields/ImporterRemarks",
    "KFDA": "Application[@id='A2']/Fields/Item/ProductNameKo",
    "NPQS": "Application[@id='A3']/Fields/Item/PlaceOfProduction",
}
_SPOKEN: Final = SignedReply(b"<signed call/>", "ab" * 32)
_CODES: Final = ("APPROVED", "APPROVED", "REJECTED")


def draw_whole_fees(seed: int) -> list[FeeEvent]:
    """Return the events of a run: those of the fees, and others between them."""
    drawn = random.Random(-seed)
    events = draw_fees(seed)
    for number in range(500, 500 + drawn.randint(2, 8)):
        kind = drawn.choice(
            ("amend", "amend", "clear", "clear", "unclear", "correct", "correct", "decide", "decide")
        )
        agency = drawn.choice(AGENCIES)
        more: dict[str, tuple[Any, ...]] = {
            "amend": (agency, number),
            "clear": (number,),
            "unclear": (number,),
            "correct": (agency, number, drawn.choice(_CODES)),
            "decide": (agency, number),
        }
        events.insert(drawn.randint(0, len(events)), (kind, *more[kind]))
    return events


def open_whole_fee_story(engine: Engine, folder: Path) -> tuple[ConsoleStory, Provider]:
    """Return a story with fees in which the officers of one agency decide at the console."""
    story = ConsoleStory(engine, CONSOLE)
    return story, serve_fees(story, folder)


class WholeFeeRun(FeeRun):
    """The fees of one case, the model of each, and what else happens to the case."""

    story: ConsoleStory

    def __init__(self, story: ConsoleStory, provider: Provider, name: str) -> None:
        super().__init__(story, provider, name)
        self.officer = story.officer(f"kim-{name}".lower(), "head")
        self.cleared = False
        self.values: dict[str, str] = {}

    def run(self, events: Sequence[FeeEvent]) -> None:
        """Let the events happen, then what ends the case, and compare."""
        super().run(events)
        self._finish()
        self.check()
        with read_transaction(self.story.house.engine) as conn:
            row = cases.find_by_id(conn, self.case)
        assert row is not None
        assert row.state in ("CLOSED", "WITHDRAWN"), f"the case is {row.state}"

    def _finish(self) -> None:
        """Let each agency answer and decide, and nobody wait for the fee before forwarding."""
        for place, agency in enumerate(AGENCIES):
            self._do_keep(agency, 900 + place)
        if self._is_held() and "KPTA" not in self.cancelled:
            self._do_waive(GATE)
            self.story.tick(minutes=1)
        for place, agency in enumerate(AGENCIES):
            self._do_decide(agency, 910 + place)
        self.settle()
        for _ in range(3):
            self.story.tick(minutes=30)

    def _read_case(self) -> Any:
        with read_transaction(self.story.house.engine) as conn:
            return cases.find_by_id(conn, self.case)

    def _do_decide(self, agency: str, number: int) -> None:
        # What is decided before the agency has an amended application does not count.
        self.story.tick(seconds=1)
        if agency != CONSOLE:
            super()._do_decide(agency, number)
        elif agency not in self.cancelled | self.decided:
            self._act(DecisionPurpose.DECIDE, "APPROVED", number)
            self.decided.add(agency)
            self._answer(agency)

    def _do_keep(self, agency: str, number: int) -> None:
        if agency != CONSOLE:
            super()._do_keep(agency, number)
        elif agency in self.asked:
            self._perform(ReceiveAct("G04"))
            self._answer(agency)

    def _do_drop(self, agency: str, number: int) -> None:
        if agency != CONSOLE or agency in self.cancelled:
            super()._do_drop(agency, number)
        elif agency in self.decided:
            # What officers have decided nobody cancels by the wire; they revoke it themselves.
            notice = Notice(f"{self.name}-{agency}-{number:03}", self.story.clock(), "G01")
            self._call(agency, notice, "GW703")
        else:
            self._perform(ReceiveAct("G01"))
            self._end(agency)

    def _act(self, purpose: DecisionPurpose, code: str, number: int) -> None:
        """The officers of an agency decide at the console."""
        one = Decision(ITEMS[CONSOLE], LAWS[CONSOLE], DecisionCode(code), f"P-{number}")
        reason = "looked at again" if purpose is not DecisionPurpose.DECIDE else ""
        self._perform(DecisionAct(purpose, (one,), reason))

    def _perform(self, act: DecisionAct | ReceiveAct) -> None:
        """An officer of the agency acts at the console, and nowhere else does the agency act."""
        self.story.tick(seconds=1)
        application = self.requests[CONSOLE].number
        seen = self.story.desk.read_application(CONSOLE, application)
        assert seen is not None
        done = self.story.desk.perform_act(self.officer, application, act, seen.shown_digest)
        assert done.state == "PERFORMED", f"the officer's {act} is {done.state}"

    def _do_correct(self, agency: str, number: int, code: str) -> None:
        """An agency corrects what it decided; not after the withdrawal: other runs do that."""
        if agency not in self.decided or agency in self.cancelled or self._read_case().state == "WITHDRAWN":
            return
        if agency == CONSOLE:
            self._act(DecisionPurpose.CORRECT, code, number)
        else:
            self.story.clock.forward(minutes=1)
            notice = self.story.notice(agency, DecisionCode(code), number=f"{self.name}-{number:03}")
            self._call(agency, notice, None)
        self._answer(agency)

    def _do_amend(self, agency: str, number: int) -> None:
        """The declarant amends an application; that of a cancelled one is not drawn."""
        if self.cancelled:
            return
        wanted = self._find_hindrance()
        values = self.values | {_CHANGES[agency]: f"다른 이름 {number}"}
        changes = [text(path, value) for path, value in values.items()]
        found = self._send(all_of(reference(self.name), amendment(*changes)), "Amend")
        assert found == wanted, f"the amendment has {found}, not {wanted}"
        if not found:
            self.values, self.withdrawn = values, False
            self.decided.discard(agency)

    def _find_hindrance(self) -> set[str]:
        """Return for which problem the declaration can be neither amended nor withdrawn."""
        if self._read_case().state == "WITHDRAWN" or self.asked:
            return {"GW407"}
        return {"GW714"} if self.cleared else set()

    def _send(self, change: Any, action: str) -> set[str]:
        newest = self.story.case().id
        self.story.submit(self.story.submission(change), action=action, attach=action == "Amend")
        self.story.tick(seconds=1)
        row = self.story.case()
        refused = row.id != newest and row.state == "REFUSED"
        return {one["id"] for one in row.detail["problems"]} if refused else set()

    def _do_withdraw(self) -> None:
        if not (self.withdrawn or self._is_over()) and self.cleared and not self.asked:
            found = self._send(all_of(withdrawal, reference(self.name)), "Withdraw")
            assert found == {"GW714"}, f"the withdrawal of what is cleared has {found}"
        elif not self.asked:
            super()._do_withdraw()
            self._end_untold()

    def _end_untold(self) -> None:
        """What nobody has fetched for the officers yet is cancelled at once."""
        with read_transaction(self.story.house.engine) as conn:
            rows = agency_requests.list_by_case(conn, self.case)
        for row in rows:
            if row.state == "CANCELLED" and row.agency not in self.cancelled:
                assert row.agency == CONSOLE, f"{row.agency} is not asked"
                self._end(row.agency)

    def _do_clear(self, number: int) -> None:
        self._tell_clearance("5EC", number)
        self.cleared = True

    def _do_unclear(self, number: int) -> None:
        if self.cleared:
            self._tell_clearance("10", number)
            self.cleared = False

    def _tell_clearance(self, code: str, number: int) -> None:
        self.story.tick(seconds=1)
        said = CustomsNotice(f"{self.name}-CUS-{number}", self.story.clock(), code)
        call = CustomsCall(said, case_number=str(self._read_case().number))
        apply_customs_call(self.story.hub, call, _SPOKEN)
        self.story.tick(seconds=1)
