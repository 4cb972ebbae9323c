#!/usr/bin/env python3
"""`make bench-cni`: what an attachment costs: warren-cni beside ptp with host-local, ADD and DEL as whole processes.

Every repetition attaches and detaches one fresh network namespace with each plugin, every other one in the reverse order,
so that what the machine does meanwhile is in both; ours also as it is chained, with a port of the node. Time is from posix_spawn to the process's end; CPU is what the
process and its children (host-local) took. Then the plugin's start-up, by VERSION, beside a program that does nothing.
Prints minimum and median, ratios, and holds them to thresholds.json; status 1 when one is missed. N repetitions (50).
All links and routes on the node's side are in a namespace that goes with this process. Needs root.
"""
import ctypes
import json
import os
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


def line(name, samples):
    wall, cpu = [sample.wall for sample in samples], [sample.cpu for sample in samples]
    return [name, *(f'{value:.2f}' for value in (min(wall), statistics.median(wall), max(wall),
                                                 statistics.median(cpu)))]


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
    mapped = Plugin(caller, binary('warren-cni'), {
        **settings, 'dataDir': f'{folder}/warren/mapped',
        'nodePorts': {'range': '31000-31999', 'namespaces': ['default']}})
    reference = Plugin(caller, f'{REFERENCE}/ptp', {
        'mtu': 1420, 'ipam': {'type': 'host-local', 'dataDir': f'{folder}/host-local',
                              'ranges': [[{'subnet': '10.231.0.0/16'}]], 'routes': [{'dst': '0.0.0.0/0'}]}})
    starts = {'VERSION': [], 'an empty process': []}
    programs = {'VERSION': ours.path, 'an empty process': empty_program(folder)}
    environment = {'PATH': '/usr/bin:/bin', 'CNI_COMMAND': 'VERSION'}
    for serial in range(-2, N):
        plugins = [ours, mapped, reference] if serial % 2 == 0 else [reference, mapped, ours]
        for number, plugin in enumerate(plugins):
            netns = f'{harness.PREFIX}{serial + 2}n{number}'
            run(['ip', 'netns', 'add', netns])
            on_exit(lambda netns=netns: run(['ip', 'netns', 'del', netns], check=False))
            previous = primary_result(netns, serial + 2) if plugin is mapped else None
            plugin.cycle(netns, f'{serial + 2}-{number}', counts=serial >= 0, previous=previous)
            run(['ip', 'netns', 'del', netns])
        for name in starts if serial % 2 == 0 else reversed(starts):
            sample, _ = caller.call(programs[name], environment, '{"cniVersion":"1.0.0"}')
            if serial >= 0:
                starts[name].append(sample)
    rows = [['ms, whole process', 'minimum', 'median', 'maximum', 'CPU']]
    for verb in ('ADD', 'DEL'):
        rows.append(line(f'{verb} warren-cni', ours.samples[verb]))
        rows.append(line(f'{verb} warren-cni, chained, {"with" if mapped.has_port else "without"} a node port',
                         mapped.samples[verb]))
        rows.append(line(f'{verb} ptp with host-local', reference.samples[verb]))
    rows += [line('warren-cni VERSION', starts['VERSION']), line('an empty process', starts['an empty process'])]
    print(f'# {N} interleaved repetitions, a fresh namespace each\n{table(rows)}\n')
    figures = []
    for verb in ('ADD', 'DEL'):
        for name, statistic in (('min', min), ('median', statistics.median)):
            own, theirs = (Series([statistic([sample.wall for sample in plugin.samples[verb]])])
                           for plugin in (ours, reference))
            figures.append(Figure(f'cni-{verb.lower()}-{name}', f'{verb}, {name}', 'ms', own, 'ptp', theirs))
    print(table([['figure', 'ours', 'beside', 'ratio', 'bar', 'aim', ''], *(figure.cells() for figure in figures)]))
    for what, plugin, aim in (('alone', ours, 4), ('with a node port', mapped, 8)):
        least = min(sample.wall for sample in plugin.samples['ADD'])
        if plugin is ours or mapped.has_port:
            print(f'ADD {what}: minimum {least:.2f} ms, aim {aim} ms: {"met" if least <= aim else "missed"}')
    left = [name for _, _, names in os.walk(f'{folder}/warren') for name in names
            if name != 'lock' and not name.startswith('last_reserved')]
    failed = [figure.name for figure in figures if not figure.passed] + [f'{name} left in the store' for name in left]
    print(f'make bench-cni: {"missed " + ", ".join(failed) if failed else "all bars met"}')
    return 1 if failed else 0


sys.exit(main())
