"""When a call was made: its Timestamp old, early, missing, twice, or no time at all (REP-05)."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from lxml import etree

from gateway.conformance.hostile.attack_case import AttackCase
from gateway.conformance.hostile.attacker_kit import AttackerKit
from gateway.conformance.hostile.case_builders import (
    CREATED,
    EXPIRES,
    HEADER,
    SECURITY,
    TIMESTAMP,
    RequestMaker,
    build_tampered_call,
    make_agency_attack,
    make_call_attack,
    make_call_transit_attack,
)
from gateway.conformance.hostile.exchange import HttpRequest
from gateway.conformance.hostile.tree_mutations import (
    TreeMutation,
    append_element,
    duplicate_element,
    get_element,
    make_first_child,
    parse_element,
    recompute_signature,
    recompute_written_digests,
    remove_element,
    set_text,
)

__all__ = ["CASES"]

_TIME: Final = "WS-Security §10; BSP R3203 to R3229"


def _make_shifted_call(**shift: float) -> RequestMaker:
    """Return: an honest call by a clock that goes wrong."""
    return lambda bench: bench.build_call(now=bench.get_current_time() + timedelta(**shift))


def _format_instant(at_that_time: datetime) -> str:
    return at_that_time.strftime("%Y-%m-%dT%H:%M:%SZ")


def _make_lifetime_call(**until: float) -> RequestMaker:
    """Return: a call whose Timestamp expires so long after now, as the agency signed it."""

    def make_request(bench: AttackerKit) -> HttpRequest:
        text = _format_instant(bench.get_current_time() + timedelta(**until))
        return _sign_changed_call(bench, set_text(EXPIRES, text))

    return make_request


def _sign_changed_call(bench: AttackerKit, *changes: TreeMutation) -> HttpRequest:
    return build_tampered_call(
        bench, *changes, recompute_written_digests, recompute_signature(bench.get_signer("agency"))
    )


_TIMES: Final = (
    make_call_attack(
        "REP-05.expired", "a call made an hour ago", _make_shifted_call(hours=-1), "GW211", _TIME
    ),
    make_call_attack(
        "REP-05.just-expired",
        "a call made five minutes and a second ago",
        _make_shifted_call(seconds=-301),
        "GW211",
        _TIME,
    ),
    make_call_attack("REP-05.future", "a call made in an hour", _make_shifted_call(hours=1), "GW211", _TIME),
    make_call_attack(
        "REP-05.far-future", "a call made in ten years", _make_shifted_call(days=3650), "GW211", _TIME
    ),
    make_call_attack(
        "REP-05.ends-at-once",
        "a Timestamp that has expired a second ago, though just created",
        _make_lifetime_call(seconds=-1),
        "GW211",
        _TIME,
    ),
    make_call_attack(
        "REP-05.lives-long", "a Timestamp that lives two days", _make_lifetime_call(days=2), "GW211", _TIME
    ),
    *(
        make_agency_attack(f"REP-05.{name}", title, change, problem, _TIME, naive=True)
        for name, title, change, problem in (
            ("year-9999", "Expires in the year 9999", set_text(EXPIRES, "9999-12-31T23:59:59Z"), "GW211"),
            ("year-10000", "Expires in the year 10000", set_text(EXPIRES, "10000-01-01T00:00:00Z"), "GW211"),
            ("year-0000", "Created in the year 0", set_text(CREATED, "0000-01-01T00:00:00Z"), "GW211"),
            ("no-zone", "Created without a zone", lambda root: _remove_zone(root), "GW211"),
            ("offset", "Created with an offset", set_text(CREATED, "2026-11-20T18:00:00+09:00"), "GW211"),
            ("leap-second", "Created in a leap second", set_text(CREATED, "2026-06-30T23:59:60Z"), "GW211"),
            (
                "no-date",
                "Created on the thirtieth of February",
                set_text(CREATED, "2026-02-30T00:00:00Z"),
                "GW211",
            ),
            ("words", "Expires is a word", set_text(EXPIRES, "never"), "GW211"),
            ("empty", "Created is empty", set_text(CREATED, ""), "GW211"),
            ("no-created", "no Created", remove_element(CREATED), "GW211"),
            ("no-expires", "no Expires", remove_element(EXPIRES), "GW211"),
            ("two-created", "Created stands twice", duplicate_element(CREATED), "GW211"),
            (
                "swapped",
                "Expires before Created",
                lambda root: make_first_child(get_element(root, TIMESTAMP), get_element(root, EXPIRES)),
                "GW211",
            ),
            (
                "further",
                "an unknown element in the Timestamp",
                append_element(TIMESTAMP, "<x:Until>2999-01-01T00:00:00Z</x:Until>"),
                "GW211",
            ),
        )
    ),
    make_call_transit_attack("REP-05.absent", "no Timestamp", remove_element(TIMESTAMP), "GW211", _TIME),
    make_call_transit_attack(
        "REP-05.two",
        "two Timestamps, the second unsigned",
        lambda root: _append_second_timestamp(root),
        "GW211",
        _TIME,
        naive=True,
    ),
    make_call_transit_attack(
        "REP-05.in-header",
        "the Timestamp beside the Security header",
        lambda root: get_element(root, HEADER).append(get_element(root, TIMESTAMP)),
        "GW107",
        _TIME,
        naive=True,
    ),
    make_call_transit_attack(
        "REP-05.prolonged",
        "Expires prolonged after the call was signed",
        set_text(EXPIRES, "2999-01-01T00:00:00Z"),
        "GW202",
        _TIME,
    ),
)


def _remove_zone(root: etree._Element) -> None:
    created = get_element(root, CREATED)
    created.text = (created.text or "").rstrip("Z")


def _append_second_timestamp(root: etree._Element) -> None:
    moments = "<wsu:Created>2026-01-01T00:00:00Z</wsu:Created><wsu:Expires>2999-01-01T00:00:00Z</wsu:Expires>"
    get_element(root, SECURITY).append(parse_element(f"<wsu:Timestamp>{moments}</wsu:Timestamp>"))


CASES: Final[tuple[AttackCase, ...]] = (*_TIMES,)
