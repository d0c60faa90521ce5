"""``gateway pull`` joins what it pulls in fragments: one message, whatever is lost or killed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from gateway.client import HttpReply, MessageHandler
from gateway.client.fragment_folder import CompleteGroup
from gateway.message_model import MemoryBody, read_octets
from gateway.operations import load_unchecked_agreement
from gateway.protocols import Parcel, SplitTerms, as4
from gateway.store import messages, read_transaction, write_transaction
from gateway.wire import DEFAULT_LIMITS
from tests.conformance.test_pull_command import RETRIED, Desk, Fate, desk, give, lose_answer, lose_request
from tests.kit.house import signer_named

__all__ = ["desk"]

SPLITTING = b"splitting: {fragment_size: 1500, message_size: 10000000, join_interval: 3600}"
#: The Result alone goes in fragments: what the broker sends needs an endpoint for the receipt of the whole.
TERMS = RETRIED.replace(b"action: Result, ", b"action: Result, " + SPLITTING + b", ")


@pytest.fixture
def split(desk: Desk) -> Desk:
    """Return the desk with a decided case whose Result waits in fragments."""
    with write_transaction(desk.story.house.engine) as conn:
        load_unchecked_agreement(conn, TERMS, "split.yaml", desk.story.clock())
    (desk.folder / "agreement.yaml").write_bytes(TERMS)
    assert desk.submit("--wait", "0")[0] == 0
    desk.story.tick(seconds=0.01)
    desk.asked.clear()
    return desk


def pieces(desk: Desk) -> list[Any]:
    return [row for row in desk.story.deliveries(agent="msh") if "fragment" in row.parameters]


def whole(desk: Desk) -> Any:
    (found,) = [row for row in desk.story.deliveries(agent="msh") if "split" in row.parameters]
    return found


def check_delivered(desk: Desk) -> None:
    """Check that the broker has the Result once, octet for octet, and the hub knows it."""
    assert (whole(desk).state, desk.story.case().state) == ("DELIVERED", "CLOSED")
    (folder,) = (desk.folder / "results").glob("[0-9]*-Result-*")
    with read_transaction(desk.story.house.engine) as conn:
        rows = messages.list_messages(conn, direction="out", kind="UserMessage")
        (result,) = [row for row in rows if row.action == "Result"]
        (part,) = messages.load_payloads(conn, result.id)
    assert read_octets(part.octets) in {path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert not list((desk.folder / "results" / "fragments").glob("*/*.part"))


@pytest.mark.night
def test_fragments_are_pulled_and_joined(split: Desk) -> None:
    assert len(pieces(split)) > 1
    status, told, problem = split.pull()
    assert (status, problem) == (0, "")
    assert [one["action"] for one in told] == ["Result"]
    check_delivered(split)
    # One receipt for each fragment, and that of the whole.
    receipts = [body for body in split.asked if b":Receipt>" in body]
    assert len(receipts) == len(pieces(split)) + 1
    asked = len(split.asked)
    assert split.pull()[:2] == (0, [])
    assert len(split.asked) == asked + 1


@pytest.mark.night
def test_submit_waits_for_a_result_in_fragments(desk: Desk) -> None:
    with write_transaction(desk.story.house.engine) as conn:
        load_unchecked_agreement(conn, TERMS, "split.yaml", desk.story.clock())
    (desk.folder / "agreement.yaml").write_bytes(TERMS)
    status, told = desk.submit("--wait", "10")
    assert (status, told["state"], told["result"]["verified"]) == (0, "DECIDED", True)
    assert (whole(desk).state, desk.story.case().state) == ("DELIVERED", "CLOSED")


@pytest.mark.night
@pytest.mark.parametrize("lost", [lose_request, lose_answer])
@pytest.mark.parametrize("place", ["request", "receipt"])
def test_what_is_lost_comes_again_and_nothing_else(split: Desk, place: str, lost: Fate) -> None:
    split.fates = [give, give, *([give] if place == "receipt" else []), lost]
    status, _, problem = split.pull()
    assert (status, "GW601" in problem) == (1, True)
    split.story.tick(seconds=2)
    assert split.pull()[0] == 0
    check_delivered(split)
    # Handed out twice: what was lost in its answer, and what has no receipt.
    again = (place, lost) in {("request", lose_answer), ("receipt", lose_request)}
    assert sum(row.tries for row in pieces(split)) == len(pieces(split)) + again
    receipts = [body for body in split.asked if b":Receipt>" in body]
    assert len(set(receipts)) == len(pieces(split)) + 1


def skip(*_given: Any) -> bool:
    return False


def fail(*_given: Any) -> None:
    raise OSError


@pytest.mark.night
@pytest.mark.parametrize(
    ("owner", "name", "instead"),
    [
        (MessageHandler, "_run_in_thread", skip),
        (MessageHandler, "_store_joined_message", fail),
        (CompleteGroup, "end_group", fail),
        (MessageHandler, "_try_post", skip),
        (CompleteGroup, "record_receipt_delivered", fail),
    ],
    ids=["before the join", "while it joins", "before its note", "before the receipt", "after the receipt"],
)
def test_what_ended_amid_the_join_is_finished_by_the_next_one(
    split: Desk, monkeypatch: pytest.MonkeyPatch, owner: type, name: str, instead: Callable[..., Any]
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(owner, name, instead)
        assert split.pull()[0] == 0
    told = name == "record_receipt_delivered"
    assert whole(split).state == ("DELIVERED" if told else "AWAITING_RECEIPT")
    assert {row.state for row in pieces(split)} == {"DELIVERED"}
    asked = len(split.asked)
    assert split.pull()[0] == 0
    check_delivered(split)
    # The receipt and one request; nothing was pulled again.
    assert len(split.asked) == asked + 2
    assert split.pull()[0] == 0
    assert len(split.asked) == asked + 3


def forge(split: Desk, number: int, *, size: int = 1500, group: str | None = None) -> HttpReply:
    """Return a fragment with another MessageId that the hub never made, signed with its key."""
    with read_transaction(split.story.house.engine) as conn:
        rows = messages.list_messages(conn, direction="out", kind="UserMessage")
        (row,) = [one for one in rows if one.action == "Result"]
        headers, octets = messages.load_parcel(conn, row.id)
    plan = as4.plan_split(Parcel(headers, MemoryBody(octets)), SplitTerms(size), DEFAULT_LIMITS)
    if group is not None:
        plan = replace(plan, unit=replace(plan.unit, message_id=group))
    sealed = as4.seal_fragment(plan, number, "forged@hub.example", signer_named("hub"))
    return HttpReply(200, sealed.headers["Content-Type"], sealed.read_octets())


@pytest.mark.night
@pytest.mark.parametrize(
    ("number", "size", "code"), [(2, 1500, "EBMS:0046"), (1, 1500, "EBMS:0042"), (9, 700, "EBMS:0048")]
)
def test_a_fragment_that_contradicts_its_group_ends_the_whole(
    split: Desk, caplog: pytest.LogCaptureFixture, number: int, size: int, code: str
) -> None:
    split.fates = [give, give, give, give, lambda _ask: forge(split, number, size=size)]
    status, told, _ = split.pull()
    assert (status, told) == (1, [])
    assert (whole(split).state, whole(split).problem) == ("FAILED", "GW602")
    assert code in caplog.text
    split.story.tick(seconds=2)
    # Nothing of it is handed out any more.
    assert split.pull()[:2] == (0, [])
    assert not list((split.folder / "results" / "fragments").glob("*/*.part"))


@pytest.mark.night
def test_a_fragment_of_a_foreign_group_changes_nothing_of_the_true_one(split: Desk) -> None:
    split.fates = [give, give, lambda _ask: forge(split, 2, group="another@hub.example")]
    # The hub knows nothing of it, and says so to its receipt.
    status, _, problem = split.pull()
    assert (status, "EBMS:0001" in problem) == (1, True)
    assert len(list((split.folder / "results" / "fragments").iterdir())) == 2
    assert split.pull()[0] == 0
    assert (whole(split).state, split.story.case().state) == ("DELIVERED", "CLOSED")


@pytest.mark.night
def test_a_changed_fragment_is_refused_and_the_hub_hears_of_it(split: Desk) -> None:
    def spoil(ask: Callable[[], HttpReply]) -> HttpReply:
        reply = ask()
        return replace(reply, body=reply.body.replace(b"FragmentNum>2<", b"FragmentNum>3<"))

    split.fates = [give, give, spoil]
    assert split.pull()[0] == 1
    assert b"eb3:Error " in split.asked[-1]
    split.story.tick(seconds=1)
    assert "DELIVERED" not in {whole(split).state}
