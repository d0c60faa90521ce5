"""The index of agreements: finds the P-Mode of a message in constant time.

Every refusal names the wrong part of the header as an XPath of the ebMS header.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, NamedTuple, Protocol

from gateway.agreements.pmode import PMode
from gateway.errors import (
    AGREEMENT_UNKNOWN,
    AGREEMENT_UNREAD,
    HEADER_INCONSISTENT,
    MISUSE,
    PARTY_UNKNOWN,
    PMODE_UNKNOWN,
    GatewayError,
    describe_exception,
    raise_resource_problem,
)
from gateway.message_model import Party, PartyId

SIGNAL_SERVICE: Final = "urn:oasis:names:tc:ebxml-msg:service"

_HEADER: Final = "/soap:Envelope/soap:Header/eb:MessageHeader"
_MAX_CHARACTERS: Final = 80
_MAX_REASON_CHARACTERS: Final = 300


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


def _make_pull_route(pmode: PMode) -> PullRoute:
    """Return the route of a P-Mode whose messages are pulled."""
    return PullRoute(pmode.pull_channel, pmode.to_party[0], pmode.agreement)


def make_unread_error(agreement: str, mistake: Exception) -> GatewayError:
    """Return GW906 for a stored agreement that this version does not read, for the reason of an exception.

    Raises GW806, GW810 or GW811 where that is the reason: it says nothing about the agreement.
    """
    raise_resource_problem(mistake)
    name = agreement[:_MAX_CHARACTERS]
    if isinstance(mistake, GatewayError):
        at_location = f" at {mistake.location[:_MAX_CHARACTERS]}" if mistake.location else ""
        reason = f"{mistake.detail}{at_location}"
        if mistake.__cause__ is not None:
            reason += f": {describe_exception(mistake.__cause__)}"
    else:
        reason = describe_exception(mistake)
    detail = f"agreement {name!r} is not read by this version: {reason[:_MAX_REASON_CHARACTERS]}"
    return GatewayError(AGREEMENT_UNREAD, detail, name)


class PModeSource(Protocol):
    """The source of the P-Modes of an index, which parses an agreement when it is first used."""

    def list_agreements(self) -> Collection[str]:
        """Return the ids of all agreements."""

    def parse_agreement(self, agreement: str) -> Iterable[PMode]:
        """Return the P-Modes of one agreement of `list_agreements`; raise GW906 if it cannot be read."""

    def list_parties(self, agreement: str) -> Iterable[PartyId]:
        """Return the ids of the parties of an agreement, without reading all of it; raise GW906."""

    def list_pull_routes(self) -> Iterable[PullRoute]:
        """Return which agreements have messages that are pulled, also of those that cannot be read."""


class _LoadedPModes:
    """P-Modes that have been read already, as a source."""

    def __init__(self, pmodes: Iterable[PMode]) -> None:
        self._pmodes: dict[str, list[PMode]] = {}
        for pmode in pmodes:
            self._pmodes.setdefault(pmode.agreement, []).append(pmode)

    def list_agreements(self) -> Collection[str]:
        return self._pmodes

    def parse_agreement(self, agreement: str) -> Iterable[PMode]:
        return self._pmodes[agreement]

    def list_parties(self, agreement: str) -> Iterable[PartyId]:
        return {party_id for pmode in self._pmodes[agreement] for party_id in _list_party_ids(pmode)}

    def list_pull_routes(self) -> Iterable[PullRoute]:
        pmodes = (pmode for agreed in self._pmodes.values() for pmode in agreed)
        return [_make_pull_route(pmode) for pmode in pmodes if pmode.pull is not None]


#: Protocol, From and To party.
_Direction = tuple[str, PartyId, PartyId]


class _AgreementIndex:
    """The P-Modes of one agreement; where it has several versions, one after the other, all of them."""

    def __init__(self, pmodes: Iterable[PMode] = ()) -> None:
        self.pmodes = tuple(pmodes)
        self.versions_by_id: dict[str, list[PMode]] = {}
        self.versions_by_route: dict[tuple[_Direction, str, str | None, str], list[PMode]] = {}
        self.pmodes_by_direction: dict[_Direction, list[PMode]] = {}
        self.party_ids: set[PartyId] = set()
        self.services: set[tuple[str, str | None]] = set()
        self.actions: set[tuple[str, str | None, str]] = set()
        for pmode in self.pmodes:
            self._add_pmode(pmode)

    def _add_pmode(self, pmode: PMode) -> None:
        """Add a P-Mode to all indexes; raise GW808 if another has its id or its messages at a common time."""
        id_versions = self.versions_by_id.setdefault(pmode.id, [])
        if any(_have_common_period(version, pmode) for version in id_versions):
            raise GatewayError(MISUSE, f"two P-Modes have the id {pmode.id[:_MAX_CHARACTERS]!r}", pmode.id)
        id_versions.append(pmode)
        self.services.add((pmode.service, pmode.service_type))
        self.actions.add((pmode.service, pmode.service_type, pmode.action))
        self.party_ids.update(_list_party_ids(pmode))
        for sender in pmode.from_party:
            for receiver in pmode.to_party:
                direction = (pmode.protocol, sender, receiver)
                route_key = (direction, pmode.service, pmode.service_type, pmode.action)
                versions = self.versions_by_route.setdefault(route_key, [])
                conflicting_pmode = next(
                    (version for version in versions if _have_common_period(version, pmode)), None
                )
                if conflicting_pmode is not None:
                    detail = f"P-Modes {conflicting_pmode.id!r} and {pmode.id!r} are for the same messages"
                    raise GatewayError(MISUSE, detail, pmode.id)
                versions.append(pmode)
                self.pmodes_by_direction.setdefault(direction, []).append(pmode)


_EMPTY_INDEX: Final = _AgreementIndex()


class PModeIndex:
    """The P-Modes of one epoch; a new agreement or a suspension creates a new index; safe for many threads.

    It has the given P-Modes, or those of a source, of which it reads each agreement when that is first used,
    sometimes twice when two threads need it at once. `is_party` says whether an id is that of a party of any
    agreement; without it the P-Modes say so. Raises GW808 for P-Modes that no message could distinguish.

    An agreement of a source that this version does not read is GW906 for its own messages alone: the lists of
    P-Modes are without it. `report_unread` is called once for it, and `list_unread_agreements` names it.
    """

    def __init__(
        self,
        pmodes: Iterable[PMode] = (),
        epoch: int = 0,
        *,
        source: PModeSource | None = None,
        is_party: Callable[[PartyId], bool] | None = None,
        report_unread: Callable[[str, GatewayError], None] = lambda _agreement, _problem: None,
    ) -> None:
        self.epoch: Final = epoch
        self._source = source or _LoadedPModes(pmodes)
        self._is_party = is_party or self._is_agreed_party
        self._report_unread = report_unread
        self._agreements: dict[str, _AgreementIndex] = {}
        self._unread: dict[str, str] = {}
        self._all_unread: dict[str, GatewayError] | None = None
        self._agreements_by_party: dict[PartyId, set[str]] | None = None
        self._pull_routes: tuple[PullRoute, ...] | None = None
        if source is None:
            for agreement in self._source.list_agreements():
                self._agreements[agreement] = _AgreementIndex(self._source.parse_agreement(agreement))

    @property
    def pmodes(self) -> tuple[PMode, ...]:
        """Return the P-Modes of all agreements that can be read; they are all read for it."""
        readable = map(self._find_readable, self._source.list_agreements())
        return tuple(pmode for agreement_index in readable for pmode in agreement_index.pmodes)

    def list_unread_agreements(self) -> Mapping[str, GatewayError]:
        """Return the agreements that this version does not read, each with GW906.

        All agreements are read for it, once, and not kept.
        """
        if self._all_unread is None:
            problems = {name: self._find_reading_problem(name) for name in self._source.list_agreements()}
            self._all_unread = {name: problem for name, problem in problems.items() if problem is not None}
        return self._all_unread

    def _find_reading_problem(self, agreement: str) -> GatewayError | None:
        if agreement in self._agreements:
            return None
        try:
            self._read_agreement(agreement)
        except GatewayError as problem:
            if problem.problem is not AGREEMENT_UNREAD:
                raise
            return problem
        return None

    def list_agreement_parties(self, agreement: str) -> frozenset[PartyId]:
        """Return the ids of the parties of an agreement; none where these cannot be read."""
        try:
            return frozenset(self._source.list_parties(agreement))
        except GatewayError as problem:
            if problem.problem is not AGREEMENT_UNREAD:
                raise
            self._note_unread(agreement, problem)
            return frozenset()

    def _find_readable(self, agreement: str) -> _AgreementIndex:
        """Return the P-Modes of an agreement, none for one that this version does not read."""
        try:
            return self._get_agreement(agreement)
        except GatewayError as problem:
            if problem.problem is not AGREEMENT_UNREAD:
                raise
            return _EMPTY_INDEX

    def _read_agreement(self, agreement: str) -> _AgreementIndex:
        """Return the P-Modes of an agreement of the source; raise GW906."""
        try:
            return _AgreementIndex(self._source.parse_agreement(agreement))
        except GatewayError as mistake:
            if mistake.problem is AGREEMENT_UNREAD:
                raise
            raise make_unread_error(agreement, mistake) from None

    def _note_unread(self, agreement: str, problem: GatewayError) -> None:
        """Keep the reason why an agreement is not read, and report it once."""
        if self._unread.setdefault(agreement, problem.detail) is problem.detail:
            self._report_unread(agreement, problem)

    def _get_agreement(self, agreement: str | None) -> _AgreementIndex:
        """Return the P-Modes of an agreement, none for an unknown one; raise GW906."""
        agreement_index = self._agreements.get(agreement or "")
        if agreement_index is not None:
            return agreement_index
        if agreement is None or agreement not in self._source.list_agreements():
            return _EMPTY_INDEX
        if agreement in self._unread:
            raise GatewayError(AGREEMENT_UNREAD, self._unread[agreement], agreement[:_MAX_CHARACTERS])
        try:
            return self._agreements.setdefault(agreement, self._read_agreement(agreement))
        except GatewayError as problem:
            if problem.problem is AGREEMENT_UNREAD:
                self._note_unread(agreement, problem)
            raise

    def _index_agreements_by_party(self) -> dict[PartyId, set[str]]:
        """Return the agreements of each party, by its ids."""
        if self._agreements_by_party is None:
            agreements_by_party: dict[PartyId, set[str]] = {}
            for agreement in self._source.list_agreements():
                for party_id in self.list_agreement_parties(agreement):
                    agreements_by_party.setdefault(party_id, set()).add(agreement)
            self._agreements_by_party = agreements_by_party
        return self._agreements_by_party

    def _is_agreed_party(self, party_id: PartyId) -> bool:
        return party_id in self._index_agreements_by_party()

    def find_by_id(self, agreement: str | None, pmode_id: str, at: datetime | None = None) -> PMode | None:
        """Return the P-Mode with this id in an agreement, None when there is none.

        Of several versions of the agreement, that of the time `at` counts, without it the first.
        """
        versions = self._get_agreement(agreement).versions_by_id.get(pmode_id)
        return _choose_version(versions, at) if versions else None

    def match_pmode(self, route: MessageRoute, at: datetime) -> PMode:
        """Return the P-Mode of a business message; raise GW301 to GW304 with the XPath of the wrong part."""
        agreement_index = self._check_route(route, at)
        direction = (route.protocol, route.sender.ids[0], route.receiver.ids[0])
        versions = agreement_index.versions_by_route.get(
            (direction, route.service, route.service_type, route.action)
        )
        if versions is None:
            raise _make_mismatch_error(route, agreement_index)
        pmode = _choose_version(versions, at)
        _check_party_roles(route, pmode)
        return pmode

    def list_matching_pmodes(self, route: MessageRoute, at: datetime) -> tuple[PMode, ...]:
        """Return the P-Modes in force of every agreement for a message that names no agreement.

        Parties, roles, service and action of the route count; its agreement does not.
        """
        agreements_by_party = self._index_agreements_by_party()
        party_agreements = (
            agreements_by_party.get(party.ids[0], set()) for party in (route.sender, route.receiver)
        )
        agreements = sorted(set.intersection(*party_agreements))
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
        """Return the P-Modes in force, of every agreement, whose messages are pulled from a channel.

        Those of agreements that cannot be read are missing: `list_unread_pull_routes` names these.
        """
        return tuple(
            pmode
            for pmode in self._list_pulled_pmodes(lambda pull_route: pull_route.channel == channel)
            if pmode.pull_channel == channel and pmode.is_in_force(at)
        )

    def list_unread_pull_routes(self, channel: str | None) -> tuple[PullRoute, ...]:
        """Return the routes of a channel whose agreement this version does not read."""
        routes = [route for route in self._list_pull_routes() if route.channel == channel]
        for route in routes:
            self._find_readable(route.agreement)
        return tuple(route for route in routes if route.agreement in self._unread)

    def list_pulling_pmodes(self, parties: Collection[PartyId], at: datetime) -> tuple[PMode, ...]:
        """Return the P-Modes in force, of every agreement, whose messages these parties are to pull."""
        return tuple(
            pmode
            for pmode in self._list_pulled_pmodes(lambda pull_route: pull_route.puller in parties)
            if pmode.to_party[0] in parties and pmode.is_in_force(at)
        )

    def _list_pulled_pmodes(self, is_selected: Callable[[PullRoute], bool]) -> Iterator[PMode]:
        """Yield the P-Modes whose messages are pulled, of each agreement with a route that `is_selected`."""
        routes = self._list_pull_routes()
        for agreement in dict.fromkeys(route.agreement for route in routes if is_selected(route)):
            yield from (pmode for pmode in self._find_readable(agreement).pmodes if pmode.pull is not None)

    def _list_pull_routes(self) -> tuple[PullRoute, ...]:
        if self._pull_routes is None:
            self._pull_routes = tuple(self._source.list_pull_routes())
        return self._pull_routes

    def match_signal_pmode(self, route: MessageRoute, at: datetime, *, is_answer: bool) -> PMode:
        """Return a P-Mode for a signal; the signal Service itself is in no agreement.

        A signal that `is_answer` a message, such as an Acknowledgment, belongs to the P-Mode of
        that message, which has the opposite direction; another signal, such as a Ping,
        belongs to one of its own direction. Without such a P-Mode, one of the other direction
        is used. Raises GW301, GW302 or GW304 with the XPath of the wrong part.
        """
        agreement_index = self._check_route(route, at)
        signal_direction = (route.protocol, route.sender.ids[0], route.receiver.ids[0])
        opposite_direction = (route.protocol, route.receiver.ids[0], route.sender.ids[0])
        for direction in (
            (opposite_direction, signal_direction) if is_answer else (signal_direction, opposite_direction)
        ):
            if direction in agreement_index.pmodes_by_direction:
                return _choose_version(agreement_index.pmodes_by_direction[direction], at)
        raise GatewayError(
            HEADER_INCONSISTENT,
            "the agreement is not between these parties",
            f"{route.places.receiver}PartyId",
        )

    def get_reply_pmode(self, pmode: PMode, reply_action: str, at: datetime | None = None) -> PMode:
        """Return the P-Mode with which the To party of `pmode` sends `reply_action` back; raise GW303.

        Of several versions of the agreement, that of the time `at` counts, without it the first.
        """
        reply_pmodes = [
            candidate
            for candidate in self._list_opposite_pmodes(pmode)
            if (candidate.service, candidate.service_type, candidate.action)
            == (pmode.service, pmode.service_type, reply_action)
        ]
        if reply_pmodes:
            return _choose_version(reply_pmodes, at)
        raise GatewayError(
            PMODE_UNKNOWN,
            f"no P-Mode of {pmode.agreement[:_MAX_CHARACTERS]!r} sends {reply_action!r} back",
            pmode.id,
        )

    def _list_opposite_pmodes(self, pmode: PMode) -> Sequence[PMode]:
        """Return the P-Modes of messages that go the other way under the same agreement."""
        direction = (pmode.protocol, pmode.to_party[0], pmode.from_party[0])
        return self._get_agreement(pmode.agreement).pmodes_by_direction.get(direction, ())

    def is_member(self, agreement: str, party: Party) -> bool:
        """Return whether every id of a party is that of a party of the agreement."""
        return self._get_agreement(agreement).party_ids.issuperset(party.ids)

    def find_signal_endpoint(self, pmode: PMode, at: datetime) -> str | None:
        """Return the URL for signals about a message of `pmode` to its From party; None if there is none.

        Without a reply endpoint it is the address at which the From party takes messages under the same
        agreement.
        """
        if pmode.reply_endpoint is not None:
            return pmode.reply_endpoint
        opposite_pmodes = self._list_opposite_pmodes(pmode)
        return next(
            (
                candidate.endpoint
                for candidate in opposite_pmodes
                if candidate.endpoint and candidate.is_in_force(at)
            ),
            None,
        )

    def _check_route(self, route: MessageRoute, at: datetime) -> _AgreementIndex:
        """Return the agreement of a route; raise where it is not in force or not of these parties."""
        agreement_index, location = self._get_agreement(route.agreement), route.places.agreement
        if not agreement_index.pmodes:
            detail = f"no agreement {route.agreement[:_MAX_CHARACTERS]!r}"
            raise GatewayError(AGREEMENT_UNKNOWN, detail, location)
        if not any(pmode.is_in_force(at) for pmode in agreement_index.pmodes):
            raise GatewayError(
                AGREEMENT_UNKNOWN, f"{route.agreement[:_MAX_CHARACTERS]!r} is not in force", location
            )
        for party_xpath, party in (
            (route.places.sender, route.sender),
            (route.places.receiver, route.receiver),
        ):
            for party_id in party.ids:
                if party_id not in agreement_index.party_ids:
                    raise self._make_party_error(party_id, f"{party_xpath}PartyId")
        return agreement_index

    def _make_party_error(self, party_id: PartyId, location: str) -> GatewayError:
        """Return the refusal of an id that is not that of a party of the agreement."""
        if self._is_party(party_id):
            detail = f"{_format_party_id(party_id)} is not a party of the agreement"
            return GatewayError(HEADER_INCONSISTENT, detail, location)
        return GatewayError(PARTY_UNKNOWN, f"no party {_format_party_id(party_id)}", location)


def _make_mismatch_error(route: MessageRoute, agreement_index: _AgreementIndex) -> GatewayError:
    """Return the refusal of a message whose agreement and parties are known."""
    service = (route.service, route.service_type)
    if service not in agreement_index.services:
        return GatewayError(
            PMODE_UNKNOWN, f"no service {route.service[:_MAX_CHARACTERS]!r} agreed", route.places.service
        )
    if (*service, route.action) not in agreement_index.actions:
        return GatewayError(
            PMODE_UNKNOWN, f"no action {route.action[:_MAX_CHARACTERS]!r} agreed", route.places.action
        )
    if all(pmode.protocol != route.protocol for pmode in agreement_index.pmodes):
        return GatewayError(PMODE_UNKNOWN, "it is agreed for another protocol", route.places.agreement)
    detail = "this From party does not send this action to this To party"
    return GatewayError(HEADER_INCONSISTENT, detail, f"{route.places.sender}PartyId")


def _list_party_ids(pmode: PMode) -> tuple[PartyId, ...]:
    return (*pmode.from_party, *pmode.to_party)


def _have_common_period(pmode: PMode, other_pmode: PMode) -> bool:
    return pmode.valid_from < other_pmode.valid_until and other_pmode.valid_from < pmode.valid_until


def _choose_version(versions: Sequence[PMode], at: datetime | None) -> PMode:
    """Return the version in force at a given time, else the first."""
    if len(versions) == 1 or at is None:
        return versions[0]
    return next((version for version in versions if version.is_in_force(at)), versions[0])


def _format_party_id(party_id: PartyId) -> str:
    return f"{party_id.value[:_MAX_CHARACTERS]!r}" + (
        f" of type {party_id.type[:_MAX_CHARACTERS]!r}" if party_id.type is not None else ""
    )


def _check_party_roles(route: MessageRoute, pmode: PMode) -> None:
    """Raise GW304 for a header with ids of several parties, or with another role than the agreed one."""
    sides = (
        (route.places.sender, route.sender, pmode.from_party, pmode.from_role),
        (route.places.receiver, route.receiver, pmode.to_party, pmode.to_role),
    )
    for party_xpath, party, agreed_ids, agreed_role in sides:
        for party_id in party.ids:
            if party_id not in agreed_ids:
                raise GatewayError(
                    HEADER_INCONSISTENT,
                    f"{_format_party_id(party_id)} is another party",
                    f"{party_xpath}PartyId",
                )
        if agreed_role is not None and party.role != agreed_role:
            raise GatewayError(
                HEADER_INCONSISTENT,
                f"the agreed role is {agreed_role[:_MAX_CHARACTERS]!r}",
                f"{party_xpath}Role",
            )
