"""``gateway pki validate``: validates certificates with the data of the command line only.

Nothing is looked up in a register and nothing is fetched. The validation runs in a separate
process, which is killed when a path takes too much time.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal, get_args

import click

from gateway.cli.named_files import read_file, read_policy_octets
from gateway.cli.result_output import format_json, format_named_values, show_progress
from gateway.cli.shared_options import FILE, json_option
from gateway.cli.verb_groups import Arguments, verb
from gateway.errors import CERTIFICATE_UNTRUSTED, MISUSE, OUR_MISTAKE, GatewayError
from gateway.hub import get_current_time
from gateway.pki import (
    ANY_POLICY,
    MAX_BUNDLE_OCTETS,
    MAX_CRL_OCTETS,
    MAX_PEER_CERTIFICATES,
    PATH_RULES,
    CertificateExaminer,
    CertificateUse,
    PolicyInputs,
    TrustPolicy,
    ValidationInput,
    Verdict,
    load_shipped_policy,
)
from gateway.wire import convert_to_utc, parse_iso_datetime

_MISUSE: Final = 2
_USES: Final = {
    **{use.value: use for use in CertificateUse},
    "ocsp": CertificateUse.OCSP_SIGNING,
    "tsa": CertificateUse.TIME_STAMPING,
    # Path validation only: the use of the certificate is not checked.
    "any": CertificateUse.SIGNING,
}
_Revocation = Literal["require", "if-present", "none"]
_REVOCATION: Final[dict[str, Literal["require", "if_present", "none"]]] = {
    "require": "require",
    "if-present": "if_present",
    "none": "none",
}
_REVOCATION_CHOICE = click.Choice(get_args(_Revocation))
_BATCH_WORDS: Final = (
    "one JSON object for each case, with these option names as keys; the options give the missing values"
)
# Certificates of any origin: path validation only permits paths of this length.
_MAX_PATH_LENGTH: Final = 16
_FILE_OPTIONS: Final = ("leaf", "intermediate", "anchor", "crl", "ocsp", "rules")
_SINGLE_OPTIONS: Final = ("leaf", "at", "rules")
_LIST_OPTIONS: Final = ("intermediate", "anchor", "crl", "ocsp", "policy")
# Longer input is refused by its reader; sending it to the child first would cost more than the validation.
_MAX_OCTETS: Final = {
    "leaf": MAX_BUNDLE_OCTETS,
    "intermediate": MAX_BUNDLE_OCTETS,
    "anchor": MAX_BUNDLE_OCTETS,
    "crl": 2 * MAX_CRL_OCTETS,
    "ocsp": MAX_BUNDLE_OCTETS,
    "rules": MAX_BUNDLE_OCTETS,
}
_OID: Final = re.compile(r"[0-2](?:\.[0-9]{1,39}){1,63}")
_SWITCHES: Final = ("require_explicit_policy", "inhibit_mapping", "inhibit_any")


@dataclass(frozen=True, slots=True)
class ValidationCase:
    """One certificate to be validated, with all input of the validation; files are octets."""

    leaf: bytes
    intermediate: tuple[bytes, ...] = ()
    anchor: tuple[bytes, ...] = ()
    crl: tuple[bytes, ...] = ()
    ocsp: tuple[bytes, ...] = ()
    policy: tuple[str, ...] = ()
    at: datetime | None = None
    use: str = "signing"
    revocation: _Revocation | None = None
    rules: bytes | None = None
    require_explicit_policy: bool = False
    inhibit_mapping: bool = False
    inhibit_any: bool = False

    def collect_register(self) -> ValidationInput:
        """Return everything but the certificate itself."""
        return ValidationInput(self.anchor, self.intermediate, self.crl, self.ocsp, self._make_trust_rules())

    def _make_trust_rules(self) -> TrustPolicy:
        """Return the trust policy: the shipped one, or that in `rules`, changed by the case's options."""
        policies = PolicyInputs(
            frozenset(self.policy) or ANY_POLICY.accepted,
            explicit=self.require_explicit_policy,
            inhibit_mapping=self.inhibit_mapping,
            inhibit_any=self.inhibit_any,
            of_anchor=self.use != "any",
        )
        rules = load_shipped_policy() if self.rules is None else read_policy_octets(self.rules, "--rules")
        # A given trust policy sets the revocation rule, unless an option overrides it.
        if self.revocation is not None or self.rules is None:
            rules = replace(rules, revocation=_REVOCATION[self.revocation or "require"])
        if self.rules is None or policies != ANY_POLICY:
            rules = replace(rules, policies=policies)
        if self.use == "any":
            return replace(rules, certificates=PATH_RULES, leaf_may_be_ca=True, path_most=_MAX_PATH_LENGTH)
        return rules

    def validate_certificate(self, examiner: CertificateExaminer, at: datetime) -> Verdict:
        """Validate the certificate; as of `at` if the case has no time."""
        moment = self.at or at
        if self.use != "any" and len(self.intermediate) > MAX_PEER_CERTIFICATES:
            reason = (
                f"{len(self.intermediate)} intermediate certificates; the limit is {MAX_PEER_CERTIFICATES}"
            )
            return Verdict("invalid", CERTIFICATE_UNTRUSTED, reason, (), moment, moment)
        return examiner.validate_with_input(self.collect_register(), self.leaf, _USES[self.use], moment)


def _accept_single_value(ctx: click.Context, option: click.Parameter, values: tuple[Any, ...]) -> Any:
    """Return the one value of an option; raise misuse for two values, which would be ambiguous."""
    if len(values) > 1:
        raise click.UsageError(f"{option.opts[0]} is given twice", ctx)
    return values[0] if values else None


def _single_option(
    name: str, help_text: str, **more: Any
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.option(name, multiple=True, callback=_accept_single_value, help=help_text, **more)


def _repeatable_option(name: str, help_text: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.option(name, multiple=True, metavar="F", help=f"{help_text}; repeatable")


@verb("pki validate")
@_single_option("--leaf", "the certificate, DER or PEM", metavar="F")
@_repeatable_option("--intermediate", "an intermediate certificate")
@_repeatable_option("--anchor", "a trust anchor")
@_repeatable_option("--crl", "a revocation list")
@_repeatable_option("--ocsp", "an OCSP response, DER")
@_single_option("--at", "time of validation (ISO 8601; UTC if it has no zone)", metavar="TIME")
@_single_option("--use", "the use of the certificate (default: signing)", type=click.Choice(tuple(_USES)))
@click.option("--policy", multiple=True, metavar="OID", help="an acceptable policy; repeatable")
@click.option(
    "--require-explicit-policy",
    is_flag=True,
    help="the path must have an acceptable policy (initial-explicit-policy)",
)
@click.option(
    "--inhibit-mapping", is_flag=True, help="policy mappings are not applied (initial-policy-mapping-inhibit)"
)
@click.option("--inhibit-any", is_flag=True, help="anyPolicy matches no policy (initial-any-policy-inhibit)")
@_single_option(
    "--revocation", "whether revocation data are required (default: require)", type=_REVOCATION_CHOICE
)
@_single_option("--rules", "the trust policy file, if not the shipped one", metavar="F")
@_single_option("--batch", _BATCH_WORDS, type=FILE, metavar="FILE.jsonl")
@json_option("print JSON, one object a case")
def validate_certificates(arguments: Arguments) -> int:
    """Validate one certificate, or each line of a file, and print the verdicts."""
    lines = None if arguments.batch is None else _read_batch_lines(arguments.batch)
    examiner = CertificateExaminer()
    status = 0
    try:
        with show_progress("validating certificates", 1 if lines is None else len(lines)) as bar:
            for report in _validate_all_cases(arguments, lines, examiner):
                text = format_json(report) if arguments.json else format_named_values(report)
                bar.print_line(text, sys.stdout)
                bar.advance_one()
                wrong = _MISUSE if report["problem"] == MISUSE.id else int(report["verdict"] != "valid")
                status = max(status, wrong)
    finally:
        examiner.close()
    return status


def _read_batch_lines(batch: Path) -> list[bytes]:
    return [line for line in read_file(batch).splitlines() if line.strip()]


def _validate_all_cases(
    arguments: Arguments, lines: list[bytes] | None, examiner: CertificateExaminer
) -> Iterator[dict[str, Any]]:
    """Yield the verdict on each case: one of the command line, or one for each JSON text in `lines`.

    An error in a line makes its verdict `indeterminate`.
    """
    at = get_current_time()
    options = {
        name: value
        for name, value in vars(arguments).items()
        if name in ValidationCase.__slots__ and value not in (None, ())
    }
    if lines is None:
        yield _validate_one_case(_read_case(options), examiner, at)
        return
    for line in lines:
        try:
            # Values that a line omits are taken from the command line.
            yield _validate_one_case(_read_case({**options, **_read_batch_line(line)}), examiner, at)
        except GatewayError as mistake:
            yield _describe_case_verdict("indeterminate", mistake.problem.id, mistake.detail)
        # An error in one line must not prevent the results of the following ones.
        except Exception as error:
            yield _describe_case_verdict("indeterminate", OUR_MISTAKE.id, type(error).__name__)


def _refuse_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        raise ValueError("a key that occurs twice")
    return dict(pairs)


def _read_batch_line(line: bytes) -> Mapping[str, Any]:
    """Return the JSON object in a line; raise GW808 for repeated keys, and for anything else."""
    try:
        case_values = json.loads(line, object_pairs_hook=_refuse_repeated_keys)
    except (ValueError, RecursionError) as wrong:
        raise GatewayError(MISUSE, f"a line that is not JSON: {str(wrong)[:100]}") from None
    if not isinstance(case_values, dict):
        raise GatewayError(MISUSE, "a line that is not a JSON object")
    return case_values


def _validate_one_case(case: ValidationCase, examiner: CertificateExaminer, at: datetime) -> dict[str, Any]:
    """Validate the certificate of `case` at `at`; return the verdict as plain values, with milliseconds."""
    # After the end of a child a new one is started here, so that the next case is not charged for it.
    examiner.start_and_await_children()
    start = time.perf_counter()
    verdict = case.validate_certificate(examiner, at)
    spent = round((time.perf_counter() - start) * 1000, 1)
    return _describe_case_verdict(
        verdict.status,
        verdict.problem.id if verdict.problem else None,
        verdict.reason,
        path=[each.subject for each in verdict.path],
        sha256=[each.sha256 for each in verdict.path],
        evidence=list(verdict.evidence),
        milliseconds=spent,
    )


def _describe_case_verdict(verdict: str, problem: str | None, reason: str, **more: Any) -> dict[str, Any]:
    """Return a verdict as plain values; `more` adds values or replaces the empty path and the zero time."""
    case_verdict: dict[str, Any] = {
        "verdict": verdict,
        "problem": problem,
        "reason": reason,
        "path": [],
        "milliseconds": 0.0,
    }
    return {**case_verdict, **more}


def _read_case(case_values: Mapping[str, Any]) -> ValidationCase:
    """Return the case of these values; raise GW808 for invalid ones."""
    _check_case_values(case_values)
    values = {name: value for name, value in case_values.items() if value is not None}
    for name in _LIST_OPTIONS:
        entries = values.get(name, [])
        values[name] = tuple(entries) if isinstance(entries, list | tuple) else (entries,)
    for name in _FILE_OPTIONS:
        if name not in values:
            continue
        texts = values[name] if name in _LIST_OPTIONS else (values[name],)
        octets = tuple(_refuse_long_octets(_read_named_octets(each, name), name) for each in texts)
        values[name] = octets if name in _LIST_OPTIONS else octets[0]
    if "at" in values:
        values["at"] = _parse_validation_time(values["at"])
    return ValidationCase(**values)


def _check_case_values(case_values: Mapping[str, Any]) -> None:
    """Raise GW808 unless the values of a case have known keys, the required files, and permitted values."""
    unknown = sorted(set(case_values) - set(ValidationCase.__slots__))
    if unknown:
        raise GatewayError(MISUSE, f"unknown key {unknown[0][:80]!r}", "pki validate")
    for name in ("leaf", "anchor"):
        if not case_values.get(name):
            raise GatewayError(MISUSE, f"--{name} is missing", "pki validate")
    for name, choices in (("use", tuple(_USES)), ("revocation", get_args(_Revocation))):
        if case_values.get(name) is not None and case_values[name] not in choices:
            raise GatewayError(MISUSE, f"{name} is not one of {', '.join(choices)}", "pki validate")
    for name in _SWITCHES:
        if not isinstance(case_values.get(name), bool | None):
            raise GatewayError(MISUSE, f"{name} is neither true nor false", "pki validate")
    single_values = [case_values[name] for name in _SINGLE_OPTIONS if case_values.get(name) is not None]
    for each in (*single_values, *_list_text_values(case_values, *_LIST_OPTIONS)):
        if not isinstance(each, str):
            raise GatewayError(MISUSE, "a value that is not text", "pki validate")
    for each in _list_text_values(case_values, "policy"):
        if not _OID.fullmatch(each):
            raise GatewayError(MISUSE, f"--policy: {each[:80]!r} is not an OID", "pki validate")


def _list_text_values(case_values: Mapping[str, Any], *names: str) -> Iterator[Any]:
    """Yield the values of the options `names`: each entry of a list, each single value, nothing for None."""
    for name in names:
        option_value = case_values.get(name)
        yield from (
            option_value
            if isinstance(option_value, list | tuple)
            else ()
            if option_value is None
            else (option_value,)
        )


def _refuse_long_octets(octets: bytes, name: str) -> bytes:
    if len(octets) > _MAX_OCTETS[name]:
        raise GatewayError(
            MISUSE, f"--{name}: {len(octets):,} octets; the limit is {_MAX_OCTETS[name]:,}", "pki validate"
        )
    return octets


def _read_named_octets(text: str, name: str) -> bytes:
    """Return the content of a file, or the text itself if it is PEM or base64 of DER."""
    if text.startswith("-----BEGIN "):
        return text.encode()
    if _is_readable_file(text):
        return read_file(Path(text))
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        detail = f"--{name}: {text[:120]!r} is neither a readable file nor base64"
        raise GatewayError(MISUSE, detail, text[:120]) from None


def _is_readable_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    # Base64 of a certificate is longer than any file name may be, and a name contains no NUL.
    except (OSError, ValueError):
        return False


def _parse_validation_time(text: str) -> datetime:
    try:
        moment = parse_iso_datetime(text)
        return convert_to_utc(moment) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except ValueError:
        raise GatewayError(MISUSE, f"--at: {text[:80]!r} is not a time (ISO 8601)", "pki validate") from None
