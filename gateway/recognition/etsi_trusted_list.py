"""Reads trusted lists of ETSI TS 119 612 (versions 5 and 6): national lists, and lists of lists.

The format has more elements than are read here. The others have no effect, with one
exception: a service with an unknown critical extension has no level (clause 5.5.9).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from typing import Final

from lxml import etree

from gateway.pki import Certificate
from gateway.recognition.list_elements import (
    find_optional,
    get_element,
    parse_instant,
    raise_malformed,
    read_certificates_below,
    read_element_text,
    read_words,
)
from gateway.recognition.recognition_agreements import MRA_INFORMATION, read_agreement
from gateway.recognition.sealed_document import open_sealed_document
from gateway.recognition.trusted_list import (
    EquivalenceRule,
    SchemePointer,
    ServiceKind,
    ServiceStatus,
    TrustedList,
    TrustService,
)
from gateway.wire import DEFAULT_LIMITS, WireLimits

__all__ = ["EU_RULES", "TSL", "is_etsi_list", "open_etsi_list"]

TSL: Final = "http://uri.etsi.org/02231/v2#"
_T: Final = f"{{{TSL}}}"
_SIE: Final = "{http://uri.etsi.org/TrstSvc/SvcInfoExt/eSigDir-1999-93-EC-TrustedList/#}"
_ROOT: Final = f"{_T}TrustServiceStatusList"
_MIME_TYPE: Final = "{http://uri.etsi.org/02231/v2/additionaltypes#}MimeType"
_XML_LIST: Final = "application/vnd.etsi.tsl+xml"
_AGREEMENT: Final = str(etree.QName(MRA_INFORMATION).localname)
_VERSIONS: Final = ("5", "6")
_TYPES: Final = "http://uri.etsi.org/TrstSvc/Svctype/"
_WORDS: Final = "http://uri.etsi.org/TrstSvc/TrustedList/"
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
            ServiceKind(f"{_TYPES}CA/QC", f"{_WORDS}SvcInfoExt/{purpose}")
            for purpose in ("ForeSignatures", "ForeSeals")
        ),
        frozenset({f"{_WORDS}Svcstatus/granted"}),
        frozenset({f"{_TYPES}CA/QC"}),
        datetime(2016, 6, 30, 22, tzinfo=UTC),
    ),
    EquivalenceRule(
        "national: certificates that are not qualified",
        frozenset({ServiceKind(f"{_TYPES}CA/PKC")}),
        frozenset({f"{_WORDS}Svcstatus/recognisedatnationallevel"}),
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
        raise_malformed("not a trusted list of ETSI TS 119 612", sealed.root)
    scheme = get_element(sealed.root, f"{_T}SchemeInformation")
    version = read_element_text(scheme, f"{_T}TSLVersionIdentifier")
    if version not in _VERSIONS:
        raise_malformed(f"version {version[:20]} of the form is not read here", scheme)
    return TrustedList(
        form="etsi",
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
    found = read_words(element)
    if not found.isascii() or not found.isdigit() or len(found) > 9:
        raise_malformed("not a sequence number", element)
    return int(found)


def _read_date_time(element: etree._Element) -> datetime:
    return parse_instant(read_words(element), element)


def _read_next_update(element: etree._Element) -> datetime | None:
    """Return the time of the next update; an empty element closes the list (clause 5.3.15)."""
    found = find_optional(element, f"{_T}dateTime")
    return None if found is None else _read_date_time(found)


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
    standings = [_read_status(each) for each in (current, *past)]
    return TrustService(
        provider=operator,
        name=_read_english_name(get_element(current, f"{_T}ServiceName")),
        certificates=certificates,
        standings=tuple(sorted(standings, key=lambda each: each.since, reverse=True)),
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
        said = [
            each
            for one_of in pointer.iterfind(f"{_T}AdditionalInformation/{_T}OtherInformation")
            for each in one_of
        ]
        territories = [each for each in said if each.tag == f"{_T}SchemeTerritory"]
        forms = {read_words(each) for each in said if each.tag == _MIME_TYPE}
        if len(territories) != 1 or not forms <= {_XML_LIST}:
            continue  # it names no signer of a list that can be read here
        certificates, unread = read_certificates_below(pointer, f"{_T}X509Certificate")
        yield SchemePointer(
            territory=read_words(territories[0]),
            signers=certificates,
            location=read_element_text(pointer, f"{_T}TSLLocation"),
            rules=_read_agreements(said),
            unread=unread,
        )


def _read_agreements(said: list[etree._Element]) -> tuple[EquivalenceRule, ...] | None:
    """Return the rules of agreements; one of an unsupported version has no rules and so admits no signer."""
    agreements = [each for each in said if etree.QName(each).localname == _AGREEMENT]
    if not agreements:
        return None
    return tuple(rule for each in agreements if each.tag == MRA_INFORMATION for rule in read_agreement(each))


def _read_english_name(element: etree._Element) -> str:
    """Return the English name, else the first one."""
    names = element.findall(f"{_T}Name")
    english = [each for each in names if each.get("{http://www.w3.org/XML/1998/namespace}lang") == "en"]
    if not names:
        raise_malformed("no name", element)
    return read_words((english or names)[0])
