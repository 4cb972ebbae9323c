"""The programs that are compared: each makes a tunnel between the two sides of a cable of its own."""
import os
import subprocess
import time

from harness import PREFIX, Cable, binary, on_exit, resident, run, scratch_folder


class Tunnel:
    """A tunnel 10.98.0.1 - 10.98.0.2 of `mtu` bytes over a cable; subclasses start the programs."""
    inner = ('10.98.0.1', '10.98.0.2')

    def __init__(self, name, number, mtu=1420, cable_mtu=1500):
        self.name, self.number, self.mtu = name, number, mtu
        self.folder = scratch_folder()
        self.cable = Cable(number, cable_mtu)
        self.links = [f'{PREFIX}{number}l', f'{PREFIX}{number}r']
        on_exit(self.remove)
        self.start()
        self.await_connection()
        self.pids = [pid for side in self.cable.sides for pid in side.pids()]
        time.sleep(0.2)
        self.idle_memory = [resident(pid) for pid in self.pids]

    def ends(self):
        """(side, link, own inner address, other side, other inner address), left first."""
        (left, right), (a, b) = self.cable.sides, self.inner
        return [(left, self.links[0], a, right, b), (right, self.links[1], b, left, a)]

    def log(self, link):
        return f'{self.folder}/{link}.log'

    def launch(self, side, link, words, environment=None):
        child = side.spawn(words, log=self.log(link), environment=environment)
        side.wait_for_link(link, child, self.log(link))

    def address(self, side, link, inner):
        side.run(['ip', 'address', 'add', f'{inner}/24', 'dev', link])
        side.run(['ip', 'link', 'set', link, 'mtu', str(self.mtu), 'up'])

    def await_connection(self):
        for _ in range(40):
            ping = self.cable.left.prefix(['ping', '-c1', '-W1', '-q', self.inner[1]])
            if subprocess.run(ping, capture_output=True).returncode == 0:
                return
            time.sleep(0.25)
        raise RuntimeError(f'{self.name}: nothing gets through')

    def memory(self):
        return [resident(pid) for pid in self.pids]

    def remove(self):
        self.cable.remove()
        for link in self.links:
            try:
                os.unlink(f'/var/run/wireguard/{link}.sock')
            except FileNotFoundError:
                pass


class Plain(Tunnel):
    """No tunnel: the veth itself."""
    inner = ('10.99.1.1', '10.99.2.2')

    def start(self):
        pass


class Null(Tunnel):
    """nulltun.c: all of a tunnel but the tunnel."""

    def start(self):
        program = f'{self.folder}/nulltun'
        run(['gcc', '-O2', '-o', program, f'{os.path.dirname(os.path.abspath(__file__))}/nulltun.c'])
        for side, link, inner, other, _ in self.ends():
            self.launch(side, link, [program, link, side.address, other.address, '51820'])
            self.address(side, link, inner)


class WireGuard(Tunnel):
    """A userspace WireGuard that wg(8) configures."""
    command = ['wireguard-go', '-f']
    environment = {'WG_PROCESS_FOREGROUND': '1', 'LOG_LEVEL': 'error'}

    def start(self):
        secrets = [run('wg genkey') for _ in range(2)]
        public = [run('wg pubkey', input=secret).strip() for secret in secrets]
        for index, (side, link, inner, other, _) in enumerate(self.ends()):
            self.launch(side, link, self.command + [link], self.environment)
            for attempt in range(40):
                if subprocess.run(['wg', 'show', link], capture_output=True).returncode == 0:
                    break
                time.sleep(0.05)
            run(['wg', 'set', link, 'listen-port', '51820', 'private-key', '/dev/stdin', 'peer', public[1 - index],
                 'allowed-ips', '0.0.0.0/0,::/0', 'endpoint', f'{other.address}:51820'], input=secrets[index])
            self.address(side, link, inner)


class Ours(WireGuard):
    """`warrend wireguard`, with one AEAD library and, for the integrity runs, some offloads ruled out."""

    def __init__(self, name, number, library=None, offloads=None, **options):
        self.command = [binary('warrend'), 'wireguard', '-f']
        self.environment = {'LOG_LEVEL': 'error'}
        if library:
            self.environment['WARREN_AEAD'] = library
        if offloads:
            self.environment['WARREN_OFFLOADS'] = offloads
        super().__init__(name, number, **options)


class Nebula(Tunnel):
    """Nebula as Debian has it, with its default cipher, AES-256-GCM."""

    def start(self):
        run(['nebula-cert', 'ca', '-name', 'bench', '-out-crt', f'{self.folder}/ca.crt',
             '-out-key', f'{self.folder}/ca.key'])
        for side, link, inner, other, other_inner in self.ends():
            run(['nebula-cert', 'sign', '-name', link, '-ip', f'{inner}/24', '-ca-crt', f'{self.folder}/ca.crt',
                 '-ca-key', f'{self.folder}/ca.key', '-out-crt', f'{self.folder}/{link}.crt',
                 '-out-key', f'{self.folder}/{link}.key'])
            anyone = '[{port: any, proto: any, host: any}]'
            with open(f'{self.folder}/{link}.yml', 'w') as file:
                file.write(f'''pki: {{ca: {self.folder}/ca.crt, cert: {self.folder}/{link}.crt, key: {self.folder}/{link}.key}}
static_host_map: {{"{other_inner}": ["{other.address}:4242"]}}
lighthouse: {{am_lighthouse: false, interval: 60, hosts: []}}
listen: {{host: 0.0.0.0, port: 4242, batch: 64}}
cipher: aes
tun: {{dev: {link}, mtu: {self.mtu}}}
logging: {{level: error}}
firewall: {{outbound: {anyone}, inbound: {anyone}}}
''')
            self.launch(side, link, ['nebula', '-config', f'{self.folder}/{link}.yml'])


class OpenVPN(Tunnel):
    """OpenVPN in userspace, point to point, with the cipher of WireGuard."""

    def start(self):
        prints = {}
        for _, link, *_ in self.ends():
            run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes',
                 '-days', '2', '-subj', f'/CN={link}', '-keyout', f'{self.folder}/{link}.key',
                 '-out', f'{self.folder}/{link}.crt'])
            prints[link] = run(['openssl', 'x509', '-in', f'{self.folder}/{link}.crt', '-noout', '-fingerprint',
                                '-sha256']).strip().split('=')[1]
        left, right = self.links
        for side, link, inner, other, other_inner in reversed(self.ends()):
            role = ['--tls-server', '--dh', 'none'] if link == right else ['--tls-client']
            self.launch(side, link, [
                'openvpn', '--dev', link, '--dev-type', 'tun', '--proto', 'udp', '--local', side.address,
                '--lport', '1194', '--rport', '1194', '--remote', other.address, *role,
                '--cert', f'{self.folder}/{link}.crt', '--key', f'{self.folder}/{link}.key',
                '--peer-fingerprint', prints[left if link == right else right],
                '--data-ciphers', 'CHACHA20-POLY1305', '--ifconfig', inner, other_inner, '--disable-dco',
                '--tun-mtu', str(self.mtu), '--mssfix', '0', '--sndbuf', '2000000', '--rcvbuf', '2000000',
                '--verb', '1', '--persist-key'])
