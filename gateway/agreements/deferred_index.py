"""The index of many agreements: each is read when its first message comes, not at the start.

A hub may have ten thousand agreements, of which few are used in an hour. Every look-up names its
agreement, so each agreement is an index of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime
from typing import NamedTuple

from gateway.agreements.pmode import PMode
from gateway.agreements.pmode_index import MessageRoute, PModeIndex
from gateway.message_model import Party, PartyId

__all__ = ["DeferredPModeIndex", "PullRoute", "make_pull_route"]


class PullRoute(NamedTuple):
    """Under which agreement messages are pulled from a channel, and by whom."""

    channel: str | None
    puller: PartyId
    agreement: str


def make_pull_route(pmode: PMode) -> PullRoute:
    """Return the route of a P-Mode whose messages are pulled."""
    return PullRoute(pmode.pull_channel, pmode.to_party[0], pmode.agreement)


class DeferredPModeIndex(PModeIndex):
    """An index that behaves as `PModeIndex` over the P-Modes of all agreements; safe for many threads.

    `ids` are the ids of the P-Modes by agreement. `load` returns the P-Modes of one agreement; it is
    called once for each agreement that is used, sometimes twice when two threads need it at once.
    `is_party` says whether an id is that of a party of any agreement. `name_parties` returns the ids of the
    parties of an agreement without reading all of it; it is called for every agreement when the first
    message comes that names none. `name_pull_routes` returns which agreements have messages
    that are pulled; it is called when somebody pulls first.
    """

    def __init__(
        self,
        ids: Mapping[str, Iterable[str]],
        load: Callable[[str], Iterable[PMode]],
        is_party: Callable[[PartyId], bool],
        epoch: int = 0,
        name_parties: Callable[[str], Iterable[PartyId]] | None = None,
        name_pull_routes: Callable[[], Iterable[PullRoute]] | None = None,
    ) -> None:
        super().__init__((), epoch)
        self._ids = ids
        self._load = load
        self._is_party = is_party
        self._loaded: dict[str, PModeIndex] = {}
        self._nothing = PModeIndex((), epoch, is_party)
        self._owners: dict[str, list[str]] | None = None
        self._name_parties = name_parties
        self._name_pull_routes = name_pull_routes
        self._pull_routes: tuple[PullRoute, ...] | None = None
        self._partners: dict[PartyId, set[str]] | None = None

    @property
    def pmodes(self) -> tuple[PMode, ...]:
        """Return the P-Modes of all agreements; they are all read for it."""
        return tuple(pmode for agreement in self._ids for pmode in self._get_index(agreement).pmodes)

    def find_by_id(self, agreement: str | None, pmode_id: str, at: datetime | None = None) -> PMode | None:
        """Return the P-Mode with this id in an agreement, as `PModeIndex.find_by_id`."""
        if agreement is None:
            owners = self._find_owners(pmode_id)
            return self._get_index(owners[0]).find_by_id(None, pmode_id, at) if len(owners) == 1 else None
        return self._get_index(agreement).find_by_id(agreement, pmode_id, at)

    def match_pmode(self, route: MessageRoute, at: datetime) -> PMode:
        """Return the P-Mode of a business message, as `PModeIndex.match_pmode`."""
        return self._get_index(route.agreement).match_pmode(route, at)

    def list_matching_pmodes(self, route: MessageRoute, at: datetime) -> tuple[PMode, ...]:
        """Return the P-Modes for a message that names no agreement, as `PModeIndex.list_matching_pmodes`."""
        partners = self._find_partners()
        sides = (partners.get(one.ids[0], set()) for one in (route.sender, route.receiver))
        agreements = sorted(set.intersection(*sides))
        indexes = map(self._get_index, agreements)
        return tuple(one for index in indexes for one in index.list_matching_pmodes(route, at))

    def list_pull_pmodes(self, channel: str | None, at: datetime) -> tuple[PMode, ...]:
        """Return the P-Modes whose messages are pulled from a channel, as `PModeIndex.list_pull_pmodes`."""
        named = (one.agreement for one in self._list_pull_routes() if one.channel == channel)
        indexes = map(self._get_index, dict.fromkeys(named))
        return tuple(one for index in indexes for one in index.list_pull_pmodes(channel, at))

    def list_pulling_pmodes(self, parties: Collection[PartyId], at: datetime) -> tuple[PMode, ...]:
        """Return the P-Modes whose messages parties are to pull, as `PModeIndex.list_pulling_pmodes`."""
        named = (one.agreement for one in self._list_pull_routes() if one.puller in parties)
        indexes = map(self._get_index, dict.fromkeys(named))
        return tuple(one for index in indexes for one in index.list_pulling_pmodes(parties, at))

    def _list_pull_routes(self) -> tuple[PullRoute, ...]:
        if self._pull_routes is None:
            named = (
                self._name_pull_routes()
                if self._name_pull_routes is not None
                else map(make_pull_route, (one for one in self.pmodes if one.pull is not None))
            )
            self._pull_routes = tuple(named)
        return self._pull_routes

    def match_signal_pmode(self, route: MessageRoute, at: datetime, *, answers: bool) -> PMode:
        """Return a P-Mode for a signal, as `PModeIndex.match_signal_pmode`."""
        return self._get_index(route.agreement).match_signal_pmode(route, at, answers=answers)

    def get_reply_pmode(self, pmode: PMode, action: str, at: datetime | None = None) -> PMode:
        """Return the P-Mode that answers a message of `pmode`, as `PModeIndex.get_reply_pmode`."""
        return self._get_index(pmode.agreement).get_reply_pmode(pmode, action, at)

    def is_member(self, agreement: str, party: Party) -> bool:
        """Return whether a party is one of the agreement, as `PModeIndex.is_member`."""
        return self._get_index(agreement).is_member(agreement, party)

    def find_signal_endpoint(self, pmode: PMode, at: datetime) -> str | None:
        """Return where signals about a message of `pmode` go, as `PModeIndex.find_signal_endpoint`."""
        return self._get_index(pmode.agreement).find_signal_endpoint(pmode, at)

    def _get_index(self, agreement: str) -> PModeIndex:
        found = self._loaded.get(agreement)
        if found is not None:
            return found
        if agreement not in self._ids:
            return self._nothing
        made = PModeIndex(self._load(agreement), self.epoch, self._is_party)
        return self._loaded.setdefault(agreement, made)

    def _find_partners(self) -> dict[PartyId, set[str]]:
        """Return the agreements of each party, by its ids."""
        if self._partners is None:
            partners: dict[PartyId, set[str]] = {}
            for agreement in self._ids:
                for one in self._list_party_ids(agreement):
                    partners.setdefault(one, set()).add(agreement)
            self._partners = partners
        return self._partners

    def _list_party_ids(self, agreement: str) -> Iterable[PartyId]:
        if self._name_parties is not None:
            return self._name_parties(agreement)
        return {
            one for pmode in self._get_index(agreement).pmodes for one in (*pmode.from_party, *pmode.to_party)
        }

    def _find_owners(self, pmode_id: str) -> list[str]:
        """Return the agreements that have a P-Mode with this id."""
        if self._owners is None:
            owners: dict[str, list[str]] = {}
            for agreement, ids in self._ids.items():
                for one in dict.fromkeys(ids):
                    owners.setdefault(one, []).append(agreement)
            self._owners = owners
        return self._owners.get(pmode_id, [])
