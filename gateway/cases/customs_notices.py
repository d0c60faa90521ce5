"""What customs says of a case, as values, and the table of the codes that it may use.

Customs answers a call of ours at once or calls itself. In both cases a `CustomsNotice` says that
customs accepts what it was told (R24), reports errors in it (R25), or how clearance ended (5EC, 5GA).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from gateway.cases.agency_notices import AgencyAnswer
from gateway.cases.code_tables import open_code_table
from gateway.errors import CODE_UNKNOWN, MAPPING_WRONG, RULE_BROKEN, GatewayError

__all__ = [
    "CLEARANCE_RESULTS",
    "ClearedItem",
    "CustomsCall",
    "CustomsCode",
    "CustomsNotice",
    "CustomsReason",
    "PartnerAnswer",
    "check_clearance_direction",
    "check_customs_code",
    "find_late_code",
    "read_customs_codes",
]

#: Kinds of an answer to what customs was told, and kinds of the result of clearance.
ANSWERS: Final = frozenset({"accepted", "error"})
CLEARANCE_RESULTS: Final = frozenset({"cleared", "refused", "cancelled"})
#: The code under which customs is told that an agency decided after clearance.
LATE: Final = "late"
_COLUMNS: Final = ("code", "name", "kind", "status")
#: A column that tables of earlier mappings do not have.
_DIRECTION: Final = "direction"
_DIRECTIONS: Final = ("", "import", "export")


@dataclass(frozen=True, slots=True)
class CustomsReason:
    """One error that customs reports: its text, the place, and customs' own code for it."""

    text: str
    pointer: str = ""
    code: str = ""


@dataclass(frozen=True, slots=True)
class ClearedItem:
    """What a result of clearance says of one item: its sequence number, and its own code if it has one."""

    item: int
    code: str


@dataclass(frozen=True, slots=True)
class CustomsNotice:
    """One notice of customs; notices are ordered by issue time and number."""

    number: str
    issued_at: datetime
    code: str
    text: str = ""
    reasons: tuple[CustomsReason, ...] = ()
    items: tuple[ClearedItem, ...] = ()


#: What a partner answers to a call of ours.
PartnerAnswer = AgencyAnswer | CustomsNotice


@dataclass(frozen=True, slots=True)
class CustomsCall:
    """A notice in a call of customs' own, about the case of this number or of this reference."""

    notice: CustomsNotice
    case_number: str | None = None
    reference: str | None = None


@dataclass(frozen=True, slots=True)
class CustomsCode:
    """One code: its name, what it means, and the requirement status that it gives (may be empty).

    `direction` says of which declarations it is a result, import or export; empty: of all.
    """

    code: str
    name: str
    kind: str
    status: str
    direction: str = ""


def read_customs_codes(table: str, name: str = "customs-code.csv") -> Mapping[str, CustomsCode]:
    """Read the table of codes (CSV with the header code, name, kind, status, and perhaps direction).

    Raise GW502 with the line for a missing column, a code that stands twice, and an unknown kind or
    direction; and for a table without exactly one code of the kind `late`.
    """
    rows = open_code_table(table, _COLUMNS, name)
    found: dict[str, CustomsCode] = {}
    for row in rows:
        code = CustomsCode(*((row.get(column) or "") for column in (*_COLUMNS, _DIRECTION)))
        fault = _find_fault(code, found)
        if fault:
            detail = f"customs code {code.code[:20]!r}: {fault}"
            raise GatewayError(MAPPING_WRONG, detail, f"{name}:{rows.line_num}")
        found[code.code] = code
    if sum(one.kind == LATE for one in found.values()) != 1:
        raise GatewayError(MAPPING_WRONG, "one code is of the kind late", name)
    return found


def _find_fault(code: CustomsCode, earlier: Mapping[str, CustomsCode]) -> str:
    if not 0 < len(code.code) <= 17:
        return "a code has 1 to 17 characters"
    if code.code in earlier:
        return "it stands twice"
    known = ANSWERS | CLEARANCE_RESULTS | {LATE}
    if code.kind not in known:
        return f"kind is one of {', '.join(sorted(known))}, not {code.kind[:40]!r}"
    if code.direction not in _DIRECTIONS:
        return f"direction is import or export, or empty, not {code.direction[:40]!r}"
    return ""


def check_customs_code(notice: CustomsNotice, codes: Mapping[str, CustomsCode], *, clears: bool) -> str:
    """Return the kind of a notice.

    With `clears` it is a result of clearance, otherwise an answer to what customs was told. Raise GW403
    for a code that is unknown or means something else.
    """
    wanted = CLEARANCE_RESULTS if clears else ANSWERS
    for code in (notice.code, *(one.code for one in notice.items)):
        known = codes.get(code)
        if known is None or known.kind not in wanted:
            what = "is unknown" if known is None else f"means: {known.name}"
            raise GatewayError(CODE_UNKNOWN, f"customs' code {code[:20]!r} {what}", "ResultCode")
    return codes[notice.code].kind


def check_clearance_direction(
    notice: CustomsNotice, codes: Mapping[str, CustomsCode], direction: str | None
) -> None:
    """Raise GW404 for a result of imports about an export declaration, or the other way round.

    `direction` is that of the declaration; None where its type does not say it.
    """
    for place, code in (("ResultCode", notice.code), *_list_item_codes(notice)):
        known = codes[code]
        if direction is not None and known.direction not in ("", direction):
            detail = f"code {code} means: {known.name}; the declaration is an {direction} declaration"
            raise GatewayError(RULE_BROKEN, detail, place)


def _list_item_codes(notice: CustomsNotice) -> list[tuple[str, str]]:
    return [(f"Item[{position}]/ResultCode", one.code) for position, one in enumerate(notice.items, 1)]


def find_late_code(codes: Mapping[str, CustomsCode]) -> str:
    """Return the code under which customs is told of a decision after clearance."""
    return next(one.code for one in codes.values() if one.kind == LATE)
