# Two commands matter: `make demo` walks the road, `make test` checks everything. Both install into .venv first.
PYTHON ?= python3
STUDY ?= plateau
PROFILE ?= quick
MIRROR ?=
RUN ?= $(PROFILE)
VENV := .venv
STUDIES := plateau,scroll
BIN := $(VENV)/bin
RUN_STAMP := $(VENV)/.installed-run
TEST_STAMP := $(VENV)/.installed-test
LAB_STAMP := $(VENV)/.installed-lab
INSTALL = $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test check bench lab lint golden results constraints environment clean

demo: $(RUN_STAMP)
	$(BIN)/stepladder run $(STUDY) --profile $(PROFILE) --run $(RUN) $(if $(MIRROR),--set data.mirror=$(abspath $(MIRROR)))

test: $(TEST_STAMP)
	$(BIN)/stepladder lint
	$(BIN)/ruff check lib tests
	$(BIN)/ruff format --check lib tests
	$(BIN)/python -m pytest -n 2 --dist loadfile tests
	$(BIN)/python -m stepladder.dev.golden check

check: $(TEST_STAMP)
	$(BIN)/stepladder lint
	$(BIN)/ruff check lib tests
	$(BIN)/ruff format --check lib tests
	$(BIN)/python -m pytest -q -n 2 --dist loadfile -m "not slow and not drill and not browser" tests

bench: $(TEST_STAMP)
	@for script in tests/benchmarks/bench_*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done
	$(BIN)/python -m stepladder.dev.results

lab: $(LAB_STAMP)
	$(BIN)/stepladder lab

golden: $(TEST_STAMP)
	$(BIN)/python -m stepladder.dev.golden make

results: $(RUN_STAMP)
	$(BIN)/python -m stepladder.dev.results

# Renew the pinned versions: install the newest allowed ones in a fresh environment and freeze them.
constraints:
	rm -rf .venv-constraints && $(PYTHON) -m venv .venv-constraints
	.venv-constraints/bin/pip install --quiet "torch==2.13.0" && .venv-constraints/bin/pip install --quiet -e ".[$(STUDIES),lab,tensorboard,test]"
	{ echo "# Versions that were tested together; renewed by \`make constraints\`."; \
	  .venv-constraints/bin/pip freeze --exclude-editable | sed -E 's/ @ .*//; s/^(torch==[0-9.]+)\+.*/\1/'; } > constraints.txt
	rm -rf .venv-constraints

environment: $(RUN_STAMP)
	$(BIN)/python -m stepladder.dev.environment

$(BIN)/pip:
	$(PYTHON) -m venv $(VENV)

$(RUN_STAMP): pyproject.toml constraints.txt | $(BIN)/pip
	@echo "installing into $(VENV) (some minutes the first time)"
	$(INSTALL) -e ".[$(STUDIES)]"
	@touch $@

$(LAB_STAMP): $(RUN_STAMP)
	$(INSTALL) -e ".[$(STUDIES),lab]"
	@touch $@

$(TEST_STAMP): $(RUN_STAMP)
	$(INSTALL) -e ".[$(STUDIES),lab,tensorboard,test]"
	@touch $@

clean:
	rm -rf $(VENV) outputs/* .pytest_cache .ruff_cache .hypothesis
