"""The P-Mode: the terms that two parties agreed for one service and action, in one direction.

A P-Mode does not depend on whether the hub is the From or the To party: it refers to these two roles. The
readers of agreement files and of CPA documents both produce this type. It is stored and shown as plain JSON
values: a written P-Mode has every value, also the defaults; when it is read, a missing value gets its
default.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, is_dataclass
from datetime import datetime
from functools import cache
from types import UnionType
from typing import Any, Final, get_args, get_origin, get_type_hints

from gateway.agreements.pmode_values import (
    REPLY_PATTERNS,
    RESPONDING_MODES,
    SIGNALLING_MODES,
    SYNC_REPLY_MODES,
    AlternativeChannel,
    BusinessTerms,
    ConversationLimits,
    Encryption,
    Packaging,
    PullTerms,
    Reliability,
    Security,
    SignalChannel,
    SplittingTerms,
    TransportTerms,
    TypedEndpoint,
    is_endpoint,
    require_choice,
    require_condition,
)
from gateway.errors import MISUSE, GatewayError
from gateway.message_model import Party, PartyId
from gateway.wire import convert_to_utc, parse_iso_datetime

PMODE_PROTOCOLS: Final = ("ebms2", "as4")
DESTINATIONS: Final = ("case", "mailbox")
EXCHANGE_PATTERNS: Final = ("one-way", "two-way")
#: How the messages of an exchange travel (ebMS 3.0 core §2.2.5 to §2.2.8), and which exchange that is.
EXCHANGE_BY_BINDING: Final = {
    "push": "one-way",
    "pull": "one-way",
    "sync": "two-way",
    "push-and-push": "two-way",
    "push-and-pull": "two-way",
    "pull-and-push": "two-way",
}
#: The media type of a compressed payload (RFC 6713).
GZIP: Final = "application/gzip"

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:\S+")
_MAX_TEXT: Final = 1024


def is_uri(text: str) -> bool:
    """Return whether `text` is an absolute URI, as an untyped PartyId or Service must be."""
    return _URI.fullmatch(text) is not None


def parse_instant(text: str, location: str) -> datetime:
    """Return the UTC time of an ISO 8601 `text` with a time zone; raise GW808."""
    try:
        moment = parse_iso_datetime(text)
    except ValueError as mistake:
        raise GatewayError(MISUSE, f"{text[:60]!r} is not a date and time", location) from mistake
    if moment.tzinfo is None:
        raise GatewayError(MISUSE, f"{text[:60]!r} lacks its time zone", location)
    try:
        return convert_to_utc(moment)
    except ValueError as mistake:
        raise GatewayError(MISUSE, f"{text[:60]!r} is {mistake}", location) from mistake


@dataclass(frozen=True, slots=True)
class PMode:
    """One direction of one action of an agreement.

    `endpoint` is the URL of the To party's handler, `reply_endpoint` that of the From party
    (for signals that are not sent in the answer). `deliver_to` names the application of the
    hub that receives the message when the To party is the hub.

    `channel` is the name of the delivery channel in the agreement. `endpoints` are the URLs of the
    To party by their kind, where it has more than one. `signals` are the channels of signals about
    this message, `alternatives` the channels after the first. `answers` is the P-Mode to whose
    message this one is the response on the same connection, `answered_by` the P-Modes of such
    responses. ebMS 3.0 alone has `mpc`, the channel (None: the default one), `mep`, the exchange that the
    message is part of, `agreement_type`, the type of the agreement's name, `reply_pattern`, by which
    signals about the message are in the HTTP answer or are posted back, and `pull`, by which the To party
    fetches the message (None: it is posted), and `splitting`, how large messages are sent in fragments (None:
    they are not). `mep_binding` is how the messages of the exchange travel (None: nothing is said of it, and
    this message is agreed for itself). `profile` is the name of the profile whose demands the agreement
    says it meets, None without one.
    """

    id: str
    agreement: str
    from_party: tuple[PartyId, ...]
    to_party: tuple[PartyId, ...]
    service: str
    action: str
    valid_from: datetime
    valid_until: datetime
    protocol: str = "ebms2"
    service_type: str | None = None
    from_role: str | None = None
    to_role: str | None = None
    security: Security = field(default_factory=Security)
    reliability: Reliability = field(default_factory=Reliability)
    sync_reply_mode: str = "none"
    endpoint: str | None = None
    reply_endpoint: str | None = None
    deliver_to: str = "mailbox"
    channel: str | None = None
    encryption: Encryption | None = None
    packaging: Packaging | None = None
    transport: TransportTerms = field(default_factory=TransportTerms)
    business: BusinessTerms = field(default_factory=BusinessTerms)
    conversations: ConversationLimits = field(default_factory=ConversationLimits)
    endpoints: tuple[TypedEndpoint, ...] = ()
    signals: tuple[SignalChannel, ...] = ()
    alternatives: tuple[AlternativeChannel, ...] = ()
    answers: str | None = None
    answered_by: tuple[str, ...] = ()
    mpc: str | None = None
    mep: str = "two-way"
    agreement_type: str | None = None
    reply_pattern: str = "response"
    pull: PullTerms | None = None
    profile: str | None = None
    splitting: SplittingTerms | None = None
    mep_binding: str | None = None

    def __post_init__(self) -> None:
        """Raise GW808 for a field that has a wrong value, or that contradicts another."""
        _check_names(self)
        _check_parties(self)
        _check_binding(self)
        for field_name in ("endpoint", "reply_endpoint"):
            url = getattr(self, field_name)
            require_condition(
                url is None or is_endpoint(url), f"{field_name} must be an http(s) URL", field_name
            )
        require_condition(
            self.valid_from < self.valid_until, "valid_until must be after valid_from", "valid_until"
        )

    @property
    def sender(self) -> Party:
        """Return the From party as named in a header of this P-Mode."""
        return Party(self.from_party, self.from_role)

    @property
    def receiver(self) -> Party:
        """Return the To party as named in a header of this P-Mode."""
        return Party(self.to_party, self.to_role)

    @property
    def pull_channel(self) -> str | None:
        """Return the channel that a PullRequest for these messages names, with the sub-channel (AS4 §3.5)."""
        if self.pull is None or self.pull.sub_channel is None:
            return self.mpc
        return f"{self.mpc}/{self.pull.sub_channel}"

    @property
    def leg(self) -> str | None:
        """Return ``request`` or ``reply`` where the binding of the exchange says which one this is."""
        if self.mep_binding == "push-and-pull":
            return "request" if self.pull is None else "reply"
        if self.mep_binding == "pull-and-push":
            return "reply" if self.pull is None else "request"
        if self.mep_binding == "sync":
            return "request" if self.has_response_in_answer else "reply"
        return None

    @property
    def has_response_in_answer(self) -> bool:
        """Return whether the HTTP answer to a message has room for the business response (ebMS 2.0 §4.3)."""
        return self.sync_reply_mode in RESPONDING_MODES

    @property
    def has_signals_in_answer(self) -> bool:
        """Return whether the HTTP answer to a message has room for signals about it (ebMS 2.0 §4.3)."""
        return self.sync_reply_mode in SIGNALLING_MODES

    @property
    def posts_signals(self) -> bool:
        """Return whether signals about a message are posted back, and not in the HTTP answer to it."""
        if self.protocol == "ebms2":
            return not self.has_signals_in_answer
        return self.reply_pattern == "callback"

    @property
    def compresses_payloads(self) -> bool:
        """Return whether the packaging wraps payloads into gzip (RFC 1952)."""
        parts = self.packaging.parts if self.packaging is not None else ()
        return any(GZIP in part.wrapper_types for part in parts)

    def is_in_force(self, at: datetime) -> bool:
        """Return whether the agreement is in force at the time `at`."""
        return self.valid_from <= at < self.valid_until


def _check_names(pmode: PMode) -> None:
    """Raise GW808 for a name, choice, channel or service of `pmode` that is not valid."""
    for field_name in ("id", "agreement", "service", "action"):
        field_value = getattr(pmode, field_name)
        require_condition(
            bool(field_value) and field_value == field_value.strip() and len(field_value) <= _MAX_TEXT,
            f"{field_name} must have 1 to {_MAX_TEXT} characters, with no white space around them",
            field_name,
        )
    for field_name, choices in (
        ("protocol", PMODE_PROTOCOLS),
        ("mep", EXCHANGE_PATTERNS),
        ("reply_pattern", REPLY_PATTERNS),
        ("sync_reply_mode", SYNC_REPLY_MODES),
        ("deliver_to", DESTINATIONS),
    ):
        require_choice(getattr(pmode, field_name), choices, field_name)
    require_condition(pmode.mpc is None or is_uri(pmode.mpc), "mpc must be a URI", "mpc")
    has_sub_channel = pmode.pull is not None and pmode.pull.sub_channel is not None
    require_condition(
        pmode.mpc is not None or not has_sub_channel, "a sub-channel must have a channel: mpc", "mpc"
    )
    # ebMS 2.0 §3.1.4.1: a Service without type is a URI.
    require_condition(
        pmode.service_type is not None or is_uri(pmode.service),
        "a service without type must be a URI",
        "service",
    )


def _check_binding(pmode: PMode) -> None:
    """Raise GW808 if ``mep_binding`` contradicts ``mep``, or the transfer of the message (push or pull)."""
    binding = pmode.mep_binding
    if binding is None:
        return
    require_choice(binding, EXCHANGE_BY_BINDING, "mep_binding")
    require_condition(
        pmode.mep == EXCHANGE_BY_BINDING[binding],
        f"mep must be {EXCHANGE_BY_BINDING[binding]} by {binding}",
        "mep_binding",
    )
    transfer_bindings = ("pull",) if pmode.pull is not None else ("push", "sync", "push-and-push")
    is_binding_possible = binding in (*transfer_bindings, "push-and-pull", "pull-and-push")
    require_condition(
        is_binding_possible,
        f"a message by {binding} must be {'posted' if pmode.pull else 'pulled'}",
        "mep_binding",
    )


def _check_parties(pmode: PMode) -> None:
    """Raise GW808 for a party without ids, with a wrong id, or with an id of the other party."""
    for side_name, party_ids in (("from", pmode.from_party), ("to", pmode.to_party)):
        require_condition(bool(party_ids), f"the {side_name} party has no id", side_name)
        for party_id in party_ids:
            require_condition(
                bool(party_id.value) and party_id.value == party_id.value.strip(),
                "a party id is empty",
                side_name,
            )
            # ebMS 2.0 §3.1.1.1: a PartyId without type is a URI.
            require_condition(
                party_id.type is not None or is_uri(party_id.value),
                "a party id without type must be a URI",
                side_name,
            )
        id_types = [party_id.type for party_id in party_ids]
        require_condition(
            len(set(id_types)) == len(id_types), "two ids of one party have the same type", side_name
        )
    require_condition(not set(pmode.from_party) & set(pmode.to_party), "both parties have the same id", "to")


def pmode_to_json(pmode: PMode) -> dict[str, object]:
    """Return `pmode` as plain JSON values, each of them written out."""
    return terms_to_json(pmode)


def terms_to_json(terms: Any) -> dict[str, object]:
    """Return an object of a class of terms as plain JSON values, each of them written out."""
    terms_class: Any = type(terms)
    return {name: _convert_to_json(getattr(terms, name)) for name in _list_field_types(terms_class)}


def _convert_to_json(field_value: Any) -> Any:
    """Return a field value for JSON: tuples become lists, instants ISO 8601 texts, dataclasses objects."""
    if isinstance(field_value, PartyId):
        return [field_value.value, field_value.type]
    if isinstance(field_value, tuple):
        return [_convert_to_json(member) for member in field_value]
    if isinstance(field_value, datetime):
        return field_value.isoformat()
    return terms_to_json(field_value) if is_dataclass(field_value) else field_value


def pmode_from_json(json_values: Mapping[str, object]) -> PMode:
    """Return the P-Mode that `pmode_to_json` converted to `json_values`; raise GW808 for other values."""
    try:
        pmode: PMode = terms_from_json(PMode, json_values)
    except (KeyError, TypeError, ValueError, AttributeError) as mistake:
        detail = "the stored P-Mode has another form"
        raise GatewayError(MISUSE, detail, str(json_values.get("id", ""))) from mistake
    return pmode


def terms_from_json(terms_class: Any, json_values: Mapping[str, Any]) -> Any:
    """Return the object of a class of terms that `terms_to_json` converted to `json_values`.

    Raises ValueError for a term that the class does not have.
    """
    types = _list_field_types(terms_class)
    unknown_names = sorted(json_values.keys() - types.keys())
    if unknown_names:
        raise ValueError(f"the term {unknown_names[0][:80]} is unknown")
    return terms_class(
        **{name: _convert_from_json(types[name], value, name) for name, value in json_values.items()}
    )


def _convert_from_json(field_type: Any, json_value: Any, field_name: str) -> Any:
    """Return the value of the field `field_name` of type `field_type` that `_convert_to_json` wrote.

    Raises TypeError for a value of another type, ValueError for a text that UTF-8 cannot hold.
    """
    alternatives = get_args(field_type) if get_origin(field_type) is UnionType else (field_type,)
    if type(json_value) in alternatives:
        if isinstance(json_value, str):
            json_value.encode()
        return json_value
    value_type = alternatives[0]
    if isinstance(json_value, str) and value_type is datetime:
        return parse_instant(json_value, field_name)
    if isinstance(json_value, list) and value_type is PartyId:
        return _read_party_id(json_value, field_name)
    if isinstance(json_value, list) and get_origin(value_type) is tuple:
        return tuple(_convert_from_json(get_args(value_type)[0], member, field_name) for member in json_value)
    if isinstance(json_value, dict) and is_dataclass(value_type):
        return terms_from_json(value_type, json_value)
    raise TypeError(f"the term {field_name} is {json.dumps(json_value)[:80]}")


def _read_party_id(json_value: list[Any], field_name: str) -> PartyId:
    value, kind = json_value
    return PartyId(
        _convert_from_json(str, value, field_name), _convert_from_json(_OPTIONAL_TEXT, kind, field_name)
    )


_OPTIONAL_TEXT: Final = str | None


@cache
def _list_field_types(terms_class: type) -> dict[str, Any]:
    """Return the type of each field of a class of terms, in their order."""
    return get_type_hints(terms_class)
