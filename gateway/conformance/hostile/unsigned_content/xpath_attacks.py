"""The XPath transform of ebMS 2.0 in other words, so that a signature sees less than it must (SIG-22)."""

from __future__ import annotations

from typing import Final

from lxml import etree

from gateway.conformance.hostile.attack_case import AttackCase
from gateway.conformance.hostile.case_builders import TRANSFORMS, make_sender_attack
from gateway.conformance.hostile.tree_mutations import (
    NEXT,
    NEXT_MSH,
    TreeMutation,
    combine_mutations,
    duplicate_element,
    expand_name,
    get_element,
    remove_element,
    replace_text,
    set_text,
)

__all__ = ["CASES"]

_XPATH: Final = "//ds:XPath"

_WRITTEN: Final = "ebMS 2.0 §4.1.3 gives the expression word for word; no published test"


def _set_expression(new: str) -> TreeMutation:
    return set_text(_XPATH, new)


def _change_xpath_namespace(root: etree._Element) -> None:
    get_element(root, _XPATH).tag = expand_name("x:XPath")


_XPATHS: Final = tuple(
    make_sender_attack(
        f"SIG-22.{name}", title, change, "GW202", _WRITTEN, digests="written", naive=naive_takes
    )
    for name, title, change, naive_takes in (
        (
            "no-manifest",
            "the XPath leaves out the Manifest",
            replace_text(_XPATH, lambda text: f"not(ancestor-or-self::eb:Manifest) and {text}"),
            True,
        ),
        (
            "no-header",
            "the XPath leaves out the Header",
            replace_text(_XPATH, lambda text: f"not(ancestor-or-self::soap:Header) and {text}"),
            True,
        ),
        (
            "no-body",
            "the XPath leaves out the Body",
            replace_text(_XPATH, lambda text: f"{text} and not(ancestor-or-self::soap:Body)"),
            True,
        ),
        ("nothing", "the XPath leaves out everything", _set_expression("false()"), True),
        ("everything", "the XPath leaves out nothing", _set_expression("true()"), True),
        (
            "another-actor",
            "the XPath leaves out what is for the To party",
            replace_text(_XPATH, lambda text: text.replace("nextMSH", "toPartyMSH")),
            True,
        ),
        (
            "one-actor",
            "the XPath leaves out one of the two actors only",
            _set_expression(f'not(ancestor-or-self::node()[@soap:actor="{NEXT}"])'),
            True,
        ),
        (
            "self",
            "the XPath looks at the element alone, not at those around it",
            replace_text(_XPATH, lambda text: text.replace("ancestor-or-self", "self")),
            True,
        ),
        (
            "twice-negated",
            "the XPath is negated twice",
            replace_text(_XPATH, lambda text: f"not(not({text}))"),
            True,
        ),
        (
            "parentheses",
            "the XPath stands in parentheses",
            replace_text(_XPATH, lambda text: f"({text})"),
            True,
        ),
        (
            "union-swapped",
            "the two actors in the other order",
            _set_expression(
                f'not(ancestor-or-self::node()[@soap:actor="{NEXT}"]'
                f' | ancestor-or-self::node()[@soap:actor="{NEXT_MSH}"])'
            ),
            True,
        ),
        (
            "always",
            "the XPath with 'or true()' behind it",
            replace_text(_XPATH, lambda text: f"{text} or true()"),
            True,
        ),
        (
            "prefix-elsewhere",
            "the prefix of the XPath is bound to another namespace",
            replace_text(_XPATH, lambda text: text.replace("soap:", "ds:")),
            True,
        ),
        (
            "prefix-unbound",
            "the prefix of the XPath is not bound",
            replace_text(_XPATH, lambda text: text.replace("soap:", "nobody:")),
            False,
        ),
        ("document", "the XPath asks for a file", _set_expression("document('file:///etc/passwd')"), False),
        ("here", "the XPath uses here()", _set_expression("here()/ancestor::soap:Envelope"), False),
        ("variable", "the XPath has a variable", _set_expression("$x"), False),
        ("no-expression", "the XPath is none", _set_expression("not(§)"), False),
        ("empty", "the XPath is empty", _set_expression(""), False),
        (
            "costly",
            "the XPath counts all nodes for each node",
            _set_expression("count(//node()[count(//node()) > 0]) > 0"),
            True,
        ),
        (
            "megabyte",
            "the XPath is followed by half a megabyte of spaces",
            replace_text(_XPATH, lambda text: text + " " * 2**19),
            True,
        ),
        (
            "deep",
            "the XPath stands in a thousand parentheses",
            replace_text(_XPATH, lambda text: "(" * 1000 + text + ")" * 1000),
            False,
        ),
        (
            "twice",
            "the XPath transform stands twice",
            duplicate_element(f"{TRANSFORMS}/ds:Transform[ds:XPath]"),
            True,
        ),
        (
            "two-expressions",
            "two XPath elements in one transform, the second leaves out the Body",
            combine_mutations(
                duplicate_element(_XPATH),
                lambda root: setattr(
                    get_element(root, f"({_XPATH})[2]"), "text", "not(ancestor-or-self::soap:Body)"
                ),
            ),
            True,
        ),
        ("other-namespace", "the XPath element is of another namespace", _change_xpath_namespace, True),
        ("missing", "the XPath transform has no XPath", remove_element(_XPATH), False),
    )
)

CASES: Final[tuple[AttackCase, ...]] = (*_XPATHS,)
