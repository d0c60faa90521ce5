"""Targets: certificates, revocation lists, and what operators write: agreements, mappings, settings."""

from __future__ import annotations

import atexit
import tempfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from gateway.agreements import read_pmodes
from gateway.config import load_settings as load_settings
from gateway.errors import KEY_UNAVAILABLE, SETTINGS_WRONG, GatewayError
from gateway.harmonize import compile_request_schemas, load_bundle, split_submission
from gateway.pki import (
    CertificateUse,
    CertificateValidator,
    RevocationData,
    TrustPolicy,
    TrustStore,
    read_certificate,
    read_certificates,
    read_revocation_lists,
    validate_path,
)
from gateway.share import MemoryPath
from gateway_workbench.importer.inventory_reader import read_inventory
from tests.fuzz.certificates import full_certificate, full_crl, rsa_certificate
from tests.fuzz.ders import mutate_signed_der
from tests.fuzz.identities import AUTHORITY, NOW, crl, signer, store
from tests.fuzz.octets import either, mutate_octets
from tests.fuzz.target import Target, promise
from tests.fuzz.texts import mutate_files, mutate_lines, read_files, write_files
from tests.harmonize import small_bundle
from tests.kit.paths import ROOT

__all__ = ["TARGETS"]

_LENIENT = TrustPolicy(revocation="if_present")


def _certificate(data: bytes) -> object:
    """Read a certificate; judge it as a party's, as an authority's below ours, and as an anchor."""
    said = []
    for use in CertificateUse:
        verdict = CertificateValidator(store(), RevocationData((crl(),)))(data, use, NOW)
        said.append((verdict.status, verdict.reason))
    certificate = read_certificate(data)
    promise(read_certificate(certificate.pem).sha256 == certificate.sha256, "PEM is another certificate")
    anchored = TrustStore((certificate,), (signer(AUTHORITY).certificate,), _LENIENT)
    below = TrustStore((signer(AUTHORITY).certificate,), (certificate,), _LENIENT)
    for trust in (anchored, below):
        for one in (certificate, signer("broker1").certificate):
            verdict = validate_path(one, NOW, CertificateUse.SIGNING, trust, RevocationData())
            said.append((verdict.status, verdict.reason))
    return said, certificate.subject, certificate.serial, [one.sha256 for one in read_certificates(data)]


def _crl(data: bytes) -> object:
    lists = read_revocation_lists(data)
    said = []
    for name in ("broker1", "revoked"):
        verdict = validate_path(
            signer(name).certificate, NOW, CertificateUse.SIGNING, store(), RevocationData((data,))
        )
        said.append((verdict.status, verdict.reason))
    may_vouch = all(one.unusable_reason is None and one.reasons for one in lists[:1])
    promise(said[0][0] != "valid" or may_vouch, "an unfit list vouches")
    return said, [(one.issuer, one.unusable_reason, len(one.entries)) for one in lists]


def _certificates() -> Iterable[bytes]:
    for name in ("broker1", AUTHORITY, "revoked"):
        yield signer(name).certificate.der
    yield signer("broker1").certificate.pem
    yield full_certificate()
    yield rsa_certificate()


def _crls() -> Iterable[bytes]:
    yield crl()
    yield full_crl(delta=False)
    yield full_crl(delta=True)


def _agreement(data: bytes) -> object:
    try:
        return [pmode.id for pmode in read_pmodes(data, "agreement.yaml")]
    except GatewayError as refused:
        promise(refused.location.startswith("agreement.yaml"), "a refusal does not name its place")
        raise


def _agreements() -> Iterable[bytes]:
    yield (ROOT / "conformance" / "agreements" / "example.yaml").read_bytes()


def _mapping(data: bytes) -> object:
    """Load mappings; where they are good, split a submission by them."""
    files = read_files(data)
    files.setdefault("codelists.yaml", b"lists: {}\n")
    try:
        found = load_bundle(MemoryPath(files))
        compile_request_schemas(found)
    except GatewayError as refused:
        promise(bool(refused.location), "a refusal does not name its place")
        raise
    if "TINY" not in found.documents:
        return sorted(found.documents)
    done = split_submission(small_bundle.submission(), found, small_bundle.NUMBERS)
    return [(one.problem.id, one.pointer) for one in done.problems], len(done.requests)


def _mappings() -> Iterable[bytes]:
    yield write_files(list(small_bundle.FILES.items()))


@cache
def _mapping_words() -> tuple[bytes, ...]:
    found = set()
    for path in sorted((ROOT / "mappings").rglob("*.yaml")):
        for line in path.read_bytes().splitlines():
            name = line.strip().lstrip(b"- ").partition(b":")[0]
            if name.isalnum() and name.isascii() and len(name) < 16 and name.islower():
                found.add(name)
    return tuple(sorted(found))


def _inventory(data: bytes) -> object:
    return [paper.id for paper in read_inventory(data, "inventory.yaml").documents]


def _inventories() -> Iterable[bytes]:
    text = (ROOT / "gateway" / "manual" / "inventory.md").read_text(encoding="utf-8")
    for block in text.split("```yaml")[1:]:
        yield block.partition("\n")[2].partition("```")[0].encode()


@cache
def _place() -> Path:
    folder = tempfile.TemporaryDirectory(prefix="gateway-fuzz-")
    atexit.register(folder.cleanup)
    return Path(folder.name) / "gateway.toml"


def _settings(data: bytes) -> object:
    _place().write_bytes(data)
    try:
        found = load_settings(_place(), environ={})
    except GatewayError as refused:
        promise(
            refused.problem in (SETTINGS_WRONG, KEY_UNAVAILABLE), "settings are refused as something else"
        )
        raise
    return repr(found).replace(str(_place().parent), "")


def _all_settings() -> Iterable[bytes]:
    yield (
        b'[hub]\nparty = "hub"\nhome = "."\n[database]\nurl = "sqlite:///x.db"\n[http]\nport = 8080\n'
        b'public_url = "https://hub.example"\n[limits]\nbody = "64 MiB"\n[delivery]\nfirst_retry = "30s"\n'
        b'[agency.KFDA]\nwsdl = "agency-template.wsdl"\nendpoint = "http://a.example/"\n'
    )
    page = (ROOT / "gateway" / "manual" / "configuration.md").read_text(encoding="utf-8")
    for block in page.split("```toml")[1:]:
        yield block.partition("\n")[2].partition("```")[0].encode()


TARGETS = (
    Target(
        "certificate",
        "certificates, DER and PEM, judged for every use; changed and signed again by the authority",
        _certificates,
        _certificate,
        either((5, mutate_signed_der), (1, mutate_octets)),
        8192,
    ),
    Target(
        "crl",
        "revocation lists; changed and signed again by the authority",
        _crls,
        _crl,
        either((5, mutate_signed_der), (1, mutate_octets)),
        8192,
    ),
    Target(
        "agreement",
        "agreements in YAML, with the place of each mistake",
        _agreements,
        _agreement,
        mutate_lines(),
    ),
    Target(
        "mapping",
        "mappings in YAML and tables, loaded, and a submission split by what loads",
        _mappings,
        _mapping,
        lambda data, rng: mutate_files(_mapping_words())(data, rng),
    ),
    Target("inventory", "inventories of forms", _inventories, _inventory, mutate_lines()),
    Target("settings", "gateway.toml", _all_settings, _settings, mutate_lines()),
)
