"""Namespace names and fixed URIs of the standards that the gateway supports, and of its own documents."""

from __future__ import annotations

from typing import Final

XML: Final = "http://www.w3.org/XML/1998/namespace"
XSD: Final = "http://www.w3.org/2001/XMLSchema"
XSI: Final = "http://www.w3.org/2001/XMLSchema-instance"
XLINK: Final = "http://www.w3.org/1999/xlink"

SOAP11: Final = "http://schemas.xmlsoap.org/soap/envelope/"
SOAP12: Final = "http://www.w3.org/2003/05/soap-envelope"
SOAP11_NEXT: Final = "http://schemas.xmlsoap.org/soap/actor/next"
SOAP12_NEXT: Final = "http://www.w3.org/2003/05/soap-envelope/role/next"
SOAP12_ULTIMATE_RECEIVER: Final = "http://www.w3.org/2003/05/soap-envelope/role/ultimateReceiver"
WSDL: Final = "http://schemas.xmlsoap.org/wsdl/"

EB: Final = "http://www.oasis-open.org/committees/ebxml-msg/schema/msg-header-2_0.xsd"
EB3: Final = "http://docs.oasis-open.org/ebxml-msg/ebms/v3.0/ns/core/200704/"
#: Fragments of a large message (ebMS 3.0 part 2, appendix I).
MF: Final = "http://docs.oasis-open.org/ebxml-msg/ns/v3.0/mf/2010/04/"
EBBP: Final = "http://docs.oasis-open.org/ebxml-bp/ebbp-signals-2.0"
TP: Final = "http://www.oasis-open.org/committees/ebxml-cppa/schema/cpp-cpa-2_0.xsd"

DS: Final = "http://www.w3.org/2000/09/xmldsig#"
DS11: Final = "http://www.w3.org/2009/xmldsig11#"
DSIG_MORE: Final = "http://www.w3.org/2001/04/xmldsig-more#"
#: XML-binary Optimized Packaging: content that stands in another MIME part.
XOP: Final = "http://www.w3.org/2004/08/xop/include"
XENC: Final = "http://www.w3.org/2001/04/xmlenc#"
XENC11: Final = "http://www.w3.org/2009/xmlenc11#"
XADES: Final = "http://uri.etsi.org/01903/v1.3.2#"

C14N: Final = "http://www.w3.org/TR/2001/REC-xml-c14n-20010315"
C14N_COMMENTS: Final = "http://www.w3.org/TR/2001/REC-xml-c14n-20010315#WithComments"
C14N_EXCLUSIVE: Final = "http://www.w3.org/2001/10/xml-exc-c14n#"
C14N_EXCLUSIVE_COMMENTS: Final = "http://www.w3.org/2001/10/xml-exc-c14n#WithComments"

_WSS: Final = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-"
WSSE: Final = _WSS + "wssecurity-secext-1.0.xsd"
WSU: Final = _WSS + "wssecurity-utility-1.0.xsd"
WSSE11: Final = "http://docs.oasis-open.org/wss/oasis-wss-wssecurity-secext-1.1.xsd"
#: The curves of NIST by the names of the library: their object identifiers (RFC 5480 §2.1.1.1).
CURVE_OIDS: Final = {
    "secp256r1": "urn:oid:1.2.840.10045.3.1.7",
    "secp384r1": "urn:oid:1.3.132.0.34",
    "secp521r1": "urn:oid:1.3.132.0.35",
}
X509_TOKEN: Final = _WSS + "x509-token-profile-1.0#X509v3"
X509_PKI_PATH_TOKEN: Final = _WSS + "x509-token-profile-1.0#X509PKIPathv1"
X509_PKCS7_TOKEN: Final = _WSS + "x509-token-profile-1.0#PKCS7"
#: Key identifiers of certificates.
X509_SUBJECT_KEY: Final = _WSS + "x509-token-profile-1.0#X509SubjectKeyIdentifier"
X509_THUMBPRINT: Final = "http://docs.oasis-open.org/wss/oasis-wss-soap-message-security-1.1#ThumbprintSHA1"
BASE64_ENCODING: Final = _WSS + "soap-message-security-1.0#Base64Binary"
#: The transform of a signed attachment: its content without its MIME headers.
SWA_CONTENT: Final = (
    "http://docs.oasis-open.org/wss/oasis-wss-SwAProfile-1.1#Attachment-Content-Signature-Transform"
)

WSA: Final = "http://www.w3.org/2005/08/addressing"
WSAM: Final = "http://www.w3.org/2007/05/addressing/metadata"
ANONYMOUS: Final = "http://www.w3.org/2005/08/addressing/anonymous"

WCO_MD: Final = "urn:wco:datamodel:WCO:DocumentMetaData-DMS:2"
WCO_DEC: Final = "urn:wco:datamodel:WCO:DEC-DMS:2"
WCO_RES: Final = "urn:wco:datamodel:WCO:RES-DMS:2"

SUB: Final = "urn:single-window:submission:1"
RES: Final = "urn:single-window:result:1"
RECEIPT: Final = "urn:single-window:receipt:1"
DOCUMENT: Final = "urn:single-window:document:"
AGENCY: Final = "urn:single-window:agency:1"
CARRIED: Final = "urn:single-window:carried:1"
CUSTOMS: Final = "urn:single-window:customs:1"
SERVICE_AGENCY: Final = "urn:single-window:service:agency:1"
SERVICE_CUSTOMS: Final = "urn:single-window:service:customs:1"
SERVICE_DECLARATION: Final = "urn:single-window:service:declaration:1"

PREFIXES: Final[dict[str, str]] = {
    "soap": SOAP11,
    "soap12": SOAP12,
    "eb": EB,
    "eb3": EB3,
    "ebbp": EBBP,
    "mf": MF,
    "tp": TP,
    "xlink": XLINK,
    "ds": DS,
    "ec": C14N_EXCLUSIVE,
    "xenc": XENC,
    "xenc11": XENC11,
    "xades": XADES,
    "wsse": WSSE,
    "wsse11": WSSE11,
    "wsu": WSU,
    "wsa": WSA,
    "wsam": WSAM,
    "wsdl": WSDL,
    "xsd": XSD,
    "xsi": XSI,
    "xml": XML,
    "md": WCO_MD,
    "wco": WCO_DEC,
    "dt": "urn:wco:datamodel:WCO:Declaration_DS:DMS:2",
    "wcores": WCO_RES,
    "sub": SUB,
    "res": RES,
    "receipt": RECEIPT,
    "agency": AGENCY,
    "customs": CUSTOMS,
}
"""The prefix of each namespace in the locations and XPath expressions of the gateway."""


def make_document_namespace(document_id: str) -> str:
    """Return the namespace of an agency document's request and of its unique fields."""
    return f"{DOCUMENT}{document_id.lower()}:1"
