"""The index of agreements: finds the P-Mode of a message in constant time.

Every refusal names the wrong part of the header as an XPath of the ebMS header.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from gateway.agreements.pmode import PMode
from gateway.errors import (
    AGREEMENT_UNKNOWN,
    HEADER_INCONSISTENT,
    MISUSE,
    PARTY_UNKNOWN,
    PMODE_UNKNOWN,
    GatewayError,
)
from gateway.message_model import Party, PartyId

__all__ = ["SIGNAL_SERVICE", "MessageRoute", "PModeIndex", "RoutePlaces"]

SIGNAL_SERVICE: Final = "urn:oasis:names:tc:ebxml-msg:service"

_HEADER: Final = "/soap:Envelope/soap:Header/eb:MessageHeader"
_SHOWN: Final = 80


@dataclass(frozen=True, slots=True)
class RoutePlaces:
    """Where a header has these values, as XPaths; a name follows `sender` and `receiver`."""

    agreement: str = f"{_HEADER}/eb:CPAId"
    sender: str = f"{_HEADER}/eb:From/eb:"
    receiver: str = f"{_HEADER}/eb:To/eb:"
    service: str = f"{_HEADER}/eb:Service"
    action: str = f"{_HEADER}/eb:Action"


_EBMS2_PLACES: Final = RoutePlaces()


@dataclass(frozen=True, slots=True)
class MessageRoute:
    """The values of a header that determine its P-Mode; `places` says where refusals find them."""

    sender: Party
    receiver: Party
    agreement: str
    service: str
    action: str
    service_type: str | None = None
    protocol: str = "ebms2"
    places: RoutePlaces = _EBMS2_PLACES


#: Protocol, agreement, From and To party.
_Ends = tuple[str, str, PartyId, PartyId]
_Key = tuple[_Ends, str, str | None, str]


class PModeIndex:
    """The P-Modes of one epoch; a new agreement or a suspension creates a new index.

    `is_party` says of ids that are in none of these P-Modes whether they are those of known parties.
    """

    def __init__(
        self,
        pmodes: Iterable[PMode],
        epoch: int = 0,
        is_party: Callable[[PartyId], bool] = lambda _: False,
    ) -> None:
        self.epoch: Final = epoch
        self._pmodes = tuple(pmodes)
        self._is_party = is_party
        self._by_id: dict[str, dict[str, PMode]] = {}
        self._agreements: dict[str, list[PMode]] = {}
        self._routes: dict[_Key, PMode] = {}
        # Where an agreement has several versions, one after the other in time: all of them.
        self._versions: dict[_Key, list[PMode]] = {}
        self._versions_by_id: dict[tuple[str, str], list[PMode]] = {}
        self._ends: dict[_Ends, list[PMode]] = {}
        self._parties: set[PartyId] = set()
        self._members: set[tuple[str, PartyId]] = set()
        self._actions: set[tuple[str, str, str | None, str]] = set()
        self._services: set[tuple[str, str, str | None]] = set()
        for pmode in self._pmodes:
            self._index_pmode(pmode)

    @property
    def pmodes(self) -> tuple[PMode, ...]:
        """Return all P-Modes."""
        return self._pmodes

    def _index_pmode(self, pmode: PMode) -> None:
        same_id = self._by_id.setdefault(pmode.id, {})
        known = same_id.setdefault(pmode.agreement, pmode)
        if known is not pmode:
            versions = self._versions_by_id.setdefault((pmode.agreement, pmode.id), [known])
            if any(_overlap(one, pmode) for one in versions):
                raise GatewayError(MISUSE, f"two P-Modes have the id {pmode.id[:_SHOWN]!r}", pmode.id)
            versions.append(pmode)
        self._agreements.setdefault(pmode.agreement, []).append(pmode)
        self._services.add((pmode.agreement, pmode.service, pmode.service_type))
        self._actions.add((pmode.agreement, pmode.service, pmode.service_type, pmode.action))
        for one in (*pmode.from_party, *pmode.to_party):
            self._parties.add(one)
            self._members.add((pmode.agreement, one))
        for sender in pmode.from_party:
            for receiver in pmode.to_party:
                ends = (pmode.protocol, pmode.agreement, sender, receiver)
                key = (ends, pmode.service, pmode.service_type, pmode.action)
                first = self._routes.setdefault(key, pmode)
                if first is not pmode:
                    versions = self._versions.setdefault(key, [first])
                    same = next((one for one in versions if _overlap(one, pmode)), None)
                    if same is not None:
                        detail = f"P-Modes {same.id!r} and {pmode.id!r} are for the same messages"
                        raise GatewayError(MISUSE, detail, pmode.id)
                    versions.append(pmode)
                self._ends.setdefault(ends, []).append(pmode)

    def find_by_id(self, agreement: str | None, pmode_id: str, at: datetime | None = None) -> PMode | None:
        """Return the P-Mode with this id in an agreement, None when there is none.

        Of several versions of the agreement, that of the time `at` counts.
        Where the agreement is not known, as for what older versions stored, the P-Mode with this
        id is returned if there is exactly one.
        """
        found = self._by_id.get(pmode_id, {})
        if agreement is None:
            return next(iter(found.values())) if len(found) == 1 else None
        versions = self._versions_by_id.get((agreement, pmode_id))
        return found.get(agreement) if versions is None or at is None else _choose_version(versions, at)

    def match_pmode(self, route: MessageRoute, at: datetime) -> PMode:
        """Return the P-Mode of a business message; raise GW301 to GW304 with the XPath of the wrong part."""
        self._check_agreement(route, at)
        self._check_route_parties(route)
        ends = (route.protocol, route.agreement, route.sender.ids[0], route.receiver.ids[0])
        key = (ends, route.service, route.service_type, route.action)
        found = self._routes.get(key)
        if key in self._versions:
            found = _choose_version(self._versions[key], at)
        if found is None:
            raise self._make_mismatch_error(route)
        _check_party_roles(route, found)
        return found

    def list_matching_pmodes(self, route: MessageRoute, at: datetime) -> tuple[PMode, ...]:
        """Return the P-Modes in force of every agreement for a message that names no agreement.

        Parties, roles, service and action of the route count; its agreement does not.
        """
        found = (self._find_match(replace(route, agreement=one), at) for one in self._agreements)
        return tuple(one for one in found if one is not None)

    def list_pull_pmodes(self, channel: str | None, at: datetime) -> tuple[PMode, ...]:
        """Return the P-Modes in force, of every agreement, whose messages are pulled from a channel."""
        pulled = (one for one in self._pmodes if one.pull is not None and one.pull_channel == channel)
        return tuple(one for one in pulled if one.is_in_force(at))

    def list_pulling_pmodes(self, parties: Collection[PartyId], at: datetime) -> tuple[PMode, ...]:
        """Return the P-Modes in force, of every agreement, whose messages these parties are to pull."""
        pulled = (one for one in self._pmodes if one.pull is not None and one.to_party[0] in parties)
        return tuple(one for one in pulled if one.is_in_force(at))

    def _find_match(self, route: MessageRoute, at: datetime) -> PMode | None:
        try:
            found = self.match_pmode(route, at)
        except GatewayError:
            return None
        return found if found.is_in_force(at) else None

    def match_signal_pmode(self, route: MessageRoute, at: datetime, *, answers: bool) -> PMode:
        """Return a P-Mode for a signal; the signal Service itself is in no agreement.

        A signal that `answers` a message, such as an Acknowledgment, belongs to the P-Mode of
        that message, which has the opposite direction; another signal, such as a Ping,
        belongs to one of its own direction. Without such a P-Mode, one of the other direction
        is used. Raises GW301, GW302 or GW304 with the XPath of the wrong part.
        """
        self._check_agreement(route, at)
        self._check_route_parties(route)
        there = (route.protocol, route.agreement, route.sender.ids[0], route.receiver.ids[0])
        back = (route.protocol, route.agreement, route.receiver.ids[0], route.sender.ids[0])
        for ends in (back, there) if answers else (there, back):
            if ends in self._ends:
                return _choose_version(self._ends[ends], at)
        raise GatewayError(
            HEADER_INCONSISTENT,
            "the agreement is not between these parties",
            f"{route.places.receiver}PartyId",
        )

    def get_reply_pmode(self, pmode: PMode, action: str, at: datetime | None = None) -> PMode:
        """Return the P-Mode with which the To party of `pmode` sends `action` back; raise GW303.

        Of several versions of the agreement, that of the time `at` counts.
        """
        found = [
            one
            for one in self._ends.get(_turn_ends(pmode), ())
            if (one.service, one.service_type, one.action) == (pmode.service, pmode.service_type, action)
        ]
        if found:
            return found[0] if at is None else _choose_version(found, at)
        raise GatewayError(
            PMODE_UNKNOWN, f"no P-Mode of {pmode.agreement[:_SHOWN]!r} sends {action!r} back", pmode.id
        )

    def is_member(self, agreement: str, party: Party) -> bool:
        """Return whether every id of a party is that of a party of the agreement."""
        return all((agreement, one) in self._members for one in party.ids)

    def find_signal_endpoint(self, pmode: PMode, at: datetime) -> str | None:
        """Return where signals about a message of `pmode` are posted to its From party, None for nowhere.

        Without a reply endpoint it is the address at which the From party takes messages under the
        same agreement.
        """
        if pmode.reply_endpoint is not None:
            return pmode.reply_endpoint
        back = self._ends.get(_turn_ends(pmode), ())
        return next((one.endpoint for one in back if one.endpoint and one.is_in_force(at)), None)

    def _check_agreement(self, route: MessageRoute, at: datetime) -> None:
        agreement, where = route.agreement, route.places.agreement
        pmodes = self._agreements.get(agreement)
        if pmodes is None:
            detail = f"no agreement {agreement[:_SHOWN]!r}"
            raise GatewayError(AGREEMENT_UNKNOWN, detail, where)
        if not any(pmode.is_in_force(at) for pmode in pmodes):
            raise GatewayError(AGREEMENT_UNKNOWN, f"{agreement[:_SHOWN]!r} is not in force", where)

    def _check_route_parties(self, route: MessageRoute) -> None:
        for side, party in ((route.places.sender, route.sender), (route.places.receiver, route.receiver)):
            for one in party.ids:
                if (route.agreement, one) in self._members:
                    continue
                where = f"{side}PartyId"
                if one in self._parties or self._is_party(one):
                    raise GatewayError(
                        HEADER_INCONSISTENT, f"{_format_party_id(one)} is not a party of the agreement", where
                    )
                raise GatewayError(PARTY_UNKNOWN, f"no party {_format_party_id(one)}", where)

    def _make_mismatch_error(self, route: MessageRoute) -> GatewayError:
        """Return the refusal of a message whose agreement and parties are known."""
        service = (route.agreement, route.service, route.service_type)
        if service not in self._services:
            return GatewayError(
                PMODE_UNKNOWN, f"no service {route.service[:_SHOWN]!r} agreed", route.places.service
            )
        if (*service, route.action) not in self._actions:
            return GatewayError(
                PMODE_UNKNOWN, f"no action {route.action[:_SHOWN]!r} agreed", route.places.action
            )
        detail = "this From party does not send this action to this To party"
        if not any(ends[0] == route.protocol and ends[1] == route.agreement for ends in self._ends):
            return GatewayError(PMODE_UNKNOWN, "it is agreed for another protocol", route.places.agreement)
        return GatewayError(HEADER_INCONSISTENT, detail, f"{route.places.sender}PartyId")


def _turn_ends(pmode: PMode) -> _Ends:
    """Return the ends of a message that goes the other way under the same agreement."""
    return pmode.protocol, pmode.agreement, pmode.to_party[0], pmode.from_party[0]


def _overlap(one: PMode, other: PMode) -> bool:
    return one.valid_from < other.valid_until and other.valid_from < one.valid_until


def _choose_version(versions: Sequence[PMode], at: datetime) -> PMode:
    """Return the version in force at a given time, else the first."""
    if len(versions) == 1:
        return versions[0]
    return next((one for one in versions if one.is_in_force(at)), versions[0])


def _format_party_id(one: PartyId) -> str:
    return f"{one.value[:_SHOWN]!r}" + (f" of type {one.type[:_SHOWN]!r}" if one.type is not None else "")


def _check_party_roles(route: MessageRoute, pmode: PMode) -> None:
    """Raise for a header that mixes ids of several parties or names another role."""
    sides = (
        (route.places.sender, route.sender, pmode.from_party, pmode.from_role),
        (route.places.receiver, route.receiver, pmode.to_party, pmode.to_role),
    )
    for side, party, ids, role in sides:
        for one in party.ids:
            if one not in ids:
                raise GatewayError(
                    HEADER_INCONSISTENT,
                    f"{_format_party_id(one)} is another party",
                    f"{side}PartyId",
                )
        if role is not None and party.role != role:
            raise GatewayError(HEADER_INCONSISTENT, f"the agreed role is {role[:_SHOWN]!r}", f"{side}Role")
