"""Attacks by documents of an agency's own form, which it delivers as they are (DeliverNotice)."""

from __future__ import annotations

from typing import Final

from gateway.conformance.hostile.attack_case import AttackCase
from gateway.conformance.hostile.attacker_kit import AttackerKit
from gateway.conformance.hostile.case_builders import (
    BODY,
    DECLARED,
    RequestMaker,
    expect_early_refusal,
    make_attack_case,
)
from gateway.conformance.hostile.exchange import HttpRequest
from gateway.conformance.hostile.tree_mutations import (
    TreeMutation,
    append_element,
    mutate_tree,
    set_text,
)

_FORM: Final = "urn:single-window:document:govcbrasd:1"
_NAME: Final = "one agency in another's name; cross-tenant decisions"
_SHAPE: Final = "a document that is none of its form"
_CHANGED_AFTER: Final = "a signed call changed on its way"
_DEEP: Final = 60
_MANY: Final = "GW101 GW102 GW104 GW107 GW311 GW401 GW402 GW701 GW716 GW717"


def _write_document(application: str, inside: str = "") -> str:
    return (
        f'<Response xmlns="{_FORM}"><TypeCode>GOVCBRASD</TypeCode><Declaration><TypeCode>GOVCBRFR2</TypeCode>'
        f"<ID>{application}</ID></Declaration><ID>SUITE-D1</ID><IssueDateTime>20261120180000</IssueDateTime>"
        f"<AdditionalInformation><StatementTypeCode>G03</StatementTypeCode></AdditionalInformation>{inside}"
        "</Response>"
    )


def _deliver(*documents: str) -> RequestMaker:
    content = f"<Document>{''.join(documents)}</Document>"
    return lambda kit: kit.build_call("DeliverNotice", content)


def _change_on_the_way(change: TreeMutation) -> RequestMaker:
    """Return the step that sends a document which was changed after the call was signed."""

    def build(kit: AttackerKit) -> HttpRequest:
        content = f"<Document>{_write_document(kit.application)}</Document>"
        return kit.build_call("DeliverNotice", content, envelope=DECLARED, tampered=mutate_tree(change))

    return build


# fmt: off
_DELIVERED: Final[tuple[tuple[str, str, RequestMaker, str, str], ...]] = (
    ("SIG-31.document", "a document about an application that went to another agency",
     _deliver(_write_document("NOT-ASKED-1")), "GW701 GW716 GW717", _NAME),
    ("SIG-31.document-wildcard", "a document about an application whose number is a pattern",
     _deliver(_write_document("%")), "GW701 GW716 GW717", _NAME),
    ("SIG-31.document-two-ids", "a document that names two applications",
     _deliver(_write_document("NOT-ASKED-1", "<Declaration><ID>NOT-ASKED-2</ID></Declaration>")),
     "GW701 GW716 GW717", _NAME),
    ("SIG-31.document-two", "two documents in one call",
     _deliver(_write_document("NOT-ASKED-1"), _write_document("NOT-ASKED-2")), _MANY, _SHAPE),
    ("SIG-31.document-none", "a call without a document", _deliver(), _MANY, _SHAPE),
    ("SIG-31.document-text", "words in the place of a document", _deliver("approve it all"), _MANY, _SHAPE),
    ("SIG-31.document-stranger", "a document of a form that nobody has described",
     _deliver('<Decision xmlns="urn:example:unknown"><Approve/></Decision>'), _MANY, _SHAPE),
    ("SIG-31.document-result", "a result of the gateway itself as a document of an agency",
     _deliver('<Result xmlns="urn:single-window:result:1" version="1"><Outcome>APPROVED</Outcome></Result>'),
     _MANY, _SHAPE),
    ("SIG-31.document-submission", "a submission as a document of an agency",
     _deliver('<Submission xmlns="urn:single-window:submission:1"/>'), _MANY, _SHAPE),
    ("DOS-05.document-deep", "a document that is 60 elements deep",
     _deliver(f'<Response xmlns="{_FORM}">{"<a>" * _DEEP}{"</a>" * _DEEP}</Response>'), _MANY,
     "deep nesting"),
)

_CHANGED: Final[tuple[tuple[str, str, TreeMutation, str, str], ...]] = (
    ("SIG-13.document-code", "the status of a document changed after it was signed",
     set_text(f"{BODY}//*[local-name()='StatementTypeCode']", "G01"), "GW202", _CHANGED_AFTER),
    ("SIG-13.document-added", "a second document beside the signed one",
     append_element(f"{BODY}/*/*", "<x:Response/>"), "GW202", _CHANGED_AFTER),
)

CASES: Final[tuple[AttackCase, ...]] = (
    *(make_attack_case(name, title, make, expect_early_refusal(*problems.split()), source, face="soap")
      for name, title, make, problems, source in _DELIVERED),
    *(make_attack_case(name, title, _change_on_the_way(change), expect_early_refusal(*problems.split()),
                       source, face="soap")
      for name, title, change, problems, source in _CHANGED),
)
# fmt: on
"""Documents about somebody else's application, of no form, and changed on their way."""
