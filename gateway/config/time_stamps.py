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
        (), max_length=8, description="Whom we ask, by URL: the next one where one gives no good stamp."
    )
    anchors: tuple[Location, ...] = Field(
        (),
        description="The certificates of those who certify these authorities, as PEM files; "
        "those of `pki.anchors` when none is named.",
    )
    policy: str | None = Field(
        None,
        pattern=r"^[0-2](\.(0|[1-9][0-9]{0,17})){1,20}$",
        description="The policy under which a stamp must be made, as an OID; any when not given.",
    )
    every: Duration = Field(
        timedelta(hours=1), description="How often the evidence so far is sealed, and stamped."
    )
    retry: Duration = Field(
        timedelta(minutes=1), description="The wait until all are asked again when none gave a good stamp."
    )
    stale_after: Duration = Field(
        timedelta(hours=4),
        description="How long evidence may wait for a stamp before time-stamping is stale.",
    )
    when_stale: Literal["refuse", "warn"] = Field(
        "refuse",
        description="What stops then: no new message is taken (GW804) and we are not ready, "
        "or nothing but the log, the metrics and `gateway check` say so.",
    )
    time_out: Duration = Field(timedelta(seconds=30), description="How long an answer may take.")
    skew: Duration = Field(
        timedelta(minutes=5), description="How far the clock of an authority may differ from ours."
    )

    @model_validator(mode="after")
    def _check_intervals(self) -> TimeStampSettings:
        if min(self.every, self.retry, self.time_out) < _SHORTEST:
            raise ValueError("every, retry and time_out are at least a second")
        if self.stale_after < self.every:
            raise ValueError("stale_after is not shorter than every: it would be stale before it is due")
        return self
