"""The address of a message leads to it, whatever signs its id has."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from gateway.wire import serialize_element
from tests.flows.craft import without_applications
from tests.kit.api import Client
from tests.kit.story import Story
from tests.web.api.test_cases import file

#: Ids that mean something else when they stand in an address as they are.
KEYS = [
    "a%2Fb",
    "a?b=c",
    "a#b",
    "a/b",
    "a//b",
    "/a/",
    "a%",
    "%2e%2e",
    "a;v=1",
    "a+b&c",
    "a\\b",
    "receipt",
    "...",
    "[:]@",
]


@pytest.mark.parametrize("key", KEYS)
def test_each_address_of_an_answer_leads_to_the_message(story: Story, broker: Client, key: str) -> None:
    content = serialize_element(story.submission(without_applications))
    head = {"Idempotency-Key": key}
    answer = broker.post("submissions", data=content, content_type="application/xml", headers=head)
    assert (answer.status_code, answer.json["message_id"]) == (201, key)
    place = answer.json["message_url"]
    assert answer.headers["Location"] == place
    parts = urlsplit(place)
    assert (parts.path, parts.path.count("/")) == (place, 4), "one step of the path"
    assert broker.get(place).json["message_id"] == key
    assert broker.get(answer.json["receipt_url"]).mimetype.endswith("xml")
    assert broker.get(f"{place}/document").data == content


@pytest.mark.parametrize(
    "key", [".", "..", "a/..", "../b", "a/./b", "/../", "a/receipt", "a/document", "/receipt", "a//document"]
)
def test_a_key_that_no_address_can_have_is_refused(story: Story, broker: Client, key: str) -> None:
    answer = file(broker, story, key)
    assert broker.problem(answer) == (400, "GW110")


def test_a_key_of_an_earlier_version_may_be_repeated(
    story: Story, broker: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = serialize_element(story.submission(without_applications))
    more = {"content_type": "application/xml", "headers": {"Idempotency-Key": "2026/../receipt"}}
    with monkeypatch.context() as earlier:
        earlier.setattr("gateway.web.api.message_operations._is_unreachable", lambda _: False)
        assert broker.post("submissions", data=content, **more).status_code == 201
    assert broker.post("submissions", data=content, **more).status_code == 200
