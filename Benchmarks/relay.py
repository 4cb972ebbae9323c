#!/usr/bin/env python3
"""`make bench-relay`: what a relay costs, beside the null-cipher ceiling of the same run, and how fast 5,000 come home again.

CPU: the relay's process, in seconds per GB that it has forwarded, by UDP and by TLS, between real members whose frames
come in bursts as a tunnel's do; the ceiling is nulltun.c at both ends under iperf3, as in `make bench`. Repetitions are
interleaved, every other one backwards. Then 5,000 members at home at one relay by TLS, in one process, when it is killed.
Prints medians, spreads and ratios, and holds them to thresholds.json; status 1 when one is missed. QUICK=1: one short
repetition, and 1,000 members. Needs root.
"""
import json
import os
import signal
import subprocess
import sys
import time

import harness
from figures import Figure, Series, short, table
from harness import Cable, binary, on_exit, run, scratch_folder
from measures import Traffic
from tunnels import Null

QUICK = os.environ.get('QUICK', '') not in ('', '0')
REPETITIONS = 1 if QUICK else 5
SECONDS = 2 if QUICK else 4
MEMBERS = int(os.environ.get('MEMBERS') or ('1000' if QUICK else '5000'))


class Relay:
    """`warren-hub relay` in a namespace, for a mesh whose authority's key the load has."""

    def __init__(self, side, address, ports, authority, *options):
        tls, udp = ports
        self.folder = scratch_folder()
        self.child = side.spawn(
            [binary('warren-hub'), 'relay', '--dir', f'{self.folder}/relay', '--mesh', 'bench', '--authority-key',
             authority, '--udp', f'{address}:{udp}', '--tls', f'{address}:{tls}', '--listen', f'{address}:{tls}',
             '--relay-listen', f'{address}:{udp}', *options],
            log=f'{self.folder}/log')
        for _ in range(100):
            text = open(f'{self.folder}/log').read()
            if 'health: on' in text:
                break
            time.sleep(0.05)
        else:
            raise RuntimeError(f'the relay did not start: {text.strip()}')
        advertised = text.split('--relay ')[1].split()[0]
        first, tls_address, pin = advertised.split(',')
        identifier, udp_endpoint = first.split('@')
        self.argument = f'{identifier}@{udp_endpoint}@{tls_address}@{pin}'
        self.pid = self.process()

    def process(self):
        """ip-netns(8) has become the program itself."""
        return self.child.pid


class Authority:
    def __init__(self):
        self.folder = f'{scratch_folder()}/hub'
        text = run([binary('warren-hub'), 'init', '--dir', self.folder, '--mesh', 'bench', '--prefix',
                    'fd12:3456:789a::/48', '--address', '10.99.2.2:1', '--relay', '10.99.2.2:1'])
        self.key = text.split('authority key')[1].split()[0]


def flow(relay, authority, accounts, load, transport, burst=44):
    """One measurement: bytes through the relay and what its process took for them."""
    before = accounts.processes([relay.pid])
    text = load.run([binary('warren-relay-load'), 'flow', '--dir', authority.folder, '--relay', relay.argument,
                     '--transport', transport, '--pairs', '2', '--seconds', str(SECONDS), '--burst', str(burst)])
    cpu = accounts.processes([relay.pid]) - before
    figures = json.loads(text)
    gigabytes = figures['bytes'] / 1e9
    return {'s_per_gb': cpu / gigabytes, 'gbit': gigabytes * 8 / SECONDS}


def rehome(side, authority):
    """MEMBERS at home at the first relay, which is killed. All are on loopback, with fifty addresses between them."""
    relays = [Relay(side, '127.0.0.1', (7443 + index, 3478 + index), authority.key) for index in range(2)]
    load = subprocess.Popen(
        side.prefix([binary('warren-relay-load'), 'flock', '--dir', authority.folder, '--clients', str(MEMBERS),
                     '--relay', relays[0].argument, '--relay', relays[1].argument]),
        stdout=subprocess.PIPE, text=True, preexec_fn=lambda: raise_limit())
    on_exit(load.kill)
    ready = load.stdout.readline().split()
    if not ready or ready[0] != 'ready':
        raise RuntimeError('the members did not register')
    time.sleep(1)
    os.kill(relays[0].pid, signal.SIGKILL)
    figures = json.loads(load.stdout.readline())
    load.wait()
    for relay in relays:
        relay.child.terminate()
        relay.child.wait()
    print(f'rehome {figures["moved"]} of {figures["clients"]} members, registered in {float(ready[1]):.1f} s; '
          f'home again after: p50 {figures["p50"]:.2f} s, p99 {figures["p99"]:.2f} s, last {figures["max"]:.2f} s; '
          f'{figures["attempts"]} connections in all', flush=True)
    return figures['max'] if figures['all'] else float('nan')


def raise_limit():
    import resource
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main():
    harness.begin()
    raise_limit()
    accounts = harness.Accounts()
    authority = Authority()
    null = Null('null cipher', 0, mtu=1420)
    cable = Cable(1)
    load, side = cable.sides
    relay = Relay(side, side.address, (7443, 3478), authority.key, '--relay-agent-bandwidth', '100000')
    traffic = Traffic(accounts)
    cells = {
        'ceiling': lambda: {key: traffic.tcp(null, SECONDS, 1)[key] for key in ('daemon_s_per_gb', 'gbit')},
        'udp': lambda: flow(relay, authority, accounts, load, 'udp'),
        'tls': lambda: flow(relay, authority, accounts, load, 'tls'),
        'udp, single datagrams': lambda: flow(relay, authority, accounts, load, 'udp', burst=1),
    }
    samples = {name: [] for name in cells}
    print(f'# {REPETITIONS} interleaved repetition(s) of {SECONDS} s; frames of 1,472 bytes', flush=True)
    for repetition in range(REPETITIONS):
        names = list(cells)
        for name in names if repetition % 2 == 0 else names[::-1]:
            samples[name].append(cells[name]())
    keys = {'ceiling': 'daemon_s_per_gb'}
    for name, taken in samples.items():
        print(f'{name:24}' + '  '.join(f'{key} {Series(sample[key] for sample in taken)}' for key in taken[0]))
    print(f'relay resident: {harness.resident(relay.pid):.1f} MiB')
    ceiling = Series(sample['daemon_s_per_gb'] for sample in samples['ceiling'])
    figures = [
        Figure(f'relay-{name}', f'relay CPU per GB, {name.upper()}', 's/GB',
               Series(sample['s_per_gb'] for sample in samples[name]), 'null cipher, both ends', ceiling)
        for name in ('udp', 'tls')]
    last = rehome(load, authority)
    figures.append(
        Figure('relay-rehomed', f'{MEMBERS:,} TLS members home again after a kill, the last', 's', Series([last])))
    print()
    print(table([['figure', 'ours', 'beside', 'ratio', 'bar', 'aim', ''], *(figure.cells() for figure in figures)]))
    single = Series(sample['s_per_gb'] for sample in samples['udp, single datagrams'])
    print(f'\nwithout segmentation (each datagram received and sent by itself): {single} s/GB, '
          f'{single.median / ceiling.median:.2f}x')
    failed = [figure.name for figure in figures if not figure.passed]
    print(f'make bench-relay: {"missed " + ", ".join(failed) if failed else "all bars met"}')
    return 1 if failed else 0


sys.exit(main())
