"""The settings of the HTTP server."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import Field, model_validator

from gateway.config.secret_values import Secret
from gateway.config.value_types import Count, CpuAffinity, Duration, Location, SettingsSection, Size, Url

__all__ = ["HttpSettings"]


class HttpSettings(SettingsSection):
    """How clients reach the gateway."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(
        8080, strict=True, ge=0, le=65535, description="Port to listen on. 0 selects a free port."
    )
    public_url: Url | None = Field(
        None,
        description=(
            "URL of the gateway as partners see it. If it is not set, the WSDL has the address by which it "
            "was asked for."
        ),
    )
    names: tuple[str, ...] = Field(
        (),
        description=(
            "Further host names by which partners reach the gateway. Without `public_url`, the WSDL has no "
            "other name than these, `host`, and the addresses and the name of this machine."
        ),
    )
    threads: Count = Field(8, description="Number of requests that one process answers at the same time.")
    processes: Count = Field(
        1,
        description="Number of processes that answer requests. With several, a busy one that has "
        "more of the busy connections than another ends some of them with `Connection: close`; the clients "
        "connect again.",
    )
    cpu_affinity: CpuAffinity = "auto"
    backlog: Count = Field(256, description="Number of connections that may wait to be accepted.")
    # A connection costs some ten kilobytes; the scarce resource is descriptors, of which `serve` requests
    # enough.
    connections: Count = Field(
        1000,
        description=(
            "Number of connections that one process holds. If few are left, idle connections of unknown "
            "senders are closed."
        ),
    )
    # A broker's whole office may use one address; an attacker with one address gets no more.
    connections_per_address: Count = Field(
        256,
        description=(
            "Number of connections of one address to one process. Above this number, the connections that "
            "are idle longest are closed."
        ),
    )
    proxies: tuple[str, ...] = Field(
        (),
        description=(
            "Addresses of your own reverse proxies. Their connections are not limited by address; the "
            "proxies must limit their clients."
        ),
    )
    tls_proxies: tuple[str, ...] = Field(
        (),
        description=(
            "Addresses of those proxies that end TLS and name the certificate of their client in the "
            "field Client-Cert (RFC 9440). They must remove this field from what clients send. From "
            "any other address the field says nothing. Name these addresses in `proxies`, too."
        ),
    )
    # Sixteen times the threads: the waiting requests of one sender are answered within some tenths of a
    # second.
    requests_per_party: Count = Field(
        128,
        description=(
            "Number of requests of one party, or of one unknown address, that one process handles at the "
            "same time. Further requests get status 503."
        ),
    )
    # Below the time that HTTP clients commonly wait for an answer.
    response_wait: Duration = Field(
        timedelta(seconds=20),
        description=(
            "Longest time that a request waits for its response, where the agreement wants the response "
            "in the HTTP answer. The agreed time to perform counts if it is shorter."
        ),
    )
    # A waiting connection holds no thread; it costs some ten kilobytes.
    waiting_requests: Count = Field(
        64,
        description=(
            "Number of requests of one process that wait for their responses at the same time; one party "
            "has at most a quarter. Further requests get their signal at once."
        ),
    )
    read_time_out: Duration = Field(
        timedelta(seconds=30),
        description=(
            "Time limit for the head of a request, for an idle connection, and for a body that arrives "
            "slower than `slowest_body`."
        ),
    )
    # 16 KiB/s is slower than any line used for filing; a message of the largest size then takes over an
    # hour.
    slowest_body: Size = Field(
        16 * 1024,
        description=(
            "Octets per second at which a body must arrive if it takes longer than `read_time_out`."
        ),
    )
    # Bodies are read completely before they get a thread, so this, not the threads, limits their memory.
    arriving: Size = Field(
        256 * 1024**2,
        description="Octets of requests that one process holds. One address may use at most a quarter.",
    )
    tls_certificate: Location | None = Field(
        None,
        description="Certificate chain of the TLS server, as PEM. It is read again when the file changes.",
    )
    tls_key: Secret | None = Field(None, description="Private key of the TLS server, as a PEM file.")
    tls_password: Secret | None = Field(None, description="Password of the key file, if it is encrypted.")
    client_ca: Location | None = Field(
        None,
        description=(
            "Authorities (PEM) whose client certificates TLS accepts. They must also lead to an anchor in "
            "`pki.anchors`."
        ),
    )
    client_certificate: Literal["required", "optional"] = Field(
        "required",
        description=(
            "With `required`, every client needs such a certificate. With `optional`, `mutual_tls` and "
            "the P-Modes state which parties need one. The console asks for one, and never requires it."
        ),
    )
    mutual_tls: tuple[str, ...] = Field(
        (),
        description=(
            "Parties whose messages are accepted only over TLS with a client certificate that is "
            "registered for them. `*` means every party."
        ),
    )

    @model_validator(mode="after")
    def _check_tls_keys(self) -> HttpSettings:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("TLS needs tls_certificate and tls_key, both or neither")
        if self.client_ca is not None and self.tls_key is None:
            raise ValueError("client_ca needs TLS: tls_certificate and tls_key")
        if self.mutual_tls and self.client_ca is None and not self.tls_proxies:
            raise ValueError(
                "mutual_tls needs client_ca or tls_proxies: without them nobody shows a client certificate"
            )
        if not set(self.tls_proxies) <= set(self.proxies):
            raise ValueError("every address of tls_proxies is one of proxies")
        return self
