#!/usr/bin/env python3
"""`make bench-integrity`: are the bytes that come out those that went in?

Two of our daemons, for every setting of the four offloads, both families (outside the tunnel as inside) and MTU 1280,
1400 and 8900; SIZE MB (default 256) over TCP and as much over UDP in each cell, hashed at both ends. UDP is sent by a
window that the receiver opens, so that no queue overflows and every loss is a finding; every datagram carries its number,
and sender and receiver use segmentation offload themselves, so that the TUN's is used too. That an offload was in effect, or
was not, is read off the sizes that the kernel counted: a cell that did not test what it says fails. FULL=1 adds 10 GB with
everything on; QUICK=1 runs eight cells only. At the end flows whose datagrams are long and short by turns pass beside bulk and
questions that overtake it. Status 1 when a byte was lost, reordered or corrupted. Needs root.
"""
import hashlib
import itertools
import json
import os
import random
import socket
import struct
import subprocess
import sys
import time

import harness
from tunnels import Ours

UDP_SEGMENT, UDP_GRO = 103, 104  # linux/udp.h
PORT = 5201
BLOCK = random.Random(1).randbytes(1 << 20)
QUIET = 10.0  # seconds without a datagram after which the rest counts as lost


# What the ends run, each in its namespace. They print one JSON object; the receiver says `ready` before it.

def chunk(index, length):
    """The content at a place, the same at both ends: never the same bytes at the same offset of successive packets."""
    start = index * 7919 % (len(BLOCK) - 65536)
    return BLOCK[start:start + length]


def send_tcp(address, total, _):
    hashed = hashlib.sha256()
    connection = socket.create_connection((address, PORT), timeout=30)
    with connection:
        sent, index = 0, 0
        while sent < total:
            data = chunk(index, min(65536, total - sent))
            connection.sendall(data)
            hashed.update(data)
            sent += len(data)
            index += 1
    return {'count': sent, 'hash': hashed.hexdigest()}


def receive_tcp(address, total, _):
    hashed = hashlib.sha256()
    with socket.create_server((address, PORT), family=family(address)) as server:
        print('ready', flush=True)
        server.settimeout(20)
        connection, _ = server.accept()
        with connection:
            connection.settimeout(20)
            got = 0
            while data := connection.recv(1 << 18):
                hashed.update(data)
                got += len(data)
    return {'count': got, 'hash': hashed.hexdigest(), 'lost': total - got, 'reordered': 0, 'corrupted': 0}


def family(address):
    return socket.AF_INET6 if ':' in address else socket.AF_INET


def datagram(index, size):
    return struct.pack('!Q', index) + chunk(index, size - 8)


def send_udp(address, total, size):
    hashed = hashlib.sha256()
    count = total // size
    window = max(8, min(192, (1 << 19) // size))
    burst = max(1, min(40, 60000 // size, window // 2))
    with socket.socket(family(address), socket.SOCK_DGRAM) as sender:
        sender.connect((address, PORT))
        sender.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, size)
        sender.settimeout(2)
        sent = acknowledged = 0
        while sent < count:
            if sent - acknowledged > window - burst:
                try:
                    acknowledged = max(acknowledged, struct.unpack('!Q', sender.recv(8))[0])
                except TimeoutError:
                    acknowledged = sent  # those are lost, and the receiver says so
                continue
            data = b''.join(datagram(index, size) for index in range(sent, min(sent + burst, count)))
            sender.send(data)
            hashed.update(data)
            sent += len(data) // size
    return {'count': sent, 'hash': hashed.hexdigest()}


def receive_udp(address, total, size):
    hashed = hashlib.sha256()
    count = total // size
    expected = got = reordered = corrupted = unacknowledged = 0
    every = max(4, min(192, (1 << 19) // size) // 4)
    with socket.socket(family(address), socket.SOCK_DGRAM) as receiver:
        receiver.setsockopt(socket.SOL_SOCKET, 33, 16 << 20)  # SO_RCVBUFFORCE
        receiver.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)
        receiver.bind((address, PORT))
        print('ready', flush=True)
        receiver.settimeout(20)
        try:
            while got < count:
                data, control, _, source = receiver.recvmsg(65536, 64)
                receiver.settimeout(QUIET)
                segment = len(data)
                for level, kind, value in control:
                    if level == socket.IPPROTO_UDP and kind == UDP_GRO:
                        segment = struct.unpack('i', value[:4])[0]
                hashed.update(data)
                for at in range(0, len(data), segment):
                    piece = data[at:at + segment]
                    index = int.from_bytes(piece[:8], 'big')
                    got += 1
                    if piece != datagram(index, size) or index >= count:
                        corrupted += 1
                    elif index < expected:
                        reordered += 1
                    else:
                        expected = index + 1
                    unacknowledged += 1
                if unacknowledged >= every or got >= count:
                    receiver.sendto(struct.pack('!Q', expected), source)
                    unacknowledged = 0
        except TimeoutError:
            pass
    return {'count': got, 'hash': hashed.hexdigest(), 'lost': max(0, count - got), 'reordered': reordered,
            'corrupted': corrupted}


def mixed_size(index):
    """Of a flow that is by turns short, as what overtakes bulk, and long."""
    return (40, 1200, 60, 1200, 1200, 200)[index % 6]


def send_mixed(address, total, _):
    """Three flows until so many seconds are over, faster than others leave room for: losses are not counted."""
    flows = []
    for _ in range(3):
        flows.append(socket.socket(family(address), socket.SOCK_DGRAM))
        flows[-1].connect((address, PORT))
    sent, end = 0, time.time() + total
    while time.time() < end:
        for number, flow in enumerate(flows):
            for index in range(sent, sent + 6):
                flow.send(struct.pack('!QB', index, number) + chunk(index, mixed_size(index) - 9))
        sent += 6
        time.sleep(0.0005)
    for flow in flows:
        flow.close()
    return {'count': sent * len(flows)}


def receive_mixed(address, total, _):
    got, reordered, corrupted, expected = 0, 0, 0, {}
    with socket.socket(family(address), socket.SOCK_DGRAM) as receiver:
        receiver.setsockopt(socket.SOL_SOCKET, 33, 16 << 20)  # SO_RCVBUFFORCE
        receiver.bind((address, PORT))
        print('ready', flush=True)
        receiver.settimeout(20)
        try:
            while True:
                data = receiver.recv(65536)
                receiver.settimeout(2)
                index, number = struct.unpack('!QB', data[:9])
                got += 1
                corrupted += data[9:] != chunk(index, mixed_size(index) - 9)
                reordered += index < expected.get(number, 0)
                expected[number] = max(expected.get(number, 0), index + 1)
        except TimeoutError:
            pass
    return {'count': got, 'reordered': reordered, 'corrupted': corrupted}


ENDS = {'send-tcp': send_tcp, 'receive-tcp': receive_tcp, 'send-udp': send_udp, 'receive-udp': receive_udp,
        'send-mixed': send_mixed, 'receive-mixed': receive_mixed}


# The matrix.

def transfer(tunnel, protocol, address, total, size):
    """What the receiver saw, with `same`: whether both hashes agree, and the rate."""
    program = [sys.executable, os.path.abspath(__file__)]
    left, right = tunnel.cable.sides
    pipes = {'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE, 'text': True}
    receiver = right.spawn(program + [f'receive-{protocol}', address, str(total), str(size)], **pipes)
    if receiver.stdout.readline().strip() != 'ready':
        raise RuntimeError(f'{protocol}: {receiver.stderr.read().strip().splitlines()[-1:]}')
    started = time.time()
    sender = left.spawn(program + [f'send-{protocol}', address, str(total), str(size)], **pipes)
    ends = []
    for child in (sender, receiver):
        output, complaint = child.communicate(timeout=120 + total / 1e6)
        if child.returncode != 0:
            receiver.kill()
            raise RuntimeError(f'{protocol}: {complaint.strip().splitlines()[-1:]}')
        ends.append(json.loads(output))
    result = ends[1]
    result['same'] = ends[0]['hash'] == result['hash'] and ends[0]['count'] == result['count']
    result['mbit'] = total * 8 / (time.time() - started) / 1e6
    return result


def payload(mtu, v6):
    return mtu - (48 if v6 else 28)


def enter_family(tunnel, v6):
    """Makes the outside of the tunnel of that family too."""
    for last, (side, link, _, other, _) in zip((2, 1), tunnel.ends()):
        peer = harness.run(['wg', 'show', link, 'peers']).strip()
        endpoint = f'[fd99::{last}]:51820' if v6 else f'{other.address}:51820'
        harness.run(['wg', 'set', link, 'peer', peer, 'endpoint', endpoint])


def start(number, switches, mtu):
    # By turns with two packet threads and with one.
    os.environ['WARREN_PACKET_THREADS'] = str(2 - number % 2)
    tunnel = Ours('ours', number, offloads=','.join(switches), mtu=mtu, cable_mtu=mtu + 100)
    for last, (side, link, *_) in enumerate(tunnel.ends(), 1):
        side.run(['ip', 'address', 'add', f'fd98::{last}/64', 'dev', link, 'nodad'])
    return tunnel


class Sizes:
    """Mean sizes, in bytes, of what each interface and socket handled since this was made: a large segment counts as one."""

    def __init__(self, tunnel, v6):
        (self.left, self.link, *_), (self.right, *_) = tunnel.ends()
        self.v6 = v6
        self.start = self.read()

    def read(self):
        tun, cable, far = (
            json.loads(harness.run(['ip', '-n', side.name, '-j', '-s', 'link', 'show', 'dev', link]))[0]['stats64']
            for side, link in ((self.left, self.link), (self.left, 'eth0'), (self.right, 'eth0')))
        return {
            'tun': (tun['tx']['bytes'], tun['tx']['packets']), 'cable': (cable['tx']['bytes'], cable['tx']['packets']),
            'socket': (far['rx']['bytes'], self.datagrams())}

    def datagrams(self):
        """What the far end's UDP sockets handed out, in one piece or many."""
        if self.v6:
            text = self.right.run(['cat', '/proc/net/snmp6'])
            return int(next(line.split()[1] for line in text.splitlines() if line.startswith('Udp6InDatagrams')))
        lines = [line.split() for line in self.right.run(['cat', '/proc/net/snmp']).splitlines()]
        names, values = (line for line in lines if line[0] == 'Udp:')
        return int(values[names.index('InDatagrams')])

    def means(self):
        end = self.read()
        return {name: (end[name][0] - self.start[name][0]) / max(1, end[name][1] - self.start[name][1]) for name in end}


def unexpected(switches, mtu, tcp, udp):
    """Offloads that were in effect though they were switched off, or the other way round."""
    # Without large sends nothing arrives that a receive could leave whole.
    seen = {'tso': tcp['tun'], 'gso': tcp['cable'], 'uso': udp['tun']}
    if 'no-gso' not in switches:
        seen['gro'] = tcp['socket']
    return [f'{name} {"off, but" if f"no-{name}" in switches else "on, but only"} {mean:.0f} B at once'
            for name, mean in seen.items() if (mean > 1.2 * mtu + 100) == (f'no-{name}' in switches)]


def cell(label, tunnel, switches, mtu, v6, total):
    """Prints the cell's line; whether all was well."""
    enter_family(tunnel, v6)
    address = 'fd98::2' if v6 else tunnel.inner[1]
    good, parts, sizes = True, [], {}
    for protocol in ('tcp', 'udp'):
        counted = Sizes(tunnel, v6)
        try:
            result = transfer(tunnel, protocol, address, total, payload(mtu, v6))
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            good = False
            parts.append(f'{protocol} FAILED: {error}')
            continue
        sizes[protocol] = counted.means()
        clean = result['same'] and not (result['lost'] or result['reordered'] or result['corrupted'])
        good = good and clean
        parts.append(f'{protocol} lost {result["lost"]} reordered {result["reordered"]} corrupted {result["corrupted"]} '
                     f'hash {"same" if result["same"] else "DIFFERS"} {result["mbit"]:5.0f} Mbit/s')
    if len(sizes) == 2:
        wrong = unexpected(switches, mtu, sizes['tcp'], sizes['udp'])
        good = good and not wrong
        parts += wrong
    print(f'{label:32} {"v6" if v6 else "v4"} {mtu:5}  {"   ".join(parts)}  {"ok" if good else "FAIL"}', flush=True)
    return good


def mixture(number, seconds):
    """Flows of short and long datagrams, bulk and questions, all at once; whether each flow kept its order."""
    tunnel = start(number, (), 1400)
    threads = os.environ['WARREN_PACKET_THREADS']
    left, right = tunnel.cable.sides
    address = tunnel.inner[1]
    program = [sys.executable, os.path.abspath(__file__)]
    pipes = {'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE, 'text': True}
    bulk = right.spawn(['iperf3', '-s', '-1'])
    receiver = right.spawn(program + ['receive-mixed', address, str(seconds), '0'], **pipes)
    receiver.stdout.readline()
    stream = left.spawn(['iperf3', '-J', '-C', 'cubic', '-c', address, '-t', str(seconds)], **pipes)
    sender = left.spawn(program + ['send-mixed', address, str(seconds), '0'], **pipes)
    left.run(['ping', '-q', '-i', '0.01', '-c', str(seconds * 90), address], check=False)
    sent = json.loads(sender.communicate(timeout=60)[0])
    got = json.loads(receiver.communicate(timeout=60)[0])
    rate = json.loads(stream.communicate(timeout=60)[0])['end']['sum_received']['bits_per_second'] / 1e9
    bulk.wait()
    tunnel.remove()
    # A run without its bulk, or nearly without datagrams, would show nothing.
    good = not got['reordered'] and not got['corrupted'] and got['count'] > sent['count'] / 4 and rate > 0.2
    print(f'mixed flows beside {rate:.1f} Gbit/s, {threads} packet thread(s): {got["count"]} of '
          f'{sent["count"]} datagrams, reordered {got["reordered"]} corrupted {got["corrupted"]}  {"ok" if good else "FAIL"}',
          flush=True)
    return good


def main():
    harness.begin()
    started = time.time()
    megabytes = int(os.environ.get('SIZE') or 256)
    words = ('no-tso', 'no-uso', 'no-gso', 'no-gro')
    settings = [tuple(word for word, isOff in zip(words, off) if isOff)
                for off in itertools.product((False, True), repeat=len(words))]
    mtus = (1280, 1400, 8900)
    if os.environ.get('QUICK', '') not in ('', '0'):
        settings, mtus = [(), words], (1280, 8900)
    isFull = os.environ.get('FULL', '') not in ('', '0')
    count = len(settings) * len(mtus) * 2
    print(f'# {len(settings)} settings of TUN TSO, TUN USO, UDP GSO, UDP GRO x v4, v6 x MTU {", ".join(map(str, mtus))}: {count} '
          f'cells of {megabytes} MB over TCP and over UDP{", then 10 GB over each with everything on" if isFull else ""}; '
          f'lost in bytes (TCP) or datagrams (UDP); WARREN_AEAD={os.environ.get("WARREN_AEAD", "")}', flush=True)
    failed = cells = number = total = 0
    for switches, mtu in itertools.product(settings, mtus):
        tunnel = start(number, switches, mtu)
        number = (number + 1) % 10
        for v6 in (False, True):
            cells += 1
            total += 2 * megabytes / 1000
            failed += not cell(' '.join(switches) or 'all on', tunnel, switches, mtu, v6, megabytes * 1_000_000)
        tunnel.remove()
    if isFull:
        tunnel = start(number, (), 1400)
        cells += 1
        total += 20
        failed += not cell('all on, 10 GB', tunnel, (), 1400, False, 10_000_000_000)
        tunnel.remove()
    failures = failed + sum(not mixture(number, 4) for number in (10, 11))
    print(f'make bench-integrity: {cells - failed} of {cells} cells clean, {total:.1f} GB hashed at both ends in '
          f'{time.time() - started:.0f} s' + (', FAILED' if failures else ''))
    return 1 if failures else 0


if __name__ == '__main__':
    if len(sys.argv) > 1:
        print(json.dumps(ENDS[sys.argv[1]](sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))))
    else:
        sys.exit(main())
