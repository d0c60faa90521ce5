"""`gateway payload encrypt | decrypt`: one payload as XML Encryption or as a CMS envelope.

The octets are those of a part of a message. Nothing is signed, fetched or stored. The certificate
is not validated: a hub does that before it sends.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from gateway.cli.named_files import name_file, read_certificate_file, read_file, replace_file
from gateway.cli.result_output import print_json, print_sentence
from gateway.cli.shared_options import FILE, decryption_options, json_option
from gateway.cli.verb_groups import Arguments, verb
from gateway.encryption import (
    decrypt_payload,
    encrypt_as_cms,
    encrypt_as_xml,
    get_encryption_policy,
    read_encrypted_data,
    read_envelope,
    select_agreed_algorithms,
)
from gateway.pki import DecryptionKey, load_decryption_key

__all__ = ["decrypt_file", "encrypt_file", "load_decryption_key_file"]

_FORM_WORDS = "xml: xenc:EncryptedData; cms: EnvelopedData or AuthEnvelopedData"
_ALGORITHM_WORDS = "an algorithm by its URI or short name (`aes256-gcm`); repeatable"


@verb
@click.argument("file", type=FILE, help="the payload")
@click.option("--for", "receiver", type=FILE, required=True, metavar="F", help="the receiver's certificate")
@click.option("--as", "form", type=click.Choice(("xml", "cms")), default="xml", help=_FORM_WORDS)
@click.option("--algorithm", multiple=True, metavar="NAME", help=_ALGORITHM_WORDS)
@click.option("--encryption-policy", default="strict", metavar="NAME", help="the policy of algorithms")
@click.option("--media-type", default="application/xml", help="the media type of the payload")
@click.option("--out", type=FILE, required=True, help="the file to write")
@json_option("print one JSON object")
def encrypt_file(arguments: Arguments) -> int:
    """Encrypt a payload for the holder of a certificate; raise GW216 when nothing agreed is written."""
    agreed = select_agreed_algorithms(arguments.algorithm, get_encryption_policy(arguments.encryption_policy))
    content, receiver = read_file(arguments.file), read_certificate_file(arguments.receiver)
    if arguments.form == "cms":
        octets, media_type = encrypt_as_cms(content, receiver, agreed, os.urandom)
    else:
        octets = encrypt_as_xml(content, arguments.media_type, receiver, agreed, os.urandom)
        media_type = "application/xml"
    replace_file(arguments.out, octets)
    told = {"media_type": media_type, "receiver": receiver.sha256, "cipher": agreed.choose_cipher()}
    sentence = f"Encrypted {arguments.file} for {receiver.subject}: the encrypted payload is {arguments.out}."
    return _print_result("payload encrypt", sentence, arguments, told)


@verb
@click.argument("file", type=FILE, help="the encrypted payload")
@click.option("--out", type=FILE, required=True, help="the file to write")
@decryption_options(required=True)
@json_option("print one JSON object")
def decrypt_file(arguments: Arguments) -> int:
    """Decrypt a payload with a key; raise GW210 when that fails, whatever the reason."""
    agreed = select_agreed_algorithms((), get_encryption_policy(arguments.encryption_policy))
    data = read_file(arguments.file)
    with name_file(arguments.file):
        is_xml = data.lstrip().startswith(b"<")
        payload = read_encrypted_data(data, agreed) if is_xml else read_envelope(data, agreed)
        opened = decrypt_payload(payload, [load_decryption_key_file(arguments)], lambda _: True, os.urandom)
    replace_file(arguments.out, opened.content)
    told = {
        "media_type": opened.media_type,
        "receiver": opened.certificate,
        "cipher": opened.cipher,
        "transport": opened.transport,
    }
    sentence = f"Decrypted {arguments.file}: the payload is {arguments.out}."
    return _print_result("payload decrypt", sentence, arguments, told)


def load_decryption_key_file(arguments: Arguments) -> DecryptionKey:
    """Return the key that ``--decryption-key``, its certificate and its password file name."""
    path: Path = arguments.decryption_key
    certificate = read_file(arguments.decryption_certificate) if arguments.decryption_certificate else None
    named = arguments.decryption_password_file
    password = read_file(named).rstrip(b"\r\n") if named else None
    with name_file(path):
        return load_decryption_key(read_file(path), certificate, password)


def _print_result(words: str, sentence: str, arguments: Arguments, told: dict[str, Any]) -> int:
    if arguments.json:
        print_json({"verb": words, "done": sentence, "written": str(arguments.out), **told})
    else:
        print_sentence(sentence)
    return 0
