"""``gateway pki key|ours|request``: the keys and certificates of the gateway, now and next."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

import click

from gateway.cli.home_folder import read_verb_settings
from gateway.cli.named_files import read_password_file, write_file
from gateway.cli.result_output import print_done, print_table
from gateway.cli.shared_options import FILE, home_verb, json_option
from gateway.cli.verb_groups import Arguments, verb
from gateway.config import NextKeySettings, PkiSettings, Settings
from gateway.errors import KEY_UNAVAILABLE, MISUSE, GatewayError
from gateway.hub import RejectingComposer, build_hub, list_own_periods, load_hub_signer, load_next_signing_key
from gateway.pki import KEY_KINDS, Signer, make_key_and_request, write_private_key

_NAMES_WORDS: Final = "an alternative name, dns:HOST or uri:URI; repeatable"
_TIMES_WORDS: Final = "number of test signatures; the rate per second is printed"
_SAMPLE: Final = b"gateway pki key"
_COLUMNS: Final = ("source", "subject", "not_after", "algorithm", "signs", "problem")


@home_verb("pki key")
@click.option("--times", type=click.IntRange(1, 1_000_000), default=1, metavar="N", help=_TIMES_WORDS)
def show_keys(arguments: Arguments) -> int:
    """Print the signing keys of the gateway, now and next; return 1 when one of them does not sign."""
    settings = read_verb_settings(arguments)
    keys: list[tuple[PkiSettings | NextKeySettings, Callable[[], Signer]]] = [
        (settings.pki, lambda: load_hub_signer(settings))
    ]
    if settings.pki.next.starts is not None:
        keys.append((settings.pki.next, lambda: _load_next_key(settings)))
    rows = [_make_key_row(key_settings, load, arguments.times) for key_settings, load in keys]
    columns = (*_COLUMNS, "a_second") if arguments.times > 1 else _COLUMNS
    print_table(rows, as_json=arguments.json, columns=columns)
    return 0 if all(row["signs"] for row in rows) else 1


def _load_next_key(settings: Settings) -> Signer:
    successor = load_next_signing_key(settings)
    if successor is None:
        raise GatewayError(KEY_UNAVAILABLE, "there is no next key", "pki.next")
    return successor.signer


def _make_key_row(
    key_settings: PkiSettings | NextKeySettings, load_signer: Callable[[], Signer], signature_count: int
) -> dict[str, Any]:
    """Return the row of one signing key, with its rate of `signature_count` test signatures.

    A key that cannot be loaded or used has its problem in the row, and `signs` is False.
    """
    row: dict[str, Any] = dict.fromkeys((*_COLUMNS, "sha256", "a_second"), "")
    row |= {"source": _describe_key_source(key_settings), "signs": False}
    try:
        signer = load_signer()
        row |= _describe_signer(signer)
        row["a_second"] = _measure_signing_rate(signer, signature_count)
        row["signs"] = True
    except GatewayError as problem:
        row["problem"] = f"{problem.problem.id} {problem.detail}"
    return row


def _describe_signer(signer: Signer) -> dict[str, Any]:
    certificate = signer.certificate
    return {
        "subject": certificate.subject,
        "sha256": certificate.sha256,
        "not_after": certificate.not_after,
        "algorithm": signer.algorithm,
    }


def _describe_key_source(key_settings: PkiSettings | NextKeySettings) -> str:
    """Return the source of a signing key as text: token, variable or file; without its content."""
    if key_settings.token.module is not None:
        return f"token {key_settings.token.label}, key {key_settings.token.key}"
    key = key_settings.signing_key
    if key is None:
        return "nowhere"
    if key.credential:
        return f"credential {key.credential}"
    return f"variable {key.env}" if key.env else f"file {key.file}"


def _measure_signing_rate(signer: Signer, signature_count: int) -> int:
    """Return the number of signatures per second, after a first one that opens the token."""
    signer.sign(_SAMPLE)
    start = time.perf_counter()
    for _ in range(signature_count):
        signer.sign(_SAMPLE)
    return round(signature_count / max(time.perf_counter() - start, 1e-9))


@home_verb("pki ours")
@click.option("--out", type=FILE, help="also write the certificates to this file as PEM")
def show_certificates(arguments: Arguments) -> None:
    """Print our signing certificates, now and next, and write them for partners."""
    hub = build_hub(read_verb_settings(arguments), RejectingComposer(), at_work=False)
    try:
        periods, pem = list_own_periods(hub), b"".join(signer.certificate.pem for signer in hub.signers)
    finally:
        hub.engine.dispose()
    if arguments.out:
        write_file(arguments.out, pem)
    rows = [
        {"subject": period.subject, "sha256": period.sha256, "from": period.starts, "until": period.ends}
        for period in periods
    ]
    print_table(rows, as_json=arguments.json, columns=("subject", "sha256", "from", "until"))


@verb("pki request")
@click.argument("subject", help="the subject: CN=…,O=… or a common name alone")
@click.option("--kind", type=click.Choice(KEY_KINDS), default="p-256", help="the kind of key")
@click.option("--name", multiple=True, metavar="dns:HOST", help=_NAMES_WORDS)
@click.option("--key", type=FILE, required=True, help="the file to write the private key to")
@click.option("--password", type=FILE, metavar="FILE", help="encrypt the key with the password in this file")
@click.option("--out", type=FILE, required=True, help="the file to write the request to")
@json_option()
def make_request(arguments: Arguments) -> None:
    """Make a key and the request for its certificate; raise instead of overwriting a key."""
    key, request = make_key_and_request(arguments.subject, arguments.kind, arguments.name)
    password = read_password_file(arguments.password) if arguments.password else None
    if arguments.password and not password:
        raise GatewayError(MISUSE, "the password is empty", str(arguments.password))
    write_private_key(arguments.key, key, password)
    write_file(arguments.out, request)
    sentence = f"Made a key ({arguments.key}) and the request for its certificate ({arguments.out})."
    print_done(arguments, sentence, key=str(arguments.key), request=str(arguments.out))
