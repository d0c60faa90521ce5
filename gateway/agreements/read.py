"""Reads an agreement from its YAML file, strictly.

YAML is used as a way to write nested text and no more: every scalar is a string until
this module gives it a type, and there are no anchors, tags, merges or second documents.
Each refusal names file and line.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NoReturn, TypeVar

import yaml

from gateway.agreements.book import AgreementBook
from gateway.agreements.pmode import PMode, Reliability, Security, instant
from gateway.errors import SETTINGS_WRONG, GatewayError
from gateway.model import PartyId

__all__ = ["read_pmodes"]

_MAX_BYTES: Final = 1 << 20
_MAX_DEPTH: Final = 12
_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class _Node:
    """A string, a list or a mapping of the file, with its line."""

    value: str | list[_Node] | dict[str, _Node]
    file: str
    line: int

    def wrong(self, detail: str) -> NoReturn:
        raise GatewayError(SETTINGS_WRONG, detail, f"{self.file}:{self.line}")

    def text(self) -> str:
        if not isinstance(self.value, str) or not self.value:
            self.wrong("a text is expected here")
        return self.value

    def items(self) -> list[_Node]:
        if not isinstance(self.value, list) or not self.value:
            self.wrong("a list is expected here")
        return self.value

    def fields(self, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> dict[str, _Node]:
        fields = self.entries()
        for name in required:
            if name not in fields:
                self.wrong(f"{name!r} is missing")
        for name, node in fields.items():
            if name not in required and name not in optional:
                node.wrong(f"{name[:60]!r} is not a key here; known are {', '.join((*required, *optional))}")
        return fields

    def entries(self) -> dict[str, _Node]:
        if not isinstance(self.value, dict):
            self.wrong("a mapping is expected here")
        return self.value

    def whole(self) -> int:
        text = self.text()
        if not (text.isascii() and text.isdigit() and len(text) <= 9):
            self.wrong(f"{text[:60]!r} is not a whole number")
        return int(text)

    def flag(self) -> bool:
        text = self.text()
        if text not in ("true", "false"):
            self.wrong(f"{text[:60]!r} is neither true nor false")
        return text == "true"

    def moment(self) -> datetime:
        return instant(self.text(), f"{self.file}:{self.line}")

    def built(self, make: Callable[[], _Value]) -> _Value:
        """Return what `make` returns; a refusal of it gets the file and line of this node."""
        try:
            return make()
        except GatewayError as refused:
            if refused.location.startswith(f"{self.file}:"):
                raise
            where = f"{self.file}:{self.line}" + (f" ({refused.location})" if refused.location else "")
            raise GatewayError(SETTINGS_WRONG, refused.detail, where) from refused


class _Loader(yaml.BaseLoader):
    """Composes nodes; refuses aliases and anchors, and what is nested too deeply."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        line = event.start_mark.line + 1
        if getattr(event, "anchor", None) is not None:
            raise GatewayError(SETTINGS_WRONG, "anchors and aliases are not read", f"{self.name}:{line}")
        if getattr(event, "tag", None) is not None:
            raise GatewayError(SETTINGS_WRONG, "tags are not read", f"{self.name}:{line}")
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise GatewayError(SETTINGS_WRONG, "nested too deeply", f"{self.name}:{line}")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def _compose(data: bytes, filename: str) -> _Node:
    if len(data) > _MAX_BYTES:
        raise GatewayError(SETTINGS_WRONG, "an agreement file is at most 1 MB", filename)
    try:
        loader = _Loader(data.decode("utf-8"))
        loader.name = filename
        tree = loader.get_single_node()
    except (yaml.YAMLError, UnicodeDecodeError) as mistake:
        mark = getattr(mistake, "problem_mark", None)
        where = f"{filename}:{mark.line + 1}" if mark else filename
        raise GatewayError(
            SETTINGS_WRONG, f"not YAML: {getattr(mistake, 'problem', None) or mistake}", where
        ) from mistake
    if tree is None:
        raise GatewayError(SETTINGS_WRONG, "the file is empty", f"{filename}:1")
    return _node(tree, filename)


def _node(tree: Any, filename: str) -> _Node:
    line = tree.start_mark.line + 1
    if isinstance(tree, yaml.ScalarNode):
        return _Node(tree.value, filename, line)
    if isinstance(tree, yaml.SequenceNode):
        return _Node([_node(one, filename) for one in tree.value], filename, line)
    fields: dict[str, _Node] = {}
    for key, value in tree.value:
        where = f"{filename}:{key.start_mark.line + 1}"
        if not isinstance(key, yaml.ScalarNode):
            raise GatewayError(SETTINGS_WRONG, "a key is a text", where)
        if key.value in fields:
            raise GatewayError(SETTINGS_WRONG, f"key {key.value[:60]!r} is written twice", where)
        fields[key.value] = _node(value, filename)
    return _Node(fields, filename, line)


@dataclass(frozen=True, slots=True)
class _Side:
    """One party of the file."""

    ids: tuple[PartyId, ...]
    role: str | None = None
    endpoint: str | None = None
    certificates: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Terms:
    """What holds for every P-Mode of the file unless it says otherwise."""

    agreement: str
    protocol: str
    valid_from: datetime
    valid_until: datetime
    sides: dict[str, _Side]
    defaults: dict[str, _Node] = field(default_factory=dict)


def _optional(fields: dict[str, _Node], name: str) -> str | None:
    return fields[name].text() if name in fields else None


def _side(node: _Node) -> _Side:
    fields = node.fields(("ids",), ("role", "endpoint", "certificates"))
    ids = []
    for one in fields["ids"].items():
        parts = one.fields(("value",), ("type",))
        ids.append(PartyId(parts["value"].text(), _optional(parts, "type")))
    pins = fields["certificates"].items() if "certificates" in fields else []
    return _Side(
        tuple(ids),
        _optional(fields, "role"),
        _optional(fields, "endpoint"),
        tuple(pin.text() for pin in pins),
    )


_RELIABILITY: Final = tuple(Reliability.__dataclass_fields__)
_MODES: Final = ("security", "reliability", "sync_reply_mode")


def _layers(terms: _Terms, own: dict[str, _Node], name: str, keys: tuple[str, ...]) -> dict[str, _Node]:
    """Return the keys of group `name`, the P-Mode's own before those of the file's defaults."""
    merged: dict[str, _Node] = {}
    for layer in (terms.defaults, own):
        if name in layer:
            merged.update(layer[name].fields((), keys))
    return merged


def _security(terms: _Terms, own: dict[str, _Node], sender: _Side, receiver: _Side) -> Security:
    fields = _layers(terms, own, "security", ("sign", "policy", "sign_status", "mutual_tls"))
    return Security(
        sign=fields["sign"].flag() if "sign" in fields else True,
        policy=_optional(fields, "policy") or "strict",
        mutual_tls=fields["mutual_tls"].flag() if "mutual_tls" in fields else False,
        sign_status=fields["sign_status"].flag() if "sign_status" in fields else True,
        certificates=sender.certificates,
        reply_certificates=receiver.certificates,
    )


def _reliability(terms: _Terms, own: dict[str, _Node]) -> Reliability:
    fields = _layers(terms, own, "reliability", _RELIABILITY)
    values: dict[str, Any] = {}
    for name, node in fields.items():
        words = name in ("ack_requested", "ack_signed", "duplicate_elimination")
        values[name] = node.text() if words else node.whole()
    return Reliability(**values)


def _service(node: _Node) -> tuple[str, str | None]:
    if isinstance(node.value, str):
        return node.text(), None
    fields = node.fields(("value", "type"))
    return fields["value"].text(), fields["type"].text()


def _ends(fields: dict[str, _Node], terms: _Terms) -> tuple[_Side, _Side]:
    sides = []
    for name in ("from", "to"):
        key = fields[name].text()
        if key not in terms.sides:
            fields[name].wrong(f"{key[:60]!r} is not one of the parties of this file")
        sides.append(terms.sides[key])
    return sides[0], sides[1]


def _pmode(node: _Node, terms: _Terms) -> PMode:
    fields = node.fields(("id", "from", "to", "service", "action"), (*_MODES, "deliver_to"))
    sender, receiver = _ends(fields, terms)
    service, service_type = _service(fields["service"])
    mode = fields.get("sync_reply_mode") or terms.defaults.get("sync_reply_mode")
    return node.built(
        lambda: PMode(
            id=fields["id"].text(),
            agreement=terms.agreement,
            protocol=terms.protocol,
            from_party=sender.ids,
            from_role=sender.role,
            to_party=receiver.ids,
            to_role=receiver.role,
            service=service,
            service_type=service_type,
            action=fields["action"].text(),
            valid_from=terms.valid_from,
            valid_until=terms.valid_until,
            security=_security(terms, fields, sender, receiver),
            reliability=_reliability(terms, fields),
            sync_reply_mode=mode.text() if mode else "none",
            endpoint=receiver.endpoint,
            reply_endpoint=sender.endpoint,
            deliver_to=_optional(fields, "deliver_to") or "mailbox",
        )
    )


def _terms(fields: dict[str, _Node]) -> _Terms:
    parties = fields["parties"]
    sides = {name: _side(side) for name, side in parties.entries().items()}
    if len(sides) != 2:
        parties.wrong("an agreement has two parties")
    return _Terms(
        agreement=fields["agreement"].text(),
        protocol=_optional(fields, "protocol") or "ebms2",
        valid_from=fields["valid_from"].moment(),
        valid_until=fields["valid_until"].moment(),
        sides=sides,
        defaults=fields["defaults"].fields((), _MODES) if "defaults" in fields else {},
    )


def read_pmodes(data: bytes, filename: str) -> tuple[PMode, ...]:
    """Return the P-Modes of one agreement file; raises GW801 with file and line."""
    root = _compose(data, filename)
    fields = root.fields(
        ("agreement", "valid_from", "valid_until", "parties", "pmodes"), ("protocol", "defaults")
    )
    terms = _terms(fields)
    nodes = fields["pmodes"].items()
    pmodes = tuple(_pmode(node, terms) for node in nodes)
    # The book refuses two P-Modes with one id, or for the same messages.
    fields["pmodes"].built(lambda: AgreementBook(pmodes))
    return pmodes
