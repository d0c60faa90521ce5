"""Describes schema violations so that a sender can act on them: the value and the expectation.

The messages of the libraries are for programmers: lists with brackets, class names, and names with their
namespaces. For an element with the right name in a wrong namespace, the description says just that.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from lxml import etree

from gateway.wire.text_characters import quote_value

#: The largest number of codes in a sentence: a longer list, such as that of all countries, is cut.
_MAX_CHOICES: Final = 12
_MAX_PATTERN_LENGTH: Final = 120
#: Patterns that have a name of their own.
_PATTERN_NAMES: Final = {
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}": "a date as 2026-01-31",
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+\-][0-9]{2}:[0-9]{2})": (
        "a date and time with zone as 2026-01-31T12:00:00Z"
    ),
    r"20[0-9]{6}([0-9]{6}(Z|[+\-][0-9]{2}))?": (
        "a date from 2000 to 2099 as 20260131, or with time and zone as 20260131120000Z"
    ),
    r".*\S.*": "at least one character that is not a space",
    r"[^/\s]+/\S.*": "a media type as application/pdf",
    r"[^\s/;]+/[^\s/;]+(\s*;.*)?": "a media type as application/pdf",
    r"[\i-[:]][\c-[:]]*": "a name of XML without a colon",
    r"[a-zA-Z]{1,8}(-[a-zA-Z0-9]{1,8})*": "a language as en or en-GB",
}
_CLASS_NAMES: Final = {
    "0-9": ("digit", "digits"),
    "A-Z": ("capital letter", "capital letters"),
    "a-z": ("small letter", "small letters"),
    "A-Za-z": ("letter", "letters"),
    "0-9A-Z": ("capital letter or digit", "capital letters or digits"),
    "0-9a-z": ("small letter or digit", "small letters or digits"),
    "0-9A-Za-z": ("letter or digit", "letters or digits"),
    "0-9A-Fa-f": ("hexadecimal digit", "hexadecimal digits"),
    "0-9a-f": ("hexadecimal digit in small letters", "hexadecimal digits in small letters"),
    ".": ("character", "characters"),
    r"\d": ("digit", "digits"),
    r"\S": ("character that is not a space", "characters that are not spaces"),
    r"^\s": ("character that is not a space", "characters that are not spaces"),
}
_CHOICE_NAMES: Final = {"": "an empty value", " ": "a space"}
_ATOM: Final = re.compile(
    r"(?P<class>\[(?:\\.|[^\[\]\\])+\])|(?P<group>\((?:\\.|[^()\\])*\))|(?P<escape>\\.)|(?P<plain>[^\\\[\](){}?*+|])"
)
_QUANTIFIER: Final = re.compile(r"\{(\d+)(?:(,)(\d*))?\}|[?*+]")
_CLASS_MEMBER: Final = re.compile(r"(?:\\?(.))-(?:\\?(.))|\\(.)|(.)")


def describe_choices(choices: Iterable[str]) -> str:
    """Return ``A``, ``one of A, B or C``, or the first twelve with the number of the others."""
    names = [_CHOICE_NAMES.get(choice, choice) for choice in choices]
    if len(names) <= 1:
        return names[0] if names else "no value"
    if len(names) > _MAX_CHOICES:
        return f"one of {', '.join(names[:_MAX_CHOICES])} and {len(names) - _MAX_CHOICES} more"
    return f"one of {', '.join(names[:-1])} or {names[-1]}"


def describe_pattern(pattern: str) -> str:
    """Return in words the texts that a pattern of XML Schema accepts; the pattern if it is too complex."""
    description = _PATTERN_NAMES.get(pattern)
    if description is not None:
        return description
    branches = [_describe_sequence(branch) for branch in _split_alternatives(pattern)]
    if any(branch is None for branch in branches):
        shortened = pattern if len(pattern) <= _MAX_PATTERN_LENGTH else pattern[:_MAX_PATTERN_LENGTH] + "…"
        return f"a text of the form {shortened}"
    return " or ".join(str(branch) for branch in branches)


def _split_alternatives(pattern: str) -> list[str]:
    """Return the branches of a pattern that ``|`` separates outside of groups and classes."""
    branches, depth, start = [], 0, 0
    for match in re.finditer(r"\\.|[\[\]()|]", pattern):
        mark = match[0]
        depth += (mark in ("(", "[")) - (mark in (")", "]"))
        if mark == "|" and depth == 0:
            branches.append(pattern[start : match.start()])
            start = match.end()
    return [*branches, pattern[start:]]


def _describe_sequence(pattern: str) -> str | None:
    """Return the words for a sequence of classes, groups and characters; None for anything else."""
    parts: list[str] = []
    literal, at = "", 0
    while at < len(pattern):
        atom = _ATOM.match(pattern, at)
        if atom is None:
            return None
        quantifier = _QUANTIFIER.match(pattern, atom.end())
        at = (quantifier or atom).end()
        character = _read_literal(atom)
        if character is not None and quantifier is None:
            literal += character
            continue
        description = _describe_atom(atom, quantifier[0] if quantifier else "")
        if description is None:
            return None
        parts += [f'"{literal}"', description] if literal else [description]
        literal = ""
    return ", ".join([*parts, f'"{literal}"'] if literal else parts) or "an empty value"


def _read_literal(atom: re.Match[str]) -> str | None:
    """Return the one character that an atom stands for, None for a class or a group."""
    if atom["escape"] is not None and not atom["escape"][1].isalpha():
        return atom["escape"][1]
    return atom["plain"] if atom["plain"] not in (None, ".") else None


def _describe_atom(atom: re.Match[str], quantifier: str) -> str | None:
    """Return the words for one atom of a pattern with its quantifier; None where it is not described."""
    if atom["group"] is not None:
        branch_descriptions = [
            _describe_sequence(branch) for branch in _split_alternatives(atom["group"][1:-1])
        ]
        if any(
            branch_description is None for branch_description in branch_descriptions
        ) or quantifier not in ("", "?", "{0,1}"):
            return None
        description = " or ".join(str(branch_description) for branch_description in branch_descriptions)
        return f"optionally {description}" if quantifier else description
    literal = _read_literal(atom)
    if literal is not None:
        names = (f'"{literal}"', f'"{literal}"')
    else:
        names = _describe_class(atom["class"][1:-1] if atom["class"] else atom[0])
    return _count_characters(names, quantifier)


def _describe_class(content: str) -> tuple[str, str]:
    """Return the words for a character class, in singular and plural."""
    class_members = sorted(
        f"{match[1]}-{match[2]}" if match[1] else (match[3] or match[4])
        for match in _CLASS_MEMBER.finditer(content)
    )
    ranges = [class_member for class_member in class_members if len(class_member) == 3]
    single_characters = [class_member for class_member in class_members if len(class_member) == 1]
    if content in _CLASS_NAMES:
        return _CLASS_NAMES[content]
    if content.startswith("^"):
        excluded = content[1:].replace(r"\s", " ")
        class_members = [_CHOICE_NAMES.get(character, character) for character in dict.fromkeys(excluded)]
        return (
            f"character other than {' '.join(class_members)}",
            f"characters other than {' '.join(class_members)}",
        )
    class_names = _CLASS_NAMES.get("".join(ranges))
    if not ranges and single_characters:
        return describe_choices(single_characters), f"characters, each {describe_choices(single_characters)}"
    singular, plural = class_names or (
        f"character of {' '.join(ranges)}",
        f"characters of {' '.join(ranges)}",
    )
    character_texts = "".join(f' or "{literal}"' for literal in single_characters)
    return f"{singular}{character_texts}", f"{plural}{character_texts}"


def _count_characters(class_names: Sequence[str], quantifier: str) -> str:
    """Return words for `quantifier` ("", "+", "{1,3}") times a character; `class_names`: singular, plural."""
    singular, plural = class_names
    fixed_texts = {"": f"1 {singular}", "?": f"optionally 1 {singular}", "{0,1}": f"optionally 1 {singular}"}
    fixed_texts |= {"*": f"any number of {plural}", "+": f"1 or more {plural}"}
    if quantifier in fixed_texts:
        return fixed_texts[quantifier].replace("1 one of", "one of").replace('1 "', '"')
    min_count, _, max_count = quantifier[1:-1].partition(",")
    if "," not in quantifier:
        return f"{min_count} {singular if min_count == '1' else plural}"
    return f"{min_count} to {max_count} {plural}" if max_count else f"at least {min_count} {plural}"


_LIBRARY_FORMS: Final = (
    (re.compile(r"\{[^{}:/]*+[:/][^{}]*+\}(?=\w)"), ""),
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
_MAX_NAME_LENGTH: Final = 100
#: A sender's text may stand in a message, and some of the forms above take time with its square.
_MAX_TEXT_LENGTH: Final = 2000
_ATTRIBUTE: Final = re.compile(r"attribute (?P<name>[^\s=]+)=.*?: (?P<reason>.*)", re.DOTALL)
_TYPE_NAMES: Final = {
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
#: The descriptions of the facets of xmlschema that have one bound.
_FACET_BOUNDS: Final = {
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
#: The texts of libxml2 around a refused value and the expected ones: before, between and after them.
_FACET: Final = "[facet '{}'] The value '"
_REFUSED_VALUE_TEXTS: Final[tuple[tuple[str, str, str, Callable[[str], str]], ...]] = (
    (
        _FACET.format("enumeration"),
        "' is not an element of the set {'",
        "'}",
        lambda text: describe_choices(text.split("', '")),
    ),
    (_FACET.format("pattern"), "' is not accepted by the pattern '", "'", describe_pattern),
    (
        ": '",
        "' is not a valid value of the atomic type 'xs:",
        "'",
        lambda text: _TYPE_NAMES.get(text, f"a value of the type xs:{text}"),
    ),
)
_UNEXPECTED_ELEMENT: Final = re.compile(
    r"Element '(?:\{(?P<space>[^{}]*)\})?(?P<name>[^{}']*)': This element is not expected\. "
    r"Expected is (?:one of )?\( (?P<set>[^()]*) \)\.?"
)


def describe_unexpected_element(tag: str, expected: Sequence[str]) -> str:
    """Return the sentence for an element that is not one of the `expected` ones (names in Clark notation).

    If its name is right and its namespace is wrong, the sentence says only this.
    """
    name, namespace = _read_local_name(tag)[:_MAX_NAME_LENGTH], _read_namespace(tag)
    namespaces = [
        _read_namespace(candidate_tag)
        for candidate_tag in expected
        if candidate_tag != tag and _read_local_name(candidate_tag) == name
    ]
    if namespaces and tag not in expected:
        expectation = _join_namespaces(namespaces)
        return f"the namespace of {name} is {_quote_namespace(namespace)}; expected is {expectation}"
    if not expected:
        return f"{name} is not expected here"
    return f"{name} is not expected here; expected is {describe_choices(map(_read_local_name, expected))}"


def _quote_namespace(uri: str) -> str:
    return f"'{uri[:_MAX_NAME_LENGTH]}'" if uri else "empty (the element has none)"


def _join_namespaces(uris: Sequence[str]) -> str:
    return " or ".join(map(_quote_namespace, dict.fromkeys(uris)))


def describe_schema_violation(error: Any) -> str:
    """Return the description of an error of xmlschema: the value and the expectation."""
    reason = str(error.reason or error.message)
    if hasattr(error, "expected"):
        return _describe_wrong_child(error) or _clean_text(reason)
    # The value of a numeric facet is a number already; an element or its attributes are no value.
    is_value = not isinstance(error.obj, etree._Element | Mapping)
    expectation = _describe_expectation(error.validator) if is_value else None
    if expectation is None:
        return _clean_text(reason)
    attribute_match = _ATTRIBUTE.fullmatch(reason)
    subject = f"attribute {_clean_text(attribute_match['name'])}: " if attribute_match is not None else ""
    return f"{subject}{quote_value(str(error.obj))} is not allowed; expected is {expectation}"


def _describe_expectation(validator: Any) -> str | None:
    """Return in words the values that a facet or simple type of xmlschema accepts; None for an unknown."""
    validator_class = type(validator).__name__
    if validator_class in _FACET_BOUNDS:
        return _FACET_BOUNDS[validator_class].format(validator.value)
    if validator_class == "XsdEnumerationFacets":
        return describe_choices([str(choice) for choice in validator.enumeration])
    if validator_class == "XsdPatternFacets":
        return " or ".join(dict.fromkeys(describe_pattern(pattern) for pattern in validator.regexps))
    if validator_class == "XsdUnion":
        members = [_describe_member(member) for member in validator.member_types]
        return " or ".join(dict.fromkeys(str(member) for member in members)) if all(members) else None
    return _TYPE_NAMES.get(str(getattr(validator, "local_name", "")))


def _describe_member(member: Any) -> str | None:
    """Return in words the values that a member of a union accepts: its codes or pattern, else its type."""
    for facet in (getattr(member, "enumeration", None), getattr(member, "patterns", None)):
        if isinstance(facet, list):
            return describe_choices([str(choice) for choice in facet])
        if facet is not None:
            return _describe_expectation(facet)
    return _TYPE_NAMES.get(str(getattr(member, "local_name", "")))


def find_concerned_element(error: Any) -> Any:
    """Return the element that an error is about: the child at a wrong place, else the element itself."""
    child = getattr(error, "invalid_child", None) if getattr(error, "invalid_tag", None) else None
    if (
        child is None
        or not isinstance(child.tag, str)
        or _has_name_of_child(error, _list_expected_names(error))
    ):
        return error.elem
    return child


def _list_expected_names(error: Any) -> list[str]:
    """Return the names of the children that were expected."""
    return [str(particle.name) for particle in error.expected or () if getattr(particle, "name", None)]


def _has_name_of_child(error: Any, expected_tags: Sequence[str]) -> bool:
    """Return whether the parent is the gateway's wrapper with the local name of the element expected in it.

    Then the inner element has the namespace of the gateway by mistake.
    """
    parent = str(getattr(error.obj, "tag", ""))
    return parent not in expected_tags and any(
        _read_local_name(name) == _read_local_name(parent) for name in expected_tags
    )


def _describe_wrong_child(error: Any) -> str | None:
    """Return the words for an unexpected or a missing child; None if it is not known which one is missing."""
    expected_tags = _list_expected_names(error)
    if error.invalid_tag is None:
        parent = _read_local_name(str(getattr(error.obj, "tag", "")))
        names = describe_choices([_read_local_name(name) for name in expected_tags])
        return f"{parent} is not complete; expected is {names} next" if expected_tags else None
    if _has_name_of_child(error, expected_tags):
        return describe_unexpected_element(str(error.obj.tag), expected_tags)
    tag = str(error.invalid_tag)
    if not expected_tags:
        expected_tags = list(_list_wildcard_names(error.validator, _read_local_name(tag)))
    return describe_unexpected_element(tag, expected_tags)


def _list_wildcard_names(group: Any, local_name: str) -> Iterator[str]:
    """Yield the known elements with a local name that the wildcards of a group accept.

    xmlschema does not list wildcards among the expected elements.
    """
    for particle in group.iter_elements():
        if getattr(particle, "process_contents", None) is None:
            continue
        for namespace in particle.namespace:
            if f"{{{namespace}}}{local_name}" in group.maps.elements:
                yield f"{{{namespace}}}{local_name}"


def describe_libxml_violation(message: str) -> str:
    """Return the description of a message of libxml2: the value and the expectation."""
    unexpected_match = _UNEXPECTED_ELEMENT.fullmatch(message.strip())
    if unexpected_match is not None:
        namespace, expected_names = unexpected_match["space"] or "", unexpected_match["set"].split(", ")
        tag = f"{{{namespace}}}{unexpected_match['name']}" if namespace else unexpected_match["name"]
        return describe_unexpected_element(tag, expected_names)
    for before, between, after, describe in _REFUSED_VALUE_TEXTS:
        # The expectation is from the schema and contains none of these texts; the value may contain them.
        heading_and_value, middle, expected = message.strip().rpartition(between)
        heading, opening, value = heading_and_value.partition(before)
        if middle and opening and expected.removesuffix(".").endswith(after):
            expectation = describe(expected.removesuffix(".").removesuffix(after))
            heading = heading if opening.startswith("[") else f"{heading}: "
            return f"{_clean_text(heading)}{quote_value(value)} is not allowed; expected is {expectation}"
    return _clean_text(message)


def _clean_text(text: str) -> str:
    """Return a message of a library without namespaces and names of classes, cut if it is long."""
    text = text if len(text) <= _MAX_TEXT_LENGTH else f"{text[:_MAX_TEXT_LENGTH]}…"
    for pattern, replacement in _LIBRARY_FORMS:
        text = pattern.sub(replacement, text)
    return text


def _read_local_name(tag: str) -> str:
    return tag.rpartition("}")[2]


def _read_namespace(tag: str) -> str:
    return tag[1:].rpartition("}")[0] if tag.startswith("{") else ""
