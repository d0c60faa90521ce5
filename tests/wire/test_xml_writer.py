"""What is written as text is canonical as it stands, and reads back as the value it was given."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from gateway.errors import GatewayError
from gateway.wire import canonicalize_document, write_attribute, write_element, write_leaf

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
