"""Lists, agreements and a country of others for the tests of the room."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache

from lxml import etree

from gateway.pki import Certificate, TrustPolicy, TrustStore
from gateway.recognition import (
    EquivalenceRule,
    SchemePointer,
    ServiceKind,
    ServiceStatus,
    TrustedList,
    TrustedListDraft,
    TrustService,
    sign_trusted_list,
)
from gateway.recognition.etsi_trusted_list import ENACTED, MRA, TSL
from gateway.recognition.own_trusted_list import open_own_list
from gateway.wire import parse_xml, serialize_element
from gateway.xmlsec import sign_document
from gateway_conformance.pki import (
    CertificateOrder,
    CertificationAuthority,
    IssuedCertificate,
    issue_certificate,
    make_authority,
)

NOW = datetime(2026, 11, 20, 9, 0, 0, tzinfo=UTC)
DAY = timedelta(days=1)
LAX = TrustPolicy(revocation="none")

TYPES = "http://uri.etsi.org/TrstSvc/Svctype/"
STATUS = "http://uri.etsi.org/TrstSvc/TrustedList/Svcstatus/"
INFO = "http://uri.etsi.org/TrstSvc/TrustedList/SvcInfoExt/"
QC, SIGNATURES = f"{TYPES}CA/QC", f"{INFO}ForeSignatures"
GRANTED, WITHDRAWN = f"{STATUS}granted", f"{STATUS}withdrawn"


@dataclass(frozen=True)
class Country:
    """An authority, a party of it, and who signs the country's list."""

    authority: CertificationAuthority
    party: IssuedCertificate
    operator: IssuedCertificate


@cache
def country(name: str) -> Country:
    authority = make_authority(f"CN={name} CA,C=ZZ", NOW - 400 * DAY)
    operator = make_authority(f"CN={name} Lists,C=ZZ", NOW - 400 * DAY)
    order = CertificateOrder(days=800)
    return Country(
        authority,
        issue_certificate(authority, f"CN={name} Party", NOW - 2 * DAY),
        issue_certificate(operator, f"CN={name} Operator", NOW - 300 * DAY, order),
    )


def rule(kinds: Iterable[str], statuses: Iterable[str], *levels: str, **other: object) -> EquivalenceRule:
    parted = (each.partition(" ") for each in kinds)
    made = EquivalenceRule(
        "the rule",
        frozenset(ServiceKind(kind, additional) for kind, _, additional in parted),
        frozenset(statuses),
        frozenset(levels),
        NOW - 100 * DAY,
    )
    return replace(made, **other)  # type: ignore[arg-type]


def service(authority: CertificationAuthority, *standings: ServiceStatus) -> TrustService:
    return TrustService("Provider", authority.certificate.subject, (authority.certificate,), standings)


def standing(kind: str, status: str, days_ago: int = 50, *additional: str) -> ServiceStatus:
    return ServiceStatus(kind, status, NOW - days_ago * DAY, frozenset(additional))


def own_list(
    draft: TrustedListDraft | None = None, name: str = "Home", **words: object
) -> tuple[bytes, TrustedList]:
    """Sign a list of ours, a day ago unless `issued` says otherwise; return its octets and what is read."""
    issued = words.pop("issued", NOW - DAY)
    draft = replace(draft or TrustedListDraft("Home", "KR", 7, NOW + 30 * DAY), **words)  # type: ignore[arg-type]
    signer = country(name).operator.signer
    data = sign_trusted_list(draft, signer, now=issued)  # type: ignore[arg-type]
    return data, open_own_list(data, {signer.certificate})


def scheme(territory: str, name: str, *rules: EquivalenceRule, role: str = "list") -> SchemePointer:
    signer = country(name).operator.certificate
    return SchemePointer(territory, (signer,), role, rules=rules)  # type: ignore[arg-type]


def trust(*anchors: Certificate) -> TrustStore:
    return TrustStore(anchors or (country("Home").authority.certificate,), policy=LAX)


def _base64(certificate: Certificate) -> str:
    return base64.b64encode(certificate.der).decode("ascii")


def etsi_service(
    certificate: Certificate,
    states: Sequence[tuple[str, int]] = ((GRANTED, 50),),
    *,
    kind: str = QC,
    additional: str = SIGNATURES,
    extension: str = "",
) -> str:
    """Write a service; `states` are (status, days ago), the present one first."""

    def state(status: str, days: int) -> str:
        return f"""<ServiceTypeIdentifier>{kind}</ServiceTypeIdentifier>
          <ServiceName><Name xml:lang="xx">Nom</Name><Name xml:lang="en">A service</Name></ServiceName>
          <ServiceDigitalIdentity><DigitalId><X509Certificate>{_base64(certificate)}</X509Certificate></DigitalId>
          </ServiceDigitalIdentity><ServiceStatus>{status}</ServiceStatus>
          <StatusStartingTime>{(NOW - days * DAY).isoformat().replace("+00:00", "Z")}</StatusStartingTime>
          <ServiceInformationExtensions><Extension Critical="true"><AdditionalServiceInformation>
            <URI xml:lang="en">{additional}</URI></AdditionalServiceInformation></Extension>{extension}
          </ServiceInformationExtensions>"""

    past = "".join(f"<ServiceHistoryInstance>{state(*each)}</ServiceHistoryInstance>" for each in states[1:])
    return f"""<TSPService><ServiceInformation>{state(*states[0])}</ServiceInformation>
      <ServiceHistory>{past}</ServiceHistory></TSPService>"""


def pointer(territory: str, signer: Certificate, agreement: str = "") -> str:
    return f"""<OtherTSLPointer><ServiceDigitalIdentities><ServiceDigitalIdentity><DigitalId>
      <X509Certificate>{_base64(signer)}</X509Certificate></DigitalId></ServiceDigitalIdentity>
      </ServiceDigitalIdentities><TSLLocation>https://{territory}.example/tl.xml</TSLLocation>
      <AdditionalInformation><OtherInformation><SchemeTerritory>{territory}</SchemeTerritory></OtherInformation>
      <OtherInformation>{agreement}</OtherInformation></AdditionalInformation></OtherTSLPointer>"""


def agreement(
    pointed: str = "http://zz.example/type/good",
    status: str = "http://zz.example/status/active",
    *,
    state: str = ENACTED,
    extra: str = "",
    namespace: str = MRA,
    history: str = "",
) -> str:
    """Write an agreement: their `pointed` services of `status` are as good as our granted CA/QC."""
    return f"""<m:MutualRecognitionAgreementInformation xmlns:m="{namespace}" technicalType="1" version="2"
      pointingContractingPartyLegislation="http://us.example" pointedContractingPartyLegislation="http://zz.example"
      MRADepth="1"><m:TrustServiceEquivalenceInformation>{_state(pointed, status, state, 60, extra)}{history}
      </m:TrustServiceEquivalenceInformation></m:MutualRecognitionAgreementInformation>"""


def _state(pointed: str, status: str, state: str, days: int, extra: str = "") -> str:
    since = (NOW - days * DAY).isoformat().replace("+00:00", "Z")
    return f"""<m:TrustServiceLegalIdentifier>Art. 1</m:TrustServiceLegalIdentifier>
      <m:TrustServiceTSLTypeEquivalenceList><m:TrustServiceTSLTypeListPointingParty><m:TrustServiceTSLType>
      <ServiceTypeIdentifier>{QC}</ServiceTypeIdentifier><AdditionalServiceInformation>
      <URI xml:lang="en">{SIGNATURES}</URI></AdditionalServiceInformation></m:TrustServiceTSLType>
      </m:TrustServiceTSLTypeListPointingParty><m:TrustServiceTSLTypeListPointedParty><m:TrustServiceTSLType>
      <ServiceTypeIdentifier>{pointed}</ServiceTypeIdentifier></m:TrustServiceTSLType>
      </m:TrustServiceTSLTypeListPointedParty></m:TrustServiceTSLTypeEquivalenceList>
      <m:TrustServiceEquivalenceStatus>{state}</m:TrustServiceEquivalenceStatus>
      <m:TrustServiceEquivalenceStatusStartingTime>{since}</m:TrustServiceEquivalenceStatusStartingTime>
      <m:TrustServiceTSLStatusEquivalenceList><m:TrustServiceTSLStatusValidEquivalence>
      <m:TrustServiceTSLStatusListPointingParty><ServiceStatus>{GRANTED}</ServiceStatus>
      </m:TrustServiceTSLStatusListPointingParty><m:TrustServiceTSLStatusListPointedParty>
      <ServiceStatus>{status}</ServiceStatus></m:TrustServiceTSLStatusListPointedParty>
      </m:TrustServiceTSLStatusValidEquivalence></m:TrustServiceTSLStatusEquivalenceList>{extra}"""


def past_state(state: str, days: int) -> str:
    """Write what an agreement was before, from so many days ago on."""
    inside = _state("http://zz.example/type/good", "http://zz.example/status/active", state, days)
    inside = inside.replace("<m:TrustServiceLegalIdentifier>Art. 1</m:TrustServiceLegalIdentifier>", "")
    return f"""<m:TrustServiceEquivalenceHistory><m:TrustServiceEquivalenceHistoryInstance>{inside}
      </m:TrustServiceEquivalenceHistoryInstance></m:TrustServiceEquivalenceHistory>"""


def etsi_list(
    territory: str,
    name: str,
    services: Sequence[str] = (),
    pointers: Sequence[str] = (),
    *,
    sequence: int = 5,
    issued: datetime = NOW - DAY,
    next_update: str | None = None,
    of_lists: bool = False,
    version: str = "6",
) -> bytes:
    """Write a list of ETSI TS 119 612 and sign it by the operator of a country."""
    due = (NOW + 30 * DAY).isoformat() if next_update is None else next_update
    kind = "EUlistofthelists" if of_lists else "EUgeneric"
    data = f"""<TrustServiceStatusList xmlns="{TSL}" Id="list"><SchemeInformation>
      <TSLVersionIdentifier>{version}</TSLVersionIdentifier><TSLSequenceNumber>{sequence}</TSLSequenceNumber>
      <TSLType>http://uri.etsi.org/TrstSvc/TrustedList/TSLType/{kind}</TSLType>
      <SchemeOperatorName><Name xml:lang="en">{name}</Name></SchemeOperatorName>
      <SchemeTerritory>{territory}</SchemeTerritory><PointersToOtherTSL>{"".join(pointers)}</PointersToOtherTSL>
      <ListIssueDateTime>{issued.isoformat()}</ListIssueDateTime>
      <NextUpdate>{f"<dateTime>{due}</dateTime>" if due else ""}</NextUpdate></SchemeInformation>
      <TrustServiceProviderList><TrustServiceProvider><TSPInformation><TSPName><Name xml:lang="en">P</Name>
      </TSPName></TSPInformation><TSPServices>{"".join(services)}</TSPServices></TrustServiceProvider>
      </TrustServiceProviderList></TrustServiceStatusList>"""
    return signed(data.encode(), name)


def signed(data: bytes, name: str) -> bytes:
    return serialize_element(sign_document(parse_xml(data), country(name).operator.signer, now=NOW - DAY))


@cache
def document(name: str, text: str = "cargo") -> bytes:
    """Sign a document by the party of a country."""
    root = etree.fromstring(f"<Declaration>{text}</Declaration>")
    return serialize_element(sign_document(root, country(name).party.signer, now=NOW))
