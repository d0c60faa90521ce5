"""``gateway sign``: a trader signs its submission on its own machine; the key stays there."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import click

from gateway.cli.named_files import name_file, read_certificate_file, read_file, replace_file
from gateway.cli.result_output import print_json, print_sentence
from gateway.cli.shared_options import FILE, json_option, moment_option
from gateway.cli.verb_groups import Arguments, verb
from gateway.errors import KEY_UNAVAILABLE, MISUSE, GatewayError
from gateway.pki import Signer, TokenKeyLocation, TokenSigner, load_signer
from gateway.wire import DS, SUB, parse_xml, serialize_element
from gateway.xmlsec import compute_unsigned_digest, sign_document

__all__ = ["sign_submission_file"]

_KEY_HELP = "the key file: PEM or DER, also signPri.key of the Korean PKI"
_CERTIFICATE_HELP = "the certificate of the key, unless the PKCS#12 file contains it"
_OPENED_BY_HELP = "a file with the password of the key, or the PIN of the token (default: it is asked)"
_MODULE_HELP = "sign with a token: its PKCS#11 module"


@verb
@click.argument("file", type=FILE, help="the submission, without a signature")
@click.option("--out", type=FILE, help="the signed file to write (default: FILE with .signed.xml)")
@click.option("--key", type=FILE, metavar="F", help=_KEY_HELP)
@click.option("--pkcs12", type=FILE, metavar="F", help="a PKCS#12 file with key and certificate")
@click.option("--certificate", type=FILE, metavar="F", help=_CERTIFICATE_HELP)
@click.option("--password-file", type=FILE, metavar="F", help=_OPENED_BY_HELP)
@click.option("--token", type=FILE, metavar="MODULE", help=_MODULE_HELP)
@click.option("--token-label", metavar="TEXT", help="with --token: the label of the token")
@click.option("--token-key", metavar="TEXT", help="with --token: the label of the key in it")
@moment_option("time of signing")
@json_option("print one JSON object")
def sign_submission_file(arguments: Arguments) -> int:
    """Sign a submission, and print what was signed with its fingerprint."""
    with name_file(arguments.file):
        root = parse_xml(read_file(arguments.file))
    if next(root.iter(f"{{{DS}}}Signature"), None) is not None:
        raise GatewayError(MISUSE, "the document already has a signature", str(arguments.file))
    signer = _open_signer(arguments)
    fingerprint = compute_unsigned_digest(root)
    signed = serialize_element(sign_document(root, signer, now=arguments.at or datetime.now(UTC)))
    written = arguments.out or arguments.file.with_suffix(".signed.xml")
    replace_file(written, signed)
    reference = (root.findtext(f"{{{SUB}}}Reference") or "").strip()
    sentence = f"Signed {arguments.file}: the signed document is {written}."
    if arguments.json:
        told = {"written": str(written), "reference": reference, "fingerprint": fingerprint}
        print_json({"verb": "sign", "done": sentence, **told, "signer": signer.certificate.subject})
        return 0
    print_sentence(sentence)
    print(f"  reference    {reference}")
    print(f"  fingerprint  {fingerprint}")
    print(f"  signed by    {signer.certificate.subject}")
    return 0


def _open_signer(arguments: Arguments) -> Signer:
    """Return the signer of a key file, a PKCS#12 file or a token; raise GW808 unless one is named."""
    named = [one for one in (arguments.key, arguments.pkcs12, arguments.token) if one is not None]
    if len(named) != 1:
        raise GatewayError(MISUSE, "name one of --key, --pkcs12 and --token", "sign")
    if arguments.token is not None:
        return _open_token(arguments)
    path = named[0]
    content = read_file(path)
    certificate = None if arguments.certificate is None else read_file(arguments.certificate)
    password = _read_password_file(arguments)
    with name_file(path):
        try:
            return load_signer(content, certificate, password)
        except GatewayError as problem:
            if problem.problem is not KEY_UNAVAILABLE or password is not None or not sys.stdin.isatty():
                raise
        return load_signer(content, certificate, _ask_secret("Password of the key"))


def _open_token(arguments: Arguments) -> Signer:
    missing = [
        name for name in ("token_label", "token_key", "certificate") if getattr(arguments, name) is None
    ]
    if missing:
        needed = ", ".join(f"--{name.replace('_', '-')}" for name in missing)
        raise GatewayError(MISUSE, f"--token also needs {needed}", "--token")
    place = TokenKeyLocation(str(arguments.token), arguments.token_label, arguments.token_key)
    pin = _read_password_file(arguments) or _ask_secret("PIN of the token")
    return TokenSigner(place, read_certificate_file(arguments.certificate), lambda: pin, time.monotonic)


def _read_password_file(arguments: Arguments) -> bytes | None:
    path: Path | None = arguments.password_file
    return None if path is None else read_file(path).rstrip(b"\r\n")


def _ask_secret(words: str) -> bytes:
    if not sys.stdin.isatty():
        raise GatewayError(MISUSE, "there is no terminal: name a --password-file", "--password-file")
    return str(click.prompt(words, hide_input=True, err=True)).encode()
