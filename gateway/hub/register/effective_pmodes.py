"""The P-Modes of agreements with the overrides of this hub, and forwarding rules, as values and as rows."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby
from typing import Any

from sqlalchemy import Connection

from gateway.agreements import (
    FILING_FUNCTIONS,
    FILING_SERVICE,
    ForwardingRule,
    PMode,
    PModeOverride,
    PullRoute,
    apply_overrides,
    list_mailbox_filings,
    make_unread_error,
    pmode_from_json,
    read_overrides,
)
from gateway.errors import AGREEMENT_UNREAD, GatewayError
from gateway.message_model import PartyId
from gateway.store import ActivePModeRow, AgreementRow, ForwardingRuleRow, PModeRow, agreements

_log = logging.getLogger(__name__)
#: How a P-Mode whose messages are pulled is recognised without reading it.
_PULLED = re.compile(r'"pull":\s*\{')
#: How a P-Mode that delivers to the mailbox is recognised; the P-Modes by which the hub sends match, too.
_TO_MAILBOX = re.compile(r'"deliver_to":\s*"mailbox"')
_FILED = re.compile(
    rf'"action":\s*"(?:{"|".join(FILING_FUNCTIONS)})"|"service":\s*"{re.escape(FILING_SERVICE)}"'
)


@dataclass(frozen=True, slots=True)
class PModeTexts:
    """The P-Modes of the active agreements as they are stored; one agreement is parsed when it is used.

    `texts` has each P-Mode by agreement and id. `changes` has overrides and successors of the
    agreements that have any.
    """

    texts: dict[str, dict[str, str]]
    changes: dict[str, tuple[Any, Any]]

    def list_agreements(self) -> Collection[str]:
        """Return the ids of the active agreements."""
        return self.texts

    def parse_agreement(self, agreement: str) -> tuple[PMode, ...]:
        """Return the P-Modes of an agreement as they are in force.

        Raises GW906 for one that this version does not read: another version has stored it, or it was changed
        outside the gateway.
        """
        try:
            return self._parse_pmodes(agreement)
        except Exception as mistake:
            raise make_unread_error(agreement, mistake) from None

    def _parse_pmodes(self, agreement: str) -> tuple[PMode, ...]:
        stored_overrides, successors = self.changes.get(agreement, (None, None))
        overrides = read_overrides(stored_overrides)
        stored_pmodes = [pmode_from_json(json.loads(text)) for text in self.texts[agreement].values()]
        pmodes = [apply_overrides(pmode, overrides) if overrides else pmode for pmode in stored_pmodes]
        first = (_cut_period(pmode, successors) for pmode in pmodes)
        return (*first, *_list_later_pmodes(successors, overrides))

    def list_parties(self, agreement: str) -> set[PartyId]:
        """Return the ids of the parties of an agreement, from its first P-Mode and its later versions.

        Raises GW906 where these cannot be read.
        """
        try:
            texts = list(self.texts[agreement].values())[:1]
            pmode_parameters = [*map(json.loads, texts), *self._list_later_parameters(agreement)]
            return {
                PartyId(value, kind)
                for parameters in pmode_parameters
                for value, kind in (*parameters["from_party"], *parameters["to_party"])
            }
        except Exception as mistake:
            raise make_unread_error(agreement, mistake) from None

    def list_mailbox_filings(self, at: datetime) -> list[PMode]:
        """Return the P-Modes, in force or to come, by which submissions are filed and open no case.

        Those of an agreement that this version does not read are missing.
        """
        filings: list[PMode] = []
        for agreement, texts in self.texts.items():
            filed = (text for text in texts.values() if _FILED.search(text) and _TO_MAILBOX.search(text))
            if agreement in self.changes or any(filed):
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
        routes: list[PullRoute] = []
        for agreement, texts in self.texts.items():
            pulled_texts = [text for text in texts.values() if _PULLED.search(text) is not None]
            try:
                later = [
                    parameters
                    for parameters in self._list_later_parameters(agreement)
                    if parameters.get("pull")
                ]
                routes += [
                    _make_pull_route(agreement, parameters)
                    for parameters in (*map(json.loads, pulled_texts), *later)
                ]
            except Exception as mistake:
                _log.warning("%s", make_unread_error(agreement, mistake), extra={"agreement": agreement})
        return routes

    def _list_later_parameters(self, agreement: str) -> list[dict[str, Any]]:
        """Return the parameters of the P-Modes of the later versions of an agreement."""
        _, successors = self.changes.get(agreement, (None, None))
        return [parameters for version in successors or () for parameters in version["pmodes"]]


def _make_pull_route(agreement: str, parameters: dict[str, Any]) -> PullRoute:
    """Return the route of a stored P-Mode whose messages are pulled, without its other terms."""
    channel, sub_channel = parameters.get("mpc"), parameters["pull"].get("sub_channel")
    value, kind = parameters["to_party"][0]
    return PullRoute(
        channel if sub_channel is None else f"{channel}/{sub_channel}", PartyId(value, kind), agreement
    )


def load_pmode_texts(conn: Connection) -> PModeTexts:
    """Return the P-Modes of every active agreement without parsing them."""
    texts: dict[str, dict[str, str]] = {}
    for row in agreements.list_active_pmode_texts(conn):
        texts.setdefault(row.agreement_id, {})[row.id] = row.parameters
    changes = {row.id: (row.overrides, row.successors) for row in agreements.list_changed_agreements(conn)}
    return PModeTexts(texts, changes)


def list_effective_pmodes(conn: Connection, parties: Collection[str]) -> Iterator[PMode]:
    """Yield the P-Modes of active agreements between parties, given by all their identifiers, as in force.

    Those of an agreement that this version does not read are missing, which is logged.
    """
    rows = agreements.list_active_pmodes(conn, parties)
    for agreement, agreement_rows in groupby(rows, key=lambda row: row.agreement_id):
        try:
            pmodes = _read_rows(list(agreement_rows))
        except Exception as mistake:
            problem = make_unread_error(agreement, mistake)
            _log.warning("nothing is compared with it: %s", problem, extra={"agreement": agreement})
        else:
            yield from pmodes


def _read_rows(rows: Sequence[ActivePModeRow]) -> list[PMode]:
    """Return the P-Modes of rows of one agreement, with those of its later versions."""
    overrides, successors = read_overrides(rows[0].overrides), rows[0].successors
    pmodes = [_cut_period(_read_row(row, overrides), successors) for row in rows]
    return pmodes + _list_later_pmodes(successors, overrides)


def load_effective_pmodes(conn: Connection, agreement: AgreementRow, at: datetime) -> tuple[PMode, ...]:
    """Return the P-Modes of one agreement, a row of the register, as they are in force at a given time."""
    overrides, successors = read_overrides(agreement.overrides), agreement.successors
    begun_versions = [
        version for version in successors or () if datetime.fromisoformat(version["valid_from"]) <= at
    ]
    if begun_versions:
        newest = datetime.fromisoformat(begun_versions[-1]["valid_from"])
        later = _list_later_pmodes(successors, overrides)
        return tuple(
            sorted((pmode for pmode in later if pmode.valid_from == newest), key=lambda pmode: pmode.id)
        )
    rows = agreements.list_agreement_pmodes(conn, agreement.id)
    return tuple(_cut_period(_read_row(row, overrides), successors) for row in rows)


def _list_later_pmodes(
    successors: list[dict[str, Any]] | None, overrides: tuple[PModeOverride, ...]
) -> list[PMode]:
    """Return the P-Modes of later versions, each until the next one begins."""
    pmodes = []
    for number, version in enumerate(successors or ()):
        for parameters in version["pmodes"]:
            pmode = apply_overrides(pmode_from_json(parameters), overrides)
            pmodes.append(_cut_period(pmode, (successors or [])[number + 1 :]))
    return pmodes


def _cut_period(pmode: PMode, successors: list[dict[str, Any]] | None) -> PMode:
    """Return a P-Mode that ends where the next version of its agreement begins."""
    if not successors:
        return pmode
    begins = datetime.fromisoformat(successors[0]["valid_from"])
    return replace(pmode, valid_until=begins) if pmode.valid_from < begins < pmode.valid_until else pmode


def _read_row(row: PModeRow, overrides: tuple[PModeOverride, ...]) -> PMode:
    pmode = pmode_from_json(row.parameters)
    return apply_overrides(pmode, overrides) if overrides else pmode


def make_forwarding_rule(row: ForwardingRuleRow) -> ForwardingRule:
    """Return a stored rule as a value."""
    return ForwardingRule(
        to=PartyId(row.to_value, row.to_type or None),
        next_party=row.next_party,
        endpoint=row.endpoint,
        senders=tuple(row.senders),
        service=row.service or None,
        action=row.action or None,
        acknowledgment=row.acknowledgment,
        sync_reply=row.sync_reply,
        retries=row.retries,
        retry_interval=row.retry_interval,
    )


def make_rule_columns(rule: ForwardingRule) -> dict[str, Any]:
    """Return the columns in which a rule is stored."""
    return {
        "to_value": rule.to.value,
        "to_type": rule.to.type or "",
        "service": rule.service or "",
        "action": rule.action or "",
        "next_party": rule.next_party,
        "endpoint": rule.endpoint,
        "senders": list(rule.senders),
        "acknowledgment": rule.acknowledgment,
        "sync_reply": rule.sync_reply,
        "retries": rule.retries,
        "retry_interval": rule.retry_interval,
    }


def list_forwarding_rules(conn: Connection) -> tuple[ForwardingRule, ...]:
    """Return every stored rule."""
    return tuple(make_forwarding_rule(row) for row in agreements.list_forwarding_rules(conn))
