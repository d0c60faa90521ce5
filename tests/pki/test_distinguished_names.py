"""Distinguished names as text: every form that RFC 4514 and RFC 2253 §4 have, and what is no name."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from gateway.pki import normalize_name, parse_distinguished_name

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


def read(text: str) -> str:
    return normalize_name(parse_distinguished_name(text).public_bytes())


@pytest.mark.parametrize(
    "text",
    [
        r"CN=신고 CA,OU=a\+b+E=ca@x.example,O=Customs\, Ltd,C=KR",
        r"CN=신고 CA, OU=a\+b + EMAILADDRESS=ca@x.example, O=Customs\, Ltd, C=KR",
        r"cn=신고 CA,ou=a\2bb+emailAddress=ca@x.example,o=Customs\2c Ltd,c=kr",
        'CN="신고 CA";OU="a+b"+E=ca@x.example;O="Customs, Ltd";C=KR',
        "CN = 신고 CA ,\n OU = a\\+b+E = ca@x.example , O = Customs\\, Ltd , C = KR",
        r"OID.2.5.4.3=신고 CA,OU=a\+b+1.2.840.113549.1.9.1=ca@x.example,oid.2.5.4.10=Customs\, Ltd,C=KR",
        r"CN=\EC\8B\A0\EA\B3\A0 CA,OU=a\+b+E=ca@x.example,O=Customs\, Ltd,2.5.4.6=#13024b52",
        r"commonName=신고  CA,OU=a\+b+E=ca@x.example,organizationName=Customs\, Ltd,countryName=KR",
    ],
)
def test_one_name_in_many_forms(text: str) -> None:
    assert read(text) == normalize_name(NAME.public_bytes())


@pytest.mark.parametrize(
    "value",
    ["", " ", "CN", "CN=", "=x", "CN=a,", ",CN=a", "CN=a,,O=b", "CN=a+", 'CN="a', 'CN="a" b', "CN=a\\",
     "CN=a\\z",
     'CN=a"b', "CN=a<b", "CN=a\0b", "XX=a", "OID.CN=a", "9.9.9=a", "CN=#zz", "CN=#ff", "CN=#0500", "CN=\\ff",
     "CN=a+CN=a", "/C=KR/CN=a", "CN=#0c0141ff"],
)  # fmt: skip
def test_what_is_no_name(value: str) -> None:
    with pytest.raises(ValueError):
        parse_distinguished_name(value)


def test_space_at_the_end_counts_where_it_is_escaped() -> None:
    found = [parse_distinguished_name(one).rfc4514_string() for one in ("CN=a  ", "CN=a\\  ", 'CN="a "')]
    assert found == ["CN=a", "CN=a\\ ", "CN=a\\ "]


def test_a_long_value_is_read() -> None:
    assert read(f"O={'x' * 900}").strip().endswith("x" * 900)
