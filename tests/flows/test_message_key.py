"""A hub whose key is of Ed25519: it signs messages, and the documents wait for a key that signs them."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from gateway.cli.registration import register_certificate
from gateway.hub import warm_up_hub
from gateway.store import write_transaction
from tests.kit.databases import BOTH
from tests.kit.house import signer_named
from tests.kit.story import QUIET, Story

pytestmark = BOTH


def test_a_result_waits_for_a_key_that_signs_documents(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    story, message_key = Story(engine, agreement=QUIET), signer_named("hub", "ed25519")
    with write_transaction(engine) as conn:
        register_certificate(conn, "hub", message_key.certificate.der, story.clock())
    document_key, story.hub.signer = story.hub.signer, message_key
    warm_up_hub(story.hub)
    assert "no document is signed for now: GW803 an Ed25519 key signs messages" in caplog.text
    story.submit()
    story.tick()
    story.decide_all()
    for _ in range(3):
        story.tick(minutes=10)
    assert story.inbox.documents("Result") == []
    waiting = story.deliveries(state="QUEUED")
    assert {(row.problem, row.tries) for row in waiting if row.follows is None} == {("GW803", 0)}
    story.hub.signer = document_key
    story.tick(minutes=10)
    assert story.outcome()[0] == "APPROVED"
