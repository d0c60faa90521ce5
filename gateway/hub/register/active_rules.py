"""Holds the rules of one process: those in force now, those planned, and those that older cases pin."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection

from gateway.errors import STORED_MAPPINGS_UNREAD, GatewayError
from gateway.hub.register.decision_rules import (
    DecisionRules,
    load_shipped_rules,
    load_stored_rules,
    pack_shipped_rules,
    renew_need_tables,
)
from gateway.store import MappingPeriod, mapping_bundles

_log = logging.getLogger(__name__)

#: The number of periods that are loaded with the register: those before and from the last date.
_LOADED_PERIODS: Final = 2
#: The largest number of older bundles in memory, for cases that wait some days for a supplement.
_MAX_EARLIER_RULES: Final = 3


@dataclass(frozen=True, slots=True)
class _LoadedPeriods:
    """Which bundle is in force when, and the rules of the last periods, by their digest."""

    periods: tuple[MappingPeriod, ...]
    rules: Mapping[str | None, DecisionRules]


class ActiveRules:
    """The rules by date: the shipped ones until they are reloaded; safe for many threads.

    A planned bundle is loaded when the plan becomes known, so that nothing is loaded at its date.
    """

    def __init__(self, rules: DecisionRules | None = None) -> None:
        first = rules or load_shipped_rules()
        self._shipped = first if first.version is None else None
        self._loaded = _LoadedPeriods((MappingPeriod(None, first.version),), {first.version: first})
        self._earlier: dict[str, DecisionRules] = {}
        self._settled: set[str] = set()
        self._unread: set[str] = set()
        self._packed: bytes | None = None
        self._reading = threading.Lock()

    def reload_rules(self, conn: Connection) -> None:
        """Load the rules that are in force and those that are planned.

        Rules that another version of the program stored, and that do not load in this one (GW904), are an
        error if they are in force without a date. If they are in force from a date on, reading the rules of
        that date raises the error; until then, the earlier rules hold.
        """
        periods = mapping_bundles.list_periods(conn)
        former = self._loaded.rules
        digests = dict.fromkeys(period.digest for period in periods[-_LOADED_PERIODS:])
        last = periods[-1].digest if len(digests) > 1 else None
        loaded = {
            digest: former.get(digest) or self._load_period(conn, digest, is_last=digest == last)
            for digest in digests
        }
        rules = {
            digest: renew_need_tables(conn, decision_rules)
            for digest, decision_rules in loaded.items()
            if decision_rules is not None
        }
        self._earlier = {
            digest: renew_need_tables(conn, decision_rules)
            for digest, decision_rules in self._earlier.items()
        }
        self._loaded = _LoadedPeriods(periods, rules)

    def find_rules(self, at: datetime) -> DecisionRules | None:
        """Return the rules in force at a time; None where those of an older period are not loaded."""
        loaded = self._loaded
        return loaded.rules.get(mapping_bundles.find_period(loaded.periods, at).digest)

    def load_earlier_rules(self, conn: Connection, at: datetime) -> DecisionRules:
        """Return the rules that were in force at a time, loaded where they are not."""
        with self._reading:
            return self._find_or_load_rules(
                conn, mapping_bundles.find_period(self._loaded.periods, at).digest
            )

    def find_bundle(self, digest: str) -> DecisionRules | None:
        """Return the rules whose bundle has a digest; None where these are not loaded."""
        for rules in (*self._loaded.rules.values(), *self._earlier.values()):
            if rules.bundle.digest == digest:
                return rules
        return None

    def load_bundle(self, conn: Connection, digest: str) -> DecisionRules | None:
        """Return the rules whose bundle has a digest, loaded where they are not; None when it is unknown.

        Unknown is a bundle that came with another version of the program and was not stored, or that another
        version has stored and this version does not load (GW904, which is logged).
        """
        with self._reading:
            rules = self.find_bundle(digest)
            if rules is None and mapping_bundles.find_bundle_content(conn, digest) is not None:
                rules = self._find_or_load_stored_rules(conn, digest)
            if rules is None and self._load_rules(conn, None).bundle.digest == digest:
                rules = self._shipped
            return rules

    def is_settled(self, digest: str) -> bool:
        """Return whether a bundle is known to be stored, or cannot be."""
        return digest in self._settled

    def find_unstored_bundle(self, conn: Connection, digest: str) -> bytes | None:
        """Return the packed files of the shipped bundle of this digest, where no case has pinned it yet.

        None for every other bundle. It is packed once in a process.
        """
        with self._reading:
            shipped = self._shipped
            if mapping_bundles.has_bundle(conn, digest) or shipped is None or shipped.bundle.digest != digest:
                self._settled.add(digest)
                self._packed = None
                return None
            self._packed = self._packed or pack_shipped_rules(shipped)
            if self._packed is None:
                self._settled.add(digest)
                if shipped.folder is not None:
                    _log.error(
                        "the files of the mappings have changed since the start: not stored",
                        extra={"sha256": digest},
                    )
            return self._packed

    def _load_period(self, conn: Connection, digest: str | None, *, is_last: bool) -> DecisionRules | None:
        """Return the rules of a period; None where those of the last date do not load (this is logged)."""
        if digest is None or not is_last:
            return self._load_rules(conn, digest)
        if digest in self._unread:
            return None
        try:
            return self._load_rules(conn, digest)
        except GatewayError as error:
            if error.problem is not STORED_MAPPINGS_UNREAD:
                raise
            self._unread.add(digest)
            _log.error(
                "the mappings of the last date do not load and are not used: %s",
                error,
                extra={"sha256": digest},
            )
            return None

    def _find_or_load_stored_rules(self, conn: Connection, digest: str) -> DecisionRules | None:
        """Return the rules of stored mappings by their digest; None if they do not load (logged once)."""
        if digest in self._unread:
            return None
        try:
            return self._find_or_load_rules(conn, digest)
        except GatewayError as error:
            if error.problem is not STORED_MAPPINGS_UNREAD:
                raise
            self._unread.add(digest)
            _log.error(
                "cases of stored mappings that do not load use those in force: %s",
                error,
                extra={"sha256": digest},
            )
            return None

    def _find_or_load_rules(self, conn: Connection, digest: str | None) -> DecisionRules:
        """Return the rules of stored mappings by their digest, and keep them; None means the shipped rules.

        Raises GW904 for stored mappings that do not load.
        """
        rules = self._loaded.rules.get(digest) or (self._earlier.get(digest) if digest else None)
        if rules is None:
            rules = self._load_rules(conn, digest)
            if digest is not None:
                retained = list(self._earlier.items())[1 - _MAX_EARLIER_RULES :]
                self._earlier = dict([*retained, (digest, rules)])
        return rules

    def _load_rules(self, conn: Connection, digest: str | None) -> DecisionRules:
        if digest is not None:
            return renew_need_tables(conn, load_stored_rules(conn, digest))
        self._shipped = renew_need_tables(conn, self._shipped or load_stored_rules(conn, None))
        return self._shipped
