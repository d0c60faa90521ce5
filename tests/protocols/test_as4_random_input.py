"""AS4: whatever is changed in the octets of a message, it is refused by a problem, or says what it said."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.agreements import PModeIndex
from gateway.errors import GatewayError
from gateway.message_model import MemoryBody, UserMessage
from gateway.protocols import Parcel, ProtocolContext, as4
from tests.protocols import as4_samples, sample_parties

PMODE = sample_parties.pmode("as4", **as4_samples.TERMS)
quick = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def context() -> ProtocolContext:
    return sample_parties.context(agreements=PModeIndex((PMODE,)))


@cache
def sealed() -> Parcel:
    return as4.seal((as4_samples.message(),), PMODE, context())


@cache
def content() -> tuple[object, ...]:
    unit = as4.open_units(sealed(), context()).unit
    assert isinstance(unit, UserMessage)
    return (unit.message_id, unit.action, unit.properties, tuple(one.content_id for one in unit.payloads))


def judge(parcel: Parcel) -> None:
    """Open a changed message; what is taken says what was signed, what is refused is answered."""
    try:
        unit = as4.open_units(parcel, context()).unit
    except GatewayError as refused:
        answer = as4.reject_parcel(refused, parcel, context())
        assert answer.http_status in (200, 204) or answer.http_status >= 400
        assert answer.parcel is not None or answer.http_status == 204
        return
    assert isinstance(unit, UserMessage)
    assert content() == (
        unit.message_id, unit.action, unit.properties, tuple(one.content_id for one in unit.payloads),
    )  # fmt: skip
    # Only what no digest distinguishes may differ: line ends of text, the spelling of tags of XML.
    assert unit.payloads[1].content == as4_samples.message().payloads[1].content


@quick
@given(st.integers(0, 10_000), st.integers(0, 40), st.binary(max_size=8))
def test_octets_are_replaced(at: int, length: int, octets: bytes) -> None:
    body = sample_parties.octets(sealed())
    at %= len(body)
    judge(Parcel(sealed().headers, MemoryBody(body[:at] + octets + body[at + length :])))


@quick
@given(st.integers(0, 10_000), st.integers(0, 10_000), st.integers(1, 400))
def test_octets_are_copied_to_another_place(source: int, target: int, length: int) -> None:
    body = sample_parties.octets(sealed())
    source, target = source % len(body), target % len(body)
    judge(
        Parcel(sealed().headers, MemoryBody(body[:target] + body[source : source + length] + body[target:]))
    )


@pytest.mark.parametrize(
    "kind",
    ["", "text/xml", "application/soap+xml", "multipart/related", "multipart/related; boundary=x", "a/b"],
)
def test_another_content_type_is_answered(kind: str) -> None:
    judge(Parcel({"Content-Type": kind}, sealed().body))
