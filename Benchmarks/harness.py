"""Namespaces, processes and CPU clocks of a measurement. Everything made here is removed at exit, also on Ctrl-C."""
import atexit
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time

FOLDER = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(FOLDER)
PREFIX = f'wb{os.getpid()}x'  # of namespaces and interfaces; interfaces have 15 characters


def run(command, check=True, **options):
    """The standard output of a command, given as a list or as a line of plain words."""
    words = shlex.split(command) if isinstance(command, str) else command
    result = subprocess.run(words, text=True, capture_output=True, **options)
    if check and result.returncode != 0:
        raise RuntimeError(f'{" ".join(words)}: {result.stderr.strip() or result.stdout.strip()}')
    return result.stdout


def binary(name):
    """A program of ours: from WARREN_BIN_DIR where that has it, else what `make build` made."""
    for folder in (os.environ.get('WARREN_BIN_DIR'), f'{ROOT}/.build/release', f'{ROOT}/.build-bench/release'):
        if folder and os.access(f'{folder}/{name}', os.X_OK):
            return f'{folder}/{name}'
    raise SystemExit(f'{name} is not built: run make build')


def on_exit(action):
    """Runs `action` at exit, later ones first; its failures don't keep the others from running."""
    def guarded():
        try:
            action()
        except Exception as error:
            print(f'clean-up: {error}', file=sys.stderr)
    atexit.register(guarded)


def begin():
    """To be called first: signals become an orderly exit, and what a killed run has left is removed."""
    if os.geteuid() != 0:
        raise SystemExit('not root: namespaces need it')
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(130))
    on_exit(lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    for name in re.findall(r'^(wb(\d+)x\w+)', run('ip netns list'), re.M):
        if not os.path.exists(f'/proc/{name[1]}'):
            remove_namespace(name[0])


def scratch_folder():
    folder = tempfile.mkdtemp(prefix='warren-bench.')
    on_exit(lambda: shutil.rmtree(folder, ignore_errors=True))
    return folder


def remove_namespace(name):
    def processes():
        return [int(pid) for pid in run(f'ip netns pids {name}', check=False).split()]
    for number, wait in ((signal.SIGTERM, 1.5), (signal.SIGKILL, 1.5)):
        for pid in processes():
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass
        deadline = time.time() + wait
        while processes() and time.time() < deadline:
            time.sleep(0.05)
    run(f'ip netns del {name}', check=False)


class Side:
    """One end: a namespace with an address on the cable."""

    def __init__(self, name, address):
        self.name, self.address, self.children = name, address, []
        run(f'ip netns add {name}')
        run(f'ip -n {name} link set lo up')

    def prefix(self, words):
        return ['ip', 'netns', 'exec', self.name] + words

    def run(self, words, **options):
        return run(self.prefix(words), **options)

    def spawn(self, words, log=os.devnull, environment=None, **options):
        with open(log, 'w') as output:
            options.setdefault('stdout', output)
            options.setdefault('stderr', output)
            child = subprocess.Popen(
                self.prefix(words), stdin=subprocess.DEVNULL, env={**os.environ, **(environment or {})},
                start_new_session=True, **options)
        self.children.append(child)
        return child

    def pids(self):
        return sorted(int(pid) for pid in run(f'ip netns pids {self.name}').split())

    def wait_for_link(self, link, child, log):
        for _ in range(100):
            if subprocess.run(['ip', '-n', self.name, 'link', 'show', link], capture_output=True).returncode == 0:
                return
            if child.poll() is not None:
                break
            time.sleep(0.05)
        raise RuntimeError(f'{link} did not appear: {open(log).read()[-400:].strip()}')

    def remove(self):
        remove_namespace(self.name)
        for child in self.children:
            if child.poll() is None:
                child.kill()
            child.wait()


class Cable:
    """Two sides joined by a veth: 10.99.1.1 and 10.99.2.2, fd99::1 and fd99::2."""

    def __init__(self, number, mtu=1500):
        self.left, self.right = None, None
        on_exit(self.remove)
        self.left = Side(f'{PREFIX}{number}a', '10.99.1.1')
        self.right = Side(f'{PREFIX}{number}b', '10.99.2.2')
        run(f'ip link add eth0 mtu {mtu} netns {self.left.name} type veth '
            f'peer name eth0 mtu {mtu} netns {self.right.name}')
        for side, last in ((self.left, 1), (self.right, 2)):
            run(f'ip -n {side.name} address add {side.address}/16 dev eth0')
            run(f'ip -n {side.name} address add fd99::{last}/64 dev eth0 nodad')
            run(f'ip -n {side.name} link set eth0 up')

    @property
    def sides(self):
        return [side for side in (self.left, self.right) if side]

    def remove(self):
        for side in self.sides:
            side.remove()
        self.left = self.right = None


class Accounts:
    """CPU clocks. A cgroup of our own gives what all our processes and their softirq work take, and a large share of the
    CPU beside other work; without one, the whole machine's clock is read."""

    def __init__(self):
        self.folders, self.clock = [], None
        name = f'warren-bench-{os.getpid()}'
        first, account, second = '/sys/fs/cgroup/cpu', '/sys/fs/cgroup/cpuacct', '/sys/fs/cgroup'
        on_exit(self.close)
        try:
            if os.path.exists(f'{first}/cpu.shares'):
                for parent in sorted({os.path.realpath(first), os.path.realpath(account)}):
                    os.mkdir(f'{parent}/{name}')
                    self.folders.append(f'{parent}/{name}')
                self.write(f'{first}/{name}/cpu.shares', '262144')
                self.clock = f'{account}/{name}/cpuacct.usage'
            elif os.path.exists(f'{second}/cgroup.controllers'):
                self.write(f'{second}/cgroup.subtree_control', '+cpu')
                os.mkdir(f'{second}/{name}')
                self.folders.append(f'{second}/{name}')
                self.write(f'{second}/{name}/cpu.weight', '10000')
                self.clock = f'{second}/{name}/cpu.stat'
            for folder in self.folders:
                self.write(f'{folder}/cgroup.procs', str(os.getpid()))
        except OSError as error:
            print(f'# no cgroup of our own ({error}): other work on this machine counts and disturbs')
            self.clock = None

    @staticmethod
    def write(path, text):
        with open(path, 'w') as file:
            file.write(text)

    def close(self):
        for folder in self.folders:
            for _ in range(20):
                try:
                    for pid in open(f'{folder}/cgroup.procs').read().split():
                        self.write(f'{os.path.dirname(folder)}/cgroup.procs', pid)
                    os.rmdir(folder)
                    break
                except OSError:
                    time.sleep(0.1)
        self.folders = []

    def machine(self):
        values = [int(value) for value in open('/proc/stat').readline().split()[1:9]]
        return (sum(values) - values[3] - values[4]) / os.sysconf('SC_CLK_TCK')

    def ours(self):
        """Seconds of CPU of all our processes."""
        if not self.clock:
            return self.machine()
        text = open(self.clock).read()
        match = re.search(r'usage_usec (\d+)', text)
        return int(match.group(1)) / 1e6 if match else int(text) / 1e9

    @staticmethod
    def processes(pids):
        """Seconds of CPU of these processes, in nanoseconds' resolution (/proc/PID/task/TID/schedstat)."""
        total = 0
        for pid in pids:
            for thread in os.listdir(f'/proc/{pid}/task'):
                total += int(open(f'/proc/{pid}/task/{thread}/schedstat').read().split()[0])
        return total / 1e9


class AwakeProcessors:
    """Keeps virtual CPUs from halting with a SCHED_IDLE loop on each, which anything else displaces: else a wake-up costs a
    visit to the hypervisor, and that is all one sees."""

    def __enter__(self):
        self.loops = [
            subprocess.Popen(['chrt', '-i', '0', 'taskset', '-c', str(processor), sys.executable, '-c', 'while 1: pass'])
            for processor in sorted(os.sched_getaffinity(0))]
        on_exit(self.stop)
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        for loop in self.loops:
            loop.kill()
            loop.wait()
        self.loops = []


def resident(pid):
    """MiB, shared pages of files included (VmRSS)."""
    return int(re.search(r'VmRSS:\s+(\d+)', open(f'/proc/{pid}/status').read()).group(1)) / 1024
