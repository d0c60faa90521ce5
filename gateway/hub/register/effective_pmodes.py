"""The P-Modes of agreements as they are in force: as their documents say, with the overrides of this hub."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from gateway.agreements import (
    PMode,
    PModeOverride,
    PullRoute,
    apply_overrides,
    make_pull_route,
    pmode_from_json,
    read_overrides,
)
from gateway.message_model import PartyId
from gateway.store import agreements

__all__ = ["PModeTexts", "list_effective_pmodes", "load_effective_pmodes", "load_pmode_texts"]


#: How a P-Mode whose messages are pulled is recognised without reading it.
_PULLED = re.compile(r'"pull":\s*\{')


@dataclass(frozen=True, slots=True)
class PModeTexts:
    """The P-Modes of the active agreements as they are stored; one agreement is parsed when it is used.

    `texts` has each P-Mode by agreement and id. `changes` has overrides and successors of the
    agreements that have any.
    """

    texts: dict[str, dict[str, str]]
    changes: dict[str, tuple[Any, Any]]

    def parse_agreement(self, agreement: str) -> tuple[PMode, ...]:
        """Return the P-Modes of an agreement as they are in force."""
        stated, successors = self.changes.get(agreement, (None, None))
        overrides = read_overrides(stated)
        found = [pmode_from_json(json.loads(text)) for text in self.texts[agreement].values()]
        made = [apply_overrides(one, overrides) if overrides else one for one in found]
        first = (_cut_period(one, successors) for one in made)
        return (*first, *_list_later_pmodes(successors, overrides))

    def name_parties(self, agreement: str) -> set[PartyId]:
        """Return the ids of the parties of an agreement, from its first P-Mode and its later versions."""
        read = [json.loads(text) for text in list(self.texts[agreement].values())[:1]]
        _, successors = self.changes.get(agreement, (None, None))
        read += [one for version in successors or () for one in version["pmodes"]]
        ends = (end for one in read for end in (*one["from_party"], *one["to_party"]))
        return {PartyId(value, kind) for value, kind in ends}

    def name_pull_routes(self) -> list[PullRoute]:
        """Return under which agreements messages are pulled; the P-Modes of no other are read."""
        read = []
        for agreement, texts in self.texts.items():
            read += [json.loads(text) for text in texts.values() if _PULLED.search(text) is not None]
            _, successors = self.changes.get(agreement, (None, None))
            read += [one for version in successors or () for one in version["pmodes"] if one.get("pull")]
        return [make_pull_route(pmode_from_json(one)) for one in read]


def load_pmode_texts(conn: Connection) -> PModeTexts:
    """Return the P-Modes of every active agreement without parsing them."""
    texts: dict[str, dict[str, str]] = {}
    for row in agreements.list_active_pmode_texts(conn):
        texts.setdefault(row.agreement_id, {})[row.id] = row.parameters
    changes = {row.id: (row.overrides, row.successors) for row in agreements.list_changed_agreements(conn)}
    return PModeTexts(texts, changes)


def list_effective_pmodes(conn: Connection, parties: Collection[str]) -> Iterator[PMode]:
    """Yield the P-Modes of active agreements between parties, given by all their identifiers, as in force."""
    known: dict[str, tuple[PModeOverride, ...]] = {}
    later: list[PMode] = []
    for row in agreements.list_active_pmodes(conn, parties):
        if row.agreement_id not in known:
            known[row.agreement_id] = read_overrides(row.overrides)
            later += _list_later_pmodes(row.successors, known[row.agreement_id])
        yield _cut_period(_read_row(row, known[row.agreement_id]), row.successors)
    yield from later


def load_effective_pmodes(conn: Connection, agreement: Any, at: datetime) -> tuple[PMode, ...]:
    """Return the P-Modes of one agreement, a row of the register, as they are in force at a given time."""
    overrides, successors = read_overrides(agreement.overrides), agreement.successors
    begun = [one for one in successors or () if datetime.fromisoformat(one["valid_from"]) <= at]
    if begun:
        newest = datetime.fromisoformat(begun[-1]["valid_from"])
        later = _list_later_pmodes(successors, overrides)
        return tuple(sorted((one for one in later if one.valid_from == newest), key=lambda one: one.id))
    rows = agreements.list_agreement_pmodes(conn, agreement.id)
    return tuple(_cut_period(_read_row(row, overrides), successors) for row in rows)


def _list_later_pmodes(
    successors: list[dict[str, Any]] | None, overrides: tuple[PModeOverride, ...]
) -> list[PMode]:
    """Return the P-Modes of later versions, each until the next one begins."""
    found = []
    for number, version in enumerate(successors or ()):
        for parameters in version["pmodes"]:
            pmode = apply_overrides(pmode_from_json(parameters), overrides)
            found.append(_cut_period(pmode, (successors or [])[number + 1 :]))
    return found


def _cut_period(pmode: PMode, successors: list[dict[str, Any]] | None) -> PMode:
    """Return a P-Mode that ends where the next version of its agreement begins."""
    if not successors:
        return pmode
    begins = datetime.fromisoformat(successors[0]["valid_from"])
    return replace(pmode, valid_until=begins) if pmode.valid_from < begins < pmode.valid_until else pmode


def _read_row(row: Any, overrides: tuple[PModeOverride, ...]) -> PMode:
    found = pmode_from_json(row.parameters)
    return apply_overrides(found, overrides) if overrides else found
