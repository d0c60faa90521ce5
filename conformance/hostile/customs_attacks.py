"""Attacks on the service for customs: wrong callers, wrong subjects, and calls changed on the way."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Final

from lxml import etree

from gateway.wire import SERVICE_CUSTOMS
from gateway_conformance.hostile.attack_cases import (
    BODY,
    DECLARE_PREFIXES,
    HEADER,
    SECURITY,
    AttackCase,
    RequestMaker,
    Scenario,
    SourcedTable,
    expect_early_refusal,
    expect_refusal,
    make_attack_case,
    make_sourced_cases,
    use_request_maker,
)
from gateway_conformance.hostile.attacker_kit import AttackerKit
from gateway_conformance.hostile.content_mutations import (
    TreeMutation,
    append_element,
    duplicate_element,
    mutate_tree,
    remove_element,
    set_text,
)
from gateway_conformance.hostile.exchange import ACCEPTED, LAWFUL, Answer, Exchange, HttpRequest

_FEATURE: Final = "customs"
_NAME: Final = "one partner in the name of customs"
_NOT_VALID: Final = "GW205 GW206 GW207 GW209"
_REPLAY: Final = "replay; WS-Security §13"
_CHANGED_AFTER: Final = "a signed call changed on its way"
_WRAPPED: Final = "McIntosh & Austel, XML signature element wrapping"
_CLEARANCE: Final = f"{SERVICE_CUSTOMS}:ReportClearance"
_UNKNOWN_CASE_NUMBER: Final = "<CaseNumber>NEVER-TOLD-1</CaseNumber>"


def _make_call(*arguments: Any, **hooks: Any) -> RequestMaker:
    return lambda kit: kit.build_customs_call(*arguments, **hooks)


def _change_on_the_way(change: TreeMutation) -> RequestMaker:
    return lambda kit: kit.build_customs_call(envelope=DECLARE_PREFIXES, tampered=mutate_tree(change))


def _say(operation: str = "ReportAnswer", **fields: str) -> RequestMaker:
    """Return the step in which customs reports a notice about the suite's case with these other fields."""
    return lambda kit: kit.build_customs_call(operation, kit.build_customs_notice(**fields))


def _report_items(*item_numbers: int) -> RequestMaker:
    """Return the step in which customs clears these items."""
    rows = "".join(
        f"<Item><item>{number}</item><ResultCode>5EC</ResultCode></Item>" for number in item_numbers
    )
    return lambda kit: kit.build_customs_call(
        "ReportClearance", kit.build_customs_notice(NoticeNumber="SUITE-C9", ResultCode="5EC") + rows
    )


def _report_nothing(kit: AttackerKit) -> HttpRequest:
    content = kit.build_customs_notice(ResultCode="5EC").partition("</CaseNumber>")[2]
    return kit.build_customs_call("ReportClearance", _UNKNOWN_CASE_NUMBER + content)


def _wrap_body(root: etree._Element) -> None:
    """Move the signed Body into the header, and put a clearance of the attacker's in its place."""
    body = root[-1]
    forged = etree.SubElement(root, body.tag)
    forged.append(etree.Element(f"{{{SERVICE_CUSTOMS}}}ReportClearance"))
    root[0].append(body)


def _send_agency_call_to_customs(kit: AttackerKit) -> HttpRequest:
    """Return a call of an agency, brought to the service for customs."""
    post = kit.build_call()
    return HttpRequest("customs", post.headers, post.body)


def _run_replay(kit: AttackerKit) -> Generator[Exchange, Answer, None]:
    post = kit.build_customs_call()
    yield Exchange(post, ACCEPTED)
    yield Exchange(post, expect_refusal("GW211"))


def _run_repeat(kit: AttackerKit) -> Generator[Exchange, Answer, None]:
    """Send the same notice in two calls; the second is a repeat, which changes nothing."""
    for expected in (ACCEPTED, LAWFUL):
        yield Exchange(kit.build_customs_call(), expected)


def _run_contradiction(kit: AttackerKit) -> Generator[Exchange, Answer, None]:
    yield Exchange(kit.build_customs_call(), ACCEPTED)
    contradiction = kit.build_customs_notice(ResultCode="R25")
    yield Exchange(kit.build_customs_call(content=contradiction), expect_refusal("GW702"))


# fmt: off
_REPEATED: Final[tuple[tuple[str, str, Scenario, str], ...]] = (
    ("REP-01.customs-repeat", "what customs has said, said again: a repeat, not an attack", _run_repeat,
     "WSDL of the service: a call may be repeated"),
    ("REP-03.customs", "the same octets of a call of customs again", _run_replay, _REPLAY),
    ("REP-02.customs", "other content under a notice number of customs", _run_contradiction, _REPLAY),
)

#: Who signs.
_SIGNERS: Final[SourcedTable[str]] = (
    ("SIG-31.customs-agency", "a clearance that an agency has signed", "agency", "GW209", _NAME),
    ("SIG-31.customs-a", "a clearance that a broker has signed for its own goods", "a", "GW209 GW212", _NAME),
    ("SIG-31.customs-b", "a clearance that another broker has signed", "b", "GW209 GW212", _NAME),
    ("SIG-30.customs-stranger", "a clearance signed by a key of an authority that nobody named", "stranger",
     "GW209", _NAME),
    ("SIG-30.customs-selfsigned", "a clearance signed by a key that vouches for itself", "selfsigned",
     "GW209", _NAME),
    ("SIG-32.customs-expired", "a clearance signed with an expired certificate", "expired", _NOT_VALID,
     "RFC 5280"),
    ("SIG-32.customs-revoked", "a clearance signed with a revoked certificate", "revoked", _NOT_VALID,
     "RFC 5280"),
)

#: Calls of customs that were changed after they were signed.
_CHANGED: Final[tuple[tuple[str, str, TreeMutation, str, str], ...]] = (
    ("SIG-13.customs-code", "an error of customs turned into an acceptance",
     set_text(f"{BODY}/*/*[local-name()='ResultCode']", "R24 "), "GW202", _CHANGED_AFTER),
    ("SIG-13.customs-case", "the answer of customs brought to another case",
     set_text(f"{BODY}/*/*[local-name()='CaseNumber']", "OTHER-1"), "GW202", _CHANGED_AFTER),
    ("REP-03.customs-new-id", "a signed call of customs under a new MessageID",
     set_text(f"{HEADER}/wsa:MessageID", "urn:uuid:new"), "GW202", _REPLAY),
    ("SIG-07.customs-body", "the signed Body in the header, and a clearance in its place", _wrap_body,
     "GW107 GW202 GW203 GW105 GW311", _WRAPPED),
    ("SIG-13.customs-unsigned", "a call of customs whose signature was taken away", remove_element(SECURITY),
     "GW201", _CHANGED_AFTER),
    ("SIG-23.customs-block", "a header block that nobody signed",
     append_element(HEADER, "<x:Trace>forged</x:Trace>"), "GW107", _CHANGED_AFTER),
)

#: Calls that customs has signed as they are.
_CALLS: Final[SourcedTable[RequestMaker]] = (
    ("REP-12.customs-two-requests", "the Body holds two reports",
     _make_call(envelope=mutate_tree(duplicate_element(f"{BODY}/*"))), "GW311", "SOAPAction spoofing"),
    ("REP-12.customs-action", "SOAPAction and wsa:Action of another operation than the Body",
     _make_call(addressing={"action": _CLEARANCE}, action=f'"{_CLEARANCE}"'), "GW304", "SOAPAction spoofing"),
    ("REP-12.customs-agency", "a call of an agency at the service for customs", _send_agency_call_to_customs,
     "GW304 GW311 GW209", "a signed call brought to another service"),
    ("SIG-31.customs-never-told", "the clearance of a case that customs was never told of", _report_nothing,
     "GW701", _NAME),
    ("SIG-31.customs-wildcard", "the clearance of a case whose number is a pattern", _say(CaseNumber="%"),
     "GW701", _NAME),
    ("SIG-31.customs-item", "the clearance of an item that the declaration has not", _report_items(1, 999),
     "GW404", _NAME),
    ("SIG-31.customs-item-twice", "the clearance of an item, twice", _report_items(1, 1), "GW404", _NAME),
    ("SIG-31.customs-answer-code", "a clearance among the answers", _say(ResultCode="5EC"), "GW403", _NAME),
    ("SIG-31.customs-clear-code", "an answer among the results of clearance",
     _say("ReportClearance", ResultCode="R24"), "GW403", _NAME),
)

CASES: Final[tuple[AttackCase, ...]] = (
    *(AttackCase(name, title, "customs", source, run, _FEATURE) for name, title, run, source in _REPEATED),
    *make_sourced_cases("", _SIGNERS, lambda who: _make_call(signer=who), face="customs", feature=_FEATURE),
    *(make_attack_case(name, title, _change_on_the_way(change), expect_early_refusal(*problems.split()),
                       source, face="customs", feature=_FEATURE)
      for name, title, change, problems, source in _CHANGED),
    *make_sourced_cases("", _CALLS, use_request_maker, face="customs", feature=_FEATURE),
)
# fmt: on
"""Repetition, callers, subjects and changes of what customs says."""
