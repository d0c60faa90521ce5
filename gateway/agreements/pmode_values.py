"""The terms of a P-Mode by subject: signatures, encryption, reliability, packaging, transport, business.

Each term that a CPA of CPPA 2.0 can state about a message has a field here. A term that the agreement leaves
open has the default of its field.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from gateway.errors import MISUSE, GatewayError
from gateway.wire import has_more_octets

RELIABILITY_CHOICES: Final = ("always", "never", "per_message")
SYNC_REPLY_MODES: Final = ("none", "mshSignalsOnly", "signalsOnly", "responseOnly", "signalsAndResponse")
#: The modes in which the HTTP answer has room for the business response, and for signals.
RESPONDING_MODES: Final = frozenset({"responseOnly", "signalsAndResponse"})
SIGNALLING_MODES: Final = frozenset({"mshSignalsOnly", "signalsOnly", "signalsAndResponse"})
SIGNATURE_POLICIES: Final = ("strict", "legacy-norway")
ENCRYPTION_POLICIES: Final = ("strict", "legacy-cbc", "korea-seed")
PERSISTENCE_LEVELS: Final = ("none", "transient", "persistent", "transient-and-persistent")
AUTHENTICATION_SCHEMES: Final = ("basic", "digest")
PULL_AUTHORIZATIONS: Final = ("certificate", "username", "both")
REPLY_PATTERNS: Final = ("response", "callback")
#: How a signature of WS-Security names its certificate (X.509 Token Profile 1.1 §3).
TOKEN_REFERENCES: Final = (
    "X509v3",
    "X509PKIPathv1",
    "PKCS7",
    "SubjectKeyIdentifier",
    "Thumbprint",
    "IssuerSerial",
)
ENDPOINT_KINDS: Final = ("allPurpose", "request", "response", "error", "login")
#: The name of a signal channel that serves every signal without a channel of its own.
ANY_SIGNAL: Final = "*"

_SHA256 = re.compile(r"[0-9a-f]{64}")
_ENDPOINT = re.compile(r"https?://[^\s/?#]+[^\s#]*")
_SUB_CHANNEL = re.compile(r"[^\s/?#][^\s?#]{0,255}")
#: Errors to an endpoint wait in a lane, which is named by the endpoint and is a key in the database.
_MAX_ENDPOINT_OCTETS: Final = 1000
_MAX_RETRIES: Final = 10_000
_MAX_SECONDS: Final = 366 * 24 * 3600
_MAX_PARTS: Final = 1_000
#: How many seconds later than agreed the last repeat of a busy sender may come.
_MAX_LATENESS_SECONDS: Final = 60
#: The longest time that a business may take: a hundred years.
_MAX_BUSINESS_SECONDS: Final = 100 * _MAX_SECONDS


def is_endpoint(url: str) -> bool:
    """Return whether `url` is a URL that the gateway can post to."""
    return _ENDPOINT.fullmatch(url) is not None


def find_endpoint_fault(url: str) -> str | None:
    """Return the mistake in a URL that a person gives for an endpoint, as a predicate; None if it is right.

    This is stricter than `is_endpoint`, which stored agreements pass: a URL without user info and with a port
    that exists.
    """
    if not is_endpoint(url):
        return "is not an http(s) URL"
    if has_more_octets(url, _MAX_ENDPOINT_OCTETS):
        return f"has more than {_MAX_ENDPOINT_OCTETS:,} octets"
    try:
        url_parts = urlsplit(url)
        port = url_parts.port
    except ValueError:
        return "has no host, or no port from 1 to 65535"
    if url_parts.username is not None or url_parts.password is not None:
        return "has user info; a login is a setting of the hub"
    return "has no host, or no port from 1 to 65535" if not url_parts.hostname or port == 0 else None


def require_condition(is_met: bool, detail: str, location: str) -> None:
    """Raise GW808 with `detail` at `location` unless the condition is met."""
    if not is_met:
        raise GatewayError(MISUSE, detail, location)


def require_choice(term_value: str, choices: Collection[str], location: str) -> None:
    """Raise GW808 at `location` unless `term_value` is in `choices`; `location` ends with the term's name."""
    term_name = location.rpartition("/")[2]
    require_condition(term_value in choices, f"{term_name} must be one of {', '.join(choices)}", location)


def require_range(number: int, min_value: int, max_value: int, location: str, unit: str = "") -> None:
    """Raise GW808 at `location`, which ends with the term's name, unless `number` is within the bounds."""
    detail = f"{location.rpartition('/')[2]} must be {min_value} to {max_value}{unit}"
    require_condition(min_value <= number <= max_value, detail, location)


def _check_certificate_pins(pins: tuple[str, ...], location: str) -> None:
    for pin in pins:
        require_condition(
            _SHA256.fullmatch(pin) is not None, "a pin must be 64 lower-case hex digits", location
        )


@dataclass(frozen=True, slots=True)
class Security:
    """The signers and the signature policy.

    `certificates` (SHA-256, hexadecimal) pins the signers of messages of the From party,
    `reply_certificates` those of the signals in reply; if empty, the register of parties
    decides. `sign_status`: where messages are signed, only a signed StatusRequest is
    answered; it is false for partners whose handler cannot sign one. `mutual_tls`: incoming
    messages are accepted only over TLS with a client certificate of their sender.

    `signature_algorithms` and `hash_function` are URIs as agreed, the preferred one first;
    `token_reference`, one of `TOKEN_REFERENCES`, is how the signature names its certificate (AS4;
    None: as the handler does it). `trust_anchors` pins the trust anchors of the receiver. `authenticated`,
    `confidential` and `tamper_proof` say how far the business wants each (one of `PERSISTENCE_LEVELS`).
    """

    sign: bool = True
    policy: str = "strict"
    mutual_tls: bool = False
    sign_status: bool = True
    certificates: tuple[str, ...] = ()
    reply_certificates: tuple[str, ...] = ()
    signature_algorithms: tuple[str, ...] = ()
    hash_function: str | None = None
    trust_anchors: tuple[str, ...] = ()
    non_repudiation_of_origin: bool = False
    non_repudiation_of_receipt: bool = False
    authenticated: str = "none"
    confidential: str = "none"
    tamper_proof: str = "none"
    token_reference: str | None = None

    def __post_init__(self) -> None:
        """Raise GW808 for an unknown choice, and for a certificate pin that is no SHA-256 digest."""
        require_choice(self.policy, SIGNATURE_POLICIES, "security/policy")
        if self.token_reference is not None:
            require_choice(self.token_reference, TOKEN_REFERENCES, "security/token_reference")
        for field_name in ("certificates", "reply_certificates", "trust_anchors"):
            _check_certificate_pins(getattr(self, field_name), f"security/{field_name}")
        for field_name in ("authenticated", "confidential", "tamper_proof"):
            require_choice(getattr(self, field_name), PERSISTENCE_LEVELS, f"security/{field_name}")

    @property
    def needs_signed_status(self) -> bool:
        """Return whether a StatusRequest must be signed (ebMS 2.0 §7.1.1 leaves this to the agreement)."""
        return self.sign and self.sign_status


@dataclass(frozen=True, slots=True)
class Reliability:
    """Acknowledgments, duplicate elimination and retries (ebMS 2.0 chapter 6); intervals in seconds.

    `message_order`: the messages of a conversation are delivered in the order of their sending (chapter 9).
    `ack_actor` is the handler that acknowledges: that of the To party, or the next one on the way.
    """

    ack_requested: str = "always"
    ack_signed: str = "always"
    duplicate_elimination: str = "always"
    retries: int = 3
    retry_interval: int = 300
    persist_duration: int = 432_000
    message_order: bool = False
    ack_actor: str = "toPartyMSH"

    def __post_init__(self) -> None:
        """Raise GW808 for an unknown choice or a number out of range."""
        for field_name in ("ack_requested", "ack_signed", "duplicate_elimination"):
            require_choice(getattr(self, field_name), RELIABILITY_CHOICES, f"reliability/{field_name}")
        require_range(self.retries, 0, _MAX_RETRIES, "reliability/retries")
        require_range(self.retry_interval, 1, _MAX_SECONDS, "reliability/retry_interval", " seconds")
        require_range(self.persist_duration, 0, _MAX_SECONDS, "reliability/persist_duration", " seconds")
        require_choice(self.ack_actor, ("toPartyMSH", "nextMSH"), "reliability/ack_actor")

    @property
    def persists_long_enough(self) -> bool:
        """Return whether the receiver remembers a message as long as its sender may repeat it.

        A receiver that forgets a message while the sender still repeats it delivers it twice
        (ebMS 2.0 §6.4.6).
        """
        return self.persist_duration >= self.time_to_live

    @property
    def time_to_live(self) -> int:
        """Return the number of seconds within which all repeats are sent."""
        return (self.retries + 1) * self.retry_interval

    @property
    def sending_limit(self) -> int:
        """Return the seconds after which no repeat is begun, even if an agreed repeat is late.

        A busy sender makes its attempts a little later than agreed. They are still made, as long as the
        receiver remembers the message (ebMS 2.0 §6.4.6).
        """
        return max(self.time_to_live, min(self.persist_duration, self.time_to_live + _MAX_LATENESS_SECONDS))


@dataclass(frozen=True, slots=True)
class Encryption:
    """The digital envelope around payloads: protocol (``XMLENC`` or ``S/MIME``), algorithms, certificate.

    `algorithms` are URIs or names as agreed, the preferred one first. `certificate` pins the
    receiver's certificate, `trust_anchors` the trust anchors of the sender for it. `policy` says which of
    the algorithms this hub uses; a CPA does not have it.
    """

    protocol: str
    algorithms: tuple[str, ...]
    certificate: str | None = None
    protocol_version: str | None = None
    trust_anchors: tuple[str, ...] = ()
    policy: str = "strict"

    def __post_init__(self) -> None:
        """Raise GW808 for an unknown policy, a missing protocol or algorithm, or an invalid pin (SHA-256)."""
        require_choice(self.policy, ENCRYPTION_POLICIES, "encryption/policy")
        require_condition(
            bool(self.protocol), "the protocol of an envelope must be named", "encryption/protocol"
        )
        require_condition(
            bool(self.algorithms), "an envelope must have at least one algorithm", "encryption/algorithms"
        )
        pins = (self.certificate,) if self.certificate is not None else ()
        _check_certificate_pins((*pins, *self.trust_anchors), "encryption/certificate")

    @property
    def is_cms(self) -> bool:
        """Return whether payloads are CMS envelopes (S/MIME), not XML Encryption."""
        return "mime" in self.protocol.lower() or "cms" in self.protocol.lower()


@dataclass(frozen=True, slots=True)
class PackagedPart:
    """One kind of part of a message: its MIME type, how often it occurs, whether a signature covers it.

    `name` is the id of the part in the agreement. `wrapper_types` are the MIME types of the wrappers around
    it, the outermost first, as by encryption.
    """

    name: str
    mime_type: str
    role: str | None = None
    excluded_from_signature: bool = False
    min_occurs: int | None = None
    max_occurs: int | None = None
    wrapper_types: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Packaging:
    """The parts of a message, in order; `mime_type` and `parameters` are those of the whole."""

    name: str
    mime_type: str
    parts: tuple[PackagedPart, ...]
    parameters: str | None = None

    def __post_init__(self) -> None:
        require_condition(
            0 < len(self.parts) <= _MAX_PARTS,
            f"a package must have 1 to {_MAX_PARTS} parts",
            "packaging/parts",
        )


@dataclass(frozen=True, slots=True)
class TransportTerms:
    """The security of the connection: protocol, certificates of both ends (SHA-256), and the HTTP login.

    `client_certificate` is that of the From party, `server_certificate` that of the To party.
    `authentication` are the HTTP schemes (``basic``, ``digest``) that the receiver asks for.
    """

    security_protocol: str | None = None
    security_version: str | None = None
    client_certificate: str | None = None
    server_certificate: str | None = None
    client_anchors: tuple[str, ...] = ()
    server_anchors: tuple[str, ...] = ()
    ciphers: tuple[str, ...] = ()
    authentication: tuple[str, ...] = ()
    protocol_version: str | None = None

    def __post_init__(self) -> None:
        for method in self.authentication:
            require_choice(method, AUTHENTICATION_SCHEMES, "transport/authentication")
        pins = (pin for pin in (self.client_certificate, self.server_certificate) if pin is not None)
        _check_certificate_pins((*pins, *self.client_anchors, *self.server_anchors), "transport")


@dataclass(frozen=True, slots=True)
class BusinessTerms:
    """The requirements of the business process on a message; times in seconds, None where not agreed.

    `collaboration`, `activity` and `activity_action` are the place of the action in the process.
    """

    process: str | None = None
    process_version: str | None = None
    process_uri: str | None = None
    authorization_required: bool = False
    intelligible_check_required: bool = False
    time_to_acknowledge_receipt: int | None = None
    time_to_acknowledge_acceptance: int | None = None
    time_to_perform: int | None = None
    retry_count: int | None = None
    collaboration: str | None = None
    activity: str | None = None
    activity_action: str | None = None

    def __post_init__(self) -> None:
        """Raise GW808 for a time (in seconds) that is out of range."""
        for field_name in (
            "time_to_acknowledge_receipt",
            "time_to_acknowledge_acceptance",
            "time_to_perform",
        ):
            seconds = getattr(self, field_name)
            if seconds is not None:
                require_range(seconds, 0, _MAX_BUSINESS_SECONDS, f"business/{field_name}", " seconds")


@dataclass(frozen=True, slots=True)
class PullTerms:
    """The terms by which the To party fetches waiting messages of ebMS 3.0 (core §3.2, AS4 §3.5).

    `authorization` is the proof of the identity of the pulling party: the certificate of the signed
    PullRequest, a name with a password (WSS UsernameToken), or both. `sub_channel` is the text that the
    PullRequest appends to the channel of the messages; None: nothing.
    """

    authorization: str = "certificate"
    sub_channel: str | None = None

    def __post_init__(self) -> None:
        """Raise GW808 for an unknown authorization or a sub-channel that cannot stand in a URI."""
        require_choice(self.authorization, PULL_AUTHORIZATIONS, "pull/authorization")
        sub_channel = self.sub_channel
        is_valid = sub_channel is None or _SUB_CHANNEL.fullmatch(sub_channel) is not None
        require_condition(
            is_valid, "sub_channel must be a part of a URI without white space", "pull/sub_channel"
        )


#: Octets of the largest message that is split or joined: 2 GiB.
MAX_SPLIT_MESSAGE_OCTETS: Final = 2 * 1024**3
#: Fragments of one message: 2 GiB in pieces of 256 KiB.
MOST_FRAGMENTS: Final = 8192
_SPLITTING_LIMITS: Final = {
    "fragment_size": (1, MAX_SPLIT_MESSAGE_OCTETS),
    "join_interval": (1, 366 * 86_400),
    "message_size": (1, MAX_SPLIT_MESSAGE_OCTETS),
    "open_groups": (1, 10_000),
}


@dataclass(frozen=True, slots=True)
class SplittingTerms:
    """How large messages of ebMS 3.0 are split into fragments (part 2 §4.5, PMode[].Splitting).

    `fragment_size` are the octets of the largest fragment, `join_interval` the seconds in which all fragments
    come after the first one, `routing_properties` the message properties that each fragment repeats.
    `compression` is ``gzip`` or ``none``. Part 2 has no words for `message_size`, the octets of the largest
    message that is joined, and `open_groups`, how many messages of the From party may be incomplete at once.
    """

    fragment_size: int
    compression: str = "none"
    join_interval: int = 86_400
    routing_properties: tuple[str, ...] = ()
    message_size: int = MAX_SPLIT_MESSAGE_OCTETS
    open_groups: int = 4

    def __post_init__(self) -> None:
        """Raise GW808 for a number out of range, an unknown compression, or too many fragments."""
        for field_name, (min_value, max_value) in _SPLITTING_LIMITS.items():
            require_range(getattr(self, field_name), min_value, max_value, f"splitting/{field_name}")
        require_choice(self.compression, ("gzip", "none"), "splitting/compression")
        fragment_count = -(-self.message_size // self.fragment_size)
        sizes = "message_size in pieces of fragment_size"
        detail = f"{sizes} gives {fragment_count} fragments; the most are {MOST_FRAGMENTS}"
        require_condition(fragment_count <= MOST_FRAGMENTS, detail, "splitting/fragment_size")


@dataclass(frozen=True, slots=True)
class ConversationLimits:
    """How often a process may be invoked, and how many conversations may be open; None: without limit."""

    invocations: int | None = None
    concurrent: int | None = None

    def __post_init__(self) -> None:
        """Raise GW808 for a negative limit."""
        for field_name in ("invocations", "concurrent"):
            limit = getattr(self, field_name)
            require_condition(
                limit is None or limit >= 0,
                f"{field_name} must not be negative",
                f"conversations/{field_name}",
            )


@dataclass(frozen=True, slots=True)
class TypedEndpoint:
    """A URL of a handler and its purpose: one of `ENDPOINT_KINDS`."""

    kind: str
    url: str

    def __post_init__(self) -> None:
        require_choice(self.kind, ENDPOINT_KINDS, "endpoints/kind")
        require_condition(is_endpoint(self.url), "an endpoint must be an http(s) URL", "endpoints")


@dataclass(frozen=True, slots=True)
class SignalChannel:
    """How signals about a message go back to its From party: `action` is one signal, or `ANY_SIGNAL`.

    `certificates` pins the signers of these signals, `sync_reply_mode` says whether they travel in the
    answer.
    """

    action: str
    endpoint: str | None = None
    sync_reply_mode: str = "none"
    certificates: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        require_condition(bool(self.action), "a signal channel must name its signal", "signals/action")
        require_choice(self.sync_reply_mode, SYNC_REPLY_MODES, "signals/sync_reply_mode")
        _check_certificate_pins(self.certificates, "signals/certificates")


@dataclass(frozen=True, slots=True)
class AlternativeChannel:
    """Another channel by which the message may travel, after the first."""

    name: str
    endpoint: str | None = None
    sync_reply_mode: str = "none"
    reliability: Reliability = Reliability()
