"""Reads agreements on mutual recognition as lists of lists carry them (MRA schema, version 2).

The pointing party publishes the list and the agreement, the pointed party is the one whose
services are to be worth as much as the pointing party's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from lxml import etree

from gateway.recognition.lists import Equivalence, ServiceKind
from gateway.recognition.reading import instant, malformed, one, optional, text, words

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


def read_agreement(element: etree._Element) -> Iterator[Equivalence]:
    """Yield the rules of an agreement, each state of its history as a rule of its own."""
    for information in element.findall(f"{_M}TrustServiceEquivalenceInformation"):
        identifier = text(information, f"{_M}TrustServiceLegalIdentifier")
        history = f"{_M}TrustServiceEquivalenceHistory/{_M}TrustServiceEquivalenceHistoryInstance"
        states = [information, *information.findall(history)]
        begun = sorted(((_since(each), each) for each in states), key=lambda pair: pair[0], reverse=True)
        until: datetime | None = None
        for since, state in begun:
            yield _rule(identifier, state, since, until)
            until = since


def _since(element: etree._Element) -> datetime:
    found = one(element, f"{_M}TrustServiceEquivalenceStatusStartingTime")
    return instant(words(found), found)


def _rule(identifier: str, element: etree._Element, since: datetime, until: datetime | None) -> Equivalence:
    kinds = one(element, f"{_M}TrustServiceTSLTypeEquivalenceList")
    valid = one(
        element, f"{_M}TrustServiceTSLStatusEquivalenceList/{_M}TrustServiceTSLStatusValidEquivalence"
    )
    pointed = one(valid, f"{_M}TrustServiceTSLStatusListPointedParty")
    pointing = one(valid, f"{_M}TrustServiceTSLStatusListPointingParty")
    becomes = frozenset(_kinds(one(kinds, f"{_M}TrustServiceTSLTypeListPointingParty")))
    state = text(element, f"{_M}TrustServiceEquivalenceStatus")
    if state not in (ENACTED, REPEALED):
        malformed("neither enacted nor repealed", element)
    return Equivalence(
        identifier=identifier,
        kinds=frozenset(_kinds(one(kinds, f"{_M}TrustServiceTSLTypeListPointedParty"))),
        statuses=_statuses(pointed),
        levels=frozenset(kind.type for kind in becomes),
        since=since,
        until=until,
        enacted=state == ENACTED,
        conditions=tuple(
            text(each, f"{_M}CertificateContentReferenceEquivalenceContext")
            for each in element.findall(_CONTENTS)
        ),
        becomes=becomes,
        as_statuses=_statuses(pointing),
    )


def _statuses(element: etree._Element) -> frozenset[str]:
    return frozenset(words(each) for each in element.findall(f"{_T}ServiceStatus"))


def _kinds(element: etree._Element) -> Iterator[ServiceKind]:
    for each in element.findall(f"{_M}TrustServiceTSLType"):
        additional = optional(each, f"{_T}AdditionalServiceInformation")
        narrowed = "" if additional is None else text(additional, f"{_T}URI")
        yield ServiceKind(text(each, f"{_T}ServiceTypeIdentifier"), narrowed)
