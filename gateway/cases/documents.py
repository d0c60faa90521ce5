"""What is wrong with a declaration, told so that its sender can put it right.

The verdict is the schema's alone.  Codes that no list knows are warnings: lists change
faster than messages, and customs decides what it takes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Any, Final

from lxml import etree

from gateway.errors import CODE_UNKNOWN, DOCUMENT_INVALID, GatewayError, Problem
from gateway.wire.namespaces import PREFIXES, WCO_DEC, WCO_MD
from gateway.wire.pointers import Pointers, pointer_of, tags, text_of
from gateway.wire.schemas import SchemaSet, Violation
from gateway.wire.shipped import DECLARATION, codes, schemas
from gateway.wire.xml import xpath_of

__all__ = ["Judgement", "Remark", "judge", "judge_declaration", "unwrapped"]

_DEC: Final = f"{{{WCO_DEC}}}"
_MOST_REMARKS: Final = 50
_LONGEST_VALUE: Final = 40
_LONGEST_NAME: Final = 100
_REQUEST_SHELL: Final = "submitDeclarationRequest"
_SHELLED: Final = (f"{{{WCO_MD}}}MetaData", f"{_DEC}Declaration")


@dataclass(frozen=True, slots=True)
class Remark:
    """A problem or warning with its place: pointer, XPath and line (0 when there is none)."""

    problem: Problem
    pointer: str
    xpath: str
    line: int
    message: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """Whether a document is accepted, why not, and what else is odd about it."""

    accepted: bool
    problems: tuple[Remark, ...] = ()
    warnings: tuple[Remark, ...] = ()

    @classmethod
    def refusal(cls, error: GatewayError, line: int = 0) -> Judgement:
        """Return the judgement on something that could not even be read."""
        return cls(False, (Remark(error.problem, "", "", line, error.detail),))


def judge_declaration(root: etree._Element) -> Judgement:
    """Judge a declaration, in its shell or bare; at most fifty problems and fifty warnings are told."""
    if root.tag not in _SHELLED:
        return Judgement(False, (_foreign(root),))
    accepted, problems = judge(root, schemas(DECLARATION))
    return Judgement(accepted, problems, tuple(islice(_unknown_codes(root), _MOST_REMARKS)))


def judge(root: etree._Element, judge_by: SchemaSet) -> tuple[bool, tuple[Remark, ...]]:
    """Return whether the schemas allow `root`, and if not, why not."""
    found = judge_by.violations(root)[:_MOST_REMARKS]
    pointers = Pointers(root)  # children are counted once, however many remarks there are
    return not found, tuple(_remark(violation, root, pointers) for violation in found)


def unwrapped(root: etree._Element) -> etree._Element:
    """Return the one message that a request shell of customs carries; anything else as it is."""
    if etree.QName(root).localname != _REQUEST_SHELL:
        return root
    parts = root.iterchildren(tag=etree.Element)
    carried = [child for part in parts for child in part if child.tag in _SHELLED]
    return carried[0] if len(carried) == 1 else root


def _foreign(root: etree._Element) -> Remark:
    name = etree.QName(root)
    namespace = f"in {name.namespace[:_LONGEST_NAME]!r}" if name.namespace else "in no namespace"
    message = (
        f"the root element is {name.localname[:_LONGEST_NAME]!r} {namespace}; "
        f"expected is 'MetaData' in {WCO_MD!r} or 'Declaration' in {WCO_DEC!r}"
    )
    return Remark(DOCUMENT_INVALID, pointer_of(root), xpath_of(root), _line(root), message)


def _remark(violation: Violation, root: etree._Element, pointers: Pointers) -> Remark:
    element = _element_at(violation, root)
    pointer = "" if element is None else pointers.pointer(element)
    return Remark(DOCUMENT_INVALID, pointer, violation.xpath, violation.line, violation.message)


def _element_at(violation: Violation, root: etree._Element) -> etree._Element | None:
    """Return the element a violation speaks of: by its path, else by its name and line."""
    top = root.getroottree().getroot()
    prefixes = {prefix: uri for prefix, uri in top.nsmap.items() if prefix} | PREFIXES
    try:
        found = root.xpath(violation.xpath, namespaces=prefixes)
    except etree.XPathError:
        found = None
    if isinstance(found, list) and found and isinstance(found[0], etree._Element):
        return found[0]
    name = violation.xpath.rpartition("/")[2].rpartition(":")[2].partition("[")[0]
    return next((one for one in root.iter(f"{{*}}{name}") if _line(one) == violation.line), None)


def _unknown_codes(root: etree._Element) -> Iterator[Remark]:
    pointers = Pointers()
    for top in root.iter(f"{_DEC}Declaration"):
        for path, code_list in _coded_paths():
            for element in top.iterfind(path):
                code = text_of(element).strip()
                if code not in codes(code_list):
                    yield _unknown(code, code_list, pointers.pointer(element), xpath_of(element), element)
        for element in top.iter(tag=etree.Element):
            code = element.get("currencyID", "")
            if "currencyID" in element.attrib and code not in codes("iso4217"):
                place = f"{xpath_of(element)}/@currencyID"
                yield _unknown(code, "iso4217", pointers.pointer(element, "currencyID"), place, element)


def _unknown(code: str, code_list: str, pointer: str, xpath: str, element: etree._Element) -> Remark:
    message = f"{code[:_LONGEST_VALUE]!r} is not in the list {code_list}"
    return Remark(CODE_UNKNOWN, pointer, xpath, _line(element), message)


def _line(element: Any) -> int:
    return element.sourceline or 0


@cache
def _coded_paths() -> tuple[tuple[str, str], ...]:
    """Return the path below the declaration, and the code list, of each element that has a list."""
    return tuple(
        ("/".join(f"{_DEC}{name}" for name in tag.path.split("/")[1:]), tag.code_list)
        for tag in tags().values()
        if tag.code_list and tag.kind == "element" and tag.path.startswith("Declaration/")
    )
