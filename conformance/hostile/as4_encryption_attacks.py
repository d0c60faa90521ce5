"""Attacks on encrypted parts of AS4 messages (SIG-36, SIG-37): oracles, downgrades, forms that cost or fetch.

The elements that say how a part is encrypted are not signed: an attacker on the way can change them.
Decrypted octets count only with the digest that the sender signed, and every failure is answered in one
way.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Generator
from copy import deepcopy
from dataclasses import replace
from typing import Any, Final

from lxml import etree

from gateway.wire import DS, XENC, XENC11, MimePart, parse_xml
from gateway_conformance.hostile.answer_evaluation import summarize_answer
from gateway_conformance.hostile.attack_cases import (
    SECURITY,
    AttackCase,
    AttackTable,
    RequestMaker,
    SourcedTable,
    expect_refusal,
    make_sourced_cases,
    make_table_cases,
)
from gateway_conformance.hostile.attacker_kit import As4Kit, AttackerKit, make_as4_kit
from gateway_conformance.hostile.content_mutations import (
    TreeMutation,
    append_element,
    combine_mutations,
    duplicate_element,
    get_element,
    get_elements,
    insert_element,
    mutate_tree,
    remove_attribute,
    remove_element,
    replace_text,
    set_attribute,
    set_text,
)
from gateway_conformance.hostile.exchange import (
    ACCEPTED,
    Answer,
    Exchange,
    HttpRequest,
    WrongAnswerError,
)
from gateway_conformance.hostile.naive_verifier import split_parts
from gateway_conformance.hostile.sealed_payloads import (
    encrypt_padded_block,
    encrypt_with_rsa_15,
    get_receiver,
)

_FEATURE: Final = "encryption"
_JAGER: Final = "Jager, Somorovsky: How to Break XML Encryption, 2011"
_MANGER: Final = "Manger: A Chosen Ciphertext Attack on RSA-OAEP, 2001"
_BACKWARDS: Final = "Jager, Paterson, Somorovsky: One Bad Apple, 2013"
_UNSIGNED: Final = "SwA profile 1.1 §5.5: what describes the encryption is not signed"
_MANY: Final = "XML Encryption §3.5: any number of keys"
_KEY: Final = f"{SECURITY}/xenc:EncryptedKey"
_DATA: Final = f"({SECURITY}/xenc:EncryptedData)[1]"
_KEY_METHOD: Final = f"{_KEY}/xenc:EncryptionMethod"
_KEY_VALUE: Final = f"{_KEY}/xenc:CipherData/xenc:CipherValue"
_DATA_METHOD: Final = f"{_DATA}/xenc:EncryptionMethod"
_REFERENCE: Final = f"{_DATA}/xenc:CipherData/xenc:CipherReference"
_FAILED: Final = "GW210"
_DOWNGRADED: Final = "GW216"
_MALFORMED: Final = "GW215"

_OctetChange = Callable[[bytes], bytes]


def _build_encrypted_message(
    kit: AttackerKit, tampered: TreeMutation | None = None, **hooks: Any
) -> HttpRequest:
    """Return a message of A with two encrypted parts; `tampered` changes its signed envelope."""
    get_receiver(kit)
    as4_kit = make_as4_kit(kit)
    change = None if tampered is None else mutate_tree(tampered)
    return as4_kit.build_message(as4_kit.make_unit(action="Seal"), tampered=change, **hooks)


def _tamper(change: TreeMutation) -> RequestMaker:
    return lambda kit: _build_encrypted_message(kit, change)


def _change_first_part(change: _OctetChange) -> RequestMaker:
    """Return the step that changes the ciphertext of the first part."""

    def change_parts(parts: list[MimePart]) -> list[MimePart]:
        return [replace(parts[0], octets=change(parts[0].content)), *parts[1:]]

    return lambda kit: _build_encrypted_message(kit, parts=change_parts)


def _flip(position: int) -> _OctetChange:
    """Return the change that inverts the lowest bit of the octet at `position`."""

    def flip_bit(octets: bytes) -> bytes:
        changed = bytearray(octets)
        changed[position] ^= 1
        return bytes(changed)

    return flip_bit


def _change_key(change: _OctetChange) -> TreeMutation:
    return replace_text(_KEY_VALUE, lambda text: base64.b64encode(change(base64.b64decode(text))).decode())


def _set_key(make_key: Callable[[AttackerKit], bytes]) -> RequestMaker:
    """Return the step that sends the octets of `make_key` in place of the honest encrypted key."""

    def make_request(kit: AttackerKit) -> HttpRequest:
        return _build_encrypted_message(kit, _change_key(lambda _: make_key(kit)))

    return make_request


def _repeat_key(count: int) -> TreeMutation:
    def alter_tree(root: etree._Element) -> None:
        key = get_element(root, _KEY)
        for _ in range(count):
            key.addnext(deepcopy(key))

    return alter_tree


def _exchange_parts(kit: AttackerKit) -> HttpRequest:
    """Return a message whose two parts have each other's ciphertext."""

    def change_parts(parts: list[MimePart]) -> list[MimePart]:
        first, second = parts
        return [replace(first, octets=second.content), replace(second, octets=first.content)]

    return _build_encrypted_message(kit, parts=change_parts)


def _nest_data(root: etree._Element) -> None:
    """Put the first EncryptedData into another one."""
    inner = get_element(root, _DATA)
    outer = deepcopy(inner)
    inner.addnext(outer)
    outer.append(inner)


def _encrypt_other_content(kit: AttackerKit) -> HttpRequest:
    """Return a message with other parts than the signed ones, correctly encrypted for the hub."""
    get_receiver(kit)
    as4_kit = make_as4_kit(kit)
    unit = as4_kit.make_unit(action="Seal")
    others = tuple(replace(payload, octets=b"<Forged/>") for payload in unit.payloads)
    forged = as4_kit.build_message(replace(unit, payloads=others))
    return _graft_encryption(as4_kit, unit, forged)


def _graft_encryption(kit: As4Kit, unit: Any, forged: HttpRequest) -> HttpRequest:
    """Return the message of `unit` with the encrypted key, descriptions and parts of `forged`."""
    theirs = split_parts(forged)
    root = parse_xml(theirs[0].content)
    contents = {part.content_id: part.content for part in theirs[1:]}
    names = (f"{SECURITY}/xenc:EncryptedKey", f"{SECURITY}/xenc:EncryptedData")

    def exchange_header(envelope: etree._Element) -> None:
        for name in names:
            for old, new in zip(get_elements(envelope, name), get_elements(root, name), strict=True):
                old.addprevious(deepcopy(new))
                old.getparent().remove(old)  # type: ignore[union-attr]

    def exchange_parts(parts: list[MimePart]) -> list[MimePart]:
        return [replace(part, octets=contents[part.content_id]) for part in parts]

    return kit.build_message(unit, tampered=mutate_tree(exchange_header), parts=exchange_parts)


def _garble_header_and_ciphertext(kit: AttackerKit) -> HttpRequest:
    """Return a message with changed header and changed ciphertext: the fault to report is the signature."""

    def change_parts(parts: list[MimePart]) -> list[MimePart]:
        return [replace(part, octets=_flip(20)(part.content)) for part in parts]

    return _build_encrypted_message(kit, set_text("//eb:ConversationId", "forged"), parts=change_parts)


def _send_in_clear(kit: AttackerKit) -> HttpRequest:
    """Return a message in clear under the P-Mode that demands encryption."""
    as4_kit = make_as4_kit(kit)
    change_action = set_text("//eb:CollaborationInfo/eb:Action", "Seal")
    return as4_kit.build_message(as4_kit.make_unit(), envelope=mutate_tree(change_action))


def _send_unagreed_encryption(kit: AttackerKit) -> HttpRequest:
    """Return an encrypted message whose action has a P-Mode without encryption."""
    get_receiver(kit)
    as4_kit = make_as4_kit(kit)
    change_action = set_text("//eb:CollaborationInfo/eb:Action", "Store")
    return as4_kit.build_message(as4_kit.make_unit(action="Seal"), envelope=mutate_tree(change_action))


def _make_undecryptable_variants() -> tuple[RequestMaker, ...]:
    """Return messages that fail in every stage of decryption: key, cipher, digest."""
    parts = [_change_first_part(_flip(at)) for at in (0, 11, 12, 40, -1, -16)]
    parts += [_change_first_part(lambda octets: octets[:-1]), _change_first_part(lambda octets: octets[:28])]
    keys = [_tamper(_change_key(_flip(at))) for at in (0, 1, 128, -1)]
    keys += [_set_key(lambda kit: encrypt_with_rsa_15(get_receiver(kit), bytes(range(32))))]
    keys += [
        _set_key(lambda kit, block=block: encrypt_padded_block(get_receiver(kit), block))  # type: ignore[misc]
        for block in (
            lambda size: bytes(size),
            lambda size: b"\x01" + bytes(size - 1),
            lambda size: b"\xff" * size,
        )
    ]
    keys += [_set_key(lambda _: b""), _set_key(lambda _: b"\xff" * 256), _set_key(lambda _: bytes(255))]
    return (*parts, *keys, _encrypt_other_content, _exchange_parts)


def _run_uniform_answer_scenario(kit: AttackerKit) -> Generator[Exchange, Answer, None]:
    """Send every variant; all answers must be equal, apart from the name of the part (``cid:``) in them."""
    yield Exchange(_build_encrypted_message(kit), ACCEPTED)
    answers: set[tuple[object, ...]] = set()
    for make in _make_undecryptable_variants():
        answer = yield Exchange(make(kit), expect_refusal(_FAILED))
        summary = summarize_answer(answer)
        answers.add(
            (summary.status, summary.error_codes, summary.problem_ids, summary.text.partition(" cid:")[0])
        )
    if len(answers) != 1:
        raise WrongAnswerError(
            f"{len(answers)} kinds of answer tell an attacker what failed: {sorted(map(str, answers))}"
        )


def _set_oaep_algorithms(digest_algorithm: str, mask_algorithm: str | None) -> TreeMutation:
    """Return the change that names another digest and mask of OAEP; None: no mask, which means SHA-1."""
    set_digest = set_attribute(f"{_KEY_METHOD}/ds:DigestMethod", "Algorithm", digest_algorithm)
    if mask_algorithm is None:
        return combine_mutations(set_digest, remove_element(f"{_KEY_METHOD}/xenc11:MGF"))
    return combine_mutations(
        set_digest, set_attribute(f"{_KEY_METHOD}/xenc11:MGF", "Algorithm", mask_algorithm)
    )


_AGREEMENT: Final = '<xenc:AgreementMethod Algorithm="http://www.w3.org/2009/xmlenc11#ECDH-ES"/>'
_RETRIEVAL: Final = '<ds:RetrievalMethod URI="http://attacker.invalid/key"/>'
# fmt: off
#: Octets that cannot be decrypted, or whose plaintext is not the signed one.
_BROKEN: Final[SourcedTable[RequestMaker]] = (
    ("SIG-36.as4-vector", "the first octet of a ciphertext is another", _change_first_part(_flip(0)), _FAILED,
     _JAGER),
    ("SIG-36.as4-tag", "the last octet of a ciphertext is another", _change_first_part(_flip(-1)), _FAILED,
     _JAGER),
    ("SIG-36.as4-cut", "a ciphertext without its tag", _change_first_part(lambda octets: octets[:-16]),
     _FAILED,
     _JAGER),
    ("SIG-36.as4-short", "a ciphertext of eleven octets", _change_first_part(lambda octets: octets[:11]),
     "GW210 GW215", _JAGER),
    ("SIG-36.as4-empty", "a ciphertext of no octets", _change_first_part(lambda _: b""), "GW210 GW215",
     _JAGER),
    ("SIG-36.as4-key", "an octet of the encrypted key is another", _tamper(_change_key(_flip(7))), _FAILED,
     _MANGER),
    ("SIG-36.as4-rsa-1.5-key", "the key padded by RSA 1.5 under the name of OAEP",
     _set_key(lambda kit: encrypt_with_rsa_15(get_receiver(kit), bytes(32))), _FAILED, _BACKWARDS),
    ("SIG-36.as4-short-key", "an encrypted key of one octet", _set_key(lambda _: b"\x01"), _FAILED, _MANGER),
    ("SIG-36.as4-other-content", "parts encrypted anew by somebody on the way: not what was signed",
     _encrypt_other_content, _FAILED, _UNSIGNED),
    ("SIG-36.as4-exchanged", "each part is decrypted as the other", _exchange_parts, "GW210",
     _UNSIGNED),
    ("SIG-36.as4-signature-first", "signature and ciphertext are both wrong: nothing is decrypted",
     _garble_header_and_ciphertext, "GW202", _UNSIGNED),
    ("SIG-36.as4-clear", "in clear where encryption is agreed", _send_in_clear, _MALFORMED, _BACKWARDS),
    ("SIG-36.as4-unagreed", "encrypted where nothing is agreed", _send_unagreed_encryption, _MALFORMED,
     _BACKWARDS),
)

#: Algorithms that are not agreed: the element, and the algorithm that it names.
_DOWNGRADES: Final[AttackTable[TreeMutation]] = (
    ("cbc", "the cipher renamed to the CBC of the same key",
     set_attribute(_DATA_METHOD, "Algorithm", f"{XENC}aes256-cbc")),
    ("triple-des", "the cipher renamed to Triple DES", set_attribute(_DATA_METHOD, "Algorithm",
     f"{XENC}tripledes-cbc")),
    ("shorter", "the cipher renamed to AES-128, which is not agreed",
     set_attribute(_DATA_METHOD, "Algorithm", f"{XENC11}aes128-gcm")),
    ("unknown", "a cipher that nobody knows", set_attribute(_DATA_METHOD, "Algorithm", "urn:example:none")),
    ("rsa-1.5", "RSA 1.5 as transport", combine_mutations(
     set_attribute(_KEY_METHOD, "Algorithm", f"{XENC}rsa-1_5"),
     remove_element(f"{_KEY_METHOD}/ds:DigestMethod"),
     remove_element(f"{_KEY_METHOD}/xenc11:MGF"))),
    ("oaep-sha1", "OAEP with SHA-1", _set_oaep_algorithms(f"{DS}sha1", f"{XENC11}mgf1sha1")),
    ("oaep-no-mask", "OAEP without a mask, which means SHA-1", _set_oaep_algorithms(f"{XENC}sha256", None)),
    ("oaep-md5", "OAEP with MD5", _set_oaep_algorithms("http://www.w3.org/2001/04/xmldsig-more#md5",
     f"{XENC11}mgf1sha256")),
    ("oaep-mask", "a mask that nobody knows", _set_oaep_algorithms(f"{XENC}sha256", "urn:example:mask")),
    ("wrap", "AES key wrap without a key to wrap with", combine_mutations(
     set_attribute(_KEY_METHOD, "Algorithm", f"{XENC}kw-aes128"),
     remove_element(f"{_KEY_METHOD}/ds:DigestMethod"),
     remove_element(f"{_KEY_METHOD}/xenc11:MGF")), "GW215 GW216"),
)

#: Forms that decide nothing, or that cost.
_STRUCTURES: Final[AttackTable[TreeMutation]] = (
    ("keys", "a thousand EncryptedKey", _repeat_key(1000)),
    ("two-keys", "two keys of one Id", _repeat_key(1)),
    ("no-key", "no EncryptedKey", remove_element(_KEY)),
    ("twice", "one part is encrypted twice", duplicate_element(_DATA)),
    ("nested", "one EncryptedData in another", _nest_data),
    ("of-key", "an EncryptedData that names another key",
     set_attribute(f"{_DATA}/ds:KeyInfo/wsse:SecurityTokenReference/wsse:Reference", "URI", "#nobody")),
    ("not-there", "an EncryptedData of a part that is not there",
     set_attribute(_REFERENCE, "URI", "cid:nobody@suite.invalid")),
    ("url", "a ciphertext at a URL", set_attribute(_REFERENCE, "URI", "http://attacker.invalid/x")),
    ("file", "a ciphertext in a file", set_attribute(_REFERENCE, "URI", "file:///etc/passwd")),
    ("element", "the Body is said to be encrypted",
     set_attribute(_DATA, "Type", f"{XENC}Content")),
    ("complete", "a part is said to be encrypted with its MIME headers", set_attribute(_DATA, "Type",
     "http://docs.oasis-open.org/wss/oasis-wss-SwAProfile-1.1#Attachment-Complete")),
    ("no-type", "an EncryptedData without Type", remove_attribute(_DATA, "Type")),
    ("transform", "another transform of the ciphertext",
     set_attribute(f"{_REFERENCE}//ds:Transform", "Algorithm", "urn:example:transform")),
    ("value", "a ciphertext in the header beside the part", append_element(f"{_DATA}/xenc:CipherData",
     "<xenc:CipherValue>AAAA</xenc:CipherValue>")),
    ("retrieval", "the receiver's certificate is to be fetched", combine_mutations(
     remove_element(f"{_KEY}/ds:KeyInfo/wsse:SecurityTokenReference"),
     append_element(f"{_KEY}/ds:KeyInfo", _RETRIEVAL))),
    ("agreement", "a key agreement beside the transport", insert_element(f"{_KEY}/ds:KeyInfo", _AGREEMENT)),
    ("properties", "EncryptionProperties in a key", append_element(_KEY,
     "<xenc:EncryptionProperties><x:Any/></xenc:EncryptionProperties>")),
    ("key-attribute", "a Recipient on the key", set_attribute(_KEY, "Recipient", "hub")),
    ("key-elsewhere", "the key stands beside the Security header",
     lambda root: get_element(root, "/soap:Envelope/soap:Header").append(get_element(root, _KEY))),
)
# fmt: on

CASES: Final[tuple[AttackCase, ...]] = (
    *make_sourced_cases("", _BROKEN, lambda make: make, face="as4", feature=_FEATURE),
    *make_table_cases(
        "SIG-36.as4-", _DOWNGRADES, _tamper, _BACKWARDS, _DOWNGRADED, face="as4", feature=_FEATURE
    ),
    *make_table_cases("SIG-37.as4-", _STRUCTURES, _tamper, _MANY, _MALFORMED, face="as4", feature=_FEATURE),
    AttackCase(
        "SIG-36.as4-one-answer",
        "every way in which a decryption fails has one answer",
        "as4",
        _MANGER,
        _run_uniform_answer_scenario,
        _FEATURE,
    ),
)
"""Attacks on encrypted parts."""
