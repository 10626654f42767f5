# syntax=docker/dockerfile:1
# One image, two programs: the worker runs by default, the operator's `tenantry` lies beside it.

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
# The target directory is a cache and gone after this step, so the programs are copied out of it.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked -p tenantry -p tenantry-worker \
    && install -D -t /out target/release/tenantry target/release/tenantry-worker

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /out/ /usr/bin/
USER 65532
STOPSIGNAL SIGTERM
HEALTHCHECK CMD ["/usr/bin/tenantry-worker", "healthcheck"]
ENTRYPOINT ["/usr/bin/tenantry-worker"]
CMD ["run"]
