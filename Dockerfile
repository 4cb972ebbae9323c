# Two images from one build: `warren` has every program, `sidecar` what an agent's pod and its node's runtime execute. Both
# are programs and the libraries that they load, upon nothing: no shell, no package manager.
#   make image                  or:  docker build --target warren --tag localhost/warren:VERSION .
# Built and run on amd64. Nothing here names an architecture, but arm64 is untested.
ARG BUILD_IMAGE=docker.io/library/swift:6.3.1-bookworm

FROM ${BUILD_IMAGE} AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        binutils bzip2 pkg-config python3-minimal \
        libsodium-dev libmnl-dev libnftnl-dev libsqlite3-dev libssl-dev libyaml-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY Package.swift ./
COPY Benchmarks ./Benchmarks
COPY Sources ./Sources
COPY Tests ./Tests
RUN for product in warren-cni warren-hub warren-injector warren-node warrend warren; do \
        swift build -c release --product "$product" || exit 1; \
        install -D -m 0755 ".build/release/$product" "/out/$product" || exit 1; \
    done
COPY .ci ./.ci
COPY LICENSE ./
# The plugin is copied to nodes, and needs nothing of them. LIBMNL_DIR: a folder with a libmnl.a, where Debian's source of it
# can't be had.
ARG LIBMNL_DIR=
RUN .ci/cni-static "$(command -v swift)" build && install -m 0755 .build-static/warren-cni /out/warren-cni
ARG VERSION=unknown
RUN .ci/image-tree /out /image "$VERSION" "$(command -v swift)"

FROM scratch AS sidecar
ARG VERSION=unknown
ARG REVISION=unknown
COPY --from=build /image/sidecar/ /
ENV PATH=/usr/local/bin
# The uid that owns each pod's warren0. By number, so that `runAsNonRoot` can see that it is none of root's.
USER 64738:64738
LABEL org.opencontainers.image.title="warren-sidecar" \
    org.opencontainers.image.description="Warren: a private, encrypted address for each agent. Sidecar and plugin." \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}" \
    dev.warren.sbom="/usr/share/sbom/sidecar.spdx.json" \
    dev.warren.tested-architectures="amd64"
CMD ["warrend", "--help"]

FROM sidecar AS warren
ARG VERSION=unknown
ARG REVISION=unknown
COPY --from=build /image/warren/ /
LABEL org.opencontainers.image.title="warren" \
    org.opencontainers.image.description="Warren: a private, encrypted address for each agent. All programs." \
    dev.warren.sbom="/usr/share/sbom/warren.spdx.json"
CMD ["warren", "--help"]
