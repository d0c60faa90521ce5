"""Reads an agreement from its YAML file, strictly. Each refusal names file and line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from gateway.agreements.agreement_rules import AgreementDocument
from gateway.agreements.as4.profile_fillings import read_fillings
from gateway.agreements.pmode import GZIP, PMode
from gateway.agreements.pmode_index import PModeIndex
from gateway.agreements.pmode_values import (
    ConversationLimits,
    Encryption,
    PackagedPart,
    Packaging,
    PullTerms,
    Reliability,
    Security,
    SplittingTerms,
    TransportTerms,
    find_endpoint_fault,
    require_condition,
)
from gateway.agreements.yaml_nodes import YamlNode as _YamlNode
from gateway.agreements.yaml_nodes import parse_yaml
from gateway.message_model import PartyId

__all__ = ["read_agreement", "read_pmodes"]


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
    profile: str | None = None
    filled: dict[str, _YamlNode] = field(default_factory=dict)


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
_MODES: Final = ("security", "reliability", "encryption", "compression", "sync_reply_mode", "splitting")
#: Groups of terms that ``none`` drops, whatever a default says.
_DROPPED: Final = ("encryption", "splitting")
_SPLITTING: Final = tuple(SplittingTerms.__dataclass_fields__)
_ENCRYPTION: Final = ("protocol", "algorithms", "certificate", "policy")
_SECURITY: Final = (
    *("sign", "policy", "sign_status", "mutual_tls"),
    *("signature_algorithm", "hash_function", "token_reference"),
)
_STRONGEST: Final = "http://www.w3.org/2009/xmlenc11#aes256-gcm"
_COMPRESSED: Final = Packaging(
    "Compressed",
    "multipart/related",
    (PackagedPart("Payload", "application/xml", inside=(GZIP,)),),
)


def _merge_defaults(
    terms: _AgreementTerms, own: dict[str, _YamlNode], name: str, keys: tuple[str, ...]
) -> dict[str, _YamlNode]:
    """Return the keys of group `name`; the P-Mode's own keys override the defaults of the file.

    What neither says has the value that the profile of the file fills in.
    """
    merged: dict[str, _YamlNode] = {}
    for layer in (terms.filled, terms.defaults, own):
        if name in layer and name in _DROPPED and layer[name].value == "none":
            merged = {}
        elif name in layer:
            merged.update(layer[name].read_fields((), keys))
    return merged


def _read_security(
    terms: _AgreementTerms, own: dict[str, _YamlNode], sender: _AgreementParty, receiver: _AgreementParty
) -> Security:
    fields = _merge_defaults(terms, own, "security", _SECURITY)
    algorithm = _read_optional_text(fields, "signature_algorithm")
    return Security(
        sign=fields["sign"].read_boolean() if "sign" in fields else True,
        policy=_read_optional_text(fields, "policy") or "strict",
        mutual_tls=fields["mutual_tls"].read_boolean() if "mutual_tls" in fields else False,
        sign_status=fields["sign_status"].read_boolean() if "sign_status" in fields else True,
        certificates=sender.certificates,
        reply_certificates=receiver.certificates,
        signature_algorithms=() if algorithm is None else (algorithm,),
        hash_function=_read_optional_text(fields, "hash_function"),
        token_reference=_read_optional_text(fields, "token_reference"),
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
    """Return how payloads are encrypted, None where nothing says that they are, or ``none`` says it."""
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
    node = own.get("compression") or terms.defaults.get("compression") or terms.filled.get("compression")
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
        (*_MODES, "deliver_to", "mpc", "mep", "mep_binding", "reply_pattern", "pull"),
    )
    sender, receiver = _find_pmode_parties(fields, terms)
    service, service_type = _read_service(fields["service"])
    mode = fields.get("sync_reply_mode") or terms.defaults.get("sync_reply_mode")
    fields = {**{name: node for name, node in terms.filled.items() if name == "mep"}, **fields}
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
            mep_binding=_read_optional_text(fields, "mep_binding"),
            agreement_type=terms.agreement_type,
            reply_pattern=_read_optional_text(fields, "reply_pattern") or "response",
            pull=_read_pull(fields),
            profile=terms.profile,
            splitting=_read_splitting(terms, fields),
        )
    )


def _read_splitting(terms: _AgreementTerms, own: dict[str, _YamlNode]) -> SplittingTerms | None:
    """Return how large messages are split, None where nothing says that they are, or ``none`` says it."""
    fields = _merge_defaults(terms, own, "splitting", _SPLITTING)
    if not fields:
        return None
    require_condition("fragment_size" in fields, "splitting needs fragment_size", "splitting/fragment_size")
    values: dict[str, Any] = {}
    for name, node in fields.items():
        if name == "routing_properties":
            values[name] = tuple(one.read_text() for one in node.read_list())
        else:
            values[name] = node.read_text() if name == "compression" else node.read_integer()
    return SplittingTerms(**values)


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
    filled = read_fillings(fields["profile"]) if "profile" in fields else {}
    return _AgreementTerms(
        agreement=fields["agreement"].read_text(),
        protocol=_read_optional_text(fields, "protocol") or "ebms2",
        valid_from=fields["valid_from"].read_instant(),
        valid_until=fields["valid_until"].read_instant(),
        sides=sides,
        defaults=fields["defaults"].read_fields((), _MODES) if "defaults" in fields else {},
        conversations=_read_limits(fields),
        agreement_type=_read_optional_text({**filled, **fields}, "agreement_type"),
        profile=_read_optional_text(fields, "profile"),
        filled=filled,
    )


def read_pmodes(data: bytes, filename: str) -> tuple[PMode, ...]:
    """Return the P-Modes of one agreement file; raises GW808 with file and line."""
    return read_agreement(data, filename).pmodes


def read_agreement(data: bytes, filename: str) -> AgreementDocument:
    """Return the P-Modes of an agreement file with the lines of its parts; raises GW808 with the line."""
    root = parse_yaml(data, filename)
    fields = root.read_fields(
        ("agreement", "valid_from", "valid_until", "parties", "pmodes"),
        ("protocol", "profile", "defaults", "conversations", "agreement_type"),
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
