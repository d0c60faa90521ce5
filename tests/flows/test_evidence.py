"""Whatever is changed leaves its steps and its evidence, and both fit together without a gap."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta

import pytest
from sqlalchemy import Engine, func, select

from gateway.cases import AgencyCallback, DecisionCode, Notice, SignedReply
from gateway.errors import REFUSED_FOR_GOOD, GatewayError
from gateway.evidence import encode_leaf, hash_leaf, list_subject_leaves
from gateway.hub import apply_call_back
from gateway.hub.completion import operator_actions
from gateway.state_machines import MACHINES, get_next_state
from gateway.store import agency_requests, customs_notices, payloads, read_transaction
from tests.flows.craft import all_of, reference, supplement, without, without_applications
from tests.kit import tables
from tests.kit.databases import in_turn
from tests.kit.story import Story, unreachable, unsigned

TABLES = {
    "message": tables.messages,
    "case": tables.cases,
    "request": tables.agency_requests,
    "delivery": tables.deliveries,
    "clearance": customs_notices.clearances,
}
#: Named transactions that say nothing new to anyone: they end a task whose effect was stored
#: before, or move a delivery, whose steps and attempts are its record, or count and tidy. A join
#: says nothing where nobody knows the number that the case waits for; what it writes off, joins or
#: decides has its leaves (test_outside_results), as has each result when it is stored.
SILENT = {
    "accounts.upkeep",
    "events.sequence",
    "states.fold",
    "statistics.count",
    "admit.again",
    "conclude.overtaken",
    "delivery.claim",
    "delivery.defer",
    "delivery.upkeep",
    "delivery.drawn_in",
    "msh.awaiting",
    "msh.delivered",
    "receive.tally",
    "requirement.join",
}


def everything_happens(story: Story) -> None:
    """Take the hub through refusals, faults, questions, corrections and an operator's hands."""
    story.say("KFDA", unreachable(), lambda _: story.notice("KFDA", DecisionCode.REJECTED))
    story.say("NPQS", GatewayError(REFUSED_FOR_GOOD, "fault soap:Client"))
    story.say("customs", unreachable())
    story.inbox.answers.extend([unreachable()])
    story.submit(unsigned())
    story.submit()
    story.submit(story.submission(all_of(without_applications, reference("HB2026-000999"))), attach=False)
    story.tick()
    story.tick(seconds=30)
    story.operate(operator_actions.requeue_delivery, story.deliveries(destination="NPQS")[0].id)
    story.tick()
    for agency in ("KPTA", "NPQS"):
        story.hear(agency, Notice(f"{agency}-Q", story.clock(), "D01", text="more", deadline=story.clock()))
    undecided = all_of(supplement, without("Application[@id='A2']"))
    story.submit(story.submission(undecided), action="Supplement", attach=False)
    story.submit()
    story.tick()
    second = [row for row in story.deliveries(destination="NPQS") if row.state == "QUEUED"]
    assert second == []
    story.tick(minutes=1)
    story.decide("KPTA")
    story.decide("NPQS")
    story.tick(minutes=1)
    story.hear("KFDA", story.notice("KFDA", number="N2", status="R02", at=story.clock() + timedelta(1)))
    story.tick(days=9)
    story.tick(days=9)


@pytest.mark.long
@in_turn
def test_the_steps_of_every_object_are_a_chain_from_its_first_state(engine: Engine) -> None:
    story = Story(engine)
    everything_happens(story)
    chains = defaultdict(list)
    with read_transaction(engine) as conn:
        for row in conn.execute(select(tables.transitions).order_by(tables.transitions.c.id)):
            chains[row.machine, row.object_id].append(row)
        for name, table in TABLES.items():
            machine = MACHINES[name]
            for row in conn.execute(select(table.c.id, table.c.state)):
                state = machine.initial_state
                for one in chains.pop((name, row.id), []):
                    assert one.from_state == state
                    state = get_next_state(machine, one.from_state, one.event)
                    assert one.to_state == state
                assert row.state == state, (name, row.id)
    assert chains == {}


@pytest.mark.long
def test_every_leaf_is_what_its_hash_says(engine: Engine) -> None:
    story = Story(engine)
    everything_happens(story)
    with read_transaction(engine) as conn:
        leaves = conn.execute(select(tables.evidence)).all()
    assert len(leaves) > 20
    for row in leaves:
        assert hash_leaf(encode_leaf(row._mapping)) == row.leaf_hash
    kinds = {row.kind for row in leaves}
    assert kinds >= {
        *("NRO", "NRS", "NRR", "admitted", "refused", "supplemented", "sent", "acknowledged", "notice"),
        *("decided", "corrected", "closed", "customs", "undeliverable", "operator"),
    }


@pytest.mark.long
def test_every_transaction_of_the_hub_leaves_evidence(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    grown: dict[str, list[int]] = defaultdict(list)
    known = 0

    def looked_at(name: str, when: str) -> None:
        nonlocal known
        if not name or when != "after_commit":
            return
        with read_transaction(engine) as conn:
            now = conn.execute(select(func.count()).select_from(tables.evidence)).scalar_one()
        grown[name].append(now - known)
        known = now

    story = Story(engine)
    monkeypatch.setattr("gateway.store.engine.kill_at_failpoint", looked_at)
    everything_happens(story)
    assert set(grown) >= {
        *("receive.message", "admit.case", "admit.refused", "reply.call_back", "reply.answer"),
        *("conclude.result", "conclude.notice", "signals.settled", "partner.customs", "delivery.failed"),
    }
    silent = {name for name, numbers in grown.items() if min(numbers) < 1}
    assert silent <= SILENT


@pytest.mark.long
def test_the_signed_octets_an_agency_spoke_by_are_kept(engine: Engine) -> None:
    """Answer and call-back: both stand in the store, and evidence of origin names them."""
    story = Story(engine)
    story.submit()
    story.tick()
    apply_call_back(
        story.hub,
        "NPQS",
        AgencyCallback(story.notice("NPQS"), story.number_of("NPQS")),
        SignedReply(b"<signed call-back/>"),
    )
    with read_transaction(engine) as conn:
        asked = {row.agency: row for row in agency_requests.list_by_case(conn, story.case().id)}
        kept = {agency: payloads.get_payload_octets(conn, row.reply_sha256) for agency, row in asked.items()}
        assert kept == {
            "KPTA": b"<signed answer/>",
            "KFDA": b"<signed answer/>",
            "NPQS": b"<signed call-back/>",
        }
        told = [
            row.digest
            for row in list_subject_leaves(conn, "request", asked["NPQS"].id)
            if row.kind == "reply"
        ]
    assert told[-1] == asked["NPQS"].reply_sha256
    assert len(told) == 2
