#!/usr/bin/env python3
"""A UPnP Internet Gateway Device for tests (IGD 1 or 2): SSDP, description and SOAP, Python's standard library only.

With --wan it applies its mappings as pcp.py does. Each change is one JSON line on standard output. Quirks of real
gateways can be turned on: leases without an end only (725), ports that are taken (718), chunked answers.
"""

import argparse
import http.server
import json
import re
import socket
import subprocess
import threading

GROUP = "239.255.255.250"
RULES = """
table ip portmap_upnp {
    map ports { type inet_service : ipv4_addr . inet_service; }
    chain prerouting {
        type nat hook prerouting priority dstnat; policy accept;
        iifname "%s" meta l4proto udp dnat ip to udp dport map @ports
    }
}
"""
DESCRIPTION = """<?xml version="1.0"?>
<!-- a comment --><root xmlns="urn:schemas-upnp-org:device-1-0"><specVersion><major>1</major><minor>0</minor></specVersion>
<device><deviceType>urn:schemas-upnp-org:device:InternetGatewayDevice:{version}</deviceType>
<friendlyName>Test &amp; gateway</friendlyName><deviceList><device>
<deviceType>urn:schemas-upnp-org:device:WANDevice:{version}</deviceType><deviceList><device>
<deviceType>urn:schemas-upnp-org:device:WANConnectionDevice:{version}</deviceType><serviceList><service>
<serviceType>urn:schemas-upnp-org:service:WANIPConnection:{version}</serviceType>
<serviceId>urn:upnp-org:serviceId:WANIPConn1</serviceId><controlURL>{control}</controlURL>
<eventSubURL>/evt</eventSubURL><SCPDURL>/scpd.xml</SCPDURL></service></serviceList></device></deviceList></device>
</deviceList></device></root>"""


def say(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)


class Firewall:
    """The mappings in the kernel, if an interface is given."""

    def __init__(self, wan):
        self.wan = wan
        if wan:
            self.nft("add table ip portmap_upnp\ndelete table ip portmap_upnp\n" + RULES % wan)

    def nft(self, rules):
        subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)

    def add(self, external, address, port):
        if self.wan:
            self.nft(f"add element ip portmap_upnp ports {{ {external} : {address} . {port} }}\n")

    def remove(self, external):
        if self.wan:
            self.nft(f"delete element ip portmap_upnp ports {{ {external} }}\n")


class Fault(Exception):
    """UPnP's error codes."""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    mappings = {}  # external port: (client, port)

    def log_message(self, *_):
        pass

    def do_GET(self):
        if self.path != "/rootDesc.xml":
            return self.reply(404, "")
        control = options.control or "/ctl/IPConn"
        self.reply(200, DESCRIPTION.format(version=options.version, control=control))

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        action = self.headers.get("SOAPAction", "").strip('"').split("#")[-1]
        fields = dict(re.findall(r"<(New\w+)>([^<]*)</", body))
        try:
            values = self.call(action, fields)
            inner = "".join(f"<{name}>{value}</{name}>" for name, value in values.items())
            service = f"urn:schemas-upnp-org:service:WANIPConnection:{options.version}"
            answer = f'<u:{action}Response xmlns:u="{service}">{inner}</u:{action}Response>'
            self.reply(200, self.envelope(answer))
        except Fault as fault:
            detail = (
                "<s:Fault><faultcode>s:Client</faultcode><faultstring>UPnPError</faultstring><detail>"
                f'<UPnPError xmlns="urn:schemas-upnp-org:control-1-0"><errorCode>{fault}</errorCode>'
                "<errorDescription>refused</errorDescription></UPnPError></detail></s:Fault>"
            )
            self.reply(500, self.envelope(detail))

    def call(self, action, fields):
        if action == "GetExternalIPAddress":
            return {"NewExternalIPAddress": options.external}
        if action == "AddPortMapping" or (action == "AddAnyPortMapping" and options.version == 2):
            return self.add(action, fields)
        if action == "DeletePortMapping":
            external = int(fields["NewExternalPort"])
            if external not in self.mappings:
                raise Fault(714)
            client, port = self.mappings.pop(external)
            firewall.remove(external)
            say("delete", protocol="UPnP IGD", external=external, internal=f"{client}:{port}")
            return {}
        raise Fault(401)

    def add(self, action, fields):
        external, client, port = int(fields["NewExternalPort"]), fields["NewInternalClient"], int(fields["NewInternalPort"])
        lease = int(fields["NewLeaseDuration"])
        if fields["NewProtocol"] != "UDP":
            raise Fault(402)
        if client != self.client_address[0]:
            raise Fault(606)
        if options.refuse:
            raise Fault(options.refuse)
        if options.permanent and lease:
            raise Fault(725)
        held = self.mappings.get(external)
        if external in options.taken or (held and held != (client, port)):
            if action == "AddPortMapping":
                raise Fault(718)
            external = next(p for p in range(40000, 60000) if p not in self.mappings)
            held = None
        if not held:
            firewall.add(external, client, port)
        self.mappings[external] = (client, port)
        say("renew" if held else "map", protocol="UPnP IGD", external=external, internal=f"{client}:{port}", lifetime=lease)
        return {"NewReservedPort": external} if action == "AddAnyPortMapping" else {}

    def envelope(self, inner):
        return (
            '<?xml version="1.0"?>\n<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" '
            f's:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"><s:Body>{inner}</s:Body></s:Envelope>'
        )

    def reply(self, status, text):
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", 'text/xml; charset="utf-8"')
        if options.chunked:
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for start in range(0, len(data), 700):
                part = data[start : start + 700]
                self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            self.wfile.write(b"0\r\n\r\n")
        else:
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)


def serve_ssdp():
    ssdp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    ssdp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    ssdp.bind(("", 1900))
    ssdp.setsockopt(
        socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(GROUP) + socket.inet_aton(options.listen)
    )
    answers = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    answers.bind((options.listen, 0))
    while True:
        data, source = ssdp.recvfrom(2048)
        text = data.decode(errors="replace")
        target = re.search(r"^ST:\s*(\S+)", text, re.M | re.I)
        if not text.startswith("M-SEARCH") or not target or f"InternetGatewayDevice:{options.version}" not in target[1]:
            continue
        location = options.location or f"http://{options.listen}:{options.port}/rootDesc.xml"
        answers.sendto(
            (
                f"HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=120\r\nST: {target[1]}\r\n"
                f"USN: uuid:test::{target[1]}\r\nEXT:\r\nSERVER: test UPnP/1.1\r\nLOCATION: {location}\r\n\r\n"
            ).encode(),
            source,
        )


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--listen", required=True, help="the gateway's address inside")
parser.add_argument("--external", required=True, help="its address outside, as clients are told")
parser.add_argument("--wan", help="the interface outside: apply the mappings with nftables")
parser.add_argument("--port", default=5000, type=int, help="of description and control")
parser.add_argument("--version", default=2, type=int, choices=[1, 2])
parser.add_argument("--permanent", action="store_true", help="no lease has an end")
parser.add_argument("--chunked", action="store_true")
parser.add_argument("--refuse", default=0, type=int, help="refuse all mappings with this error")
parser.add_argument("--taken", default=[], type=int, nargs="*", help="external ports that are taken")
parser.add_argument("--location", help="a description somewhere else, as a lie")
parser.add_argument("--control", help="a control URL somewhere else, as a lie")
options = parser.parse_args()
firewall = Firewall(options.wan)
threading.Thread(target=serve_ssdp, daemon=True).start()
server = http.server.ThreadingHTTPServer((options.listen, options.port), Handler)
say("ready")
server.serve_forever()
