#!/usr/bin/env python3
"""What may stand between an agent and the Internet, for tests; Python's standard library only.

portal     answers every HTTP request with a redirect to a login page, or with --page with a page of its own
proxy      an HTTP proxy for CONNECT, with --credentials USER:PASSWORD if it wants some (RFC 9110 section 9.3.6)
intercept  opens TLS with a certificate of its own and passes on what is inside, as inspecting proxies do; where to is
           given with --to

Each connection is one JSON line on standard output. To put one in the way, translate connections to it with nftables.
"""

import argparse
import base64
import json
import select
import socket
import ssl
import threading


def say(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)


def read_head(stream):
    head = b""
    while b"\r\n\r\n" not in head and len(head) < 16384:
        data = stream.recv(4096)
        head += data
        if not data or not head[:1].isalpha():  # TLS is no HTTP
            break
    return head.decode(errors="replace")


def splice(left, right):
    while True:
        for ready in select.select([left, right], [], [], 60)[0]:
            data = ready.recv(65536)
            if not data:
                return
            (right if ready is left else left).sendall(data)


def portal(stream, options):
    head = read_head(stream)
    say("portal", request=head.split("\r\n")[0])
    if not head.split(" ")[0].isalpha():
        return
    if options.page:
        body = b"<html>Welcome to the hotel</html>"
        stream.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    else:
        stream.sendall(b"HTTP/1.1 302 Found\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % options.login.encode())


def proxy(stream, options):
    head = read_head(stream)
    lines = head.split("\r\n")
    words = lines[0].split(" ")
    say("proxy", request=lines[0])
    if options.credentials:
        wanted = "Basic " + base64.b64encode(options.credentials.encode()).decode()
        given = [line.split(":", 1)[1].strip() for line in lines if line.lower().startswith("proxy-authorization:")]
        if given != [wanted]:
            body = b"who are you?"
            stream.sendall(
                b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"test\"\r\n"
                b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
            )
            return
    if words[0] != "CONNECT":
        stream.sendall(b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n")
        return
    host, port = words[1].rsplit(":", 1)
    try:
        other = socket.create_connection((host.strip("[]"), int(port)), 5)
    except OSError:
        stream.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
        return
    stream.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
    splice(stream, other)


def intercept(stream, options):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(options.certificate, options.key)
    inside = context.wrap_socket(stream, server_side=True)
    say("intercept", version=inside.version())
    host, port = options.to.rsplit(":", 1)
    plain = ssl._create_unverified_context()
    splice(inside, plain.wrap_socket(socket.create_connection((host, int(port)), 5)))


def serve(stream, peer, options):
    try:
        options.act(stream, options)
    except (OSError, ssl.SSLError) as error:
        say("end", peer=peer[0], error=str(error))
    finally:
        stream.close()


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("kind", choices=["portal", "proxy", "intercept"])
parser.add_argument("--listen", required=True, help="ADDRESS:PORT")
parser.add_argument("--login", default="http://login.test/", help="where the portal sends browsers")
parser.add_argument("--page", action="store_true", help="the portal has a page instead")
parser.add_argument("--credentials", help="what the proxy wants, USER:PASSWORD")
parser.add_argument("--certificate", help="of the interceptor, PEM")
parser.add_argument("--key", help="PEM")
parser.add_argument("--to", help="where the interceptor passes on to, ADDRESS:PORT")
options = parser.parse_args()
options.act = {"portal": portal, "proxy": proxy, "intercept": intercept}[options.kind]
address, port = options.listen.rsplit(":", 1)
listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind((address, int(port)))
listener.listen(64)
say("ready")
while True:
    stream, peer = listener.accept()
    threading.Thread(target=serve, args=(stream, peer, options), daemon=True).start()
