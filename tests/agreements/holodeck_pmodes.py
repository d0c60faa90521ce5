"""P-Mode files as Holodeck B2B has them, written for the tests after its schema.

The names and their places are facts of ``pmode.xsd`` 8.0.0 (github.com/holodeck-b2b/Holodeck-B2B,
modules/holodeckb2b-core/src/main/resources/xsd, commit 7e8177baa8833ada9aa678f2687ff62916e162a0); its text is
not here. `EVERY_NAME` has each element and attribute of the schema once at least; choices of the schema are
on different legs and sides. The other files have the forms of the examples that the product ships.
"""

from __future__ import annotations

NAMESPACE = "http://holodeck-b2b.org/schemas/2014/10/pmode"
EB3 = "http://docs.oasis-open.org/ebxml-msg/ebms/v3.0/ns/core/200704/"
_DELIVERY = (
    "<DeliveryMethod>a.b.Method</DeliveryMethod><PerformAsyncDelivery>true</PerformAsyncDelivery>"
    "<Parameter><name>folder</name><value>in</value></Parameter>"
)
_TOKEN = (
    "<username>broker</username><password type='Digest'>p1</password>"
    "<includeNonce>true</includeNonce><includeCreated>true</includeCreated>"
)
_SIGNING = (
    "<Signing><KeystoreAlias password='p2'>broker</KeystoreAlias>"
    "<KeyReferenceMethod>BSTReference</KeyReferenceMethod><IncludeCertificatePath>true</IncludeCertificatePath>"
    "<Algorithm>http://www.w3.org/2001/04/xmldsig-more#rsa-sha256</Algorithm>"
    "<HashFunction>http://www.w3.org/2001/04/xmlenc#sha256</HashFunction></Signing>"
)
_EVENTS = (
    "<EventHandlers><EventHandler><HandlerFactoryClass>a.b.Handler</HandlerFactoryClass>"
    "<HandledEvent>a.b.Sent</HandledEvent><HandledEvent>a.b.Lost</HandledEvent>"
    "<ForMessageUnit>Receipt</ForMessageUnit><ForMessageUnit>Error</ForMessageUnit>"
    "<ContinueProcessing>true</ContinueProcessing>"
    "<Parameter><name>a</name><value>b</value></Parameter></EventHandler></EventHandlers>"
)
_ERRORS = (
    "<ErrorHandling><ReplyPattern>RESPONSE</ReplyPattern>"
    "<ReceiverErrorsTo>https://broker.example/errors</ReceiverErrorsTo>"
    "<AddSOAPFault>true</AddSOAPFault><ReportErrorOnError>true</ReportErrorOnError>"
    "<ReportErrorOnReceipt>true</ReportErrorOnReceipt>"
    "<NotifyErrorToBusinessApplication>true</NotifyErrorToBusinessApplication>"
    f"<ErrorDelivery>{_DELIVERY}</ErrorDelivery></ErrorHandling>"
)
_FLOW = (
    "<UserMessageFlow><BusinessInfo><Action>{action}</Action><Mpc>urn:example:mpc</Mpc>"
    "<Service><name>orders</name><type>urn:example:services</type></Service>"
    "<Property><name>originalSender</name><value>b</value><type>string</type></Property>"
    f"</BusinessInfo>{_ERRORS}"
    "<PayloadProfile><UseAS4Compression>true</UseAS4Compression></PayloadProfile>"
    "<CustomValidation><ExecuteInOrder>true</ExecuteInOrder><StopValidationOn>FAILURE</StopValidationOn>"
    "<RejectMessageOn>WARN</RejectMessageOn><Validator><id>v</id>"
    "<ValidatorFactoryClass>a.b.V</ValidatorFactoryClass>"
    "<Parameter><name>a</name><value>b</value></Parameter></Validator></CustomValidation></UserMessageFlow>"
)
EVERY_NAME = f"""\
<?xml version="1.0" encoding="UTF-8"?>
<PMode xmlns="{NAMESPACE}" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
    xsi:schemaLocation="{NAMESPACE} pmode.xsd" useStrictHeaderValidation="true">
<id include="true">orders</id>
<mep>{EB3}twoWay</mep>
<mepBinding>{EB3}pushAndPull</mepBinding>
<Initiator>
<PartyId type="urn:example:party-type">broker1</PartyId>
<Role>Applicant</Role>
<SecurityConfiguration>
<UsernameToken target="ebms">{_TOKEN}</UsernameToken><UsernameToken target="">{_TOKEN}</UsernameToken>
{_SIGNING}
<Encryption><KeystoreAlias>broker</KeystoreAlias>
<Algorithm>http://www.w3.org/2009/xmlenc11#aes128-gcm</Algorithm>
<KeyTransport><Algorithm>http://www.w3.org/2009/xmlenc11#rsa-oaep</Algorithm>
<MGFAlgorithm>http://www.w3.org/2009/xmlenc11#mgf1sha384</MGFAlgorithm>
<DigestAlgorithm>http://www.w3.org/2001/04/xmlenc#sha256</DigestAlgorithm>
<KeyReferenceMethod>KeyIdentifier</KeyReferenceMethod></KeyTransport></Encryption>
</SecurityConfiguration>
</Initiator>
<Responder>
<PartyId type="urn:example:party-type">hub</PartyId>
<Role>Hub</Role>
<SecurityConfiguration>
{_SIGNING}
<Encryption><KeystoreAlias>hub</KeystoreAlias>
<Algorithm>http://www.w3.org/2009/xmlenc11#aes128-gcm</Algorithm>
<KeyAgreement><KeyEncryptionAlgorithm>http://www.w3.org/2001/04/xmlenc#kw-aes256</KeyEncryptionAlgorithm>
<AgreementMethod>http://www.w3.org/2009/xmlenc11#ECDH-ES</AgreementMethod>
<KeyDerivationMethod><Algorithm>http://www.w3.org/2009/xmlenc11#ConcatKDF</Algorithm>
<DigestAlgorithm>http://www.w3.org/2001/04/xmlenc#sha256</DigestAlgorithm>
<Parameter><name>PartyUInfo</name><value>00</value></Parameter></KeyDerivationMethod>
<CertReferenceMethod>KeyIdentifier</CertReferenceMethod>
<Parameter><name>a</name><value>b</value></Parameter></KeyAgreement></Encryption>
</SecurityConfiguration>
</Responder>
<Agreement><type>urn:example:agreements</type><name>orders</name></Agreement>
<Leg label="REQUEST">
<Protocol><Address>https://hub.example/msh/as4</Address><ConnectionTimeout>5000</ConnectionTimeout>
<ReadTimeout>9000</ReadTimeout>
<TLSConfiguration><AllowedProtocols>TLSv1.3</AllowedProtocols>
<AllowedCipherSuites>TLS_AES_128_GCM_SHA256</AllowedCipherSuites>
<ClientCertificate password="p3">broker</ClientCertificate></TLSConfiguration>
<AddActorOrRoleAttribute>false</AddActorOrRoleAttribute><SoapVersion>1.2</SoapVersion>
<UseChunking>true</UseChunking><UseHTTPCompression>false</UseHTTPCompression></Protocol>
<Receipt><NotifyReceiptToBusinessApplication>true</NotifyReceiptToBusinessApplication>
<ReceiptDelivery>{_DELIVERY}</ReceiptDelivery></Receipt>
<ReceptionAwareness><MaxRetries>4</MaxRetries><RetryInterval>30</RetryInterval></ReceptionAwareness>
<DefaultDelivery>{_DELIVERY}</DefaultDelivery>
{_FLOW.format(action="Order")}
{_EVENTS}
</Leg>
<Leg label="REPLY">
<Receipt><ReplyPattern>CALLBACK</ReplyPattern><To>https://hub.example/msh/as4</To></Receipt>
<ReceptionAwareness><WaitIntervals>60,60,60</WaitIntervals></ReceptionAwareness>
<PullRequestFlow><Mpc>urn:example:mpc/broker</Mpc>{_ERRORS}
<SecurityConfiguration><UsernameToken target="ebms">{_TOKEN}</UsernameToken>
{_SIGNING}</SecurityConfiguration></PullRequestFlow>
{_FLOW.format(action="Answer")}
</Leg>
{_EVENTS}
</PMode>
"""


def write_pmode(binding: str, *legs: str, initiator: str = "", responder: str = "") -> str:
    """Return a One-Way or Two-Way P-Mode with these legs, and what is inside of each partner."""
    mep = "oneWay" if len(legs) == 1 else "twoWay"
    return f"""\
<PMode xmlns="{NAMESPACE}">
<id>orders</id><mep>{EB3}{mep}</mep><mepBinding>{EB3}{binding}</mepBinding>
<Initiator><PartyId>org:example:broker</PartyId><Role>Broker</Role>{initiator}</Initiator>
<Responder><PartyId>org:example:hub</PartyId><Role>Hub</Role>{responder}</Responder>
<Agreement><name>urn:example:orders</name></Agreement>
{"".join(legs)}
</PMode>
"""


def write_leg(action: str = "Order", *, before: str = "", flow: str = "", label: str = "") -> str:
    """Return a leg for an action: `before` its flow of messages, `flow` inside of it."""
    label = f' label="{label}"' if label else ""
    return (
        f"<Leg{label}>{before}<UserMessageFlow><BusinessInfo><Action>{action}</Action>"
        f"<Service><name>Test</name><type>org:example:services</type></Service></BusinessInfo>{flow}"
        "</UserMessageFlow></Leg>"
    )
