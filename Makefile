# Warren. `sudo make demo` and `sudo make test` do all the set-up on a fresh Debian 12 with a Swift 6.3 toolchain.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.ONESHELL:
MAKEFLAGS += --no-print-directory

# One configuration for the demo and the tests, so that nothing is built twice.
CONFIGURATION := release
BIN := .build/$(CONFIGURATION)

# Recipes that need the compiler begin with this. git refuses repositories of another user unless it is told
# (the checkouts below .build, when root builds what a user has built before).
define toolchain
swift=$$(SWIFT="$${SWIFT:-$(SWIFT)}" .ci/find-swift)
export PATH="$$(dirname "$$swift"):$$PATH" SWIFT_BACKTRACE=enable=no
export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0='*'
# What root builds under sudo belongs to the person who asked.
give_back() { if [ -n "$${SUDO_UID:-}" ]; then chown -Rf "$$SUDO_UID:$$SUDO_GID" .build* Package.resolved 2>/dev/null || true; fi; }
trap give_back EXIT
endef

# First among the prerequisites of what makes namespaces.
root:
	@if [ "$$(id -u)" != 0 ]; then echo "not root: run sudo make $(MAKECMDGOALS)" >&2; exit 1; fi

## demo: two pods, two NATs, one tunnel, live (KEEP=1 leaves it up); needs root
demo: root build
	@WARREN_BUILD="release build, commit $$(git -c safe.directory='*' rev-parse --short HEAD 2>/dev/null || echo unknown)" KEEP="$(KEEP)" $(BIN)/warren-demo

## demo-clean: remove what a kept or killed demo left; needs root
demo-clean: root
	@$(BIN)/warren-demo clean

## natlab: every pair of NATs with the real programs, and failures on the way (QUICK=1: minutes; CLASSES= CROSSINGS= TRIALS= LANES= PARTS=); needs root
natlab: root build
	@export WARREN_BUILD="release build, commit $$(git -c safe.directory='*' rev-parse --short HEAD 2>/dev/null || echo unknown)"
	export QUICK="$(QUICK)" CLASSES="$(CLASSES)" TRIALS="$(TRIALS)" LANES="$(LANES)" PARTS="$(PARTS)" OUT="$(OUT)"
	export CROSSINGS="$(CROSSINGS)" PATIENCE="$(PATIENCE)" REPEAT="$(REPEAT)" IDLE="$(IDLE)"
	# What else the machine does must not be what is measured.
	nice -n -10 $(BIN)/warren-natlab

## build: all programs and tests, in release
build: deps
	@$(toolchain)
	"$$swift" build -c $(CONFIGURATION) --build-tests

# Suites that measure, or have the machine's namespaces to themselves: one after the other.
ALONE := EndToEndTests|InteroperabilityTests|RelayFairnessTests|RuntimeTests
# Suites that start programs and wait for them, each on a thread of the pool that others' tasks need.
WAITING := ^BlockLeasingTests|^CNITests|^ClusterTests|^NodeAgentTests|^NodePortsTests|[.]TunSourceTests|[.]NameServerTests|InteroperabilityTests.*Rekey
# Suites that measure nothing finer than seconds: one after the other, in a runner of their own beside those that wait.
BESIDE := EndToEnd/Restarts|Interoperability/STUNTests

# Suites of servers and their clients, whose limits in time pass while others keep the pool's threads busy.
SERVING := ^HubTests|^KubernetesTests|^InjectorTests|^DirectoryTests

## test: everything: unit suites in parallel, then end to end in namespaces; needs root
test: root deps
	@$(toolchain)
	"$$swift" build -c $(CONFIGURATION) --build-tests
	status=0
	"$$swift" test -c $(CONFIGURATION) --skip-build --skip "$(ALONE)|$(WAITING)|$(SERVING)|TraversalTests" || status=1
	"$$swift" test -c $(CONFIGURATION) --skip-build --filter "$(SERVING)" --skip "$(ALONE)" || status=1
	# By itself: its simulations keep every processor busy for a minute, and others' clocks run.
	"$$swift" test -c $(CONFIGURATION) --skip-build --filter "TraversalTests" || status=1
	# The runner itself, as a second SwiftPM would wait for the first.
	$(BIN)/warrenPackageTests.xctest --testing-library swift-testing --filter "$(BESIDE)" --no-parallel > $(BIN)/beside.log 2>&1 & beside=$$!
	trap 'kill $$beside 2>/dev/null || true; give_back' EXIT
	"$$swift" test -c $(CONFIGURATION) --skip-build --filter "$(WAITING)" || status=1
	wait $$beside || status=1
	trap give_back EXIT
	cat $(BIN)/beside.log
	"$$swift" test -c $(CONFIGURATION) --skip-build --filter "$(ALONE)" --skip "$(WAITING)|$(BESIDE)" --no-parallel || status=1
	if [ $$status = 0 ]; then echo "make test: all passed"; else echo "make test: FAILED, see above" >&2; fi
	exit $$status

## test-sodium: the sidecar with libsodium and libmnl alone, on what is built; needs root
test-sodium: root build
	@$(toolchain)
	.ci/test-sodium "$$swift" $(CONFIGURATION)

## test-runtimes: the plugin and the sidecar under podman and containerd (FILTER=Suite narrows it); needs root
test-runtimes: root build
	@$(toolchain)
	"$$swift" test -c $(CONFIGURATION) --skip-build --filter "$(or $(FILTER),RuntimeTests)" --no-parallel

## soak: a thousand pods come and go while programs are killed (PODS= SEED=); needs root
soak: root build
	@$(toolchain)
	WARREN_CYCLES="$(or $(PODS),1000)" WARREN_SEED="$(SEED)" \
	    "$$swift" test -c $(CONFIGURATION) --skip-build --filter "RuntimeTests.*CycleTests" --no-parallel

## test-core: the fast loop: debug, without package dependencies (FILTER=Suite narrows it)
test-core: deps
	@$(toolchain)
	WARREN_CORE=1 "$$swift" test --scratch-path .build-core $(if $(FILTER),--filter '$(FILTER)')

## cni-static: the CNI plugin as one static executable, .build-static/warren-cni (LIBMNL_DIR= with a libmnl.a, else it is built)
cni-static: deps
	@$(toolchain)
	.ci/cni-static "$$swift"

## image: localhost/warren and localhost/warren-sidecar, with podman or docker (ENGINE=)
image:
	@.ci/image

## image-test: the Dockerfile on a base image made here, offline, and what comes out judged (half an hour; .build-image keeps the base); needs root
image-test: root build
	@.ci/deps image
	$(toolchain)
	.ci/image-test "$$swift" $(CONFIGURATION)

## sbom: what the image is made of, .build/image/warren/usr/share/sbom/warren.spdx.json (SPDX 2.3)
sbom: build
	@$(toolchain)
	.ci/image-tree $(BIN) .build/image "$$(.ci/version)" "$$swift"
	echo .build/image/warren/usr/share/sbom/warren.spdx.json

## install-yaml: manifests/install/warren.yaml anew, after a change in manifests/
install-yaml: deps
	@.ci/render manifests >manifests/install/warren.yaml

## fmt: format all Swift in place
fmt:
	@$(toolchain)
	"$$swift" format -i -r Sources Tests Benchmarks Package.swift

## lint: style and rules, strictly
lint:
	@$(toolchain)
	.ci/lint "$$swift"

## bench: our tunnel beside the ceiling, wireguard-go, nebula and openvpn, as ratios (QUICK=1: two minutes); needs root
bench: root bench-deps bench-build
	@QUICK="$(QUICK)" python3 Benchmarks/bench.py

## bench-integrity: bytes lost or changed, offloads on and off, both families, three MTUs (SIZE=MB a cell, FULL=1); needs root
bench-integrity: root bench-deps bench-build
	@SIZE="$(SIZE)" FULL="$(FULL)" QUICK="$(QUICK)" python3 Benchmarks/integrity.py

## order: which functions of the sidecar run, for the linker to put side by side, after larger changes; needs root
order: root bench-deps build
	@$(toolchain)
	python3 Benchmarks/order.py

## bench-relay: a relay's CPU beside the ceiling, by UDP and TLS, and 5,000 TLS members when it is killed (QUICK=1); needs root
bench-relay: root bench-deps
	@if [ -z "$${WARREN_BIN_DIR:-}" ]; then
	    $(toolchain)
	    for product in warren-hub warren-relay-load; do "$$swift" build -c $(CONFIGURATION) --product "$$product"; done
	fi
	QUICK="$(QUICK)" MEMBERS="$${MEMBERS:-}" python3 Benchmarks/relay.py

## bench-cni: ADD and DEL of the static plugin beside ptp with host-local, whole processes in one run (N=50, LIBMNL_DIR= as in cni-static); needs root
bench-cni: root bench-deps
	@if [ -z "$${WARREN_BIN_DIR:-}" ]; then
	    $(toolchain)
	    if LIBMNL_DIR="$(LIBMNL_DIR)" .ci/cni-static "$$swift"; then
	        export WARREN_BIN_DIR=$$PWD/.build-static
	    else
	        echo "bench-cni: no static plugin; this is the one with libraries, which starts 0.8 ms later" >&2
	        "$$swift" build -c $(CONFIGURATION) --product warren-cni
	    fi
	fi
	N="$(N)" python3 Benchmarks/cni.py

## bench-dns: answers of a pod's resolver by its thread's CPU, and what it adds to cluster names; needs root
bench-dns: root bench-deps
	@if [ -z "$${WARREN_BIN_DIR:-}" ]; then
	    $(toolchain)
	    for product in warren-cni warren-hub warrend warren; do "$$swift" build -c $(CONFIGURATION) --product "$$product"; done
	fi
	python3 Benchmarks/dns.py

bench-deps:
	@.ci/deps bench

# Only what is measured; WARREN_BIN_DIR names a folder of programs that are there already.
bench-build: bench-deps
	@if [ -n "$${WARREN_BIN_DIR:-}" ]; then exit 0; fi
	$(toolchain)
	"$$swift" build -c $(CONFIGURATION)

## deps: install the Debian packages that are missing
deps:
	@.ci/deps
	.ci/tools

## clean: remove what was built
clean:
	@rm -rf .build .build-core .build-static .build-image .build-tools

## help: this list
help:
	@sed -nE 's/^## ([a-z-]+): (.*)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

.PHONY: root demo demo-clean natlab build test test-sodium test-core fmt lint bench bench-integrity bench-relay bench-deps bench-build deps clean help cni-static order test-runtimes soak bench-cni bench-dns image image-test sbom install-yaml
