"""The overrides of a hub for an agreement that is loaded again: they stay if they can be read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection

from gateway.agreements import (
    AgreementFinding,
    PMode,
    PModeOverride,
    apply_overrides,
    make_finding,
    make_unread_error,
)
from gateway.errors import AGREEMENT_UNREAD, GatewayError
from gateway.hub import read_stored_overrides
from gateway.store import agreements

#: How much of a name a finding repeats.
_MAX_NAME: Final = 80
_MAX_TERMS: Final = 300


@dataclass(frozen=True, slots=True)
class OverriddenPModes:
    """P-Modes as they would be in force, and a finding on each agreement whose overrides would end."""

    pmodes: tuple[PMode, ...]
    findings: tuple[AgreementFinding, ...]


def apply_stored_overrides(conn: Connection, pmodes: Sequence[PMode]) -> OverriddenPModes:
    """Return P-Modes as they would be in force: with the overrides that the hub has for their agreements."""
    overrides_by_agreement: dict[str, tuple[PModeOverride, ...]] = {}
    findings: list[AgreementFinding] = []
    for agreement_id in dict.fromkeys(pmode.agreement for pmode in pmodes):
        agreed_pmodes = [pmode for pmode in pmodes if pmode.agreement == agreement_id]
        try:
            overrides_by_agreement[agreement_id] = _read_overrides(conn, agreement_id, agreed_pmodes)
        except GatewayError as problem:
            if problem.problem is not AGREEMENT_UNREAD:
                raise
            findings.append(_make_finding(conn, agreement_id, problem))
    effective_pmodes = (
        apply_overrides(pmode, overrides_by_agreement.get(pmode.agreement, ())) for pmode in pmodes
    )
    return OverriddenPModes(tuple(effective_pmodes), tuple(findings))


def _make_finding(conn: Connection, agreement_id: str, problem: GatewayError) -> AgreementFinding:
    """Return the finding on overrides that end, which names their terms as far as these can be read."""
    agreement_row = agreements.find_agreement(conn, agreement_id)
    try:
        stored_overrides = json.loads(agreement_row.overrides or "") if agreement_row is not None else ()
        terms = ", ".join(dict.fromkeys(str(override["term"]) for override in stored_overrides))
    except (ValueError, TypeError, KeyError, RecursionError):
        terms = "of unknown terms"
    ended = terms.encode("ascii", "backslashreplace").decode()[:_MAX_TERMS]
    text = f"all overrides of the hub ({ended}) end at once when it is loaded: {problem.detail}"
    return make_finding("overrides-unread", agreement_id[:_MAX_NAME], text)


def remove_unread_overrides(conn: Connection, agreement_id: str, pmodes: Sequence[PMode]) -> None:
    """Remove the overrides of an agreement with these P-Modes if this version cannot read or apply them."""
    if apply_stored_overrides(conn, pmodes).findings:
        agreements.set_overrides(conn, agreement_id, ())


def _read_overrides(
    conn: Connection, agreement_id: str, pmodes: Sequence[PMode]
) -> tuple[PModeOverride, ...]:
    """Return the overrides of an agreement; raise GW906 where these cannot be read, or applied to P-Modes."""
    agreement_row = agreements.find_agreement(conn, agreement_id)
    overrides = () if agreement_row is None else read_stored_overrides(agreement_row)
    try:
        for pmode in pmodes:
            apply_overrides(pmode, overrides)
    except Exception as mistake:
        raise make_unread_error(agreement_id, mistake) from None
    return overrides
