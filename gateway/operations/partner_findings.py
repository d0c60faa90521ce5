"""Findings about partners: who has no address or tariff, which deliveries have failed or wait too long."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Row

from gateway.config import Settings
from gateway.delivery import build_partners
from gateway.errors import ATTEMPTS_USED_UP, NO_ADDRESS, PROBLEMS, GatewayError
from gateway.harmonize import MappingBundle
from gateway.hub import CUSTOMS
from gateway.operations.plain_values import count_things, shorten_sentence
from gateway.store import deliveries, delivery_leases

__all__ = [
    "find_failed_deliveries",
    "find_missing_addresses",
    "find_stuck_deliveries",
    "find_tariff_warnings",
]

#: A delivery that is older and has not ended is stuck: the longest wait between attempts is shorter.
_STUCK: Final = timedelta(hours=1)
#: How much of a partner's words a finding repeats.
_LONGEST: Final = 200


def find_missing_addresses(settings: Settings, bundle: MappingBundle) -> Iterator[str]:
    """Yield a warning for each agency of the mappings, and for customs, that cannot be called."""
    called = build_partners(settings)
    asked = Counter(document.organisation for document in bundle.documents.values())
    for agency, number in sorted(asked.items()):
        if agency not in called:
            documents = count_things(number, "document")
            yield (
                f"{NO_ADDRESS.id} agency {agency} has no address, and {documents} of the mappings in force "
                f"ask it: set agency.{agency}.endpoint"
            )
    if CUSTOMS not in called:
        yield f"{NO_ADDRESS.id} customs has no address and is told nothing: set customs.endpoint"


def find_tariff_warnings(settings: Settings, bundle: MappingBundle) -> Iterator[str]:
    """Yield a warning for each document whose fee is due first and has no tariff, and for each odd tariff."""
    tariffs = settings.fees.tariff
    for name, document in sorted(bundle.documents.items()):
        if document.fee.due == "before_forwarding" and name not in tariffs:
            yield (
                f"document {name} has a fee that is due before forwarding, and no tariff: its applications "
                f"are forwarded unpaid; set fees.tariff.{name}"
            )
    for name in sorted(set(tariffs) - set(bundle.documents)):
        yield f"fees.tariff names {name[:60]}, which is no document of the mappings in force: nobody pays it"


def find_failed_deliveries(conn: Connection) -> Iterator[GatewayError]:
    """Yield a problem for each lane and problem id with deliveries that are FAILED.

    A row without a known problem is told as GW604: the delivery has failed, and its row does not say why.
    """
    for row in deliveries.summarize_failed(conn):
        problem = PROBLEMS.get(row.problem or "", ATTEMPTS_USED_UP)
        counted = count_things(row.number, "delivery is FAILED", "deliveries are FAILED")
        newest = _describe_newest(conn, row, named=row.problem != problem.id)
        detail = f"{counted}, the newest is delivery {newest}"
        yield GatewayError(problem, detail, f"lane {row.lane[:80]}")


def find_stuck_deliveries(conn: Connection, now: datetime) -> Iterator[str]:
    """Yield a warning for each lane with deliveries that have waited for more than an hour."""
    for row in deliveries.summarize_waiting(conn, now - _STUCK):
        hours = (now - row.oldest).total_seconds() / 3600
        counted = count_things(row.number, "delivery waits", "deliveries wait")
        yield (
            f"lane {row.lane[:80]}: {counted} in the state {row.state}, the oldest for {hours:.0f} h, "
            f"the newest is delivery {_describe_newest(conn, row, named=True)} (see `gateway queue list`)"
        )


def _describe_newest(conn: Connection, row: Row[Any], *, named: bool) -> str:
    """Return the number of the newest delivery of a summary, our sentence about it, the partner's words.

    `named` says that the id of its problem is told nowhere else.
    """
    last = deliveries.find_by_id(conn, row.newest)
    if last is None:
        return str(row.newest)
    said = delivery_leases.list_last_words(conn, [last.id]).get(last.id)
    ours = " ".join(one for one in (last.problem if named else None, last.last_sentence) if one)
    theirs = f"they said: {shorten_sentence(said, _LONGEST)}" if said else ""
    told = "; ".join(one for one in (ours, theirs) if one)
    return f"{last.id}: {told}" if told else str(last.id)
