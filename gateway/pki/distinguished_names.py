"""Reads distinguished names as text: RFC 4514, and what RFC 2253 §4 wants accepted besides.

Products write the same name differently: with a space after the comma, with quotes, with semicolons, with
object identifiers for names of attributes, or with names of attributes that are their own.
"""

from __future__ import annotations

import re
from typing import Final

from asn1crypto import core as asn1_core
from cryptography import x509
from cryptography.x509.oid import NameOID

__all__ = ["parse_distinguished_name"]

_SPACE: Final = " \t\r\n"
_NAME: Final = re.compile(r"(?:[Oo][Ii][Dd]\.)?(\d+(?:\.\d+)+)|[A-Za-z][A-Za-z0-9-]*")
_HEX_VALUE: Final = re.compile(r"#((?:[0-9A-Fa-f]{2})+)")
_HEX_PAIRS: Final = re.compile(r"(?:\\[0-9A-Fa-f]{2})+")
_ESCAPED: Final = frozenset(' ,;+"\\<>=#')
_SEPARATORS: Final = ",;"
_NEVER_BARE: Final = frozenset('"<>\0')
#: Names of attributes, in capitals: RFC 4514 §3, RFC 4519, and those that products write.
_ATTRIBUTES: Final = {
    "CN": NameOID.COMMON_NAME,
    "COMMONNAME": NameOID.COMMON_NAME,
    "L": NameOID.LOCALITY_NAME,
    "LOCALITYNAME": NameOID.LOCALITY_NAME,
    "ST": NameOID.STATE_OR_PROVINCE_NAME,
    "S": NameOID.STATE_OR_PROVINCE_NAME,
    "SP": NameOID.STATE_OR_PROVINCE_NAME,
    "STATEORPROVINCENAME": NameOID.STATE_OR_PROVINCE_NAME,
    "O": NameOID.ORGANIZATION_NAME,
    "ORGANIZATIONNAME": NameOID.ORGANIZATION_NAME,
    "OU": NameOID.ORGANIZATIONAL_UNIT_NAME,
    "ORGANIZATIONALUNITNAME": NameOID.ORGANIZATIONAL_UNIT_NAME,
    "C": NameOID.COUNTRY_NAME,
    "COUNTRYNAME": NameOID.COUNTRY_NAME,
    "STREET": NameOID.STREET_ADDRESS,
    "STREETADDRESS": NameOID.STREET_ADDRESS,
    "DC": NameOID.DOMAIN_COMPONENT,
    "DOMAINCOMPONENT": NameOID.DOMAIN_COMPONENT,
    "UID": NameOID.USER_ID,
    "USERID": NameOID.USER_ID,
    "E": NameOID.EMAIL_ADDRESS,
    "EMAIL": NameOID.EMAIL_ADDRESS,
    "EMAILADDRESS": NameOID.EMAIL_ADDRESS,
    "SERIALNUMBER": NameOID.SERIAL_NUMBER,
    "SN": NameOID.SURNAME,
    "SURNAME": NameOID.SURNAME,
    "GN": NameOID.GIVEN_NAME,
    "G": NameOID.GIVEN_NAME,
    "GIVENNAME": NameOID.GIVEN_NAME,
    "T": NameOID.TITLE,
    "TITLE": NameOID.TITLE,
    "INITIALS": NameOID.INITIALS,
    "GENERATION": NameOID.GENERATION_QUALIFIER,
    "GENERATIONQUALIFIER": NameOID.GENERATION_QUALIFIER,
    "DNQ": NameOID.DN_QUALIFIER,
    "DNQUALIFIER": NameOID.DN_QUALIFIER,
    "PSEUDONYM": NameOID.PSEUDONYM,
    "POSTALCODE": NameOID.POSTAL_CODE,
    "BUSINESSCATEGORY": NameOID.BUSINESS_CATEGORY,
    "ORGANIZATIONIDENTIFIER": NameOID.ORGANIZATION_IDENTIFIER,
}


def parse_distinguished_name(text: str) -> x509.Name:
    """Return the name that a text says; raise ValueError for what is no distinguished name.

    The last part of the text is the first of the name (RFC 4514 §2.1).
    """
    reader = _NameReader(text)
    parts = [reader.read_part()]
    while reader.skip(_SEPARATORS):
        parts.append(reader.read_part())
    reader.check_end()
    return x509.Name(list(reversed(parts)))


class _NameReader:
    """A text and a place in it."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _skip_space(self) -> None:
        while self._peek() and self._peek() in _SPACE:
            self._at += 1

    def skip(self, characters: str) -> bool:
        """Skip one of these characters and space around it; return whether there is one."""
        self._skip_space()
        found = bool(self._peek()) and self._peek() in characters
        self._at += found
        self._skip_space()
        return found

    def check_end(self) -> None:
        if self._at < len(self._text):
            raise ValueError(f"nothing belongs at character {self._at}")

    def read_part(self) -> x509.RelativeDistinguishedName:
        """Return the attributes up to the next comma or semicolon."""
        found = [self._read_attribute()]
        while self.skip("+"):
            found.append(self._read_attribute())
        return x509.RelativeDistinguishedName(found)

    def _read_attribute(self) -> x509.NameAttribute[str]:
        self._skip_space()
        name = _NAME.match(self._text, self._at)
        if name is None:
            raise ValueError(f"no name of an attribute at character {self._at}")
        self._at = name.end()
        oid = x509.ObjectIdentifier(name[1]) if name[1] else _ATTRIBUTES.get(name[0].upper())
        if oid is None or not self.skip("="):
            raise ValueError(f"the attribute {name[0][:40]!r} is not known, or has no value")
        return x509.NameAttribute(oid, self._read_value())

    def _read_value(self) -> str:
        if self._peek() == '"':
            return self._read_quoted()
        if self._peek() != "#":
            return self._read_bare()
        octets = _HEX_VALUE.match(self._text, self._at)
        if octets is None:
            raise ValueError("after # there are octets in hexadecimal digits")
        self._at = octets.end()
        try:
            value = asn1_core.load(bytes.fromhex(octets[1]), strict=True).native
        except TypeError as wrong:
            raise ValueError("the octets of a value are no DER") from wrong
        if not isinstance(value, str):
            raise ValueError("the octets of a value are those of a string")
        return value

    def _read_quoted(self) -> str:
        self._at += 1
        found = ""
        while self._peek() != '"':
            found += self._read_escaped() if self._peek() == "\\" else self._read_character()
        self._at += 1
        return found

    def _read_bare(self) -> str:
        found, end = "", 0
        while self._peek() and self._peek() not in ",;+":
            if self._peek() == "\\":
                found += self._read_escaped()
                end = len(found)
                continue
            one = self._read_character()
            if one in _NEVER_BARE:
                raise ValueError(f"{one!r} is escaped in a value")
            found += one
            # Space at the end is no part of the value, unless it is escaped.
            end = end if one in _SPACE else len(found)
        return found[:end]

    def _read_character(self) -> str:
        one = self._peek()
        if not one:
            raise ValueError("a quoted value does not end")
        self._at += 1
        return one

    def _read_escaped(self) -> str:
        pairs = _HEX_PAIRS.match(self._text, self._at)
        if pairs is not None:
            self._at = pairs.end()
            return bytes.fromhex(pairs[0].replace("\\", "")).decode("utf-8")
        self._at += 1
        if self._peek() not in _ESCAPED:
            raise ValueError(f"nothing is escaped at character {self._at}")
        return self._read_character()
