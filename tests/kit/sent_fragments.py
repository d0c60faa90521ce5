"""A broker that joins what the hub sends in fragments, and answers as a receiver of eDelivery does."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from gateway.delivery.agents import MshAgent
from gateway.delivery.http_answer_reader import HttpAnswer
from gateway.errors import FRAGMENT_CONTRADICTED, FRAGMENT_MISSING, GatewayError
from gateway.message_model import Body, MemoryBody, PullRequest, UserMessage
from gateway.protocols import GroupTally, OpenedMessage, Parcel, SentUnit
from gateway.store import HttpResponse, fragment_groups, read_transaction
from tests.flows.craft import without_applications
from tests.flows.test_as4_pull import PULLED, ask, pull
from tests.kit.house import AS4, signer_named
from tests.kit.partners import Inbox
from tests.kit.story import Story

__all__ = ["PULLED_SMALL", "SMALL", "Joiner", "PulledStory", "SplitStory", "replace_terms"]

_TERMS = "  splitting: {fragment_size: 1500, message_size: 10000000, join_interval: 3600, compression: %s}\n"
_BEFORE = b"  compression: gzip "


def replace_terms(compression: str = "none", further: bytes = b"", agreement: bytes = AS4) -> bytes:
    """Return an agreement with small fragments."""
    return agreement.replace(_BEFORE, (_TERMS % compression).encode() + further + _BEFORE)


#: No message of the hub fits into one fragment.
SMALL = replace_terms()
PULLED_SMALL = replace_terms(agreement=PULLED)
_MOST = 10**7


@dataclass
class Joiner(Inbox):
    """The applicant's handler: it receipts each fragment, joins them, and has a receipt of the whole.

    What it gets is in a folder, so that it knows what a process has posted that was killed.
    """

    folder: Path = Path()
    known: int = 0
    sent: list[tuple[int, str, bytes]] = field(default_factory=list)
    pieces: dict[int, bytes | Body] = field(default_factory=dict)
    tally: GroupTally | None = None
    receipts: list[HttpResponse] = field(default_factory=list)
    answer_to: dict[int, Any] = field(default_factory=dict)

    def post(self, url: str, headers: dict[str, str], body: bytes | Body) -> HttpAnswer:
        """Take a POST of the hub; what `answer_to` has for a number is answered instead of a receipt."""
        content = body if isinstance(body, bytes) else body.open_stream().read()
        opened = self.open(headers, content)
        if opened.fragment_header is None:
            return super().post(url, headers, content)
        told = self.answer_to.get(opened.fragment_header.number)
        taken = told is None or callable(told)
        kept = {"headers": dict(headers), "taken": taken, "body": content.hex()}
        name = f"{len(list(self.folder.iterdir())):04}.json"
        self.folder.joinpath(name).write_text(json.dumps(kept), encoding="utf-8")
        self.catch_up()
        if isinstance(told, Exception):
            raise told
        if callable(told):
            return told(opened)  # type: ignore[no-any-return]
        return self._receipt(opened) if told is None else told

    def open(self, headers: dict[str, str], content: bytes) -> OpenedMessage:
        """Verify what was posted."""
        return self.broker.core.open_units(Parcel(headers, MemoryBody(content)), self.broker.context())

    def catch_up(self) -> None:
        """Read what was posted since, by this process or another one."""
        for path in sorted(self.folder.iterdir())[self.known :]:
            self.known += 1
            kept = json.loads(path.read_text(encoding="utf-8"))
            content = bytes.fromhex(kept["body"])
            opened = self.open(kept["headers"], content)
            assert opened.fragment_header is not None
            self.sent.append((opened.fragment_header.number, opened.unit.message_id, content))
            if kept["taken"]:
                self._take(opened)

    def refuse(self, opened: OpenedMessage) -> HttpAnswer:
        """Return the signed error of a receiver that refuses a fragment, to be answered."""
        core, context = self.broker.core, self.broker.context()
        signal = core.make_error_signal(GatewayError(FRAGMENT_CONTRADICTED), opened.unit, context)
        assert signal is not None
        sealed = core.seal((signal,), opened.pmode, context)
        return HttpAnswer(200, {"content-type": sealed.headers["Content-Type"]}, sealed.read_octets())

    def _take(self, opened: OpenedMessage) -> None:
        assert opened.fragment_header is not None
        number = opened.fragment_header.number
        if number in self.pieces:
            return
        core = self.broker.core
        self.tally = core.tally_opened_fragment(self.tally, opened, _MOST, is_repeated=False)
        self.pieces[number] = opened.unit.payloads[0].octets  # type: ignore[union-attr]
        if self.tally.is_complete:
            self._join(self.tally)

    def _join(self, tally: GroupTally) -> None:
        core, context = self.broker.core, self.broker.context()
        pieces = [self.pieces[one] for one in sorted(self.pieces)]
        whole = core.join_fragments(tally, pieces, _MOST)
        opened = core.open_joined(tally, whole, context)
        assert isinstance(opened.unit, UserMessage)
        self.got.append(opened.unit)
        self.octets.append(whole.read_octets())
        receipt = core.seal((core.make_receipt(opened, context),), opened.pmode, context)
        self.receipts.append(HttpResponse(200, dict(receipt.headers), receipt.read_octets()))


class SplitStory(Story):
    """A hub whose Results go in fragments, and the broker that joins them."""

    def __init__(self, engine: Engine, folder: Path, agreement: bytes = SMALL) -> None:
        super().__init__(engine, customs=False, agreement=agreement)
        self.joiner = Joiner(self.broker, folder=folder)
        self.inbox = self.joiner
        self.agents["msh"] = MshAgent(self.hub, self.joiner)  # type: ignore[arg-type]
        self.worker = self.new_worker("w2")

    def file(self) -> None:
        """Send a submission without applications: its Result follows at once."""
        self.submit(self.submission(without_applications), attach=False, sync_reply=True)

    def whole(self) -> Any:
        """Return the delivery of the whole Result."""
        (found,) = [row for row in self.deliveries(agent="msh") if "split" in row.parameters]
        return found

    def pieces_of(self, *states: str) -> list[Any]:
        """Return the deliveries of fragments, in these states if any are named."""
        found = [row for row in self.deliveries(agent="msh") if "fragment" in row.parameters]
        return [row for row in found if not states or row.state in states]

    def group(self) -> Any:
        """Return the group of the whole Result."""
        with read_transaction(self.house.engine) as conn:
            return fragment_groups.find_sent_group(conn, self.whole().id)

    def sent_octets(self) -> dict[int, list[bytes]]:
        """Return everything that was posted, by the number of the fragment."""
        self.joiner.catch_up()
        found: dict[int, list[bytes]] = {}
        for number, _, content in self.joiner.sent:
            found.setdefault(number, []).append(content)
        return found

    def post_receipt(self) -> HttpResponse:
        """Post the receipt of the whole message, as the broker does when it has joined it."""
        self.joiner.catch_up()
        last = self.joiner.receipts[-1]
        return self.house.post(Parcel(last.headers, MemoryBody(last.body)))

    def post_error(self, signer: str = "broker1") -> HttpResponse:
        """Post the error of a receiver that has not got all fragments, about the whole message."""
        _, _, content = self.joiner.sent[0]
        headers = json.loads(self.joiner.folder.joinpath("0000.json").read_text())["headers"]
        opened, core = self.joiner.open(headers, content), self.broker.core
        unit = replace(opened.unit, message_id=self.whole().wire_id)
        context = self.broker.context()
        if signer != "broker1":
            context = replace(context, signers={"broker1": signer_named(signer)})
        problem = GatewayError(FRAGMENT_MISSING, "3 of 5 fragments came")
        signal = core.make_error_signal(problem, unit, context)
        assert signal is not None
        sealed = core.seal((signal,), opened.pmode, context)
        return self.house.post(Parcel(sealed.headers, MemoryBody(sealed.read_octets())))

    def read(self, question: Callable[[Any], Any]) -> Any:
        """Return what a question asks the database."""
        with read_transaction(self.house.engine) as conn:
            return question(conn)


@dataclass
class PullingJoiner(Joiner):
    """The same of an applicant without a server: it takes what it pulls."""

    asked: PullRequest | None = None

    def open(self, headers: dict[str, str], content: bytes) -> OpenedMessage:
        """Verify what was pulled."""
        assert self.asked is not None
        found = Parcel(headers, MemoryBody(content))
        return self.broker.core.open_units(found, self.broker.context(), SentUnit(self.asked))


class PulledStory(SplitStory):
    """A hub whose Results go in fragments, and the broker that pulls and joins them."""

    def __init__(self, engine: Engine, folder: Path, agreement: bytes = PULLED_SMALL) -> None:
        super().__init__(engine, folder, agreement)
        self.joiner = PullingJoiner(self.broker, folder=folder, asked=ask(self.broker))
        # What is posted is an error here.
        self.agents["msh"] = MshAgent(self.hub, None)  # type: ignore[arg-type]
        self.worker = self.new_worker("w3")

    def pull(self) -> HttpResponse:
        """Ask once."""
        assert isinstance(self.joiner, PullingJoiner)
        self.joiner.asked = ask(self.broker)
        return pull(self.house, self.broker, self.joiner.asked)

    def take(self, answer: HttpResponse) -> HttpAnswer:
        """Take what was pulled, and return its receipt."""
        return self.joiner.post("", dict(answer.headers), answer.body)

    def acknowledge(self, receipt: HttpAnswer) -> HttpResponse:
        """Post a receipt, or an error."""
        return self.house.post(
            Parcel({"Content-Type": receipt.headers["content-type"]}, MemoryBody(receipt.body))
        )

    def pull_all(self, *, lose: tuple[int, ...] = ()) -> list[int]:
        """Pull until nothing waits, and post the receipts but those of some numbers; return the numbers."""
        first = len(self.joiner.sent)
        while b":PartyInfo" in (answer := self.pull()).body:
            receipt = self.take(answer)
            if self.joiner.sent[-1][0] not in lose:
                assert self.acknowledge(receipt).status == 204
        assert b"EBMS:0006" in answer.body
        return [number for number, _, _ in self.joiner.sent[first:]]
