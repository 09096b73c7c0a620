"""How it is shown who somebody is, and what has been used of what may be."""

from collections.abc import Callable

from app.session import LOCAL_OWNER
from app.views import View
from app.wording import length_of_time
from backend.usage.caps import VISITOR
from backend.usage.ledger import Entry
from backend.usage.report import PersonShare, Share, UsageReport


class MeView(View):
    """Whoever asks. An address is '' where there is no such way."""

    name: str
    is_keeper: bool
    sign_in: str
    sign_out: str


class Gauge(View):
    """One thing that is used up. `share` is how full it is, None without a limit."""

    label: str
    used: str
    most: str
    share: float | None


class CostRow(View):
    run_id: str
    kind: str
    base_model: str
    at: float
    seconds: float
    pictures: int
    cost: str
    settled: bool


class PersonRow(View):
    name: str
    running: int
    pictures_today: int
    pictures_this_month: int
    gpu_seconds: float
    today: str
    this_month: str
    storage: str


class UsageView(View):
    own: list[Gauge]
    latest: list[CostRow]
    priced: bool
    in_all: list[Gauge]
    people: list[PersonRow] | None  # None for who may not see others'


def usage_view(report: UsageReport, base_models: dict[str, str]) -> UsageView:
    """Return a report as the sheet shows it; `base_models` are names by id."""
    everybody = report.in_all is not None
    return UsageView(
        own=_gauges(report.own, report.priced),
        latest=[_cost(entry, base_models) for entry in report.latest],
        priced=report.priced,
        in_all=_gauges(report.in_all, report.priced) if report.in_all else [],
        people=[_person(each) for each in report.people] if everybody else None,
    )


def _gauges(share: Share, priced: bool) -> list[Gauge]:
    spent, caps, stock = share.spent, share.caps, share.stock
    gauges = [
        _gauge("Runs under way", spent.running_jobs, caps.running_jobs, _count),
        _gauge("Pictures today", spent.pictures_today, caps.pictures_a_day, _count),
        _gauge("Storage", None if stock is None else stock.bytes, caps.storage_bytes, _bytes),
    ]
    if caps.training_minutes is not None:
        longest = length_of_time(caps.training_minutes * 60)
        gauges.append(Gauge(label="Longest training", used=longest, most="", share=None))
    if caps.files is not None:
        gauges.append(_gauge("Files", None if stock is None else stock.files, caps.files, _count))
    if priced:
        gauges.append(_gauge("Spent today", spent.dollars_today, caps.dollars_a_day, _dollars))
        gauges.append(_gauge("Spent this month", spent.dollars_this_month, caps.dollars_a_month, _dollars))
    else:
        gauges.append(_gauge("Pictures this month", spent.pictures_this_month, None, _count))
        gauges.append(_gauge("At work this month", spent.gpu_seconds_this_month, None, _time))
    return gauges


def _gauge(label: str, used: float | None, most: float | None, shown: Callable[[float], str]) -> Gauge:
    share = None if used is None or most is None else min(1.0, used / most)
    so_far = "Being counted" if used is None else shown(used)
    return Gauge(label=label, used=so_far, most="" if most is None else shown(most), share=share)


def _cost(entry: Entry, base_models: dict[str, str]) -> CostRow:
    return CostRow(
        run_id=entry.run_id,
        kind=entry.kind,
        base_model=base_models.get(entry.base_model, entry.base_model),
        at=entry.opened_at,
        seconds=entry.seconds,
        pictures=entry.pictures,
        cost=_dollars(entry.dollars),
        settled=entry.settled,
    )


def _person(person: PersonShare) -> PersonRow:
    spent, stock = person.share.spent, person.share.stock
    return PersonRow(
        name=person.name or _called(person.owner),
        running=spent.running_jobs,
        pictures_today=spent.pictures_today,
        pictures_this_month=spent.pictures_this_month,
        gpu_seconds=spent.gpu_seconds_this_month,
        today=_dollars(spent.dollars_today),
        this_month=_dollars(spent.dollars_this_month),
        storage="–" if stock is None else _bytes(stock.bytes),
    )


def _called(owner: str) -> str:
    if owner == LOCAL_OWNER:
        return "This studio"
    return f"Visitor {owner.removeprefix(VISITOR)[:6]}" if owner.startswith(VISITOR) else owner


def _count(number: float) -> str:
    return f"{number:,.0f}"


def _time(seconds: float) -> str:
    return length_of_time(seconds) if seconds else "none"


def _dollars(amount: float) -> str:
    return f"${amount:,.2f}"


def _bytes(count: float) -> str:
    return f"{count / 2**20:,.0f} MB" if count < 2**30 else f"{count / 2**30:,.2f} GB"
