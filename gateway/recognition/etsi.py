"""Reads trusted lists of ETSI TS 119 612 (versions 5 and 6): national lists, and lists of lists.

The form has more than is read here; what is not read decides nothing, except that a service
with a critical extension we do not understand is of no level (clause 5.5.9).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from typing import Final

from lxml import etree

from gateway.pki.certificates import Certificate
from gateway.recognition.equivalence import MRA_INFORMATION, read_agreement
from gateway.recognition.lists import Equivalence, Scheme, Service, ServiceKind, Standing, TrustedList
from gateway.recognition.reading import certificates_below, instant, malformed, one, optional, text, words
from gateway.recognition.sealed import open_sealed
from gateway.wire.prescan import DEFAULT_LIMITS, Limits

__all__ = ["EU_RULES", "TSL", "is_etsi", "open_etsi_list"]

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
        # They say what the certificates of a service are; here a level is the service's.
        f"{_SIE}Qualifications",
        f"{_T}ExpiredCertsRevocationInfo",
        f"{_SIE}TakenOverBy",
    }
)

#: What the levels of a list are where no agreement says otherwise: its own service types, while granted.
EU_RULES: Final = (
    Equivalence(
        "EU 910/2014: qualified certificates for signatures and seals",
        frozenset(
            ServiceKind(f"{_TYPES}CA/QC", f"{_WORDS}SvcInfoExt/{purpose}")
            for purpose in ("ForeSignatures", "ForeSeals")
        ),
        frozenset({f"{_WORDS}Svcstatus/granted"}),
        frozenset({f"{_TYPES}CA/QC"}),
        datetime(2016, 6, 30, 22, tzinfo=UTC),
    ),
    Equivalence(
        "national: certificates that are not qualified",
        frozenset({ServiceKind(f"{_TYPES}CA/PKC")}),
        frozenset({f"{_WORDS}Svcstatus/recognisedatnationallevel"}),
        frozenset({f"{_TYPES}CA/PKC"}),
        datetime(2016, 6, 30, 22, tzinfo=UTC),
    ),
)


def is_etsi(root: etree._Element) -> bool:
    """Tell whether a document is a trusted list of this form."""
    return root.tag == _ROOT


def open_etsi_list(
    data: bytes, signers: Collection[Certificate], *, limits: Limits = DEFAULT_LIMITS
) -> TrustedList:
    """Read a list that one of the expected certificates signed; whether it is fresh is asked elsewhere."""
    sealed = open_sealed(data, signers, limits=limits)
    if not is_etsi(sealed.root):
        malformed("not a trusted list of ETSI TS 119 612", sealed.root)
    scheme = one(sealed.root, f"{_T}SchemeInformation")
    version = text(scheme, f"{_T}TSLVersionIdentifier")
    if version not in _VERSIONS:
        malformed(f"version {version[:20]} of the form is not read here", scheme)
    return TrustedList(
        form="etsi",
        operator=_name(one(scheme, f"{_T}SchemeOperatorName")),
        territory=text(scheme, f"{_T}SchemeTerritory"),
        sequence=_sequence(one(scheme, f"{_T}TSLSequenceNumber")),
        issued=_moment(one(scheme, f"{_T}ListIssueDateTime")),
        next_update=_next_update(one(scheme, f"{_T}NextUpdate")),
        sha256=sealed.sha256,
        signer=sealed.signer,
        services=tuple(_services(sealed.root)),
        # only a list of lists names others; a national list merely says where it is listed itself
        schemes=tuple(_schemes(scheme)) if _names_lists(scheme) else (),
        rules=EU_RULES,
    )


def _names_lists(scheme: etree._Element) -> bool:
    return text(scheme, f"{_T}TSLType").lower().endswith("listofthelists")


def _sequence(element: etree._Element) -> int:
    found = words(element)
    if not found.isascii() or not found.isdigit() or len(found) > 9:
        malformed("not a sequence number", element)
    return int(found)


def _moment(element: etree._Element) -> datetime:
    return instant(words(element), element)


def _next_update(element: etree._Element) -> datetime | None:
    """Return when the next list is due; an empty element closes the list (clause 5.3.15)."""
    found = optional(element, f"{_T}dateTime")
    return None if found is None else _moment(found)


def _services(root: etree._Element) -> Iterator[Service]:
    providers = optional(root, f"{_T}TrustServiceProviderList")
    for provider in [] if providers is None else providers.findall(f"{_T}TrustServiceProvider"):
        information = one(provider, f"{_T}TSPInformation")
        operator = _name(one(information, f"{_T}TSPName"))
        services = one(provider, f"{_T}TSPServices")
        for service in services.findall(f"{_T}TSPService"):
            yield _service(operator, service)


def _service(operator: str, element: etree._Element) -> Service:
    current = one(element, f"{_T}ServiceInformation")
    history = optional(element, f"{_T}ServiceHistory")
    past = [] if history is None else history.findall(f"{_T}ServiceHistoryInstance")
    identity = one(current, f"{_T}ServiceDigitalIdentity")
    certificates, unread = certificates_below(identity, f"{_T}X509Certificate")
    standings = [_standing(each) for each in (current, *past)]
    return Service(
        provider=operator,
        name=_name(one(current, f"{_T}ServiceName")),
        certificates=certificates,
        standings=tuple(sorted(standings, key=lambda each: each.since, reverse=True)),
        unread=unread,
    )


def _standing(element: etree._Element) -> Standing:
    extensions = element.findall(f"{_T}ServiceInformationExtensions/{_T}Extension")
    additional = [
        text(each, f"{_T}URI")
        for extension in extensions
        for each in extension.findall(f"{_T}AdditionalServiceInformation")
    ]
    return Standing(
        type=text(element, f"{_T}ServiceTypeIdentifier"),
        status=text(element, f"{_T}ServiceStatus"),
        since=_moment(one(element, f"{_T}StatusStartingTime")),
        additional=frozenset(additional),
        unknown=tuple(name for extension in extensions for name in _not_understood(extension)),
    )


def _not_understood(extension: etree._Element) -> Iterator[str]:
    if extension.get("Critical") in ("false", "0"):
        return
    tags = [each.tag for each in extension]
    for tag in tags or [extension.tag]:
        if tag not in _UNDERSTOOD:
            yield str(etree.QName(tag).localname)


def _schemes(scheme: etree._Element) -> Iterator[Scheme]:
    for pointer in scheme.findall(f"{_T}PointersToOtherTSL/{_T}OtherTSLPointer"):
        said = [
            each
            for one_of in pointer.iterfind(f"{_T}AdditionalInformation/{_T}OtherInformation")
            for each in one_of
        ]
        territories = [each for each in said if each.tag == f"{_T}SchemeTerritory"]
        forms = {words(each) for each in said if each.tag == _MIME_TYPE}
        if len(territories) != 1 or not forms <= {_XML_LIST}:
            continue  # it pins nobody for a list that could be read here
        certificates, unread = certificates_below(pointer, f"{_T}X509Certificate")
        yield Scheme(
            territory=words(territories[0]),
            signers=certificates,
            location=text(pointer, f"{_T}TSLLocation"),
            rules=_agreed(said),
            unread=unread,
        )


def _agreed(said: list[etree._Element]) -> tuple[Equivalence, ...] | None:
    """Return the rules of agreements; one of a version that is not read has none and so admits nobody."""
    agreements = [each for each in said if etree.QName(each).localname == _AGREEMENT]
    if not agreements:
        return None
    return tuple(rule for each in agreements if each.tag == MRA_INFORMATION for rule in read_agreement(each))


def _name(element: etree._Element) -> str:
    """Return the English name, else the first."""
    names = element.findall(f"{_T}Name")
    english = [each for each in names if each.get("{http://www.w3.org/XML/1998/namespace}lang") == "en"]
    if not names:
        malformed("no name", element)
    return words((english or names)[0])
