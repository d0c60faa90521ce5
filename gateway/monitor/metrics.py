"""Writes counts for a monitoring system in the text format of Prometheus, through its library.

The counts are read from the database, so that every process returns the same; only the measures of
database space belong to the process.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, Metric, generate_latest
from prometheus_client.registry import Collector
from sqlalchemy import Connection, Engine

from gateway import __version__
from gateway.program_build import BUILD
from gateway.store import (
    WARNING,
    Labels,
    StampingProgress,
    UsagePeriod,
    compute_coverage,
    count_by_state,
    deadlines,
    delivery_maintenance,
    fetched_lists,
    get_database_state,
    get_head_revision,
    list_usage_periods,
    read_database_time,
    read_transaction,
    state_counts,
    time_stamps,
)

#: The version of the text format that `render_metrics` writes.
CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4

#: Deadlines are counted up to this number.
_MOST_DEADLINES: Final = 100_000
#: The clocks of processes may differ by less: between two readings they count on by themselves.
_UNTOLD_DIFFERENCE: Final = timedelta(seconds=2)

_HELP = {
    "gateway_build_info": "1, with version, build and schema version of the program in its labels.",
    "gateway_messages": "Messages stored, by direction and state.",
    "gateway_cases": "Cases, by state and outcome.",
    "gateway_requests": "Requests to agencies, by agency and state.",
    "gateway_deadlines": "Deadlines that are OVERDUE, or UNKNOWN to the calendar, by state.",
    "gateway_deliveries": "Deliveries, by lane and state.",
    "gateway_deliveries_put_aside": "Deliveries during which workers crashed. They wait for the operator.",
    "gateway_delivery_problems": "Deliveries that have a problem and are not done, by problem and state.",
    "gateway_refusals": "Messages and calls refused, by problem.",
    "gateway_fragment_groups": "Large messages whose fragments are not all there or not joined, by state.",
    "gateway_held_messages": "Messages that wait for an earlier one of their conversation.",
    "gateway_mailbox_messages": (
        "Messages that rest in the mailbox, where nobody processes them, by action, among the latest 100000."
    ),
    "gateway_database_free_octets": "Free octets on the disk of the database, if they can be measured.",
    "gateway_database_reserve_octets": (
        "Reserved octets of that disk. With fewer free octets, no new message is accepted."
    ),
    "gateway_database_up": "1 while this process can read the database, else 0.",
    "gateway_database_damaged": "1 once the database was seen to be damaged, until it is restored, else 0.",
    "gateway_database_held": (
        "1 while the database is older than what the gateway has acknowledged, as this process saw last."
    ),
    "gateway_database_short": "1 while this process accepts no new message for lack of disk space, else 0.",
    "gateway_database_refusals": "Number of times that this process found no space in the database.",
    "gateway_certificates": "Certificates of active parties and of the gateway, by use and state.",
    "gateway_certificate_days": (
        "Days until the first party has no valid certificate, by use. Negative: expired."
    ),
    "gateway_own_certificate_days": "Days until the last signing certificate of the gateway expires.",
    "gateway_certificates_ending": (
        "Pairs of party and use that have no certificate in 30 days, the gateway included."
    ),
    "gateway_database_copies": "Servers on which a commit must be before it is acknowledged.",
    "gateway_database_copies_missing": (
        "1 while commits of this process are not on so many servers, else 0."
    ),
    "gateway_own_key_away": "1 while the current signing key is unavailable in this process, else 0.",
    "gateway_evidence_leaves": (
        "Leaves of evidence, by state: under a sealed head, or under a time-stamped head."
    ),
    "gateway_evidence_unstamped_seconds": "Seconds that the oldest evidence without a time stamp has waited.",
    "gateway_time_stamp_seconds": "Seconds since the last time stamp.",
    "gateway_fetched_words": "Fetched lists and responses in force, by source.",
    "gateway_fetched_seconds_left": "Seconds until the first data of a source expires. Negative: stale.",
    "gateway_fetched_age_seconds": "Age of the oldest list or response in force, by source.",
    "gateway_fetched_ago_seconds": "Seconds since the last accepted fetch, by source.",
    "gateway_fetch_failures": "Failed fetches since the last accepted fetch, by source.",
    "gateway_clock_set_back_seconds": (
        "Seconds by which the newest time in the database is ahead of now; 0 if they are fewer than 2."
    ),
    "gateway_trust_epoch": "Number of changes of the register of parties, certificates and trust data.",
}


def render_metrics(
    engine: Engine,
    at: datetime | None = None,
    own_periods: Sequence[UsagePeriod] = (),
    *,
    is_key_unavailable: bool = False,
) -> str:
    """Return every metric as text, as of `at` (default: now, by the clock by which the hub works).

    `own_periods` are the usage periods of the gateway's own certificates.
    """
    with read_transaction(engine) as conn:
        party_periods = list_usage_periods(conn)
        # After the first statement, from which on nothing that is stored is seen: nothing is ahead of it.
        now = at or read_database_time(conn) or datetime.now(UTC)
        measurements = {
            **state_counts.count_states(conn),
            **_measure_deadlines(conn),
            **_measure_database(engine),
            **_measure_certificates(party_periods, own_periods, now),
            **_measure_time_stamps(time_stamps.compute_stamping_progress(conn), now),
        }
        measurements |= _measure_sources(conn, now)
        ahead = (delivery_maintenance.find_newest_time(conn) or now) - now
        set_back = 0.0 if ahead < _UNTOLD_DIFFERENCE else ahead.total_seconds()
        measurements["gateway_clock_set_back_seconds"] = {(): set_back}
    measurements |= _measure_process(is_key_unavailable=is_key_unavailable, is_database_readable=True)
    return generate_latest(_CountCollector(measurements)).decode()


def render_process_metrics(engine: Engine, *, is_key_unavailable: bool, is_database_readable: bool) -> str:
    """Return as text the measurements of this process: they need no query, so they are always available."""
    measurements = _measure_database(engine)
    measurements |= _measure_process(
        is_key_unavailable=is_key_unavailable, is_database_readable=is_database_readable
    )
    return generate_latest(_CountCollector(measurements)).decode()


def _measure_process(
    *, is_key_unavailable: bool, is_database_readable: bool
) -> dict[str, dict[Labels, float]]:
    """Return the metrics that need no database: build, own key and whether the database can be read."""
    program = (("version", __version__), ("build", BUILD), ("schema", get_head_revision()))
    return {
        "gateway_build_info": {program: 1.0},
        "gateway_own_key_away": {(): float(is_key_unavailable)},
        "gateway_database_up": {(): float(is_database_readable)},
    }


def _measure_deadlines(conn: Connection) -> dict[str, dict[Labels, float]]:
    counted = deadlines.count_by_state(conn, ("OVERDUE", "UNKNOWN"), _MOST_DEADLINES)
    return {"gateway_deadlines": {(("state", state),): float(number) for state, number in counted.items()}}


def _measure_certificates(
    party_periods: Sequence[UsagePeriod], own_periods: Sequence[UsagePeriod], at: datetime
) -> dict[str, dict[Labels, float]]:
    """Return the number of certificates in each state, and the days until those of each use end."""
    counted = count_by_state([*party_periods, *own_periods], at)
    covered, own_coverage = compute_coverage(party_periods, at), compute_coverage(own_periods, at)
    soonest: dict[Labels, float] = {}
    for coverage in covered:
        soonest.setdefault((("use", coverage.use),), coverage.days_left(at))
    return {
        "gateway_certificates": {
            (("use", use), ("state", state)): float(number) for (use, state), number in counted.items()
        },
        "gateway_certificate_days": soonest,
        "gateway_own_certificate_days": {(): own_coverage[0].days_left(at)} if own_coverage else {},
        "gateway_certificates_ending": {
            (): float(sum(coverage.ends - at < WARNING for coverage in (*covered, *own_coverage)))
        },
    }


def _measure_time_stamps(progress: StampingProgress, at: datetime) -> dict[str, dict[Labels, float]]:
    """Return how many leaves are sealed and stamped, how long leaves wait, and the age of the last stamp."""
    waited = 0.0 if progress.waiting_since is None else _measure_age(at, progress.waiting_since)
    ago = None if progress.last_stamp is None else _measure_age(at, progress.last_stamp)
    return {
        "gateway_evidence_leaves": {
            (("state", "sealed"),): float(progress.sealed),
            (("state", "stamped"),): float(progress.stamped),
        },
        "gateway_evidence_unstamped_seconds": {(): waited},
        "gateway_time_stamp_seconds": {} if ago is None else {(): ago},
    }


def _measure_sources(conn: Connection, at: datetime) -> dict[str, dict[Labels, float]]:
    """Return the metrics of each fetch source as of `at`: list size, age, validity left, failures."""
    summary_by_source = {_label_source(row.source): row for row in fetched_lists.summarize_sources(conn)}
    rows = {_label_source(row.name): row for row in fetched_lists.list_sources(conn)}
    return {
        "gateway_fetched_words": {key: float(row.words) for key, row in summary_by_source.items()},
        "gateway_fetched_seconds_left": {
            key: (row.next_update - at).total_seconds() for key, row in summary_by_source.items()
        },
        "gateway_fetched_age_seconds": {
            key: _measure_age(at, row.this_update) for key, row in summary_by_source.items()
        },
        "gateway_fetched_ago_seconds": {
            key: _measure_age(at, row.fetched_at) for key, row in rows.items() if row.fetched_at
        },
        "gateway_fetch_failures": {key: float(row.failures) for key, row in rows.items()},
    }


def _measure_age(at: datetime, time: datetime) -> float:
    """Return the seconds since a time, 0 where it is ahead: others have clocks of their own."""
    return max(0.0, (at - time).total_seconds())


def _label_source(source: str) -> Labels:
    return (("source", source),)


def _measure_database(engine: Engine) -> dict[str, dict[Labels, float]]:
    """Return the metrics of the database: free octets, reserve, damage, copies, and whether it is held."""
    state = get_database_state(engine)
    reserve, copies, guard = state.reserve, state.copies, state.guard
    free = reserve.measure_free_octets()
    return {
        "gateway_database_free_octets": {} if free is None else {(): float(free)},
        "gateway_database_reserve_octets": {(): float(reserve.reserved_octets)},
        "gateway_database_short": {(): float(reserve.is_lacking or reserve.find_shortage() is not None)},
        "gateway_database_refusals": {(): float(reserve.refusals)},
        "gateway_database_damaged": {(): float(state.damage.find_problem() is not None)},
        "gateway_database_held": {(): float(guard is not None and guard.is_held)},
        "gateway_database_copies": {(): 1.0 if copies is None else float(copies.required_copies)},
        "gateway_database_copies_missing": {(): float(copies is not None and copies.problem is not None)},
    }


class _CountCollector(Collector):
    """Gives the measured counts to the library, as gauges in the order of measurement."""

    def __init__(self, measurements: Mapping[str, Mapping[Labels, float]]) -> None:
        self._measurements = measurements

    def collect(self) -> Iterator[Metric]:
        """Yield one metric family for each name; a name that was not measured has no samples."""
        for name, values in self._measurements.items():
            family = Metric(name, _HELP[name], "gauge")
            for labels, value in sorted(values.items()):
                family.add_sample(name, dict(labels), value)
            yield family
