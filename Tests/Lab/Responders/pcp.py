#!/usr/bin/env python3
"""A PCP and NAT-PMP server for tests (RFC 6887, RFC 6886): one UDP port, Python's standard library only.

With --wan it applies its mappings, by a map of nftables (table ip portmap_pcp) that translates what comes in by that
interface; without, it only answers. Each change is one JSON line on standard output:
{"event": "map" | "delete", "protocol": "PCP" | "NAT-PMP", "external": 40000, "internal": "10.1.0.2:51820", ...}.

SIGUSR1 is a reboot: all mappings are forgotten, the epoch starts again, and it is announced (RFC 6887 section 14.1).
"""

import argparse
import ipaddress
import json
import random
import signal
import socket
import struct
import subprocess
import time

ANNOUNCE = ("224.0.0.1", 5350)
RULES = """
table ip portmap_pcp {
    map ports { type inet_service : ipv4_addr . inet_service; }
    chain prerouting {
        type nat hook prerouting priority dstnat; policy accept;
        iifname "%s" meta l4proto udp dnat ip to udp dport map @ports
    }
}
"""


def say(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)


class Firewall:
    """The mappings in the kernel, if an interface is given."""

    def __init__(self, wan):
        self.wan = wan
        if wan:
            self.nft("add table ip portmap_pcp\ndelete table ip portmap_pcp\n" + RULES % wan)

    def nft(self, rules):
        subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)

    def add(self, external, address, port):
        if self.wan:
            self.nft(f"add element ip portmap_pcp ports {{ {external} : {address} . {port} }}\n")

    def remove(self, external):
        if self.wan:
            self.nft(f"delete element ip portmap_pcp ports {{ {external} }}\n")


class Server:
    def __init__(self, options):
        self.options = options
        self.firewall = Firewall(options.wan)
        self.mappings = {}  # (address, internal port): [external port, nonce or None, expiry]
        self.start = time.monotonic()
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind((options.listen, 5351))
        self.socket.settimeout(0.1)
        signal.signal(signal.SIGUSR1, lambda *_: setattr(self, "reboots", True))
        self.reboots = False

    @property
    def epoch(self):
        return int(time.monotonic() - self.start) + self.options.epoch

    def run(self):
        say("ready")
        while True:
            if self.reboots:
                self.reboot()
            self.expire()
            try:
                data, source = self.socket.recvfrom(1100)
            except (TimeoutError, InterruptedError):
                continue
            answer = self.answer(data, source)
            if answer:
                self.socket.sendto(answer, source)

    def reboot(self):
        self.reboots = False
        for key in list(self.mappings):
            self.firewall.remove(self.mappings.pop(key)[0])
        self.start, self.options.epoch = time.monotonic(), 0
        say("reboot")
        if "pcp" in self.options.protocols:
            self.socket.sendto(self.pcp_header(0, 0, 0), ANNOUNCE)
        if "natpmp" in self.options.protocols:
            self.socket.sendto(self.natpmp_address(), ANNOUNCE)

    def expire(self):
        now = time.monotonic()
        for key in [key for key, mapping in self.mappings.items() if mapping[2] <= now]:
            self.delete(key, "expired")

    def answer(self, data, source):
        if len(data) >= 2 and data[0] == 0 and data[1] < 128:
            if "natpmp" in self.options.protocols:
                return self.natpmp(data, source)
            # A server of another version says which it speaks.
            return self.pcp_header(data[1], 1, 0) if "pcp" in self.options.protocols else None
        if len(data) >= 24 and data[0] == 2 and data[1] < 128:
            if "pcp" in self.options.protocols:
                return self.pcp(data, source)
            return struct.pack("!BBHI", 0, 128 + data[1], 1, self.epoch) if "natpmp" in self.options.protocols else None
        return None

    # PCP

    def pcp_header(self, opcode, result, lifetime):
        return struct.pack("!BBBBII12x", 2, 128 | opcode, 0, result, lifetime, self.epoch)

    def pcp(self, data, source):
        opcode, (lifetime,) = data[1], struct.unpack("!I", data[4:8])
        claimed = ipaddress.IPv6Address(data[8:24]).ipv4_mapped
        if claimed is None or str(claimed) != source[0]:
            return self.pcp_header(opcode, 12, 1800) + data[24:]
        if opcode == 0:
            return self.pcp_header(0, 0, 0)
        if opcode != 1 or len(data) < 60:
            return self.pcp_header(opcode, 4, 1800) + data[24:]
        nonce = data[24:36]
        internal, wanted = struct.unpack("!HH", data[40:44])
        result, external, lifetime = self.map("PCP", (source[0], internal), wanted, lifetime, nonce)
        outside = ipaddress.IPv6Address(b"\0" * 10 + b"\xff\xff" + ipaddress.IPv4Address(self.options.external).packed)
        return (
            self.pcp_header(1, result, lifetime) + nonce + data[36:40]
            + struct.pack("!HH", internal, external) + outside.packed
        )

    # NAT-PMP

    def natpmp_address(self):
        return struct.pack("!BBHI", 0, 128, 0, self.epoch) + ipaddress.IPv4Address(self.options.external).packed

    def natpmp(self, data, source):
        if data[1] == 0:
            return self.natpmp_address()
        if data[1] != 1 or len(data) < 12:
            return struct.pack("!BBHI", 0, 128 + data[1], 5, self.epoch)
        internal, wanted, lifetime = struct.unpack("!HHI", data[4:12])
        result, external, lifetime = self.map("NAT-PMP", (source[0], internal), wanted, lifetime, None)
        code = {0: 0, 2: 2, 8: 4}.get(result, 3)
        return struct.pack("!BBHIHHI", 0, 129, code, self.epoch, internal, external, lifetime)

    # Mappings: (result in PCP's numbers, external port, lifetime)

    def map(self, protocol, key, wanted, lifetime, nonce):
        if self.options.refuse:
            return self.options.refuse, wanted, 60
        held = self.mappings.get(key)
        if held and held[1] != nonce:
            return 2, wanted, 60
        if lifetime == 0:
            if held:
                self.delete(key, protocol)
            return 0, 0, 0
        lifetime = min(lifetime, self.options.lifetime)
        if held:
            held[2] = time.monotonic() + lifetime
            say("renew", protocol=protocol, external=held[0], internal="%s:%d" % key, lifetime=lifetime)
            return 0, held[0], lifetime
        used = {mapping[0] for mapping in self.mappings.values()} | set(self.options.taken)
        external = wanted
        while external in used or external < 1024:
            external = random.randrange(20000, 60000)
        self.mappings[key] = [external, nonce, time.monotonic() + lifetime]
        self.firewall.add(external, *key)
        say("map", protocol=protocol, external=external, internal="%s:%d" % key, lifetime=lifetime)
        return 0, external, lifetime

    def delete(self, key, why):
        external = self.mappings.pop(key)[0]
        self.firewall.remove(external)
        say("delete", protocol=why, external=external, internal="%s:%d" % key)


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--listen", required=True, help="the gateway's address inside")
parser.add_argument("--external", required=True, help="its address outside, as clients are told")
parser.add_argument("--wan", help="the interface outside: apply the mappings with nftables")
parser.add_argument("--protocols", default="pcp,natpmp", type=lambda text: text.split(","))
parser.add_argument("--lifetime", default=7200, type=int, help="the longest that is granted, in seconds")
parser.add_argument("--refuse", default=0, type=int, help="refuse all mappings with this PCP result")
parser.add_argument("--taken", default=[], type=int, nargs="*", help="external ports that are taken")
parser.add_argument("--epoch", default=1000, type=int, help="the epoch at the start")
Server(parser.parse_args()).run()
