"""What the hub sealed just now is not read again for its receipt; what another process sealed is."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.delivery.agents import msh_agent
from gateway.hub.hub import SentUnits
from gateway.message_model import MemoryBody
from gateway.protocols import PROTOCOLS, Parcel, SentUnit
from tests.kit.databases import BOTH
from tests.kit.house import AS4
from tests.kit.story import QUIET, Story, unreachable

#: Each case is an attack of its own.


def without_notice(agreement: bytes) -> bytes:
    return b"\n".join(line for line in agreement.splitlines() if b"broker1-notice" not in line)


#: An agreement of each protocol, in which a submission that is refused has one result and nothing else.
AGREEMENTS = {"ebms2": QUIET, "as4": without_notice(AS4)}


@pytest.fixture(params=AGREEMENTS)
def protocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def read(protocol: str, monkeypatch: pytest.MonkeyPatch) -> list[SentUnit]:
    """Return what is read again of messages that were sent."""
    found: list[SentUnit] = []
    spoken = PROTOCOLS[protocol]

    def read_sent_header(*given: Any) -> SentUnit:
        found.append(spoken.read_sent_header(*given))
        return found[-1]

    core = SimpleNamespace(**(vars(spoken) | {"read_sent_header": read_sent_header}))
    monkeypatch.setattr(msh_agent, "PROTOCOLS", {**PROTOCOLS, protocol: core})
    return found


def file(story: Story) -> None:
    """Send a submission that is refused: its result follows at once."""
    answered: dict[str, Any] = {"sync_reply": True} if story.broker.core is PROTOCOLS["as4"] else {}
    story.submit(b"<a/>", attach=False, **answered)


def states(story: Story) -> list[str]:
    return [row.state for row in story.deliveries(agent="msh") if row.subject_type == "case"]


@BOTH
def test_a_receipt_is_compared_with_what_was_sealed(
    engine: Engine, protocol: str, read: list[SentUnit]
) -> None:
    story = Story(engine, agreement=AGREEMENTS[protocol])
    file(story)
    story.tick()
    assert states(story) == ["DELIVERED"]
    assert read == []


def test_what_another_process_sends_is_read(engine: Engine, protocol: str, read: list[SentUnit]) -> None:
    story = Story(engine, agreement=AGREEMENTS[protocol])
    story.inbox.answers.append(unreachable())
    file(story)
    story.tick()
    story.hub.sent_units = SentUnits()
    story.tick(minutes=6)
    assert states(story) == ["DELIVERED"]
    assert len(read) == 1


def test_a_receipt_for_other_digests_is_refused(engine: Engine, protocol: str, read: list[SentUnit]) -> None:
    story = Story(engine, agreement=AGREEMENTS[protocol])
    keep = story.hub.sent_units.keep_unit

    def keep_another(digest: str, parcel: Parcel) -> None:
        assert parcel.sent_unit is not None
        first, *others = parcel.sent_unit.references
        wrong = replace(parcel.sent_unit, references=(replace(first, digest=bytes(32)), *others))
        keep(digest, replace(parcel, sent_unit=wrong))

    story.hub.sent_units.keep_unit = keep_another  # type: ignore[method-assign]
    file(story)
    story.tick()
    assert states(story) == ["QUEUED"]
    # It is sent again, and its stored octets are what counts then.
    story.tick(minutes=6)
    assert states(story) == ["DELIVERED"]
    assert len(read) == 1


def test_the_oldest_is_forgotten_and_each_is_given_once() -> None:
    kept, parcels = SentUnits(max_units=2), [_make_parcel(name) for name in "abc"]
    for parcel in parcels:
        kept.keep_unit(parcel.body.sha256_hex, parcel)
    digests = [parcel.body.sha256_hex for parcel in parcels]
    assert [kept.take_unit(one) for one in digests] == [None, parcels[1].sent_unit, parcels[2].sent_unit]
    assert [kept.take_unit(one) for one in (*digests, None)] == [None] * 4


def test_what_was_not_sealed_here_is_not_kept() -> None:
    kept = SentUnits()
    kept.keep_unit("0" * 64, Parcel({}, MemoryBody(b"a")))
    assert kept.take_unit("0" * 64) is None


def _make_parcel(name: str) -> Parcel:
    unit: Any = name
    return Parcel({}, MemoryBody(name.encode()), sent_unit=SentUnit(unit))
