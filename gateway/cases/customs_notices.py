"""The messages of customs about a case, as values, and the table of the codes that it may use.

Customs answers a call of the hub at once, or calls the hub later. In both cases a `CustomsNotice` states that
customs accepts the hub's report (R24), reports errors in it (R25), or how clearance ended (5EC, 5GA).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from gateway.cases.agency_notices import AgencyAnswer
from gateway.cases.status_codes import make_code_table_reader
from gateway.errors import CODE_UNKNOWN, MAPPING_WRONG, RULE_BROKEN, GatewayError

#: Kinds of an answer to a message of the hub, and kinds of the result of clearance.
ANSWER_KINDS: Final = frozenset({"accepted", "error"})
CLEARANCE_RESULT_KINDS: Final = frozenset({"cleared", "refused", "cancelled"})
#: The code of a message to customs: an agency decided after clearance.
LATE_KIND: Final = "late"
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
    """The result of clearance for one item: its sequence number, and its own code if it has one."""

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


#: The answer of a partner to a call of the hub.
PartnerAnswer = AgencyAnswer | CustomsNotice


@dataclass(frozen=True, slots=True)
class CustomsCall:
    """A notice in a call of customs' own, about the case of this number or of this reference."""

    notice: CustomsNotice
    case_number: str | None = None
    reference: str | None = None
    #: Whether it is a result of clearance; otherwise it is an answer to a message of the hub.
    is_clearance_result: bool = True


@dataclass(frozen=True, slots=True)
class CustomsCode:
    """One code: its name, its kind, and the requirement status that it gives (may be empty).

    `direction` says of which declarations it is a result, import or export; empty: of all.
    """

    code: str
    name: str
    kind: str
    status: str
    direction: str = ""


def read_customs_codes(table_text: str, file_name: str = "customs-code.csv") -> Mapping[str, CustomsCode]:
    """Read the table of codes (CSV with the header code, name, kind, status, and perhaps direction).

    Raise GW502 with the line for a missing column, a code that occurs twice, and an unknown kind or
    direction; and for a table without exactly one code of the kind `late`.
    """
    rows = make_code_table_reader(table_text, _COLUMNS, file_name)
    codes: dict[str, CustomsCode] = {}
    for row in rows:
        customs_code = CustomsCode(*((row.get(column) or "") for column in (*_COLUMNS, _DIRECTION)))
        fault = _find_customs_code_fault(customs_code, codes)
        if fault:
            detail = f"customs code {customs_code.code[:20]!r}: {fault}"
            raise GatewayError(MAPPING_WRONG, detail, f"{file_name}:{rows.line_num}")
        codes[customs_code.code] = customs_code
    if sum(table_code.kind == LATE_KIND for table_code in codes.values()) != 1:
        raise GatewayError(MAPPING_WRONG, "one code is of the kind late", file_name)
    return codes


def _find_customs_code_fault(customs_code: CustomsCode, earlier_codes: Mapping[str, CustomsCode]) -> str:
    """Return the error in a row of the table of codes, else an empty text.

    `earlier_codes` are the rows before it, by code.
    """
    if not 0 < len(customs_code.code) <= 17:
        return "a code has 1 to 17 characters"
    if customs_code.code in earlier_codes:
        return "it stands twice"
    kinds = ANSWER_KINDS | CLEARANCE_RESULT_KINDS | {LATE_KIND}
    if customs_code.kind not in kinds:
        return f"kind must be one of {', '.join(sorted(kinds))}, not {customs_code.kind[:40]!r}"
    if customs_code.direction not in _DIRECTIONS:
        return f"direction is import or export, or empty, not {customs_code.direction[:40]!r}"
    return ""


def check_customs_code(
    notice: CustomsNotice, codes: Mapping[str, CustomsCode], *, is_clearance_result: bool
) -> str:
    """Return the kind of a notice.

    With `is_clearance_result` it is a result of clearance, otherwise an answer to a message of the hub. Raise
    GW403 for a code that is unknown or means something else.
    """
    allowed_kinds = CLEARANCE_RESULT_KINDS if is_clearance_result else ANSWER_KINDS
    for code in (notice.code, *(item.code for item in notice.items)):
        customs_code = codes.get(code)
        if customs_code is None or customs_code.kind not in allowed_kinds:
            fault = "is unknown" if customs_code is None else f"means: {customs_code.name}"
            raise GatewayError(CODE_UNKNOWN, f"customs' code {code[:20]!r} {fault}", "ResultCode")
    return codes[notice.code].kind


def check_clearance_direction(
    notice: CustomsNotice, codes: Mapping[str, CustomsCode], direction: str | None
) -> None:
    """Raise GW404 for a result of imports about an export declaration, or the other way round.

    `direction` is that of the declaration; None where its type does not say it.
    """
    for location, code in (("ResultCode", notice.code), *_list_item_codes(notice)):
        listed = codes[code]
        if direction is not None and listed.direction not in ("", direction):
            detail = f"code {code} means: {listed.name}; the declaration is an {direction} declaration"
            raise GatewayError(RULE_BROKEN, detail, location)


def _list_item_codes(notice: CustomsNotice) -> list[tuple[str, str]]:
    return [(f"Item[{position}]/ResultCode", item.code) for position, item in enumerate(notice.items, 1)]


def list_cleared_items(
    result_code: str, named_items: Sequence[ClearedItem], declared_items: Iterable[int]
) -> frozenset[int]:
    """Return the items that a result of clearance clears.

    A result that names items clears those of them that have its own code; a result that names none clears
    all `declared_items`.
    """
    if not named_items:
        return frozenset(declared_items)
    return frozenset(cleared_item.item for cleared_item in named_items if cleared_item.code == result_code)


def find_late_code(codes: Mapping[str, CustomsCode]) -> str:
    """Return the code of a message to customs about a decision after clearance."""
    return next(customs_code.code for customs_code in codes.values() if customs_code.kind == LATE_KIND)
