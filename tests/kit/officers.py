"""A story in which some agencies decide at the console: their calls rest in the mailbox, officers act."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Engine

from gateway.accounts import ROLES
from gateway.cases import (
    AgencyCallback,
    Decision,
    DecisionAct,
    DecisionCode,
    DecisionPurpose,
    InformationAct,
    Notice,
)
from gateway.config import Settings
from gateway.delivery.agents import ConsoleMailbox, PartnerAgent
from gateway.hub import AgencyKeys, apply_call_back
from gateway.pki import KeySigner
from gateway.store import NewAccount, accounts, officer_work, read_transaction, write_transaction
from gateway.web.officers import ApplicationView, Officer, OfficerDesk
from tests.kit.house import signer_named
from tests.kit.story import AGENCIES, ITEMS, LAWS, PLAN, Story

__all__ = ["ConsoleStory", "KeptKeys"]


class KeptKeys(AgencyKeys):
    """The keys that the hub keeps, without files.

    What is in `at_next_use` happens once, when a key is used: while the mailbox answers, or an act is signed.
    """

    at_next_use: Callable[[], object] | None = None

    def get_signer(self, agency: str) -> KeySigner:
        interrupt, self.at_next_use = self.at_next_use, None
        if interrupt is not None:
            interrupt()
        return signer_named(agency.lower())


class ConsoleStory(Story):
    """The story with one agency at the console; `options` are its settings."""

    def __init__(self, engine: Engine, agency: str = "KPTA", *, console: bool = True, **options: Any) -> None:
        super().__init__(engine)
        self.agency = agency
        address: dict[str, Any] = {"console": True} if console else {"endpoint": "http://partner.example/x"}
        section = {**address, "confirm": ["session"], "pki": {"signing_key": {"file": "k.pem"}}, **options}
        self.settings = Settings(agency={agency: section})
        self.keys = KeptKeys(lambda: self.settings)
        if console:
            self.addresses[agency] = replace(
                self.addresses[agency], endpoint=f"urn:single-window:console:{agency}", is_at_console=True
            )
        partners: Any = self.hub.composer
        mailbox = ConsoleMailbox(self.hub, partners, self.keys)
        self.agents["soap"] = PartnerAgent(
            self.hub,
            self.soap,  # type: ignore[arg-type]
            partners,
            lambda: dict.fromkeys(self.addresses, PLAN),
            mailbox,
        )
        self.desk = self.new_desk()

    def new_desk(self) -> OfficerDesk:
        """Return the desk as a newly started process has it."""
        return OfficerDesk(self.hub, self.settings, self.keys)

    def officer(self, name: str, role: str = "officer", agency: str | None = None) -> Officer:
        """Store an account with a role, and return it as an officer."""
        organisation = agency or self.agency
        now = self.clock()
        with write_transaction(self.house.engine) as conn:
            new = NewAccount(name, name.title(), "test")
            account = accounts.insert_account(conn, new, now)
            accounts.set_roles(conn, account, "agency", organisation, [role], now)
        return Officer(account, name, role, ROLES[role].rights, organisation)

    def arrive(self) -> ApplicationView:
        """Let a submission arrive, and the call to the agency come to rest; return the application."""
        self.submit()
        self.tick()
        return self.look()

    def look(self) -> ApplicationView:
        """Return the application of the agency in the newest case as an officer sees it now."""
        view = self.desk.read_application(self.agency, self.request(self.agency).number)
        assert view is not None
        return view

    def rested(self) -> Sequence[Any]:
        """Return the calls that came to rest for the application of the agency, oldest first."""
        with read_transaction(self.house.engine) as conn:
            return officer_work.list_mailbox_calls(conn, self.request(self.agency).id)

    def decision(
        self,
        code: DecisionCode = DecisionCode.APPROVED,
        purpose: DecisionPurpose = DecisionPurpose.DECIDE,
        **more: Any,
    ) -> DecisionAct:
        """Return the act that decides the agency's one item."""
        said = Decision(ITEMS[self.agency], LAWS[self.agency], code, "P-1", **more)
        return DecisionAct(purpose, (said,))

    def decide_others(self) -> None:
        """Let the agencies with systems of their own approve."""
        self.decide_all(*(set(AGENCIES) & {self.agency}))

    def hear_at_console(self, asked: InformationAct) -> None:
        """Let the agency's own system ask, beside the console."""
        self.hear_of(Notice("own", self.clock(), "D01", (), asked.text))

    def hear_of(self, notice: Notice) -> None:
        """Let the agency's own system call back, beside the console."""
        apply_call_back(self.hub, self.agency, AgencyCallback(notice, self.look().number))
