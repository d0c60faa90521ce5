"""Rules for a certificate at its place in a path, checked before any path is built.

The path validator is lenient and assumes the profile of RFC 5280 §4.2; this module has the
rules that it omits. Each function returns the reason of a refusal, or None.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from gateway.pki.certificates import Certificate, CertificateRules, find_rule_violation

_AUTHORITY_INFORMATION: Final = "1.3.6.1.5.5.7.1.1"
_SUBJECT_KEY: Final = "2.5.29.14"
_SUBJECT_NAMES: Final = "2.5.29.17"
_BASIC_CONSTRAINTS: Final = "2.5.29.19"
_NAME_CONSTRAINTS: Final = "2.5.29.30"
_AUTHORITY_KEY: Final = "2.5.29.35"
_POLICY_CONSTRAINTS: Final = "2.5.29.36"
_INHIBIT_ANY_POLICY: Final = "2.5.29.54"
_NEVER_CRITICAL: Final = frozenset({_AUTHORITY_INFORMATION, _SUBJECT_KEY, _AUTHORITY_KEY})
_ALWAYS_CRITICAL: Final = frozenset({_NAME_CONSTRAINTS, _POLICY_CONSTRAINTS, _INHIBIT_ANY_POLICY})
# RFC 5280 §4.2.1.6: the preferred syntax of RFC 1034 §3.5; the first label as a whole may be a wildcard.
_HOST: Final = re.compile(r"(?:\*\.)?(?:(?!-)[A-Za-z0-9-]{1,63}(?<!-)\.)*(?!-)[A-Za-z0-9-]{1,63}(?<!-)")
_NUMBERS: Final = re.compile(r"[0-9.]+")
_MAILBOX: Final = re.compile(r"[!#-'*+/-9=?A-Z^-~.-]{1,64}@[A-Za-z0-9.-]{1,253}")
_EMPTY_NAME: Final = b"\x30\x00"

ANY_EXTENDED_KEY_USAGE: Final = "2.5.29.37.0"
_AGREES: Final = "x25519"


@dataclass(frozen=True, slots=True)
class KeyUsageRule:
    """The key usages that allow one use: at least one of each set.

    By RFC 5280 an absent extension allows everything; ``required`` names the extensions that
    must be present nevertheless: "key_usage", "extended_key_usage". ``alone``: the extended
    key usage must be critical and contain nothing else (RFC 3161 §2.3).
    ``accept_indeterminate``: a certificate whose revocation status is not known freshly
    enough is accepted for this use.
    """

    key_usage: frozenset[str]
    extended_key_usage: frozenset[str]
    required: frozenset[str] = frozenset({"key_usage"})
    alone: bool = False
    accept_indeterminate: bool = False


def lint_leaf(
    certificate: Certificate, rules: CertificateRules, use: KeyUsageRule, *, authority: bool
) -> str | None:
    """Return why `certificate` cannot be the end of a path; `authority`: whether it may be a CA."""
    checks: tuple[Callable[[], str | None], ...] = (
        lambda: _lint_every_certificate(certificate, rules, anchor=False),
        lambda: _lint_subject(certificate, authority=authority),
        lambda: _lint_names(certificate),
        lambda: _lint_use(certificate, use),
    )
    return next((reason for reason in (check() for check in checks) if reason), None)


def lint_authority(certificate: Certificate, rules: CertificateRules, *, anchor: bool) -> str | None:
    """Return why `certificate` cannot issue other certificates, or None."""
    reason = _lint_every_certificate(certificate, rules, anchor=anchor)
    if reason:
        return reason
    if not certificate.is_ca:
        return "the issuer is not a CA"
    if certificate.key_type == _AGREES:
        return "the issuer's key signs nothing"
    if certificate.subject_der == _EMPTY_NAME:
        return "a CA without a name"
    if certificate.key_usage is not None and "keyCertSign" not in certificate.key_usage:
        return "the issuer's key may not sign certificates"
    if rules.critical_constraints and _BASIC_CONSTRAINTS not in certificate.critical:
        return "the basic constraints of a CA are not critical"
    if rules.key_identifiers and certificate.subject_key_identifier is None:
        return "a CA without subject key identifier"
    return None


def _lint_every_certificate(certificate: Certificate, rules: CertificateRules, *, anchor: bool) -> str | None:
    broken = find_rule_violation(certificate, rules)
    if broken:
        return broken
    if certificate.issuer_der == _EMPTY_NAME:
        return "an issuer without a name"
    if certificate.not_before > certificate.not_after:
        return "the end of validity comes before its begin"
    # The signature of an anchor is not relied on: an anchor is trusted because it is in the register.
    if not anchor and certificate.signature_algorithm not in rules.signatures:
        return f"signed with the algorithm {certificate.signature_algorithm}, which is refused"
    if _NEVER_CRITICAL & certificate.critical:
        return "an extension is critical that may not be"
    if rules.critical_constraints and (_ALWAYS_CRITICAL & certificate.extensions) - certificate.critical:
        return "an extension is not critical that must be"
    # RFC 5280 §4.2.1.1: only a self-signed certificate may omit it.
    if (
        rules.key_identifiers
        and not certificate.is_self_issued
        and certificate.authority_key_identifier is None
    ):
        return "no authority key identifier"
    return None


def _lint_subject(certificate: Certificate, *, authority: bool) -> str | None:
    if certificate.is_ca:
        return None if authority else "the certificate of a CA, not of a party"
    if certificate.key_usage is not None and "keyCertSign" in certificate.key_usage:
        return "the key may sign certificates but its holder is not a CA"
    if _NAME_CONSTRAINTS in certificate.extensions:
        return "name constraints outside a CA"
    if certificate.subject_der == _EMPTY_NAME and _SUBJECT_NAMES not in certificate.critical:
        return "neither a subject nor a critical alternative name"
    return None


def _lint_names(certificate: Certificate) -> str | None:
    """Return why a name could be read differently by other programs, or None."""
    for name in certificate.alternative_names:
        kind, _, value = name.partition(":")
        if kind == "dns" and (not _HOST.fullmatch(value) or _NUMBERS.fullmatch(value)):
            return f"not a host name: {value[:80]!r}"
        if kind == "email" and not _MAILBOX.fullmatch(value):
            return f"not a mailbox: {value[:80]!r}"
    return None


def _lint_use(certificate: Certificate, use: KeyUsageRule) -> str | None:
    usage = certificate.key_usage
    if certificate.key_type == _AGREES and use.key_usage and "keyAgreement" not in use.key_usage:
        return "a key of X25519 agrees on keys and does nothing else"
    if usage is None:
        if "key_usage" in use.required:
            return "no key usage"
    elif use.key_usage and not usage & use.key_usage:
        return f"the key usage {_join_names(usage)} does not allow this use"
    extended = certificate.extended_key_usage
    if extended is None:
        return "no extended key usage" if "extended_key_usage" in use.required else None
    if use.alone and (extended != use.extended_key_usage or "2.5.29.37" not in certificate.critical):
        return "the extended key usage is not critical or not alone"
    if use.extended_key_usage and not extended & use.extended_key_usage:
        return f"the extended key usage {_join_names(extended)} does not allow this use"
    return None


def _join_names(names: frozenset[str]) -> str:
    return ", ".join(sorted(names)[:8]) or "(empty)"
