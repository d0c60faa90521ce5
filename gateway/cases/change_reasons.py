"""Reads why a declaration is changed or withdrawn, and where it is changed, from its Amendment classes.

WCO Data Model: Amendment (06A) has a ChangeReasonCode (099) and chains of Pointer (97A). The words
are in AdditionalInformation of the statement type AES.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from lxml import etree

from gateway.errors import RULE_BROKEN, GatewayError
from gateway.wire import WCO_DEC, read_leaf_text

__all__ = ["ChangeReason", "read_change_reason"]

_DEC: Final = f"{{{WCO_DEC}}}"
#: The StatementTypeCode of the words that explain an amendment or a withdrawal.
_EXPLANATION: Final = "AES"


@dataclass(frozen=True, slots=True)
class ChangeReason:
    """Why a declaration is changed or withdrawn: the code of customs, and words; `text` may be empty."""

    code: str
    text: str = ""

    @property
    def sentence(self) -> str:
        """Return code and words in one line."""
        return f"{self.code}: {self.text}" if self.text else self.code


def read_change_reason(declaration: etree._Element) -> ChangeReason:
    """Return the reason of an amendment or a withdrawal; raise GW404 where no code is given."""
    codes = [_read_text(one, "ChangeReasonCode") for one in declaration.findall(f"{_DEC}Amendment")]
    code = next(filter(None, codes), "")
    if not code:
        detail = "an amendment and a withdrawal state their reason: Amendment/ChangeReasonCode"
        raise GatewayError(RULE_BROKEN, detail, "42A/06A[1]/099")
    words = (
        " ".join(_read_text(one, "StatementDescription").split())
        for one in declaration.findall(f"{_DEC}AdditionalInformation")
        if _read_text(one, "StatementTypeCode") == _EXPLANATION
    )
    return ChangeReason(code, next(filter(None, words), ""))


def _read_text(element: etree._Element, name: str) -> str:
    found = element.find(f"{_DEC}{name}")
    return "" if found is None else read_leaf_text(found).strip()
