#!/usr/bin/env python3
"""`make bench-cni`: what an attachment costs: warren-cni beside ptp with host-local, ADD and DEL as whole processes.

Every repetition attaches and detaches one fresh network namespace with each plugin, every other one in the reverse
order, so that what the machine does meanwhile is in both; ours also as it is chained, with a port of the node, and
that again with 100,000 conntrack entries on the node. Time is from posix_spawn to the process's end; CPU is what the
process and its children (host-local) took. Then the plugin's start-up, by VERSION, beside a program that does nothing,
and its size. Prints minimum and median, ratios, and holds them to thresholds.json; status 1 when one is missed. N
repetitions (50). All links and routes on the node's side are in a namespace that goes with this process. Needs root.
"""
import ctypes
import json
import os
import socket
import statistics
import subprocess
import sys
import time

import harness
from figures import Figure, Series, table
from harness import binary, on_exit, run, scratch_folder

N = int(os.environ.get('N') or '50')
REFERENCE = '/usr/lib/cni'
CLONE_NEWNET = 0x40000000
FLOWS = 100_000


class Sample:
    """One process: milliseconds from start to end, and of CPU."""

    def __init__(self, seconds, cpu):
        self.wall, self.cpu = seconds * 1e3, cpu * 1e3


class Caller:
    """Runs programs as a container runtime runs a plugin: environment and standard input in, JSON out."""

    def __init__(self, folder):
        self.input, self.output = f'{folder}/stdin', f'{folder}/stdout'

    def call(self, path, environment, text=''):
        with open(self.input, 'w') as file:
            file.write(text)
        actions = [(os.POSIX_SPAWN_OPEN, 0, self.input, os.O_RDONLY, 0),
                   (os.POSIX_SPAWN_OPEN, 1, self.output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)]
        start = time.perf_counter()
        pid = os.posix_spawn(path, [path], environment, file_actions=actions)
        _, status, usage = os.wait4(pid, 0)
        seconds = time.perf_counter() - start
        with open(self.output) as file:
            answer = file.read()
        if status != 0:
            raise RuntimeError(f'{path} {environment.get("CNI_COMMAND", "")}: status {status}: {answer}')
        return Sample(seconds, usage.ru_utime + usage.ru_stime), answer


class Plugin:
    """A plugin with its configuration; attaches one namespace at a time."""

    def __init__(self, caller, path, configuration):
        self.caller, self.path = caller, path
        self.configuration = {'cniVersion': '1.0.0', 'name': 'bench', 'type': os.path.basename(path), **configuration}
        self.samples = {'ADD': [], 'DEL': []}
        # Whether the first ADD has mapped a port; nil before it.
        self.has_port = None

    def cycle(self, netns, serial, counts=True, previous=None):
        environment = {
            'PATH': '/usr/sbin:/usr/bin:/sbin:/bin', 'CNI_CONTAINERID': f'bench-{serial}', 'CNI_IFNAME': 'eth0',
            'CNI_NETNS': f'/run/netns/{netns}', 'CNI_PATH': f'{os.path.dirname(self.path)}:{REFERENCE}',
            'CNI_ARGS': f'IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=pod-{serial};'
                        f'K8S_POD_INFRA_CONTAINER_ID=bench-{serial};K8S_POD_UID=uid-{serial}'}
        added, answer = self.caller.call(
            self.path, {**environment, 'CNI_COMMAND': 'ADD'},
            json.dumps({**self.configuration, **({'prevResult': previous} if previous else {})}))
        if self.has_port is None:
            self.has_port = 'elements = ' in run(['nft', 'list', 'ruleset'])
        removed, _ = self.caller.call(
            self.path, {**environment, 'CNI_COMMAND': 'DEL'},
            json.dumps({**self.configuration, 'prevResult': json.loads(answer)}))
        if counts:
            self.samples['ADD'].append(added)
            self.samples['DEL'].append(removed)


def enter_fresh_namespace():
    """The rest of this process, and all that it starts, is on a node of its own."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), 'unshare network namespace')
    run('ip link set lo up')


def primary_result(netns, serial):
    """A pod as its primary plugin leaves it: a veth with an address, not measured. Returns its result."""
    address = f'10.232.{serial // 250}.{serial % 250 + 2}'
    run(['ip', 'link', 'add', f'v{serial}', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', netns])
    run(['ip', 'link', 'set', f'v{serial}', 'up'])
    run(['ip', '-n', netns, 'address', 'add', f'{address}/16', 'dev', 'eth0'])
    run(['ip', '-n', netns, 'link', 'set', 'eth0', 'up'])
    return {'cniVersion': '1.0.0', 'interfaces': [{'name': 'eth0', 'sandbox': f'/run/netns/{netns}'}],
            'ips': [{'address': f'{address}/16', 'interface': 0}], 'routes': []}


def empty_program(folder):
    """What starting a process costs when it has nothing to do."""
    subprocess.run(['gcc', '-O2', '-x', 'c', '-o', f'{folder}/empty', '-'], input=b'int main(void) { return 0; }',
                   check=True)
    return f'{folder}/empty'


def fill_conntrack():
    """Entries for the node's datagrams to itself; returns how many there are."""
    # So that none ends while others are made and measured.
    run('sysctl -qw net.netfilter.nf_conntrack_udp_timeout=600')
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    # Some more than are needed: one is not sent when the answer to another has come, or is made of what is there already.
    for number in range(FLOWS + FLOWS // 100):
        try:
            sender.sendto(b'', (f'127.0.0.{1 + number // 50_000}', 1 + number % 50_000))
        except ConnectionRefusedError:
            pass
    with open('/proc/sys/net/netfilter/nf_conntrack_count') as file:
        return int(file.read())


def is_static(program):
    return 'INTERP' not in run(['readelf', '--program-headers', '--wide', program])


def stripped_megabytes(program, folder):
    run(['strip', '-o', f'{folder}/stripped', program])
    return os.path.getsize(f'{folder}/stripped') / 1e6


def line(name, samples):
    wall, cpu = [sample.wall for sample in samples], [sample.cpu for sample in samples]
    return [name, *(f'{value:.2f}' for value in (min(wall), statistics.median(wall), max(wall),
                                                 statistics.median(cpu)))]


def repeat(plugins, numbers, chained, between=lambda counts: None):
    """A cycle with each plugin for each number, every other one in the reverse order; negative numbers do not count.
    `chained` are those that come after a primary plugin."""
    for serial, number in enumerate(numbers):
        ordered = plugins if serial % 2 == 0 else plugins[::-1]
        for plugin in ordered:
            netns = f'{harness.PREFIX}{abs(number)}n{plugins.index(plugin)}'
            run(['ip', 'netns', 'add', netns])
            on_exit(lambda netns=netns: run(['ip', 'netns', 'del', netns], check=False))
            previous = primary_result(netns, abs(number)) if plugin in chained else None
            plugin.cycle(netns, f'{abs(number)}-{plugins.index(plugin)}', counts=number >= 0, previous=previous)
            run(['ip', 'netns', 'del', netns])
        between(number >= 0)


def main():
    harness.begin()
    enter_fresh_namespace()
    folder = scratch_folder()
    caller = Caller(folder)
    for needed in ('ptp', 'host-local'):
        if not os.access(f'{REFERENCE}/{needed}', os.X_OK):
            raise SystemExit(f'no {needed} in {REFERENCE}: apt-get install containernetworking-plugins')
    settings = {'mesh': 'fd77:6172:7265::/48', 'node': 1, 'ipv4Range': '100.64.0.0/16', 'ownerUid': 64738}
    ours = Plugin(caller, binary('warren-cni'), {**settings, 'dataDir': f'{folder}/warren/alone'})
    mapped, crowded = (Plugin(caller, binary('warren-cni'), {
        **settings, 'dataDir': f'{folder}/warren/mapped',
        'nodePorts': {'range': '31000-31999', 'namespaces': ['default']}}) for _ in range(2))
    reference, crowded_reference = (Plugin(caller, f'{REFERENCE}/ptp', {
        'mtu': 1420, 'ipam': {'type': 'host-local', 'dataDir': f'{folder}/host-local',
                              'ranges': [[{'subnet': '10.231.0.0/16'}]], 'routes': [{'dst': '0.0.0.0/0'}]}})
        for _ in range(2))
    starts = {'VERSION': [], 'an empty process': []}
    programs = {'VERSION': ours.path, 'an empty process': empty_program(folder)}
    environment = {'PATH': '/usr/bin:/bin', 'CNI_COMMAND': 'VERSION'}

    def start_up(counts):
        for name in list(starts)[::len(starts['VERSION']) % 2 * 2 - 1]:
            sample, _ = caller.call(programs[name], environment, '{"cniVersion":"1.0.0"}')
            if counts:
                starts[name].append(sample)

    repeat([ours, mapped, reference], [-3000, -2999, *range(N)], [mapped], start_up)
    flows = fill_conntrack()
    if flows < FLOWS:
        raise SystemExit(f'{flows} conntrack entries: net.netfilter.nf_conntrack_max is too low for {FLOWS}')
    repeat([crowded, crowded_reference], [-2998, *range(1000, 1000 + max(10, N // 2))], [crowded])
    rows = [['ms, whole process', 'minimum', 'median', 'maximum', 'CPU']]
    port = f'chained, {"with" if mapped.has_port else "without"} a node port'
    for verb in ('ADD', 'DEL'):
        rows.append(line(f'{verb} warren-cni', ours.samples[verb]))
        rows.append(line(f'{verb} warren-cni, {port}', mapped.samples[verb]))
        rows.append(line(f'{verb} ptp with host-local', reference.samples[verb]))
        rows.append(line(f'{verb} warren-cni, {port}, {flows} flows', crowded.samples[verb]))
        rows.append(line(f'{verb} ptp with host-local, {flows} flows', crowded_reference.samples[verb]))
    rows += [line('warren-cni VERSION', starts['VERSION']), line('an empty process', starts['an empty process'])]
    print(f'# {N} interleaved repetitions, a fresh namespace each\n{table(rows)}\n')
    figures = []
    for verb in ('ADD', 'DEL'):
        for name, statistic in (('min', min), ('median', statistics.median)):
            for label, title, *pair in (
                    ('', verb, ours, reference), ('mapped-', f'{verb}, port map', mapped, reference),
                    ('crowded-', f'{verb}, port map, {flows} flows', crowded, crowded_reference)):
                own, theirs = (Series([statistic([sample.wall for sample in plugin.samples[verb]])])
                               for plugin in pair)
                figures.append(Figure(
                    f'cni-{label}{verb.lower()}-{name}', f'{title}, {name}', 'ms', own, 'ptp', theirs))
    least = {name: min(sample.wall for sample in samples) for name, samples in starts.items()}
    kind = 'static' if is_static(ours.path) else 'dynamic'
    figures.append(Figure(f'cni-start-{kind}', f'start-up above an empty process, min, {kind}', 'ms',
                          Series([least['VERSION'] - least['an empty process']])))
    figures.append(Figure('cni-size', 'size, stripped', 'MB', Series([stripped_megabytes(ours.path, folder)])))
    print(table([['figure', 'ours', 'beside', 'ratio', 'bar', 'aim', ''], *(figure.cells() for figure in figures)]))
    for what, plugin, aim in (('alone', ours, 4), ('with a node port', mapped, 8),
                              (f'with a node port and {flows} flows', crowded, 8)):
        least = min(sample.wall for sample in plugin.samples['ADD'])
        print(f'ADD {what}: minimum {least:.2f} ms, aim {aim} ms: {"met" if least <= aim else "missed"}')
    if not (mapped.has_port and crowded.has_port):
        raise SystemExit('no port was mapped: nothing is known of the port map')
    # What conntrack has to forget, the children of the last ADDs and DELs are about.
    left = [name for _, _, names in os.walk(f'{folder}/warren') for name in names
            if name not in ('lock', 'flows', 'last', 'rules') and not name.startswith(('last_reserved', 'released-'))]
    failed = [figure.name for figure in figures if not figure.passed] + [f'{name} left in the store' for name in left]
    print(f'make bench-cni: {"missed " + ", ".join(failed) if failed else "all bars met"}')
    return 1 if failed else 0


sys.exit(main())
