"""What an uploaded agreement or folder of mappings would change, shown before it comes into force."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection

from gateway.agreements import AgreementDocument, AgreementFinding, read_agreement
from gateway.config import Settings
from gateway.errors import GatewayError
from gateway.hub import open_active_mappings, read_mapping_files
from gateway.operations.act_kinds import ActOrder, describe_mapping_order, read_uploaded_mappings
from gateway.operations.agreement_judgment import find_load_problem, judge_agreement
from gateway.operations.contract_findings import find_unfit_contracts
from gateway.operations.mapping_activation import open_offered_mappings
from gateway.store import agreements

__all__ = ["ActLook", "DifferenceLine", "draft_agreement", "draft_mappings", "read_draft_look"]

#: Lines of a difference that a page shows.
_MOST_LINES: Final = 2_000


@dataclass(frozen=True, slots=True)
class DifferenceLine:
    """A line of a difference: ``+`` new, ``-`` gone, ``@`` a place, or a space."""

    sign: str
    text: str


@dataclass(frozen=True, slots=True)
class ActLook:
    """The findings on an uploaded file, its difference from what is in force, and why it cannot be used."""

    findings: tuple[AgreementFinding, ...] = ()
    changes: Mapping[str, Any] | None = None
    difference: tuple[DifferenceLine, ...] = ()
    problem: GatewayError | None = None
    #: Whether more lines differ than are shown.
    is_cut: bool = False


def draft_agreement(
    conn: Connection, settings: Settings, content: bytes, name: str, at: datetime
) -> tuple[ActOrder, tuple[AgreementFinding, ...]]:
    """Return the act that loads an agreement, and the findings on it; raises GW305 for a file that is none.

    Warnings do not refuse it: who confirms has seen them.
    """
    document = read_agreement(content, name)
    parameters = {"agreements": _list_ids(document), "accepted": True}
    return ActOrder("agreement load", parameters, content, name), judge_agreement(
        conn, settings, document, at
    )


def draft_mappings(
    conn: Connection, content: bytes, name: str, removed: Sequence[str], now: tuple[Settings, datetime]
) -> ActOrder:
    """Return the act that puts mappings into force; raises GW502 and GW507 as `gateway map use` does.

    `now` is the settings in force, and the time.
    """
    settings, at = now
    folder = read_uploaded_mappings(content, settings, at)
    parameters = describe_mapping_order(conn, folder, removed, at)
    # Who confirms has seen them: the page of the act shows them.
    parameters["changes"]["warnings"] = [str(one) for one in find_unfit_contracts(settings, folder.bundle)]
    return ActOrder("map use", parameters, content, name)


def _list_ids(document: AgreementDocument) -> list[str]:
    return list(dict.fromkeys(pmode.agreement for pmode in document.pmodes))


def read_draft_look(conn: Connection, settings: Settings, row: Any, at: datetime) -> ActLook | None:
    """Return what a stored act would change; None for one without a file, or that has ended."""
    if row.content is None:
        return None
    if row.act == "agreement load":
        return _look_at_agreement(conn, settings, row, at)
    lines = _compare_mappings(conn, row.content, at)
    return ActLook(
        changes=row.parameters["changes"], difference=lines[:_MOST_LINES], is_cut=len(lines) > _MOST_LINES
    )


def _look_at_agreement(conn: Connection, settings: Settings, row: Any, at: datetime) -> ActLook:
    document = read_agreement(row.content, row.content_name or "")
    findings = judge_agreement(conn, settings, document, at)
    before = [agreements.find_agreement(conn, name) for name in row.parameters["agreements"]]
    old = b"".join({one.sha256: one.source for one in before if one is not None}.values())
    lines = _compare_texts(old, row.content)
    return ActLook(
        findings,
        difference=lines[:_MOST_LINES],
        problem=find_load_problem(findings, row.content_name or "", accepted=True),
        is_cut=len(lines) > _MOST_LINES,
    )


def _compare_mappings(conn: Connection, content: bytes, at: datetime) -> tuple[DifferenceLine, ...]:
    before = read_mapping_files(open_active_mappings(conn, at))
    after = read_mapping_files(open_offered_mappings(content).place)
    lines: list[DifferenceLine] = []
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name) and len(lines) <= _MOST_LINES:
            lines.append(DifferenceLine("@", name))
            lines += _compare_texts(before.get(name, b""), after.get(name, b""))
    return tuple(lines)


def _compare_texts(before: bytes, after: bytes) -> tuple[DifferenceLine, ...]:
    """Return the difference of two texts with three lines around each change."""
    old, new = (one.decode("utf-8", "replace").splitlines() for one in (before, after))
    found = difflib.unified_diff(old, new, lineterm="", n=3)
    return tuple(
        DifferenceLine(
            "@" if line.startswith("@@") else line[:1], line if line.startswith("@@") else line[1:]
        )
        for line in found
        if not line.startswith(("--- ", "+++ "))
    )
