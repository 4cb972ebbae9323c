# All programs in one image: `docker build -t warren .`
FROM swift:6.3-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        bzip2 pkg-config libsodium-dev libmnl-dev libnftnl-dev libsqlite3-dev libssl-dev libyaml-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY Package.swift ./
COPY Benchmarks ./Benchmarks
COPY Sources ./Sources
COPY Tests ./Tests
RUN for product in warren-cni warren-hub warren-injector warren-node warrend warren; do \
        swift build -c release --product "$product" || exit 1; \
        install -D -s -m 0755 ".build/release/$product" "/out/$product"; \
    done
# The plugin is copied to nodes, and needs nothing of them.
COPY .ci/cni-static ./.ci/cni-static
RUN .ci/cni-static "$(command -v swift)" && install -D -m 0755 .build-static/warren-cni /out/warren-cni

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends libsodium23 libmnl0 libnftnl11 libsqlite3-0 libssl3 libyaml-0-2 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /out/ /usr/local/bin/
USER 64738:64738
CMD ["warrend", "--help"]
