"""What is no YAML is told with its line, and with the character where YAML does not allow one."""

from __future__ import annotations

import pytest

from gateway.errors import GatewayError
from gateway.wire import read_yaml


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"a: 1\nb: 2\nc: x\x07y\n", "expected characters that YAML allows, found U+0007 at f.yaml:3"),
        (b"a: [1, 2\nb: 3\n", "expected one well-formed YAML document, found no ',' or ']' at f.yaml:2"),
    ],
)
def test_what_is_no_yaml_is_told_at_its_line(content: bytes, told: str) -> None:
    with pytest.raises(GatewayError, match="GW502") as caught:
        read_yaml(content, "f.yaml")
    assert told in str(caught.value)
