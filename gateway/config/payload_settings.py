"""The settings of large payloads: where they are kept, and which ones."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from gateway.config.bucket_settings import BucketSettings
from gateway.config.value_types import Location, SettingsSection, Size

__all__ = ["PayloadSettings"]


class PayloadSettings(SettingsSection):
    """Where the octets of large payloads are kept, each under its SHA-256: in files, or in a bucket."""

    folder: Location = Field(
        Path("payloads"),
        description=(
            "The folder of large payloads. All processes and machines of the gateway use the same one. With "
            "`payloads.s3.bucket` it has only what arrives, and each machine has its own."
        ),
    )
    # Above it a file costs less than the pages of a database, which are written twice and copied by backups.
    inline: Size = Field(
        1024**2, description="Octets up to which a payload or a message is kept in the database."
    )
    # A message is received before its sender is known.
    arriving: Size = Field(
        4 * 1024**3,
        description=(
            "Octets of large messages that one process receives at a time, in files. One address may use at "
            "most a quarter, but always one message of `limits.body`."
        ),
    )
    s3: BucketSettings = Field(
        BucketSettings(), description="A bucket for large payloads, on a server that speaks S3."
    )
