"""What is measured through a tunnel. Each measure returns its numbers by name."""
import json
import re
import subprocess
import time

from harness import AwakeProcessors


# What Linux has unless told otherwise: a machine's own choice would be measured with the tunnels. Under BBR the queue, and so
# the round trip, has two states, which last as long as a connection does.
CONGESTION_CONTROL = ['-C', 'cubic']


class Traffic:
    """iperf3 from the left side to the right, with the CPU time that it took."""

    def __init__(self, accounts):
        self.accounts = accounts

    def iperf(self, tunnel, seconds, options):
        left, right = tunnel.cable.sides
        server = right.spawn(['iperf3', '-s', '-1'])
        time.sleep(0.25)
        start = time.time()
        ours, daemons, machine = self.accounts.ours(), self.accounts.processes(tunnel.pids), self.accounts.machine()
        try:
            text = left.run(['iperf3', '-J', '-c', tunnel.inner[1], '-t', str(seconds)] + options, timeout=seconds + 20)
        finally:
            ours = self.accounts.ours() - ours
            daemons = self.accounts.processes(tunnel.pids) - daemons
            machine = self.accounts.machine() - machine
            wall = time.time() - start
            server.terminate()
            server.wait()
        return json.loads(text)['end'], ours, daemons, max(0, machine - ours) / wall

    def tcp(self, tunnel, seconds, streams):
        end, ours, daemons, others = self.iperf(tunnel, seconds, ['-P', str(streams)] + CONGESTION_CONTROL)
        gigabytes = end['sum_received']['bytes'] / 1e9
        return {
            'gbit': end['sum_received']['bits_per_second'] / 1e9, 'daemon_s_per_gb': daemons / gigabytes,
            'system_s_per_gb': ours / gigabytes, 'retransmits': end['sum_sent'].get('retransmits', 0),
            'other_cpus': others}

    def udp(self, tunnel, seconds, bits):
        """64-byte payloads; `bits` per second, 0 for as many as the sender makes."""
        end, ours, daemons, others = self.iperf(tunnel, seconds, ['-u', '-l', '64', '-b', str(bits)])
        end = end['sum']
        sent, lost = end['packets'], end['lost_packets']
        received = max(1, sent - lost)
        return {
            'kpps': received / end['seconds'] / 1e3, 'sent_kpps': sent / end['seconds'] / 1e3,
            'loss': lost / max(1, sent), 'daemon_us_per_packet': daemons * 1e6 / received,
            'system_us_per_packet': ours * 1e6 / received, 'other_cpus': others}


def ping(tunnel, count, interval):
    text = tunnel.cable.left.run(
        ['ping', '-n', '-i', str(interval), '-c', str(count), '-W', '1', tunnel.inner[1]], check=False)
    times = sorted(float(value) * 1000 for value in re.findall(r'time=([\d.]+)', text))
    if not times:
        raise RuntimeError('no ping was answered')
    return {'p50': times[len(times) // 2], 'p99': times[len(times) * 99 // 100], 'answered': len(times) / count}


def ping_idle(tunnel, seconds):
    """Round trips of an otherwise idle tunnel, in microseconds."""
    with AwakeProcessors():
        return ping(tunnel, int(seconds / 0.002), 0.002)


def ping_loaded(tunnel, seconds):
    """Round trips beside one TCP stream that takes all it can, in microseconds."""
    left, right = tunnel.cable.sides
    with AwakeProcessors():
        server = right.spawn(['iperf3', '-s', '-1'])
        time.sleep(0.25)
        client = left.spawn(['iperf3', '-c', tunnel.inner[1], '-t', str(seconds + 1)] + CONGESTION_CONTROL)
        try:
            time.sleep(0.6)
            return ping(tunnel, int((seconds - 0.2) / 0.01), 0.01)
        finally:
            client.terminate()
            client.wait()
            server.terminate()
            server.wait()
