"""Reads agreements on mutual recognition from lists of lists (MRA schema, version 2).

The pointing party publishes the list and the agreement. The services of the pointed party are
recognized as equivalent to those of the pointing party.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from lxml import etree

from gateway.recognition.list_elements import (
    find_optional,
    get_element,
    parse_instant,
    raise_malformed,
    read_element_text,
    read_words,
)
from gateway.recognition.trusted_list import EquivalenceRule, ServiceKind

__all__ = ["ENACTED", "MRA", "MRA_INFORMATION", "REPEALED", "read_agreement"]

MRA: Final = "http://ec.europa.eu/tools/lotl/mra/schema/v2#"
MRA_INFORMATION: Final = f"{{{MRA}}}MutualRecognitionAgreementInformation"
ENACTED: Final = "http://ec.europa.eu/tools/lotl/mra/enacted"
REPEALED: Final = "http://ec.europa.eu/tools/lotl/mra/repealed"
_M: Final = f"{{{MRA}}}"
_T: Final = "{http://uri.etsi.org/02231/v2#}"
_CONTENTS: Final = (
    f"{_M}CertificateContentReferencesEquivalenceList/{_M}CertificateContentReferenceEquivalence"
)


def read_agreement(element: etree._Element) -> Iterator[EquivalenceRule]:
    """Yield the rules of an agreement, with each state of its history as a separate rule."""
    for information in element.findall(f"{_M}TrustServiceEquivalenceInformation"):
        identifier = read_element_text(information, f"{_M}TrustServiceLegalIdentifier")
        history = f"{_M}TrustServiceEquivalenceHistory/{_M}TrustServiceEquivalenceHistoryInstance"
        states = [information, *information.findall(history)]
        begun = sorted(((_read_start(each), each) for each in states), key=lambda pair: pair[0], reverse=True)
        until: datetime | None = None
        for since, state in begun:
            yield _read_rule(identifier, state, since, until)
            until = since


def _read_start(element: etree._Element) -> datetime:
    found = get_element(element, f"{_M}TrustServiceEquivalenceStatusStartingTime")
    return parse_instant(read_words(found), found)


def _read_rule(
    identifier: str, element: etree._Element, since: datetime, until: datetime | None
) -> EquivalenceRule:
    kinds = get_element(element, f"{_M}TrustServiceTSLTypeEquivalenceList")
    valid = get_element(
        element, f"{_M}TrustServiceTSLStatusEquivalenceList/{_M}TrustServiceTSLStatusValidEquivalence"
    )
    pointed = get_element(valid, f"{_M}TrustServiceTSLStatusListPointedParty")
    pointing = get_element(valid, f"{_M}TrustServiceTSLStatusListPointingParty")
    becomes = frozenset(_read_service_kinds(get_element(kinds, f"{_M}TrustServiceTSLTypeListPointingParty")))
    state = read_element_text(element, f"{_M}TrustServiceEquivalenceStatus")
    if state not in (ENACTED, REPEALED):
        raise_malformed("neither enacted nor repealed", element)
    return EquivalenceRule(
        identifier=identifier,
        kinds=frozenset(_read_service_kinds(get_element(kinds, f"{_M}TrustServiceTSLTypeListPointedParty"))),
        statuses=_read_statuses(pointed),
        levels=frozenset(kind.type for kind in becomes),
        since=since,
        until=until,
        enacted=state == ENACTED,
        conditions=tuple(
            read_element_text(each, f"{_M}CertificateContentReferenceEquivalenceContext")
            for each in element.findall(_CONTENTS)
        ),
        becomes=becomes,
        as_statuses=_read_statuses(pointing),
    )


def _read_statuses(element: etree._Element) -> frozenset[str]:
    return frozenset(read_words(each) for each in element.findall(f"{_T}ServiceStatus"))


def _read_service_kinds(element: etree._Element) -> Iterator[ServiceKind]:
    for each in element.findall(f"{_M}TrustServiceTSLType"):
        additional = find_optional(each, f"{_T}AdditionalServiceInformation")
        narrowed = "" if additional is None else read_element_text(additional, f"{_T}URI")
        yield ServiceKind(read_element_text(each, f"{_T}ServiceTypeIdentifier"), narrowed)
