"""Ten thousand agreements beside one: the start and the look-up; a message under a CPA beside YAML."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import insert

from gateway.agreements import MessageRoute, PMode, convert_cpa, pmode_to_json, read_cpa, write_cpa
from gateway.hub import Hub, RejectingComposer, build_hub, tune_garbage_collector
from gateway.message_model import Party, PartyId
from gateway.operations import activate_pmodes
from gateway.store import write_transaction
from tests.kit import tables
from tests.load.place import Broker, Place, make_place, sealed
from tests.load.receiving import MESSAGE, hub_takes
from tests.load.stopwatch import Laps, by_turns, say

_LOOK_UPS = 2000
_BATCH = 1000


def measure(folder: Path, number: int, samples: int) -> Mapping[str, Any]:
    """Measure both; the ratio is that of the medians of messages by turns."""
    return {**_measure_many(folder / "many", number), **_measure_cpa(folder, samples)}


def _measure_many(folder: Path, number: int) -> Mapping[str, Any]:
    say(f"agreements: start and look-up with {number} agreements beside one")
    few, many = make_place(folder / "one"), make_place(folder / "ten-thousand")
    modes = Broker(many.home).pmodes
    _load_copies(many, modes, number)
    start_few, one = _start(few)
    start_many, all_of_them = _start(many)
    found = {
        "agreements": number,
        "start_ms": start_many,
        "start_with_one_ms": start_few,
        "look_up_us": _look_up(all_of_them, modes[0]),
        "look_up_with_one_us": _look_up(one, modes[0]),
        "first_look_up_us": _look_up_each(all_of_them, modes[0], min(number, _LOOK_UPS)),
    }
    one.close()
    all_of_them.close()
    return found


def _load_copies(place: Place, modes: tuple[PMode, ...], number: int) -> None:
    """Load so many agreements more, each with a partner of its own, as loading them one by one would."""
    now, engine = datetime.now(UTC), place.engine()
    for start in range(0, number, _BATCH):
        numbers = range(start, min(number, start + _BATCH))
        with write_transaction(engine) as conn:
            conn.execute(insert(tables.parties), [_make_party(one, now) for one in numbers])
            conn.execute(
                insert(tables.party_ids),
                [{"type": "urn:example:many", "value": f"p{one}", "party_id": f"p{one}"} for one in numbers],
            )
            conn.execute(insert(tables.agreements), [_make_agreement(one, now) for one in numbers])
            conn.execute(
                insert(tables.pmodes), [_make_row(copy_pmode(mode, one)) for one in numbers for mode in modes]
            )
    engine.dispose()


def _make_party(number: int, now: datetime) -> dict[str, Any]:
    return {
        "id": f"p{number}",
        "name": f"Partner {number}",
        "role": "applicant",
        "status": "ACTIVE",
        "created_at": now,
    }


def _make_agreement(number: int, now: datetime) -> dict[str, Any]:
    values = {"kind": "pmode", "source": b"-", "sha256": "0" * 64, "status": "ACTIVE"}
    return {"id": f"a{number}", "loaded_at": now, "loaded_by": "load", **values}


def _make_row(pmode: PMode) -> dict[str, Any]:
    return {
        "id": pmode.id,
        "agreement_id": pmode.agreement,
        "protocol": pmode.protocol,
        "from_party": pmode.from_party[0].value,
        "to_party": pmode.to_party[0].value,
        "service": pmode.service,
        "action": pmode.action,
        "parameters": pmode_to_json(pmode),
    }


def copy_pmode(pmode: PMode, number: int) -> PMode:
    """Return the same P-Mode of another agreement with another partner."""
    other = (PartyId(f"p{number}", "urn:example:many"),)
    ends = {
        name: other
        for name, role in (("from_party", pmode.from_role), ("to_party", pmode.to_role))
        if role == "Applicant"
    }
    return replace(pmode, agreement=f"a{number}", **ends)  # type: ignore[arg-type]


def _start(place: Place) -> tuple[float, Hub]:
    """Return how long a process takes from its settings to a hub that can judge messages, and the hub."""
    began = time.perf_counter()
    hub = build_hub(place.settings, RejectingComposer())
    hub.refresh_snapshot()
    return (time.perf_counter() - began) * 1000, hub


def _look_up(hub: Hub, pmode: PMode) -> float:
    book, route, now = hub.get_snapshot().book, _make_route(pmode), hub.clock()
    laps = Laps()
    for _ in range(_LOOK_UPS):
        laps.time(partial(book.match_pmode, route, now))
    return laps.wall_ms * 1000


def _look_up_each(hub: Hub, pmode: PMode, number: int) -> float:
    book, now = hub.get_snapshot().book, hub.clock()
    laps = Laps()
    for one in range(number):
        laps.time(partial(book.match_pmode, _make_route(copy_pmode(pmode, one)), now))
    return laps.wall_ms * 1000


def _make_route(pmode: PMode) -> MessageRoute:
    sender, receiver = Party(pmode.from_party, pmode.from_role), Party(pmode.to_party, pmode.to_role)
    return MessageRoute(sender, receiver, pmode.agreement, pmode.service, pmode.action, pmode.service_type)


def _measure_cpa(folder: Path, samples: int) -> Mapping[str, Any]:
    say(f"agreements: {samples} messages under a CPA beside as many under YAML")
    tune_garbage_collector()
    places = [make_place(folder / name) for name in ("yaml", "cpa")]
    _load_as_cpa(places[1])
    brokers, laps = [Broker(place.home) for place in places], [Laps(), Laps()]
    hubs = [build_hub(place.settings, RejectingComposer()) for place in places]
    for hub, broker in zip(hubs, brokers, strict=True):
        for parcel in sealed(broker, MESSAGE, 20):
            hub_takes(hub, parcel)
    sent = zip(*(sealed(broker, MESSAGE, samples) for broker in brokers), strict=True)
    for number, parcels in enumerate(sent):
        by_turns(
            number,
            *(
                partial(lap.time, partial(hub_takes, hub, parcel))
                for lap, hub, parcel in zip(laps, hubs, parcels, strict=True)
            ),
        )
    for hub in hubs:
        hub.close()
    yaml, cpa = laps
    return {
        "yaml_receive_ms": yaml.wall_ms,
        "cpa_receive_ms": cpa.wall_ms,
        "cpa_ratio": cpa.wall_ms / yaml.wall_ms,
        "cpa_cpu_ratio": cpa.cpu_ms / yaml.cpu_ms,
    }


def _load_as_cpa(place: Place) -> None:
    """Write the agreement of the place as a CPA, read that, and load what it says instead."""
    modes = Broker(place.home).pmodes
    document = write_cpa(modes, {}, {})
    read = convert_cpa(read_cpa(document, "load.xml"))
    engine = place.engine()
    with write_transaction(engine) as conn:
        activate_pmodes(conn, read, "cpa", document, datetime.now(UTC), "load")
    engine.dispose()


__all__ = ["copy_pmode", "measure"]
