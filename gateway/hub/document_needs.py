"""Judges a submission by the rules of need: which documents its goods need, and what it has of them.

`gateway.hub.split` asks before a case is opened. The verbs ask the same for a file.
"""

from __future__ import annotations

from datetime import date

from lxml import etree

from gateway.cases import Application, Disclaimer
from gateway.harmonize import MappingBundle
from gateway.needs import (
    FiledDocument,
    NeedIndex,
    NeedJudgement,
    StatedDisclaimer,
    judge_needs,
    read_declared_goods,
)

__all__ = ["judge_document_needs"]


def judge_document_needs(
    declaration: etree._Element,
    filed: tuple[tuple[Application, ...], tuple[Disclaimer, ...]],
    rules: tuple[NeedIndex, MappingBundle],
    day: date,
) -> NeedJudgement:
    """Return what the rules of need say on a day of a declaration with these applications and disclaimers.

    An application of a document that the mappings do not have is left out: it is refused elsewhere.
    """
    (applications, disclaimers), (index, bundle) = filed, rules
    documents = tuple(
        FiledDocument(one.position, one.document, known.laws, known.direction, one.items)
        for one in applications
        if (known := bundle.documents.get(one.document)) is not None
    )
    stated = tuple(StatedDisclaimer(one.item, one.law, one.reason, one.text) for one in disclaimers)
    return judge_needs(read_declared_goods(declaration), documents, stated, index, day)
