"""The program of the process that validates certificates, and the messages that it exchanges.

Each message is a pickled tuple of its kind, the seconds of processor time for it, and its contents; each
answer is JSON.
"""

from __future__ import annotations

import base64
import json
import signal
import sys
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gateway import __version__
from gateway.errors import (
    CERTIFICATE_UNTRUSTED,
    NO_ROOM,
    PROBLEMS,
    GatewayError,
    describe_exception,
    find_resource_problem,
)
from gateway.pki.certificate_validation import OpenedInput, ValidationInput
from gateway.pki.certificates import PATH_RULES, CertificateRules, read_certificate
from gateway.pki.revocation_data import RevocationData
from gateway.pki.trust_store import CertificateUse, TrustPolicy, TrustStore, Verdict

VALIDATE_REQUEST: Final = "ask"
LISTS_REQUEST: Final = "lists"
STORE_REQUEST: Final = "store"
#: What the process says first. One of another version, installed meanwhile, may read all else otherwise.
READY_MESSAGE: Final = f"ready {__version__}".encode()


def encode_verdict(verdict: Verdict) -> dict[str, Any]:
    """Return the fields that path validation sets; the way of admission is decided in the parent process."""
    return {
        "status": verdict.status,
        "problem": verdict.problem.id if verdict.problem else None,
        "reason": verdict.reason,
        "path": [base64.b64encode(each.der).decode() for each in verdict.path],
        "valid_until": verdict.valid_until.isoformat(),
        "judged_at": verdict.judged_at.isoformat(),
        "tolerated": verdict.tolerated,
        "evidence": verdict.evidence,
    }


def decode_verdict(fields: dict[str, Any], rules: CertificateRules) -> Verdict:
    """Return the verdict that `encode_verdict` wrote; its path is read by `rules`."""
    return Verdict(
        fields["status"],
        PROBLEMS[fields["problem"]] if fields["problem"] else None,
        fields["reason"],
        tuple(read_certificate(base64.b64decode(each), rules) for each in fields["path"]),
        datetime.fromisoformat(fields["valid_until"]),
        datetime.fromisoformat(fields["judged_at"]),
        fields["tolerated"],
        tuple(fields["evidence"]),
    )


def serve_validations(connection: Connection) -> None:
    """Answer requests on `connection` until its other end is closed.

    Raises SystemExit where not even a sound certificate is found valid, as with libraries that are missing.
    """
    lists, stores = RevocationData(), dict[int, TrustStore]()
    trial = _validate_trial_certificate()
    if trial.status != "valid":
        raise SystemExit(f"a sound certificate is judged as {trial.status}: {trial.reason}")
    connection.send_bytes(READY_MESSAGE)
    while True:
        try:
            request_kind, budget_seconds, register, *arguments = connection.recv()
        except EOFError:
            return
        if request_kind != VALIDATE_REQUEST:
            opened_input = register.read_input()
            if request_kind == LISTS_REQUEST:
                lists = opened_input.revocations
            else:
                stores[arguments[0]] = opened_input.trust
            connection.send_bytes(b"{}")
            continue
        # Only this process is ended when the budget is spent: that is the default action of the signal.
        signal.setitimer(signal.ITIMER_PROF, budget_seconds)
        loaded_register = OpenedInput(stores[register], lists) if isinstance(register, int) else register
        verdict = _validate_certificate(loaded_register, *arguments)
        signal.setitimer(signal.ITIMER_PROF, 0)
        connection.send_bytes(json.dumps(encode_verdict(verdict)).encode())


def _validate_certificate(
    register: OpenedInput | ValidationInput, leaf: bytes, use: CertificateUse, at: datetime
) -> Verdict:
    """Return the verdict on `leaf` (DER); every exception becomes a verdict, too, and none is raised."""
    try:
        opened_input = register.read_input() if isinstance(register, ValidationInput) else register
        return opened_input.validate_certificate(leaf, use, at)
    except GatewayError as rejection:
        if rejection.problem is NO_ROOM:
            return Verdict.make_transient(rejection.detail, at)
        return Verdict("invalid", rejection.problem, rejection.detail, (), at, at)
    except (ImportError, SystemError) as error:  # of a library that is exchanged, or short of memory
        return Verdict.make_transient(describe_exception(error), at)
    # A certificate that causes any other exception, or a panic of a library, is not trusted.
    except BaseException as error:
        resource_problem = find_resource_problem(error)
        if resource_problem is not None:
            return Verdict.make_transient(resource_problem.detail, at)
        reason = f"the certificate cannot be processed: {describe_exception(error)}"
        return Verdict("invalid", CERTIFICATE_UNTRUSTED, reason, (), at, at)


def _validate_trial_certificate() -> Verdict:
    """Return the verdict on a sound certificate; the first real one does not pay for lazy loading then."""
    key, not_before = ec.generate_private_key(ec.SECP256R1()), datetime(2020, 1, 1, tzinfo=UTC)
    subject_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Anchor")])
    builder = x509.CertificateBuilder(
        subject_name, subject_name, key.public_key(), 1, not_before, not_before + timedelta(days=1)
    )
    constraints = x509.NameConstraints([x509.DNSName("example")], None)
    certificate = builder.add_extension(constraints, critical=True).sign(key, hashes.SHA256())
    der = certificate.public_bytes(serialization.Encoding.DER)
    policy = TrustPolicy("none", certificates=PATH_RULES)
    return _validate_certificate(
        ValidationInput((der,), (), (), (), policy), der, CertificateUse.SIGNING, not_before
    )


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    # Processes that validate nothing do not load it.
    from gateway.processor_affinity import restore_processors

    # A certificate that costs much is examined beside the parent, and not in its place.
    restore_processors()
    # The parent process may have ended meanwhile.
    with suppress(BrokenPipeError, ConnectionResetError):
        serve_validations(Connection(int(sys.argv[1])))
