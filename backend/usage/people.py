"""What people call themselves, so that the owner of a studio reads names and not account numbers."""

from collections import OrderedDict

from backend.contract import Message
from backend.errors import StorageError
from backend.keys import person_key
from backend.storage import Bucket

_REMEMBERED = 1000


class _PersonRecord(Message):
    """Somebody's name: `people/<owner>/person.json`."""

    name: str


class People:
    """Keeps names in storage, and those asked for lately in memory."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._names: OrderedDict[str, str] = OrderedDict()

    def note(self, owner: str, name: str) -> None:
        """Remember what somebody who is here calls themselves."""
        if name and self._names.get(owner) != name:
            self._bucket.put_message(person_key(owner), _PersonRecord(name=name[:100]))
            self._remember(owner, name[:100])

    def name_of(self, owner: str) -> str:
        """Return somebody's name; '' if they never gave one."""
        if owner not in self._names:
            try:
                record = self._bucket.find_message(person_key(owner), _PersonRecord)
            except StorageError:
                return ""
            self._remember(owner, record.name if record else "")
        return self._names.get(owner, "")

    def _remember(self, owner: str, name: str) -> None:
        self._names[owner] = name
        if len(self._names) > _REMEMBERED:
            self._names.popitem(last=False)
