"""Reads an agreement from its YAML file, strictly. Each refusal names file and line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NoReturn, TypeVar

from gateway.agreements.agreement_rules import AgreementDocument
from gateway.agreements.as4.profile_tables import read_fillings
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
    SplittingTerms,
    TransportTerms,
    find_endpoint_fault,
    require_choice,
    require_condition,
)
from gateway.agreements.register_lengths import check_pmode_lengths
from gateway.errors import MISUSE, GatewayError
from gateway.message_model import PartyId
from gateway.wire import YamlNode, read_yaml

_MAX_BYTES: Final = 1 << 20
_MAX_DEPTH: Final = 11
_MAX_NUMBER: Final = 999_999_999
_Value = TypeVar("_Value")


def raise_node_error(node: YamlNode, detail: str) -> NoReturn:
    """Raise GW808 at a node."""
    raise GatewayError(MISUSE, detail, str(node.mark))


def read_fields(
    node: YamlNode, required: tuple[str, ...], optional: tuple[str, ...] = ()
) -> dict[str, YamlNode]:
    """Return the entries of a mapping that has the required keys, and no keys but these and the optional."""
    table = node.read_table()
    fields = {key: table.get_required(key) for key in required}
    fields |= {key: entry for key in optional if (entry := table.get(key)) is not None}
    table.reject_unread_keys()
    return fields


def read_entries(node: YamlNode) -> dict[str, YamlNode]:
    """Return the entries of a mapping in which every key is allowed."""
    return {key: entry for key, entry, _ in node.read_table().take_unread_items()}


def read_members(node: YamlNode) -> list[YamlNode]:
    """Return the entries of a list that has at least one."""
    if not (members := node.read_list()):
        raise_node_error(node, f"{node.name}: an empty list")
    return members


def read_number(node: YamlNode) -> int:
    """Return a whole number of at most nine digits."""
    return node.read_integer(high=_MAX_NUMBER)


def read_boolean(node: YamlNode) -> bool:
    """Return the value of a node that is ``true`` or ``false``; raise GW808 for another text."""
    return node.read_choice(node.name, ("true", "false")) == "true"


def read_instant(node: YamlNode) -> datetime:
    """Return the time of a node in UTC; raise GW808 for a text without time zone."""
    return parse_instant(node.read_text(), str(node.mark))


def build_with_location(node: YamlNode, build: Callable[[], _Value]) -> _Value:
    """Return the value that `build` returns; add the file and line of a node to the error that it raises."""
    try:
        return build()
    except GatewayError as refused:
        if refused.location.startswith(f"{node.mark.file}:"):
            raise
        location = f"{node.mark} ({refused.location})" if refused.location else str(node.mark)
        raise GatewayError(MISUSE, refused.detail, location) from refused


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
    """The terms of all P-Modes of a file; a P-Mode may override `defaults`."""

    agreement: str
    protocol: str
    valid_from: datetime
    valid_until: datetime
    parties: dict[str, _AgreementParty]
    defaults: dict[str, YamlNode] = field(default_factory=dict)
    conversations: ConversationLimits = field(default_factory=ConversationLimits)
    agreement_type: str | None = None
    profile: str | None = None
    profile_values: dict[str, YamlNode] = field(default_factory=dict)


def _read_optional_text(fields: dict[str, YamlNode], field_name: str) -> str | None:
    return fields[field_name].read_text() if field_name in fields else None


def _read_party(node: YamlNode) -> _AgreementParty:
    """Return one entry of ``parties``; raise GW808 for an unknown key or an endpoint that is not valid."""
    fields = read_fields(node, ("ids",), ("role", "endpoint", "certificates", "authentication"))
    ids = []
    for id_node in read_members(fields["ids"]):
        id_fields = read_fields(id_node, ("value",), ("type",))
        ids.append(PartyId(id_fields["value"].read_text(), _read_optional_text(id_fields, "type")))
    text_lists = {
        name: tuple(entry.read_text() for entry in read_members(fields[name])) if name in fields else ()
        for name in ("certificates", "authentication")
    }
    endpoint = _read_optional_text(fields, "endpoint")
    if endpoint is not None and (endpoint_fault := find_endpoint_fault(endpoint)):
        raise_node_error(fields["endpoint"], f"the endpoint {endpoint_fault}")
    return _AgreementParty(
        tuple(ids),
        _read_optional_text(fields, "role"),
        endpoint,
        **text_lists,
    )


_RELIABILITY_KEYS: Final = tuple(Reliability.__dataclass_fields__)
_RELIABILITY_TEXT_KEYS: Final = ("ack_requested", "ack_signed", "duplicate_elimination", "ack_actor")
_DEFAULTS_KEYS: Final = (
    "security",
    "reliability",
    "encryption",
    "compression",
    "sync_reply_mode",
    "splitting",
)
#: Groups of terms that ``none`` drops, even if a default or the profile states them.
_DROPPABLE_GROUPS: Final = ("encryption", "splitting")
_SPLITTING_KEYS: Final = tuple(SplittingTerms.__dataclass_fields__)
_ENCRYPTION_KEYS: Final = ("protocol", "algorithms", "certificate", "policy")
_SECURITY_KEYS: Final = (
    *("sign", "policy", "sign_status", "mutual_tls"),
    *("signature_algorithm", "hash_function", "token_reference"),
)
_DEFAULT_ENCRYPTION_ALGORITHM: Final = "http://www.w3.org/2009/xmlenc11#aes256-gcm"
_COMPRESSED_PACKAGING: Final = Packaging(
    "Compressed",
    "multipart/related",
    (PackagedPart("Payload", "application/xml", wrapper_types=(GZIP,)),),
)


def _merge_defaults(
    terms: _AgreementTerms, pmode_fields: dict[str, YamlNode], group_name: str, allowed_keys: tuple[str, ...]
) -> dict[str, YamlNode]:
    """Return the keys of group `group_name`; the P-Mode's own keys override the defaults of the file.

    A key that neither of them states has the value that the profile of the file fills in.
    """
    merged_fields: dict[str, YamlNode] = {}
    for term_groups in (terms.profile_values, terms.defaults, pmode_fields):
        if (
            group_name in term_groups
            and group_name in _DROPPABLE_GROUPS
            and term_groups[group_name].value == "none"
        ):
            merged_fields = {}
        elif group_name in term_groups:
            merged_fields.update(read_fields(term_groups[group_name], (), allowed_keys))
    return merged_fields


def _read_security(
    terms: _AgreementTerms,
    pmode_fields: dict[str, YamlNode],
    sender: _AgreementParty,
    receiver: _AgreementParty,
) -> Security:
    """Return the security terms of one P-Mode; its pins are the certificates of `sender` and `receiver`."""
    fields = _merge_defaults(terms, pmode_fields, "security", _SECURITY_KEYS)
    signature_algorithm = _read_optional_text(fields, "signature_algorithm")
    return Security(
        sign=read_boolean(fields["sign"]) if "sign" in fields else True,
        policy=_read_optional_text(fields, "policy") or "strict",
        mutual_tls=read_boolean(fields["mutual_tls"]) if "mutual_tls" in fields else False,
        sign_status=read_boolean(fields["sign_status"]) if "sign_status" in fields else True,
        certificates=sender.certificates,
        reply_certificates=receiver.certificates,
        signature_algorithms=() if signature_algorithm is None else (signature_algorithm,),
        hash_function=_read_optional_text(fields, "hash_function"),
        token_reference=_read_optional_text(fields, "token_reference"),
    )


def _read_reliability(terms: _AgreementTerms, pmode_fields: dict[str, YamlNode]) -> Reliability:
    """Return the reliability terms of one P-Mode; raise GW808 if ``persist_duration`` is too short."""
    fields = _merge_defaults(terms, pmode_fields, "reliability", _RELIABILITY_KEYS)
    values: dict[str, Any] = {}
    for term_name, node in fields.items():
        if term_name == "message_order":
            values[term_name] = read_boolean(node)
        else:
            values[term_name] = node.read_text() if term_name in _RELIABILITY_TEXT_KEYS else read_number(node)
    reliability = Reliability(**values)
    require_condition(
        reliability.persists_long_enough,
        "persist_duration must last for all repeats: (retries + 1) x retry_interval",
        "reliability/persist_duration",
    )
    return reliability


def _read_encryption(terms: _AgreementTerms, pmode_fields: dict[str, YamlNode]) -> Encryption | None:
    """Return the terms of encryption; None if the file and its profile have none, or say ``none``."""
    fields = _merge_defaults(terms, pmode_fields, "encryption", _ENCRYPTION_KEYS)
    if not fields:
        return None
    algorithms = read_members(fields["algorithms"]) if "algorithms" in fields else []
    return Encryption(
        _read_optional_text(fields, "protocol") or "XMLENC",
        tuple(algorithm.read_text() for algorithm in algorithms) or (_DEFAULT_ENCRYPTION_ALGORITHM,),
        _read_optional_text(fields, "certificate"),
        policy=_read_optional_text(fields, "policy") or "strict",
    )


def _read_compression(terms: _AgreementTerms, pmode_fields: dict[str, YamlNode]) -> Packaging | None:
    """Return the gzip packaging or None, as the P-Mode says, else the defaults, else the profile."""
    method_node = (
        pmode_fields.get("compression")
        or terms.defaults.get("compression")
        or terms.profile_values.get("compression")
    )
    compression_method = method_node.read_text() if method_node is not None else "none"
    require_choice(compression_method, ("gzip", "none"), "compression")
    return _COMPRESSED_PACKAGING if compression_method == "gzip" else None


def _read_service(node: YamlNode) -> tuple[str, str | None]:
    if isinstance(node.value, str):
        return node.read_text(), None
    fields = read_fields(node, ("value", "type"))
    return fields["value"].read_text(), fields["type"].read_text()


def _find_pmode_parties(
    fields: dict[str, YamlNode], terms: _AgreementTerms
) -> tuple[_AgreementParty, _AgreementParty]:
    """Return the sender and the receiver that ``from`` and ``to`` name; raise GW808 for an unknown name."""
    parties = []
    for field_name in ("from", "to"):
        party_name = fields[field_name].read_text()
        if party_name not in terms.parties:
            raise_node_error(
                fields[field_name], f"{party_name[:60]!r} is not one of the parties of this file"
            )
        parties.append(terms.parties[party_name])
    return parties[0], parties[1]


def _read_pmode(node: YamlNode, terms: _AgreementTerms) -> PMode:
    """Return one entry of ``pmodes``, completed from `terms` of the file; raise GW808 if it is not valid."""
    fields = read_fields(
        node,
        ("id", "from", "to", "service", "action"),
        (*_DEFAULTS_KEYS, "deliver_to", "mpc", "mep", "mep_binding", "reply_pattern", "pull"),
    )
    sender, receiver = _find_pmode_parties(fields, terms)
    service, service_type = _read_service(fields["service"])
    sync_reply_node = fields.get("sync_reply_mode") or terms.defaults.get("sync_reply_mode")
    fields = {**{name: node for name, node in terms.profile_values.items() if name == "mep"}, **fields}
    return build_with_location(
        node,
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
            sync_reply_mode=sync_reply_node.read_text() if sync_reply_node else "none",
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
        ),
    )


def _read_short_pmode(node: YamlNode, terms: _AgreementTerms) -> PMode:
    """Return one entry of ``pmodes``; raise GW808 also where a name is too long for the register."""
    pmode = _read_pmode(node, terms)
    build_with_location(node, lambda: check_pmode_lengths(pmode))
    return pmode


def _read_splitting(terms: _AgreementTerms, pmode_fields: dict[str, YamlNode]) -> SplittingTerms | None:
    """Return the terms of splitting large messages; None if the file and profile have none, or ``none``."""
    fields = _merge_defaults(terms, pmode_fields, "splitting", _SPLITTING_KEYS)
    if not fields:
        return None
    require_condition("fragment_size" in fields, "splitting needs fragment_size", "splitting/fragment_size")
    values: dict[str, Any] = {}
    for term_name, node in fields.items():
        if term_name == "routing_properties":
            values[term_name] = tuple(property_name.read_text() for property_name in read_members(node))
        else:
            values[term_name] = node.read_text() if term_name == "compression" else read_number(node)
    return SplittingTerms(**values)


def _read_pull(fields: dict[str, YamlNode]) -> PullTerms | None:
    """Return the terms of a P-Mode whose messages are pulled; None if it has no key ``pull``."""
    if "pull" not in fields:
        return None
    node = fields["pull"]
    pull_fields = read_fields(node, ("authorization",), ("sub_channel",))
    return build_with_location(
        node,
        lambda: PullTerms(
            pull_fields["authorization"].read_text(), _read_optional_text(pull_fields, "sub_channel")
        ),
    )


def _read_limits(fields: dict[str, YamlNode]) -> ConversationLimits:
    """Return the limits under the key ``conversations``; without the key there are no limits."""
    if "conversations" not in fields:
        return ConversationLimits()
    node = fields["conversations"]
    limit_nodes = read_fields(node, (), ("invocations", "concurrent"))
    return build_with_location(
        node, lambda: ConversationLimits(**{name: read_number(limit) for name, limit in limit_nodes.items()})
    )


def _read_terms(fields: dict[str, YamlNode]) -> _AgreementTerms:
    """Return the terms that all P-Modes of a file share; raise GW808 unless it has exactly two parties."""
    parties_node = fields["parties"]
    party_by_name = {name: _read_party(side) for name, side in read_entries(parties_node).items()}
    if len(party_by_name) != 2:
        raise_node_error(parties_node, "an agreement must have two parties")
    profile_values = read_fillings(fields["profile"]) if "profile" in fields else {}
    return _AgreementTerms(
        agreement=fields["agreement"].read_text(),
        protocol=_read_optional_text(fields, "protocol") or "ebms2",
        valid_from=read_instant(fields["valid_from"]),
        valid_until=read_instant(fields["valid_until"]),
        parties=party_by_name,
        defaults=read_fields(fields["defaults"], (), _DEFAULTS_KEYS) if "defaults" in fields else {},
        conversations=_read_limits(fields),
        agreement_type=_read_optional_text({**profile_values, **fields}, "agreement_type"),
        profile=_read_optional_text(fields, "profile"),
        profile_values=profile_values,
    )


def read_pmodes(yaml_octets: bytes, filename: str) -> tuple[PMode, ...]:
    """Return the P-Modes of one agreement file; raises GW808 with file and line."""
    return read_agreement(yaml_octets, filename).pmodes


def read_agreement(yaml_octets: bytes, filename: str) -> AgreementDocument:
    """Return the P-Modes of an agreement file with the lines of its parts; raises GW808 with the line."""
    root = read_yaml(yaml_octets, filename, max_octets=_MAX_BYTES, max_depth=_MAX_DEPTH, problem=MISUSE)
    fields = read_fields(
        root,
        ("agreement", "valid_from", "valid_until", "parties", "pmodes"),
        ("protocol", "profile", "defaults", "conversations", "agreement_type"),
    )
    terms = _read_terms(fields)
    nodes = read_members(fields["pmodes"])
    pmodes = tuple(_read_short_pmode(node, terms) for node in nodes)
    # The index refuses two P-Modes with one id, or for the same messages.
    build_with_location(fields["pmodes"], lambda: PModeIndex(pmodes))
    places = {part: str(node.mark) for part, node in _list_parts(fields)}
    return AgreementDocument(pmodes, filename, places)


def _list_parts(fields: dict[str, YamlNode]) -> Iterator[tuple[tuple[str, str], YamlNode]]:
    """Yield the parts of a file that has been read, each with the node where it begins."""
    for field_name, node in fields.items():
        yield (field_name, ""), node
    for party_node in read_entries(fields["parties"]).values():
        party_fields = read_entries(party_node)
        ids = [
            (read_entries(id_node)["value"].read_text(), id_node)
            for id_node in read_members(party_fields["ids"])
        ]
        for value, node in ids:
            yield ("party", value), node
        for field_name in ("endpoint", "certificates"):
            if field_name in party_fields:
                yield (field_name, ids[0][0]), party_fields[field_name]
    for node in read_members(fields["pmodes"]):
        yield ("pmode", read_entries(node)["id"].read_text()), node
