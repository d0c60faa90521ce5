"""Validates one path by the validation library.

The library also searches for paths, without bound; here it receives the one path to validate
(:mod:`gateway.pki.path_building`). It is written with coroutines but, without fetchers, never waits.
"""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import replace
from typing import Any, Final

from asn1crypto import x509 as asn1_x509
from pyhanko_certvalidator import name_trees
from pyhanko_certvalidator.authority import CertTrustAnchor, derive_quals_from_cert
from pyhanko_certvalidator.context import ValidationContext
from pyhanko_certvalidator.errors import (
    ExpiredError,
    NotYetValidError,
    ValidationError,
)
from pyhanko_certvalidator.ltv.poe import POEManager
from pyhanko_certvalidator.name_trees import default_excluded_subtrees, default_permitted_subtrees
from pyhanko_certvalidator.path import ValidationPath
from pyhanko_certvalidator.policy_decl import (
    NO_REVOCATION,
    CertRevTrustPolicy,
    DisallowWeakAlgorithmsPolicy,
    PKIXValidationParams,
)
from pyhanko_certvalidator.registry import SimpleTrustManager
from pyhanko_certvalidator.revinfo.manager import RevinfoManager
from pyhanko_certvalidator.validate import async_validate_path

from gateway.errors import (
    CERTIFICATE_EXPIRED,
    CERTIFICATE_UNTRUSTED,
    describe_exception,
    raise_resource_problem,
)
from gateway.pki.certificates import is_in_network
from gateway.pki.path_building import (
    ANY_POLICY_IDENTIFIER,
    ASN1_LOCK,
    CertificateChain,
    CertificateIndex,
    PathFailure,
    PathInquiry,
    PolicyInputs,
)

# The library logs unusual names at full length; the verdict has the relevant part.
name_trees.logger.disabled = True
# The library looks up its comparisons here, and has none for addresses (RFC 5280 §4.2.1.10).
_name_checkers: Final = name_trees._name_type_checkers  # noqa: SLF001  # there is no other place to give them
_name_checkers.setdefault(name_trees.GeneralNameType.IP_ADDRESS, is_in_network)


def _is_subdomain(base: str, name: str) -> bool:
    """Return whether a domain name is `base` with zero or more labels added (RFC 5280 §4.2.1.10)."""
    # Every name is a subdomain of the empty base.
    return not base or name_trees.dns_tree_contains(base, name)


_name_checkers[name_trees.GeneralNameType.DNS_NAME] = _is_subdomain
# The library cannot store structured names. As text they can be stored; a name that meets a constraint of
# its form is still refused, because no comparison exists for it.
_interpret_library_name: Final = name_trees._interpret_general_name  # noqa: SLF001


def _interpret_storable_name(name: Any) -> tuple[name_trees.GeneralNameType, Any]:
    name_type, value = _interpret_library_name(name)
    return name_type, repr(value) if isinstance(value, dict) else value


name_trees._interpret_general_name = _interpret_storable_name  # noqa: SLF001


def find_path_failure(
    chain: CertificateChain, inquiry: PathInquiry, index: CertificateIndex
) -> PathFailure | None:
    """Return why `chain` is not valid, or None."""
    try:
        with ASN1_LOCK:
            if _has_malformed_constraint(chain):
                return PathFailure(CERTIFICATE_UNTRUSTED, "a constraint on host names begins with a point")
            _run_path_validation(chain, inquiry, index)
            forbidden_wildcard = _find_forbidden_wildcard(chain)
    except (ExpiredError, NotYetValidError) as error:
        return PathFailure(CERTIFICATE_EXPIRED, describe_exception(error))
    except ValidationError as error:
        return PathFailure(CERTIFICATE_UNTRUSTED, describe_exception(error))
    # Malformed extensions cause other exceptions in the library (TypeError, KeyError, ...).
    except Exception as error:
        raise_resource_problem(error)
        reason = f"the certificate path cannot be processed: {describe_exception(error)}"
        return PathFailure(CERTIFICATE_UNTRUSTED, reason)
    anchor_fault = _find_anchor_fault(chain)
    if anchor_fault:
        return PathFailure(CERTIFICATE_UNTRUSTED, anchor_fault)
    if forbidden_wildcard:
        return PathFailure(CERTIFICATE_UNTRUSTED, f"{forbidden_wildcard} stands for a name that is excluded")
    return None


def _find_forbidden_wildcard(chain: CertificateChain) -> str | None:
    """Return a wildcard of the leaf that includes a name which an authority excludes.

    The library compares the wildcard as one name, but it is valid for any name below it.
    """
    names = chain.certificates[0].alternative_names
    domains = [name.removeprefix("dns:*").lower() for name in names if name.startswith("dns:*.")]
    if not domains:
        return None
    for parsed in chain.parsed[1:]:
        for subtree in _get_subtrees(parsed, "excluded_subtrees"):
            base = subtree["base"].native.lower() if subtree["base"].name == "dns_name" else ""
            domain = next((each for each in domains if base.endswith(each)), None)
            if domain:
                return f"*{domain}"
    return None


def _has_malformed_constraint(chain: CertificateChain) -> bool:
    """Return whether an applicable constraint on host names begins with a dot (RFC 5280 §4.2.1.10).

    Such a text is no domain name. The library finds nothing below it, and would therefore
    exclude nothing.
    """
    if not any(name.startswith("dns:") for each in chain.certificates for name in each.alternative_names):
        return False
    return any(
        subtree["base"].name == "dns_name" and subtree["base"].native.startswith(".")
        for parsed in chain.parsed[1:]
        for subtrees_field in ("permitted_subtrees", "excluded_subtrees")
        for subtree in _get_subtrees(parsed, subtrees_field)
    )


def _get_subtrees(parsed: Any, subtrees_field: str) -> Any:
    constraints = parsed.name_constraints_value
    subtrees = constraints[subtrees_field] if constraints else None
    return subtrees if isinstance(subtrees, asn1_x509.GeneralSubtrees) else ()


def _find_anchor_fault(chain: CertificateChain) -> str | None:
    """Return why the anchor's own certificate forbids its key to verify certificates, or None.

    The library checks this only for the authorities below the anchor. A certificate without
    extensions has no such rule.
    """
    anchor = chain.certificates[-1]
    if len(chain.certificates) == 1 or not anchor.extensions:
        return None
    # RFC 5280 §4.2.1.9 and §4.2.1.3 forbid it of any certificate of version 3.
    if not anchor.is_ca:
        return "the trust anchor is not a CA"
    if anchor.key_usage is not None and "keyCertSign" not in anchor.key_usage:
        return "the trust anchor's key may not sign certificates"
    return None


def _run_path_validation(chain: CertificateChain, inquiry: PathInquiry, index: CertificateIndex) -> None:
    """Validate `chain` with the library, from its anchor down to the leaf; raise the library's error."""
    anchor = _make_trust_anchor(chain, inquiry.policies)
    lower_certificates = chain.parsed[-2::-1] if len(chain.parsed) > 1 else ()
    path = ValidationPath(
        anchor, interm=lower_certificates[:-1], leaf=lower_certificates[-1] if lower_certificates else None
    )
    _run_coroutine(
        async_validate_path(
            _make_validation_context(inquiry, index, anchor), path, _make_validation_params(inquiry.policies)
        )
    )


def _make_validation_params(policy_inputs: PolicyInputs) -> PKIXValidationParams:
    """Return the rule as parameters of the library, which has its own name for anyPolicy."""
    accepted = frozenset(
        "any_policy" if each == ANY_POLICY_IDENTIFIER else each for each in policy_inputs.accepted
    )
    return PKIXValidationParams(
        user_initial_policy_set=accepted or frozenset({"any_policy"}),
        initial_policy_mapping_inhibit=policy_inputs.inhibit_mapping,
        initial_explicit_policy=policy_inputs.explicit,
        initial_any_policy_inhibit=policy_inputs.inhibit_any,
    )


def _make_trust_anchor(chain: CertificateChain, policies: PolicyInputs) -> Any:
    """Make a trust anchor with the constraints of its own certificate (RFC 5937)."""
    parsed = chain.parsed[-1]
    anchor_qualifiers = derive_quals_from_cert(parsed)
    rules = anchor_qualifiers.standard_parameters
    flags = _read_anchor_policy_flags(chain) if policies.of_anchor else {}
    if flags:
        rules = replace(rules or PKIXValidationParams(), **flags)
    if rules is not None and not policies.of_anchor:
        rules = replace(
            rules, user_initial_policy_set=frozenset({"any_policy"}), initial_explicit_policy=False
        )
    if rules is not None:
        # Kinds of names that the anchor does not mention are unconstrained; the library would forbid them.
        permitted, excluded = rules.initial_permitted_subtrees, rules.initial_excluded_subtrees
        rules = replace(
            rules,
            initial_permitted_subtrees={**default_permitted_subtrees(), **(permitted or {})},
            initial_excluded_subtrees={**default_excluded_subtrees(), **(excluded or {})},
        )
    # The library also omits the length for attribute authorities and then counts down from None.
    max_path_length = anchor_qualifiers.max_path_length
    return CertTrustAnchor(
        parsed, replace(anchor_qualifiers, standard_parameters=rules, max_aa_path_length=max_path_length)
    )


def _read_anchor_policy_flags(chain: CertificateChain) -> dict[str, bool]:
    """Return the policy constraints in the anchor's certificate, which the library does not read.

    The certificate says after how many certificates a constraint begins; the library accepts
    only a yes or no. A constraint that begins anywhere on this path is therefore applied to
    the whole path, which may refuse more, and never less.
    """
    parsed = chain.parsed[-1]
    # Self-issued certificates do not count, except the last one of a path (§6.1.5 a).
    long = 1 + sum(not each.is_self_issued for each in chain.certificates[1:-1])
    constraints, any_policy_limit = parsed.policy_constraints_value, parsed.inhibit_any_policy_value
    explicit_policy_limit = constraints["require_explicit_policy"].native if constraints else None
    mapping_limit = constraints["inhibit_policy_mapping"].native if constraints else None
    flags = {
        "initial_explicit_policy": explicit_policy_limit is not None and explicit_policy_limit <= long,
        # The last certificate before the end of the path is the last one that can map policies.
        "initial_policy_mapping_inhibit": mapping_limit is not None and mapping_limit < max(long - 1, 1),
        "initial_any_policy_inhibit": any_policy_limit is not None and any_policy_limit.native < long,
    }
    return {name: True for name, is_set in flags.items() if is_set}


def _make_validation_context(inquiry: PathInquiry, index: CertificateIndex, anchor: Any) -> Any:
    """Return the library's settings for one validation: it fetches nothing and checks no revocation."""
    registry = index.registry
    return ValidationContext(
        moment=inquiry.moment,
        allow_fetching=False,
        time_tolerance=inquiry.time_tolerance,
        revinfo_policy=CertRevTrustPolicy(NO_REVOCATION),
        revinfo_manager=RevinfoManager(registry, POEManager(), crls=(), ocsps=(), fetchers=None),
        certificate_registry=registry,
        trust_manager=SimpleTrustManager.build([anchor]),
        # Key sizes are checked by the lint; this policy also reads the parameters of RSASSA-PSS.
        algorithm_usage_policy=DisallowWeakAlgorithmsPolicy(
            weak_hash_algos=inquiry.weak_digests, rsa_key_size_threshold=0, dsa_key_size_threshold=0
        ),
    )


def _run_coroutine(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine that never waits, with or without an event loop in this thread."""
    try:
        coroutine.send(None)
    except StopIteration as stop_iteration:
        return stop_iteration.value
    coroutine.close()
    raise RuntimeError("the path validator waited")
