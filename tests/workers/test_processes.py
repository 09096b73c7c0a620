"""Children, their lines, and their end - also when their parent had no time to say goodbye."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from backend.errors import MachineError
from workers.environment import child_environment
from workers.guard import Guard
from workers.processes import LONGEST_LINE, Child, describe_exit, start_child

ROOT = str(Path(__file__).parents[2])
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"


async def start(program: str, **options: object) -> Child:
    command = [sys.executable, "-S", "-c", program]
    return await start_child(command, environment=child_environment(), name="The child", **options)  # type: ignore[arg-type]


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A dead one stays in the table until somebody asks for its exit code.
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"


async def gone(pid: int, timeout_s: float = 5) -> bool:
    async with asyncio.timeout(timeout_s):
        while is_alive(pid):  # noqa: ASYNC110 - nothing announces the end of somebody else's child
            await asyncio.sleep(0.02)
    return True


def test_secrets_stay_behind_unless_named(monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = {
        "HF_TOKEN": "hf_x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "RUNPOD_API_KEY": "x",
        "HTTPS_PROXY": "http://u:p@host",
    }
    for name, value in {**secrets, "HTTP_PROXY": "http://host:3128", "TZ": "UTC", "PYTHONPATH": "/x"}.items():
        monkeypatch.setenv(name, value)
    environment = child_environment({"EXTRA": "1"})
    assert not {*secrets, "PYTHONPATH", "HOME"} & set(environment)
    assert {"PATH", "TZ", "EXTRA", "HTTP_PROXY"} <= set(environment)
    assert child_environment(also=["HF_TOKEN", "NOT_SET"])["HF_TOKEN"] == "hf_x"


async def test_lines_end_at_line_feeds_and_carriage_returns() -> None:
    lines: list[str] = []
    child = await start(
        r"import sys; sys.stdout.buffer.write(b'10%\r20%\r\n\n\xff end'); sys.stdout.flush(); sys.exit(3)",
        on_line=lines.append,
    )
    assert await child.wait() == 3
    assert lines == ["10%", "20%", "\ufffd end"]
    assert child.last_lines(2) == lines[1:]


async def test_a_line_without_end_is_cut_and_not_hoarded() -> None:
    lines: list[str] = []
    child = await start(f"print('x' * {LONGEST_LINE * 100})", on_line=lines.append)
    await child.wait()
    assert sum(map(len, lines)) == LONGEST_LINE * 100
    assert max(map(len, lines)) <= LONGEST_LINE + 65536
    assert len(child.last_lines(1000)) <= 60


async def test_a_reader_that_fails_does_not_end_the_child() -> None:
    faults = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: faults.append(context["message"]))

    def read(line: str) -> None:
        raise ValueError(line)

    child = await start("print('a'); print('b')", on_line=read)
    assert await child.wait() == 0
    assert len(faults) == 2


async def test_it_can_be_written_to() -> None:
    child = await start("import sys; print(sum(len(line) for line in sys.stdin))", stdin=True)
    await child.write("x" * 1_000_000)
    child.close_stdin()
    assert await child.wait() == 0
    assert child.last_lines() == ["1000000"]
    with pytest.raises(MachineError, match="no open standard input"):
        await child.write("more")


async def test_writing_has_a_deadline() -> None:
    child = await start("import time; time.sleep(60)", stdin=True)
    with pytest.raises(MachineError, match=r"for 0\.2 s"):
        await child.write("x" * 1_000_000, timeout_s=0.2)
    assert await child.stop(0) == -signal.SIGKILL


async def test_stop_is_polite_first() -> None:
    polite = await start("import time; print('up', flush=True); time.sleep(60)")
    stubborn = await start(STUBBORN)
    for child in (polite, stubborn):
        await child.wait_until_ready(_said_something(child), timeout_s=10)
    began = time.monotonic()
    assert await polite.stop(5) == -signal.SIGTERM
    assert time.monotonic() - began < 2
    assert await stubborn.stop(0.3) == -signal.SIGKILL
    assert await stubborn.stop(0.3) == -signal.SIGKILL
    assert describe_exit(-9) == "was ended by SIGKILL"
    assert describe_exit(1) == "ended with exit code 1"


async def test_its_own_children_end_with_it_and_do_not_hold_it_up() -> None:
    child = await start(
        "import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']).pid)"
    )
    assert await child.wait() == 0
    assert await gone(int(child.last_lines()[0]))


async def test_waiting_for_readiness_quotes_the_last_lines() -> None:
    async def never() -> bool:
        return False

    child = await start("print('CUDA is not available'); raise SystemExit(7)")
    with pytest.raises(MachineError, match=r"ended with exit code 7 before it was ready(?s:.*)CUDA is not available"):
        await child.wait_until_ready(never, timeout_s=10)
    silent = await start("import time; time.sleep(60)")
    with pytest.raises(MachineError, match=r"was not ready after 0\.1 s\. It wrote nothing"):
        await silent.wait_until_ready(never, timeout_s=0.1)
    await silent.stop(0)


async def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(MachineError, match="no-such-program"):
        await start_child(["/no-such-program"], environment={})


async def test_the_guard_ends_what_a_killed_parent_started() -> None:
    parent = subprocess.Popen(  # noqa: ASYNC220 - it shall die by itself
        [
            sys.executable,
            "-c",
            f"""
import asyncio, sys
from workers.environment import child_environment
from workers.guard import Guard
from workers.processes import start_child
async def main():
    guard = Guard()
    for program in ("import time; time.sleep(60)", {STUBBORN!r}):
        lines = []
        child = await start_child(
            [sys.executable, "-S", "-c", program], environment=child_environment(), guard=guard, on_line=print
        )
        print(child.pid, flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
""",
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout
    with parent.stdout:
        pids = [int(parent.stdout.readline()) for _ in range(2)]
        assert all(is_alive(pid) for pid in pids)
        parent.kill()
        for pid in pids:
            assert await gone(pid, timeout_s=10)
    parent.wait()


async def test_a_guard_that_was_ended_is_replaced() -> None:
    guard = Guard()
    child = await start("import time; time.sleep(60)", guard=guard)
    first = guard.pid
    os.kill(first, signal.SIGKILL)
    assert await gone(first)
    other = await start("import time; time.sleep(60)", guard=guard)
    assert guard.pid != first
    guard.close()
    for each in (child, other):
        assert await each.wait() == -signal.SIGTERM


def _said_something(child: Child):  # type: ignore[no-untyped-def]
    async def said() -> bool:
        return bool(child.last_lines())

    return said
