"""The settings of time-stamping: authorities, intervals, and what follows when stamps are missing."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import Field, model_validator

from gateway.config.value_types import Duration, Location, SettingsSection, Url

__all__ = ["TimeStampSettings"]

_SHORTEST = timedelta(seconds=1)


class TimeStampSettings(SettingsSection):
    """The time-stamping authorities (RFC 3161); without any, evidence is sealed by our signature alone."""

    authorities: tuple[Url, ...] = Field(
        (),
        max_length=8,
        description=(
            "URLs of the time-stamping authorities. If one gives no valid time stamp, the next one is asked."
        ),
    )
    anchors: tuple[Location, ...] = Field(
        (),
        description=(
            "Trust anchors for the certificates of these authorities, as PEM files. If there is none, "
            "those in `pki.anchors`."
        ),
    )
    policy: str | None = Field(
        None,
        pattern=r"^[0-2](\.(0|[1-9][0-9]{0,17})){1,20}$",
        description="OID of the policy that a time stamp must have. If it is not set, any policy.",
    )
    every: Duration = Field(
        timedelta(hours=1), description="Interval at which the evidence is sealed and time-stamped."
    )
    retry: Duration = Field(
        timedelta(minutes=1),
        description="Wait before the next round when no authority gave a valid time stamp.",
    )
    stale_after: Duration = Field(
        timedelta(hours=4),
        description="Time that evidence may wait for a time stamp before time-stamping is stale.",
    )
    when_stale: Literal["refuse", "warn"] = Field(
        "refuse",
        description=(
            "With `refuse`, no new message is accepted (GW804) and the gateway is not ready while "
            "time-stamping is stale. With `warn`, only the log, the metrics and `gateway check` report "
            "it."
        ),
    )
    time_out: Duration = Field(timedelta(seconds=30), description="Time limit for an answer.")
    skew: Duration = Field(
        timedelta(minutes=5),
        description=(
            "Largest permitted difference between the clock of an authority and the clock of the gateway."
        ),
    )

    @model_validator(mode="after")
    def _check_intervals(self) -> TimeStampSettings:
        if min(self.every, self.retry, self.time_out) < _SHORTEST:
            raise ValueError("every, retry and time_out are at least a second")
        if self.stale_after < self.every:
            raise ValueError("stale_after must not be shorter than every")
        return self
