"""``gateway pki request | issue | cross | revoke | ours``: from a key to its certificate and its end."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from gateway.cli.settings import add_home, print_rows, read_file, settings_of
from gateway.errors import SETTINGS_WRONG, GatewayError
from gateway.hub.assembly import NoCalls, build_hub, now
from gateway.hub.trust.own_certificates import own_spans
from gateway.pki.certificates import read_certificate
from gateway.pki.issue import (
    KEY_KINDS,
    Order,
    cross_certify,
    issue_requested,
    load_authority,
    profiles,
    request_certificate,
    revoke,
    write_key,
)
from gateway.pki.policy import shipped_policy
from gateway.pki.requests import read_request

__all__ = ["add_requests"]

_PARTIES = sorted(name for name in profiles() if name != "authority")


def add_requests(group: Any) -> None:
    """Add ``request``, ``issue``, ``cross``, ``revoke`` and ``ours`` to the verbs of ``pki``."""
    request = group.add_parser("request", help="make a key, and the request (PKCS#10) for its certificate")
    request.add_argument("subject", help="the name to be certified: CN=…,O=… or a common name alone")
    request.add_argument("--kind", choices=KEY_KINDS, default="p-256", help="the kind of key")
    request.add_argument("--name", action="append", default=[], metavar="dns:HOST", help=_NAMES)
    request.add_argument("--key", type=Path, required=True, help="the file to write the private key to")
    request.add_argument("--password", type=Path, metavar="FILE", help="encrypt the key by this password")
    request.add_argument("--out", type=Path, required=True, help="the file to write the request to")
    request.set_defaults(run=_request)
    issue = group.add_parser("issue", help="issue the certificate of a request, as the sandbox authority")
    issue.add_argument("request", type=Path, help="the request, PEM or DER")
    issue.add_argument("--ca", type=Path, required=True, help="the folder of the sandbox authority")
    issue.add_argument("--out", type=Path, required=True, help="the file to write the certificate to")
    issue.add_argument("--profile", choices=_PARTIES, default="signing", help="what it is for")
    issue.add_argument("--days", type=int, help="how long it lasts, when not as the profile says")
    issue.add_argument("--name", action="append", default=[], metavar="dns:HOST", help=_NAMES)
    issue.add_argument(
        "--policy", action="append", default=[], metavar="OID", help="issued by this policy; repeatable"
    )
    issue.add_argument("--json", action="store_true", help="print JSON")
    issue.set_defaults(run=_issue)
    cross = group.add_parser("cross", help="certify another authority's key: a bridge for its parties")
    cross.add_argument("certificate", type=Path, help="the other authority's own certificate")
    cross.add_argument("--ca", type=Path, required=True, help="the folder of the sandbox authority")
    cross.add_argument(
        "--policy",
        action="append",
        required=True,
        metavar="OURS=THEIRS",
        help="policy of ours that theirs is as good as; repeatable",
    )
    cross.add_argument("--out", type=Path, required=True, help="the file to write the certificate to")
    cross.set_defaults(run=_cross)
    ended = group.add_parser("revoke", help="write the next revocation list of the sandbox authority")
    ended.add_argument("certificate", type=Path, nargs="*", help="one that is revoked; none: renew the list")
    ended.add_argument("--ca", type=Path, required=True, help="the folder of the sandbox authority")
    ended.set_defaults(run=_revoke)
    ours = group.add_parser("ours", help="say by which certificates we sign, now and next, for partners")
    ours.add_argument("--out", type=Path, help="write them to this file as PEM, too")
    add_home(ours)
    ours.set_defaults(run=_ours)


_NAMES = "an alternative name, dns:HOST or uri:URI; repeatable"


def _request(arguments: argparse.Namespace) -> int:
    key, request = request_certificate(arguments.subject, arguments.kind, arguments.name)
    password = read_file(arguments.password).rstrip(b"\r\n") if arguments.password else None
    if arguments.password and not password:
        raise GatewayError(SETTINGS_WRONG, "the password is empty", str(arguments.password))
    write_key(arguments.key, key, password)
    _write(arguments.out, request)
    return 0


def _issue(arguments: argparse.Namespace) -> int:
    if arguments.days is not None and not 0 < arguments.days <= 36_500:
        raise GatewayError(SETTINGS_WRONG, "not a number of days", "--days")
    request = read_request(read_file(arguments.request), shipped_policy().certificates)
    order = Order(
        arguments.profile,
        days=arguments.days,
        alternative_names=tuple(arguments.name),
        policies=tuple(arguments.policy),
    )
    made = issue_requested(load_authority(arguments.ca), request, now(), order)
    _write(arguments.out, made.pem)
    not_granted = [name for name in request.alternative_names if name not in arguments.name]
    row = {
        "subject": made.subject,
        "serial": made.serial,
        "sha256": made.sha256,
        "from": made.not_before,
        "until": made.not_after,
        "not_granted": not_granted,
    }
    print_rows([row], as_json=arguments.json, columns=("subject", "sha256", "from", "until", "not_granted"))
    return 0


def _cross(arguments: argparse.Namespace) -> int:
    other = read_certificate(read_file(arguments.certificate))
    policies = {ours: theirs for ours, _, theirs in (each.partition("=") for each in arguments.policy)}
    made = cross_certify(load_authority(arguments.ca), other, policies, now())
    _write(arguments.out, made.pem)
    print(made.sha256)
    return 0


def _revoke(arguments: argparse.Namespace) -> int:
    found = [read_certificate(read_file(path)) for path in arguments.certificate]
    number = revoke(arguments.ca, found, now())
    print(f"{arguments.ca / 'crl.pem'}: number {number}")
    return 0


def _ours(arguments: argparse.Namespace) -> int:
    hub = build_hub(settings_of(arguments), NoCalls(), at_work=False)
    try:
        found, pem = own_spans(hub), b"".join(signer.certificate.pem for signer in hub.signers)
    finally:
        hub.engine.dispose()
    if arguments.out:
        _write(arguments.out, pem)
    rows = [
        {"subject": one.subject, "sha256": one.sha256, "from": one.starts, "until": one.ends} for one in found
    ]
    print_rows(rows, as_json=arguments.json, columns=("subject", "sha256", "from", "until"))
    return 0


def _write(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise GatewayError(SETTINGS_WRONG, f"{path} cannot be written: {error.strerror}", str(path)) from None
