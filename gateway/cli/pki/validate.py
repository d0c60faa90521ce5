"""``gateway pki validate``: judges certificates by what is named on the command line alone.

Nothing is looked up in a register and nothing is fetched.  The judgement is made in a process of
its own, which is killed when a path costs too much.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal, get_args

from gateway.cli.options import as_lines, octets_of
from gateway.errors import CERTIFICATE_UNTRUSTED, OUR_MISTAKE, SETTINGS_WRONG, GatewayError
from gateway.hub.assembly import now
from gateway.pki.certificates import MAX_BUNDLE_OCTETS, PATH_RULES
from gateway.pki.path import ANY_POLICY, PolicyRule
from gateway.pki.policy import read_policy, shipped_policy
from gateway.pki.register import Register
from gateway.pki.revocation import MAX_CRL_OCTETS
from gateway.pki.trust import MAX_PEER_CERTIFICATES, TrustPolicy, Use, Verdict
from gateway.pki.worker import Examiner

__all__ = ["Case", "add_validate", "run"]

_MISUSE: Final = 2
_USES: Final = {
    **{use.value: use for use in Use},
    "ocsp": Use.OCSP_SIGNING,
    "tsa": Use.TIME_STAMPING,
    # Path validation alone: what the certificate is for is not looked at.
    "any": Use.SIGNING,
}
_Revocation = Literal["require", "if-present", "none"]
_REVOCATION: Final[dict[str, Literal["require", "if_present", "none"]]] = {
    "require": "require",
    "if-present": "if_present",
    "none": "none",
}
# Anybody's certificates go into a path of this length, and so many paths are tried.
_LONGEST_ALONE: Final = 16
_FILES: Final = ("leaf", "intermediate", "anchor", "crl", "ocsp", "rules")
_LISTS: Final = ("intermediate", "anchor", "crl", "ocsp", "policy")
# What is longer is refused by whoever reads it; to hand it over first would cost more than the judgement.
_MOST: Final = {
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
class Case:
    """One certificate to be judged, with all that the judgement may use; files are octets."""

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

    @property
    def register(self) -> Register:
        """Return everything but the certificate itself."""
        return Register(self.anchor, self.intermediate, self.crl, self.ocsp, self._rules())

    def _rules(self) -> TrustPolicy:
        policies = PolicyRule(
            frozenset(self.policy) or ANY_POLICY.accepted,
            explicit=self.require_explicit_policy,
            inhibit_mapping=self.inhibit_mapping,
            inhibit_any=self.inhibit_any,
            of_anchor=self.use != "any",
        )
        rules = shipped_policy() if self.rules is None else read_policy(self.rules, "--rules")
        # A policy of its own says what must be known, unless somebody else does.
        if self.revocation is not None or self.rules is None:
            rules = replace(rules, revocation=_REVOCATION[self.revocation or "require"])
        if self.rules is None or policies != ANY_POLICY:
            rules = replace(rules, policies=policies)
        if self.use == "any":
            return replace(rules, certificates=PATH_RULES, leaf_may_be_ca=True, path_most=_LONGEST_ALONE)
        return rules

    def judge(self, examiner: Examiner, at: datetime) -> Verdict:
        """Judge the certificate; without a time of its own, as of `at`."""
        moment = self.at or at
        if self.use != "any" and len(self.intermediate) > MAX_PEER_CERTIFICATES:
            reason = f"{len(self.intermediate)} certificates sent along, {MAX_PEER_CERTIFICATES} are allowed"
            return Verdict("invalid", CERTIFICATE_UNTRUSTED, reason, (), moment, moment)
        return examiner.examine(self.register, self.leaf, _USES[self.use], moment)


class _Once(argparse.Action):
    """Takes an option that may be given once: of two, nobody could say which was meant."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Take the value, or end with misuse."""
        if getattr(namespace, self.dest) is not None:
            parser.error(f"{option_string} is given twice")
        setattr(namespace, self.dest, values)


def add_validate(group: Any) -> None:
    """Add ``validate`` to the verbs of ``pki``."""
    parser = group.add_parser("validate", help="judge a certificate by what is named here, and nothing else")
    parser.add_argument("--leaf", metavar="F", action=_Once, help="the certificate, DER or PEM")
    for name, text in (
        ("intermediate", "a certificate between it and an anchor"),
        ("anchor", "a certificate that is trusted"),
        ("crl", "a revocation list"),
        ("ocsp", "an OCSP response, DER"),
    ):
        parser.add_argument(f"--{name}", action="append", default=[], metavar="F", help=f"{text}; repeatable")
    parser.add_argument(
        "--at", metavar="TIME", action=_Once, help="judge as of then (ISO 8601; without zone it is UTC)"
    )
    parser.add_argument(
        "--use", choices=tuple(_USES), action=_Once, help="what it is to be used for (default: signing)"
    )
    parser.add_argument(
        "--policy", action="append", default=[], metavar="OID", help="an acceptable policy; repeatable"
    )
    parser.add_argument("--require-explicit-policy", action="store_true", help="a policy must be left")
    parser.add_argument("--inhibit-mapping", action="store_true", help="no policy is mapped to another")
    parser.add_argument("--inhibit-any", action="store_true", help="anyPolicy stands for no policy")
    parser.add_argument(
        "--revocation",
        choices=get_args(_Revocation),
        action=_Once,
        help="what must be known of it (default: require)",
    )
    parser.add_argument(
        "--rules", metavar="F", action=_Once, help="a trust policy in place of the one that is shipped"
    )
    parser.add_argument(
        "--batch",
        type=Path,
        metavar="FILE.jsonl",
        action=_Once,
        help="one case a line, of the same names; what a line leaves open, the options say",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, one object a case")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Judge one certificate, or each line of a file, and say so."""
    examiner = Examiner()
    status = 0
    try:
        for told in _verdicts(arguments, examiner):
            print(json.dumps(told, ensure_ascii=False) if arguments.json else as_lines(told), flush=True)
            wrong = _MISUSE if told["problem"] == SETTINGS_WRONG.id else int(told["verdict"] != "valid")
            status = max(status, wrong)
    finally:
        examiner.close()
    return status


def _verdicts(arguments: argparse.Namespace, examiner: Examiner) -> Iterator[dict[str, Any]]:
    at = now()
    given = {
        name: value
        for name, value in vars(arguments).items()
        if name in Case.__slots__ and value not in (None, [])
    }
    if arguments.batch is None:
        yield _judged(_case(given), examiner, at)
        return
    for line in octets_of(arguments.batch).splitlines():
        if line.strip():
            try:
                # What a line leaves open, the command line may say for all of them.
                yield _judged(_case({**given, **_object(line)}), examiner, at)
            except GatewayError as mistake:
                yield _told("indeterminate", mistake.problem.id, mistake.detail)
            # One line must not take the answers of those after it along.
            except Exception as error:
                yield _told("indeterminate", OUR_MISTAKE.id, type(error).__name__)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        raise ValueError("a key that is there twice")
    return dict(pairs)


def _object(line: bytes) -> Mapping[str, Any]:
    try:
        words = json.loads(line, object_pairs_hook=_once)
    except (ValueError, RecursionError) as wrong:
        raise GatewayError(SETTINGS_WRONG, f"a line that is not JSON: {str(wrong)[:100]}") from None
    if not isinstance(words, dict):
        raise GatewayError(SETTINGS_WRONG, "a line that is not a JSON object")
    return words


def _judged(case: Case, examiner: Examiner, at: datetime) -> dict[str, Any]:
    # After one that was ended a new process starts, which the next case does not pay for.
    examiner.start()
    start = time.perf_counter()
    verdict = case.judge(examiner, at)
    spent = round((time.perf_counter() - start) * 1000, 1)
    return _told(
        verdict.status,
        verdict.problem.id if verdict.problem else None,
        verdict.reason,
        path=[each.subject for each in verdict.path],
        sha256=[each.sha256 for each in verdict.path],
        evidence=list(verdict.evidence),
        milliseconds=spent,
    )


def _told(verdict: str, problem: str | None, reason: str, **more: Any) -> dict[str, Any]:
    told: dict[str, Any] = {
        "verdict": verdict,
        "problem": problem,
        "reason": reason,
        "path": [],
        "milliseconds": 0.0,
    }
    return {**told, **more}


def _case(words: Mapping[str, Any]) -> Case:
    """Read what was asked; raises GW801 for what cannot be asked."""
    _check(words)
    values = {name: value for name, value in words.items() if value is not None}
    for name in _LISTS:
        given = values.get(name, [])
        values[name] = tuple(given) if isinstance(given, list) else (given,)
    for name in _FILES:
        if name not in values:
            continue
        texts = values[name] if name in _LISTS else (values[name],)
        octets = tuple(_bounded(_octets(each, name), name) for each in texts)
        values[name] = octets if name in _LISTS else octets[0]
    if "at" in values:
        values["at"] = _moment(values["at"])
    return Case(**values)


def _check(words: Mapping[str, Any]) -> None:
    unknown = sorted(set(words) - set(Case.__slots__))
    if unknown:
        raise GatewayError(SETTINGS_WRONG, f"unknown key {unknown[0][:80]!r}", "pki validate")
    for name in ("leaf", "anchor"):
        if not words.get(name):
            raise GatewayError(SETTINGS_WRONG, f"--{name} is missing", "pki validate")
    for name, known in (("use", tuple(_USES)), ("revocation", get_args(_Revocation))):
        if words.get(name) is not None and words[name] not in known:
            raise GatewayError(SETTINGS_WRONG, f"{name} is none of {', '.join(known)}", "pki validate")
    for name in _SWITCHES:
        if not isinstance(words.get(name), bool | None):
            raise GatewayError(SETTINGS_WRONG, f"{name} is neither true nor false", "pki validate")
    for each in _texts(words, "leaf", "at", "rules", *_LISTS):
        if not isinstance(each, str):
            raise GatewayError(SETTINGS_WRONG, "a value that is not text", "pki validate")
    for each in _texts(words, "policy"):
        if not _OID.fullmatch(each):
            raise GatewayError(SETTINGS_WRONG, f"--policy: {each[:80]!r} is no OID", "pki validate")


def _texts(words: Mapping[str, Any], *names: str) -> Iterator[Any]:
    for name in names:
        given = words.get(name)
        yield from given if isinstance(given, list) else () if given is None else (given,)


def _bounded(octets: bytes, name: str) -> bytes:
    if len(octets) > _MOST[name]:
        raise GatewayError(
            SETTINGS_WRONG, f"--{name}: {len(octets):,} octets, {_MOST[name]:,} are read", "pki validate"
        )
    return octets


def _octets(text: str, name: str) -> bytes:
    """Return what a file holds, or the text itself where it is PEM or base64 of DER."""
    if text.startswith("-----BEGIN "):
        return text.encode()
    if _is_file(text):
        return octets_of(Path(text))
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        detail = f"--{name}: {text[:120]!r} is no file that can be read, and not base64"
        raise GatewayError(SETTINGS_WRONG, detail, text[:120]) from None


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    # Base64 of a certificate is longer than any name of a file may be, and a name has no NUL.
    except (OSError, ValueError):
        return False


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    # The first and the last hours that can be written are none in the zone of Greenwich.
    except (ValueError, OverflowError):
        raise GatewayError(
            SETTINGS_WRONG, f"--at: {text[:80]!r} is no time (ISO 8601)", "pki validate"
        ) from None
