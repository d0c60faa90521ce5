"""Reads a document that an agency delivers about an application: its number, its facts, its schema.

The number of the application is found first, by the mappings in force, since it says by which
mappings the document is read.  GW716 is a document of another kind than these mappings expect,
GW717 one that contradicts its kind; both name the place as an XPath in the agency's own document.
"""

from __future__ import annotations

from collections.abc import Iterator

from lxml import etree

from gateway.errors import ANSWER_NOT_UNDERSTOOD, NOTICE_KIND_UNKNOWN, NOTICE_UNREADABLE, GatewayError
from gateway.harmonize.language import (
    DocumentMapping,
    MappingBundle,
    NoticeCatalog,
    NoticeElement,
    NoticeMapping,
)
from gateway.harmonize.notices.error_places import check_error_keys
from gateway.harmonize.notices.notice_facts import (
    NoticeFacts,
    check_named_document,
    find_notice_mapping,
    read_notice,
)
from gateway.harmonize.schemas import write_notice_schema
from gateway.wire import (
    collapse_whitespace,
    compile_schema,
    find_violation,
    read_leaf_text,
    read_own_element,
    serialize_element,
)

_SENDER = "agency"
_NUMBER = "application_number"
_MAX_NUMBER_LENGTH = 128


def find_named_application(root: etree._Element, notices: NoticeCatalog) -> tuple[str, str]:
    """Return the application number that a document states, and its XPath.

    Raise GW716 for a document of an unknown kind, or of a kind that agencies do not send; GW717
    where it states no number.
    """
    number_and_path = find_stated_text(root, notices, _NUMBER)
    if number_and_path is None:
        name = etree.QName(root).localname
        raise GatewayError(NOTICE_KIND_UNKNOWN, "documents of this kind name no application", f"/{name}")
    number, path = number_and_path
    if not 0 < len(number) <= _MAX_NUMBER_LENGTH:
        raise GatewayError(NOTICE_UNREADABLE, "it must state an application number here", path)
    return number, path


def find_stated_text(root: etree._Element, notices: NoticeCatalog, fact: str) -> tuple[str, str] | None:
    """Return the text of a fact in a document, which is empty where the document lacks it, and its XPath.

    Returns None for a kind of document that has no place for the fact. Raise GW716 for a document of
    an unknown kind, or of a kind that agencies do not send.
    """
    notice = _find_agency_notice(root, notices)
    names = next(_list_fact_paths(notice.root, (notice.root.name,), fact), None)
    if names is None:
        return None
    element = root.find("/".join(f"{{{notice.namespace}}}{name}" for name in names[1:]))
    # Comments are no part of the value: a signature does not cover them.
    return "" if element is None else collapse_whitespace(read_leaf_text(element)), "/" + "/".join(names)


def _find_agency_notice(root: etree._Element, notices: NoticeCatalog) -> NoticeMapping:
    """Return the mapping of an agency's document; raise GW716 for an unknown one or another sender."""
    try:
        notice = find_notice_mapping(root, notices)
    except GatewayError as error:
        raise GatewayError(NOTICE_KIND_UNKNOWN, error.detail, error.location) from error
    if notice.sender != _SENDER:
        raise GatewayError(
            NOTICE_KIND_UNKNOWN, f"{notice.id} is a document of the {notice.sender}", f"/{notice.root.name}"
        )
    return notice


def _list_fact_paths(slot: NoticeElement, names: tuple[str, ...], fact: str) -> Iterator[tuple[str, ...]]:
    """Yield the paths below `slot` of lines that state the fact named `fact`, outside repeated elements."""
    for child in slot.children:
        line = child.line
        if line is not None and line.fact_type is not None and line.fact_type.name == fact:
            yield (*names, child.name)
        elif child.repetition is None:
            yield from _list_fact_paths(child, (*names, child.name), fact)


def read_delivered_notice(
    root: etree._Element, bundle: MappingBundle, document: DocumentMapping
) -> NoticeFacts:
    """Return the facts of a document about an application for `document`; raise GW716 or GW717."""
    _find_agency_notice(root, bundle.notices)
    try:
        facts = read_notice(root, bundle.notices, document)
        check_named_document(facts, bundle)
        check_error_keys(facts)
    except GatewayError as error:
        is_other_kind = error.problem is ANSWER_NOT_UNDERSTOOD and error.location.count("/") == 1
        problem = NOTICE_KIND_UNKNOWN if is_other_kind else NOTICE_UNREADABLE
        raise GatewayError(problem, f"{error.problem.id} {error.detail}", error.location) from error
    _validate_notice(root, bundle, facts.notice)
    return facts


def _validate_notice(root: etree._Element, bundle: MappingBundle, notice: NoticeMapping) -> None:
    """Raise GW717 unless `root` is valid under the schema that is made from its mapping."""
    schema = bundle.get_compiled(
        f"notice:{notice.id}", lambda: compile_schema(write_notice_schema(notice).encode("utf-8"))
    )
    # A copy alone: the document is a part of the verified envelope, and paths begin at its own root.
    reason = find_violation(schema, read_own_element(serialize_element(root)))
    if reason is not None:
        raise GatewayError(NOTICE_UNREADABLE, reason.message[:300], reason.path or f"/{notice.root.name}")
