"""The issuer of a certificate as text: every form that RFC 4514 and RFC 2253 §4 have is the same name."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from gateway.xmlsec.key_info import is_name_written_as

NAME = x509.Name(
    [
        x509.RelativeDistinguishedName([x509.NameAttribute(oid, value) for oid, value in part])
        for part in (
            [(NameOID.COUNTRY_NAME, "KR")],
            [(NameOID.ORGANIZATION_NAME, "Customs, Ltd")],
            [(NameOID.ORGANIZATIONAL_UNIT_NAME, "a+b"), (NameOID.EMAIL_ADDRESS, "ca@x.example")],
            [(NameOID.COMMON_NAME, "신고 CA")],
        )
    ]
)


@pytest.mark.parametrize(
    "text",
    [
        r"CN=신고 CA,OU=a\+b+E=ca@x.example,O=Customs\, Ltd,C=KR",
        r"C=KR,O=Customs\, Ltd,OU=a\+b+E=ca@x.example,CN=신고 CA",
        r"CN=신고 CA, OU=a\+b + EMAILADDRESS=ca@x.example, O=Customs\, Ltd, C=KR",
        r"cn=신고 CA,ou=a\2bb+emailAddress=ca@x.example,o=Customs\2c Ltd,c=kr",
        'CN="신고 CA";OU="a+b"+E=ca@x.example;O="Customs, Ltd";C=KR',
        "CN = 신고 CA ,\n OU = a\\+b+E = ca@x.example , O = Customs\\, Ltd , C = KR",
        r"OID.2.5.4.3=신고 CA,OU=a\+b+1.2.840.113549.1.9.1=ca@x.example,oid.2.5.4.10=Customs\, Ltd,C=KR",
        r"CN=\EC\8B\A0\EA\B3\A0 CA,OU=a\+b+E=ca@x.example,O=Customs\, Ltd,2.5.4.6=#13024b52",
        r"CN=신고 CA,OU=a\+b+E=ca@x.example,O=Customs\, Ltd,2.5.4.6= #12024b52",
        r"CN=신고 CA,OU=a\+b+E=ca@x.example,O=Customs\, Ltd,2.5.4.6=#1a024b52",
        r"CN=#1c140000c2e00000ace0000000200000004300000041,OU=a\+b+E=ca@x.example,O=Customs\, Ltd,C=KR",
        r"commonName=신고  CA,OU=a\+b+E=ca@x.example,organizationName=Customs\, Ltd,countryName=KR",
    ],
)
def test_one_name_in_many_forms(text: str) -> None:
    assert is_name_written_as(NAME, text)


@pytest.mark.parametrize(
    "text",
    [
        "", "=", "CN=신고 CA", "CN=신고 CA,OU=a+b,O=Customs\\, Ltd,C=KR",
        r"CN=신고 CA 2,OU=a\+b+E=ca@x.example,O=Customs\, Ltd,C=KR",
        r"CN=another 신고 CA,OU=a\+b+E=ca@x.example,O=Customs\, Ltd,C=KR",
        r"CN=신고 CA,OU=a\+b+E=ca@x.example,O=Customs\, Ltd,C=#zz",
        r"CN=신고 CA,OU=a\+b+E=ca@x.example,O=Customs\, Ltd,C=#ff",
        r"CN=신고 CA,OU=a\+b+E=ca@x.example,O=Customs\, Ltd,C=\ff",
        r"CN=신고 CA,OU=a\+b+E=ca@x.example,O=Customs\, Ltd,C=KR,OU=G2",
        "/C=KR/O=Customs, Ltd/OU=a+b/E=ca@x.example/CN=신고 CA",
    ],
)  # fmt: skip
def test_another_name(text: str) -> None:
    assert not is_name_written_as(NAME, text)
