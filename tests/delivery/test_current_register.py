"""An answer is judged by the register as it is when its effect is stored."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from gateway.cases import AgencyAcknowledgment
from gateway.delivery.attempt_outcome import run_with_current_register
from gateway.errors import ANSWER_NOT_UNDERSTOOD, GatewayError
from gateway.hub import RegisterSnapshot
from gateway.store import read_transaction, register_version, write_transaction
from tests.kit.databases import BOTH_AT_LANDING
from tests.kit.partners import Call
from tests.kit.story import Story


@pytest.fixture
def story(engine: Engine) -> Iterator[Story]:
    told = Story(engine)
    yield told
    told.hub.close()


def change_register(story: Story) -> None:
    """Let the register have another version, as when an operator registers somebody."""
    story.register(f"newcomer-{len(story.soap.calls)}")


def confirm_current(story: Story) -> RegisterSnapshot:
    """Confirm the snapshot by the version that a transaction reads."""
    with read_transaction(story.hub.engine) as conn:
        return story.hub.register.confirm_version(register_version.get_register_version(conn))


@BOTH_AT_LANDING
def test_a_change_during_a_call_does_not_repeat_the_call(story: Story) -> None:
    def answer(call: Call) -> AgencyAcknowledgment:
        change_register(story)
        return AgencyAcknowledgment(f"R-{call.destination}")

    story.say("KPTA", answer)
    story.submit()
    story.tick()
    calls = [one for one in story.soap.calls if one.destination == "KPTA"]
    (row,) = story.deliveries(destination="KPTA")
    assert (len(calls), row.state, row.attempt) == (1, "DELIVERED", 1)


@BOTH_AT_LANDING
def test_what_was_judged_by_an_old_register_is_judged_again(story: Story) -> None:
    known = story.hub.refresh_snapshot()
    change_register(story)
    judged: list[RegisterSnapshot] = []

    def work(knowledge: RegisterSnapshot) -> None:
        judged.append(knowledge)
        with write_transaction(story.hub.engine) as conn:
            story.hub.register.check_snapshot_current(conn, knowledge)

    run_with_current_register(story.hub, known, work)
    assert [one.epoch for one in judged] == [known.epoch, story.hub.refresh_snapshot().epoch]
    assert judged[1].epoch > known.epoch


@BOTH_AT_LANDING
def test_what_an_old_register_refused_is_tried_by_the_new_one_and_no_more(story: Story) -> None:
    known = story.hub.refresh_snapshot()
    change_register(story)
    judged: list[int] = []

    def refuse(knowledge: RegisterSnapshot) -> None:
        judged.append(knowledge.epoch)
        raise GatewayError(ANSWER_NOT_UNDERSTOOD, "nobody knows the signer")

    with pytest.raises(GatewayError, match="nobody knows"):
        run_with_current_register(story.hub, known, refuse)
    assert judged == [known.epoch, story.hub.get_snapshot().epoch]


@BOTH_AT_LANDING
def test_a_snapshot_is_confirmed_by_the_transaction_that_reads(story: Story) -> None:
    known = story.hub.refresh_snapshot()
    assert confirm_current(story) is known
    change_register(story)
    assert confirm_current(story).epoch > known.epoch
