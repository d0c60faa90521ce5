"""When a call was made: its Timestamp old, early, missing, twice, or no time at all (REP-05)."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from lxml import etree

from gateway.conformance.hostile.alterations import (
    Alteration,
    added,
    at,
    digest_as_written,
    doubled,
    element,
    put_first,
    removed,
    sign_again,
    text_set,
)
from gateway.conformance.hostile.calls import (
    CREATED,
    EXPIRES,
    HEADER,
    SECURITY,
    TIMESTAMP,
    a_call,
    by_agency,
    call_of,
    on_its_way,
)
from gateway.conformance.hostile.case import Case, Post
from gateway.conformance.hostile.plays import Maker

if TYPE_CHECKING:
    from gateway.conformance.hostile.bench import Bench

__all__ = ["CASES"]

_TIME: Final = "WS-Security §10; BSP R3203 to R3229"


def _shifted(**shift: float) -> Maker:
    """Return: an honest call by a clock that goes wrong."""
    return lambda bench: bench.call(now=bench.now() + timedelta(**shift))


def _written(at_that_time: datetime) -> str:
    return at_that_time.strftime("%Y-%m-%dT%H:%M:%SZ")


def _life(**until: float) -> Maker:
    """Return: a call whose Timestamp expires so long after now, as the agency signed it."""

    def make(bench: Bench) -> Post:
        text = _written(bench.now() + timedelta(**until))
        return _signed_again(bench, text_set(EXPIRES, text))

    return make


def _signed_again(bench: Bench, *changes: Alteration) -> Post:
    return call_of(bench, *changes, digest_as_written, sign_again(bench.signer("agency")))


_TIMES: Final = (
    a_call("REP-05.expired", "a call made an hour ago", _shifted(hours=-1), "GW211", _TIME),
    a_call(
        "REP-05.just-expired",
        "a call made five minutes and a second ago",
        _shifted(seconds=-301),
        "GW211",
        _TIME,
    ),
    a_call("REP-05.future", "a call made in an hour", _shifted(hours=1), "GW211", _TIME),
    a_call("REP-05.far-future", "a call made in ten years", _shifted(days=3650), "GW211", _TIME),
    a_call(
        "REP-05.ends-at-once",
        "a Timestamp that has expired a second ago, though just created",
        _life(seconds=-1),
        "GW211",
        _TIME,
    ),
    a_call("REP-05.lives-long", "a Timestamp that lives two days", _life(days=2), "GW211", _TIME),
    *(
        by_agency(f"REP-05.{name}", title, change, problem, _TIME, naive=True)
        for name, title, change, problem in (
            ("year-9999", "Expires in the year 9999", text_set(EXPIRES, "9999-12-31T23:59:59Z"), "GW211"),
            ("year-10000", "Expires in the year 10000", text_set(EXPIRES, "10000-01-01T00:00:00Z"), "GW211"),
            ("year-0000", "Created in the year 0", text_set(CREATED, "0000-01-01T00:00:00Z"), "GW211"),
            ("no-zone", "Created without a zone", lambda root: _cut_zone(root), "GW211"),
            ("offset", "Created with an offset", text_set(CREATED, "2026-11-20T18:00:00+09:00"), "GW211"),
            ("leap-second", "Created in a leap second", text_set(CREATED, "2026-06-30T23:59:60Z"), "GW211"),
            (
                "no-date",
                "Created on the thirtieth of February",
                text_set(CREATED, "2026-02-30T00:00:00Z"),
                "GW211",
            ),
            ("words", "Expires is a word", text_set(EXPIRES, "never"), "GW211"),
            ("empty", "Created is empty", text_set(CREATED, ""), "GW211"),
            ("no-created", "no Created", removed(CREATED), "GW211"),
            ("no-expires", "no Expires", removed(EXPIRES), "GW211"),
            ("two-created", "Created stands twice", doubled(CREATED), "GW211"),
            (
                "swapped",
                "Expires before Created",
                lambda root: put_first(at(root, TIMESTAMP), at(root, EXPIRES)),
                "GW211",
            ),
            (
                "further",
                "an unknown element in the Timestamp",
                added(TIMESTAMP, "<x:Until>2999-01-01T00:00:00Z</x:Until>"),
                "GW211",
            ),
        )
    ),
    on_its_way("REP-05.absent", "no Timestamp", removed(TIMESTAMP), "GW211", _TIME),
    on_its_way(
        "REP-05.two",
        "two Timestamps, the second unsigned",
        lambda root: _second_timestamp(root),
        "GW211",
        _TIME,
        naive=True,
    ),
    on_its_way(
        "REP-05.in-header",
        "the Timestamp beside the Security header",
        lambda root: at(root, HEADER).append(at(root, TIMESTAMP)),
        "GW107",
        _TIME,
        naive=True,
    ),
    on_its_way(
        "REP-05.prolonged",
        "Expires prolonged after the call was signed",
        text_set(EXPIRES, "2999-01-01T00:00:00Z"),
        "GW202",
        _TIME,
    ),
)


def _cut_zone(root: etree._Element) -> None:
    created = at(root, CREATED)
    created.text = (created.text or "").rstrip("Z")


def _second_timestamp(root: etree._Element) -> None:
    moments = "<wsu:Created>2026-01-01T00:00:00Z</wsu:Created><wsu:Expires>2999-01-01T00:00:00Z</wsu:Expires>"
    at(root, SECURITY).append(element(f"<wsu:Timestamp>{moments}</wsu:Timestamp>"))


CASES: Final[tuple[Case, ...]] = (*_TIMES,)
