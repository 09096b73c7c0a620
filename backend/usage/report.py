"""What somebody has used of what they may, what it cost, and the same of everybody for the studio's owner."""

from typing import NamedTuple

from backend.runs.runs import Runs
from backend.usage.caps import Caps
from backend.usage.ledger import Entry
from backend.usage.limits import Spent, UsageLimits, stock_in_all, total
from backend.usage.people import People
from backend.usage.storage_use import Stock

_LATEST = 12


class Share(NamedTuple):
    """What one person, or everybody, has used, beside what they may."""

    spent: Spent
    stock: Stock | None  # None while it is being counted
    caps: Caps


class PersonShare(NamedTuple):
    owner: str
    name: str
    share: Share


class UsageReport(NamedTuple):
    """One person's figures; everybody's too for the studio's owner."""

    own: Share
    latest: list[Entry]  # newest first
    priced: bool  # False where a GPU costs nothing
    in_all: Share | None = None
    people: tuple[PersonShare, ...] = ()


class UsageReports:
    """Makes reports: settles what has ended, then adds up."""

    def __init__(self, runs: Runs, usage: UsageLimits, people: People) -> None:
        self._runs = runs
        self._usage = usage
        self._people = people

    def note_name(self, owner: str, name: str) -> None:
        """Remember what somebody calls themselves."""
        self._people.note(owner, name)

    def of(self, owner: str, *, everybody: bool) -> UsageReport:
        """Return a report for one person, with everybody's figures if they may see those."""
        self._runs.settle()
        entries = self._usage.entries(owner)
        caps = self._usage.caps
        own = Share(Spent.of(entries), self._usage.stock_of(owner), caps.of_owner(owner))
        latest = sorted(entries, key=lambda entry: entry.opened_at, reverse=True)[:_LATEST]
        report = UsageReport(own, latest, priced=bool(self._usage.ledger.gpu_price))
        if not everybody:
            return report
        spent, stocks = self._usage.spent_by_everybody(), self._usage.stock_of_everybody()
        in_all = Share(total(spent.values()), None if stocks is None else stock_in_all(stocks), caps.in_all)
        owners = sorted({*spent, *(stocks or {})}, key=lambda each: (-_dollars(spent, each), each))
        return report._replace(in_all=in_all, people=tuple(self._person(each, spent, stocks) for each in owners))

    def _person(self, owner: str, spent: dict[str, Spent], stocks: dict[str, Stock] | None) -> PersonShare:
        stock = None if stocks is None else stocks.get(owner, Stock())
        share = Share(spent.get(owner, Spent()), stock, self._usage.caps.of_owner(owner))
        return PersonShare(owner, self._people.name_of(owner), share)


def _dollars(spent: dict[str, Spent], owner: str) -> float:
    return spent[owner].dollars_this_month if owner in spent else 0.0
