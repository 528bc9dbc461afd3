# The image of a node: one binary on distroless, without a shell, for an unprivileged user and a read-only root.
# It names no architecture: `docker buildx build --platform linux/amd64,linux/arm64 .` builds both (docs/deploy.md).
FROM rust:1.95-bookworm AS build
WORKDIR /src

# The dependencies, built with an empty program: this layer is valid until a manifest changes. Layers rather than
# cache mounts, because every builder supports them and a registry can store them.
COPY Cargo.toml Cargo.lock ./
RUN mkdir src \
    && echo 'fn main() {}' > src/main.rs \
    && touch src/lib.rs \
    && cargo build --profile dist --locked --bin roomwire \
    && rm -r src

COPY config config
COPY src src
# Cargo compares modification times, and the sources may be older than the empty program.
RUN find src -type f -exec touch {} + \
    && cargo build --profile dist --locked --bin roomwire

FROM gcr.io/distroless/cc-debian12:nonroot
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Roomwire" \
      org.opencontainers.image.description="A stand-alone, clustered Socket.IO server" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="gcr.io/distroless/cc-debian12:nonroot"
COPY LICENSE-MIT LICENSE-APACHE /usr/share/doc/roomwire/
COPY --from=build /src/target/dist/roomwire /usr/local/bin/roomwire
# Loopback, the shipped default, would be unreachable in a container.
ENV ROOMWIRE_SERVER__BIND=0.0.0.0:8080
EXPOSE 8080
# The user nonroot, by number: Kubernetes cannot verify from a name that it is not root.
USER 65532:65532
HEALTHCHECK --interval=5s --timeout=4s --start-period=10s --retries=3 CMD ["/usr/local/bin/roomwire", "health"]
ENTRYPOINT ["/usr/local/bin/roomwire"]
