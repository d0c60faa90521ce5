"""The settings of the listeners: HTTP, TLS, the API, and the limits of requests."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Final, Literal

from pydantic import Field, model_validator

from gateway.config.setting_values import (
    Count,
    CpuAffinity,
    Duration,
    Location,
    Network,
    Secret,
    SettingsSection,
    Size,
    Url,
)
from gateway.errors import KEY_UNAVAILABLE, SETTINGS_WRONG, GatewayError

_BEARER_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]{16,}=*")


class HttpSettings(SettingsSection):
    """How clients reach the gateway."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = Field(8080, strict=True, ge=0, le=65535)
    """Port to listen on. 0 selects a free port."""
    public_url: Url | None = None
    """URL of the gateway as partners see it. If it is not set, the WSDL has the address by which it was asked
    for."""
    names: tuple[str, ...] = ()
    """Further host names by which partners reach the gateway. Without `public_url`, the WSDL has no other
    name than these, `host`, and the addresses and the name of this machine."""
    threads: Count = 8
    """Number of requests that one process answers at the same time."""
    processes: Count = 1
    """Number of processes that answer requests."""
    cpu_affinity: CpuAffinity = "auto"
    backlog: Count = 256
    """Number of connections that may wait to be accepted."""
    # A connection costs some ten kilobytes; the scarce resource is descriptors, of which `serve` requests
    # enough.
    connections: Count = 1000
    """Number of connections that one process holds. If few are left, the address with most makes room: an
    unknown one while these hold more than a quarter, else that of a party."""
    # A broker's whole office may use one address; an attacker with one address gets no more.
    connections_per_address: Count = 256
    """Number of connections of one address to one process. Above this number, the connections that are idle
    longest are closed."""
    proxies: tuple[str, ...] = ()
    """Addresses of your own reverse proxies. Their connections are not limited by address; the proxies must
    limit their clients."""
    tls_proxies: tuple[str, ...] = ()
    """Addresses of those proxies that end TLS and name the certificate of their client in the field
    Client-Cert (RFC 9440). They must remove this field from what clients send. From any other address the
    field says nothing. Name these addresses in `proxies`, too."""
    status_addresses: tuple[Network, ...] = ("127.0.0.0/8", "::1/128")
    """Addresses and networks of your monitoring, as `10.0.0.0/8`. They alone get `/metrics`,
    `/metrics/process`, and the reason in `/status/ready`. Behind a proxy of `proxies` the last address of
    X-Forwarded-For counts. With `status_token` others get them, too."""
    status_token: Secret | None = None
    """Token with which a request from any address gets what `status_addresses` get, as `Authorization: Bearer
    TOKEN`. It has at least 16 characters, and is read at the start."""
    # Sixteen times the threads: the waiting requests of one sender are answered within some tenths of a
    # second.
    requests_per_party: Count = 128
    """Number of requests of one party, or of one unknown address, that one process handles at the same time.
    Further requests get status 503."""
    # Below the time that HTTP clients commonly wait for an answer.
    response_wait: Duration = timedelta(seconds=20)
    """Longest time that a request waits for its response, where the agreement wants the response in the HTTP
    answer. The agreed time to perform counts if it is shorter."""
    # A waiting connection holds no thread; it costs some ten kilobytes.
    waiting_requests: Count = 64
    """Number of requests of one process that wait for their responses at the same time; one party has at most
    a quarter. Further requests get their signal at once."""
    read_time_out: Duration = timedelta(seconds=30)
    """Time limit for the head of a request, for an idle connection, and for a body that arrives slower than
    `slowest_body`."""
    # 16 KiB/s is slower than any line used for filing; a message of the largest size then takes over an
    # hour.
    slowest_body: Size = 16 * 1024
    """Octets per second at which a body must arrive if it takes longer than `read_time_out`."""
    # Bodies are read completely before they get a thread, so this, not the threads, limits their memory.
    arriving: Size = 256 * 1024**2
    """Octets of requests that one process holds. One address may use at most a quarter, all unknown addresses
    half. Where that is reached, slow requests get status 503 first, those of the address that holds most
    before others."""
    tls_certificate: Location | None = None
    """Certificate chain of the TLS server, as PEM. It is read again when the file changes."""
    tls_key: Secret | None = None
    """Private key of the TLS server, as a PEM file."""
    tls_password: Secret | None = None
    """Password of the key file, if it is encrypted."""
    client_ca: Location | None = None
    """Authorities (PEM) whose client certificates TLS accepts. They must also lead to an anchor in
    `pki.anchors`."""
    client_certificate: Literal["required", "optional"] = "required"
    """With `required`, every client needs such a certificate. With `optional`, `mutual_tls` and the P-Modes
    state which parties need one. The console asks for one, and never requires it."""
    mutual_tls: tuple[str, ...] = ()
    """Parties whose messages are accepted only over TLS with a client certificate that is registered for
    them. `*` means every party."""

    def read_status_token(self) -> str | None:
        """Return the token of the status endpoints, None if it is not set.

        Raises GW803 for a token that cannot be read, is too short, or has other characters than a token.
        """
        if self.status_token is None:
            return None
        token = self.status_token.read().decode("latin-1").strip()
        if _BEARER_TOKEN.fullmatch(token) is None:
            detail = "http.status_token has at least 16 characters of those of a token (RFC 6750 §2.1)"
            raise GatewayError(KEY_UNAVAILABLE, detail, "http.status_token")
        return token

    @model_validator(mode="after")
    def _check_tls_keys(self) -> HttpSettings:
        """Raise ValueError unless the settings of TLS, client certificates and proxies fit together."""
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("TLS needs tls_certificate and tls_key, both or neither")
        if self.client_ca is not None and self.tls_key is None:
            raise ValueError("client_ca needs TLS: tls_certificate and tls_key")
        if self.mutual_tls and self.client_ca is None and not self.tls_proxies:
            raise ValueError(
                "mutual_tls needs client_ca or tls_proxies: without them nobody shows a client certificate"
            )
        if not set(self.tls_proxies) <= set(self.proxies):
            raise ValueError("every address of tls_proxies must be one of proxies")
        return self


class TlsSettings(SettingsSection):
    """How we call one host over TLS; the name ``*`` stands for every host without its own section."""

    anchors: tuple[Location, ...] = ()
    """Trust anchors for the certificate of the host, as PEM files. If there is none, those of the operating
    system."""
    certificate: Location | None = None
    """Client certificate chain, as PEM. It is sent if the host requests one."""
    key: Secret | None = None
    """Private key of the client certificate, as a PEM file."""
    password: Secret | None = None
    """Password of the key file, if it is encrypted."""
    login: str | None = Field(None, min_length=1, max_length=255)
    """Name with which the gateway logs in at the host (HTTP basic authentication), for messages and calls
    over TLS."""
    login_password: Secret | None = None
    """Password for `login`."""

    @model_validator(mode="after")
    def _check_key_pair(self) -> TlsSettings:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("a client certificate needs certificate and key, both or neither")
        return self

    @model_validator(mode="after")
    def _check_login(self) -> TlsSettings:
        """Raise ValueError if only one of `login` and `login_password` is set, or `login` is not valid."""
        if (self.login is None) != (self.login_password is None):
            raise ValueError("a login needs login and login_password, both or neither")
        # RFC 7617 section 2: the first colon ends the name.
        if self.login is not None and (":" in self.login or not self.login.isprintable()):
            raise ValueError("login is a name without colon and control characters")
        return self


def get_key_file(key: Secret, location: str) -> Path:
    """Return the file of a TLS key; raises GW801 for a variable: the library reads only files."""
    if key.file is None:
        raise GatewayError(SETTINGS_WRONG, "the TLS key must be a file", location)
    return key.file


class ApiSettings(SettingsSection):
    """Where the API is served, and how much one party may ask of it."""

    # A server of its own: a rush on it takes no thread and no connection from messages or the console.
    enabled: bool = False
    """Whether the API is served."""
    host: str = "127.0.0.1"
    """Address on which the API listens."""
    port: int = Field(8082, strict=True, ge=0, le=65535)
    """Port of the API. 0 selects a free port."""
    public_url: Url | None = None
    """URL of the API's host as clients see it. If it is not set: http://localhost:port."""
    threads: Count = 8
    """Number of API requests that are answered at the same time."""
    requests_per_party: Count = 16
    """Number of API requests of one party that are handled at the same time. Further requests get status
    429."""
    running_per_party: Count = 2
    """Number of API requests of one party that are answered at the same time, always less than `threads`.
    Further ones wait; those with credentials that the server does not know yet get status 429."""
    token: Duration = timedelta(minutes=10)
    """Time after which an access token ends."""
    tokens_per_party: Count = 100
    """Number of access tokens of one party that are valid at the same time."""
    streams: Count = 64
    """Number of event streams that are open at the same time."""
    streams_per_party: Count = 4
    """Number of event streams of one party."""
    webhooks_per_party: Count = 5
    """Number of webhooks of one party."""
    webhook_hosts: dict[str, tuple[str, ...]] = Field({})
    """The hosts at which a party may have webhooks, by party. Without a host it has none."""
    webhook_key: Location = Path("webhook.key")
    """File with the key from which the secrets of webhooks are derived: 32 octets. It is made with the first
    webhook. All processes of the gateway need the same."""
    webhook_private_addresses: bool = False
    """Whether webhooks may be at private and local addresses: for a closed network."""
    webhook_patience: Duration = timedelta(days=3)
    """Time of failures after which a webhook is switched off."""


class LimitSettings(SettingsSection):
    """The largest size or number of each part of a message."""

    # If this number of later messages has arrived, the sender has lost the missing message.
    held_messages: Count = 1000
    """Messages of one conversation that wait for an earlier one, where an order is agreed."""
    # Each leaves rows in the database, and anyone can send a message that is refused.
    posted_refusals: Count = 200
    """Refusals, Pongs and status responses that one process posts to one endpoint within an hour. Further
    ones are answered on the connection."""
    # Each thread that verifies a message holds it in memory once.
    body: Size = 64 * 1024**2
    """Octets of a complete message."""
    # A part is held several times while it is decrypted.
    secret: Size = 64 * 1024**2
    """Octets of all encrypted parts of a message, which are decrypted in memory."""
    # An agreement names 99 attachments at most; each part costs a check of its boundary and its fields.
    parts: Count = 100
    """MIME parts of a message."""
    # Real parts have three to six fields in under 1 KB.
    part_headers: Size = 16 * 1024
    """Octets of the headers of one part."""
    part_header_count: Count = 32
    """Header fields of one part."""
    # No signature covers the octets outside the boundaries, so nothing is needed there.
    padding: Size = 1024
    """Octets before the first and after the last boundary."""
    # Clients write chunks of 4 KB and more, so 64 MiB arrive in fewer.
    chunks: Count = 65_536
    """Chunks of an HTTP message that is read from a file."""
    # The tree of a malicious document takes sixty times its octets, of an honest one up to twenty.
    xml: Size = 32 * 1024**2
    """Octets of one XML document."""
    # Read before the sender is authenticated: SOAP envelopes, and whole calls of agencies.
    envelope: Size = 4 * 1024**2
    """Octets of a SOAP envelope, and of a call of an agency."""
    tree: Size = 4 * 1024**2
    """Octets that the XML tree of an envelope may use, also if the envelope is small."""
    # Machine-written envelopes come to 6, calls of thousands of short items in short lines to 13.
    density: Count = 14
    """Largest ratio of the size of the XML tree of an envelope to its octets, for larger envelopes."""
    # The deepest schema in use nests 21; the parser itself stops at 256.
    depth: Count = 100
    """Depth of nested elements of an XML document."""
    elements: Count = 200_000
    """Elements of an XML document."""
    # Canonicalisation sorts them by a quadratic method: 50,000 on one element cost 2.6 seconds.
    attributes: Count = 64
    """Attributes of one element."""
    # Inclusive canonicalisation compares them with each other at each element, quadratic again.
    namespaces: Count = 64
    """Namespace declarations on the path to one element."""
    # 100 million steps are a third of a second; a submission of 30 MB takes 10 million.
    canonical_work: Count = 100_000_000
    """Steps that the canonicalization of one document may take. They are computed before it begins."""
    # 128 steps take half a microsecond; real envelopes take fewer than ten for each octet.
    canonical_rate: Count = 128
    """Canonicalization steps per octet of an envelope."""
    # The longest name in the schemas in use has 61 characters.
    name: Count = 256
    """Characters of the name of an element or attribute."""
    value: Count = 65_536
    """Characters of an attribute value."""
    # The parser itself stops at ten million.
    text: Count = 10_000_000
    """Characters of one run of text."""
    # A digest is computed for each; a message with 99 attachments has 100.
    references: Count = 200
    """References of one signature."""
    # Exclusive canonicalisation looks up each of them at every element.
    prefixes: Count = 32
    """Names in one InclusiveNamespaces PrefixList."""
