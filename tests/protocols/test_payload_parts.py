"""The parts of a message by the names that its header gives them."""

from __future__ import annotations

import pytest

from gateway.errors import MIME_MALFORMED, GatewayError
from gateway.protocols.payload_parts import index_parts
from gateway.wire import MimePart


def make_part(content_id: str, octets: bytes = b"") -> MimePart:
    return MimePart({}, content_id, "text/plain", octets)


def test_parts_are_found_by_their_content_id_in_their_order() -> None:
    parts = index_parts([make_part("b@x", b"1"), make_part("a@x", b"2")])
    assert [(name, part.content) for name, part in parts.items()] == [("b@x", b"1"), ("a@x", b"2")]


@pytest.mark.parametrize("repeated", ["a@x", "b@x", ""])
def test_a_part_without_a_name_of_its_own_is_refused(repeated: str) -> None:
    with pytest.raises(GatewayError) as refused:
        index_parts([make_part("a@x"), make_part("b@x"), make_part(repeated)])
    assert refused.value.problem is MIME_MALFORMED
