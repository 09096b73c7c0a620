"""How much may be used: figures for one person and for everybody together, from the settings or by default."""

from typing import NamedTuple

from backend.settings import Settings

VISITOR = "visitor-"  # how the owners begin whom nobody knows


class Caps(NamedTuple):
    """The most of each; None is no limit."""

    running_jobs: float | None = None
    pictures_a_day: float | None = None
    storage_bytes: float | None = None
    files: float | None = None
    dollars_a_day: float | None = None
    dollars_a_month: float | None = None
    training_minutes: float | None = None  # of one training; the step it has come to is kept

    @property
    def any(self) -> bool:
        return any(cap is not None for cap in self)

    @property
    def in_dollars(self) -> bool:
        return self.dollars_a_day is not None or self.dollars_a_month is not None


_NONE = Caps()
# Enough to try everything once or twice.
_FOR_VISITORS = Caps(3, 20, 0.5 * 2**30, 500, 0.5, 2, 60)
# A studio open to everybody is somebody's bill.
_FOR_A_PUBLIC_STUDIO = Caps(10, 1000, 100 * 2**30, None, 10, 100)


class CapTable(NamedTuple):
    """Whose caps are which."""

    person: Caps
    visitor: Caps
    in_all: Caps

    @classmethod
    def of(cls, settings: Settings) -> "CapTable":
        person, in_all = _given(settings, ""), _given(settings, "_in_all")
        return cls(
            _filled(person, _NONE),
            _filled(person, _FOR_VISITORS),
            _filled(in_all, _FOR_A_PUBLIC_STUDIO if settings.public else _NONE),
        )

    def of_owner(self, owner: str) -> Caps:
        return self.visitor if owner.startswith(VISITOR) else self.person


def _given(settings: Settings, whose: str) -> Caps:
    def named(name: str) -> float | None:
        value: float | None = getattr(settings, f"atelier_max_{name}{whose}", None)
        return value

    gigabytes = named("storage_gb")
    return Caps(
        running_jobs=named("running_jobs"),
        pictures_a_day=named("pictures_a_day"),
        storage_bytes=None if gigabytes is None else gigabytes * 2**30,
        files=named("files"),
        dollars_a_day=named("dollars_a_day"),
        dollars_a_month=named("dollars_a_month"),
        training_minutes=named("training_minutes"),
    )


def _filled(given: Caps, default: Caps) -> Caps:
    """The caps given, else the default's; a cap of 0 is none."""
    return Caps(*(wanted if cap is None else (cap or None) for cap, wanted in zip(given, default, strict=True)))
