"""What an agreement says of splitting: read from YAML, stored, compared, and refused where it is none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.agreements import PMode, SplittingTerms, list_differences, pmode_from_json, pmode_to_json
from gateway.errors import GatewayError
from gateway.protocols import list_unsupported_terms
from tests.agreements.as4_agreements import GOOD_AGREEMENTS, change, read

TEXT = GOOD_AGREEMENTS["edelivery-1.15"]
ALL = (
    "{fragment_size: 1000000, compression: gzip, join_interval: 7200, routing_properties: [a, b], "
    "message_size: 500000000, open_groups: 2}"
)


def read_pmodes(words: str) -> tuple[PMode, ...]:
    return read(change(TEXT, "pmodes:", f"defaults:\n  splitting: {words}\npmodes:")).pmodes


def test_every_term_is_read_stored_and_compared() -> None:
    one, other = read_pmodes(ALL)
    assert one.splitting == other.splitting == SplittingTerms(10**6, "gzip", 7200, ("a", "b"), 5 * 10**8, 2)
    assert pmode_from_json(pmode_to_json(one)) == one
    stored = pmode_to_json(one)
    del stored["splitting"]
    assert pmode_from_json(stored).splitting is None
    assert one.splitting is not None
    later = replace(one, splitting=replace(one.splitting, join_interval=3600))
    (told,) = (found.sentence for found in list_differences((one,), (later,)))
    assert told == "splitting, join interval of Store: 2 hours becomes 1 hour"


def test_a_p_mode_overrides_the_defaults_and_none_drops_them() -> None:
    more = change(TEXT, "pmodes:", f"defaults:\n  splitting: {ALL}\npmodes:")
    own = change(more, "{id: back,", "{id: back, splitting: none,")
    there, back = read(change(own, "{id: there,", "{id: there, splitting: {join_interval: 60},")).pmodes
    assert back.splitting is None
    assert there.splitting == SplittingTerms(10**6, "gzip", 60, ("a", "b"), 5 * 10**8, 2)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("{compression: gzip}", "splitting needs fragment_size"),
        ("{fragment_size: 0}", "fragment_size must be 1 to"),
        ("{fragment_size: 1000}", "gives 2147484 fragments; the most are 8192"),
        ("{fragment_size: 1000000, compression: brotli}", "compression must be one of gzip, none"),
        ("{fragment_size: 1000000, join_interval: 0}", "join_interval must be 1 to"),
        ("{fragment_size: 1000000, open_groups: 0}", "open_groups must be 1 to"),
        ("{fragment_size: 1000000, order: true}", "order"),
    ],
)
def test_what_is_no_term_of_splitting_is_refused(words: str, told: str) -> None:
    with pytest.raises(GatewayError, match=told) as caught:
        read_pmodes(words)
    assert caught.value.problem.id == "GW808"


def test_messages_of_ebms_2_are_not_split() -> None:
    (one, _) = read_pmodes(ALL)
    assert "ebMS 2.0 has no splitting" in list_unsupported_terms(replace(one, protocol="ebms2"))
    assert not list_unsupported_terms(one)
