# The everyday commands. Each target shows the plain command that it runs; `make` alone lists the targets.

.DEFAULT_GOAL := help
.PHONY: help demo test lint

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-6s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## Run the service with example data and a private Postgres, until Ctrl-C (ROLLCALL_TRACE is passed on)
	@sh scripts/postgres.sh >/dev/null
	cargo run -- demo

test: ## Run all tests, those against a private Postgres included
	@sh scripts/postgres.sh >/dev/null
	cargo test --workspace

lint: ## Check formatting, clippy, documentation and the API definitions
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --workspace
	buf=$$(sh scripts/buf.sh) && "$$buf" lint proto
