# make demo    migrate a sample shop on a private PostgreSQL, and look at the result
# make test    every test
# make lint    formatting, clippy, the purity of the engine, documentation
# make bench   the benchmarks, against psql and the peers
# make instructions  counts the instructions of the hot paths and holds them against benches/instructions.txt
# make bench-rehearse  200 small migrations, forward, back and forward again, and unchanged
# make bench-traffic  what the application notices of a migration, against psql (takes some minutes)
# make image   builds the container image and weighs it (wants Docker)
# make torture kills the program and its server at every point and at random; ROUNDS=10000 for all of it, see below
#
# Each target first installs PostgreSQL server binaries where they are missing, and says so.

CARGO ?= cargo
MIGENGINE = target/release/migengine
# Where the demonstration runs, and keeps its journal. Its database stays between runs; see `migengine --help`.
DEMO = target/demo

.PHONY: demo test lint bench bench-peers instructions bench-rehearse bench-traffic image torture build postgres

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

# Everything benches/RESULTS.md tells of: psql and every peer that can be installed (benches/peers), whole processes by turns,
# medians, on the spot and over lines with a delay; and what the goals are held against. Tables and plots go to benches/.
# About 25 minutes on a quiet machine once the peers are installed. ONLY=local,jobs chooses sections of
# benches/compare/sections.py; QUICK=1 tries whether everything runs, in a minute.
bench: postgres build bench-peers
	$(CARGO) build --quiet --locked --release --package migengine-benches --bins
	python3 benches/compare/run.py

# Each in a folder of its own below target/peers. sqlx-cli and refinery are compiled, which takes some minutes each.
bench-peers:
	benches/peers/all.sh

# Guards the hot paths against becoming slower, by counting instructions: a busy machine does not change them.
instructions:
	benches/instructions.sh

bench-rehearse: postgres build
	$(CARGO) run --quiet --locked --release --package migengine-benches --bin rehearse

# All scenarios of a million rows take some ten minutes; SCALE=0.02 ONLY=reader,backfill looks whether it works.
bench-traffic: postgres build
	SCALE='$(SCALE)' ONLY='$(ONLY)' RATE='$(RATE)' LIMIT='$(LIMIT)' python3 benches/traffic/run.py

image:
	scripts/image.sh

ROUNDS ?= 100
SEED ?=
# The rows of the table to try, such as ONLY=1,8; every n-th case of a row only (the table says for which row each is);
# one kind of step in the kill matrix; how many servers are tortured at once.
ONLY ?=
STRIDE ?=
WIRE_STRIDE ?=
BYTE_STRIDE ?=
EVERY_BYTE_STRIDE ?=
PROGRAM_STRIDE ?=
DAMAGE_STRIDE ?=
KIND ?=
WORKERS ?=
TORTURE = ROUNDS SEED ONLY STRIDE WIRE_STRIDE BYTE_STRIDE EVERY_BYTE_STRIDE PROGRAM_STRIDE DAMAGE_STRIDE KIND WORKERS

# Optimised, with crash points (release builds have none). What is not given stays out of the environment.
torture: postgres
	$(foreach name,$(TORTURE),$(if $($(name)),$(name)='$($(name))')) \
		$(CARGO) test --locked --profile torture --package migengine --test torture torture -- --ignored --exact --nocapture

postgres:
	@scripts/need-postgres.sh
