"""What is written as text is canonical as it stands, and reads back as the value it was given."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from gateway.errors import GatewayError
from gateway.wire import canonicalize_document, write_attribute, write_element, write_leaf
from tests.kit.source_tree import get_place, list_sources, walk_source

VALUES = st.text(
    st.one_of(
        st.sampled_from("&<>\"'\t\n\r]] \u00a0\u2028\ud7ff\ue000\ufffd\U0001f600"),
        st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="\ufffe\uffff"),
    )
)


@pytest.mark.long
@given(VALUES, VALUES)
def test_any_value_is_canonical_and_reads_back(value: str, other: str) -> None:
    text = write_element("a", write_leaf("b", value) + write_leaf("c", "", write_attribute("d", other)))
    root = etree.fromstring(text.encode())
    assert canonicalize_document(root) == text.encode()
    assert (root[0].text or "", root[1].get("d")) == (value, other)


@pytest.mark.parametrize("code", [0x0, 0x8, 0xB, 0xC, 0x1F, 0xD800, 0xDFFF, 0xFFFE, 0xFFFF], ids=hex)
def test_what_no_document_can_hold_is_refused(code: int) -> None:
    with pytest.raises(GatewayError, match="GW901"):
        write_leaf("a", f"x{chr(code)}")
    with pytest.raises(GatewayError, match="GW901"):
        write_attribute("a", f"x{chr(code)}")


def list_calls_without_encoding(nodes: Iterator[ast.AST]) -> Iterator[int]:
    """Yield the line of each `tostring` that writes ASCII, which has no form for a name such as 시험."""
    for node in nodes:
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "tostring":
            keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            if "encoding" not in keywords and keywords.get("method") != "'c14n'":
                yield node.lineno


def test_a_tree_is_written_in_a_stated_encoding() -> None:
    places = [
        f"{get_place(path)}:{line}"
        for path in list_sources()
        for line in list_calls_without_encoding(walk_source(path))
    ]
    assert places == []
    bare = "etree.tostring(root, with_tail=False)"
    assert list(list_calls_without_encoding(ast.walk(ast.parse(bare)))) == [1]
