# make demo    migrate a sample shop on a private PostgreSQL, and look at the result
# make test    every test
# make lint    formatting, clippy, the purity of the engine, documentation
# make bench   the benchmarks
# make bench-traffic  what the application notices of a migration, against psql (takes some minutes)
# make torture kills the program at random points; ROUNDS and SEED are passed on
#
# Each target first installs PostgreSQL server binaries where they are missing, and says so.

CARGO ?= cargo
MIGENGINE = target/release/migengine
# Where the demonstration runs, and keeps its journal. Its database stays between runs; see `migengine --help`.
DEMO = target/demo

.PHONY: demo test lint bench bench-traffic torture build postgres

demo: postgres build
	@mkdir -p $(DEMO)
	@# The sample is public, the settings of your own databases have no place here.
	@set -e; cd $(DEMO); unset DATABASE_URL MIGENGINE_JOURNAL; export MIGENGINE_DIR=../../migrations; \
	say() { printf '\n$$ migengine --embedded %s\n' "$$*"; ../../$(MIGENGINE) --embedded$(DEMO_STATE) "$$@"; }; \
	say plan; \
	say apply --yes; \
	say status; \
	say journal show

# `--embedded=DIR` where DEMO_DIR is given, the user's state folder otherwise.
DEMO_STATE = $(if $(DEMO_DIR),=$(DEMO_DIR))

build:
	$(CARGO) build --release --locked --package migengine

# One process for each test where nextest is at hand; it runs no documentation tests.
test: postgres
	@if $(CARGO) nextest --version >/dev/null 2>&1; then \
		echo '$(CARGO) nextest run --locked'; \
		$(CARGO) nextest run --locked && $(CARGO) test --locked --doc; \
	else \
		echo '$(CARGO) test --locked'; \
		$(CARGO) test --locked; \
	fi

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	$(CARGO) check --locked --package migengine-engine --no-default-features
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --workspace --no-deps --document-private-items

bench: postgres
	$(CARGO) bench --locked --package migengine-benches

bench-traffic: postgres build
	python3 benches/traffic/run.py

ROUNDS ?= 100
SEED ?=

torture: postgres
	ROUNDS='$(ROUNDS)' SEED='$(SEED)' $(CARGO) test --locked --release --package migengine --test torture -- --ignored --nocapture

postgres:
	@scripts/need-postgres.sh
