#!/usr/bin/env python3
"""`make bench`: our tunnel beside plain veth, the null-cipher ceiling, wireguard-go, nebula and OpenVPN, in one run.

Every repetition visits all in turn, every other one backwards, so that a change of the machine's pace hits all alike.
Prints medians, spreads and ratios, and holds them to thresholds.json; status 1 when one is missed. Writes the samples
to results/. With QUICK=1 one short repetition, else three, and five of what varies most. Needs root.
"""
import json
import math
import os
import platform
import re
import sys
import time

import harness
import sidecar
from figures import Figure, Series, short, table
from measures import Traffic, ping_idle, ping_loaded
from tunnels import Nebula, Null, OpenVPN, Ours, Plain, WireGuard

QUICK = os.environ.get('QUICK', '') not in ('', '0')
REPETITIONS = 1 if QUICK else 3
MTU = 1420
CROWD = 100 if QUICK else 1000


def describe_machine():
    model = re.search(r'model name\s*:\s*(.*)', open('/proc/cpuinfo').read())
    memory = int(re.search(r'MemTotal:\s+(\d+)', open('/proc/meminfo').read()).group(1)) / 2**20
    avx512 = ' avx512f ' in open('/proc/cpuinfo').read()
    system = re.search(r'PRETTY_NAME="(.*)"', open('/etc/os-release').read())
    return (f'{os.cpu_count()} x {model.group(1) if model else platform.machine()}'
            f'{" (AVX-512)" if avx512 else ""}, {memory:.0f} GiB, Linux {platform.release().split("-")[0]}, '
            f'{system.group(1) if system else "?"}')


def micro_benchmarks():
    """What warren-bench prints, and as {('seal', 'openssl', '64'): nanoseconds, …}."""
    text = harness.run([harness.binary('warren-bench'), '1' if QUICK else '3'])
    return text, {tuple(line.split()[:-1]): float(line.split()[-1]) for line in text.splitlines()}


def set_up(libraries):
    kinds = [('plain veth', Plain, {}), ('null cipher', Null, {}), ('wireguard-go', WireGuard, {}),
             ('nebula', Nebula, {}), ('openvpn', OpenVPN, {})]
    kinds += [(f'ours, {library}', Ours, {'library': library}) for library in libraries]
    tunnels = []
    for number, (name, kind, options) in enumerate(kinds):
        try:
            tunnels.append(kind(name, number, mtu=MTU, **options))
        except (OSError, RuntimeError) as error:
            print(f'# {name} did not start: {error}', flush=True)
    return tunnels


def measure_all(tunnels, accounts):
    traffic = Traffic(accounts)
    long, brief = (1.5, 1) if QUICK else (4, 3)
    tests = {
        'tcp1': lambda tunnel: traffic.tcp(tunnel, math.ceil(long), 1),
        'tcp4': lambda tunnel: traffic.tcp(tunnel, math.ceil(long), 4),
        'small': lambda tunnel: traffic.udp(tunnel, math.ceil(brief), 0),
        'paced': lambda tunnel: traffic.udp(tunnel, math.ceil(brief), 20_000 * 64 * 8),
        'rtt': lambda tunnel: ping_idle(tunnel, brief),
        'loaded': lambda tunnel: ping_loaded(tunnel, long),
    }
    samples = {test: {tunnel.name: [] for tunnel in tunnels} for test in tests}
    for test, measure in tests.items():
        # How long one waits behind a busy processor varies most.
        for repetition in range(REPETITIONS + (2 if test == 'loaded' and not QUICK else 0)):
            for tunnel in tunnels if repetition % 2 == 0 else tunnels[::-1]:
                try:
                    sample = measure(tunnel)
                except Exception as error:
                    print(f'# {test}, {tunnel.name}: {type(error).__name__} {error}', flush=True)
                    sample = None
                samples[test][tunnel.name].append(sample)
        for tunnel in tunnels:
            print_samples(test, tunnel.name, samples[test][tunnel.name])
    return samples


def series(samples, test, name, key):
    """The samples of one number; empty where the program did not run."""
    return Series(sample[key] if sample else math.nan for sample in samples[test].get(name, []))


def print_samples(test, name, taken):
    keys = next((list(sample) for sample in taken if sample), [])
    parts = [f'{key} {Series(sample[key] if sample else math.nan for sample in taken)}' for key in keys]
    print(f'{test:7}{name:17}{"  ".join(parts)}', flush=True)


def judge(samples, tunnels, libraries, micro, pod):
    """The figures. Those without a library in their title are of the library that a daemon takes by itself."""
    best = f'ours, {libraries[-1]}'

    def of(test, name, key):
        return series(samples, test, name, key)

    def ratio(name, title, unit, test, key, peer, ours=best):
        return Figure(name, title, unit, of(test, ours, key), peer, of(test, peer, key))

    figures = []
    for library, shown in (('openssl', 'OpenSSL'), ('ipsecmb', 'libipsec-mb')):
        if library in libraries:
            figures.append(ratio(f'cpu-{library}', f'daemon CPU per GB, TCP, {shown}', 's/GB', 'tcp1', 'daemon_s_per_gb',
                                 'null cipher', f'ours, {library}'))
    figures += [
        ratio('tcp1', 'TCP, 1 stream', 'Gbit/s', 'tcp1', 'gbit', 'wireguard-go'),
        ratio('tcp4', 'TCP, 4 streams', 'Gbit/s', 'tcp4', 'gbit', 'wireguard-go'),
        ratio('small-received', '64-byte UDP received', 'kpps', 'small', 'kpps', 'nebula'),
        ratio('small-cpu', 'daemon CPU per small packet, 20 kpps', 'us', 'paced', 'daemon_us_per_packet', 'nebula'),
    ]
    plain = of('rtt', 'plain veth', 'p50')
    for peer in ('openvpn', 'wireguard-go'):
        figures.append(Figure(
            f'rtt-{peer}', 'RTT p50 added to plain veth', 'us', of('rtt', best, 'p50').minus(plain), peer,
            of('rtt', peer, 'p50').minus(plain)))
    figures.append(ratio('rtt-loaded', 'RTT p50 under a TCP stream', 'us', 'loaded', 'p50', 'wireguard-go'))
    ours = [tunnel for tunnel in tunnels if tunnel.name.startswith('ours')]
    after = [value for tunnel in ours for value in tunnel.memory_after]
    growth = [value - idle for tunnel in ours for value, idle in zip(tunnel.memory_after, tunnel.idle_memory)]
    # The worst of all our daemons, not their median.
    for name, title, values in (('memory-after', 'resident after load', after),
                                ('memory-growth', 'resident growth over idle', growth)):
        worst = Series([max(values, default=math.nan)])
        figures.append(Figure(name, f'{title}, worst daemon', 'MiB', worst))
    for name, title, value in (
            ('sidecar-after', 'after load', pod['after']),
            ('sidecar-growth', 'growth by load', pod['after'] - pod['known'])):
        figures.append(Figure(name, f'sidecar that knows {CROWD}, {title}', 'MiB', Series([value])))
    figures.append(
        Figure('handshakes', 'handshakes per second per core', '', Series([micro[('handshakes-per-second',)]])))
    return figures


def print_micro(micro, libraries):
    sizes = sorted({int(key[2]) for key in micro if key[0] == 'seal'})
    rows = [['AEAD, ns a call (seal / open)'] + [f'{size} B' for size in sizes] + ['used from']]
    for library in libraries:
        cells = [f'{short(micro[("seal", library, str(size))])} / {short(micro[("open", library, str(size))])}'
                 for size in sizes]
        start = micro.get(('break-even', library))
        rows.append([library, *cells, '-' if start is None else f'{start:.0f} B' if start else 'never'])
    print(table(rows))
    rows = [['sending a UDP datagram, ns of CPU', 'one unconnected socket', 'a connected one a peer', 'ratio']]
    for kind, shown in (('single', '128 B, one a call'), ('gso', '1452 B, 40 a call')):
        for peers in ('1', '64'):
            ours, theirs = (micro[('send', socket, kind, peers)] for socket in ('unconnected', 'connected'))
            rows.append([f'{shown}, {peers} peer{"s" if peers != "1" else ""}', short(ours), short(theirs),
                         f'{short(ours / theirs)}x'])
    print(f'\n{table(rows)}')


def measure_sidecar():
    """The memory of a joined sidecar; nan where that failed."""
    try:
        pod = sidecar.measure(CROWD, 1 if QUICK else 3)
    except Exception as error:
        print(f'# sidecar: {type(error).__name__} {error}', flush=True)
        return dict.fromkeys(('joined', 'known', 'after', 'peers'), math.nan)
    print(f'memory sidecar          joined {short(pod["joined"])}  knows {pod["peers"]} agents {short(pod["known"])}  '
          f'after load {short(pod["after"])} MiB', flush=True)
    return pod


def main():
    harness.begin()
    started = time.time()
    machine = describe_machine()
    print(f'# {machine}; {REPETITIONS} interleaved repetition(s), MTU {MTU}', flush=True)
    accounts = harness.Accounts()
    text, micro = micro_benchmarks()
    libraries = [library for library in ('libsodium', 'openssl', 'ipsecmb') if ('seal', library, '64') in micro]
    for library, reason in (('openssl', 'libcrypto.so.3 is missing'),
                            ('ipsecmb', 'no AVX-512, or libIPSec_MB.so.1 or its header at build time is missing')):
        if library not in libraries:
            print(f'# {library} is left out: {reason}')
    tunnels = set_up(libraries)
    samples = measure_all(tunnels, accounts)
    for tunnel in tunnels:
        tunnel.memory_after = tunnel.memory()
        if tunnel.pids:
            print(f'memory {tunnel.name:17}idle {" ".join(map(short, tunnel.idle_memory))}  '
                  f'after {" ".join(map(short, tunnel.memory_after))} MiB')
    for tunnel in tunnels:
        tunnel.remove()
    pod = measure_sidecar()
    figures = judge(samples, tunnels, libraries, micro, pod)
    print(f'\nours is {libraries[-1]} unless named; ratios are of medians, [..] over the repetitions\n')
    print(table([['figure', 'ours', 'beside', 'ratio', 'bar', 'aim', ''], *(figure.cells() for figure in figures)]))
    print()
    print_micro(micro, libraries)
    failed = [figure for figure in figures if not figure.passed]
    folder = f'{harness.FOLDER}/results'
    os.makedirs(folder, exist_ok=True)
    path = f'{folder}/{time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(started))}.json'
    with open(path, 'w') as file:
        json.dump({
            'machine': machine, 'repetitions': REPETITIONS, 'mtu': MTU, 'samples': samples, 'micro': text.splitlines(),
            'memory': {tunnel.name: {'idle': tunnel.idle_memory, 'after': tunnel.memory_after} for tunnel in tunnels},
            'sidecar': {key: None if math.isnan(value) else value for key, value in pod.items()},
            'figures': [figure.record() for figure in figures]}, file, indent=1)
    print(f'\n{time.time() - started:.0f} s; samples in {os.path.relpath(path, harness.ROOT)}')
    if failed:
        print(f'make bench: {len(failed)} of {len(figures)} figures miss their bar: '
              f'{", ".join(figure.name for figure in failed)}')
    else:
        print(f'make bench: all {len(figures)} bars met')
    return 1 if failed else 0


sys.exit(main())
