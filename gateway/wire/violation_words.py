"""Says schema violations in words that a sender can act on: what was found, what is expected.

The libraries say them in the words of their own languages: lists with brackets, class names, and
names with their namespaces. An element with the right name in a wrong namespace is told as that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from lxml import etree

from gateway.wire.pattern_words import describe_choices, describe_pattern, quote_value

__all__ = [
    "describe_libxml_violation",
    "describe_schema_violation",
    "describe_unexpected_element",
    "find_concerned_element",
]

_FOREIGN: Final = (
    (re.compile(r"\{[^{}]*[:/][^{}]*\}(?=\w)"), ""),
    (re.compile(r"\[?<class '(?:[\w.]+\.)?(\w+)'>\]?"), r"\1"),
    (
        re.compile(
            r"duplicated value \((.*?),?\) for Xsd\w+\((?:\w+=)?'(?:\w+:)?([^']*)'[^()]*\)", re.DOTALL
        ),
        r"\1 is given more than once (rule \2)",
    ),
    (re.compile(r"Xsd\w+\((?:\w+=)?'([^']*)'[^()]*\)"), r"\1"),
    (re.compile(r"of the local (?:atomic|union|list) type"), "of its type"),
)
_LONGEST_NAME: Final = 100
_ATTRIBUTE: Final = re.compile(r"attribute (?P<name>[^\s=]+)=.*?: (?P<reason>.*)", re.DOTALL)
_TYPES: Final = {
    "date": "a date as 2026-01-31",
    "dateTime": "a date and time as 2026-01-31T12:00:00Z",
    "time": "a time as 12:00:00",
    "decimal": "a decimal number",
    "double": "a number",
    "float": "a number",
    "integer": "a whole number",
    "int": "a whole number",
    "long": "a whole number",
    "short": "a whole number",
    "nonNegativeInteger": "a whole number, 0 or more",
    "positiveInteger": "a whole number, 1 or more",
    "unsignedInt": "a whole number, 0 or more",
    "boolean": "true or false",
    "base64Binary": "octets in Base64",
    "hexBinary": "octets in hexadecimal digits",
    "duration": "a duration as P1DT12H",
    "anyURI": "a URI",
    "language": "a language as en or en-GB",
    "NCName": "a name of XML without a colon",
    "ID": "an identifier that occurs once",
}
#: What the facets of xmlschema that have one bound say of it.
_BOUNDS: Final = {
    "XsdLengthFacet": "a length of {}",
    "XsdMinLengthFacet": "a length of at least {}",
    "XsdMaxLengthFacet": "a length of at most {}",
    "XsdMinInclusiveFacet": "{} or more",
    "XsdMinExclusiveFacet": "more than {}",
    "XsdMaxInclusiveFacet": "{} or less",
    "XsdMaxExclusiveFacet": "less than {}",
    "XsdTotalDigitsFacet": "at most {} digits",
    "XsdFractionDigitsFacet": "at most {} digits behind the point",
}
_ENUMERATION: Final = re.compile(
    r"(?P<head>.*)\[facet 'enumeration'\] The value '(?P<value>.*)' is not an element of the set "
    r"\{'(?P<set>.*)'\}\.?",
    re.DOTALL,
)
_PATTERN: Final = re.compile(
    r"(?P<head>.*)\[facet 'pattern'\] The value '(?P<value>.*)' is not accepted by the pattern "
    r"'(?P<set>.*)'\.?",
    re.DOTALL,
)
_BUILT_IN: Final = re.compile(
    r"(?P<head>.*)'(?P<value>.*)' is not a valid value of the atomic type 'xs:(?P<set>\w+)'\.?", re.DOTALL
)
_UNEXPECTED: Final = re.compile(
    r"Element '(?:\{(?P<space>[^{}]*)\})?(?P<name>[^{}']*)': This element is not expected\. "
    r"Expected is (?:one of )?\( (?P<set>[^()]*) \)\.?"
)


def describe_unexpected_element(tag: str, wanted: Sequence[str]) -> str:
    """Return the sentence for an element that is not one of the `wanted` ones (names in Clark notation).

    Where its name is right and its namespace is wrong, the sentence says this, and nothing else.
    """
    name, space = _read_local_name(tag)[:_LONGEST_NAME], _read_namespace(tag)
    alike = [_read_namespace(one) for one in wanted if one != tag and _read_local_name(one) == name]
    if alike and tag not in wanted:
        return f"the namespace of {name} is {_quote_namespace(space)}; expected is {_list_namespaces(alike)}"
    if not wanted:
        return f"{name} is not expected here"
    return f"{name} is not expected here; expected is {describe_choices(map(_read_local_name, wanted))}"


def _quote_namespace(uri: str) -> str:
    return f"'{uri[:_LONGEST_NAME]}'" if uri else "empty (the element has none)"


def _list_namespaces(uris: Sequence[str]) -> str:
    return " or ".join(map(_quote_namespace, dict.fromkeys(uris)))


def describe_schema_violation(error: Any) -> str:
    """Return the words for an error of xmlschema: what was found and what is expected."""
    reason = str(error.reason or error.message)
    if hasattr(error, "expected"):
        return _describe_wrong_child(error) or _clean_text(reason)
    # The value of a numeric facet is a number already; an element or its attributes are no value.
    known = not isinstance(error.obj, etree._Element | Mapping)
    expected = _describe_expectation(error.validator) if known else None
    if expected is None:
        return _clean_text(reason)
    attribute = _ATTRIBUTE.fullmatch(reason)
    place = f"attribute {_clean_text(attribute['name'])}: " if attribute is not None else ""
    return f"{place}{quote_value(str(error.obj))} is not allowed; expected is {expected}"


def _describe_expectation(validator: Any) -> str | None:
    """Return in words what a facet or a simple type of xmlschema accepts, None for an unknown one."""
    kind = type(validator).__name__
    if kind in _BOUNDS:
        return _BOUNDS[kind].format(validator.value)
    if kind == "XsdEnumerationFacets":
        return describe_choices([str(one) for one in validator.enumeration])
    if kind == "XsdPatternFacets":
        return " or ".join(dict.fromkeys(describe_pattern(one) for one in validator.regexps))
    if kind == "XsdUnion":
        members = [_describe_member(one) for one in validator.member_types]
        return " or ".join(dict.fromkeys(str(one) for one in members)) if all(members) else None
    return _TYPES.get(str(getattr(validator, "local_name", "")))


def _describe_member(member: Any) -> str | None:
    """Return in words what a member of a union accepts: its codes or pattern, else its type."""
    for facet in (getattr(member, "enumeration", None), getattr(member, "patterns", None)):
        if isinstance(facet, list):
            return describe_choices([str(one) for one in facet])
        if facet is not None:
            return _describe_expectation(facet)
    return _TYPES.get(str(getattr(member, "local_name", "")))


def find_concerned_element(error: Any) -> Any:
    """Return the element that the words for an error are about: a child at a wrong place, itself."""
    child = getattr(error, "invalid_child", None) if getattr(error, "invalid_tag", None) else None
    if child is None or not isinstance(child.tag, str) or _has_name_of_child(error, _list_wanted(error)):
        return error.elem
    return child


def _list_wanted(error: Any) -> list[str]:
    """Return the names of the children that were expected."""
    return [str(one.name) for one in error.expected or () if getattr(one, "name", None)]


def _has_name_of_child(error: Any, wanted: Sequence[str]) -> bool:
    """Return whether the parent is a wrapper of ours with the name of the element that belongs in it.

    Then the inner one has our namespace by mistake.
    """
    parent = str(getattr(error.obj, "tag", ""))
    return parent not in wanted and any(_read_local_name(one) == _read_local_name(parent) for one in wanted)


def _describe_wrong_child(error: Any) -> str | None:
    """Return the words for a child element that is not expected, or for one that is missing."""
    wanted = _list_wanted(error)
    if error.invalid_tag is None:
        parent = _read_local_name(str(getattr(error.obj, "tag", "")))
        names = describe_choices([_read_local_name(one) for one in wanted])
        return f"{parent} is not complete; expected is {names} next" if wanted else None
    if _has_name_of_child(error, wanted):
        return describe_unexpected_element(str(error.obj.tag), wanted)
    tag = str(error.invalid_tag)
    if not wanted:
        wanted = list(_list_wildcard_names(error.validator, _read_local_name(tag)))
    return describe_unexpected_element(tag, wanted)


def _list_wildcard_names(group: Any, name: str) -> Iterator[str]:
    """Yield the known elements of a local name that the wildcards of a group accept.

    xmlschema says nothing of a wildcard in what it expects.
    """
    for particle in group.iter_elements():
        if getattr(particle, "process_contents", None) is None:
            continue
        for space in particle.namespace:
            if f"{{{space}}}{name}" in group.maps.elements:
                yield f"{{{space}}}{name}"


def describe_libxml_violation(message: str) -> str:
    """Return the words for a message of libxml2: what was found and what is expected."""
    unexpected = _UNEXPECTED.fullmatch(message.strip())
    if unexpected is not None:
        space, wanted = unexpected["space"] or "", unexpected["set"].split(", ")
        tag = f"{{{space}}}{unexpected['name']}" if space else unexpected["name"]
        return describe_unexpected_element(tag, wanted)
    for form, words in (
        (_ENUMERATION, lambda text: describe_choices(text.split("', '"))),
        (_PATTERN, describe_pattern),
        (_BUILT_IN, lambda text: _TYPES.get(text, f"a value of the type xs:{text}")),
    ):
        found = form.fullmatch(message.strip())
        if found is not None:
            value, expected = quote_value(found["value"]), words(found["set"])
            return f"{_clean_text(found['head'])}{value} is not allowed; expected is {expected}"
    return _clean_text(message)


def _clean_text(text: str) -> str:
    """Return a message of a library without namespaces in names and without class names."""
    for form, words in _FOREIGN:
        text = form.sub(words, text)
    return text


def _read_local_name(tag: str) -> str:
    return tag.rpartition("}")[2]


def _read_namespace(tag: str) -> str:
    return tag[1:].rpartition("}")[0] if tag.startswith("{") else ""
