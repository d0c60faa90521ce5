"""Identifiers of elements: checked for uniqueness before a reference is resolved by them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Final, cast

from lxml import etree

from gateway.wire import DS, EB, WSU, XADES, XML
from gateway.xmlsec.strict_reader import raise_signature_error

__all__ = ["check_unique_ids", "get_element_by_id", "list_ids"]

# The length is compared first: most attributes then need no translation.
_LIKE: Final = "@*[string-length(local-name()) = 2 and translate(local-name(), 'ID', 'id') = 'id']"
_OWN_ID_LIKE: Final = etree.XPath(_LIKE, smart_strings=False)
_ID_LIKE: Final = etree.XPath(f"descendant-or-self::*/{_LIKE}", smart_strings=False)
_PREFIXES: Final = {"wsu": WSU, "eb": EB, "ds": DS, "xades": XADES, "xml": XML}
# One path each: for a union, libxml2 would search for each attribute among all those already found.
_IDS: Final = tuple(
    etree.XPath(path, namespaces=_PREFIXES, smart_strings=False)
    for path in ("//@wsu:Id", "//@eb:id", "//@xml:id", "//ds:*/@Id", "//xades:*/@Id")
)
_IN_OCTETS: Final = re.compile(rb'[ :][Ii][Dd]="([^"]*)"')
_SPELLINGS: Final = (b'Id="', b'id="', b'ID="', b'iD="')
_IDENTIFIED: Final = etree.XPath(
    "//*[@wsu:Id = $id or @eb:id = $id or @xml:id = $id or @Id = $id or @ID = $id or @id = $id]",
    namespaces={"wsu": WSU, "eb": EB, "xml": XML},
)


def list_ids(root: etree._Element) -> list[str]:
    """Return the values of all attributes that any reader might treat as an identifier.

    libxml2 gathers the nodes that a path goes through: those below one child of the root at a time are few.
    """
    top = root.getroottree().getroot()
    found = cast("list[str]", _OWN_ID_LIKE(top))
    for child in top.iterchildren("*"):
        found += cast("list[str]", _ID_LIKE(child))
    return found


def check_unique_ids(
    root: etree._Element, referenced: Iterable[str] = (), canonical: bytes | None = None
) -> None:
    """Raise when an identifier occurs twice in a document.

    Attributes that are identifiers by their definition must all differ. A referenced value
    must also not occur in a second attribute that some other reader might treat as an
    identifier (Id, ID, id in any namespace); elsewhere business data may repeat such values.

    With the canonical form of the document, if the caller has it, most documents are checked
    without a search of the tree.
    """
    if canonical is not None and _has_distinct_ids(canonical):
        return
    repeated = {value for value, count in Counter(list_ids(root)).items() if count > 1}
    if not repeated:
        return
    defined = Counter(value for path in _IDS for value in cast("list[str]", path(root)))
    if any(count > 1 for count in defined.values()) or repeated & set(referenced):
        raise_signature_error(f"identifier '{min(repeated)[:80]}' stands on more than one element", root)


def _has_distinct_ids(canonical: bytes) -> bool:
    """Return whether all possible identifiers in a canonical form differ, including those in texts."""
    if sum(map(canonical.count, _SPELLINGS)) < 2:
        return True
    values = _IN_OCTETS.findall(canonical)  # in a canonical form each value has one spelling
    return len(set(values)) == len(values)


def get_element_by_id(root: etree._Element, uri: str) -> etree._Element:
    """Return the one element that ``#identifier`` names by wsu:Id, eb:id, xml:id, Id, ID or id."""
    found = cast("list[etree._Element]", _IDENTIFIED(root, id=uri[1:])) if uri.startswith("#") else []
    if len(found) != 1:
        raise_signature_error(f"reference '{uri[:120]}' does not name one element", root)
    return found[0]
