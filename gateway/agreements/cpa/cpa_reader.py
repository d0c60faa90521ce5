"""Reads a CPA or CPP of CPPA 2.0 from its octets: hardened XML, the schema, then the values.

A document that the schema refuses has no values. Its problems have line, XPath, and what was
expected.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from lxml import etree

from gateway.agreements.cpa.cpa_model import CpaDocument, Place
from gateway.agreements.cpa.cpa_parties import read_party
from gateway.agreements.cpa.cpa_values import CpaElements, parse_moment
from gateway.agreements.cpa.packaging_reader import read_packages, read_simple_parts
from gateway.errors import AGREEMENT_UNWORKABLE, GatewayError
from gateway.wire import DS, TP, build_xpath, load_shipped_schemas, parse_xml

__all__ = ["FormProblem", "find_form_problems", "is_xml_document", "read_cpa"]

_SCHEMA: Final = "ebms2/cpp-cpa-2_0.xsd"
_MAX_OCTETS: Final = 4 << 20
_AGREEMENT: Final = f"{{{TP}}}CollaborationProtocolAgreement"
_PROFILE: Final = f"{{{TP}}}CollaborationProtocolProfile"
_SHOWN: Final = 80


@dataclass(frozen=True, slots=True)
class FormProblem:
    """Why a document is no CPA: the place, and what was expected there."""

    place: Place
    message: str


def is_xml_document(data: bytes) -> bool:
    """Return whether a file is meant as XML rather than as YAML: by its first character."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff", b"\x00")):
        return True
    return data.removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n").startswith(b"<")


def find_form_problems(data: bytes, *, profile: bool = False) -> tuple[FormProblem, ...]:
    """Return why octets are no CPA (no CPP with `profile`), at most fifty reasons; none when they are one."""
    try:
        root = _parse_document(data)
    except GatewayError as refused:
        line = refused.location.removeprefix("line ").partition(",")[0]
        return (FormProblem(Place("/", int(line) if line.isdigit() else 0), refused.detail),)
    # The explainer takes a comment within a text for an element; a schema knows no comments.
    etree.strip_tags(root, etree.Comment)
    return _find_root_problems(root, profile) or tuple(
        FormProblem(Place(one.xpath or "/", one.line), one.message)
        for one in load_shipped_schemas(_SCHEMA).list_violations(root)
    )


def read_cpa(data: bytes, name: str, *, profile: bool = False) -> CpaDocument:
    """Return what a CPA says (a CPP with `profile`); raise GW313 with file, line and XPath.

    The rules of a CPA are not looked at: an id may name nothing.
    """
    problems = find_form_problems(data, profile=profile)
    if problems:
        first = problems[0]
        where = f"{name}:{first.place.line} {first.place.xpath}"
        raise GatewayError(AGREEMENT_UNWORKABLE, first.message, where)
    return _build_document(_parse_document(data), name)


def _parse_document(data: bytes) -> etree._Element:
    if len(data) > _MAX_OCTETS:
        raise GatewayError(AGREEMENT_UNWORKABLE, f"a CPA is at most {_MAX_OCTETS >> 20} MB")
    return parse_xml(data)


def _find_root_problems(root: etree._Element, profile: bool) -> tuple[FormProblem, ...]:
    wanted = _PROFILE if profile else _AGREEMENT
    if root.tag == wanted:
        return ()
    found = etree.QName(root)
    text = f"the root element is {found.localname[:_SHOWN]}"
    text += (
        f" of {(found.namespace or 'no namespace')[:_SHOWN]}; expected is {wanted.rpartition('}')[2]} of {TP}"
    )
    line: Any = root.sourceline
    return (FormProblem(Place(build_xpath(root), int(line or 0)), text),)


def _build_document(root: etree._Element, name: str) -> CpaDocument:
    found = CpaElements()
    is_agreement = root.tag == _AGREEMENT
    parties = tuple(read_party(found, one) for one in found.list_children(root, "PartyInfo"))
    parts, packages = read_simple_parts(found, root), read_packages(found, root)
    status, limits = found.find_child(root, "Status"), found.find_child(root, "ConversationConstraints")
    start, end = found.find_child(root, "Start"), found.find_child(root, "End")
    here = found.find_place(root)
    places = [here if one is None else found.find_place(one) for one in (start, end, status)]
    return CpaDocument(
        here,
        name,
        found.read_attribute(root, "cpaid" if is_agreement else "cppid"),
        found.read_attribute(root, "version"),
        parties,
        parts,
        packages,
        status=found.read_word(status, "value") if status is not None else None,
        start=parse_moment(found.read_text(start)) if start is not None else None,
        end=parse_moment(found.read_text(end)) if end is not None else None,
        start_place=places[0],
        end_place=places[1],
        status_place=places[2],
        invocation_limit=found.read_integer(limits, "invocationLimit") if limits is not None else None,
        concurrent_conversations=(
            found.read_integer(limits, "concurrentConversations") if limits is not None else None
        ),
        constraints_place=found.find_place(limits) if limits is not None else None,
        signatures=tuple(
            found.find_place(one)
            for holder in found.list_children(root, "Signature")
            for one in holder.iterchildren(f"{{{DS}}}Signature")
        ),
        names=found.names,
        references=tuple(found.references),
        root=root,
    )
