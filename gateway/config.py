"""Reads and checks the settings: one TOML file, every key with its default and its sentence.

Relative paths start at the home folder, and the home folder, when relative, at the folder
of the file.  Unknown keys are errors.  A secret is never written in the file: it is named
as ``{ file = "…" }`` or ``{ env = "…" }``.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from gateway.errors import KEY_UNAVAILABLE, SETTINGS_WRONG, GatewayError

__all__ = ["Agency", "Customs", "Key", "Secret", "Settings", "describe", "load"]

_LARGEST: Final = 1024 * 1024
_LONGEST: Final = 10_000 * 86400
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_OCTETS: Final = {"": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}


def _duration(value: Any) -> Any:
    if isinstance(value, timedelta):
        return value
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", value) if isinstance(value, str) else None
    seconds = float(found[1]) * _SECONDS[found[2]] if found else value
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise ValueError('a duration is a number of seconds or such as "500ms", "30s", "5m", "2h", "7d"')
    if not 0 <= seconds <= _LONGEST:
        raise ValueError("a duration lies between 0 and 10000 days")
    return timedelta(seconds=seconds)


def _octets(value: Any) -> Any:
    found = re.fullmatch(r"(\d+) ?(KiB|MiB|GiB|)", value) if isinstance(value, str) else None
    if found:
        return int(found[1]) * _OCTETS[found[2]]
    if isinstance(value, str):
        raise ValueError('a size is a number of octets or such as "64 KiB", "16 MiB", "1 GiB"')
    return value


def _home(info: ValidationInfo) -> Path:
    return Path((info.context or {}).get("home", "."))


def _within_home(value: Path, info: ValidationInfo) -> Path:
    return _home(info) / value.expanduser()


def _url(value: str) -> str:
    if not re.fullmatch(r"https?://[^\s/]+(/\S*)?", value):
        raise ValueError("an endpoint is an http or https URL")
    return value


Duration = Annotated[timedelta, BeforeValidator(_duration)]
Size = Annotated[int, BeforeValidator(_octets), Field(strict=True, ge=1)]
Location = Annotated[Path, AfterValidator(_within_home)]
Url = Annotated[str, AfterValidator(_url)]
Count = Annotated[int, Field(strict=True, ge=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, validate_default=True)


class Secret(_Section):
    """Where a secret is kept: in a file, or in a variable of the environment."""

    file: Location | None = Field(None, description="The file that holds the secret.")
    env: str | None = Field(None, description="The variable of the environment that holds the secret.")

    @model_validator(mode="after")
    def _one(self) -> Secret:
        if (self.file is None) == (self.env is None):
            raise ValueError('a secret is { file = "…" } or { env = "…" }, one of the two')
        return self

    def read(self, environ: Mapping[str, str] = os.environ) -> bytes:
        """Return the secret; GW803 when it is not there."""
        if self.env is not None:
            if self.env not in environ:
                raise GatewayError(KEY_UNAVAILABLE, f"the environment has no variable {self.env[:80]}")
            return environ[self.env].encode()
        path = str(self.file)
        try:
            return Path(path).read_bytes()
        except OSError as error:
            detail = f"{path[-120:]} cannot be read: {error.strerror}"
            raise GatewayError(KEY_UNAVAILABLE, detail) from error


class Hub(_Section):
    """Who we are."""

    party: str = Field("hub", min_length=1, description="The id of our own party in the registry.")
    name: str = Field("Single Window Hub", description="The name shown to people.")
    home: Path = Field(Path("gateway-home"), description="The folder of what the gateway keeps in files.")
    time_zone: str = Field("Asia/Seoul", description="The time zone in which people are shown times.")

    @field_validator("home")
    @classmethod
    def _absolute(cls, value: Path, info: ValidationInfo) -> Path:
        return _home(info) if info.context else value


class Database(_Section):
    """Where the rows are."""

    url: str = Field(
        "",
        repr=False,
        description="The SQLAlchemy URL of a SQLite file or a PostgreSQL server; "
        "a file in the home folder when empty; may be a secret.",
    )
    # The log of SQLite (16 MiB), what the accepted messages still become (calls, replies, results,
    # evidence), and one largest message of each of several threads that measured at the same moment.
    reserve: Size = Field(
        256 * 1024**2,
        description="Octets of its disk that are kept for work taken before; "
        "when less is free, no new message is taken.",
    )
    volume: Location | None = Field(
        None,
        description="A folder on the disk of the database, whose free room counts; the folder of the "
        "SQLite file when not given. Without it the room of a PostgreSQL server is not measured.",
    )

    @field_validator("url", mode="before")
    @classmethod
    def _from_secret(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, dict):
            return Secret.model_validate(value, context=info.context).read().decode().strip()
        return value

    @field_validator("url")
    @classmethod
    def _placed(cls, value: str, info: ValidationInfo) -> str:
        relative = re.fullmatch(r"sqlite:///([^/].*)", value or "sqlite:///gateway.sqlite3")
        return f"sqlite:///{_home(info) / relative[1]}" if relative else value


class Http(_Section):
    """How we are reached."""

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
    # A connection costs some ten kilobytes; what is short is descriptors, of which `serve` asks for enough.
    connections: Count = Field(
        1000, description="Connections that one process holds; when few are left, idle strangers are closed."
    )
    # A broker's whole office may come from one address; an attacker with one address gets no more.
    connections_per_address: Count = Field(
        256, description="Connections of one address to one process; the idlest beyond are closed."
    )
    proxies: tuple[str, ...] = Field(
        (),
        description="Addresses of proxies of our own, whose connections are not bounded by address: "
        "they bound those of their clients.",
    )
    # Sixteen times the threads: what one sender has waiting is answered within some tenths of a second.
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
    # 16 KiB/s is slower than any line one files over; a largest message then takes over an hour.
    slowest_body: Size = Field(
        16 * 1024, description="Octets a second that a body must bring when it takes longer."
    )
    # Bodies are read whole before they get a thread; this, not the threads, bounds the memory they take.
    arriving: Size = Field(
        256 * 1024**2,
        description="Octets of requests that one process holds; one address holds a quarter at most.",
    )
    tls_certificate: Location | None = Field(None, description="The certificate chain of our TLS, as PEM.")
    tls_key: Secret | None = Field(None, description="The private key of our TLS, as PEM.")
    client_ca: Location | None = Field(None, description="The authorities whose clients may connect, as PEM.")

    @model_validator(mode="after")
    def _both(self) -> Http:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("TLS needs tls_certificate and tls_key, both or neither")
        return self


class Limits(_Section):
    """How much of everything a message may bring."""

    # A message is held in memory once while it is judged, by each thread that judges one.
    body: Size = Field(64 * 1024**2, description="Octets of a whole message.")
    # An agreement names 99 attachments at most; each part costs a look at its boundary and its fields.
    parts: Count = Field(100, description="MIME parts of a message.")
    # Real parts have three to six fields in under 1 KB.
    part_headers: Size = Field(16 * 1024, description="Octets of the headers of one part.")
    part_header_count: Count = Field(32, description="Header fields of one part.")
    # No signature covers what stands outside the boundaries, so there is nothing to say there.
    padding: Size = Field(1024, description="Octets before the first and after the last boundary.")
    # Clients write chunks of 4 KB and more, so 64 MiB come in fewer.
    chunks: Count = Field(65_536, description="Chunks of an HTTP message that is read from a file.")
    # The tree of a document written to hurt takes sixty times its octets, of an honest one up to twenty.
    xml: Size = Field(32 * 1024**2, description="Octets of one XML document.")
    # What is read before anybody is known: SOAP envelopes, and whole calls of agencies.
    envelope: Size = Field(4 * 1024**2, description="Octets of a SOAP envelope, and of a call of an agency.")
    tree: Size = Field(
        4 * 1024**2, description="Octets that the tree of any envelope may take, however small it is."
    )
    # Envelopes written by machines come to 6, calls of thousands of short items in short lines to 13.
    density: Count = Field(
        14, description="How many times its octets the tree of a larger envelope may take."
    )
    # The deepest schema in use nests 21; the parser itself stops at 256.
    depth: Count = Field(100, description="Nested elements of an XML document.")
    elements: Count = Field(200_000, description="Elements of an XML document.")
    # Canonicalisation sorts them with a quadratic method: 50,000 on one element cost 2.6 seconds.
    attributes: Count = Field(64, description="Attributes of one element.")
    # Inclusive canonicalisation compares them with each other at each element, quadratic again.
    namespaces: Count = Field(64, description="Namespace declarations on the path to one element.")
    # 100 million steps are a third of a second; a submission of 30 MB takes 10 million.
    canonical_work: Count = Field(
        100_000_000, description="Steps that canonicalising one document may take, computed beforehand."
    )
    # 128 steps take half a microsecond; real envelopes take fewer than ten for each octet.
    canonical_rate: Count = Field(128, description="Such steps for each octet of an envelope.")
    # The longest name in the schemas in use has 61 characters.
    name: Count = Field(256, description="Characters of the name of an element or attribute.")
    value: Count = Field(65_536, description="Characters of an attribute value.")
    # The parser itself stops at ten million.
    text: Count = Field(10_000_000, description="Characters of one run of text.")
    # Each has a digest computed; a message with 99 attachments has 100.
    references: Count = Field(200, description="References of one signature.")
    # Exclusive canonicalisation looks each of them up at every element.
    prefixes: Count = Field(32, description="Names in one InclusiveNamespaces PrefixList.")
    clock_skew: Duration = Field(
        timedelta(minutes=5), description="How far the clock of a partner may differ from ours."
    )


class Token(_Section):
    """The PKCS#11 token that signs, when one does; without a module the key is a file."""

    module: Location | None = Field(
        None, description="The library of the token's vendor; with it `signing_key` is not read."
    )
    label: str = Field("", description="The label of the token.")
    key: str = Field("", description="The label of the private key in the token.")
    pin: Secret | None = Field(None, description="The PIN of the token's user; read at each login.")

    @model_validator(mode="after")
    def _whole(self) -> Token:
        if self.module is not None and not (self.label and self.key and self.pin):
            raise ValueError("a token is named by module, label, key and pin")
        return self


class Next(_Section):
    """The key that takes over from the one we sign with; without a start there is none."""

    starts: AwareDatetime | None = Field(
        None, description="From when it signs in place of the one above; a date and time with its offset."
    )
    signing_key: Secret | None = Field(None, description="The next private key, as `pki.signing_key`.")
    signing_password: Secret | None = Field(
        None, description="The password of the file of the next private key, when it is encrypted."
    )
    signing_certificate: Location | None = Field(
        None, description="The certificate of the next key; a PKCS#12 file brings its own."
    )
    token: Token = Field(Token(), description="The PKCS#11 token that signs then, when one does.")

    @model_validator(mode="after")
    def _whole(self) -> Next:
        named = self.signing_key is not None or self.token.module is not None
        if (self.starts is not None) != named:
            raise ValueError("the next key is named by starts, and signing_key or token")
        if self.token.module is not None and self.signing_certificate is None:
            raise ValueError("the key of a token needs signing_certificate")
        return self


class Pki(_Section):
    """Whom we believe, and with which key we sign."""

    anchors: tuple[Location, ...] = Field(
        (Path("pki/ca.pem"),), description="The certificates of the authorities believed, as PEM files."
    )
    crls: tuple[Location, ...] = Field(
        (Path("pki/crl.pem"),), description="The revocation lists in hand, as PEM or DER files."
    )
    signing_key: Secret = Field(
        Secret(file=Path("pki/hub.key.pem")),
        description="The private key we sign with: PKCS#8 as PEM or DER, encrypted or not "
        "(also by SEED, as Korean key files are), or a PKCS#12 file.",
    )
    signing_password: Secret | None = Field(
        None, description="The password of the file of the private key, when it is encrypted."
    )
    signing_certificate: Location = Field(
        Path("pki/hub.cert.pem"),
        description="The certificate of the key we sign with, as PEM or DER; "
        "a PKCS#12 file brings its own, and this is not read.",
    )
    token: Token = Field(Token(), description="The PKCS#11 token that signs, when one does.")
    next: Next = Field(Next(), description="The key that takes over, when one does.")
    policy: Location | None = Field(
        None, description="The file of the trust policy, when it is not the shipped one."
    )
    revocation: Literal["require", "if_present"] | None = Field(
        None, description="Whether a fresh revocation list is required; the policy's rule when not given."
    )
    signatures: str = Field("strict", description="The policy of algorithms that signatures must meet.")

    @field_validator("signing_key", mode="before")
    @classmethod
    def _at_home(cls, value: Any) -> Any:
        # A default is validated again, so that its path starts at the home folder.
        return value.model_dump() if isinstance(value, Secret) else value


class Delivery(_Section):
    """How things are handed over, and again."""

    workers: Count = Field(8, description="Deliveries that one process makes at once.")
    lease: Duration = Field(
        timedelta(seconds=120), description="How long a worker may be silent before another takes over."
    )
    crashes: Count = Field(
        3, description="Workers that may die over one delivery before it is put aside for the operator."
    )
    poll: Duration = Field(
        timedelta(milliseconds=50), description="How long an idle worker waits before it looks again."
    )
    first_retry: Duration = Field(
        timedelta(seconds=10), description="The wait after the first try; it doubles from there."
    )
    longest_retry: Duration = Field(timedelta(hours=1), description="The longest wait between two tries.")
    retries: int = Field(12, strict=True, ge=0, description="Tries after the first one.")
    expiry: Duration = Field(
        timedelta(days=3), description="How long a delivery is tried at all, unless it says so itself."
    )
    receipt: Duration = Field(
        timedelta(seconds=60), description="How long we wait for a receipt before we send again."
    )


class Share(_Section):
    """Data of your own."""

    folders: tuple[Location, ...] = Field(
        (), description="Folders searched for xsd, wsdl, mappings, pki before those of the gateway."
    )


class _Called(_Section):
    wsdl: str | None = Field(
        None, description="The WSDL among the wsdl folders, when it is not the template."
    )
    wsdl_sha256: str | None = Field(
        None,
        pattern="^[0-9a-f]{64}$",
        description="The SHA-256 of the WSDL, for one of your own; of a shipped one the gateway knows it.",
    )
    endpoint: Url | None = Field(None, description="The URL that is called.")
    time_out: Duration = Field(timedelta(seconds=30), description="How long an answer may take.")
    lane: Count = Field(4, description="Calls at once.")
    party: str | None = Field(None, description="Its party in the registry, when not named as here.")
    retries: int | None = Field(
        None, strict=True, ge=0, description="Tries after the first one, when not as [delivery] says."
    )
    first_retry: Duration | None = Field(
        None, description="The wait after the first try, when not as [delivery] says."
    )


class Agency(_Called):
    """How one agency is reached."""

    channel: Literal["soap", "mailbox", "ebms2"] = Field(
        "soap", description="Called over SOAP, left to work in its mailbox, or sent ebMS messages."
    )
    contact: str = Field("", description="Whom to call when it does not answer.")

    @model_validator(mode="after")
    def _reachable(self) -> Agency:
        if self.channel == "soap" and self.endpoint is None:
            raise ValueError("an agency called over SOAP needs an endpoint")
        return self


class Customs(_Called):
    """How customs is reached; without an endpoint it is told nothing."""


class Settings(_Section):
    """All settings."""

    hub: Hub = Field(Hub(), description="Who we are.")
    database: Database = Field(Database(), description="Where the rows are.")
    http: Http = Field(Http(), description="How we are reached.")
    limits: Limits = Field(Limits(), description="How much of everything a message may bring.")
    pki: Pki = Field(Pki(), description="Whom we believe, and with which key we sign.")
    delivery: Delivery = Field(Delivery(), description="How things are handed over, and again.")
    share: Share = Field(Share(), description="Data of your own.")
    agency: dict[str, Agency] = Field({}, description="How each agency is reached, by its code.")
    customs: Customs = Field(Customs(), description="How customs is reached.")

    @model_validator(mode="before")
    @classmethod
    def _every_section(cls, value: Any) -> Any:
        # So that every default is made with the home folder at hand.
        empty: dict[str, Any] = {name: {} for name in cls.model_fields}
        return empty | value if isinstance(value, dict) else value

    @property
    def home(self) -> Path:
        """Return the home folder."""
        return self.hub.home


def load(
    path: Path | str | None = None,
    *,
    home: Path | str | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Settings:
    """Read the file named, else the one GATEWAY_CONFIG names, else take the defaults.

    `home` overrides the home folder.  GW801 names the first key that is wrong.
    """
    named = path or environ.get("GATEWAY_CONFIG") or None
    source = Path(named).absolute() if named else None
    values = _read(source) if source else {}
    start = source.parent if source else Path.cwd()
    hub = values.get("hub")
    inner = hub.get("home") if isinstance(hub, dict) else None
    chosen = home or (inner if isinstance(inner, str) else "gateway-home")
    where = (Path.cwd() if home else start) / Path(chosen).expanduser()
    try:
        return Settings.model_validate(values, context={"home": where})
    except ValidationError as error:
        raise _wrong(error, str(named or "defaults")) from None


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
        if len(data) > _LARGEST:
            raise GatewayError(SETTINGS_WRONG, "the file is larger than 1 MiB", str(path))
        return tomllib.loads(data.decode())
    except OSError as error:
        raise GatewayError(SETTINGS_WRONG, f"the file cannot be read: {error.strerror}", str(path)) from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        detail = f"the file is not TOML: {str(error)[:200]}"
        raise GatewayError(SETTINGS_WRONG, detail, str(path)) from None


def _wrong(error: ValidationError, source: str) -> GatewayError:
    found = error.errors(include_url=False, include_input=False, include_context=False)
    details = [f"{_key(each['loc'])}: {_reason(each)}" for each in found[:5]]
    if len(found) > 5:
        details.append(f"and {len(found) - 5} more")
    return GatewayError(SETTINGS_WRONG, "; ".join(details), f"{source}: {_key(found[0]['loc'])}")


def _key(place: tuple[int | str, ...]) -> str:
    return ".".join(str(step)[:60] for step in place) or "settings"


def _reason(found: Any) -> str:
    if found["type"] != "extra_forbidden":
        return str(found["msg"]).removeprefix("Value error, ")[:200]
    *outer, wrong = (str(step) for step in found["loc"])
    known = [key.rpartition(".")[2] for key in _keys_of(outer)]
    near = difflib.get_close_matches(wrong[:60], known, n=1)
    return "there is no such key" + (f"; did you mean {near[0]}?" if near else "")


def _keys_of(outer: list[str]) -> Iterator[str]:
    place = ["<code>" if outer[:1] == ["agency"] and n == 1 else step for n, step in enumerate(outer)]
    for key in describe():
        *above, _ = key.name.split(".")
        if above == place:
            yield key.name
    if not place:
        yield from Settings.model_fields


@dataclass(frozen=True, slots=True)
class Key:
    """One key of the file: its name from the top, its default as written in TOML, its sentence."""

    name: str
    default: str
    sentence: str


def describe() -> tuple[Key, ...]:
    """Return every key, in the order of the sections; the manual's list is made from this."""
    return tuple(_describe(Settings, ""))


def _describe(section: type[BaseModel], prefix: str) -> Iterator[Key]:
    for name, field in section.model_fields.items():
        inner = Agency if name == "agency" else field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel) and inner is not Secret:
            yield from _describe(inner, f"{prefix}{name}." + ("<code>." if name == "agency" else ""))
        else:
            yield Key(f"{prefix}{name}", _toml(field.default), str(field.description))


def _toml(value: Any) -> str:
    match value:
        case None:
            return ""
        case tuple():
            return "[" + ", ".join(_toml(item) for item in value) + "]"
        case Secret():
            return f'{{ file = "{value.file}" }}'
        case timedelta():
            return f'"{value.total_seconds():g}s"'
        case int():
            return str(value)
        case _:
            return f'"{value}"'
