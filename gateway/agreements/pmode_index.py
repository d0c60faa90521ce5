"""The index of agreements: finds the P-Mode of a message in constant time.

Every refusal names the wrong part of the header as an XPath of the ebMS header.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, NamedTuple, Protocol

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

SIGNAL_SERVICE: Final = "urn:oasis:names:tc:ebxml-msg:service"

_HEADER: Final = "/soap:Envelope/soap:Header/eb:MessageHeader"
_MOST_CHARACTERS: Final = 80


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


class PullRoute(NamedTuple):
    """The channel from which messages are pulled, the party that pulls them, and the agreement."""

    channel: str | None
    puller: PartyId
    agreement: str


def make_pull_route(pmode: PMode) -> PullRoute:
    """Return the route of a P-Mode whose messages are pulled."""
    return PullRoute(pmode.pull_channel, pmode.to_party[0], pmode.agreement)


class PModeSource(Protocol):
    """Where an index has its P-Modes from: it reads those of one agreement when that is first used."""

    def list_agreements(self) -> Collection[str]:
        """Return the ids of all agreements."""

    def parse_agreement(self, agreement: str) -> Iterable[PMode]:
        """Return the P-Modes of one agreement of `list_agreements`."""

    def name_parties(self, agreement: str) -> Iterable[PartyId]:
        """Return the ids of the parties of an agreement, without reading all of it."""

    def name_pull_routes(self) -> Iterable[PullRoute]:
        """Return which agreements have messages that are pulled."""


class _GivenPModes:
    """P-Modes that have been read already, as a source."""

    def __init__(self, pmodes: Iterable[PMode]) -> None:
        self._pmodes: dict[str, list[PMode]] = {}
        for pmode in pmodes:
            self._pmodes.setdefault(pmode.agreement, []).append(pmode)

    def list_agreements(self) -> Collection[str]:
        return self._pmodes

    def parse_agreement(self, agreement: str) -> Iterable[PMode]:
        return self._pmodes[agreement]

    def name_parties(self, agreement: str) -> Iterable[PartyId]:
        return {party_id for pmode in self._pmodes[agreement] for party_id in _list_party_ids(pmode)}

    def name_pull_routes(self) -> Iterable[PullRoute]:
        pmodes = (pmode for agreed in self._pmodes.values() for pmode in agreed)
        return [make_pull_route(pmode) for pmode in pmodes if pmode.pull is not None]


#: Protocol, From and To party.
_Ends = tuple[str, PartyId, PartyId]


class _AgreementIndex:
    """The P-Modes of one agreement; where it has several versions, one after the other, all of them."""

    def __init__(self, pmodes: Iterable[PMode] = ()) -> None:
        self.pmodes = tuple(pmodes)
        self.by_id: dict[str, list[PMode]] = {}
        self.routes: dict[tuple[_Ends, str, str | None, str], list[PMode]] = {}
        self.ends: dict[_Ends, list[PMode]] = {}
        self.members: set[PartyId] = set()
        self.services: set[tuple[str, str | None]] = set()
        self.actions: set[tuple[str, str | None, str]] = set()
        for pmode in self.pmodes:
            self._add_pmode(pmode)

    def _add_pmode(self, pmode: PMode) -> None:
        same_id = self.by_id.setdefault(pmode.id, [])
        if any(_overlap(version, pmode) for version in same_id):
            raise GatewayError(MISUSE, f"two P-Modes have the id {pmode.id[:_MOST_CHARACTERS]!r}", pmode.id)
        same_id.append(pmode)
        self.services.add((pmode.service, pmode.service_type))
        self.actions.add((pmode.service, pmode.service_type, pmode.action))
        self.members.update(_list_party_ids(pmode))
        for sender in pmode.from_party:
            for receiver in pmode.to_party:
                ends = (pmode.protocol, sender, receiver)
                key = (ends, pmode.service, pmode.service_type, pmode.action)
                versions = self.routes.setdefault(key, [])
                same = next((version for version in versions if _overlap(version, pmode)), None)
                if same is not None:
                    detail = f"P-Modes {same.id!r} and {pmode.id!r} are for the same messages"
                    raise GatewayError(MISUSE, detail, pmode.id)
                versions.append(pmode)
                self.ends.setdefault(ends, []).append(pmode)


_NOTHING: Final = _AgreementIndex()


class PModeIndex:
    """The P-Modes of one epoch; a new agreement or a suspension creates a new index; safe for many threads.

    It has the given P-Modes, or those of a source, of which it reads each agreement when that is first used,
    sometimes twice when two threads need it at once. `is_party` says whether an id is that of a party of any
    agreement; without it the P-Modes say so. Raises GW808 for P-Modes that no message could distinguish.
    """

    def __init__(
        self,
        pmodes: Iterable[PMode] = (),
        epoch: int = 0,
        *,
        source: PModeSource | None = None,
        is_party: Callable[[PartyId], bool] | None = None,
    ) -> None:
        self.epoch: Final = epoch
        self._source = source or _GivenPModes(pmodes)
        self._is_party = is_party or self._is_agreed_party
        self._agreements: dict[str, _AgreementIndex] = {}
        self._partners: dict[PartyId, set[str]] | None = None
        self._pull_routes: tuple[PullRoute, ...] | None = None
        if source is None:
            for agreement in self._source.list_agreements():
                self._get_agreement(agreement)

    @property
    def pmodes(self) -> tuple[PMode, ...]:
        """Return the P-Modes of all agreements; they are all read for it."""
        return tuple(
            pmode for name in self._source.list_agreements() for pmode in self._get_agreement(name).pmodes
        )

    def _get_agreement(self, agreement: str | None) -> _AgreementIndex:
        """Return the P-Modes of an agreement, none for an unknown one."""
        index = self._agreements.get(agreement or "")
        if index is not None:
            return index
        if agreement is None or agreement not in self._source.list_agreements():
            return _NOTHING
        return self._agreements.setdefault(
            agreement, _AgreementIndex(self._source.parse_agreement(agreement))
        )

    def _find_partners(self) -> dict[PartyId, set[str]]:
        """Return the agreements of each party, by its ids."""
        if self._partners is None:
            partners: dict[PartyId, set[str]] = {}
            for agreement in self._source.list_agreements():
                for party_id in self._source.name_parties(agreement):
                    partners.setdefault(party_id, set()).add(agreement)
            self._partners = partners
        return self._partners

    def _is_agreed_party(self, party_id: PartyId) -> bool:
        return party_id in self._find_partners()

    def find_by_id(self, agreement: str | None, pmode_id: str, at: datetime | None = None) -> PMode | None:
        """Return the P-Mode with this id in an agreement, None when there is none.

        Of several versions of the agreement, that of the time `at` counts, without it the first.
        """
        versions = self._get_agreement(agreement).by_id.get(pmode_id)
        return _choose_version(versions, at) if versions else None

    def match_pmode(self, route: MessageRoute, at: datetime) -> PMode:
        """Return the P-Mode of a business message; raise GW301 to GW304 with the XPath of the wrong part."""
        index = self._check_route(route, at)
        ends = (route.protocol, route.sender.ids[0], route.receiver.ids[0])
        versions = index.routes.get((ends, route.service, route.service_type, route.action))
        if versions is None:
            raise _make_mismatch_error(route, index)
        pmode = _choose_version(versions, at)
        _check_party_roles(route, pmode)
        return pmode

    def list_matching_pmodes(self, route: MessageRoute, at: datetime) -> tuple[PMode, ...]:
        """Return the P-Modes in force of every agreement for a message that names no agreement.

        Parties, roles, service and action of the route count; its agreement does not.
        """
        partners = self._find_partners()
        sides = (partners.get(party.ids[0], set()) for party in (route.sender, route.receiver))
        agreements = sorted(set.intersection(*sides))
        for agreement in agreements:
            self._get_agreement(agreement)  # one that cannot be read is our fault, and no mismatch
        matches = (self._find_match(replace(route, agreement=agreement), at) for agreement in agreements)
        return tuple(pmode for pmode in matches if pmode is not None)

    def _find_match(self, route: MessageRoute, at: datetime) -> PMode | None:
        try:
            pmode = self.match_pmode(route, at)
        except GatewayError:
            return None
        return pmode if pmode.is_in_force(at) else None

    def list_pull_pmodes(self, channel: str | None, at: datetime) -> tuple[PMode, ...]:
        """Return the P-Modes in force, of every agreement, whose messages are pulled from a channel."""
        return tuple(
            pmode
            for pmode in self._list_pulled(lambda pull_route: pull_route.channel == channel)
            if pmode.pull_channel == channel and pmode.is_in_force(at)
        )

    def list_pulling_pmodes(self, parties: Collection[PartyId], at: datetime) -> tuple[PMode, ...]:
        """Return the P-Modes in force, of every agreement, whose messages these parties are to pull."""
        return tuple(
            pmode
            for pmode in self._list_pulled(lambda pull_route: pull_route.puller in parties)
            if pmode.to_party[0] in parties and pmode.is_in_force(at)
        )

    def _list_pulled(self, is_meant: Callable[[PullRoute], bool]) -> Iterator[PMode]:
        """Yield the P-Modes whose messages are pulled, of the agreements that have a route as is meant."""
        if self._pull_routes is None:
            self._pull_routes = tuple(self._source.name_pull_routes())
        for agreement in dict.fromkeys(route.agreement for route in self._pull_routes if is_meant(route)):
            yield from (pmode for pmode in self._get_agreement(agreement).pmodes if pmode.pull is not None)

    def match_signal_pmode(self, route: MessageRoute, at: datetime, *, answers: bool) -> PMode:
        """Return a P-Mode for a signal; the signal Service itself is in no agreement.

        A signal that `answers` a message, such as an Acknowledgment, belongs to the P-Mode of
        that message, which has the opposite direction; another signal, such as a Ping,
        belongs to one of its own direction. Without such a P-Mode, one of the other direction
        is used. Raises GW301, GW302 or GW304 with the XPath of the wrong part.
        """
        index = self._check_route(route, at)
        there = (route.protocol, route.sender.ids[0], route.receiver.ids[0])
        back = (route.protocol, route.receiver.ids[0], route.sender.ids[0])
        for ends in (back, there) if answers else (there, back):
            if ends in index.ends:
                return _choose_version(index.ends[ends], at)
        raise GatewayError(
            HEADER_INCONSISTENT,
            "the agreement is not between these parties",
            f"{route.places.receiver}PartyId",
        )

    def get_reply_pmode(self, pmode: PMode, action: str, at: datetime | None = None) -> PMode:
        """Return the P-Mode with which the To party of `pmode` sends `action` back; raise GW303.

        Of several versions of the agreement, that of the time `at` counts, without it the first.
        """
        replies = [
            candidate
            for candidate in self._list_opposites(pmode)
            if (candidate.service, candidate.service_type, candidate.action)
            == (pmode.service, pmode.service_type, action)
        ]
        if replies:
            return _choose_version(replies, at)
        raise GatewayError(
            PMODE_UNKNOWN,
            f"no P-Mode of {pmode.agreement[:_MOST_CHARACTERS]!r} sends {action!r} back",
            pmode.id,
        )

    def _list_opposites(self, pmode: PMode) -> Sequence[PMode]:
        """Return the P-Modes of messages that go the other way under the same agreement."""
        ends = (pmode.protocol, pmode.to_party[0], pmode.from_party[0])
        return self._get_agreement(pmode.agreement).ends.get(ends, ())

    def is_member(self, agreement: str, party: Party) -> bool:
        """Return whether every id of a party is that of a party of the agreement."""
        return self._get_agreement(agreement).members.issuperset(party.ids)

    def find_signal_endpoint(self, pmode: PMode, at: datetime) -> str | None:
        """Return the URL for signals about a message of `pmode` to its From party; None if there is none.

        Without a reply endpoint it is the address at which the From party takes messages under the same
        agreement.
        """
        if pmode.reply_endpoint is not None:
            return pmode.reply_endpoint
        back = self._list_opposites(pmode)
        return next(
            (candidate.endpoint for candidate in back if candidate.endpoint and candidate.is_in_force(at)),
            None,
        )

    def _check_route(self, route: MessageRoute, at: datetime) -> _AgreementIndex:
        """Return the agreement of a route; raise where it is not in force or not of these parties."""
        index, location = self._get_agreement(route.agreement), route.places.agreement
        if not index.pmodes:
            detail = f"no agreement {route.agreement[:_MOST_CHARACTERS]!r}"
            raise GatewayError(AGREEMENT_UNKNOWN, detail, location)
        if not any(pmode.is_in_force(at) for pmode in index.pmodes):
            raise GatewayError(
                AGREEMENT_UNKNOWN, f"{route.agreement[:_MOST_CHARACTERS]!r} is not in force", location
            )
        for side, party in ((route.places.sender, route.sender), (route.places.receiver, route.receiver)):
            for party_id in party.ids:
                if party_id not in index.members:
                    raise self._make_party_error(party_id, f"{side}PartyId")
        return index

    def _make_party_error(self, party_id: PartyId, location: str) -> GatewayError:
        """Return the refusal of an id that is not that of a party of the agreement."""
        if self._is_party(party_id):
            detail = f"{_format_party_id(party_id)} is not a party of the agreement"
            return GatewayError(HEADER_INCONSISTENT, detail, location)
        return GatewayError(PARTY_UNKNOWN, f"no party {_format_party_id(party_id)}", location)


def _make_mismatch_error(route: MessageRoute, index: _AgreementIndex) -> GatewayError:
    """Return the refusal of a message whose agreement and parties are known."""
    service = (route.service, route.service_type)
    if service not in index.services:
        return GatewayError(
            PMODE_UNKNOWN, f"no service {route.service[:_MOST_CHARACTERS]!r} agreed", route.places.service
        )
    if (*service, route.action) not in index.actions:
        return GatewayError(
            PMODE_UNKNOWN, f"no action {route.action[:_MOST_CHARACTERS]!r} agreed", route.places.action
        )
    if all(pmode.protocol != route.protocol for pmode in index.pmodes):
        return GatewayError(PMODE_UNKNOWN, "it is agreed for another protocol", route.places.agreement)
    detail = "this From party does not send this action to this To party"
    return GatewayError(HEADER_INCONSISTENT, detail, f"{route.places.sender}PartyId")


def _list_party_ids(pmode: PMode) -> tuple[PartyId, ...]:
    return (*pmode.from_party, *pmode.to_party)


def _overlap(pmode: PMode, version: PMode) -> bool:
    return pmode.valid_from < version.valid_until and version.valid_from < pmode.valid_until


def _choose_version(versions: Sequence[PMode], at: datetime | None) -> PMode:
    """Return the version in force at a given time, else the first."""
    if len(versions) == 1 or at is None:
        return versions[0]
    return next((version for version in versions if version.is_in_force(at)), versions[0])


def _format_party_id(party_id: PartyId) -> str:
    return f"{party_id.value[:_MOST_CHARACTERS]!r}" + (
        f" of type {party_id.type[:_MOST_CHARACTERS]!r}" if party_id.type is not None else ""
    )


def _check_party_roles(route: MessageRoute, pmode: PMode) -> None:
    """Raise for a header that mixes ids of several parties or names another role."""
    sides = (
        (route.places.sender, route.sender, pmode.from_party, pmode.from_role),
        (route.places.receiver, route.receiver, pmode.to_party, pmode.to_role),
    )
    for side, party, ids, role in sides:
        for party_id in party.ids:
            if party_id not in ids:
                raise GatewayError(
                    HEADER_INCONSISTENT,
                    f"{_format_party_id(party_id)} is another party",
                    f"{side}PartyId",
                )
        if role is not None and party.role != role:
            raise GatewayError(
                HEADER_INCONSISTENT, f"the agreed role is {role[:_MOST_CHARACTERS]!r}", f"{side}Role"
            )
