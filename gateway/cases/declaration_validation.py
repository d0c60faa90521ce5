"""Validates a declaration and reports each problem with its place, so that the sender can correct it.

Only the schema decides whether a declaration is accepted.  Unknown codes are warnings, since
code lists change faster than messages and customs decides which codes it accepts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Any, Final

from lxml import etree

from gateway.errors import CODE_UNKNOWN, DOCUMENT_INVALID, GatewayError, Problem, raise_resource_problem
from gateway.wire import (
    DECLARATION,
    PREFIXES,
    WCO_DEC,
    WCO_MD,
    PointerIndex,
    SchemaSet,
    SchemaViolation,
    build_pointer,
    build_xpath,
    describe_choices,
    describe_unexpected_element,
    list_xpath_namespaces,
    load_code_list,
    load_shipped_schemas,
    load_wco_elements,
    quote_value,
    read_leaf_text,
)

_DEC: Final = f"{{{WCO_DEC}}}"
_MAX_FINDINGS: Final = 50
_CODED_ATTRIBUTES: Final = (("currencyID", "iso4217"), ("unitCode", "rec20"))
_MAX_NAME_LENGTH: Final = 100
_REQUEST_SHELL: Final = "submitDeclarationRequest"
_MESSAGE_TAGS: Final = (f"{{{WCO_MD}}}MetaData", f"{_DEC}Declaration")


@dataclass(frozen=True, slots=True)
class ReportedProblem:
    """One problem of a refused submission: its GW id, the text, and the pointer where there is one."""

    id: str
    text: str
    pointer: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """A mistake at a place of a submission, found by the rules of a case."""

    problem: Problem
    detail: str
    pointer: str

    def report(self) -> ReportedProblem:
        """Return it as a problem to report to the applicant."""
        return ReportedProblem(self.problem.id, self.detail, self.pointer)


@dataclass(frozen=True, slots=True)
class ValidationFinding:
    """A problem or warning with its place: pointer, XPath and line (0 where there is none)."""

    problem: Problem
    pointer: str
    xpath: str
    line: int
    message: str


@dataclass(frozen=True, slots=True)
class ValidationReport:
    """The result of a validation: whether the document is accepted, its problems and its warnings."""

    accepted: bool
    problems: tuple[ValidationFinding, ...] = ()
    warnings: tuple[ValidationFinding, ...] = ()

    @classmethod
    def make_unreadable(cls, error: GatewayError, line: int = 0) -> ValidationReport:
        """Return the report for a document that could not be parsed."""
        finding = ValidationFinding(error.problem, pointer="", xpath="", line=line, message=error.detail)
        return cls(accepted=False, problems=(finding,))


def validate_declaration(root: etree._Element) -> ValidationReport:
    """Validate a declaration, bare or in its shell; report at most fifty problems and fifty warnings."""
    if root.tag not in _MESSAGE_TAGS:
        return ValidationReport(accepted=False, problems=(_make_root_finding(root),))
    accepted, problems = validate_document(root, load_shipped_schemas(DECLARATION))
    return ValidationReport(accepted, problems, tuple(islice(_find_unknown_codes(root), _MAX_FINDINGS)))


def validate_document(root: etree._Element, schemas: SchemaSet) -> tuple[bool, tuple[ValidationFinding, ...]]:
    """Return whether `root` is valid under the schemas, and the violations, at most fifty."""
    violations = schemas.list_violations(root)[:_MAX_FINDINGS]
    if not violations:
        return True, ()
    # Shared by all findings, so that the document is read once for each.
    document_paths = _DocumentPaths(root, PointerIndex(root), list_xpath_namespaces(root))
    return False, tuple(_make_finding(violation, document_paths) for violation in violations)


def unwrap_request(root: etree._Element) -> etree._Element:
    """Return the one message in a request shell of customs; return any other root unchanged."""
    if etree.QName(root).localname != _REQUEST_SHELL:
        return root
    shell_parts = root.iterchildren(tag=etree.Element)
    messages = [child for part in shell_parts for child in part if child.tag in _MESSAGE_TAGS]
    return messages[0] if len(messages) == 1 else root


def _make_root_finding(root: etree._Element) -> ValidationFinding:
    """Return the finding for a root element that is not the expected MetaData or Declaration."""
    name = etree.QName(root)
    if name.localname in ("MetaData", "Declaration"):
        message = describe_unexpected_element(str(root.tag), _MESSAGE_TAGS)
    else:
        namespace = f"in '{name.namespace[:_MAX_NAME_LENGTH]}'" if name.namespace else "in no namespace"
        message = (
            f"the root element is '{name.localname[:_MAX_NAME_LENGTH]}' {namespace}; "
            f"expected is 'MetaData' in '{WCO_MD}' or 'Declaration' in '{WCO_DEC}'"
        )
    return ValidationFinding(
        DOCUMENT_INVALID, build_pointer(root), build_xpath(root), _get_line_number(root), message
    )


@dataclass(frozen=True, slots=True)
class _DocumentPaths:
    """The root of a document, its pointers, and the prefixes in its paths."""

    root: etree._Element
    pointers: PointerIndex
    prefixes: dict[str, str]


def _make_finding(violation: SchemaViolation, document_paths: _DocumentPaths) -> ValidationFinding:
    element = _find_violating_element(violation, document_paths)
    pointer = "" if element is None else document_paths.pointers.get_pointer(element)
    return ValidationFinding(DOCUMENT_INVALID, pointer, violation.xpath, violation.line, violation.message)


def _find_violating_element(
    violation: SchemaViolation, document_paths: _DocumentPaths
) -> etree._Element | None:
    """Return the element of a violation: by its XPath, else by its name and line; None if not found."""
    root = document_paths.root
    document_root = root.getroottree().getroot()
    declared_prefixes = {prefix: uri for prefix, uri in document_root.nsmap.items() if prefix}
    prefixes = declared_prefixes | document_paths.prefixes | PREFIXES
    try:
        matches = root.xpath(violation.xpath, namespaces=prefixes)
    except etree.XPathError as error:
        raise_resource_problem(error)
        matches = None
    if isinstance(matches, list) and matches and isinstance(matches[0], etree._Element):
        return matches[0]
    element_name = violation.xpath.rpartition("/")[2].rpartition(":")[2].partition("[")[0]
    return next(
        (
            element
            for element in root.iter(f"{{*}}{element_name}")
            if _get_line_number(element) == violation.line
        ),
        None,
    )


def _find_unknown_codes(root: etree._Element) -> Iterator[ValidationFinding]:
    """Yield a finding for each element or attribute whose code is not in the code list of its path."""
    pointers = PointerIndex()
    for declaration in root.iter(f"{_DEC}Declaration"):
        for path, code_list in _list_coded_paths():
            for element in declaration.iterfind(path):
                code = read_leaf_text(element).strip()
                if code not in load_code_list(code_list):
                    yield _make_code_finding(
                        code, code_list, pointers.get_pointer(element), build_xpath(element), element
                    )
        for element in declaration.iter(tag=etree.Element):
            for attribute_name, code_list in _CODED_ATTRIBUTES:
                attribute_code = element.get(attribute_name)
                if attribute_code is not None and attribute_code not in load_code_list(code_list):
                    xpath = f"{build_xpath(element)}/@{attribute_name}"
                    yield _make_code_finding(
                        attribute_code,
                        code_list,
                        pointers.get_pointer(element, attribute_name),
                        xpath,
                        element,
                    )


def _make_code_finding(
    code: str, code_list: str, pointer: str, xpath: str, element: etree._Element
) -> ValidationFinding:
    choices = describe_choices(sorted(load_code_list(code_list)))
    message = f"{quote_value(code)} is not in the list {code_list}; expected is {choices}"
    return ValidationFinding(CODE_UNKNOWN, pointer, xpath, _get_line_number(element), message)


def _get_line_number(element: Any) -> int:
    return element.sourceline or 0


@cache
def _list_coded_paths() -> tuple[tuple[str, str], ...]:
    """Return the path below the declaration and the code list of each element with a code list."""
    return tuple(
        ("/".join(f"{_DEC}{name}" for name in tag.path.split("/")[1:]), tag.code_list)
        for tag in load_wco_elements().values()
        if tag.code_list and tag.kind == "element" and tag.path.startswith("Declaration/")
    )
