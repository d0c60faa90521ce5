"""Who a simulated partner is and whom it believes: read from a folder of PEM files."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from gateway.errors import KEY_UNAVAILABLE, SIGNER_MISMATCH, GatewayError
from gateway.pki.certificate_validation import CertificateValidator
from gateway.pki.certificates import Certificate, read_certificate, read_certificates
from gateway.pki.revocation_data import RevocationData
from gateway.pki.signing_keys import Signer, load_signer
from gateway.pki.trust_store import CertificateUse, TrustPolicy, TrustStore

__all__ = ["PartnerIdentity", "get_current_time", "read_file", "read_identity"]


def get_current_time() -> datetime:
    """Return the time, in UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class PartnerIdentity:
    """A partner's own key, the authorities it trusts, and the certificates by which it knows the hub.

    Without a certificate of the hub in hand (`hub` empty) any other certificate that the
    authorities vouch for counts as the hub's.
    """

    name: str
    signer: Signer
    judge: CertificateValidator
    hub: frozenset[str] = frozenset()

    def is_hub_certificate(self, sha256: str) -> bool:
        """Tell whether a certificate (SHA-256) is the hub's."""
        return sha256 in self.hub if self.hub else sha256 != self.signer.certificate.sha256

    def verify_hub_certificate(self, certificate: Certificate, at: datetime, location: str) -> None:
        """Raise GW209 unless `certificate` is the hub's, GW205 to GW208 unless it is good at that moment."""
        if not self.is_hub_certificate(certificate.sha256):
            raise GatewayError(SIGNER_MISMATCH, f"{certificate.subject[:120]} is not the hub", location)
        self.judge(certificate.der, CertificateUse.SIGNING, at).raise_unless_accepted(location)


def read_identity(folder: Path, name: str, hub: tuple[Path, ...] = ()) -> PartnerIdentity:
    """Read NAME.key.pem, NAME.cert.pem, ca.pem and crl.pem; hub.cert.pem unless `hub` names other files."""
    beside = folder / "hub.cert.pem"
    known = hub or ((beside,) if beside.is_file() and name != "hub" else ())
    signer = load_signer(read_file(folder / f"{name}.key.pem"), read_file(folder / f"{name}.cert.pem"))
    anchors = read_certificates(read_file(folder / "ca.pem"))
    lists = folder / "crl.pem"
    crls = (read_file(lists),) if lists.is_file() else ()
    policy = TrustPolicy(revocation="require" if crls else "if_present")
    judge = CertificateValidator(TrustStore(anchors, (), policy), RevocationData(crls))
    return PartnerIdentity(
        name, signer, judge, frozenset(read_certificate(read_file(path)).sha256 for path in known)
    )


def read_file(path: Path) -> bytes:
    """Return the content of a file that a partner needs; raises GW803 when it is not there."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise GatewayError(KEY_UNAVAILABLE, f"{path} cannot be read: {error.strerror}", str(path)) from None
