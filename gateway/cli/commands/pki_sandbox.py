"""``gateway pki demo|request|issue|cross|revoke``: a sandbox authority and its certificates."""

from __future__ import annotations

from typing import Any

import click

from gateway.cli.audited_changes import FileChange, change_files
from gateway.cli.home_folder import keep_files_private
from gateway.cli.named_files import read_certificate_file, read_file, write_file
from gateway.cli.result_output import count_things, print_json, print_sentence, print_table
from gateway.cli.shared_options import FILE, by_option, json_option
from gateway.cli.verb_groups import Arguments, verb
from gateway.errors import MISUSE, GatewayError
from gateway.hub import get_current_time
from gateway.pki import (
    KEY_KINDS,
    Certificate,
    CertificateOrder,
    SandboxParty,
    issue_cross_certificate,
    issue_requested_certificate,
    load_authority,
    load_demo_parties,
    load_profiles,
    load_shipped_policy,
    make_key_and_request,
    make_sandbox,
    read_certificate_request,
    revoke_certificates,
    write_private_key,
)

__all__ = [
    "certify_authority",
    "issue_certificate",
    "make_authority",
    "make_request",
    "revoke_sandbox_certificates",
]

_PARTIES = sorted(name for name in load_profiles() if name != "authority")
_NAMES = "an alternative name, dns:HOST or uri:URI; repeatable"
_CROSS_WORDS = "own policy and the equivalent foreign policy; repeatable"


@verb
@click.option("--out", type=FILE, required=True, help="the folder to write")
@click.option(
    "--party", multiple=True, metavar="NAME[:rsa-2048|:p-256]", help="an additional party; repeatable"
)
@click.option(
    "--authority",
    metavar="NAME",
    help="the name of the authority, CN=…,O=…; if not given, that of the sandbox",
)
@click.option("--bridges", is_flag=True, help="the authority may issue cross-certificates")
@click.option("--overwrite", is_flag=True, help="replace an existing sandbox")
@by_option()
@json_option()
def make_authority(arguments: Arguments) -> int:
    """Make a sandbox authority with its parties, and print where their certificates are."""
    asked = [_read_sandbox_party(text) for text in arguments.party]
    names = {party.name for party in asked}
    parties = [*(party for party in load_demo_parties() if party.name not in names), *asked]
    named = {"authority": arguments.authority} if arguments.authority else {}
    length = 1 if arguments.bridges else 0
    with keep_files_private(), change_files(arguments, arguments.out) as change:
        made = make_sandbox(
            arguments.out,
            parties,
            get_current_time(),
            overwrite=arguments.overwrite,
            path_length=length,
            **named,
        )
        digests = {party.name: made.signers[party.name].certificate.sha256 for party in parties}
        after = {"folder": str(arguments.out), "certificates": digests}
        change.record_trust_change("sandbox authority", after=after)
    rows = [
        {
            "name": party.name,
            "state": party.state,
            "key": party.key_kind,
            "sha256": made.signers[party.name].certificate.sha256,
            "certificate": str(arguments.out / f"{party.name}.cert.pem"),
        }
        for party in parties
    ]
    sentence = f"Made a sandbox authority with {count_things(len(rows), 'certificate')} in {arguments.out}."
    if not arguments.json:
        print_table(rows, as_json=False, columns=("name", "state", "key", "certificate"))
    _print_act(change, sentence, as_json=arguments.json, certificates=rows)
    return 0


def _print_act(change: FileChange, sentence: str, *, as_json: bool, **more: Any) -> None:
    if as_json:
        print_json(change.describe_act(sentence, **more))
    else:
        print_sentence(sentence)


def _read_sandbox_party(text: str) -> SandboxParty:
    name, _, kind = text.partition(":")
    return SandboxParty(name, key_kind=kind or "p-256")


@verb
@click.argument("subject", help="the subject: CN=…,O=… or a common name alone")
@click.option("--kind", type=click.Choice(KEY_KINDS), default="p-256", help="the kind of key")
@click.option("--name", multiple=True, metavar="dns:HOST", help=_NAMES)
@click.option("--key", type=FILE, required=True, help="the file to write the private key to")
@click.option("--password", type=FILE, metavar="FILE", help="encrypt the key with the password in this file")
@click.option("--out", type=FILE, required=True, help="the file to write the request to")
@json_option()
def make_request(arguments: Arguments) -> int:
    """Make a key and the request for its certificate; raise instead of overwriting a key."""
    key, request = make_key_and_request(arguments.subject, arguments.kind, arguments.name)
    password = read_file(arguments.password).rstrip(b"\r\n") if arguments.password else None
    if arguments.password and not password:
        raise GatewayError(MISUSE, "the password is empty", str(arguments.password))
    write_private_key(arguments.key, key, password)
    write_file(arguments.out, request)
    sentence = f"Made a key ({arguments.key}) and the request for its certificate ({arguments.out})."
    if arguments.json:
        files = {"key": str(arguments.key), "request": str(arguments.out)}
        print_json({"verb": arguments.verb_words, "done": sentence, **files})
    else:
        print_sentence(sentence)
    return 0


@verb
@click.argument("request", type=FILE, help="the request, PEM or DER")
@click.option("--ca", type=FILE, required=True, help="the folder of the sandbox authority")
@click.option("--out", type=FILE, required=True, help="the file to write the certificate to")
@click.option("--profile", type=click.Choice(_PARTIES), default="signing", help="the certificate profile")
@click.option(
    "--days", type=click.IntRange(1, 36_500), help="days of validity; if not given, those of the profile"
)
@click.option("--name", multiple=True, metavar="dns:HOST", help=_NAMES)
@click.option("--policy", multiple=True, metavar="OID", help="a certificate policy; repeatable")
@by_option()
@json_option()
def issue_certificate(arguments: Arguments) -> int:
    """Issue the certificate of a request, as the sandbox authority, and print its content."""
    request = read_certificate_request(read_file(arguments.request), load_shipped_policy().certificates)
    order = CertificateOrder(
        arguments.profile,
        days=arguments.days,
        alternative_names=tuple(arguments.name),
        policies=tuple(arguments.policy),
    )
    with change_files(arguments, arguments.ca) as change:
        made = issue_requested_certificate(load_authority(arguments.ca), request, get_current_time(), order)
        write_file(arguments.out, made.pem)
        change.record_trust_change(f"certificate {made.sha256}", after=_describe_certificate(made))
    not_granted = [name for name in request.alternative_names if name not in arguments.name]
    row = {**_describe_certificate(made), "not_granted": not_granted}
    sentence = f"Issued certificate {made.sha256} for {made.subject}: {arguments.out}."
    if not arguments.json:
        print_table([row], as_json=False, columns=("subject", "sha256", "from", "until", "not_granted"))
    _print_act(change, sentence, as_json=arguments.json, **row)
    return 0


def _describe_certificate(made: Certificate) -> dict[str, Any]:
    return {
        "subject": made.subject,
        "serial": str(made.serial),
        "sha256": made.sha256,
        "from": made.not_before,
        "until": made.not_after,
    }


@verb
@click.argument("certificate", type=FILE, help="the self-signed certificate of the other authority")
@click.option("--ca", type=FILE, required=True, help="the folder of the sandbox authority")
@click.option("--policy", multiple=True, required=True, metavar="OURS=THEIRS", help=_CROSS_WORDS)
@click.option("--out", type=FILE, required=True, help="the file to write the certificate to")
@by_option()
@json_option()
def certify_authority(arguments: Arguments) -> int:
    """Certify another authority's key: a bridge for its parties."""
    other = read_certificate_file(arguments.certificate)
    policies = {ours: theirs for ours, _, theirs in (each.partition("=") for each in arguments.policy)}
    with change_files(arguments, arguments.ca) as change:
        made = issue_cross_certificate(load_authority(arguments.ca), other, policies, get_current_time())
        write_file(arguments.out, made.pem)
        after = _describe_certificate(made) | {"policies": policies}
        change.record_trust_change(f"certificate {made.sha256}", after=after)
    sentence = f"Certified {made.subject}: certificate {made.sha256} is {arguments.out}."
    _print_act(change, sentence, as_json=arguments.json, **_describe_certificate(made))
    return 0


@verb
@click.argument(
    "certificate",
    type=FILE,
    nargs=-1,
    help="a certificate to revoke; if there is none, the list is only renewed",
)
@click.option("--ca", type=FILE, required=True, help="the folder of the sandbox authority")
@by_option()
@json_option()
def revoke_sandbox_certificates(arguments: Arguments) -> int:
    """Write the next revocation list of the sandbox authority, with the named certificates."""
    found = [read_certificate_file(path) for path in arguments.certificate]
    with change_files(arguments, arguments.ca) as change:
        number = revoke_certificates(arguments.ca, found, get_current_time())
        after = {"number": number, "revoked": [one.sha256 for one in found]}
        change.record_trust_change(f"revocation list {arguments.ca / 'crl.pem'}", after=after)
    revoked = f"Revoked {count_things(len(found), 'certificate')}" if found else "Revoked nothing"
    sentence = f"{revoked}; {arguments.ca / 'crl.pem'} is now revocation list number {number}."
    _print_act(change, sentence, as_json=arguments.json, **after)
    return 0
