#!/usr/bin/env python3
"""`make bench-dns`: what a pod's resolver answers and adds, in the sidecar as it is shipped.

    hub, its dnsmasq (10.97.0.1) ── bridge ── pod-a: dnsperf or our client ── 169.254.53.53 ── warrend sidecar

Answers a second are dnsperf's count by the CPU time of the thread that answers, so that neither the load's own CPU nor a
shared machine is in it: names of the mesh, and names that are passed on to dnsmasq. What is added is the difference of
medians of one query at a time, by the resolver and straight to dnsmasq, taking turns. Then the same while junk comes in.
Prints figures held to thresholds.json; status 1 when one is missed. SECONDS a load (5), N queries (4000). Needs root.
"""
import json
import os
import statistics
import subprocess
import sys
import time

import harness
from figures import Figure, Series, table
from sidecar import Mesh, wait

SECONDS, N = int(os.environ.get('SECONDS') or 5), int(os.environ.get('N') or 4000)
RESOLVER, UPSTREAM, DOMAIN = '169.254.53.53', '10.97.0.1', 'bench.warren.internal'
MESH_NAME, CLUSTER_NAME = f'pod-b.{DOMAIN}', 'api.default.svc.cluster.local'
TICKS = os.sysconf('SC_CLK_TCK')

# Prints microseconds of each query: to the first server and to the second, in turns.
CLIENT = '''
import socket, sys, time
name, servers, count = sys.argv[1], sys.argv[2:4], int(sys.argv[4])
question = b''.join(bytes([len(l)]) + l.encode() for l in name.split('.')) + bytes([0, 0, 1, 0, 1])
sockets = []
for server in servers:
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.connect((server, 53))
    s.settimeout(2)
    sockets.append(s)
for turn in range(count):
    line = []
    for s in sockets if turn % 2 else sockets[::-1]:
        ident = turn.to_bytes(2, 'big')
        start = time.perf_counter()
        s.send(ident + bytes([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]) + question)
        answer = s.recv(4096)
        line.append((time.perf_counter() - start) * 1e6)
        if answer[:2] != ident or answer[3] & 15:
            sys.exit(f'wrong answer: {answer!r}')
    print(*(line if turn % 2 else line[::-1]))
'''

# Malformed datagrams of all sorts, for as long as it is let.
JUNK = '''
import random, socket, sys
random.seed(1)
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.connect((sys.argv[1], 53))
seed = bytes.fromhex('123401000001000000000000') + b'\\x03api\\x07default\\x00\\x00\\x01\\x00\\x01'
while True:
    bytes_ = bytearray(seed)
    for _ in range(random.randint(1, 6)):
        bytes_[random.randrange(len(bytes_))] = random.choice((0, 0x3f, 0xc0, 0xff, random.randrange(256)))
    try:
        s.send(bytes_[:random.randint(0, len(bytes_))])
    except OSError:
        pass
'''


def thread_seconds(pid):
    """CPU of the sidecar's DNS thread."""
    for task in os.listdir(f'/proc/{pid}/task'):
        with open(f'/proc/{pid}/task/{task}/stat') as file:
            head, tail = file.read().rsplit(')', 1)
        if head.endswith('(warren-dns'):
            fields = tail.split()
            return (int(fields[11]) + int(fields[12])) / TICKS
    raise RuntimeError('the sidecar has no DNS thread')


def load(pod, folder, name):
    """Answers by dnsperf, and the thread's CPU seconds for them."""
    path = f'{folder}/queries'
    with open(path, 'w') as file:
        file.write(f'{name} A\n{name} AAAA\n')
    before = thread_seconds(pod.pid)
    text = pod.run(['dnsperf', '-s', RESOLVER, '-d', path, '-l', str(SECONDS), '-c', '4', '-q', '50'])
    used = thread_seconds(pod.pid) - before
    fields = {line.split(':')[0].strip(): line.split(':', 1)[1].split() for line in text.splitlines() if ':' in line}
    completed, lost = int(fields['Queries completed'][0]), int(fields['Queries lost'][0])
    codes = ' '.join(fields['Response codes'])
    if not codes.startswith('NOERROR') or ',' in codes:
        raise RuntimeError(f'{name}: {codes}')
    return completed, lost, used, float(fields['Queries per second'][0])


def turns(pod, name):
    """Medians in milliseconds: straight, and by the resolver."""
    text = pod.run([sys.executable, '-c', CLIENT, name, UPSTREAM, RESOLVER, str(N)])
    rows = [[float(word) / 1e3 for word in line.split()] for line in text.splitlines()]
    return [statistics.median(column) for column in zip(*rows)]


def main():
    harness.begin()
    os.environ['WARREN_DNS_UPSTREAM'] = UPSTREAM
    mesh = Mesh()
    pod = mesh.pods[0]
    log = f'{mesh.folder}/dnsmasq.log'
    server = mesh.hub.spawn(
        ['dnsmasq', '--keep-in-foreground', '--conf-file=/dev/null', '--no-resolv', '--no-hosts', '--user=root',
         '--pid-file=', '--bind-interfaces', f'--listen-address={UPSTREAM}', '--except-interface=lo',
         f'--host-record={CLUSTER_NAME},192.0.2.53,2001:db8::53'], log=log)
    ask = ['dig', '+short', '+tries=1', '+time=1', f'@{RESOLVER}']
    for name in (CLUSTER_NAME, MESH_NAME):
        query = 'AAAA' if name == MESH_NAME else 'A'
        wait(name, lambda: pod.run(ask + [name, query], check=False).strip() not in ('', 'none')
             and ';' not in pod.run(ask + [name, query], check=False), server, log)
    figures, before = [], harness.resident(pod.pid)
    for kind, name, title in (('mesh', MESH_NAME, 'answers to names of the mesh'),
                              ('forwarded', CLUSTER_NAME, 'answers to names passed on')):
        samples = [load(pod, mesh.folder, name) for _ in range(3)]
        rates = Series(completed / used / 1e3 for completed, _, used, _ in samples)
        wall = statistics.median(sample[3] for sample in samples) / 1e3
        lost = sum(sample[1] for sample in samples)
        print(f'{title}: {wall:.1f} k/s with the load and dnsmasq on the same machine, {lost} lost')
        figures.append(Figure(f'dns-{kind}', f'{title}, by the CPU of their thread', 'k/s', rates))
    straight, through = zip(*(turns(pod, CLUSTER_NAME) for _ in range(3)))
    print(f'median straight {statistics.median(straight):.3f} ms, by the resolver {statistics.median(through):.3f} ms')
    figures.append(Figure('dns-added', 'added to the median of a cluster name', 'ms',
                          Series(through).minus(Series(straight))))
    junk = pod.spawn([sys.executable, '-c', JUNK, RESOLVER])
    straight, through = zip(*(turns(pod, CLUSTER_NAME) for _ in range(2)))
    junk.kill()
    figures.append(Figure('dns-added-junk', 'the same while malformed datagrams come in', 'ms',
                          Series(through).minus(Series(straight))))
    figures.append(Figure('dns-memory', 'resident memory after it all, beyond before', 'MiB',
                          Series([harness.resident(pod.pid) - before])))
    status = json.loads(pod.run(Mesh.ask(pod, 'status')[4:]))
    print(f'queries: {status["dns"]["queries"]}')
    mesh.remove()
    print(table([['figure', 'ours', 'beside', 'value', 'bar', 'aim', ''], *(figure.cells() for figure in figures)]))
    failed = [figure.name for figure in figures if not figure.passed]
    print(f'make bench-dns: {"missed " + ", ".join(failed) if failed else "all bars met"}')
    return 1 if failed else 0


sys.exit(main())
