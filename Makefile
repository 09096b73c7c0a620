# Everything lives in .venv. `make run` starts the studio, `make test` proves it, `make demo` does its job in a terminal.
PYTHON ?= python3
BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Python compiles what is used; pip would compile all there is.
export PIP_NO_COMPILE := 1

.PHONY: run test demo lint browser clean

run: .venv/studio
	$(BIN)/atelier serve

demo: .venv/studio
	$(BIN)/atelier demo

# Two at a time: much of a journey is waiting. A file's tests stay together, as they share a studio; the longest files
# begin first (tests/conftest.py).
test: .venv/developer browser lint
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

lint: .venv/developer
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/actionlint -shellcheck $(BIN)/shellcheck .github/workflows/*.yml

# Torch first and by itself: asked for by another package, pip could choose a build with CUDA.
.venv/torch: constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed; set PYTHON=python3.12, say")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet $$(grep '^torch==' constraints.txt)
	touch $@

.venv/studio: .venv/torch pyproject.toml
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[local]'
	touch $@

.venv/developer: .venv/torch pyproject.toml
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[local,dev]'
	touch .venv/studio $@

# The browser tests drive the Chromium or Chrome that is there, else fetch the one that Playwright knows.
browser: .venv/developer
	@command -v chromium chromium-browser google-chrome >/dev/null || $(BIN)/playwright install chromium

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache demo-output
