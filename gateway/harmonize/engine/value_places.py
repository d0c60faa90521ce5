"""Finds from what in the submission a value of a request was made, by its place in the request."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from lxml import etree

from gateway.errors import GatewayError
from gateway.harmonize.submission import ValueOrigin

__all__ = ["find_value_origins"]

_CONDITION: Final = re.compile(r"\[[^\]]*\]")
_NAME: Final = re.compile(r"(?<=/)([A-Za-z_])")


def find_value_origins(
    xml: etree._Element, origins: Iterable[ValueOrigin], problems: Sequence[GatewayError]
) -> Iterator[ValueOrigin | None]:
    """Yield for each problem the origin of the value at its place in the request, None without any."""
    wanted = {_CONDITION.sub("", one.location) for one in problems}
    found: dict[str, list[ValueOrigin]] = {}
    for origin in origins:
        bare = _CONDITION.sub("", f"/{origin.target}")
        if bare in wanted:
            found.setdefault(bare, []).append(origin)
    nodes: dict[str, Mapping[Any, ValueOrigin]] = {}
    for bare, several in found.items():
        nodes[bare] = {_find_element(xml, f"/{one.target}"): one for one in reversed(several)}
    for problem in problems:
        own = nodes.get(_CONDITION.sub("", problem.location), {})
        yield own.get(_find_element(xml, problem.location))


def _find_element(xml: etree._Element, path: str) -> etree._Element | None:
    """Return the element of a path, or that of its attribute."""
    element = path.partition("/@")[0]
    steps = _NAME.sub(r"d:\1", element)
    try:
        found: Any = xml.xpath(steps, namespaces={"d": str(etree.QName(xml).namespace)})
    except etree.XPathError:  # a mapping may fix an attribute to what no XPath can quote
        return None
    return next((one for one in found if isinstance(one, etree._Element)), None)
