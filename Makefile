# Two commands matter: `make demo` walks the road, `make test` checks everything. Both install into .venv first.
PYTHON ?= python3
STUDY ?= plateau
PROFILE ?= quick
MIRROR ?=
RUN ?= $(PROFILE)
GPU_PYTHON ?= 3.12
GPU_OPTIONS ?=
WHEELS := .wheels
VENV := .venv
BIN := $(VENV)/bin
STUDIES := $(patsubst lib/stepladder/studies/%/study.py,%,$(wildcard lib/stepladder/studies/*/study.py))
COMMA := ,
EMPTY :=
SPACE := $(EMPTY) $(EMPTY)
EVERYTHING := $(subst $(SPACE),$(COMMA),$(strip $(STUDIES) lab tensorboard test))
INSTALL = $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt
# The longest tests begin first, and those of one study stay in one process: see tests/conftest.py.
PYTEST = $(BIN)/python -m pytest -n 2 --dist loadgroup --no-loadscope-reorder
# `.venv/.installed-scroll` is there when the extra `scroll` has been installed.
INSTALLED := $(VENV)/.installed

# The type checker needs a minute and one core: it works beside the tests.
BESIDE = $(MAKE) --no-print-directory --jobs 2 lint types

.PHONY: demo beforehand test tests check fast lint types nbval bench lab golden results constraints environment gpu gpu-wheels clean

demo: beforehand $(INSTALLED)-$(STUDY)
	$(BIN)/stepladder run $(STUDY) --profile $(PROFILE) --run $(RUN) $(if $(MIRROR),--set data.mirror=$(abspath $(MIRROR)))
	@echo
	@echo "open the page:      $(BIN)/stepladder report $(STUDY)/$(RUN) --open"
	@echo "open the notebooks: make lab$(if $(filter plateau,$(STUDY)),, STUDY=$(STUDY))"
	@$(if $(filter plateau/quick,$(STUDY)/$(PROFILE)),true,echo 'and in the parameters cell of each: study = "$(STUDY)", profile = "$(PROFILE)"')
	@echo "to type \`stepladder\` as the docs write it, once in every terminal: source $(BIN)/activate"

# How long and how large, from measured figures; the profile's first line says it of the walk.
beforehand:
	@echo "$(STUDY)/$(PROFILE): $$(sed -n '1s/^# //p' params/$(STUDY)/$(PROFILE).yaml)"
	@test -e $(INSTALLED)-$(STUDY) || echo "before that it installs into $(VENV): about 2.6 GB and three minutes on a quick line;" \
	  "some GB more where pip brings torch with CUDA; nothing outside this folder is touched"

test: $(INSTALLED)-everything
	@$(BESIDE) tests

check: $(INSTALLED)-everything
	@$(BESIDE) fast

tests: $(INSTALLED)-everything
	$(PYTEST) tests

fast: $(INSTALLED)-everything
	$(PYTEST) -q -m "not slow and not drill and not browser" tests

lint: $(INSTALLED)-everything
	$(BIN)/stepladder lint
	$(BIN)/ruff check lib tests
	$(BIN)/ruff format --check lib tests

types: $(INSTALLED)-everything
	$(BIN)/basedpyright --pythonpath $(BIN)/python lib

nbval: $(INSTALLED)-everything
	$(BIN)/python -m stepladder.dev.golden check $(STUDY)

bench: $(INSTALLED)-everything
	@for script in tests/benchmarks/bench_*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done
	STEPLADDER_LONG=1 $(BIN)/python -m pytest -q tests/launch/test_in_jupyterlab.py tests/launch/test_drills*.py
	$(BIN)/python -m stepladder.dev.results

lab: $(INSTALLED)-$(STUDY) $(INSTALLED)-lab
	$(BIN)/stepladder lab

golden: $(INSTALLED)-everything
	$(BIN)/python -m stepladder.dev.golden make

results: $(INSTALLED)-everything
	$(BIN)/python -m stepladder.dev.results

# On a machine with a card: with the Python that has torch with CUDA, from this tree, without a network.
gpu:
	@site=$$(mktemp -d) && trap 'rm -rf $$site' EXIT && \
	if [ -d $(WHEELS) ]; then $(PYTHON) tests/gpu/wheels.py install $(WHEELS) $$site; fi && \
	PYTHONPATH=$$site $(PYTHON) tests/gpu/check.py $(GPU_OPTIONS)

# Here, before: what a card's machine lacks, for its Python; see tests/gpu/wheels.py.
gpu-wheels: $(INSTALLED)-everything
	$(BIN)/python tests/gpu/wheels.py fetch $(WHEELS) $(GPU_PYTHON)

# Renew the pinned versions: install the newest allowed ones in a fresh environment and freeze them.
constraints:
	rm -rf .venv-constraints && $(PYTHON) -m venv .venv-constraints
	.venv-constraints/bin/pip install --quiet "torch==2.13.0" && .venv-constraints/bin/pip install --quiet -e ".[$(EVERYTHING)]"
	{ echo "# Versions that were tested together; renewed by \`make constraints\`."; \
	  .venv-constraints/bin/pip freeze --exclude-editable | sed -E 's/ @ .*//; s/^(torch==[0-9.]+)\+.*/\1/'; } > constraints.txt
	rm -rf .venv-constraints

environment: $(INSTALLED)-$(STUDY)
	$(BIN)/python -m stepladder.dev.environment

$(BIN)/pip:
	$(PYTHON) -m venv $(VENV)

$(INSTALLED)-%: pyproject.toml constraints.txt | $(BIN)/pip
	@echo "installing $* into $(VENV) (some minutes the first time)"
	$(INSTALL) -e ".[$(if $(filter everything,$*),$(EVERYTHING),$*)]"
	@touch $@

clean:
	rm -rf $(VENV) outputs/* .pytest_cache .ruff_cache .hypothesis
