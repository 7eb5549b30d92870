# Two commands on a bare machine (Python 3.11+, gcc, g++, cmake, make, git): `make chat` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: chat test check lint secrets audit bench bench-model demo-discord demo-slack bench-discord bench-slack pictures chaos eval eval-quick calibrate clean

chat: $(VENV)/.run
	@$(BIN)/fireside chat

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n auto --dist worksteal

check: lint secrets audit test

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/hadolint Dockerfile
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml deploy/compose.cuda.yml

secrets: $(VENV)/.dev
	$(BIN)/python -m scripts.scan_secrets $(if $(ACCEPT),--accept)

audit: $(VENV)/.dev
	$(BIN)/python -m scripts.audit_dependencies

bench: $(VENV)/.dev
	$(BIN)/python scripts/bench.py $(if $(JSON),--json $(JSON)) $(if $(GROWTH),--growth $(GROWTH)) $(if $(README),--readme $(README))

bench-model: $(VENV)/.dev
	$(BIN)/python scripts/bench_model.py $(if $(JSON),--json $(JSON)) $(if $(MODEL),--model $(MODEL))

demo-discord: $(VENV)/.dev
	$(BIN)/python scripts/demo_discord.py

demo-slack: $(VENV)/.dev
	$(BIN)/python scripts/demo_slack.py

bench-discord: $(VENV)/.dev
	$(BIN)/python scripts/bench_discord.py $(if $(JSON),--json $(JSON))

bench-slack: $(VENV)/.dev
	$(BIN)/python scripts/bench_slack.py $(if $(JSON),--json $(JSON))

pictures: $(VENV)/.dev
	$(BIN)/python scripts/picture_replies.py

chaos: $(VENV)/.dev
	$(BIN)/python -m scripts.chaos $(if $(SECONDS),--seconds $(SECONDS)) $(if $(QUESTIONS),--questions $(QUESTIONS)) $(if $(JSON),--json $(JSON))

eval: $(VENV)/.dev
	$(BIN)/fireside eval run --baselines --readme README.md

eval-quick: $(VENV)/.dev
	$(BIN)/fireside eval run --quick

calibrate: $(VENV)/.dev
	$(BIN)/fireside eval calibrate --no-fit

clean:
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .hypothesis

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Fireside needs Python 3.11 or newer; '$(PYTHON)' is older. Run: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: $(BIN)/python pyproject.toml constraints.txt
	@echo "Installing; llama.cpp is compiled once, which takes some minutes." >&2
	$(PIP) install -q -c constraints.txt -e .
	@touch $@

$(VENV)/.dev: $(BIN)/python pyproject.toml constraints.txt
	@echo "Installing; llama.cpp is compiled once, which takes some minutes." >&2
	$(PIP) install -q -c constraints.txt -e '.[dev]'
	@touch $@ $(VENV)/.run
