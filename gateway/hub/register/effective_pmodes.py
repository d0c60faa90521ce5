"""The P-Modes of stored agreements as they are in force: with overrides of this hub and later versions."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby
from typing import Any, TypeVar

from sqlalchemy import Connection

from gateway.agreements import (
    FILING_FUNCTIONS,
    FILING_SERVICE,
    PMode,
    PModeIndex,
    PModeOverride,
    PullRoute,
    apply_overrides,
    list_mailbox_filings,
    make_unread_error,
    parse_instant,
    pmode_from_json,
    read_overrides,
)
from gateway.errors import AGREEMENT_UNREAD, GatewayError
from gateway.message_model import PartyId
from gateway.store import AgreementRow, PModeTextRow, agreements

_Read = TypeVar("_Read")
_log = logging.getLogger(__name__)
#: How a P-Mode whose messages are pulled is recognised without reading it.
_PULLED = re.compile(r'"pull":\s*\{')
#: How a P-Mode that delivers to the mailbox is recognised; the P-Modes by which the hub sends match, too.
_TO_MAILBOX = re.compile(r'"deliver_to":\s*"mailbox"')
_FILED = re.compile(
    rf'"action":\s*"(?:{"|".join(FILING_FUNCTIONS)})"|"service":\s*"{re.escape(FILING_SERVICE)}"'
)


@dataclass(frozen=True, slots=True)
class LaterVersion:
    """A later version of an agreement: its period, how it came, and all of it as it is stored."""

    valid_from: datetime
    valid_until: datetime
    kind: str
    loaded_at: str
    loaded_by: str
    stored: dict[str, Any]

    def list_parameters(self) -> list[dict[str, Any]]:
        """Return the parameters of its P-Modes."""
        return list(self.stored["pmodes"])

    def parse_pmodes(self) -> list[PMode]:
        """Return its P-Modes as agreed; a fault ends it by its exception."""
        return [pmode_from_json(parameters) for parameters in self.list_parameters()]


@dataclass(frozen=True, slots=True)
class AgreementTexts:
    """One agreement as it is stored: its P-Modes by id, overrides and later versions, as JSON texts."""

    pmodes: Mapping[str, str]
    overrides: str | None = None
    successors: str | None = None

    def parse_pmodes(self) -> tuple[PMode, ...]:
        """Return the P-Modes of all versions as they are in force; a fault ends it by its exception."""
        overrides, later_versions = self.parse_overrides(), self.parse_later_versions()
        first = (_cut_period(pmode, later_versions) for pmode in self.parse_first_version(overrides))
        return (*first, *_list_later_pmodes(later_versions, overrides))

    def parse_first_version(self, overrides: Sequence[PModeOverride]) -> list[PMode]:
        """Return the P-Modes of the first version with overrides, each with its own period."""
        pmodes = [pmode_from_json(json.loads(text)) for text in self.pmodes.values()]
        return [apply_overrides(pmode, overrides) if overrides else pmode for pmode in pmodes]

    def parse_overrides(self) -> tuple[PModeOverride, ...]:
        """Return the overrides."""
        return read_overrides(_parse_json(self.overrides))

    def parse_later_versions(self) -> list[LaterVersion]:
        """Return the later versions in their order."""
        return [_read_later_version(version) for version in _parse_json(self.successors) or ()]

    def list_later_parameters(self) -> list[dict[str, Any]]:
        """Return the parameters of the P-Modes of the later versions."""
        return [p for version in self.parse_later_versions() for p in version.list_parameters()]


def _read_later_version(stored: dict[str, Any]) -> LaterVersion:
    """Return a stored version; raise KeyError, TypeError or ValueError for one of another form."""
    valid_from, valid_until = (parse_instant(stored[name], name) for name in ("valid_from", "valid_until"))
    return LaterVersion(
        valid_from, valid_until, stored["kind"], stored["loaded_at"], stored["loaded_by"], stored
    )


def _parse_json(text: str | None) -> Any:
    return None if text is None else json.loads(text)


@dataclass(frozen=True, slots=True)
class PModeTexts:
    """The active agreements as they are stored; each is parsed when it is used."""

    texts: dict[str, AgreementTexts]

    def list_agreements(self) -> Collection[str]:
        """Return the ids of the active agreements."""
        return self.texts

    def parse_agreement(self, agreement: str) -> tuple[PMode, ...]:
        """Return the P-Modes of an agreement as they are in force.

        Raises GW906 for one that this version does not read: another version has stored it, or it was changed
        outside the gateway.
        """
        return _read_stored(agreement, lambda: self._parse_pmodes(agreement))

    def _parse_pmodes(self, agreement: str) -> tuple[PMode, ...]:
        pmodes = self.texts[agreement].parse_pmodes()
        stranger = next((pmode for pmode in pmodes if pmode.agreement != agreement), None)
        if stranger is not None:
            raise ValueError(f"its P-Mode {stranger.id[:80]} is of agreement {stranger.agreement[:80]}")
        return pmodes

    def list_parties(self, agreement: str) -> set[PartyId]:
        """Return the ids of the parties of an agreement, from its first P-Mode and its later versions.

        Raises GW906 where these cannot be read.
        """
        return _read_stored(agreement, lambda: _read_parties(self.texts[agreement]))

    def list_mailbox_filings(self, at: datetime) -> list[PMode]:
        """Return the P-Modes, in force or to come, by which submissions are filed and open no case.

        Those of an agreement that this version does not read are missing.
        """
        filings: list[PMode] = []
        for agreement, texts in self.texts.items():
            filed = (t for t in texts.pmodes.values() if _FILED.search(t) and _TO_MAILBOX.search(t))
            if texts.overrides or texts.successors or any(filed):
                filings += list_mailbox_filings(self.list_readable_pmodes(agreement))
        return [pmode for pmode in filings if at < pmode.valid_until]

    def list_readable_pmodes(self, agreement: str) -> tuple[PMode, ...]:
        """Return the P-Modes of an agreement, none where this version does not read it."""
        try:
            return self.parse_agreement(agreement)
        except GatewayError as problem:
            if problem.problem is not AGREEMENT_UNREAD:
                raise
            return ()

    def list_pull_routes(self) -> list[PullRoute]:
        """Return under which agreements messages are pulled; no P-Mode is read for it.

        A route of an agreement that cannot be read is listed, too, unless it is itself unreadable.
        """
        return [route for agreement in self.texts for route in self._read_pull_routes(agreement)]

    def _read_pull_routes(self, agreement: str) -> list[PullRoute]:
        """Return the routes of an agreement that can be read; that there are others is logged once."""
        texts, routes, mistakes = self.texts[agreement], [], list[Exception]()
        stored_pmodes: list[Any] = [text for text in texts.pmodes.values() if _PULLED.search(text)]
        try:
            stored_pmodes += texts.list_later_parameters()
        except Exception as mistake:
            mistakes.append(mistake)
        for stored in stored_pmodes:
            try:
                parameters = json.loads(stored) if isinstance(stored, str) else stored
                if parameters.get("pull"):
                    routes.append(_make_pull_route(agreement, parameters))
            except Exception as mistake:
                mistakes.append(mistake)
        # One that says that memory is used up is raised.
        problems = [make_unread_error(agreement, mistake) for mistake in mistakes]
        if problems:
            _log.warning("%s", problems[0], extra={"agreement": agreement})
        return routes


def _read_stored(agreement: str, read: Callable[[], _Read]) -> _Read:
    """Return the result of `read`; raise GW906 for any exception that is no lack of resources."""
    try:
        return read()
    except Exception as mistake:
        raise make_unread_error(agreement, mistake) from None


def _read_parties(texts: AgreementTexts) -> set[PartyId]:
    """Return the ids of the parties in the first P-Mode of an agreement and in its later versions."""
    first_texts = list(texts.pmodes.values())[:1]
    return {
        _read_party_id(stored_id)
        for parameters in (*map(json.loads, first_texts), *texts.list_later_parameters())
        for stored_id in (*parameters["from_party"], *parameters["to_party"])
    }


def _read_party_id(stored_id: Any) -> PartyId:
    """Return a stored id of a party.

    Raises TypeError where it is no list of a value and a type, ValueError for a text that UTF-8 cannot hold.
    """
    match stored_id:
        case [str(value), str() | None as kind]:
            (value + (kind or "")).encode()
            return PartyId(value, kind)
    raise TypeError(f"the id of a party is {json.dumps(stored_id)[:80]}")


def _make_pull_route(agreement: str, parameters: dict[str, Any]) -> PullRoute:
    """Return the route of a stored P-Mode whose messages are pulled, without its other terms."""
    channel, sub_channel = parameters.get("mpc"), parameters["pull"].get("sub_channel")
    if not isinstance(channel, str | None) or not isinstance(sub_channel, str | None):
        raise TypeError("the channel of messages that are pulled is no text")
    return PullRoute(
        channel if sub_channel is None else f"{channel}/{sub_channel}",
        _read_party_id(parameters["to_party"][0]),
        agreement,
    )


def load_pmode_texts(conn: Connection) -> PModeTexts:
    """Return the P-Modes of every active agreement without parsing them."""
    pmodes: dict[str, dict[str, str]] = {}
    for row in agreements.list_active_pmode_texts(conn):
        pmodes.setdefault(row.agreement_id, {})[row.id] = row.parameters
    changes = {row.id: (row.overrides, row.successors) for row in agreements.list_changed_agreements(conn)}
    return PModeTexts(
        {
            agreement: AgreementTexts(texts, *changes.get(agreement, (None, None)))
            for agreement, texts in pmodes.items()
        }
    )


def list_effective_pmodes(conn: Connection, parties: Collection[str]) -> Iterator[PMode]:
    """Yield the P-Modes of active agreements between parties, given by all their identifiers, as in force.

    Those of an agreement that this version does not read are missing, which is logged.
    """
    active_rows = agreements.list_active_pmodes(conn, parties)
    for agreement, agreement_rows in groupby(active_rows, key=lambda row: row.agreement_id):
        rows = list(agreement_rows)
        texts = AgreementTexts(_map_texts(rows), rows[0].overrides, rows[0].successors)
        try:
            pmodes = texts.parse_pmodes()
        except Exception as mistake:
            problem = make_unread_error(agreement, mistake)
            _log.warning("nothing is compared with it: %s", problem, extra={"agreement": agreement})
        else:
            yield from pmodes


def _map_texts(rows: Iterable[PModeTextRow]) -> dict[str, str]:
    """Return the parameters of P-Modes by their ids."""
    return {row.id: row.parameters for row in rows}


def load_effective_pmodes(conn: Connection, agreement: AgreementRow, at: datetime) -> tuple[PMode, ...]:
    """Return the P-Modes of one agreement, a row of the register, as they are in force at a given time.

    Raises GW906 for an agreement that this version does not read.
    """
    rows = agreements.list_agreement_pmodes(conn, agreement.id)
    texts = AgreementTexts(_map_texts(rows), agreement.overrides, agreement.successors)
    problem = PModeIndex(source=PModeTexts({agreement.id: texts})).list_unread_agreements().get(agreement.id)
    if problem is not None:
        raise problem
    return _choose_pmodes(texts, at)


def _choose_pmodes(texts: AgreementTexts, at: datetime) -> tuple[PMode, ...]:
    """Return the P-Modes of the version that has begun last; those of the first if none has begun."""
    overrides, later_versions = texts.parse_overrides(), texts.parse_later_versions()
    begun_versions = [version for version in later_versions if version.valid_from <= at]
    if begun_versions:
        newest = begun_versions[-1].valid_from
        later = _list_later_pmodes(later_versions, overrides)
        return tuple(
            sorted((pmode for pmode in later if pmode.valid_from == newest), key=lambda pmode: pmode.id)
        )
    return tuple(_cut_period(pmode, later_versions) for pmode in texts.parse_first_version(overrides))


def load_agreed_pmodes(conn: Connection, agreement: str) -> list[PMode]:
    """Return the P-Modes of the first version of an agreement as agreed, without overrides; raise GW906."""
    texts = AgreementTexts(_map_texts(agreements.list_agreement_pmodes(conn, agreement)))
    return _read_stored(agreement, lambda: texts.parse_first_version(()))


def read_stored_overrides(agreement: AgreementRow) -> tuple[PModeOverride, ...]:
    """Return the overrides of an agreement, a row of the register; raise GW906 where they cannot be read."""
    return _read_stored(agreement.id, AgreementTexts({}, agreement.overrides).parse_overrides)


def read_later_versions(agreement: AgreementRow) -> list[LaterVersion]:
    """Return the later versions of an agreement, a row of the register.

    Raises GW906 where they, or their P-Modes, cannot be read.
    """
    texts = AgreementTexts({}, successors=agreement.successors)

    def read_versions() -> list[LaterVersion]:
        later_versions = texts.parse_later_versions()
        _list_later_pmodes(later_versions, ())
        return later_versions

    return _read_stored(agreement.id, read_versions)


def _list_later_pmodes(
    later_versions: Sequence[LaterVersion], overrides: Sequence[PModeOverride]
) -> list[PMode]:
    """Return the P-Modes of later versions, each until the next one begins."""
    pmodes = []
    for number, version in enumerate(later_versions):
        changed = (apply_overrides(pmode, overrides) for pmode in version.parse_pmodes())
        pmodes += [_cut_period(pmode, later_versions[number + 1 :]) for pmode in changed]
    return pmodes


def _cut_period(pmode: PMode, later_versions: Sequence[LaterVersion]) -> PMode:
    """Return a P-Mode that ends where the next version of its agreement begins."""
    if not later_versions:
        return pmode
    begins = later_versions[0].valid_from
    return replace(pmode, valid_until=begins) if pmode.valid_from < begins < pmode.valid_until else pmode
