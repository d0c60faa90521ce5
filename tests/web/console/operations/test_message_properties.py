"""The properties of a message of AS4 and of its parts on the page of the message, and in the API."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from gateway.message_model import MessageProperty
from gateway.store import messages, read_transaction
from tests.flows.craft import without_applications
from tests.kit.api import Api
from tests.kit.console import Browser
from tests.kit.house import AS4
from tests.kit.story import Story

MARKUP = "<b>urn:c1</b>"
CORNERS = (
    MessageProperty("originalSender", MARKUP, "urn:type"),
    MessageProperty("finalRecipient", "urn:c4"),
)


@pytest.fixture
def story(engine: Engine) -> Story:
    found = Story(engine, customs=False, agreement=AS4)
    root = found.submission(without_applications)
    found.submit(root, attach=False, sync_reply=True, properties=CORNERS)
    return found


@pytest.mark.long
def test_they_are_shown_as_text(story: Story, operator: Browser) -> None:
    with read_transaction(story.house.engine) as conn:
        (row,) = messages.list_messages(conn, direction="in")
    page = operator.get(f"/console/operations/messages/{row.id}").text
    assert "<code>originalSender</code></th><td>&lt;b&gt;urn:c1" in page
    assert MARKUP not in page
    for words in ("<code>finalRecipient</code></th><td>urn:c4", "<code>CharacterSet</code></th><td>UTF-8"):
        assert words in page, words


def test_the_api_tells_them(story: Story) -> None:
    with read_transaction(story.house.engine) as conn:
        (row,) = messages.list_messages(conn, direction="in")
    told = Api(story.house.hub).client("broker1").get(f"messages/{row.message_id}").json
    assert told["properties"] == [
        {"name": "originalSender", "value": MARKUP, "type": "urn:type"},
        {"name": "finalRecipient", "value": "urn:c4"},
    ]
    (part,) = told["parts"]
    assert part["properties"] == [{"name": "CharacterSet", "value": "UTF-8"}]
    assert part["media_type"] == "application/xml"
