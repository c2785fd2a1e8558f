# The everyday commands. Each target shows the plain command that it runs; `make` alone lists the targets. All build the whole
# workspace: a part of it alone has other features, and would be built anew.

.DEFAULT_GOAL := help
.PHONY: help demo test replay-check import-check chaos races model faults failover upgrade soak prober conformance bench deny lint mutants fuzz

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## See it work: Postgres, the service and three apps; people leave and return (ROLLCALL_TRACE=FILE replays that file)
	@sh scripts/postgres.sh >/dev/null
	$(or $(PROGRAM),cargo run --) demo

test: ## Run all tests, those against a private Postgres included
	@sh scripts/postgres.sh >/dev/null
	@sh scripts/faketime.sh >/dev/null || true
	@sh scripts/proxies.sh >/dev/null || true
	cargo test --workspace --no-fail-fast

replay-check: ## Replay DATA/trace.csv, kill followers and apps on the way and cut them off, compare all with DATA/roster.csv
	@sh scripts/postgres.sh >/dev/null
	cargo build --workspace --examples
	ROLLCALL_DATA="$(DATA)" cargo test --workspace --test it -- replay_real:: replay_apps:: --nocapture

import-check: ## Import DATA/roster.csv, export it again and compare
	@sh scripts/postgres.sh >/dev/null
	ROLLCALL_DATA="$(DATA)" cargo test --workspace --test it a_real_roster -- --nocapture

chaos: ## Kill replicas under 64 writers until CHANGES changes are made, and judge what was recorded (SEED=1 CHANGES=100000)
	@sh scripts/postgres.sh >/dev/null
	ROLLCALL_CHAOS_CHANGES="$(or $(CHANGES),100000)" ROLLCALL_CHAOS_SEED="$(or $(SEED),1)" cargo test --workspace --release --test it c1_to_c5 -- --nocapture

races: ## Run each race ROUNDS times (ROUNDS=1000)
	@sh scripts/postgres.sh >/dev/null
	ROLLCALL_ROUNDS="$(or $(ROUNDS),1000)" cargo test --workspace --test it -- races:: r14_of_two r35_of_twenty r48_the_seats r54_of_accepting --nocapture

model: ## Compare SEQUENCES of random commands with a model of the rules, from SEED on (SEED=1 SEQUENCES=3000)
	@sh scripts/postgres.sh >/dev/null
	ROLLCALL_MODEL_SEQUENCES="$(or $(SEQUENCES),3000)" ROLLCALL_MODEL_SEED="$(or $(SEED),1)" cargo test --workspace --test it random_commands_do_what -- --nocapture

faults: ## Run all faults at full size but those of fuzz, one after the other, and print the figures of docs/faults.md
	@sh scripts/postgres.sh >/dev/null
	@sh scripts/faketime.sh >/dev/null || true
	@sh scripts/proxies.sh >/dev/null || true
	ROLLCALL_FAULTS=full ROLLCALL_CHAOS_CHANGES=100000 cargo test --workspace --release --test it -- faults:: chaos:: strange:: t25_ \
		forged_cursors receipts_are_of c6_ c7_ c8_ c11_ c12_a_first c13_ --nocapture --test-threads 1

failover: ## Lose the primary KILLS times under load, with a synchronous standby and with an asynchronous one (KILLS=20)
	@sh scripts/postgres.sh >/dev/null
	ROLLCALL_FAILOVER_KILLS="$(or $(KILLS),20)" cargo test --workspace --test it -- faults::primary --nocapture --test-threads 1

upgrade: ## Build an earlier release (FROM=REF) and replace its replicas by this one's under load (docs/upgrade.md)
	@sh scripts/postgres.sh >/dev/null
	sh scripts/upgrade.sh "$(FROM)"

soak: ## Run a mixed load for MINUTES and print by how much the memory of service and replica grows (MINUTES=30)
	@sh scripts/postgres.sh >/dev/null
	ROLLCALL_SOAK_MINUTES="$(or $(MINUTES),30)" cargo test --workspace --release --test it -- t38_ --nocapture

prober: ## Measure from outside for how long anybody is let in after they are out, ROUNDS times with a fault (SEED=1 ROUNDS=240)
	@sh scripts/postgres.sh >/dev/null
	cargo build --workspace --examples
	ROLLCALL_PROBER_ROUNDS="$(or $(ROUNDS),240)" ROLLCALL_PROBER_SEED="$(or $(SEED),1)" cargo test --workspace --test it faults::prober -- --nocapture

conformance: ## Try every broken instance against every clause of docs/consumer-contract.md, some minutes
	@sh scripts/postgres.sh >/dev/null
	ROLLCALL_CONFORMANCE=full cargo test --workspace --test it conformance:: -- --nocapture --test-threads 1

bench: ## Measure the speed beside yardsticks of the same run, about fifteen minutes (docs/performance.md)
	@sh scripts/postgres.sh >/dev/null
	cargo bench --workspace --bench feed --bench writes --bench streams --bench replay --bench enforcement --bench access --bench telemetry

deny: ## Look at licences, sources and advisories of what Rollcall is built from, by cargo-deny (docs/supply-chain.md)
	sh scripts/deny.sh

fuzz: ## Run each fuzzer for SECONDS and print its executions and crashes (SECONDS=60; fuzz/README.md)
	sh scripts/fuzz.sh "$(or $(SECONDS),60)"

mutants: ## Change the rules in one place at a time, and count which changes their tests notice (about an hour)
	sh scripts/mutants.sh

lint: ## Check formatting, clippy, documentation and the API definitions
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --workspace
	buf=$$(sh scripts/buf.sh) && "$$buf" lint proto && "$$buf" format -d --exit-code proto
