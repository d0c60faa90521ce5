"""The settings of the HTTP server."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import Field, model_validator

from gateway.config.secret_values import Secret
from gateway.config.value_types import Count, Duration, Location, SettingsSection, Size, Url

__all__ = ["HttpSettings"]


class HttpSettings(SettingsSection):
    """How clients reach the gateway."""

    host: str = Field("127.0.0.1", description="The address to listen on.")
    port: int = Field(
        8080, strict=True, ge=0, le=65535, description="The port to listen on; 0 takes a free one."
    )
    public_url: Url | None = Field(
        None, description="The URL others reach us by, when it is not http://host:port."
    )
    threads: Count = Field(8, description="Requests that one process answers at once.")
    processes: Count = Field(1, description="Processes that answer requests.")
    backlog: Count = Field(256, description="Connections that may wait to be accepted.")
    # A connection costs some ten kilobytes; the scarce resource is descriptors, of which `serve` requests
    # enough.
    connections: Count = Field(
        1000, description="Connections that one process holds; when few are left, idle strangers are closed."
    )
    # A broker's whole office may use one address; an attacker with one address gets no more.
    connections_per_address: Count = Field(
        256, description="Connections of one address to one process; the idlest beyond are closed."
    )
    proxies: tuple[str, ...] = Field(
        (),
        description="Addresses of proxies of our own, whose connections are not bounded by address: "
        "they bound those of their clients.",
    )
    # Sixteen times the threads: the waiting requests of one sender are answered within some tenths of a
    # second.
    requests_per_party: Count = Field(
        128,
        description="Requests of one party, or of one address not known yet, that one process deals with "
        "at once; what is beyond gets 503 and comes again.",
    )
    read_time_out: Duration = Field(
        timedelta(seconds=30),
        description="How long the head of a request may take to arrive, how long a connection may be idle, "
        "and how long a body may take unless it comes as fast as `slowest_body`.",
    )
    # 16 KiB/s is slower than any line used for filing; a message of the largest size then takes over an
    # hour.
    slowest_body: Size = Field(
        16 * 1024, description="Octets a second that a body must bring when it takes longer."
    )
    # Bodies are read completely before they get a thread, so this, not the threads, limits their memory.
    arriving: Size = Field(
        256 * 1024**2,
        description="Octets of requests that one process holds; one address holds a quarter at most.",
    )
    tls_certificate: Location | None = Field(
        None, description="The certificate chain of our TLS, as PEM; read again when the file changes."
    )
    tls_key: Secret | None = Field(None, description="The private key of our TLS, as PEM; a file.")
    tls_password: Secret | None = Field(None, description="The password of that file, when it is encrypted.")
    client_ca: Location | None = Field(
        None,
        description="The authorities (PEM) of whose clients TLS asks a certificate; "
        "`pki.anchors` must believe them, too.",
    )
    client_certificate: Literal["required", "optional"] = Field(
        "required",
        description="Whether nobody connects without such a certificate, or `mutual_tls` and the P-Modes "
        "say who needs one.",
    )
    mutual_tls: tuple[str, ...] = Field(
        (),
        description="Parties whose messages are taken only over TLS with a client certificate that is "
        "registered for them; `*` means every party.",
    )

    @model_validator(mode="after")
    def _check_tls_keys(self) -> HttpSettings:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("TLS needs tls_certificate and tls_key, both or neither")
        if self.client_ca is not None and self.tls_key is None:
            raise ValueError("client_ca needs TLS: tls_certificate and tls_key")
        if self.mutual_tls and self.client_ca is None:
            raise ValueError("mutual_tls needs client_ca, or nobody could meet it")
        return self
