"""Verifies the evidence of a case without any code of the gateway: a second implementation.

    python second_verifier.py BUNDLE.zip --signer hub.pem [--anchor tsa-ca.pem]

It takes what the page of the manual on evidence says of leaves, heads and bundles, and the standards behind
them (RFC 9162 for the tree, RFC 3161 by ``openssl ts``, XML Signature, ebMS 2.0, AS4), and nothing else: it
imports the standard library, lxml and cryptography. It prints what it proved as JSON and returns 0, or prints
what is wrong and returns 1.
"""

from __future__ import annotations

import argparse
import base64
import copy
import gzip
import hashlib
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from lxml import etree

_DS = "{http://www.w3.org/2000/09/xmldsig#}"
_WSS = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity"
_SOAP11 = "{http://schemas.xmlsoap.org/soap/envelope/}"
_EB3 = "{http://docs.oasis-open.org/ebxml-msg/ebms/v3.0/ns/core/200704/}"
_EXCLUSIVE = "http://www.w3.org/2001/10/xml-exc-c14n#"
_IDS = (f"{{{_WSS}-utility-1.0.xsd}}Id", "Id", "ID", "{http://www.w3.org/XML/1998/namespace}id")
#: Who reads what is for the next handler only (ebMS 2.0 §4.1.3): it is not signed.
_UNSIGNED_ACTORS = (
    "urn:oasis:names:tc:ebxml-msg:actor:nextMSH",
    "http://schemas.xmlsoap.org/soap/actor/next",
)
_HASHES: Mapping[str, hashes.HashAlgorithm] = {
    "sha256": hashes.SHA256(), "sha384": hashes.SHA384(), "sha512": hashes.SHA512()
}  # fmt: skip
_PROOF_KEYS = {"version", "head", "signature", "certificate", "stamps", "leaves", "withheld", "octets"}
_LEAF_KEYS = ["at", "data", "digest", "kind", "subject_id", "subject_type"]


class BrokenEvidenceError(Exception):
    """What is wrong with a bundle, and where."""


def demand(held: bool, words: str) -> None:
    if not held:
        raise BrokenEvidenceError(words)


@dataclass
class Proved:
    """What a bundle proves: leaves with what they say, hashes of others, stamps; and files tied to leaves."""

    leaves: dict[str, dict[str, Any]] = field(default_factory=dict)
    withheld: set[str] = field(default_factory=set)
    stamps: int = 0
    tied: list[str] = field(default_factory=list)
    untied: list[str] = field(default_factory=list)

    def list_leaves(self, *kinds: str) -> Iterator[dict[str, Any]]:
        return (leaf for leaf in self.leaves.values() if leaf["kind"] in kinds)


# --- The tree (RFC 9162 §2.1.1, §2.1.3.1), as its definition has it: from the top downwards.


def hash_pair(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def compute_root(leaf: bytes, place: int, size: int, path: Sequence[bytes]) -> bytes:
    """Return the root of a tree of `size` leaves by the path of the one at `place`, counted from 0."""
    demand(0 <= place < size, f"place {place + 1} is not among {size} leaves")
    if size == 1:
        demand(not path, "the path is too long")
        return leaf
    demand(bool(path), "the path is too short")
    half = 1
    while half * 2 < size:
        half *= 2
    if place < half:
        return hash_pair(compute_root(leaf, place, half, path[:-1]), path[-1])
    return hash_pair(path[-1], compute_root(leaf, place - half, size - half, path[:-1]))


# --- Signatures


def verify_value(key: Any, algorithm: hashes.HashAlgorithm, signature: bytes, octets: bytes) -> None:
    """Verify a signature as XML Signature writes it: that of ECDSA are two numbers side by side."""
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            half = (key.curve.key_size + 7) // 8
            demand(len(signature) == 2 * half, "the signature has another length")
            numbers = int.from_bytes(signature[:half]), int.from_bytes(signature[half:])
            key.verify(encode_dss_signature(*numbers), octets, ec.ECDSA(algorithm))
        elif isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, octets, padding.PKCS1v15(), algorithm)
        elif isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, octets)
        else:
            raise BrokenEvidenceError("the key is of an unknown kind")
    except InvalidSignature:
        raise BrokenEvidenceError("a signature is wrong") from None


def name_hash(uri: str) -> str:
    name = re.sub(r"^.*[#-]", "", uri)
    demand(name in _HASHES, f"{uri} is an unknown digest")
    return name


def canonicalize(element: etree._Element, uri: str, prefixes: str | None = None) -> bytes:
    exclusive = uri.startswith(_EXCLUSIVE)
    listed = prefixes.split() if exclusive and prefixes else None
    comments = uri.endswith("WithComments")
    octets: bytes = etree.tostring(
        element, method="c14n", exclusive=exclusive, inclusive_ns_prefixes=listed, with_comments=comments
    )
    return octets


def read_prefixes(method: etree._Element) -> str | None:
    listed = method.find(f"{{{_EXCLUSIVE}}}InclusiveNamespaces")
    return None if listed is None else listed.get("PrefixList")


def remove_element(element: etree._Element) -> None:
    """Remove an element, and keep the text behind it."""
    parent, before = element.getparent(), element.getprevious()
    assert parent is not None
    if element.tail and before is not None:
        before.tail = (before.tail or "") + element.tail
    elif element.tail:
        parent.text = (parent.text or "") + element.tail
    parent.remove(element)


def verify_xml_signature(root: etree._Element, parts: Mapping[str, bytes]) -> x509.Certificate:
    """Return the certificate of the one signature in a document, which covers every reference of it."""
    signatures = list(root.iter(f"{_DS}Signature"))
    demand(len(signatures) == 1, f"there are {len(signatures)} signatures")
    (signature,) = signatures
    (info,) = signature.findall(f"{_DS}SignedInfo")
    for reference in info.findall(f"{_DS}Reference"):
        octets = read_reference(root, reference, parts)
        name = name_hash(reference.find(f"{_DS}DigestMethod").get("Algorithm"))  # type: ignore[union-attr,arg-type]
        stated = base64.b64decode(reference.findtext(f"{_DS}DigestValue") or "")
        demand(hashlib.new(name, octets).digest() == stated, f"digest of {reference.get('URI')!r} is wrong")
    method = info.find(f"{_DS}CanonicalizationMethod")
    form = canonicalize(info, method.get("Algorithm"), read_prefixes(method))  # type: ignore[union-attr,arg-type]
    certificate = read_signer(root, signature)
    uri = info.find(f"{_DS}SignatureMethod").get("Algorithm") or ""  # type: ignore[union-attr]
    algorithm = _HASHES["sha256" if uri.endswith("ed25519") else name_hash(uri)]
    value = base64.b64decode(signature.findtext(f"{_DS}SignatureValue") or "")
    verify_value(certificate.public_key(), algorithm, value, form)
    return certificate


def read_reference(root: etree._Element, reference: etree._Element, parts: Mapping[str, bytes]) -> bytes:
    """Return what a reference covers, after its transforms."""
    uri = reference.get("URI") or ""
    if uri.startswith("cid:"):
        demand(uri[4:] in parts, f"part {uri[4:]} is missing")
        return parts[uri[4:]]
    transforms = reference.findall(f"{_DS}Transforms/{_DS}Transform")
    names = [one.get("Algorithm") or "" for one in transforms]
    tree = copy.deepcopy(root)
    if any(name.endswith("enveloped-signature") for name in names):
        remove_element(next(tree.iter(f"{_DS}Signature")))
    if any(name.endswith("REC-xpath-19991116") for name in names):
        for element in [one for one in tree.iter("*") if one.get(f"{_SOAP11}actor") in _UNSIGNED_ACTORS]:
            remove_element(element)
    if uri:
        found = [one for one in tree.iter("*") if any(one.get(name) == uri[1:] for name in _IDS)]
        demand(len(found) == 1, f"{uri} is {len(found)} elements")
        (tree,) = found
    form = next((one for one in transforms if "c14n" in (one.get("Algorithm") or "")), None)
    if form is None:
        return canonicalize(tree, "")
    return canonicalize(tree, form.get("Algorithm") or "", read_prefixes(form))


def read_signer(root: etree._Element, signature: etree._Element) -> x509.Certificate:
    """Return the certificate that the signature holds, or that the token holds to which it refers."""
    held = signature.findtext(f".//{_DS}X509Certificate")
    if held is None:
        reference = signature.find(f".//{{{_WSS}-secext-1.0.xsd}}Reference")
        demand(reference is not None, "the signature names no certificate")
        name = (reference.get("URI") or "")[1:]  # type: ignore[union-attr]
        tokens = [one for one in root.iter("*") if one.get(_IDS[0]) == name]
        demand(len(tokens) == 1, "the token of the signature is missing")
        held = tokens[0].text
    return x509.load_der_x509_certificate(base64.b64decode(held or ""))


def get_fingerprint(certificate: x509.Certificate) -> str:
    return hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).hexdigest()


# --- Proofs


def verify_proof(document: Any, trust: Trust, proved: Proved) -> None:
    """Verify a proof completely, and add what it proves."""
    demand(isinstance(document, dict) and set(document) == _PROOF_KEYS, "it is no proof")
    demand(document["version"] == 1, "it is of another version")
    head = document["head"]
    size, root = read_head(head)
    for leaf in document["leaves"]:
        text = leaf["leaf"]
        values = json.loads(text)
        canonical = json.dumps(values, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        demand(sorted(values) == _LEAF_KEYS and canonical == text, "a leaf is not written as leaves are")
        digest = hashlib.sha256(b"\x00" + text.encode()).digest()
        verify_place(digest, leaf, size, root)
        proved.leaves[digest.hex()] = values
    for leaf in document["withheld"]:
        verify_place(bytes.fromhex(leaf["hash"]), leaf, size, root)
        proved.withheld.add(leaf["hash"])
    trust.verify_head(head, document["signature"], document["certificate"])
    for digest, content in document["octets"].items():
        octets = base64.b64decode(content, validate=True)
        demand(hashlib.sha256(octets).hexdigest() == digest, f"octets {digest} are others")
    demand(bool(document["stamps"]) or trust.anchors is None, "the head has no time stamp")
    for stamp in document["stamps"]:
        demand(stamp["verdict"] in document["octets"], "the data of a verdict are missing")
        trust.verify_stamp(head, base64.b64decode(stamp["token"], validate=True), document["octets"])
        proved.stamps += 1


def verify_place(digest: bytes, leaf: Mapping[str, Any], size: int, root: bytes) -> None:
    path = [bytes.fromhex(step) for step in leaf["path"]]
    demand(all(len(step) == 32 for step in path), "a step of a path is no digest")
    found = compute_root(digest, leaf["place"] - 1, size, path)
    demand(found == root, f"leaf {leaf['place']} is not under the head")


def read_head(text: str) -> tuple[int, bytes]:
    """Return size and root of a head: the hub, the number of leaves, the root, the time, each a line."""
    lines = text.split("\n")
    demand(len(lines) == 5 and lines[4] == "" and lines[0].endswith("/evidence"), "it is no head")
    demand(re.fullmatch(r"[1-9][0-9]*", lines[1]) is not None, "a head has no number of leaves")
    root = base64.b64decode(lines[2], validate=True)
    demand(len(root) == 32, "the root of a head is no digest")
    return int(lines[1]), root


@dataclass(frozen=True)
class Trust:
    """Whom the reader trusts: certificates of the hub, and the file of the anchors over authorities."""

    signers: Sequence[x509.Certificate]
    anchors: Path | None = None

    def verify_head(self, text: str, signature: str | None, certificate: str | None) -> None:
        demand(signature is not None and certificate is not None, "the head has no signature")
        shown = x509.load_der_x509_certificate(base64.b64decode(certificate or ""))
        demand(shown in self.signers, "the head is signed by somebody else")
        verify_value(shown.public_key(), hashes.SHA256(), base64.b64decode(signature or ""), text.encode())

    def verify_stamp(self, head: str, token: bytes, octets: Mapping[str, str]) -> None:
        """Verify a token by openssl: its digest, its signature, and the path of its authority at its time."""
        with tempfile.TemporaryDirectory() as name:
            file, folder = Path(name, "token.der"), Path(name)
            file.write_bytes(token)
            shown = run_openssl("ts", "-reply", "-token_in", "-in", str(file), "-text")
            stated = re.search(r"Time stamp: (.*)", shown)
            demand(stated is not None, "a token states no time")
            if self.anchors is None:
                return
            others = folder / "others.pem"
            others.write_text("".join(list_certificates(octets)))
            digest = hashlib.sha256(head.encode()).hexdigest()
            command = ["ts", "-verify", "-token_in", "-in", str(file), "-digest", digest]
            more = ["-untrusted", str(others)] if others.stat().st_size else []
            at = run_date(stated.group(1))  # type: ignore[union-attr]
            run_openssl(*command, "-CAfile", str(self.anchors), *more, "-attime", at)


def list_certificates(octets: Mapping[str, str]) -> Iterator[str]:
    for content in octets.values():
        try:
            certificate = x509.load_der_x509_certificate(base64.b64decode(content))
        except ValueError:
            continue
        yield certificate.public_bytes(serialization.Encoding.PEM).decode()


def run_openssl(*words: str) -> str:
    done = subprocess.run(["openssl", *words], capture_output=True, text=True, check=False)
    demand(done.returncode == 0, f"openssl {' '.join(words[:2])}: {(done.stderr or done.stdout)[-300:]}")
    return done.stdout


def run_date(text: str) -> str:
    done = subprocess.run(["date", "-u", "-d", text, "+%s"], capture_output=True, text=True, check=True)
    return done.stdout.strip()


# --- The files of a bundle


def verify_bundle(path: Path, trust: Trust) -> Proved:
    """Verify every file of a bundle, and return what it proves."""
    proved = Proved()
    with zipfile.ZipFile(path) as bundle:
        demand(bundle.testzip() is None, "a file of the bundle is damaged")
        names = bundle.namelist()
        demand(len(set(names)) == len(names), "a name stands twice")
        files = {name: bundle.read(name) for name in names}
    readme = files.pop("README.txt", b"").decode()
    waiting = readme.partition("Not yet sealed")[2].splitlines()
    removed = readme.partition("Removed by retention")[2].splitlines()
    proofs = [name for name in files if name.startswith("proofs/")]
    for name in proofs:
        try:
            verify_proof(json.loads(files.pop(name)), trust, proved)
        except (ValueError, KeyError, TypeError, AttributeError) as mistake:
            raise BrokenEvidenceError(f"{name}: {type(mistake).__name__} {mistake}") from None
        except BrokenEvidenceError as broken:
            raise BrokenEvidenceError(f"{name}: {broken}") from None
    folders: dict[str, dict[str, bytes]] = {}
    for name, content in files.items():
        kind, _, rest = name.partition("/")
        demand(kind in ("messages", "agencies"), f"{name} belongs to nothing")
        if kind == "agencies":
            verify_statement(name, content, proved)
        else:
            folder, _, file = rest.partition("/")
            folders.setdefault(folder, {})[file] = content
    for folder, content in folders.items():
        number = folder.partition("-")[0]
        if f"messages/{folder}" in removed:
            tie_removed_message(folder, content, proved)
        elif f"proofs/message-{number}.json" in proofs:
            tie_message(folder, number, content, proved)
        elif f"message-{number}" in waiting or not waiting:
            tie_sent_message(folder, content, proved)
        for name in content:
            if name == "receipt.xml":
                verify_receipt(f"messages/{folder}/{name}", content[name], trust)
    return proved


def verify_statement(name: str, content: bytes, proved: Proved) -> None:
    """Verify what an agency signed: a leaf has its digest and its signer."""
    digest = hashlib.sha256(content).hexdigest()
    leaves = [leaf for leaf in proved.list_leaves("reply") if leaf["digest"] == digest]
    demand(bool(leaves), f"{name} is in no leaf")
    certificate = verify_xml_signature(etree.fromstring(content), {})
    signers = {leaf["data"]["signer"] for leaf in leaves}
    demand(get_fingerprint(certificate) in signers, f"{name} is signed by somebody else")
    proved.tied.append(name)


def tie_sent_message(folder: str, content: Mapping[str, bytes], proved: Proved) -> None:
    """Tie a message of the hub to the leaf that has the digest of its octets."""
    digest = hashlib.sha256(content["message.bin"]).hexdigest()
    sent = digest in {leaf["digest"] for leaf in proved.list_leaves("NRS")}
    demand(sent, f"messages/{folder}: no leaf has the digest of the message")
    proved.tied.append(folder)


def tie_removed_message(folder: str, content: Mapping[str, bytes], proved: Proved) -> None:
    """Demand a leaf that says so, or one that is withheld: who removed them is not for the parties."""
    is_stated = any(proved.list_leaves("purged")) or bool(proved.withheld)
    demand(is_stated, f"messages/{folder}: no leaf says that it was removed")
    demand(content.keys() <= {"receipt.xml"}, f"messages/{folder}: it is there")


def tie_message(folder: str, number: str, content: Mapping[str, bytes], proved: Proved) -> None:
    """Tie a received message to its leaf: by its signature, or by the documents that were filed."""
    own = [leaf for leaf in proved.list_leaves("NRO", "filed") if leaf["subject_id"] == number]
    demand(bool(own), f"messages/{folder}: no leaf is about the message")
    parts = {name: octets for name, octets in content.items() if re.match(r"document\.xml$|[0-9]+-", name)}
    if own[0]["kind"] == "filed":
        # A file has the name of its part as far as a file may have it; the document says the whole.
        ids = {"document.xml": "submission"}
        for listed in etree.fromstring(parts["document.xml"]).iter("{*}Attachment"):
            cid = listed.get("cid") or ""
            ids[re.sub(r"[^A-Za-z0-9._-]+", "_", cid).strip("._")[:60] or "part"] = cid
        pairs = []
        for name, octets in parts.items():
            own_name = name if name == "document.xml" else name.partition("-")[2]
            demand(own_name in ids, f"messages/{folder}/{name} is not named by the document")
            pairs.append([ids[own_name], hashlib.sha256(octets).hexdigest()])
        pairs.sort()
        identity = hashlib.sha256(json.dumps(pairs).encode()).hexdigest()
        demand(content["message.bin"] == parts["document.xml"], f"messages/{folder}: there are two documents")
    else:
        envelope, attached = split_message(content["message.bin"])
        certificate = verify_xml_signature(envelope, attached)
        demand(
            get_fingerprint(certificate) == own[0]["data"]["signer"],
            f"messages/{folder} is signed by somebody else",
        )
        identity = compute_identity(envelope, attached)
        carried = [*attached.values(), *map(expand_part, attached.values())]
        for name, octets in parts.items():
            demand(octets in carried, f"messages/{folder}/{name} is not in the message")
    demand(identity == own[0]["digest"], f"messages/{folder}: the leaf is about another message")
    proved.tied.append(folder)


def split_message(octets: bytes) -> tuple[etree._Element, dict[str, bytes]]:
    """Return the envelope of a stored HTTP body, and its attachments by their Content-ID."""
    if octets.lstrip()[:1] == b"<":
        return etree.fromstring(octets), {}
    boundary = re.match(rb"(?:\r\n)?(--[^\r\n]+)\r\n", octets)
    demand(boundary is not None, "a message has no boundary")
    pieces = (b"\r\n" + octets).split(b"\r\n" + boundary.group(1))[1:-1]  # type: ignore[union-attr]
    parts = []
    for piece in pieces:
        head, _, body = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        name = re.search(rb"(?im)^Content-ID:\s*<([^>]*)>", head)
        parts.append((name.group(1).decode() if name else "", body))
    return etree.fromstring(parts[0][1]), dict(parts[1:])


def expand_part(octets: bytes) -> bytes:
    """Return a part of AS4 without its compression (RFC 1952)."""
    return gzip.decompress(octets) if octets.startswith(b"\x1f\x8b") else octets


def hash_values(values: Sequence[bytes]) -> str:
    """Return the digest of values, each with its length before it in eight octets."""
    return hashlib.sha256(b"".join(len(one).to_bytes(8) + one for one in values)).hexdigest()


def compute_identity(envelope: etree._Element, parts: Mapping[str, bytes]) -> str:
    """Return the identity of a message: of ebMS 2.0 what is signed, of AS4 its header and its parts."""
    unit = envelope.find(f".//{_EB3}UserMessage")
    if unit is not None:
        values = [canonicalize(unit, _EXCLUSIVE)]
        for name in sorted(parts):
            values += [name.encode(), parts[name]]
        return hash_values(values)
    references = sorted(
        (
            reference.get("URI") or "",
            reference.find(f"{_DS}DigestMethod").get("Algorithm") or "",  # type: ignore[union-attr]
            base64.b64decode(reference.findtext(f"{_DS}DigestValue") or ""),
        )
        for reference in envelope.iterfind(f".//{_DS}SignedInfo/{_DS}Reference")
    )
    return hash_values(
        [value for uri, name, digest in references for value in (uri.encode(), name.encode(), digest)]
    )


def verify_receipt(name: str, content: bytes, trust: Trust) -> None:
    """Verify a receipt of the hub, where it is signed."""
    envelope, parts = split_message(content)
    certificate = verify_xml_signature(envelope, parts)
    demand(certificate in trust.signers, f"{name} is signed by somebody else")


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description="Verifies a bundle of evidence, or one proof of it.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--signer", type=Path, action="append", required=True)
    parser.add_argument("--anchor", type=Path)
    chosen = parser.parse_args(words)
    signers = [one for file in chosen.signer for one in x509.load_pem_x509_certificates(file.read_bytes())]
    trust, proved = Trust(signers, chosen.anchor), Proved()
    try:
        if zipfile.is_zipfile(chosen.file):
            proved = verify_bundle(chosen.file, trust)
        else:
            verify_proof(json.loads(chosen.file.read_bytes()), trust, proved)
    except (BrokenEvidenceError, ValueError, KeyError, TypeError, AttributeError, etree.XMLSyntaxError,
            zipfile.BadZipFile) as broken:  # fmt: skip
        print(f"broken: {broken}", file=sys.stderr)
        return 1
    report = {
        "leaves": sorted(leaf["kind"] for leaf in proved.leaves.values()),
        "withheld": len(proved.withheld),
        "stamps": proved.stamps,
        "tied": sorted(proved.tied),
    }
    print(json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
