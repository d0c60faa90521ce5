"""The open demands of an agency about a request: questions, inspections and fees that are not settled.

Each demand is open until its own end: a question until it is answered or replaced by another one, an
inspection until the agency says that it is over, every demand until the request is decided, cancelled or
amended. The open demands follow from the issue times of the notices, and not from the order in which they
arrived.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from gateway.notice_order import NoticeOrder, order_notice

#: By event with which an agency makes a demand: the state of the request that waits for the demanded act.
DEMANDED_STATES: Final[Mapping[str, str]] = {
    "ask": "INFORMATION_REQUIRED",
    "inspect": "INSPECTION",
    "fee": "FEE_DUE",
}


class NoticeIssue(NamedTuple):
    """When a notice was issued, and its number."""

    issued_at: datetime
    number: str

    @property
    def order(self) -> NoticeOrder:
        """Return the key by which the last of several notices is found."""
        return order_notice(self.issued_at, self.number)


class DemandNotice(NamedTuple):
    """The part of a notice that makes a demand: its row id, and the event that its status code causes."""

    id: int
    event: str
    number: str
    issued_at: datetime
    received_at: datetime
    deadline: datetime | None = None

    @property
    def rank(self) -> tuple[NoticeOrder, int]:
        """Return the key by which the later of two notices is found, then in the order stored."""
        return order_notice(self.issued_at, self.number), self.id


@dataclass(frozen=True, slots=True)
class OpenDemand:
    """An open demand: the notice that makes it, its times of issue and receipt, and the deadline it states.

    Several notices may announce one inspection: `latest_issue` is the last of them, and the other values are
    those of the last one that states a deadline.
    """

    number: str
    issued_at: datetime
    received_at: datetime
    deadline: datetime | None
    latest_issue: NoticeIssue


@dataclass(frozen=True, slots=True)
class OpenDemands:
    """The open demands about a request, by the event that makes them.

    `amended_after` is the row id of the last notice before the last amendment: its demands and earlier ones
    are over.
    """

    by_event: Mapping[str, OpenDemand] = field(default_factory=dict)
    amended_after: int = 0

    def apply_notice(self, notice: DemandNotice, notices: Sequence[DemandNotice]) -> OpenDemands:
        """Return the open demands after `notice`; `notices` are all notices of demands, `notice` included."""
        demands = dict(self.by_event)
        if notice.event in ("inspect", "inspected"):
            demands.pop("inspect", None)
            demands |= self._find_inspection(notices)
        # A question that another one has replaced before it came was never open.
        elif notice.event == "ask" and _is_latest_demand(
            notice, (question for question in notices if question.event == "ask")
        ):
            demands["ask"] = _make_demand(notice, notice)
        # A table of status codes without fees has no code for a payment, so the next demand ends the fee.
        if notice.event in DEMANDED_STATES and _is_latest_demand(notice, notices):
            demands.pop("fee", None)
            if notice.event == "fee":
                demands["fee"] = _make_demand(notice, notice)
        return OpenDemands(demands, self.amended_after)

    def _find_inspection(self, notices: Sequence[DemandNotice]) -> dict[str, OpenDemand]:
        """Return the open demand for an inspection under the key `inspect`; empty if none is open.

        Orders before the last amendment or the last inspection are over. `notices` are all of the request.
        """
        last_inspection_rank = max(
            (demand_notice.rank for demand_notice in notices if demand_notice.event == "inspected"),
            default=None,
        )
        inspection_orders = [
            demand_notice
            for demand_notice in notices
            if demand_notice.event == "inspect"
            and demand_notice.id > self.amended_after
            and (last_inspection_rank is None or demand_notice.rank > last_inspection_rank)
        ]
        if not inspection_orders:
            return {}
        # A later notice without a deadline ('it is under way') does not cancel the deadline of the order.
        deciding_order = max(
            inspection_orders,
            key=lambda inspection_order: (inspection_order.deadline is not None, inspection_order.rank),
        )
        return {
            "inspect": _make_demand(
                deciding_order, max(inspection_orders, key=lambda inspection_order: inspection_order.rank)
            )
        }

    def apply_supplement(self, received_at: datetime) -> OpenDemands:
        """Return the open demands after a supplement, which answers the question received before it."""
        demands = {
            event: demand
            for event, demand in self.by_event.items()
            if event == "inspect" or (event == "ask" and demand.received_at > received_at)
        }
        return OpenDemands(demands, self.amended_after)

    def describe(self) -> dict[str, Any]:
        """Return the demands as plain values for JSON."""
        demands = {event: _describe_demand(demand) for event, demand in self.by_event.items()}
        return {"standing": demands, "amended_after": self.amended_after}

    @classmethod
    def restore(cls, described: Mapping[str, Any]) -> OpenDemands:
        """Return the demands that `describe` described."""
        demands = {event: _restore_demand(demand) for event, demand in described["standing"].items()}
        return cls(demands, int(described["amended_after"]))


def find_replacing_issue(notice: DemandNotice, notices: Sequence[DemandNotice]) -> NoticeIssue | None:
    """Return the notice because of which what `notice` demands was never open; None if it was.

    `notices` are all notices of demands, `notice` included. An order of an inspection is over when an
    inspection is reported later. Another order does not replace it: several tell how one goes on.
    """
    if notice.event == "ask":
        return _find_last_issue(notice, (each for each in notices if each.event == "ask"))
    if notice.event == "fee":
        return _find_last_issue(notice, (each for each in notices if each.event in DEMANDED_STATES))
    if notice.event == "inspect":
        return _find_last_issue(notice, (each for each in notices if each.event == "inspected"))
    return None


def find_demanded_state(demands: OpenDemands, levies: Iterable[NoticeIssue] = ()) -> str | None:
    """Return the state of a request by its open demands and fees: the last one issued decides.

    `levies` are the notices that levied the open fees. None if there is neither a demand nor a fee.
    """
    ranked_events = [(demand.latest_issue.order, event) for event, demand in demands.by_event.items()]
    ranked_events += [(levy.order, "fee") for levy in levies]
    return DEMANDED_STATES[max(ranked_events)[1]] if ranked_events else None


def _is_latest_demand(notice: DemandNotice, notices: Iterable[DemandNotice]) -> bool:
    """Return whether none of `notices` that makes a demand has a higher rank than `notice`."""
    return all(
        demand_notice.rank <= notice.rank
        for demand_notice in notices
        if demand_notice.event in DEMANDED_STATES
    )


def _find_last_issue(notice: DemandNotice, others: Iterable[DemandNotice]) -> NoticeIssue | None:
    """Return the last of `others`; None if it does not follow `notice`."""
    last = max(others, key=lambda each: each.rank, default=notice)
    return NoticeIssue(last.issued_at, last.number) if last.rank > notice.rank else None


def _make_demand(deciding_notice: DemandNotice, latest_notice: DemandNotice) -> OpenDemand:
    """Return the demand of `deciding_notice`; `latest_notice` is the last one that announces it."""
    return OpenDemand(
        deciding_notice.number,
        deciding_notice.issued_at,
        deciding_notice.received_at,
        deciding_notice.deadline,
        NoticeIssue(latest_notice.issued_at, latest_notice.number),
    )


def _describe_demand(demand: OpenDemand) -> dict[str, Any]:
    """Return a demand as values for JSON, from which `_restore_demand` makes it again."""
    return {
        "number": demand.number,
        "issued_at": _format_time(demand.issued_at),
        "received_at": _format_time(demand.received_at),
        "deadline": None if demand.deadline is None else _format_time(demand.deadline),
        "latest": [_format_time(demand.latest_issue.issued_at), demand.latest_issue.number],
    }


def _restore_demand(described: Mapping[str, Any]) -> OpenDemand:
    """Return the demand in the JSON values that `_describe_demand` made."""
    parse_time = datetime.fromisoformat
    deadline = None if described["deadline"] is None else parse_time(described["deadline"])
    at, latest_number = described["latest"]
    return OpenDemand(
        described["number"],
        parse_time(described["issued_at"]),
        parse_time(described["received_at"]),
        deadline,
        NoticeIssue(parse_time(at), latest_number),
    )


def _format_time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat()
