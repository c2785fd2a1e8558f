# The everyday commands. Each target shows the plain command that it runs; `make` alone lists the targets.

.DEFAULT_GOAL := help
.PHONY: help demo test replay-check bench lint

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## See it work: Postgres, the service and three apps; people leave and return (ROLLCALL_TRACE=FILE replays that file)
	@sh scripts/postgres.sh >/dev/null
	cargo run -- demo

test: ## Run all tests, those against a private Postgres included
	@sh scripts/postgres.sh >/dev/null
	cargo test --workspace

replay-check: ## Replay DATA/trace.csv, kill a follower on the way, compare all with DATA/roster.csv
	@sh scripts/postgres.sh >/dev/null
	ROLLCALL_DATA="$(DATA)" cargo test --test it replay_real -- --nocapture

bench: ## Measure the speed beside yardsticks of the same run, about ten minutes (docs/performance.md)
	@sh scripts/postgres.sh >/dev/null
	cargo bench --bench feed --bench writes --bench streams --bench replay

lint: ## Check formatting, clippy, documentation and the API definitions
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --workspace
	buf=$$(sh scripts/buf.sh) && "$$buf" lint proto && "$$buf" format -d --exit-code proto
