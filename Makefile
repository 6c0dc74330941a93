# make demo    migrate a sample shop on a private PostgreSQL, and look at the result
# make test    every test
# make lint    formatting, clippy, the purity of the engine, documentation
# make bench   the benchmarks
# make bench-traffic  what the application notices of a migration, against psql (takes some minutes)
# make torture kills the program and its server at every point and at random; see ROUNDS, SEED, STRIDE and ONLY below
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

# Plain `cargo test`, on purpose: the tests of a file are one process and share a server, which a process for each test
# could not.
test: postgres
	@scripts/need-postgres.sh --with-pgbouncer
	$(CARGO) test --locked

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	$(CARGO) check --locked --package migengine-engine --no-default-features
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --workspace --no-deps --document-private-items

# Against psql (and sqlx-cli, where it is installed), interleaved, medians: on the spot, and over a line with a round trip
# of 20 ms.
bench: postgres build
	$(CARGO) run --locked --release --package migengine-benches --bin compare -- 1000 0 3
	$(CARGO) run --locked --release --package migengine-benches --bin compare -- 200 20 3

bench-traffic: postgres build
	python3 benches/traffic/run.py

ROUNDS ?= 100
SEED ?=
# Every n-th case of the exhaustive rows (WIRE_STRIDE: of the cuts), and the rows to try, such as ONLY=1,8.
STRIDE ?=
WIRE_STRIDE ?=
ONLY ?=

# A debug build: release builds have no crash points.
torture: postgres
	ROUNDS='$(ROUNDS)' SEED='$(SEED)' STRIDE='$(STRIDE)' WIRE_STRIDE='$(WIRE_STRIDE)' ONLY='$(ONLY)' \
		$(CARGO) test --locked --package migengine --test torture torture -- --ignored --nocapture

postgres:
	@scripts/need-postgres.sh
