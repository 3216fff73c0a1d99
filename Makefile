# Everything starts from a checkout, Python 3.11 or later and a C compiler: each target makes what it needs.
#
# Design: the package is installed into .venv as users install it, neither in place nor editable, so that what is
# shown and tested is what a wheel holds. Stamps in .venv say what is installed; an edit to a source costs one
# incremental build. Turned down: an editable install, which hides files that a wheel forgets.

SHELL := /bin/bash
PYTHON ?= $(shell for python in python3 python3.11 python3.12 python3.13 python3.14; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
VENV ?= .venv
PY = $(VENV)/bin/python
RUN = $(PY) -P# the folder we stand in is not where modules come from
PIP = $(PY) -m pip --disable-pip-version-check install -q
SOURCES := pyproject.toml setup.py README.md \
	$(shell find src -name '*.py' -o -name '*.py[xdi]' -o -name '*.px[di]' -o -name '*.[ch]' -o -name py.typed)
KERNEL_TESTS = $(wildcard $(patsubst %,tests/test_%*.py,batches_hostile conv core exact features gemm kernels lstm network nn_metrics nn_models nn_plan sketch weights \
	certificates norms reference parquet_pages parquet_statistics parquet_thrift pool summary scalers state \
	normalizer lists structs tally))
SANITIZED = build/sanitize/venv
BASE ?= HEAD~1

# Modules come from the environment that is made here, whatever the caller's says.
unexport PYTHONPATH PYTHONHOME

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 18

.PHONY: demo
demo: $(VENV)/.installed ## normalize the flights of examples/data, and show each column before and after
	$(RUN) examples/demo.py

.PHONY: examples
examples: $(VENV)/.installed-examples ## run examples/01 to 09, and bring tables and curves up to date; ARGS="01 02" for some
	$(PY) examples/all.py $(ARGS)

.PHONY: recipes
recipes: $(VENV)/.installed-test ## run the recipes of examples/etl/
	$(RUN) -m pytest tests/test_recipes.py $(ARGS)

.PHONY: test
test: $(VENV)/.installed-test ## run all tests against the installed package; ARGS="-k sketch" for some
	@$(RUN) -c 'import streamnorm, sysconfig; at, home = streamnorm.__file__, sysconfig.get_path("platlib"); \
	assert at.startswith(home), f"{at} is not in {home}"; print("testing streamnorm", streamnorm.__version__, at)'
	$(RUN) -m pytest $(ARGS)

.PHONY: build
build: $(VENV)/.installed-dev ## build the sdist, and from it the wheel, into dist/, and check what they hold
	rm -rf dist
	@mkdir -p build
	$(RUN) -m build --outdir dist >build/dist.log 2>&1 || { cat build/dist.log; exit 1; }
	$(RUN) tests/check_dist.py dist

.PHONY: debug
debug: $(VENV)/.installed-dev ## compile into src/ with symbols, for gdb; then PYTHONPATH=src is what runs
	STREAMNORM_DEBUG=1 $(RUN) setup.py -q build_ext --inplace --force

.PHONY: sanitize
sanitize: $(SANITIZED)/.sanitized ## run the kernels' tests under AddressSanitizer and UBSan (Linux)
	LD_PRELOAD="$$($${CC:-cc} -print-file-name=libasan.so) $$($${CC:-cc} -print-file-name=libstdc++.so)" \
	ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
	PYTHONMALLOC=malloc ARROW_DEFAULT_MEMORY_POOL=system \
	$(SANITIZED)/bin/python -P -m pytest --capture=sys -p no:cacheprovider $(KERNEL_TESTS) $(ARGS)

.PHONY: annotate
annotate: $(VENV)/.installed-dev ## say which lines of Cython call Python: build/annotate/*.html
	mkdir -p build/annotate
	for name in $$(cd src/streamnorm && find . -name '*.pyx'); do $(RUN) -m cython -a -I src \
	src/streamnorm/$$name -o build/annotate/$$(basename $$name .pyx).c || exit; done

.PHONY: bench
bench: $(VENV)/.installed-bench ## compare what a change since main touches with the peers; ARGS="memory" for a section, ARGS=all
	$(PY) asv_benches/report.py $(ARGS)

.PHONY: bench-quick
bench-quick: $(VENV)/.installed-bench ## run each benchmark once, on little data, to see that it works
	$(PY) asv_benches/quick.py $(ARGS)

.PHONY: bench-compare
bench-compare: $(VENV)/.installed-bench ## say what became slower since BASE=revision (default: HEAD~1)
	$(PY) asv_benches/compare.py $(BASE) $(ARGS)

.PHONY: docs
docs: $(VENV)/.installed-test ## run the examples of README and docs/, and check their links and commands
	$(RUN) -m pytest tests/test_docs.py $(ARGS)

.PHONY: lint
lint: $(VENV)/.installed-dev ## check style
	$(RUN) -m ruff check .

.PHONY: clean
clean: ## remove all that was made here
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis src/*.egg-info
	rm -rf asv_benches/env asv_benches/results asv_benches/html
	find src -name '*.so' -delete
	find src tests examples asv_benches -name '__pycache__' -prune -exec rm -r {} +

%/.created:
	@test -n "$(PYTHON)" || { echo 'streamnorm needs Python 3.11 or later: name one, make PYTHON=...' >&2; exit 1; }
	@echo 'making the virtual environment $* with $(PYTHON)'
	@$(PYTHON) -m venv $* || { echo 'no venv: on Debian, apt install python3-venv' >&2; exit 1; }
	@touch $@

# Modules that were removed from src/ must not come back from the folder of an earlier build.
define install
	@$(if $(wildcard build/lib*),find build/lib* -type f ! -name '*.so' -delete,:)
	@echo "compiling and installing into $(VENV): half a minute, and what pip has to fetch"
	$(PIP) '.$(1)'
	@touch $@
endef

$(VENV)/.installed: $(VENV)/.created $(SOURCES)
	$(call install)

$(VENV)/.installed-%: $(VENV)/.created $(SOURCES)
	$(call install,[$*])
	@touch $(VENV)/.installed

$(SANITIZED)/.sanitized: $(SANITIZED)/.created $(SOURCES)
	STREAMNORM_SANITIZE=1 $(SANITIZED)/bin/python -m pip --disable-pip-version-check install -q '.[test]'
	touch $@
