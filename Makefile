# Countersign. Two commands matter: `make up` and `make test`; `make help` lists the rest.
.POSIX:
.PHONY: help up test lint bench faults lock screenshots

help:
	@echo 'make up           install, start everything, print the address; Ctrl-C stops it'
	@echo 'make test         install what tests need and run them (ARGS="tests/audit -x")'
	@echo 'make lint         ruff, mypy, import contracts, missing migrations'
	@echo 'make bench        measure speeds on this machine'
	@echo 'make faults       attack every promise in full and write docs/reliability.md (an hour)'
	@echo 'make screenshots  remake the pictures in docs/'
	@echo 'make lock         pin the dependencies of pyproject.toml again'
	@echo
	@echo 'From the environment: DATA_DIR (.data), PORT (8000), DATABASE_URL, REDIS_URL, PYTHON,'
	@echo 'VENV (.venv); docs/operating.md explains these and the others.'

# `prepare STAMP LOCK…` brings the virtual environment to the last lock named, unless the stamp
# says that it was already brought to exactly these files.
PREPARE = set -e; \
	venv=$${VENV:-.venv}; \
	fail() { printf '%s\n' "$$*" >&2; exit 2; }; \
	progress='/^(Collecting|Requirement already) / { if (++n % 12 == 0) \
			{ print "  " n " of " total " fetched"; fflush() } } \
		/^Installing collected/ { print "  unpacking"; fflush() } \
		/^(ERROR|  .*[Ee]rror)/ { print; fflush() } \
		/^exit / { failed = 1 } \
		END { exit failed }'; \
	new_enough() { "$$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }; \
	make_venv() { \
		for python in "$${PYTHON:-python3}" python3.11 python3.12 python3.13 python3.14; do \
			if new_enough "$$python"; then \
				echo "Creating $$venv with $$("$$python" --version)"; \
				"$$python" -m venv --clear "$$venv" \
					|| fail "Python's venv is not whole here: install the package python3-venv"; \
				return; \
			fi; \
		done; \
		fail 'Countersign needs Python 3.11 or newer: install it, or name it with PYTHON=...'; \
	}; \
	prepare() { \
		stamp="$$venv/$$1.sha256"; shift; for lock in "$$@"; do :; done; \
		sums=$$(sha256sum "$$@"); \
		if new_enough "$$venv/bin/python"; then \
			if [ "$$(cat "$$stamp" 2>/dev/null)" = "$$sums" ]; then return; fi; \
			"$$venv/bin/python" -m pip --version >/dev/null 2>&1 || make_venv; \
		else make_venv; fi; \
		total=$$(grep -c == "$$lock"); \
		echo "Installing $$total packages from $$lock (about a minute, only once)"; \
		{ "$$venv/bin/python" -m pip --disable-pip-version-check --no-input install --no-deps \
			--only-binary :all: --require-hashes -r "$$lock" 2>&1 || echo "exit $$?"; } \
			| awk -v total="$$total" "$$progress" \
			|| fail "The packages of $$lock could not be installed"; \
		printf '%s\n' "$$sums" > "$$stamp"; \
	}; \
	prepare_run() { prepare run requirements/run.txt; }; \
	prepare_dev() { \
		prepare dev requirements/run.txt requirements/dev.txt; \
		sha256sum requirements/run.txt > "$$venv/run.sha256"; \
	}

# `exec`: the supervisor is then make's own child, and sees when make goes away.
up:
	@$(PREPARE); prepare_run; exec "$$venv/bin/python" manage.py up

test:
	@$(PREPARE); prepare_dev; \
	browser=; \
	for name in chromium chromium-browser google-chrome google-chrome-stable; do \
		if command -v $$name >/dev/null; then browser=$$name; break; fi; \
	done; \
	if [ -z "$$browser" ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo 'Installing Chromium for the browser tests'; \
		{ apt-get -qq update && DEBIAN_FRONTEND=noninteractive \
			apt-get -qq install --no-install-recommends -y chromium; } >/dev/null 2>&1 || :; \
		browser=$$(command -v chromium || :); \
	fi; \
	[ -n "$$browser" ] || echo 'The browser tests will skip: install chromium to run them'; \
	exec "$$venv/bin/python" -m pytest $${ARGS:--n 3 --dist loadfile}

# No database is asked: DATA_DIR names none, so that a running `make up` is left alone.
lint:
	@$(PREPARE); prepare_dev; python="$$venv/bin/python"; \
	unset DATABASE_URL REDIS_URL; export DATA_DIR=/nonexistent SECRET_KEY=lint; \
	echo 'ruff check'; "$$python" -m ruff check --quiet .; \
	echo 'ruff format'; "$$python" -m ruff format --check --quiet .; \
	echo 'mypy'; "$$python" -m mypy --no-error-summary governance dashboards bench tests \
		clients/python/src; \
	echo 'import contracts'; \
	"$$python" -c 'import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())' \
		> "$$venv/imports.txt" || { cat "$$venv/imports.txt"; exit 1; }; \
	echo 'migrations'; "$$python" manage.py makemigrations --check --dry-run --skip-checks

bench:
	@$(PREPARE); prepare_dev; exec "$$venv/bin/python" -m bench $$ARGS

faults:
	@$(PREPARE); prepare_dev; exec "$$venv/bin/python" -m tests.faults $$ARGS

screenshots:
	@$(PREPARE); prepare_dev; exec "$$venv/bin/python" -m tests.browser.screenshots $$ARGS

lock:
	@$(PREPARE); prepare_dev; \
	uv() { "$$venv/bin/python" -m uv --quiet pip compile --universal --python-version 3.11 \
		--generate-hashes --no-header --no-emit-index-url --no-emit-find-links "$$@" >/dev/null; }; \
	uv pyproject.toml --extra demo -o requirements/run.txt; \
	uv pyproject.toml --extra demo --extra dev -c requirements/run.txt -o requirements/dev.txt; \
	echo 'Pinned: requirements/run.txt, requirements/dev.txt'
