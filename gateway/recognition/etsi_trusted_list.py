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
    document_octets: bytes,
    expected_signers: Collection[Certificate],
    *,
    policy: SignaturePolicy = STRICT,
    limits: WireLimits = DEFAULT_LIMITS,
) -> SealedDocument:
    """Verify the one enveloped signature of a document in any form that the policy permits.

    The signature must be the last child of the root and cover everything else. Raises GW201
    to GW204 for the signature, GW205 for an unexpected signer.
    """
    root = parse_xml(document_octets, limits)
    verification = verify_any_signature(root, {}, policy)
    if verification.verdict != "valid":
        raise GatewayError(verification.problem or SIGNATURE_INVALID, verification.reason, "ds:Signature")
    if len(root) == 0 or root[-1].tag != f"{{{DS}}}Signature":
        raise GatewayError(NOT_COVERED, "ds:Signature is not the last child of the root", "ds:Signature")
    if "/" not in verification.covered or verification.excluded:
        raise GatewayError(NOT_COVERED, "the signature does not cover the whole document", "ds:Signature")
    if verification.certificate is None:
        raise GatewayError(CERTIFICATE_UNTRUSTED, verification.reason, "ds:KeyInfo")
    check_pinned_signer(verification.certificate, expected_signers)
    etree.strip_tags(root, etree.Comment)
    return SealedDocument(root, verification.certificate, hashlib.sha256(document_octets).hexdigest())


def check_pinned_signer(signer: Certificate, expected_signers: Collection[Certificate]) -> None:
    """Raise GW205 unless exactly this certificate is among the expected ones."""
    if signer not in expected_signers:
        detail = f"signed by {signer.subject[:120]} ({signer.sha256[:16]}…), who is not expected to sign this"
        raise GatewayError(CERTIFICATE_UNTRUSTED, detail, "ds:KeyInfo")


MRA: Final = "http://ec.europa.eu/tools/lotl/mra/schema/v2#"
MRA_INFORMATION: Final = f"{{{MRA}}}MutualRecognitionAgreementInformation"
ENACTED: Final = "http://ec.europa.eu/tools/lotl/mra/enacted"
REPEALED: Final = "http://ec.europa.eu/tools/lotl/mra/repealed"
_MRA: Final = f"{{{MRA}}}"
_TSL_TAG: Final = "{http://uri.etsi.org/02231/v2#}"
_CONDITION_PATH: Final = (
    f"{_MRA}CertificateContentReferencesEquivalenceList/{_MRA}CertificateContentReferenceEquivalence"
)


def read_recognition_agreement(element: etree._Element) -> Iterator[EquivalenceRule]:
    """Yield the rules of an agreement, with each state of its history as a separate rule."""
    for information in element.findall(f"{_MRA}TrustServiceEquivalenceInformation"):
        identifier = read_element_text(information, f"{_MRA}TrustServiceLegalIdentifier")
        history_path = f"{_MRA}TrustServiceEquivalenceHistory/{_MRA}TrustServiceEquivalenceHistoryInstance"
        states = [information, *information.findall(history_path)]
        dated_states = sorted(
            ((_read_start(each), each) for each in states), key=lambda pair: pair[0], reverse=True
        )
        until: datetime | None = None
        for since, state_element in dated_states:
            yield _read_rule(identifier, state_element, since, until)
            until = since


def _read_start(element: etree._Element) -> datetime:
    starting_time = get_element(element, f"{_MRA}TrustServiceEquivalenceStatusStartingTime")
    return read_instant(read_visible_text(starting_time), starting_time)


def _read_rule(
    identifier: str, element: etree._Element, since: datetime, until: datetime | None
) -> EquivalenceRule:
    """Return the equivalence rule of a mutual recognition agreement, in force from `since` until `until`.

    The services and statuses of the pointed party count as those of the pointing party, whose list this is.
    """
    type_equivalence = get_element(element, f"{_MRA}TrustServiceTSLTypeEquivalenceList")
    status_equivalence = get_element(
        element, f"{_MRA}TrustServiceTSLStatusEquivalenceList/{_MRA}TrustServiceTSLStatusValidEquivalence"
    )
    pointed_statuses = get_element(status_equivalence, f"{_MRA}TrustServiceTSLStatusListPointedParty")
    pointing_statuses = get_element(status_equivalence, f"{_MRA}TrustServiceTSLStatusListPointingParty")
    pointing_kinds = frozenset(
        _read_service_kinds(get_element(type_equivalence, f"{_MRA}TrustServiceTSLTypeListPointingParty"))
    )
    rule_state = read_element_text(element, f"{_MRA}TrustServiceEquivalenceStatus")
    if rule_state not in (ENACTED, REPEALED):
        raise_malformed(element, "neither enacted nor repealed")
    return EquivalenceRule(
        identifier=identifier,
        kinds=frozenset(
            _read_service_kinds(get_element(type_equivalence, f"{_MRA}TrustServiceTSLTypeListPointedParty"))
        ),
        statuses=_read_statuses(pointed_statuses),
        levels=frozenset(kind.type for kind in pointing_kinds),
        since=since,
        until=until,
        enacted=rule_state == ENACTED,
        conditions=tuple(
            read_element_text(each, f"{_MRA}CertificateContentReferenceEquivalenceContext")
            for each in element.findall(_CONDITION_PATH)
        ),
        becomes=pointing_kinds,
        as_statuses=_read_statuses(pointing_statuses),
    )


def _read_statuses(element: etree._Element) -> frozenset[str]:
    return frozenset(read_visible_text(each) for each in element.findall(f"{_TSL_TAG}ServiceStatus"))


def _read_service_kinds(element: etree._Element) -> Iterator[ServiceKind]:
    """Yield each service type in `element` with the URI of its additional service information, or none."""
    for type_element in element.findall(f"{_MRA}TrustServiceTSLType"):
        additional = find_optional(type_element, f"{_TSL_TAG}AdditionalServiceInformation")
        additional_uri = "" if additional is None else read_element_text(additional, f"{_TSL_TAG}URI")
        yield ServiceKind(read_element_text(type_element, f"{_TSL_TAG}ServiceTypeIdentifier"), additional_uri)


TSL: Final = "http://uri.etsi.org/02231/v2#"
_TSL: Final = f"{{{TSL}}}"
_SIE: Final = "{http://uri.etsi.org/TrstSvc/SvcInfoExt/eSigDir-1999-93-EC-TrustedList/#}"
_ROOT: Final = f"{_TSL}TrustServiceStatusList"
_MIME_TYPE: Final = "{http://uri.etsi.org/02231/v2/additionaltypes#}MimeType"
_XML_LIST: Final = "application/vnd.etsi.tsl+xml"
_AGREEMENT_NAME: Final = str(etree.QName(MRA_INFORMATION).localname)
_SUPPORTED_VERSIONS: Final = ("5", "6")
_SERVICE_TYPES: Final = "http://uri.etsi.org/TrstSvc/Svctype/"
_LIST_URI: Final = "http://uri.etsi.org/TrstSvc/TrustedList/"
_SUPPORTED_EXTENSIONS: Final = frozenset(
    {
        f"{_TSL}AdditionalServiceInformation",
        # Qualifications describe single certificates of a service; the gateway gives a level to the service.
        f"{_SIE}Qualifications",
        f"{_TSL}ExpiredCertsRevocationInfo",
        f"{_SIE}TakenOverBy",
    }
)

#: The levels of a list where no agreement defines others: its own service types, while granted.
EU_RULES: Final = (
    EquivalenceRule(
        "EU 910/2014: qualified certificates for signatures and seals",
        frozenset(
            ServiceKind(f"{_SERVICE_TYPES}CA/QC", f"{_LIST_URI}SvcInfoExt/{purpose}")
            for purpose in ("ForeSignatures", "ForeSeals")
        ),
        frozenset({f"{_LIST_URI}Svcstatus/granted"}),
        frozenset({f"{_SERVICE_TYPES}CA/QC"}),
        datetime(2016, 6, 30, 22, tzinfo=UTC),
    ),
    EquivalenceRule(
        "national: certificates that are not qualified",
        frozenset({ServiceKind(f"{_SERVICE_TYPES}CA/PKC")}),
        frozenset({f"{_LIST_URI}Svcstatus/recognisedatnationallevel"}),
        frozenset({f"{_SERVICE_TYPES}CA/PKC"}),
        datetime(2016, 6, 30, 22, tzinfo=UTC),
    ),
)


def is_etsi_list(root: etree._Element) -> bool:
    """Return whether a document is a trusted list of this form."""
    return root.tag == _ROOT


def open_etsi_list(
    list_octets: bytes, expected_signers: Collection[Certificate], *, limits: WireLimits = DEFAULT_LIMITS
) -> TrustedList:
    """Read a list that one of the expected certificates signed; its freshness is checked elsewhere.

    Raises the problems of `open_sealed_document`, and GW402 for a malformed list.
    """
    sealed_document = open_sealed_document(list_octets, expected_signers, limits=limits)
    if not is_etsi_list(sealed_document.root):
        raise_malformed(sealed_document.root, "not a trusted list of ETSI TS 119 612")
    scheme = get_element(sealed_document.root, f"{_TSL}SchemeInformation")
    version = read_element_text(scheme, f"{_TSL}TSLVersionIdentifier")
    if version not in _SUPPORTED_VERSIONS:
        raise_malformed(scheme, f"version {version[:20]} of the form is not read here")
    return TrustedList(
        list_format="etsi",
        operator=_read_english_name(get_element(scheme, f"{_TSL}SchemeOperatorName")),
        territory=read_element_text(scheme, f"{_TSL}SchemeTerritory"),
        sequence=_read_sequence_number(get_element(scheme, f"{_TSL}TSLSequenceNumber")),
        issued=_read_date_time(get_element(scheme, f"{_TSL}ListIssueDateTime")),
        next_update=_read_next_update(get_element(scheme, f"{_TSL}NextUpdate")),
        sha256=sealed_document.sha256,
        signer=sealed_document.signer,
        services=tuple(_read_services(sealed_document.root)),
        # only a list of lists names other lists; a national list only points to where it is listed itself
        schemes=tuple(_read_schemes(scheme)) if _is_list_of_lists(scheme) else (),
        rules=EU_RULES,
    )


def _is_list_of_lists(scheme: etree._Element) -> bool:
    return read_element_text(scheme, f"{_TSL}TSLType").lower().endswith("listofthelists")


def _read_sequence_number(element: etree._Element) -> int:
    digits = read_visible_text(element)
    if not digits.isascii() or not digits.isdigit() or len(digits) > 9:
        raise_malformed(element, "not a sequence number")
    return int(digits)


def _read_date_time(element: etree._Element) -> datetime:
    return read_instant(read_visible_text(element), element)


def _read_next_update(element: etree._Element) -> datetime | None:
    """Return the time of the next update; an empty element closes the list (clause 5.3.15)."""
    date_time = find_optional(element, f"{_TSL}dateTime")
    return None if date_time is None else _read_date_time(date_time)


def _read_services(root: etree._Element) -> Iterator[TrustService]:
    """Yield the trust services of all providers of a list (ETSI TS 119 612 §5.4 and §5.5)."""
    providers = find_optional(root, f"{_TSL}TrustServiceProviderList")
    for provider in [] if providers is None else providers.findall(f"{_TSL}TrustServiceProvider"):
        information = get_element(provider, f"{_TSL}TSPInformation")
        provider_name = _read_english_name(get_element(information, f"{_TSL}TSPName"))
        services = get_element(provider, f"{_TSL}TSPServices")
        for service in services.findall(f"{_TSL}TSPService"):
            yield _read_service(provider_name, service)


def _read_service(provider_name: str, element: etree._Element) -> TrustService:
    """Return the service of a TSPService element, with its present and past statuses, the latest first."""
    information = get_element(element, f"{_TSL}ServiceInformation")
    history = find_optional(element, f"{_TSL}ServiceHistory")
    past_statuses = [] if history is None else history.findall(f"{_TSL}ServiceHistoryInstance")
    identity = get_element(information, f"{_TSL}ServiceDigitalIdentity")
    certificates, read_errors = read_certificates_below(identity, f"{_TSL}X509Certificate")
    statuses = [_read_status(each) for each in (information, *past_statuses)]
    return TrustService(
        provider=provider_name,
        name=_read_english_name(get_element(information, f"{_TSL}ServiceName")),
        certificates=certificates,
        status_history=tuple(sorted(statuses, key=lambda each: each.since, reverse=True)),
        unread=read_errors,
    )


def _read_status(element: etree._Element) -> ServiceStatus:
    """Return the status in a ServiceInformation or ServiceHistoryInstance (ETSI TS 119 612 §5.5, §5.6)."""
    extensions = element.findall(f"{_TSL}ServiceInformationExtensions/{_TSL}Extension")
    additional_uris = [
        read_element_text(each, f"{_TSL}URI")
        for extension in extensions
        for each in extension.findall(f"{_TSL}AdditionalServiceInformation")
    ]
    return ServiceStatus(
        type=read_element_text(element, f"{_TSL}ServiceTypeIdentifier"),
        status=read_element_text(element, f"{_TSL}ServiceStatus"),
        since=_read_date_time(get_element(element, f"{_TSL}StatusStartingTime")),
        additional=frozenset(additional_uris),
        unknown=tuple(name for extension in extensions for name in _list_unknown_extensions(extension)),
    )


def _list_unknown_extensions(extension: etree._Element) -> Iterator[str]:
    """Yield the local names of contents of a critical extension that the gateway does not support."""
    if extension.get("Critical") in ("false", "0"):
        return
    tags = [each.tag for each in extension]
    for tag in tags or [extension.tag]:
        if tag not in _SUPPORTED_EXTENSIONS:
            yield str(etree.QName(tag).localname)


def _read_schemes(scheme: etree._Element) -> Iterator[SchemePointer]:
    """Yield the pointers to XML trusted lists of one territory each (ETSI TS 119 612 §5.3.13)."""
    for pointer in scheme.findall(f"{_TSL}PointersToOtherTSL/{_TSL}OtherTSLPointer"):
        additional_information = [
            each
            for one_of in pointer.iterfind(f"{_TSL}AdditionalInformation/{_TSL}OtherInformation")
            for each in one_of
        ]
        territories = [each for each in additional_information if each.tag == f"{_TSL}SchemeTerritory"]
        mime_types = {read_visible_text(each) for each in additional_information if each.tag == _MIME_TYPE}
        if len(territories) != 1 or not mime_types <= {_XML_LIST}:
            continue  # it names no signer of a list that can be read here
        certificates, read_errors = read_certificates_below(pointer, f"{_TSL}X509Certificate")
        yield SchemePointer(
            territory=read_visible_text(territories[0]),
            signers=certificates,
            location=read_element_text(pointer, f"{_TSL}TSLLocation"),
            rules=_read_agreements(additional_information),
            unread=read_errors,
        )


def _read_agreements(additional_information: list[etree._Element]) -> tuple[EquivalenceRule, ...] | None:
    """Return the rules of agreements; one of an unsupported version has no rules and so admits no signer."""
    agreements = [each for each in additional_information if etree.QName(each).localname == _AGREEMENT_NAME]
    if not agreements:
        return None
    return tuple(
        rule
        for each in agreements
        if each.tag == MRA_INFORMATION
        for rule in read_recognition_agreement(each)
    )


def _read_english_name(element: etree._Element) -> str:
    """Return the English name, else the first one."""
    names = element.findall(f"{_TSL}Name")
    english = [each for each in names if each.get("{http://www.w3.org/XML/1998/namespace}lang") == "en"]
    if not names:
        raise_malformed(element, "no name")
    return read_visible_text((english or names)[0])
