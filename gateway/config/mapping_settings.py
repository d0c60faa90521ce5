"""The settings of mappings: who publishes them, and whether they must be signed."""

from __future__ import annotations

from pydantic import Field

from gateway.config.value_types import Location, SettingsSection

__all__ = ["MappingSettings"]


class MappingSettings(SettingsSection):
    """Which mappings are put into force."""

    publishers: tuple[Location, ...] = Field(
        (),
        description=(
            "Certificates that may sign a bundle file of `gateway map pack`, as PEM files. A file with the "
            "signature of any other certificate is refused."
        ),
    )
    require_signature: bool = Field(
        False,
        description=(
            "Whether only signed bundle files are put into force. Folders, archives and unsigned files are "
            "then refused; the mappings that came with the program are not."
        ),
    )
