"""Has one path validated by RFC 5280 §6.1, apart from revocation.

The library that does it also searches for paths, without bound; it is given the one to look at
(:mod:`gateway.pki.search`).  It is written with coroutines but, given no fetchers, never waits.
"""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, Literal, cast

from asn1crypto import x509 as asn1_x509
from cryptography.hazmat.primitives.asymmetric import dsa
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
    CERTIFICATE_REVOKED,
    CERTIFICATE_UNTRUSTED,
    REVOCATION_UNKNOWN,
    Problem,
)
from gateway.pki.certificates import PublicKey
from gateway.pki.names import within
from gateway.pki.search import ONE_AT_A_TIME, Chain, Index

__all__ = ["ANY_POLICY", "Failure", "Inquiry", "PolicyRule", "check", "key_along"]

# It tells of odd names at their full length; what matters of that is in the verdict.
name_trees.logger.disabled = True
# It looks its comparisons up here, and has none for addresses (RFC 5280 §4.2.1.10).
name_trees._name_type_checkers.setdefault(name_trees.GeneralNameType.IP_ADDRESS, within)
# Names of structure it cannot even hold; as octets they are held, and one that meets a constraint
# of its form is still refused, for nothing compares them.
_interpreted: Final = name_trees._interpret_general_name


def _held(name: Any) -> tuple[name_trees.GeneralNameType, Any]:
    kind, value = _interpreted(name)
    return kind, repr(value) if isinstance(value, dict) else value


name_trees._interpret_general_name = _held

_ANY_POLICY: Final = "2.5.29.32.0"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a path is not good."""

    problem: Problem
    reason: str
    final: bool = False

    @property
    def status(self) -> Literal["invalid", "indeterminate"]:
        """The status of the verdict that follows."""
        return "indeterminate" if self.problem is REVOCATION_UNKNOWN else "invalid"

    @property
    def weight(self) -> int:
        """How much this failure says where other paths failed otherwise; what is not known may mend."""
        order = (CERTIFICATE_UNTRUSTED, CERTIFICATE_EXPIRED, CERTIFICATE_REVOKED, REVOCATION_UNKNOWN)
        return len(order) if self.final else order.index(self.problem)


@dataclass(frozen=True, slots=True)
class PolicyRule:
    """The inputs of RFC 5280 §6.1.1 (c), (e), (f) and (g): which certificate policies are acceptable.

    ``accepted`` holds object identifiers, or the one of anyPolicy.  ``of_anchor``: the policies
    that the anchor's certificate names bind it too (RFC 5937).
    """

    accepted: frozenset[str] = frozenset({_ANY_POLICY})
    explicit: bool = False
    inhibit_mapping: bool = False
    inhibit_any: bool = False
    of_anchor: bool = True


ANY_POLICY: Final = PolicyRule()


@dataclass(frozen=True, slots=True)
class Inquiry:
    """The moment and the rules under which a path is validated."""

    moment: datetime
    weak_digests: frozenset[str]
    policies: PolicyRule = ANY_POLICY

    @property
    def plain(self) -> Inquiry:
        """The same without a rule on policies: those of the signers of lists do not matter (§6.3.3)."""
        return replace(self, policies=replace(ANY_POLICY, of_anchor=self.policies.of_anchor))


def _forbidden_wildcard(chain: Chain) -> str | None:
    """Return a wildcard of the leaf that stands for a name which an authority excludes.

    The library compares the wildcard as a name; it may be used as any name below it.
    """
    names = chain.certificates[0].alternative_names
    domains = [name.removeprefix("dns:*").lower() for name in names if name.startswith("dns:*.")]
    if not domains:
        return None
    for parsed in chain.parsed[1:]:
        constraints = parsed.name_constraints_value
        excluded = constraints["excluded_subtrees"] if constraints else None
        for subtree in excluded if isinstance(excluded, asn1_x509.GeneralSubtrees) else ():
            base = subtree["base"].native.lower() if subtree["base"].name == "dns_name" else ""
            found = next((each for each in domains if base.endswith(each)), None)
            if found:
                return f"*{found}"
    return None


def check(chain: Chain, inquiry: Inquiry, index: Index) -> Failure | None:
    """Say why `chain` is not good; revocation is looked at elsewhere (`gateway.pki.status`)."""
    try:
        with ONE_AT_A_TIME:
            _check(chain, inquiry, index)
            wildcard = _forbidden_wildcard(chain)
    except (ExpiredError, NotYetValidError) as error:
        return Failure(CERTIFICATE_EXPIRED, str(error))
    except ValidationError as error:
        return Failure(CERTIFICATE_UNTRUSTED, str(error))
    # Malformed extensions make the library fail in ways of its own (TypeError, KeyError, ...).
    except Exception as error:
        reason = f"the certificate path cannot be processed ({type(error).__name__})"
        return Failure(CERTIFICATE_UNTRUSTED, reason)
    if wildcard:
        return Failure(CERTIFICATE_UNTRUSTED, f"{wildcard} stands for a name that is excluded")
    return None


def _check(chain: Chain, inquiry: Inquiry, index: Index) -> None:
    anchor = _anchor(chain.parsed[-1], inquiry.policies)
    below = chain.parsed[-2::-1] if len(chain.parsed) > 1 else ()
    path = ValidationPath(anchor, interm=below[:-1], leaf=below[-1] if below else None)
    _run(async_validate_path(_context(inquiry, index, anchor), path, _parameters(inquiry.policies)))


def _parameters(rule: PolicyRule) -> PKIXValidationParams:
    """Return the rule in the library's words; it knows anyPolicy by name."""
    accepted = frozenset("any_policy" if each == _ANY_POLICY else each for each in rule.accepted)
    return PKIXValidationParams(
        user_initial_policy_set=accepted or frozenset({"any_policy"}),
        initial_policy_mapping_inhibit=rule.inhibit_mapping,
        initial_explicit_policy=rule.explicit,
        initial_any_policy_inhibit=rule.inhibit_any,
    )


def key_along(chain: Chain, place: int) -> PublicKey | None:
    """Return a DSA key that takes its parameters from the next one with some (RFC 3279 §2.3.2)."""
    if chain.certificates[place].public_key is not None:
        return None
    above = (each.public_key for each in chain.certificates[place + 1 :])
    lender = next((each for each in above if each is not None), None)
    with ONE_AT_A_TIME:
        info = chain.parsed[place].public_key
        value = info["public_key"].parsed.native if info.algorithm == "dsa" else None
    if value is None or not isinstance(lender, dsa.DSAPublicKey):
        return None
    numbers = dsa.DSAPublicNumbers(value, lender.public_numbers().parameter_numbers)
    return cast("PublicKey", numbers.public_key())


def _anchor(parsed: Any, policies: PolicyRule) -> Any:
    """Make a trust anchor that binds itself to what its certificate says (RFC 5937)."""
    derived = derive_quals_from_cert(parsed)
    rules = derived.standard_parameters
    if rules is not None and not policies.of_anchor:
        rules = replace(
            rules, user_initial_policy_set=frozenset({"any_policy"}), initial_explicit_policy=False
        )
    if rules is not None:
        # Kinds of names of which the anchor says nothing are free; the library would forbid them.
        permitted, excluded = rules.initial_permitted_subtrees, rules.initial_excluded_subtrees
        rules = replace(
            rules,
            initial_permitted_subtrees={**default_permitted_subtrees(), **(permitted or {})},
            initial_excluded_subtrees={**default_excluded_subtrees(), **(excluded or {})},
        )
    # It also forgets the length for attribute authorities and then counts down from None.
    length = derived.max_path_length
    return CertTrustAnchor(parsed, replace(derived, standard_parameters=rules, max_aa_path_length=length))


def _context(inquiry: Inquiry, index: Index, anchor: Any) -> Any:
    registry = index.registry
    return ValidationContext(
        moment=inquiry.moment,
        allow_fetching=False,
        time_tolerance=timedelta(0),
        revinfo_policy=CertRevTrustPolicy(NO_REVOCATION),
        revinfo_manager=RevinfoManager(registry, POEManager(), crls=(), ocsps=(), fetchers=None),
        certificate_registry=registry,
        trust_manager=SimpleTrustManager.build([anchor]),
        # Key sizes are the lint's business; this one also reads the parameters of RSASSA-PSS.
        algorithm_usage_policy=DisallowWeakAlgorithmsPolicy(
            weak_hash_algos=inquiry.weak_digests, rsa_key_size_threshold=0, dsa_key_size_threshold=0
        ),
    )


def _run(work: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine that never waits, whether or not an event loop runs in this thread."""
    try:
        work.send(None)
    except StopIteration as done:
        return done.value
    work.close()
    raise RuntimeError("the path validator waited")
