"""Templates that the second implementation fills in."""

from __future__ import annotations

XENC = "http://www.w3.org/2001/04/xmlenc#"
XENC11 = "http://www.w3.org/2009/xmlenc11#"
DS = "http://www.w3.org/2000/09/xmldsig#"


def write_template(cipher: str, transport: str, *, digest: str = "", mask: str = "", type: str = "") -> str:
    """Return an EncryptedData without its values."""
    inside = f'<ds:DigestMethod Algorithm="{digest}"/>' if digest else ""
    inside += f'<xenc11:MGF xmlns:xenc11="{XENC11}" Algorithm="{mask}"/>' if mask else ""
    said = f' Type="{type}"' if type else ""
    empty = "<xenc:CipherData><xenc:CipherValue/></xenc:CipherData>"
    return (
        f'<xenc:EncryptedData xmlns:xenc="{XENC}" xmlns:ds="{DS}" Id="x" MimeType="application/xml"{said}>'
        f'<xenc:EncryptionMethod Algorithm="{cipher}"/><ds:KeyInfo><xenc:EncryptedKey>'
        f'<xenc:EncryptionMethod Algorithm="{transport}">{inside}</xenc:EncryptionMethod>'
        f"<ds:KeyInfo><ds:KeyName>receiver</ds:KeyName></ds:KeyInfo>{empty}</xenc:EncryptedKey></ds:KeyInfo>"
        f"{empty}</xenc:EncryptedData>"
    )
