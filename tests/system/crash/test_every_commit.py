"""Killed at every commit there is, right before and right after it, the gateway loses nothing.

Real partners, one submission more for each kill.  The hub kills itself at one named place
after another; a parent sees each SIGKILL and starts it anew.  At the end everything is
looked at from outside: what was acknowledged is stored, no agency has two effects, every
case has ended, the broker holds one result for each.

In the long stories the databases take turns: each kill is on one of them, before a commit on the one and
after it on the other, since what follows from a place is the same program.
"""

from __future__ import annotations

import ast
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from gateway.client import SealedSubmission
from gateway.message_model import MemoryBody, Ping
from gateway.protocols import PROTOCOLS, Parcel
from gateway.store import make_engine, messages, read_transaction
from gateway_conformance.verbs.demo_stage import read_cast
from tests.kit.databases import BOTH_AT_LANDING, in_turn
from tests.kit.facts import is_commit
from tests.kit.gateway import RunningGateway, post
from tests.kit.life import Change, Life
from tests.kit.paths import ROOT
from tests.kit.town import Town
from tests.kit.waiting import until

pytestmark = pytest.mark.long

EBMS2 = PROTOCOLS["ebms2"]

#: Where the story of an accepted submission passes: with an information request, a supplement
#: and a call-back, and an applicant who acknowledges in the answer.
MAIN = (
    "receive.message", "delivery.claim", "admit.case", "reply.answer", "partner.customs", "reply.call_back",
    "conclude.notice", "conclude.result", "signals.settled", "delivery.lanes", "events.sequence",
    "statistics.count",
)  # fmt: skip
#: A submission that is refused, and its result.
REFUSED = ("admit.refused", "conclude.result")
#: An agency that cannot be reached until its tries are used up.
STRANDED = ("delivery.defer", "delivery.failed")
#: Signals by POSTs of our own: receipts, pongs and refusals go that way, acknowledgments come that way.
ASYNCHRONOUS = (
    "receive.message", "receive.signal", "receive.refused", "msh.delivered", "msh.awaiting",
    "signals.settled",
)  # fmt: skip
#: Passed only by a repeat that no story brings about, or by a failure of our own: where it is tested.
ELSEWHERE = {
    "reply.results": "tests/flows/test_overtaken_decisions.py",
    "accounts.upkeep": "nothing follows from it: a sweep that did not happen happens again",
    "admit.again": "tests/flows: an admitted message is handed over twice",
    "admit.amendment": "tests/flows/test_amendments.py",
    "admit.held": "tests/flows/test_held_cases.py",
    "admit.resumed": "tests/flows/test_held_cases.py",
    "admit.withdrawal": "tests/flows/test_withdrawals.py",
    "clients.refused": "nothing follows from it: who was refused was refused, told or not",
    "console.summaries": "nothing follows from it: the next list that shows the application stores it",
    "customs.call": "tests/flows/test_customs.py",
    "customs.late": "tests/flows/test_customs.py",
    "customs.inherited": "tests/flows/test_late_children.py",
    "customs.told": "tests/flows/test_customs.py",
    "node.seen": "nothing follows from it: a node that was not seen is seen a moment later",
    "delivery.composed": "tests/flows/test_unfit_contracts.py",
    "delivery.renewed": "nothing follows from it: the lease ends earlier, and another worker sends again",
    "pull.hand_out": "tests/flows/test_as4_kills.py",
    "pull.refused": "tests/flows/test_as4_pulling.py",
    "pull.turn": "tests/flows/test_as4_pulling.py",
    "reply.clearance": "tests/flows/test_customs.py",
    "reply.requirement": "tests/flows/test_outside_results.py",
    "requirement.join": "tests/flows/test_outside_results.py",
    "conclude.overtaken": "tests/flows: a correction overtakes a conclusion",
    "deadlines.fired": "tests/flows/test_deadlines.py",
    "deadlines.settled": "tests/flows/test_questioned_fees.py",
    "deadlines.notice": "tests/flows/test_deadlines.py",
    "delivery.expired": "tests/flows: a delivery is too old",
    "delivery.no_room": "tests/flows/hostile: a worker finds the disk full",
    "delivery.put_aside": "nothing follows from it: what is deadly stays so, and is put aside again",
    "failures.told": "tests/flows/test_delivery_failures.py",
    "fees.agency_told": "tests/flows/test_fee_kills.py",
    "fees.notice": "tests/flows/test_fee_kills.py",
    "fees.ordered": "tests/flows/test_fee_kills.py",
    "fees.payment": "tests/flows/test_fee_kills.py",
    "fees.refunded": "tests/flows/test_fee_kills.py",
    "fees.told": "tests/flows/test_fee_kills.py",
    "fetch.answers": "tests/flows: a worker comes back late with answers",
    "fetch.done": "tests/flows: a worker comes back late with answers",
    "fetch.failed": "nothing follows from it: a word for the operator",
    "fetch.list": "tests/system/crash/test_fetching.py",
    "fetch.trust_list": "tests/flows: a trusted list is fetched again",
    "delivery.schedule": "tests/delivery: a turn is queued once, however often it is tried",
    "delivery.drawn_in": "nothing follows from it: the next look after a step of the clock draws in the rest",
    "delivery.upkeep": "nothing follows from it: a sweep that did not happen happens again",
    "fragments.dropped": "tests/flows/test_fragment_kills.py",
    "fragments.expired": "tests/flows/test_fragment_kills.py",
    "fragments.failed": "tests/flows/test_sent_fragment_kills.py",
    "fragments.joined": "tests/flows/test_fragment_kills.py",
    "fragments.joined_before": "tests/flows/test_fragment_kills.py",
    "fragments.queued": "tests/flows/test_sent_fragment_kills.py",
    "fragments.refused": "tests/flows/test_fragment_kills.py",
    "fragments.unwanted": "tests/flows/test_sent_fragment_kills.py",
    "hold.ended": "tests/flows/test_held_cases.py",
    "hold.looked": "tests/flows/test_held_case_waking.py",
    "hold.told": "tests/flows/test_held_cases.py",
    "intake.submission": "tests/flows/test_filing.py: a process is killed before and after it",
    "officer.approve": "tests/flows/officers/test_kills.py",
    "officer.begin": "tests/flows/officers/test_kills.py",
    "officer.claim": "nothing follows from it: who works on an application is asked again",
    "officer.end_proposal": "nothing follows from it: the proposal stands until somebody ends it",
    "officer.refused": "nothing follows from it: the act is performed again, and refused again",
    "reply.cancellation": "tests/flows/test_withdrawals.py",
    "respond.given": "tests/flows/test_sync_responses.py, test_as4_kills.py, and tests/system/crash",
    "msh.renumbered": "tests/flows/test_order_kills.py",
    "order.expired": "tests/flows/test_order_kills.py",
    "passing.answered": "tests/flows/test_intermediary.py",
    "passing.awaiting": "nothing follows from it: the message is sent again, and the next handler knows it",
    "passing.forwarded": "tests/flows/test_intermediary.py",
    "passing.message": "tests/flows/test_intermediary.py",
    "passing.settled": "tests/flows/test_intermediary.py",
    "payment.cancelled": "tests/flows/test_fee_kills.py",
    "receive.tally": "nothing follows from it: a count for the operator",
    "receipts.key": "tests/system/crash/test_trust_work.py",
    "receipts.late": "tests/system/crash/test_trust_work.py",
    "trust_list.import": "tests/system/crash/test_importing.py",
    "trust_list.refused": "tests/system/crash/test_importing.py",
    "signals.hop": "tests/flows/test_intermediary_receipts.py",
    "tsa.sealed": "tests/system/crash/test_trust_work.py",
    "tsa.stamped": "tests/system/crash/test_trust_work.py",
    "webhook.key": "nothing follows from it: the digest of the key is noted at the next use",
    "webhook.called": "nothing follows from it: the call is made again with the same id",
    "webhook.failed": "nothing follows from it: the next failure is counted from its own time",
    "withdraw.asked": "tests/flows/test_late_approvals.py",
    "verdicts.kept": "tests/flows/hostile: the process ends there at its first message",
}
EXCHANGES = (
    "soap.after_call",
    "msh.after_post",
    "delivery.local.done",
    "delivery.soap.done",
    "delivery.msh.done",
)


def named_commits() -> set[str]:
    """Return the name of every transaction of hub and delivery, read from the source."""
    names = set()
    for room, path in product(("hub", "delivery"), [ROOT / "gateway"]):
        for file in (path / room).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                # Where a transaction takes its name from a caller, the caller is the one that counts.
                if isinstance(node, ast.Call) and is_commit(node) and not isinstance(node.args[1], ast.Name):
                    names.add(ast.literal_eval(node.args[1]))
    return names


def places(names: tuple[str, ...]) -> list[str]:
    return [f"{name}.{side}_commit" for name in names for side in ("before", "after")]


def choose_points(points: list[str], database_url: str) -> list[str]:
    """Return the points that are tried on one database; of each two neighbours it has one."""
    turn = 0 if database_url.startswith("sqlite") else 1
    return [point for at, point in enumerate(points) if (at // 2 + at) % 2 == turn]


def test_every_point_is_tried_on_a_database_and_each_place_on_both() -> None:
    for names, more in ((MAIN, EXCHANGES), (ASYNCHRONOUS, ())):
        points = [*places(names), *more]
        lite, server = (choose_points(points, url) for url in ("sqlite:///x", "postgresql://x"))
        assert {*lite, *server} == set(points)
        for tried in (lite, server):
            assert {point.rpartition(".")[0] for point in tried} >= set(names)


def test_every_commit_is_tried_or_told_where() -> None:
    assert named_commits() == {*MAIN, *REFUSED, *STRANDED, *ASYNCHRONOUS, *ELSEWHERE}


@pytest.fixture
def town(tmp_path: Path, database_url: str) -> Iterator[Town]:
    town = Town(tmp_path / "town", database_url)
    try:
        yield town
    finally:
        town.close()


def killed_at(town: Town, life: Life, point: str, change: Change | None = None) -> None:
    """Run the hub until it kills itself at `point`, which a submission of its own brings about."""
    life.file(change)
    with town.processes(point) as running:

        def find_dead() -> RunningGateway | None:
            dead = next((one for one in running if one.process.poll() is not None), None)
            if dead is None:
                life.go_on()
            return dead

        dead = until(find_dead)
        assert dead.ended_by() == signal.SIGKILL, f"at {point} the hub ended otherwise"


def check_story(town: Town, message: SealedSubmission) -> None:
    case, asked, sent = town.look(message)
    assert case.state == "CLOSED"
    assert case.outcome == "APPROVED"
    assert {row.state for row in asked} == {"DECIDED"}
    assert {row.state for row in sent} == {"DELIVERED"}
    town.check_effects({row.number for row in asked})
    assert [row["code"] for row in town.effects("customs") if row["case"] == case.number and row["code"]] == [
        "18",
        "19",
    ]
    told = [row["said"] for row in results(town) if row["said"]["case_number"] == case.number]
    assert [(one["verified"], one["outcome"]) for one in told] == [(True, "APPROVED")]
    # A call that the kill cut short in the middle of its octets is no message at all.
    assert [row for row in town.refusals() if row["problem"] not in ("GW103", "GW104")] == []
    engine = make_engine(town.database_url)
    with read_transaction(engine) as conn:
        assert len(messages.list_messages(conn, message_id=message.unit.message_id)) == 1
    engine.dispose()


@BOTH_AT_LANDING
@pytest.mark.timeout(600)
def test_accepted_submissions_survive_every_kill(town: Town) -> None:
    town.start_partners()
    life = Life(town)
    points = choose_points([*places(MAIN), *EXCHANGES], town.database_url)
    for point in points:
        killed_at(town, life, point)
    with town.processes():
        until(life.ended)
        life.repeat_everything()
    for message in life.filed:
        check_story(town, message)
    print(f"\n{len(points)} kills, {len(life.filed)} cases, all closed")


@in_turn
@pytest.mark.timeout(600)
def test_accepted_submissions_survive_every_kill_of_one_of_two_working_processes(
    tmp_path: Path, database_url: str
) -> None:
    """Whichever of two comes to the place dies there; the other one goes on until both are ended."""
    town = Town(tmp_path / "town", database_url, working=2)
    try:
        test_accepted_submissions_survive_every_kill(town)
    finally:
        town.close()


def unknown_class(root: etree._Element) -> None:
    """Ask something that is in no list: the submission is refused after its receipt."""
    for element in root.iter("{urn:single-window:document:kpta-pharm-imp:1}DrugClass"):
        element.text = "NOPE"


@BOTH_AT_LANDING
@pytest.mark.timeout(300)
def test_refused_submissions_get_their_result_in_spite_of_every_kill(town: Town) -> None:
    town.start_partners()
    life = Life(town)
    for point in places(REFUSED):
        killed_at(town, life, point, unknown_class)
    with town.hub():
        until(life.ended)
        until(lambda: len(results(town)) == len(life.filed))
        life.repeat_everything()
    assert {row["said"]["outcome"] for row in results(town)} == {"REFUSED"}
    assert Counter(row["said"]["reference"] for row in results(town)) == Counter(
        message.reference for message in life.filed
    )
    assert not any(town.effects(name) for name in ("KPTA", "KFDA", "NPQS", "customs"))


@BOTH_AT_LANDING
@pytest.mark.timeout(300)
def test_an_agency_that_is_down_strands_its_request_and_nothing_else(
    tmp_path: Path, database_url: str
) -> None:
    town = Town(tmp_path / "town", database_url, agency={"KPTA": "retries = 2"})
    try:
        town.start_partners(KPTA={"behaviour": "immediate", "mischief": ["silent"]})
        life = Life(town)
        for point in places(STRANDED):
            killed_at(town, life, point)
        with town.hub():

            def stranded() -> bool:
                life.go_on()
                seen = [town.look(one)[1] for one in life.filed if town.case_of(one) is not None]
                states = [{row.agency: row.state for row in asked} for asked in seen]
                wanted = {"KPTA": "STRANDED", "KFDA": "DECIDED", "NPQS": "DECIDED"}
                return len(states) == len(life.filed) and all(one == wanted for one in states)

            until(stranded)
        assert town.effects("KPTA") == []
        for agency in ("KFDA", "NPQS"):
            assert (
                max(Counter((row["effect"], row["application"]) for row in town.effects(agency)).values())
                == 1
            )
    finally:
        town.close()


@BOTH_AT_LANDING
@pytest.mark.timeout(400)
def test_signals_by_posts_of_our_own_survive_every_kill(tmp_path: Path, database_url: str) -> None:
    cast = read_cast()
    agreement = cast.agreement.replace("mshSignalsOnly", "none").replace(
        "retry_interval: 2", "retry_interval: 1"
    )
    town = Town(tmp_path / "town", database_url, cast=replace(cast, agreement=agreement))
    try:
        town.start_partners()
        life = Asking(town)
        for point in choose_points(places(ASYNCHRONOUS), database_url):
            killed_at(town, life, point)
        with town.hub():
            until(life.ended)
        for message in life.filed:
            check_story(town, message)
    finally:
        town.close()


class Asking(Life):
    """Also pings the hub, and sends what is spoilt: both are answered by a POST of the hub's own."""

    def go_on(self) -> None:
        super().go_on()
        unit = self.filed[-1].unit
        context = self.town.member.build_context()
        ping = Ping(
            context.make_message_id(), "ping", unit.sender, unit.receiver, unit.agreement, context.now
        )
        post(self.town.url, EBMS2.seal((ping,), None, context))
        good = self.filed[-1].parcel
        spoilt = good.body.open_stream().read().replace(b"TOWN-", b"TOWM-")
        post(self.town.url, Parcel(good.headers, MemoryBody(spoilt)))


def results(town: Town) -> list[dict[str, Any]]:
    return [row for row in town.received() if row["action"] == "Result"]
