"""Why opinions may differ; a disagreement that none of these rules explains is a defect.

That a digest or the signature value is wrong is no reason here: where we say so, nobody
may accept, but for what the other reader is known to leave out, which is then looked for in the
message itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from lxml import etree

from gateway.wire import DS
from gateway.xmlsec import NEXT_ACTORS
from tests.xmlsec.opinions.change import found
from tests.xmlsec.opinions.messages import Message
from tests.xmlsec.opinions.voices import Opinion

__all__ = ["RULES", "Rule", "explain"]

_XML = "{http://www.w3.org/XML/1998/namespace}"
_XPATH = "http://www.w3.org/TR/1999/REC-xpath-19991116"
_INCLUSIVE = ("http://www.w3.org/TR/2001/REC-xml-c14n-20010315", "http://www.w3.org/2006/12/xml-c14n11")


@dataclass(frozen=True)
class Rule:
    """A reason for one to refuse what another accepts.

    `accepts` and `refuses` name voices, `reason` is a pattern of the refusal's words, and
    `holds`, where given, looks into the message for what the words say.
    """

    id: str
    words: str
    reason: str
    accepts: str = "xmlsec|signxml"
    refuses: str = "profile|any"
    holds: Callable[[etree._Element], bool] | None = None

    def explains(self, message: Message, accepting: str, refusing: str, reason: str) -> bool:
        """Tell whether this is why one voice refuses what another accepts."""
        if not re.fullmatch(self.accepts, accepting) or not re.fullmatch(self.refuses, refusing):
            return False
        return bool(re.search(self.reason, reason)) and (
            self.holds is None or self.holds(etree.fromstring(message.xml))
        )


def explain(message: Message, ours: str, theirs: str, opinions: Mapping[str, Opinion]) -> str | None:
    """Return the id of the first rule that explains why two opinions differ."""
    accepting, refusing = (ours, theirs) if opinions[ours].accepted else (theirs, ours)
    reason = opinions[refusing].reason
    return next((rule.id for rule in RULES if rule.explains(message, accepting, refusing, reason)), None)


def _hidden_headers(root: etree._Element) -> bool:
    """Something is addressed to the next node, and a reference has the XPath that leaves it out."""
    addressed = any(one.get(name) in NEXT_ACTORS for one in root.iter("*") for name in one.attrib)
    return addressed and any(one.get("Algorithm") == _XPATH for one in found(root, "//ds:Transform"))


def _context_counts(root: etree._Element) -> bool:
    """The canonical form of SignedInfo depends on what stands around the signature."""
    signature = found(root, "//ds:Signature")[0]
    method = found(signature, "./ds:SignedInfo/ds:CanonicalizationMethod")[0].get("Algorithm", "")
    if not method.startswith(_INCLUSIVE):
        return False
    inside = f"{{{DS}}}SignedInfo"
    alone = etree.fromstring(etree.tostring(signature, with_tail=False)).find(inside)
    bare = etree.tostring(alone, method="c14n")
    around = [name for one in signature.iterancestors() for name in one.attrib if str(name).startswith(_XML)]
    return bool(around) or bare != etree.tostring(signature.find(inside), method="c14n")


def _comments_kept(root: etree._Element) -> bool:
    forms = [one.get("Algorithm", "") for one in found(root, "//ds:SignedInfo//ds:Transform")]
    return any(form.endswith("#WithComments") for form in forms) and bool(root.xpath("//comment()"))


def _inherited(root: etree._Element) -> bool:
    """What is signed stands below an xml: attribute, which its inclusive form inherits."""
    above = any(str(name).startswith(_XML) for one in root.iter("*") for name in one.attrib)
    forms = [one.get("Algorithm", "") for one in found(root, "//ds:SignedInfo//ds:Transform")]
    return above and any(form.startswith(_INCLUSIVE) for form in forms)


def _relative_names(root: etree._Element) -> bool:
    return any(":" not in (uri or ":") for one in root.iter("*") for uri in one.nsmap.values())


# Id, in which words, and the patterns of our own refusals that it stands for.
_OURS: Final = tuple(
    Rule(id, words, "|".join(reasons))
    for id, words, *reasons in (
        (
            "document",
            "a document type, instruction, other encoding or size is refused before a tree is built",
            "^GW104 ",
            "^GW102 ",
        ),
        (
            "no-stray-content",
            "no comment, instruction or text stands between the elements of a signature or in a value",
            "a comment or instruction where only elements belong",
            "must hold only text",
            "text where only elements belong",
        ),
        (
            "no-comment",
            "comments, which no digest covers, are refused in an envelope of ebMS and in a SOAP Header",
            "in a signed (envelope|header)",
        ),
        ("strict-base64", "octets have one spelling in base64", "not base64"),
        (
            "signature-form",
            "a signature holds exactly what its profile names, in that order, with no attribute more",
            "is not allowed here",
            "attribute .* is missing",
            "must hold exactly",
            "must be a ds:Reference",
            "a (Signature|Reference) must hold",
            "SignedInfo must hold",
            "Transforms must hold",
            "must have no parameters",
            "parameters of this algorithm",
        ),
        (
            "algorithm",
            "an algorithm or canonical form is one that policy and profile name",
            "is not allowed by policy",
            "SignedInfo (must be )?in ",
            "algorithm of SignedInfo",
            "is not permitted",
        ),
        (
            "transforms-exact",
            "the transforms are one of the lists that the profile names",
            "the transforms of reference",
            "transform '.*' is not known",
            "the document must be signed by",
            "a part (of the signature )?must be signed",
            "an attachment must be signed as it is",
            "leave out the element",
        ),
        (
            "xpath-exact",
            "the XPath of ebMS 2.0 is recognised by its tokens and never run; any other is refused",
            "an XPath expression other",
            "of the XPath expression is not bound",
        ),
        (
            "reference-exact",
            'a reference is "", #identifier or the cid: of a part; nothing is fetched or pointed at',
            "is neither",
            "is not #identifier",
            "without (a )?URI",
            "is not fetched",
            "names no ",
            "is not one of XAdES",
            "is not here",
            "does not name one",
            "is not a cid",
        ),
        ("reference-once", "nothing is signed twice in one signature", "two references to"),
        (
            "key-one",
            "one certificate from one place; another source of a key beside it is refused",
            "KeyInfo (must hold|contains)",
            "X509Data (must hold|names)",
            "certificate in X509Data",
            "KeyValue is not the key",
            "no X.509 token",
            "the token (is|must be)",
            "not name the token",
            "the signature contains no key",
            "this is not a public key",
        ),
        (
            "identifier-once",
            "an identifier stands on one element, whichever attribute a reader takes for one",
            "stands on more than one element",
            "not an identifier here",
        ),
        ("coverage", "everything that will be read must be signed", "^GW203 ", "^GW201 "),
        (
            "place",
            "the signature, its token and what it signs stand where the profile has them, once",
            "is not a child of",
            "(stands|must occur) once",
            "more than one",
            "[Aa]n? (SOAP 1.1 )?Envelope",
            "Security header must hold",
            "signatures; exactly one is required",
        ),
        (
            "properties",
            "the signed properties of XAdES are read strictly",
            "QualifyingProperties",
            "SignedProperties",
            "SigningTime",
            "SigningCertificate",
            "CertDigest",
            "DataObjectFormat",
            "signed property",
            "a Cert must hold",
        ),
        ("timestamp", "the Timestamp has one form", "^GW211 "),
        (
            "certificate",
            "a certificate is read whole and strictly, where others take the key and look no further",
            "^GW205 ",
            "at certificate$",
        ),
    )
)

_THEIRS: Final = (
    Rule(
        "signxml-no-xpath",
        "signxml leaves the XPath of ebMS 2.0 out, so headers for the next node spoil its digest",
        "InvalidDigest",
        accepts="profile|any",
        refuses="signxml",
        holds=_hidden_headers,
    ),
    Rule(
        "signxml-context",
        "signxml canonicalises SignedInfo away from its place: names and xml: attributes around it are lost",
        "InvalidSignature",
        accepts="profile|any",
        refuses="signxml",
        holds=_context_counts,
    ),
    Rule(
        "signxml-comments",
        "signxml keeps comments in what #identifier names where the form has comments; by XML Signature "
        "§4.4.3.3 they are no part of it, whatever the form",
        "InvalidDigest",
        accepts="profile|any",
        refuses="signxml",
        holds=_comments_kept,
    ),
    Rule(
        "signxml-inherited",
        "signxml forgets xml: attributes that the inclusive form of a part inherits, so they can be "
        "added above it unnoticed",
        "the digest of reference '#.*' is wrong",
        accepts="signxml",
        holds=_inherited,
    ),
    Rule(
        "relative-within",
        "a relative namespace name in a document leaves it without canonical form, also where it stands "
        "in the signature itself (Canonical XML §1)",
        "has no canonical form",
        accepts="signxml",
        holds=_relative_names,
    ),
    Rule(
        "relative-elsewhere",
        "a relative namespace name around what is signed, not written in its canonical form: libxml2 "
        "refuses the whole document",
        r"^Error: \(1",
        accepts="profile|any",
        refuses="xmlsec",
        holds=_relative_names,
    ),
)

RULES: Final = (*_OURS, *_THEIRS)


def used(ids: Iterable[str]) -> list[Rule]:
    """Return the rules of these ids, in their order."""
    wanted = set(ids)
    return [rule for rule in RULES if rule.id in wanted]
