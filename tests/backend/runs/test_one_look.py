import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from backend.runs.one_look import OneLook


def test_many_who_ask_at_once_share_looks_and_nobody_is_told_old_news() -> None:
    news, looks = [0], []

    def look(key: str) -> int:
        seen = news[0]
        looks.append(key)
        time.sleep(0.02)
        return seen

    one, stop = OneLook(look), threading.Event()

    def publish() -> None:
        while not stop.is_set():
            news[0] += 1
            time.sleep(0.001)

    def ask(_: int) -> bool:
        asked_at = news[0]
        return one("runs") >= asked_at

    writer = threading.Thread(target=publish)
    writer.start()
    with ThreadPoolExecutor(32) as pool:
        fresh = list(pool.map(ask, range(320)))
    stop.set()
    writer.join()
    assert all(fresh)
    assert len(looks) < 60
    assert one._next == {}
    assert one._turn == {}


def test_an_error_reaches_everybody_who_asked_and_nobody_later() -> None:
    fails = [True]

    def look(key: str) -> str:
        time.sleep(0.02)
        if fails[0]:
            raise ValueError(key)
        return key

    one = OneLook(look)
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(one, "x") for _ in range(8)]
    for each in asked:
        with pytest.raises(ValueError, match="x"):
            each.result()
    fails[0] = False
    assert one("x") == "x"
