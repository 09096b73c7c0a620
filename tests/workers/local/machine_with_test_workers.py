"""The machine's own command line, with the workers of these tests."""

from tests.workers.local.conftest import TEST_WORKERS
from workers.local.machine import main

main(TEST_WORKERS)
