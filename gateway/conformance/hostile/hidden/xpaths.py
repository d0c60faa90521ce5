"""The XPath transform of ebMS 2.0 in other words, so that a signature sees less than it must (SIG-22)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lxml import etree

from gateway.conformance.hostile.alterations import (
    NEXT,
    NEXT_MSH,
    Alteration,
    all_of,
    at,
    doubled,
    name_of,
    removed,
    replaced_text,
    text_set,
)
from gateway.conformance.hostile.case import Case
from gateway.conformance.hostile.tampered import TRANSFORMS, by_sender

if TYPE_CHECKING:
    pass

__all__ = ["CASES"]

_XPATH: Final = "//ds:XPath"

_WRITTEN: Final = "ebMS 2.0 §4.1.3 gives the expression word for word; no published test"


def _expression(new: str) -> Alteration:
    return text_set(_XPATH, new)


def _in_other_namespace(root: etree._Element) -> None:
    at(root, _XPATH).tag = name_of("x:XPath")


_XPATHS: Final = tuple(
    by_sender(f"SIG-22.{name}", title, change, "GW202", _WRITTEN, digests="written", naive=naive_takes)
    for name, title, change, naive_takes in (
        (
            "no-manifest",
            "the XPath leaves out the Manifest",
            replaced_text(_XPATH, lambda text: f"not(ancestor-or-self::eb:Manifest) and {text}"),
            True,
        ),
        (
            "no-header",
            "the XPath leaves out the Header",
            replaced_text(_XPATH, lambda text: f"not(ancestor-or-self::soap:Header) and {text}"),
            True,
        ),
        (
            "no-body",
            "the XPath leaves out the Body",
            replaced_text(_XPATH, lambda text: f"{text} and not(ancestor-or-self::soap:Body)"),
            True,
        ),
        ("nothing", "the XPath leaves out everything", _expression("false()"), True),
        ("everything", "the XPath leaves out nothing", _expression("true()"), True),
        (
            "another-actor",
            "the XPath leaves out what is for the To party",
            replaced_text(_XPATH, lambda text: text.replace("nextMSH", "toPartyMSH")),
            True,
        ),
        (
            "one-actor",
            "the XPath leaves out one of the two actors only",
            _expression(f'not(ancestor-or-self::node()[@soap:actor="{NEXT}"])'),
            True,
        ),
        (
            "self",
            "the XPath looks at the element alone, not at those around it",
            replaced_text(_XPATH, lambda text: text.replace("ancestor-or-self", "self")),
            True,
        ),
        (
            "twice-negated",
            "the XPath is negated twice",
            replaced_text(_XPATH, lambda text: f"not(not({text}))"),
            True,
        ),
        (
            "parentheses",
            "the XPath stands in parentheses",
            replaced_text(_XPATH, lambda text: f"({text})"),
            True,
        ),
        (
            "union-swapped",
            "the two actors in the other order",
            _expression(
                f'not(ancestor-or-self::node()[@soap:actor="{NEXT}"]'
                f' | ancestor-or-self::node()[@soap:actor="{NEXT_MSH}"])'
            ),
            True,
        ),
        (
            "always",
            "the XPath with 'or true()' behind it",
            replaced_text(_XPATH, lambda text: f"{text} or true()"),
            True,
        ),
        (
            "prefix-elsewhere",
            "the prefix of the XPath is bound to another namespace",
            replaced_text(_XPATH, lambda text: text.replace("soap:", "ds:")),
            True,
        ),
        (
            "prefix-unbound",
            "the prefix of the XPath is not bound",
            replaced_text(_XPATH, lambda text: text.replace("soap:", "nobody:")),
            False,
        ),
        ("document", "the XPath asks for a file", _expression("document('file:///etc/passwd')"), False),
        ("here", "the XPath uses here()", _expression("here()/ancestor::soap:Envelope"), False),
        ("variable", "the XPath has a variable", _expression("$x"), False),
        ("no-expression", "the XPath is none", _expression("not(§)"), False),
        ("empty", "the XPath is empty", _expression(""), False),
        (
            "costly",
            "the XPath counts all nodes for each node",
            _expression("count(//node()[count(//node()) > 0]) > 0"),
            True,
        ),
        (
            "megabyte",
            "the XPath is followed by half a megabyte of spaces",
            replaced_text(_XPATH, lambda text: text + " " * 2**19),
            True,
        ),
        (
            "deep",
            "the XPath stands in a thousand parentheses",
            replaced_text(_XPATH, lambda text: "(" * 1000 + text + ")" * 1000),
            False,
        ),
        ("twice", "the XPath transform stands twice", doubled(f"{TRANSFORMS}/ds:Transform[ds:XPath]"), True),
        (
            "two-expressions",
            "two XPath elements in one transform, the second leaves out the Body",
            all_of(
                doubled(_XPATH),
                lambda root: setattr(at(root, f"({_XPATH})[2]"), "text", "not(ancestor-or-self::soap:Body)"),
            ),
            True,
        ),
        ("other-namespace", "the XPath element is of another namespace", _in_other_namespace, True),
        ("missing", "the XPath transform has no XPath", removed(_XPATH), False),
    )
)

CASES: Final[tuple[Case, ...]] = (*_XPATHS,)
