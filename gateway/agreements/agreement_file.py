"""Reads an agreement from its YAML file, strictly.

YAML is used only as a notation for nested text: every scalar is a string until this module
converts it, and there are no anchors, tags, merges or second documents. Each refusal names
file and line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NoReturn, TypeVar

import yaml

from gateway.agreements.agreement_rules import AgreementDocument
from gateway.agreements.pmode import GZIP, PMode, parse_instant
from gateway.agreements.pmode_index import PModeIndex
from gateway.agreements.pmode_values import (
    ConversationLimits,
    Encryption,
    PackagedPart,
    Packaging,
    PullTerms,
    Reliability,
    Security,
    TransportTerms,
    find_endpoint_fault,
    require_condition,
)
from gateway.errors import MISUSE, GatewayError, describe_exception
from gateway.message_model import PartyId

__all__ = ["read_agreement", "read_pmodes"]

_MAX_BYTES: Final = 1 << 20
_MAX_DEPTH: Final = 12
_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class _YamlNode:
    """A string, a list or a mapping of the file, with its line."""

    value: str | list[_YamlNode] | dict[str, _YamlNode]
    file: str
    line: int

    def raise_problem(self, detail: str) -> NoReturn:
        raise GatewayError(MISUSE, detail, f"{self.file}:{self.line}")

    def read_text(self) -> str:
        if not isinstance(self.value, str) or not self.value:
            self.raise_problem("a text is expected here")
        return self.value

    def read_list(self) -> list[_YamlNode]:
        if not isinstance(self.value, list) or not self.value:
            self.raise_problem("a list is expected here")
        return self.value

    def read_fields(self, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> dict[str, _YamlNode]:
        fields = self.read_mapping()
        for name in required:
            if name not in fields:
                self.raise_problem(f"{name!r} is missing")
        for name, node in fields.items():
            if name not in required and name not in optional:
                node.raise_problem(
                    f"{name[:60]!r} is not a key here; known are {', '.join((*required, *optional))}"
                )
        return fields

    def read_mapping(self) -> dict[str, _YamlNode]:
        if not isinstance(self.value, dict):
            self.raise_problem("a mapping is expected here")
        return self.value

    def read_integer(self) -> int:
        text = self.read_text()
        if not (text.isascii() and text.isdigit() and len(text) <= 9):
            self.raise_problem(f"{text[:60]!r} is not a whole number")
        return int(text)

    def read_boolean(self) -> bool:
        text = self.read_text()
        if text not in ("true", "false"):
            self.raise_problem(f"{text[:60]!r} is neither true nor false")
        return text == "true"

    def read_instant(self) -> datetime:
        return parse_instant(self.read_text(), f"{self.file}:{self.line}")

    def build_located(self, make: Callable[[], _Value]) -> _Value:
        """Return what `make` returns; add the file and line of this node to a refusal."""
        try:
            return make()
        except GatewayError as refused:
            if refused.location.startswith(f"{self.file}:"):
                raise
            where = f"{self.file}:{self.line}" + (f" ({refused.location})" if refused.location else "")
            raise GatewayError(MISUSE, refused.detail, where) from refused


class _StrictLoader(yaml.BaseLoader):
    """Composes nodes; refuses aliases, anchors, tags and excessive nesting."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        line = event.start_mark.line + 1
        if getattr(event, "anchor", None) is not None:
            raise GatewayError(MISUSE, "anchors and aliases are not read", f"{self.name}:{line}")
        if getattr(event, "tag", None) is not None:
            raise GatewayError(MISUSE, "tags are not read", f"{self.name}:{line}")
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise GatewayError(MISUSE, "nested too deeply", f"{self.name}:{line}")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def _parse_yaml(data: bytes, filename: str) -> _YamlNode:
    if len(data) > _MAX_BYTES:
        raise GatewayError(MISUSE, "an agreement file is at most 1 MB", filename)
    try:
        loader = _StrictLoader(data.decode("utf-8"))
        loader.name = filename
        tree = loader.get_single_node()
    except (yaml.YAMLError, UnicodeDecodeError) as mistake:
        mark = getattr(mistake, "problem_mark", None)
        where = f"{filename}:{mark.line + 1}" if mark else filename
        raise GatewayError(
            MISUSE, f"not YAML: {getattr(mistake, 'problem', None) or describe_exception(mistake)}", where
        ) from mistake
    if tree is None:
        raise GatewayError(MISUSE, "the file is empty", f"{filename}:1")
    return _convert_yaml_node(tree, filename)


def _convert_yaml_node(tree: Any, filename: str) -> _YamlNode:
    line = tree.start_mark.line + 1
    if isinstance(tree, yaml.ScalarNode):
        return _YamlNode(tree.value, filename, line)
    if isinstance(tree, yaml.SequenceNode):
        return _YamlNode([_convert_yaml_node(one, filename) for one in tree.value], filename, line)
    fields: dict[str, _YamlNode] = {}
    for key, value in tree.value:
        where = f"{filename}:{key.start_mark.line + 1}"
        if not isinstance(key, yaml.ScalarNode):
            raise GatewayError(MISUSE, "a key is a text", where)
        if key.value in fields:
            raise GatewayError(MISUSE, f"key {key.value[:60]!r} is written twice", where)
        fields[key.value] = _convert_yaml_node(value, filename)
    return _YamlNode(fields, filename, line)


@dataclass(frozen=True, slots=True)
class _AgreementParty:
    """One party of the file."""

    ids: tuple[PartyId, ...]
    role: str | None = None
    endpoint: str | None = None
    certificates: tuple[str, ...] = ()
    authentication: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _AgreementTerms:
    """The terms of every P-Mode of the file, unless the P-Mode itself has others."""

    agreement: str
    protocol: str
    valid_from: datetime
    valid_until: datetime
    sides: dict[str, _AgreementParty]
    defaults: dict[str, _YamlNode] = field(default_factory=dict)
    conversations: ConversationLimits = field(default_factory=ConversationLimits)
    agreement_type: str | None = None


def _read_optional_text(fields: dict[str, _YamlNode], name: str) -> str | None:
    return fields[name].read_text() if name in fields else None


def _read_party(node: _YamlNode) -> _AgreementParty:
    fields = node.read_fields(("ids",), ("role", "endpoint", "certificates", "authentication"))
    ids = []
    for one in fields["ids"].read_list():
        parts = one.read_fields(("value",), ("type",))
        ids.append(PartyId(parts["value"].read_text(), _read_optional_text(parts, "type")))
    listed = {
        name: tuple(one.read_text() for one in fields[name].read_list()) if name in fields else ()
        for name in ("certificates", "authentication")
    }
    endpoint = _read_optional_text(fields, "endpoint")
    if endpoint is not None and (fault := find_endpoint_fault(endpoint)):
        fields["endpoint"].raise_problem(f"the endpoint {fault}")
    return _AgreementParty(
        tuple(ids),
        _read_optional_text(fields, "role"),
        endpoint,
        **listed,
    )


_RELIABILITY: Final = tuple(Reliability.__dataclass_fields__)
_WORDS: Final = ("ack_requested", "ack_signed", "duplicate_elimination", "ack_actor")
_MODES: Final = ("security", "reliability", "encryption", "compression", "sync_reply_mode")
_ENCRYPTION: Final = ("protocol", "algorithms", "certificate", "policy")
_STRONGEST: Final = "http://www.w3.org/2009/xmlenc11#aes256-gcm"
_COMPRESSED: Final = Packaging(
    "Compressed",
    "multipart/related",
    (PackagedPart("Payload", "application/xml", inside=(GZIP,)),),
)


def _merge_defaults(
    terms: _AgreementTerms, own: dict[str, _YamlNode], name: str, keys: tuple[str, ...]
) -> dict[str, _YamlNode]:
    """Return the keys of group `name`; the P-Mode's own keys override the defaults of the file."""
    merged: dict[str, _YamlNode] = {}
    for layer in (terms.defaults, own):
        if name in layer:
            merged.update(layer[name].read_fields((), keys))
    return merged


def _read_security(
    terms: _AgreementTerms, own: dict[str, _YamlNode], sender: _AgreementParty, receiver: _AgreementParty
) -> Security:
    fields = _merge_defaults(terms, own, "security", ("sign", "policy", "sign_status", "mutual_tls"))
    return Security(
        sign=fields["sign"].read_boolean() if "sign" in fields else True,
        policy=_read_optional_text(fields, "policy") or "strict",
        mutual_tls=fields["mutual_tls"].read_boolean() if "mutual_tls" in fields else False,
        sign_status=fields["sign_status"].read_boolean() if "sign_status" in fields else True,
        certificates=sender.certificates,
        reply_certificates=receiver.certificates,
    )


def _read_reliability(terms: _AgreementTerms, own: dict[str, _YamlNode]) -> Reliability:
    fields = _merge_defaults(terms, own, "reliability", _RELIABILITY)
    values: dict[str, Any] = {}
    for name, node in fields.items():
        if name == "message_order":
            values[name] = node.read_boolean()
        else:
            values[name] = node.read_text() if name in _WORDS else node.read_integer()
    found = Reliability(**values)
    require_condition(
        found.persists_long_enough,
        "persist_duration must last for all repeats: (retries + 1) x retry_interval",
        "reliability/persist_duration",
    )
    return found


def _read_encryption(terms: _AgreementTerms, own: dict[str, _YamlNode]) -> Encryption | None:
    """Return how payloads are encrypted, None where nothing says that they are."""
    fields = _merge_defaults(terms, own, "encryption", _ENCRYPTION)
    if not fields:
        return None
    algorithms = fields["algorithms"].read_list() if "algorithms" in fields else []
    return Encryption(
        _read_optional_text(fields, "protocol") or "XMLENC",
        tuple(one.read_text() for one in algorithms) or (_STRONGEST,),
        _read_optional_text(fields, "certificate"),
        policy=_read_optional_text(fields, "policy") or "strict",
    )


def _read_compression(terms: _AgreementTerms, own: dict[str, _YamlNode]) -> Packaging | None:
    node = own.get("compression") or terms.defaults.get("compression")
    method = node.read_text() if node is not None else "none"
    require_condition(method in ("none", "gzip"), "compression is gzip or none", "compression")
    return _COMPRESSED if method == "gzip" else None


def _read_service(node: _YamlNode) -> tuple[str, str | None]:
    if isinstance(node.value, str):
        return node.read_text(), None
    fields = node.read_fields(("value", "type"))
    return fields["value"].read_text(), fields["type"].read_text()


def _find_pmode_parties(
    fields: dict[str, _YamlNode], terms: _AgreementTerms
) -> tuple[_AgreementParty, _AgreementParty]:
    sides = []
    for name in ("from", "to"):
        key = fields[name].read_text()
        if key not in terms.sides:
            fields[name].raise_problem(f"{key[:60]!r} is not one of the parties of this file")
        sides.append(terms.sides[key])
    return sides[0], sides[1]


def _read_pmode(node: _YamlNode, terms: _AgreementTerms) -> PMode:
    fields = node.read_fields(
        ("id", "from", "to", "service", "action"),
        (*_MODES, "deliver_to", "mpc", "mep", "reply_pattern", "pull"),
    )
    sender, receiver = _find_pmode_parties(fields, terms)
    service, service_type = _read_service(fields["service"])
    mode = fields.get("sync_reply_mode") or terms.defaults.get("sync_reply_mode")
    return node.build_located(
        lambda: PMode(
            id=fields["id"].read_text(),
            agreement=terms.agreement,
            protocol=terms.protocol,
            from_party=sender.ids,
            from_role=sender.role,
            to_party=receiver.ids,
            to_role=receiver.role,
            service=service,
            service_type=service_type,
            action=fields["action"].read_text(),
            valid_from=terms.valid_from,
            valid_until=terms.valid_until,
            security=_read_security(terms, fields, sender, receiver),
            reliability=_read_reliability(terms, fields),
            encryption=_read_encryption(terms, fields),
            packaging=_read_compression(terms, fields),
            sync_reply_mode=mode.read_text() if mode else "none",
            conversations=terms.conversations,
            endpoint=receiver.endpoint,
            transport=TransportTerms(authentication=receiver.authentication),
            reply_endpoint=sender.endpoint,
            deliver_to=_read_optional_text(fields, "deliver_to") or "mailbox",
            mpc=_read_optional_text(fields, "mpc"),
            mep=_read_optional_text(fields, "mep") or "two-way",
            agreement_type=terms.agreement_type,
            reply_pattern=_read_optional_text(fields, "reply_pattern") or "response",
            pull=_read_pull(fields),
        )
    )


def _read_pull(fields: dict[str, _YamlNode]) -> PullTerms | None:
    if "pull" not in fields:
        return None
    node = fields["pull"]
    terms = node.read_fields(("authorization",), ("sub_channel",))
    return node.build_located(
        lambda: PullTerms(terms["authorization"].read_text(), _read_optional_text(terms, "sub_channel"))
    )


def _read_limits(fields: dict[str, _YamlNode]) -> ConversationLimits:
    if "conversations" not in fields:
        return ConversationLimits()
    node = fields["conversations"]
    limits = node.read_fields((), ("invocations", "concurrent"))
    return node.build_located(
        lambda: ConversationLimits(**{name: limit.read_integer() for name, limit in limits.items()})
    )


def _read_terms(fields: dict[str, _YamlNode]) -> _AgreementTerms:
    parties = fields["parties"]
    sides = {name: _read_party(side) for name, side in parties.read_mapping().items()}
    if len(sides) != 2:
        parties.raise_problem("an agreement has two parties")
    return _AgreementTerms(
        agreement=fields["agreement"].read_text(),
        protocol=_read_optional_text(fields, "protocol") or "ebms2",
        valid_from=fields["valid_from"].read_instant(),
        valid_until=fields["valid_until"].read_instant(),
        sides=sides,
        defaults=fields["defaults"].read_fields((), _MODES) if "defaults" in fields else {},
        conversations=_read_limits(fields),
        agreement_type=_read_optional_text(fields, "agreement_type"),
    )


def read_pmodes(data: bytes, filename: str) -> tuple[PMode, ...]:
    """Return the P-Modes of one agreement file; raises GW808 with file and line."""
    return read_agreement(data, filename).pmodes


def read_agreement(data: bytes, filename: str) -> AgreementDocument:
    """Return the P-Modes of an agreement file with the lines of its parts; raises GW808 with the line."""
    root = _parse_yaml(data, filename)
    fields = root.read_fields(
        ("agreement", "valid_from", "valid_until", "parties", "pmodes"),
        ("protocol", "defaults", "conversations", "agreement_type"),
    )
    terms = _read_terms(fields)
    nodes = fields["pmodes"].read_list()
    pmodes = tuple(_read_pmode(node, terms) for node in nodes)
    # The index refuses two P-Modes with one id, or for the same messages.
    fields["pmodes"].build_located(lambda: PModeIndex(pmodes))
    places = {part: f"{filename}:{node.line}" for part, node in _list_parts(fields)}
    return AgreementDocument(pmodes, filename, places)


def _list_parts(fields: dict[str, _YamlNode]) -> Iterator[tuple[tuple[str, str], _YamlNode]]:
    """Yield the parts of a file that has been read, each with the node where it begins."""
    for name, node in fields.items():
        yield (name, ""), node
    for side in fields["parties"].read_mapping().values():
        party = side.read_mapping()
        ids = [(one.read_mapping()["value"].read_text(), one) for one in party["ids"].read_list()]
        for value, node in ids:
            yield ("party", value), node
        for name in ("endpoint", "certificates"):
            if name in party:
                yield (name, ids[0][0]), party[name]
    for node in fields["pmodes"].read_list():
        yield ("pmode", node.read_mapping()["id"].read_text()), node
