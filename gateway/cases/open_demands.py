"""What the agency of a request has asked for and nobody has settled: a question, an inspection, a fee.

Each stands on its own, until what ends it: a question until it is answered or replaced by another one, an
inspection until the agency says that it is over, everything until the request is decided, cancelled or
amended. What stands follows from the issue times of the notices, and not from the order in which they came.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

__all__ = ["DEMANDED_STATES", "DemandNotice", "OpenDemand", "OpenDemands", "find_demanded_state"]

#: The state of a request that waits for what an event of its agency asks for.
DEMANDED_STATES: Final[Mapping[str, str]] = {
    "ask": "INFORMATION_REQUIRED",
    "inspect": "INSPECTION",
    "fee": "FEE_DUE",
}


class DemandNotice(NamedTuple):
    """A notice as far as it asks for something: its row id, and the event that its status code causes."""

    id: int
    event: str
    number: str
    issued_at: datetime
    received_at: datetime
    deadline: datetime | None = None

    @property
    def rank(self) -> tuple[datetime, str]:
        """Return what decides which of two notices is the later one."""
        return (self.issued_at, self.number)


@dataclass(frozen=True, slots=True)
class OpenDemand:
    """What is asked for: by which notice, issued and received when, and the deadline that it states.

    An inspection may be told of by several notices: `latest` is the last one, and the others values are
    those of the last one that states a deadline.
    """

    number: str
    issued_at: datetime
    received_at: datetime
    deadline: datetime | None
    latest: tuple[datetime, str]


@dataclass(frozen=True, slots=True)
class OpenDemands:
    """What stands about a request, by the event that asks for it.

    `amended_after` is the row id of the last notice before the last amendment: what it asked for is over.
    """

    standing: Mapping[str, OpenDemand] = field(default_factory=dict)
    amended_after: int = 0

    def take_notice(self, notice: DemandNotice, known: Sequence[DemandNotice]) -> OpenDemands:
        """Return what stands after a notice; `known` are all that ask for something or end it, with it."""
        standing = dict(self.standing)
        if notice.event in ("inspect", "inspected"):
            standing.pop("inspect", None)
            standing |= self._find_inspection(known)
        # A question that another one has replaced before it came was never open.
        elif notice.event == "ask" and _is_last(notice, (one for one in known if one.event == "ask")):
            standing["ask"] = _make_demand(notice, notice)
        # A table of status codes without fees says of none that it is paid: the next demand takes its place.
        if notice.event in DEMANDED_STATES and _is_last(notice, known):
            standing.pop("fee", None)
            if notice.event == "fee":
                standing["fee"] = _make_demand(notice, notice)
        return OpenDemands(standing, self.amended_after)

    def _find_inspection(self, known: Sequence[DemandNotice]) -> dict[str, OpenDemand]:
        over = max((one.rank for one in known if one.event == "inspected"), default=None)
        told = [
            one
            for one in known
            if one.event == "inspect" and one.id > self.amended_after and (over is None or one.rank > over)
        ]
        if not told:
            return {}
        # That it is under way takes nothing from the time until which it was ordered.
        stated = max(told, key=lambda one: (one.deadline is not None, one.rank))
        return {"inspect": _make_demand(stated, max(told, key=lambda one: one.rank))}

    def answer(self, received_at: datetime) -> OpenDemands:
        """Return what stands after a supplement: it answers the question that had come before it."""
        kept = {
            event: one
            for event, one in self.standing.items()
            if event == "inspect" or (event == "ask" and one.received_at > received_at)
        }
        return OpenDemands(kept, self.amended_after)

    def describe(self) -> dict[str, Any]:
        """Return the demands as plain values for JSON."""
        told = {event: _describe_demand(one) for event, one in self.standing.items()}
        return {"standing": told, "amended_after": self.amended_after}

    @classmethod
    def restore(cls, described: Mapping[str, Any]) -> OpenDemands:
        """Return the demands that `describe` described."""
        standing = {event: _restore_demand(one) for event, one in described["standing"].items()}
        return cls(standing, int(described["amended_after"]))


def find_demanded_state(demands: OpenDemands, fees: Iterable[tuple[datetime, str]] = ()) -> str | None:
    """Return the state of a request by what stands: of several demands the one that was issued last leads.

    `fees` are the open fees, each as the issue time and the number of the notice that levied it. None where
    nothing stands.
    """
    ranked = [(one.latest, event) for event, one in demands.standing.items()]
    ranked += [(rank, "fee") for rank in fees]
    return DEMANDED_STATES[max(ranked)[1]] if ranked else None


def _is_last(notice: DemandNotice, known: Iterable[DemandNotice]) -> bool:
    return all(one.rank <= notice.rank for one in known if one.event in DEMANDED_STATES)


def _make_demand(stated: DemandNotice, latest: DemandNotice) -> OpenDemand:
    return OpenDemand(stated.number, stated.issued_at, stated.received_at, stated.deadline, latest.rank)


def _describe_demand(one: OpenDemand) -> dict[str, Any]:
    return {
        "number": one.number,
        "issued_at": _write_time(one.issued_at),
        "received_at": _write_time(one.received_at),
        "deadline": None if one.deadline is None else _write_time(one.deadline),
        "latest": [_write_time(one.latest[0]), one.latest[1]],
    }


def _restore_demand(one: Mapping[str, Any]) -> OpenDemand:
    moment = datetime.fromisoformat
    deadline = None if one["deadline"] is None else moment(one["deadline"])
    at, number = one["latest"]
    return OpenDemand(
        one["number"], moment(one["issued_at"]), moment(one["received_at"]), deadline, (moment(at), number)
    )


def _write_time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat()
