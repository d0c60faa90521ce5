"""Reads trusted lists of ETSI TS 119 612 (versions 5 and 6): national lists, and lists of lists.

The format has more elements than are read here. The others have no effect, with one
exception: a service with an unknown critical extension has no level (clause 5.5.9).
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from lxml import etree

from gateway.errors import CERTIFICATE_UNTRUSTED, NOT_COVERED, SIGNATURE_INVALID, GatewayError
from gateway.pki import Certificate
from gateway.recognition.trusted_list import (
    EquivalenceRule,
    SchemePointer,
    ServiceKind,
    ServiceStatus,
    TrustedList,
    TrustService,
    find_optional,
    get_element,
    raise_malformed,
    read_certificates_below,
    read_element_text,
    read_instant,
    read_visible_text,
)
from gateway.wire import DEFAULT_LIMITS, DS, WireLimits, parse_xml
from gateway.xmlsec import STRICT, SignaturePolicy, verify_any_signature


@dataclass(frozen=True, slots=True)
class SealedDocument:
    """A verified document; comments, which no signature covers, are removed."""

    root: etree._Element
    signer: Certificate
    sha256: str


def open_sealed_document(
    data: bytes,
    signers: Collection[Certificate],
    *,
    policy: SignaturePolicy = STRICT,
    limits: WireLimits = DEFAULT_LIMITS,
) -> SealedDocument:
    """Verify the one enveloped signature of a document in any form that the policy permits.

    The signature must be the last child of the root and cover everything else. Raises GW201
    to GW204 for the signature, GW205 for an unexpected signer.
    """
    root = parse_xml(data, limits)
    judgement = verify_any_signature(root, {}, policy)
    if judgement.verdict != "valid":
        raise GatewayError(judgement.problem or SIGNATURE_INVALID, judgement.reason, "ds:Signature")
    if len(root) == 0 or root[-1].tag != f"{{{DS}}}Signature":
        raise GatewayError(NOT_COVERED, "ds:Signature is not the last child of the root", "ds:Signature")
    if "/" not in judgement.covered or judgement.excluded:
        raise GatewayError(NOT_COVERED, "the signature does not cover the whole document", "ds:Signature")
    if judgement.certificate is None:
        raise GatewayError(CERTIFICATE_UNTRUSTED, judgement.reason, "ds:KeyInfo")
    check_pinned_signer(judgement.certificate, signers)
    etree.strip_tags(root, etree.Comment)
    return SealedDocument(root, judgement.certificate, hashlib.sha256(data).hexdigest())


def check_pinned_signer(signer: Certificate, signers: Collection[Certificate]) -> None:
    """Raise GW205 unless exactly this certificate is among the expected ones."""
    if signer not in signers:
        detail = f"signed by {signer.subject[:120]} ({signer.sha256[:16]}…), who is not expected to sign this"
        raise GatewayError(CERTIFICATE_UNTRUSTED, detail, "ds:KeyInfo")


MRA: Final = "http://ec.europa.eu/tools/lotl/mra/schema/v2#"
MRA_INFORMATION: Final = f"{{{MRA}}}MutualRecognitionAgreementInformation"
ENACTED: Final = "http://ec.europa.eu/tools/lotl/mra/enacted"
REPEALED: Final = "http://ec.europa.eu/tools/lotl/mra/repealed"
_M: Final = f"{{{MRA}}}"
_TSL_TAG: Final = "{http://uri.etsi.org/02231/v2#}"
_CONTENTS: Final = (
    f"{_M}CertificateContentReferencesEquivalenceList/{_M}CertificateContentReferenceEquivalence"
)


def read_agreement(element: etree._Element) -> Iterator[EquivalenceRule]:
    """Yield the rules of an agreement, with each state of its history as a separate rule."""
    for information in element.findall(f"{_M}TrustServiceEquivalenceInformation"):
        identifier = read_element_text(information, f"{_M}TrustServiceLegalIdentifier")
        history = f"{_M}TrustServiceEquivalenceHistory/{_M}TrustServiceEquivalenceHistoryInstance"
        states = [information, *information.findall(history)]
        dated_states = sorted(
            ((_read_start(each), each) for each in states), key=lambda pair: pair[0], reverse=True
        )
        until: datetime | None = None
        for since, state in dated_states:
            yield _read_rule(identifier, state, since, until)
            until = since


def _read_start(element: etree._Element) -> datetime:
    starting_time = get_element(element, f"{_M}TrustServiceEquivalenceStatusStartingTime")
    return read_instant(read_visible_text(starting_time), starting_time)


def _read_rule(
    identifier: str, element: etree._Element, since: datetime, until: datetime | None
) -> EquivalenceRule:
    kinds = get_element(element, f"{_M}TrustServiceTSLTypeEquivalenceList")
    valid = get_element(
        element, f"{_M}TrustServiceTSLStatusEquivalenceList/{_M}TrustServiceTSLStatusValidEquivalence"
    )
    pointed = get_element(valid, f"{_M}TrustServiceTSLStatusListPointedParty")
    pointing = get_element(valid, f"{_M}TrustServiceTSLStatusListPointingParty")
    becomes = frozenset(_read_service_kinds(get_element(kinds, f"{_M}TrustServiceTSLTypeListPointingParty")))
    state = read_element_text(element, f"{_M}TrustServiceEquivalenceStatus")
    if state not in (ENACTED, REPEALED):
        raise_malformed(element, "neither enacted nor repealed")
    return EquivalenceRule(
        identifier=identifier,
        kinds=frozenset(_read_service_kinds(get_element(kinds, f"{_M}TrustServiceTSLTypeListPointedParty"))),
        statuses=_read_statuses(pointed),
        levels=frozenset(kind.type for kind in becomes),
        since=since,
        until=until,
        enacted=state == ENACTED,
        conditions=tuple(
            read_element_text(each, f"{_M}CertificateContentReferenceEquivalenceContext")
            for each in element.findall(_CONTENTS)
        ),
        becomes=becomes,
        as_statuses=_read_statuses(pointing),
    )


def _read_statuses(element: etree._Element) -> frozenset[str]:
    return frozenset(read_visible_text(each) for each in element.findall(f"{_TSL_TAG}ServiceStatus"))


def _read_service_kinds(element: etree._Element) -> Iterator[ServiceKind]:
    for each in element.findall(f"{_M}TrustServiceTSLType"):
        additional = find_optional(each, f"{_TSL_TAG}AdditionalServiceInformation")
        narrowed = "" if additional is None else read_element_text(additional, f"{_TSL_TAG}URI")
        yield ServiceKind(read_element_text(each, f"{_TSL_TAG}ServiceTypeIdentifier"), narrowed)


TSL: Final = "http://uri.etsi.org/02231/v2#"
_T: Final = f"{{{TSL}}}"
_SIE: Final = "{http://uri.etsi.org/TrstSvc/SvcInfoExt/eSigDir-1999-93-EC-TrustedList/#}"
_ROOT: Final = f"{_T}TrustServiceStatusList"
_MIME_TYPE: Final = "{http://uri.etsi.org/02231/v2/additionaltypes#}MimeType"
_XML_LIST: Final = "application/vnd.etsi.tsl+xml"
_AGREEMENT: Final = str(etree.QName(MRA_INFORMATION).localname)
_VERSIONS: Final = ("5", "6")
_TYPES: Final = "http://uri.etsi.org/TrstSvc/Svctype/"
_LIST_URI: Final = "http://uri.etsi.org/TrstSvc/TrustedList/"
_UNDERSTOOD: Final = frozenset(
    {
        f"{_T}AdditionalServiceInformation",
        # They describe the certificates of a service; here a level belongs to the service.
        f"{_SIE}Qualifications",
        f"{_T}ExpiredCertsRevocationInfo",
        f"{_SIE}TakenOverBy",
    }
)

#: The levels of a list where no agreement defines others: its own service types, while granted.
EU_RULES: Final = (
    EquivalenceRule(
        "EU 910/2014: qualified certificates for signatures and seals",
        frozenset(
            ServiceKind(f"{_TYPES}CA/QC", f"{_LIST_URI}SvcInfoExt/{purpose}")
            for purpose in ("ForeSignatures", "ForeSeals")
        ),
        frozenset({f"{_LIST_URI}Svcstatus/granted"}),
        frozenset({f"{_TYPES}CA/QC"}),
        datetime(2016, 6, 30, 22, tzinfo=UTC),
    ),
    EquivalenceRule(
        "national: certificates that are not qualified",
        frozenset({ServiceKind(f"{_TYPES}CA/PKC")}),
        frozenset({f"{_LIST_URI}Svcstatus/recognisedatnationallevel"}),
        frozenset({f"{_TYPES}CA/PKC"}),
        datetime(2016, 6, 30, 22, tzinfo=UTC),
    ),
)


def is_etsi_list(root: etree._Element) -> bool:
    """Return whether a document is a trusted list of this form."""
    return root.tag == _ROOT


def open_etsi_list(
    data: bytes, signers: Collection[Certificate], *, limits: WireLimits = DEFAULT_LIMITS
) -> TrustedList:
    """Read a list that one of the expected certificates signed; its freshness is checked elsewhere.

    Raises the problems of `open_sealed_document`, and GW402 for a malformed list.
    """
    sealed = open_sealed_document(data, signers, limits=limits)
    if not is_etsi_list(sealed.root):
        raise_malformed(sealed.root, "not a trusted list of ETSI TS 119 612")
    scheme = get_element(sealed.root, f"{_T}SchemeInformation")
    version = read_element_text(scheme, f"{_T}TSLVersionIdentifier")
    if version not in _VERSIONS:
        raise_malformed(scheme, f"version {version[:20]} of the form is not read here")
    return TrustedList(
        list_format="etsi",
        operator=_read_english_name(get_element(scheme, f"{_T}SchemeOperatorName")),
        territory=read_element_text(scheme, f"{_T}SchemeTerritory"),
        sequence=_read_sequence_number(get_element(scheme, f"{_T}TSLSequenceNumber")),
        issued=_read_date_time(get_element(scheme, f"{_T}ListIssueDateTime")),
        next_update=_read_next_update(get_element(scheme, f"{_T}NextUpdate")),
        sha256=sealed.sha256,
        signer=sealed.signer,
        services=tuple(_read_services(sealed.root)),
        # only a list of lists names other lists; a national list only points to where it is listed itself
        schemes=tuple(_read_schemes(scheme)) if _is_list_of_lists(scheme) else (),
        rules=EU_RULES,
    )


def _is_list_of_lists(scheme: etree._Element) -> bool:
    return read_element_text(scheme, f"{_T}TSLType").lower().endswith("listofthelists")


def _read_sequence_number(element: etree._Element) -> int:
    digits = read_visible_text(element)
    if not digits.isascii() or not digits.isdigit() or len(digits) > 9:
        raise_malformed(element, "not a sequence number")
    return int(digits)


def _read_date_time(element: etree._Element) -> datetime:
    return read_instant(read_visible_text(element), element)


def _read_next_update(element: etree._Element) -> datetime | None:
    """Return the time of the next update; an empty element closes the list (clause 5.3.15)."""
    date_time = find_optional(element, f"{_T}dateTime")
    return None if date_time is None else _read_date_time(date_time)


def _read_services(root: etree._Element) -> Iterator[TrustService]:
    providers = find_optional(root, f"{_T}TrustServiceProviderList")
    for provider in [] if providers is None else providers.findall(f"{_T}TrustServiceProvider"):
        information = get_element(provider, f"{_T}TSPInformation")
        operator = _read_english_name(get_element(information, f"{_T}TSPName"))
        services = get_element(provider, f"{_T}TSPServices")
        for service in services.findall(f"{_T}TSPService"):
            yield _read_service(operator, service)


def _read_service(operator: str, element: etree._Element) -> TrustService:
    current = get_element(element, f"{_T}ServiceInformation")
    history = find_optional(element, f"{_T}ServiceHistory")
    past = [] if history is None else history.findall(f"{_T}ServiceHistoryInstance")
    identity = get_element(current, f"{_T}ServiceDigitalIdentity")
    certificates, unread = read_certificates_below(identity, f"{_T}X509Certificate")
    statuses = [_read_status(each) for each in (current, *past)]
    return TrustService(
        provider=operator,
        name=_read_english_name(get_element(current, f"{_T}ServiceName")),
        certificates=certificates,
        status_history=tuple(sorted(statuses, key=lambda each: each.since, reverse=True)),
        unread=unread,
    )


def _read_status(element: etree._Element) -> ServiceStatus:
    extensions = element.findall(f"{_T}ServiceInformationExtensions/{_T}Extension")
    additional = [
        read_element_text(each, f"{_T}URI")
        for extension in extensions
        for each in extension.findall(f"{_T}AdditionalServiceInformation")
    ]
    return ServiceStatus(
        type=read_element_text(element, f"{_T}ServiceTypeIdentifier"),
        status=read_element_text(element, f"{_T}ServiceStatus"),
        since=_read_date_time(get_element(element, f"{_T}StatusStartingTime")),
        additional=frozenset(additional),
        unknown=tuple(name for extension in extensions for name in _list_unknown_extensions(extension)),
    )


def _list_unknown_extensions(extension: etree._Element) -> Iterator[str]:
    if extension.get("Critical") in ("false", "0"):
        return
    tags = [each.tag for each in extension]
    for tag in tags or [extension.tag]:
        if tag not in _UNDERSTOOD:
            yield str(etree.QName(tag).localname)


def _read_schemes(scheme: etree._Element) -> Iterator[SchemePointer]:
    for pointer in scheme.findall(f"{_T}PointersToOtherTSL/{_T}OtherTSLPointer"):
        additional_information = [
            each
            for one_of in pointer.iterfind(f"{_T}AdditionalInformation/{_T}OtherInformation")
            for each in one_of
        ]
        territories = [each for each in additional_information if each.tag == f"{_T}SchemeTerritory"]
        mime_types = {read_visible_text(each) for each in additional_information if each.tag == _MIME_TYPE}
        if len(territories) != 1 or not mime_types <= {_XML_LIST}:
            continue  # it names no signer of a list that can be read here
        certificates, unread = read_certificates_below(pointer, f"{_T}X509Certificate")
        yield SchemePointer(
            territory=read_visible_text(territories[0]),
            signers=certificates,
            location=read_element_text(pointer, f"{_T}TSLLocation"),
            rules=_read_agreements(additional_information),
            unread=unread,
        )


def _read_agreements(additional_information: list[etree._Element]) -> tuple[EquivalenceRule, ...] | None:
    """Return the rules of agreements; one of an unsupported version has no rules and so admits no signer."""
    agreements = [each for each in additional_information if etree.QName(each).localname == _AGREEMENT]
    if not agreements:
        return None
    return tuple(rule for each in agreements if each.tag == MRA_INFORMATION for rule in read_agreement(each))


def _read_english_name(element: etree._Element) -> str:
    """Return the English name, else the first one."""
    names = element.findall(f"{_T}Name")
    english = [each for each in names if each.get("{http://www.w3.org/XML/1998/namespace}lang") == "en"]
    if not names:
        raise_malformed(element, "no name")
    return read_visible_text((english or names)[0])
