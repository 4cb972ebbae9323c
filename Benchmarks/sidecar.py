"""The joined sidecar's memory: a hub, two pods that warren-cni attached, their sidecars, and a crowd to know.

    hub (bridge br0, 10.97.0.1) ─┬─ pod-a 10.97.0.2, warrend sidecar
                                 ├─ pod-b 10.97.0.3, warrend sidecar
                                 └─ crowd 10.97.0.11…: warren-crowd joins agents through the hub's own protocol

pod-a's sidecar learns the crowd as it learns any peer: by packets that the pod sends to their addresses, lookups that the
directory answers with records, which it verifies. The crowd itself is away, so that no session begins.
"""
import json
import os
import socket
import subprocess
import time

from harness import PREFIX, Side, binary, on_exit, resident, run, scratch_folder

NETWORK, UID = 'fd77:6172:7265', 64738
CROWD_NODE = 99
# In the mounts that `ip netns exec` made: a node that everyone may open, as a runtime's `devices` entry gives it.
OWN_TUN_NODE = ('mount --make-rprivate /; mount -t tmpfs -o mode=755 tmpfs /dev/net; '
                'mknod -m 666 /dev/net/tun c 10 200; exec "$@"')
SOURCES = 5  # The hub takes 500 connections at once from one address, and an agent makes two.


class Mesh:
    def __init__(self):
        self.folder = scratch_folder()
        os.chmod(self.folder, 0o711)
        on_exit(self.remove)
        self.sides = []
        self.hub = self.side('hub', 1)
        self.hub.run(['ip', 'link', 'add', 'br0', 'type', 'bridge'])
        self.hub.run(['ip', 'address', 'add', '10.97.0.1/24', 'dev', 'br0'])
        self.hub.run(['ip', 'link', 'set', 'br0', 'up'])
        self.start_hub()
        self.pods = [self.pod('pod-a', 2), self.pod('pod-b', 3)]

    def side(self, name, last):
        side = Side(f'{PREFIX}{name}', f'10.97.0.{last}')
        self.sides.append(side)
        return side

    def attached(self, name, last):
        side = self.side(name, last)
        cable = f'v{last}'
        run(f'ip link add eth0 netns {side.name} type veth peer name {cable} netns {self.hub.name}')
        self.hub.run(['ip', 'link', 'set', cable, 'master', 'br0', 'up'])
        side.run(['ip', 'address', 'add', f'{side.address}/24', 'dev', 'eth0'])
        side.run(['ip', 'link', 'set', 'eth0', 'up'])
        side.run(['ip', 'route', 'add', 'default', 'via', '10.97.0.1'])
        return side

    def start_hub(self):
        program, self.hub_folder = binary('warren-hub'), f'{self.folder}/hub'
        self.hub.run([program, 'init', '--dir', self.hub_folder, '--mesh', 'bench', '--prefix', f'{NETWORK}::/48',
                      '--address', '10.97.0.1:7443', '--relay', '10.97.0.1:3478'])
        log = f'{self.folder}/hub.log'
        child = self.hub.spawn([program, 'serve', '--dir', self.hub_folder, '--listen', '0.0.0.0:7443',
                                '--relay-listen', '0.0.0.0:3478'], log=log)
        wait('the hub', lambda: 'ready' in run_quietly(
            self.hub.prefix(['curl', '-ksf', '-o', '/dev/null', '-w', 'ready', 'https://10.97.0.1:7443/healthz'])),
            child, log)

    def token(self, uses):
        return self.hub.run([binary('warren-hub'), 'token', 'create', '--dir', self.hub_folder, '--uses', str(uses)])

    def pod(self, name, last):
        side = self.attached(name, last)
        side.own = f'{self.folder}/{name}'
        for folder in (side.own, f'{side.own}/state'):
            os.mkdir(folder, 0o700)
            os.chown(folder, UID, UID)
        side.control = f'{side.own}/control.sock'
        token = f'{side.own}/token'
        with open(token, 'w') as file:
            file.write(self.token(1))
        os.chown(token, UID, UID)
        side.inner = self.attach(side, name)
        log = f'{self.folder}/{name}.log'
        program = side.spawn(
            ['sh', '-euc', OWN_TUN_NODE, 'sh', 'setpriv', '--reuid', str(UID), '--regid', str(UID), '--clear-groups', '--no-new-privs',
             '--bounding-set=-all', '--inh-caps=-all', binary('warrend'), 'sidecar', '--token-file', token, '--name', name,
             '--state-dir', f'{side.own}/state', '--control', side.control, '--log-level', 'warning'], log=log)
        wait(name, lambda: 'accepted' in run_quietly(self.ask(side, 'status')), program, log)
        side.pid = program.pid  # Everything before it has become it.
        return side

    def attach(self, side, name):
        """`warren-cni ADD`, as a runtime calls it; the pod's virtual IPv6 address."""
        mac = side.run(['cat', '/sys/class/net/eth0/address']).strip()
        netns = f'/var/run/netns/{side.name}'
        configuration = {
            'cniVersion': '1.0.0', 'name': 'bench', 'type': 'warren-cni', 'mesh': f'{NETWORK}::/48', 'node': 1,
            'ownerUid': UID, 'interface': 'warren0', 'dataDir': f'{self.folder}/cni',
            'prevResult': {
                'cniVersion': '1.0.0', 'interfaces': [{'name': 'eth0', 'mac': mac, 'sandbox': netns}],
                'ips': [{'address': f'{side.address}/24', 'gateway': '10.97.0.1', 'interface': 0}],
                'routes': [{'dst': '0.0.0.0/0', 'gw': '10.97.0.1'}], 'dns': {}}}
        environment = {
            **os.environ, 'CNI_COMMAND': 'ADD', 'CNI_CONTAINERID': f'bench{side.name}', 'CNI_NETNS': netns,
            'CNI_IFNAME': 'eth0', 'CNI_PATH': os.path.dirname(binary('warren-cni')),
            'CNI_ARGS': f'IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={name}'}
        answer = json.loads(run([binary('warren-cni')], input=json.dumps(configuration), env=environment))
        ours = [entry['name'] for entry in answer['interfaces']].index('warren0')
        return next(ip['address'].split('/')[0] for ip in answer['ips'] if ip.get('interface') == ours)

    @staticmethod
    def ask(side, question):
        return side.prefix([binary('warren'), '--control', side.control, question, '--json'])

    def peers(self, side):
        return json.loads(side.run(self.ask(side, 'peers')[4:]))

    def join_crowd(self, count):
        """Joins them from several addresses at once; returns their virtual addresses."""
        prefix, each = f'{NETWORK}:{CROWD_NODE:x}::', -(-count // SOURCES)
        path = f'{self.folder}/crowd-token'
        with open(path, 'w') as file:
            file.write(self.token(count))
        children = []
        for index in range(SOURCES):
            first, last = index * each + 1, min(count, (index + 1) * each)
            if first > last:
                break
            side = self.attached(f'crowd{index}', 11 + index)
            children.append(side.spawn(
                [binary('warren-crowd'), path, str(first), str(last)], environment={'WARREN_CROWD_PREFIX': prefix},
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        joined = 0
        for child in children:
            output, complaint = child.communicate(timeout=180)
            if child.returncode != 0:
                raise RuntimeError(complaint.strip())
            joined += int(output)
        return [f'{prefix}{number:x}' for number in range(1, joined + 1)]

    def learn(self, side, addresses):
        """A datagram to each address, as fast as a sidecar begins lookups (32 a second), until it knows them all. It is
        slower than that beyond some hundreds: calls to agents that are away share the connection to the directory."""
        sender = ('import socket,sys,time\ns=socket.socket(socket.AF_INET6,socket.SOCK_DGRAM)\n'
                  'for n,a in enumerate(sys.stdin.read().split()):\n'
                  '  s.sendto(b"x",(a,9))\n  time.sleep(0 if n<120 else 1/34)\n')
        missing, deadline = set(addresses), time.time() + 300
        while time.time() < deadline:
            side.run(['python3', '-c', sender], input='\n'.join(sorted(missing)))
            time.sleep(0.5)
            missing -= {address.split('/')[0] for peer in self.peers(side) for address in peer['addresses']}
            if not missing:
                return
        raise RuntimeError(f'{len(missing)} of {len(addresses)} agents were not learned')

    def load(self, seconds):
        """TCP both ways and small UDP between the pods, by the tunnel's direct path."""
        left, right = self.pods
        for options in (['-P', '4'], ['-R'], ['-u', '-l', '64', '-b', '0']):
            server = right.spawn(['iperf3', '-s', '-1', '-B', right.inner])
            time.sleep(0.3)
            left.run(['iperf3', '-c', right.inner, '-t', str(seconds)] + options, timeout=seconds + 20)
            server.wait(timeout=20)

    def remove(self):
        for side in self.sides[::-1]:
            side.remove()
        self.sides = []


def run_quietly(words):
    return subprocess.run(words, capture_output=True, text=True).stdout


def wait(what, is_true, child, log):
    for _ in range(300):
        if is_true():
            return
        if child.poll() is not None:
            break
        time.sleep(0.05)
    raise RuntimeError(f'{what} did not start: {open(log).read()[-400:].strip()}')


def measure(count, seconds):
    """MiB of pod-a's sidecar: joined, with the crowd known, and after load."""
    mesh = Mesh()
    left, right = mesh.pods
    left.run(['ping', '-c', '3', '-i', '0.2', '-W', '2', right.inner])
    time.sleep(2)
    figures = {'joined': resident(left.pid)}
    mesh.learn(left, mesh.join_crowd(count))
    time.sleep(6)  # The handshakes that nobody answers are under way.
    figures['known'] = resident(left.pid)
    mesh.load(seconds)
    figures['after'] = resident(left.pid)
    figures['peers'] = len(mesh.peers(left))
    mesh.remove()
    return figures


if __name__ == '__main__':
    import harness
    harness.begin()
    print(measure(int(os.environ.get('CROWD') or 1000), 2))
