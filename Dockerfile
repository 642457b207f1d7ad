FROM rust:1.95-slim-bookworm AS build
WORKDIR /build
# The dependencies in a layer of their own: it is built again only when one of them changes.
COPY Cargo.toml Cargo.lock build.rs ./
# A member of the workspace must be there, also where it is not built.
COPY proof/Cargo.toml proof/
COPY private-postgres/Cargo.toml private-postgres/
RUN mkdir -p src proof/src private-postgres/src && touch proof/src/lib.rs private-postgres/src/lib.rs \
 && echo '//! Empty.' > src/lib.rs && echo '//! Empty.\nfn main() {}' > src/main.rs \
 && cargo build --release --locked
COPY .cargo .cargo
COPY .sqlx .sqlx
COPY migrations migrations
COPY private-postgres private-postgres
COPY src src
# The commit that the log names: `docker build --build-arg SOURCE_COMMIT=$(git rev-parse --short=12 HEAD) .`
ARG SOURCE_COMMIT
RUN touch src/lib.rs src/main.rs private-postgres/src/lib.rs && cargo build --release --locked \
 && strip target/release/customer-match

FROM debian:bookworm-slim
# The roots that a database's certificate is checked against.
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/*
COPY --from=build /build/target/release/customer-match /usr/local/bin/
# Nobody in particular; nothing is written, so the root file system may be read-only.
USER 65532:65532
ENV CUSTOMER_MATCH_LISTEN=0.0.0.0:8080
# For the health check, which clients cannot keep out there.
ENV CUSTOMER_MATCH_ADMIN_LISTEN=127.0.0.1:9464
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["customer-match", "healthcheck"]
ENTRYPOINT ["customer-match"]
CMD ["serve"]
