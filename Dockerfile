# syntax=docker/dockerfile:1
# The service alone, on an image with nothing but the C library, certificates and a user who is not root. It has no shell:
# `docker run IMAGE help` is how to look around.
#
#     docker build --tag rollcall .
#
# docs/supply-chain.md says how a release builds and signs it.

FROM rust:1.95-bookworm AS build
WORKDIR /build
COPY . .
# Line tables stay, so that a backtrace names lines; the rest of the debug information does not. The caches outlive the
# layer, so what is to be kept is copied out of them.
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/build/target \
    CARGO_PROFILE_RELEASE_DEBUG=line-tables-only CARGO_PROFILE_RELEASE_SPLIT_DEBUGINFO=off \
    cargo build --release --locked --package rollcall --bin rollcall \
    && cp target/release/rollcall /rollcall

# Its user `nonroot` is 65532, which Kubernetes has to know as a number to believe that it is not root.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /rollcall /usr/local/bin/rollcall
COPY LICENSE /usr/share/doc/rollcall/LICENSE
USER 65532:65532
EXPOSE 7400
# On its own address and nobody told apart it does not start: `--identity` has to be said.
ENV ROLLCALL_LISTEN=0.0.0.0:7400 ROLLCALL_LOG_FORMAT=json
ENTRYPOINT ["/usr/local/bin/rollcall"]
CMD ["serve"]
