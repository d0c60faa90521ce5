"""Writes plain values as JSON and reads them back: arrays where a mapping repeats, exact numbers."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from gateway.harmonize.carriers.document_nodes import DocumentNode, is_numeric
from gateway.harmonize.carriers.plain_values import TEXT, PlainValue, make_carried_error

__all__ = ["read_json", "write_json"]

#: A number as JSON writes it, without exponent: its literal is the text of the value, digit by digit.
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,59})(?:\.[0-9]{1,60})?")
#: The whole document, as RFC 6901 section 6 writes the pointer to it.
_WHOLE: Final = "#"
_encode: Final = json.JSONEncoder(ensure_ascii=False).encode


def write_json(document: str, node: DocumentNode, value: PlainValue, *, exact: bool) -> bytes:
    """Return the JSON of a document; with `exact` numbers are numbers, else strings."""
    text = _write_value(node, value, exact=exact)
    return f'{{"document":{_encode(document)},{_encode(node.name)}:{text}}}\n'.encode()


def _write_value(node: DocumentNode, value: PlainValue, *, exact: bool) -> str:
    if node.leaf and not node.attributes:
        return _write_text(value, exact and node.numeric)
    parts = []
    for name, one in value.items():
        if name == TEXT:
            text = _write_text(one, exact and node.numeric)
        elif name.startswith("@"):
            text = _write_text(one, exact and is_numeric(node.attributes[name[1:]]))
        elif isinstance(one, list):
            rows = (_write_value(node.children[name], row, exact=exact) for row in one)
            text = f"[{','.join(rows)}]"
        else:
            text = _write_value(node.children[name], one, exact=exact)
        parts.append(f"{_encode(name)}:{text}")
    return f"{{{','.join(parts)}}}"


def _write_text(text: str, exact: bool) -> str:
    """Return a number as it stands where JSON has the same literal, else a string: both are read alike."""
    return text if exact and _NUMBER.fullmatch(text) else _encode(text)


def read_json(octets: bytes, document: str, node: DocumentNode) -> PlainValue:
    """Return the plain value of the root; raise GW718 for octets that are no JSON of this document."""
    try:
        found: Any = json.loads(
            octets.decode("utf-8"),
            object_pairs_hook=_make_table,
            parse_int=str,
            parse_float=str,
            parse_constant=_Constant,
        )
    except UnicodeDecodeError as error:
        raise make_carried_error("the octets are no UTF-8", f"octet {error.start}") from error
    except json.JSONDecodeError as error:
        raise make_carried_error(
            f"no JSON: {error.msg}", f"line {error.lineno}, column {error.colno}"
        ) from error
    except RecursionError as error:
        raise make_carried_error("the JSON is too deep", _WHOLE) from error
    _reject_faults(found)
    if not isinstance(found, dict) or set(found) != {"document", node.name}:
        raise make_carried_error(f"an object with document and {node.name} is expected", _WHOLE)
    if found["document"] != document:
        raise make_carried_error(f"the document is not {document}", "/document")
    return found[node.name]


class _Table(dict[str, Any]):
    """An object, with the first name that stands twice in it."""

    repeated: str | None = None


class _Constant(str):
    """A word that is no number: NaN or Infinity."""


def _make_table(pairs: list[tuple[str, Any]]) -> _Table:
    table = _Table(pairs)
    if len(table) != len(pairs):
        table.repeated = _find_repeated(pairs)
    return table


def _find_repeated(pairs: list[tuple[str, Any]]) -> str:
    """Return the first name that stands again, in one pass: an object may have many names."""
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            break
        seen.add(name)
    return name


def _reject_faults(found: Any) -> None:
    """Raise GW718 at the pointer of a name that stands twice, or of a constant, wherever it stands."""
    waiting = [("", found)]
    while waiting:
        place, value = waiting.pop()
        if isinstance(value, _Table):
            if value.repeated is not None:
                raise make_carried_error(
                    "a name stands twice in one object", f"{place}/{_escape(value.repeated)}"
                )
            waiting += [(f"{place}/{_escape(name)}", one) for name, one in value.items()]
        elif isinstance(value, list):
            waiting += [(f"{place}/{number}", one) for number, one in enumerate(value)]
        elif isinstance(value, _Constant):
            raise make_carried_error(f"{value} is no number", place or _WHOLE)


def _escape(name: str) -> str:
    """Return the start of a name as a part of a JSON pointer (RFC 6901 section 3)."""
    return name[:60].replace("~", "~0").replace("/", "~1")
