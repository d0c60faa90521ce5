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
_SUBJECT_KEY_IDENTIFIER: Final = "2.5.29.14"
_SUBJECT_ALTERNATIVE_NAMES: Final = "2.5.29.17"
_BASIC_CONSTRAINTS: Final = "2.5.29.19"
_NAME_CONSTRAINTS: Final = "2.5.29.30"
_AUTHORITY_KEY_IDENTIFIER: Final = "2.5.29.35"
_POLICY_CONSTRAINTS: Final = "2.5.29.36"
_INHIBIT_ANY_POLICY: Final = "2.5.29.54"
_NEVER_CRITICAL_EXTENSIONS: Final = frozenset(
    {_AUTHORITY_INFORMATION, _SUBJECT_KEY_IDENTIFIER, _AUTHORITY_KEY_IDENTIFIER}
)
_ALWAYS_CRITICAL_EXTENSIONS: Final = frozenset({_NAME_CONSTRAINTS, _POLICY_CONSTRAINTS, _INHIBIT_ANY_POLICY})
# RFC 5280 §4.2.1.6: the preferred syntax of RFC 1034 §3.5; the first label as a whole may be a wildcard.
_HOST_PATTERN: Final = re.compile(
    r"(?:\*\.)?(?:(?!-)[A-Za-z0-9-]{1,63}(?<!-)\.)*(?!-)[A-Za-z0-9-]{1,63}(?<!-)"
)
_NUMERIC_HOST_PATTERN: Final = re.compile(r"[0-9.]+")
_MAILBOX_PATTERN: Final = re.compile(r"[!#-'*+/-9=?A-Z^-~.-]{1,64}@[A-Za-z0-9.-]{1,253}")
_EMPTY_NAME_DER: Final = b"\x30\x00"

ANY_EXTENDED_KEY_USAGE: Final = "2.5.29.37.0"
_AGREEMENT_KEY_TYPE: Final = "x25519"


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
    certificate: Certificate, rules: CertificateRules, usage_rule: KeyUsageRule, *, may_be_ca: bool
) -> str | None:
    """Return why `certificate` cannot be the end of a path; `may_be_ca`: whether it may be a CA."""
    checks: tuple[Callable[[], str | None], ...] = (
        lambda: _lint_every_certificate(certificate, rules, is_anchor=False),
        lambda: _lint_subject(certificate, may_be_ca=may_be_ca),
        lambda: _lint_names(certificate),
        lambda: _lint_use(certificate, usage_rule),
    )
    return next((reason for reason in (check() for check in checks) if reason), None)


def lint_authority(certificate: Certificate, rules: CertificateRules, *, is_anchor: bool) -> str | None:
    """Return why `certificate` cannot issue other certificates, or None."""
    reason = _lint_every_certificate(certificate, rules, is_anchor=is_anchor)
    if reason:
        return reason
    if not certificate.is_ca:
        return "the issuer is not a CA"
    if certificate.key_type == _AGREEMENT_KEY_TYPE:
        return "the issuer's key signs nothing"
    if certificate.subject_der == _EMPTY_NAME_DER:
        return "a CA without a name"
    if certificate.key_usage is not None and "keyCertSign" not in certificate.key_usage:
        return "the issuer's key may not sign certificates"
    if rules.critical_constraints and _BASIC_CONSTRAINTS not in certificate.critical_extensions:
        return "the basic constraints of a CA are not critical"
    if rules.key_identifiers and certificate.subject_key_identifier is None:
        return "a CA without subject key identifier"
    return None


def _lint_every_certificate(
    certificate: Certificate, rules: CertificateRules, *, is_anchor: bool
) -> str | None:
    """Return why a certificate breaks the rules for each certificate of a path, or None."""
    violation_text = find_rule_violation(certificate, rules)
    if violation_text:
        return violation_text
    if certificate.issuer_der == _EMPTY_NAME_DER:
        return "an issuer without a name"
    if certificate.not_before > certificate.not_after:
        return "the end of validity comes before its begin"
    # The signature of an anchor is not relied on: an anchor is trusted because it is in the register.
    if not is_anchor and certificate.signature_algorithm not in rules.signatures:
        return f"signed with the algorithm {certificate.signature_algorithm}, which is refused"
    if _NEVER_CRITICAL_EXTENSIONS & certificate.critical_extensions:
        return "an extension is critical that may not be"
    if (
        rules.critical_constraints
        and (_ALWAYS_CRITICAL_EXTENSIONS & certificate.extensions) - certificate.critical_extensions
    ):
        return "an extension is not critical that must be"
    # RFC 5280 §4.2.1.1: only a self-signed certificate may omit it.
    if (
        rules.key_identifiers
        and not certificate.is_self_issued
        and certificate.authority_key_identifier is None
    ):
        return "no authority key identifier"
    return None


def _lint_subject(certificate: Certificate, *, may_be_ca: bool) -> str | None:
    """Return why a certificate is not one of a party, by its CA marks and names; None without a fault."""
    if certificate.is_ca:
        return None if may_be_ca else "the certificate of a CA, not of a party"
    if certificate.key_usage is not None and "keyCertSign" in certificate.key_usage:
        return "the key may sign certificates but its holder is not a CA"
    if _NAME_CONSTRAINTS in certificate.extensions:
        return "name constraints outside a CA"
    if (
        certificate.subject_der == _EMPTY_NAME_DER
        and _SUBJECT_ALTERNATIVE_NAMES not in certificate.critical_extensions
    ):
        return "neither a subject nor a critical alternative name"
    return None


def _lint_names(certificate: Certificate) -> str | None:
    """Return why a name could be read differently by other programs, or None."""
    for name in certificate.alternative_names:
        name_kind, _, value = name.partition(":")
        if name_kind == "dns" and (
            not _HOST_PATTERN.fullmatch(value) or _NUMERIC_HOST_PATTERN.fullmatch(value)
        ):
            return f"not a host name: {value[:80]!r}"
        if name_kind == "email" and not _MAILBOX_PATTERN.fullmatch(value):
            return f"not a mailbox: {value[:80]!r}"
    return None


def _lint_use(certificate: Certificate, usage_rule: KeyUsageRule) -> str | None:
    """Return why the key usages of a certificate do not allow the use of `usage_rule`; None if they do."""
    key_usage = certificate.key_usage
    if (
        certificate.key_type == _AGREEMENT_KEY_TYPE
        and usage_rule.key_usage
        and "keyAgreement" not in usage_rule.key_usage
    ):
        return "a key of X25519 agrees on keys and does nothing else"
    if key_usage is None:
        if "key_usage" in usage_rule.required:
            return "no key usage"
    elif usage_rule.key_usage and not key_usage & usage_rule.key_usage:
        return f"the key usage {_join_names(key_usage)} does not allow this use"
    extended_key_usage = certificate.extended_key_usage
    if extended_key_usage is None:
        return "no extended key usage" if "extended_key_usage" in usage_rule.required else None
    if usage_rule.alone and (
        extended_key_usage != usage_rule.extended_key_usage
        or "2.5.29.37" not in certificate.critical_extensions
    ):
        return "the extended key usage is not critical or not alone"
    if usage_rule.extended_key_usage and not extended_key_usage & usage_rule.extended_key_usage:
        return f"the extended key usage {_join_names(extended_key_usage)} does not allow this use"
    return None


def _join_names(names: frozenset[str]) -> str:
    return ", ".join(sorted(names)[:8]) or "(empty)"
