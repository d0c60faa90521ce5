"""What a case consists of before it is octets: certificates, lists, responses, and what is asked."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.pki.chains import asn1
from tests.pki.chains.asn1 import Name
from tests.pki.chains.keys import Key, key

AT = datetime(2025, 6, 1, 12, 0, 0, tzinfo=UTC)
BEGIN, END = datetime(2020, 1, 1, tzinfo=UTC), datetime(2035, 1, 1, tzinfo=UTC)
THIS, NEXT = datetime(2025, 5, 1, tzinfo=UTC), datetime(2025, 7, 1, tzinfo=UTC)

SKI, USAGE, SAN, BASIC = "2.5.29.14", "2.5.29.15", "2.5.29.17", "2.5.29.19"
CRL_NUMBER, REASON, DELTA, POINT = "2.5.29.20", "2.5.29.21", "2.5.29.27", "2.5.29.28"
ENTRY_ISSUER, CONSTRAINTS, POINTS, POLICIES = "2.5.29.29", "2.5.29.30", "2.5.29.31", "2.5.29.32"
MAPPINGS, AKI, POLICY_CONSTRAINTS, EKU = "2.5.29.33", "2.5.29.35", "2.5.29.36", "2.5.29.37"
FRESHEST, INHIBIT_ANY = "2.5.29.46", "2.5.29.54"
SIGN_CERTIFICATES, SIGN_LISTS, SIGN = 5, 6, 0


@dataclass
class Certificate:
    """One certificate; what is None is left out or follows from its issuer (`parent`, None: itself)."""

    subject: Name
    parent: Certificate | None
    key: Key
    serial: int
    authority: bool = True
    not_before: datetime = BEGIN
    not_after: datetime = END
    version: int = 3
    issuer: Name | None = None
    path_length: int | None = None
    basic: bool = True
    basic_critical: bool = True
    usage: set[int] | None = field(default_factory=lambda: {SIGN_CERTIFICATES, SIGN_LISTS})
    ski: bytes | None = b"auto"
    aki: bytes | None = b"auto"
    more: list[tuple[str, bool, bytes]] = field(default_factory=list)
    signer: Key | None = None
    spoilt: bool = False
    told_algorithm: bytes | None = None

    @property
    def issuer_name(self) -> Name:
        """The issuer's name as it stands in this certificate."""
        return self.issuer or (self.parent.subject if self.parent else self.subject)

    @property
    def identifier(self) -> bytes | None:
        """The subject key identifier."""
        return self.key.identifier if self.ski == b"auto" else self.ski

    def octets(self) -> bytes:
        """Return the certificate in DER."""
        signer = self.signer or (self.parent or self).key
        algorithm = signer.algorithm
        parts = [asn1.tlv(0xA0, asn1.integer(self.version - 1))] if self.version > 1 else []
        parts += [
            asn1.integer(self.serial),
            self.told_algorithm or algorithm,
            asn1.name(self.issuer_name),
            asn1.seq(asn1.moment(self.not_before), asn1.moment(self.not_after)),
            asn1.name(self.subject),
            self.key.info,
        ]
        if self.version == 3:
            parts.append(asn1.tlv(0xA3, asn1.seq(*self._extensions())))
        return signed(asn1.seq(*parts), algorithm, signer, spoilt=self.spoilt)

    def _extensions(self) -> list[bytes]:
        found = []
        if self.basic:
            length = b"" if self.path_length is None else asn1.integer(self.path_length)
            value = asn1.seq(asn1.boolean(value=True) if self.authority else b"", length)
            found.append(asn1.extension(BASIC, value, critical=self.basic_critical))
        if self.usage is not None:
            found.append(asn1.extension(USAGE, asn1.flags(self.usage), critical=True))
        if self.identifier is not None:
            found.append(asn1.extension(SKI, asn1.octets(self.identifier)))
        above = self.parent.identifier if self.parent else self.identifier
        authority = above if self.aki == b"auto" else self.aki
        if authority is not None:
            found.append(asn1.extension(AKI, asn1.seq(asn1.tlv(0x80, authority))))
        found += [asn1.extension(kind, value, critical=critical) for kind, critical, value in self.more]
        return found


def signed(body: bytes, algorithm: bytes, signer: Key, *, spoilt: bool = False) -> bytes:
    """Return what is signed with its signature, or with one that is wrong."""
    signature = signer.sign(body + b"!" if spoilt else body)
    return asn1.seq(body, algorithm, asn1.bits(signature))


@dataclass
class Entry:
    """One entry of a list."""

    serial: int
    at: datetime = THIS
    reason: int | None = None
    issuer: Name | None = None
    more: list[tuple[str, bool, bytes]] = field(default_factory=list)

    def octets(self) -> bytes:
        """Return it in DER."""
        found = [asn1.extension(kind, value, critical=critical) for kind, critical, value in self.more]
        if self.reason is not None:
            found.append(asn1.extension(REASON, asn1.integer(self.reason, 0x0A)))
        if self.issuer is not None:
            names = asn1.seq(asn1.tlv(0xA4, asn1.name(self.issuer)))
            found.append(asn1.extension(ENTRY_ISSUER, names, critical=True))
        return asn1.seq(asn1.integer(self.serial), asn1.moment(self.at), asn1.seq(*found) if found else b"")


@dataclass
class RevocationList:
    """One list of revoked certificates; `point` is the value of its issuing distribution point."""

    issuer: Certificate
    this: datetime = THIS
    next: datetime | None = NEXT
    number: int | None = 10
    base: int | None = None
    entries: list[Entry] = field(default_factory=list)
    point: bytes | None = None
    name: Name | None = None
    signer: Key | None = None
    aki: bytes | None = b"auto"
    more: list[tuple[str, bool, bytes]] = field(default_factory=list)
    spoilt: bool = False

    def octets(self) -> bytes:
        """Return it in DER."""
        signer = self.signer or self.issuer.key
        found = []
        authority = signer.identifier if self.aki == b"auto" else self.aki
        if authority is not None:
            found.append(asn1.extension(AKI, asn1.seq(asn1.tlv(0x80, authority))))
        if self.number is not None:
            found.append(asn1.extension(CRL_NUMBER, asn1.integer(self.number)))
        if self.base is not None:
            found.append(asn1.extension(DELTA, asn1.integer(self.base), critical=True))
        if self.point is not None:
            found.append(asn1.extension(POINT, self.point, critical=True))
        found += [asn1.extension(kind, value, critical=critical) for kind, critical, value in self.more]
        body = asn1.seq(
            asn1.integer(1),
            signer.algorithm,
            asn1.name(self.name or self.issuer.subject),
            asn1.moment(self.this),
            asn1.moment(self.next) if self.next else b"",
            asn1.seq(*(each.octets() for each in self.entries)) if self.entries else b"",
            asn1.tlv(0xA0, asn1.seq(*found)) if found else b"",
        )
        return signed(body, signer.algorithm, signer, spoilt=self.spoilt)


@dataclass
class Answer:
    """One OCSP response about one certificate; `responder` signs and is named by key or name."""

    about: Certificate
    issuer: Certificate
    responder: Certificate
    status: str = "good"
    this: datetime = THIS
    next: datetime | None = NEXT
    by_key: bool = True
    along: list[Certificate] = field(default_factory=list)
    serial: int | None = None
    named: Certificate | None = None
    signer: Key | None = None
    digest: str = "sha1"
    spoilt: bool = False
    nonce: bytes | None = None
    more: list[tuple[str, bool, bytes]] = field(default_factory=list)
    single: list[tuple[str, bool, bytes]] = field(default_factory=list)

    def octets(self) -> bytes:
        """Return the whole response in DER."""
        signer = self.signer or self.responder.key
        named = self.named or self.responder
        who = (
            asn1.tlv(0xA2, asn1.octets(named.key.identifier))
            if self.by_key
            else asn1.tlv(0xA1, asn1.name(named.subject))
        )
        extensions = [*self.more]
        if self.nonce is not None:
            extensions.append(("1.3.6.1.5.5.7.48.1.2", False, asn1.octets(self.nonce)))
        body = asn1.seq(
            who,
            asn1.generalized(self.this),
            asn1.seq(self._statement()),
            asn1.tlv(0xA1, _extensions(extensions)) if extensions else b"",
        )
        chain = asn1.tlv(0xA0, asn1.seq(*(each.octets() for each in self.along))) if self.along else b""
        signature = signer.sign(body + b"!" if self.spoilt else body)
        basic = asn1.seq(body, signer.algorithm, asn1.bits(signature), chain)
        told = asn1.seq(asn1.oid("1.3.6.1.5.5.7.48.1.1"), asn1.octets(basic))
        return asn1.seq(asn1.tlv(0x0A, b"\x00"), asn1.tlv(0xA0, told))

    def _statement(self) -> bytes:
        sha1 = self.digest == "sha1"
        algorithm = asn1.seq(asn1.oid("1.3.14.3.2.26" if sha1 else "2.16.840.1.101.3.4.2.1"), b"\x05\x00")
        hashed = [
            hashlib.new(self.digest, part, usedforsecurity=False).digest()
            for part in (asn1.name(self.about.issuer_name), self.issuer.key.bits)
        ]
        states = {
            "good": b"\x80\x00",
            "revoked": asn1.tlv(0xA1, asn1.generalized(self.this)),
            "unknown": b"\x82\x00",
        }
        return asn1.seq(
            asn1.seq(algorithm, *map(asn1.octets, hashed), asn1.integer(self.serial or self.about.serial)),
            states[self.status],
            asn1.generalized(self.this),
            asn1.tlv(0xA0, asn1.generalized(self.next)) if self.next else b"",
            asn1.tlv(0xA1, _extensions(self.single)) if self.single else b"",
        )


def _extensions(extensions: list[tuple[str, bool, bytes]]) -> bytes:
    return asn1.seq(*(asn1.extension(kind, value, critical=mark) for kind, mark, value in extensions))


@dataclass
class Plan:
    """One case: `chain` from the anchor to the leaf, certificates beside it, words on revocation."""

    chain: list[Certificate]
    beside: list[Certificate] = field(default_factory=list)
    lists: list[RevocationList] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)
    at: datetime = AT
    revocation: str = "none"
    notes: list[str] = field(default_factory=list)
    keys: int = 0

    @property
    def leaf(self) -> Certificate:
        """The certificate in question."""
        return self.chain[-1]

    @property
    def authorities(self) -> list[Certificate]:
        """All above the leaf, the anchor first."""
        return self.chain[:-1]

    def new_key(self) -> Key:
        """Return a key that nobody in the case has yet."""
        self.keys += 1
        return key(self.keys)

    def asked(self) -> dict[str, Any]:
        """Return the case as `gateway pki validate --batch` takes it; the path in order, then the others."""
        return {
            "leaf": _text(self.leaf.octets()),
            "anchor": [_text(self.chain[0].octets())],
            "intermediate": [_text(each.octets()) for each in (*self.chain[-2:0:-1], *self.beside)],
            "crl": [_text(each.octets()) for each in self.lists],
            "ocsp": [_text(each.octets()) for each in self.answers],
            "at": self.at.isoformat(),
            "use": "any",
            "revocation": self.revocation,
            **self.options,
        }


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
