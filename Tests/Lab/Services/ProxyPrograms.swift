/// The services of `LabService`, for Debian's python3.
enum ProxyPrograms {
    /// What they share: a thread for each connection, and bytes carried both ways until both ends have said all.
    private static let common = """
        import base64, socket, ssl, struct, sys, threading
        def serve(port, handle, address=""):
            listener = socket.socket()
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((address, port))
            listener.listen(64)
            def loop():
                while True:
                    stream, _ = listener.accept()
                    threading.Thread(target=guarded, args=(handle, stream), daemon=True).start()
            threading.Thread(target=loop).start()
        def guarded(handle, stream):
            try: handle(stream)
            except OSError as error: print("failed", error, flush=True)
            finally: stream.close()
        def copy(source, target):
            try:
                while data := source.recv(65536): target.sendall(data)
                target.shutdown(socket.SHUT_WR)
            except OSError: pass
        def join(one, other):
            # As real proxies do: what is small goes on at once.
            for side in (one, other): side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            back = threading.Thread(target=copy, args=(other, one), daemon=True)
            back.start()
            copy(one, other)
            back.join()
        def head(stream):
            data = b""
            while not data.endswith(b"\\r\\n\\r\\n") and len(data) < 16384:
                byte = stream.recv(1)
                if not byte: return None
                data += byte
            lines = data.decode("latin-1").split("\\r\\n")
            fields = dict((name.strip().lower(), value.strip()) for name, _, value in
                          (line.partition(":") for line in lines[1:] if line))
            return lines[0].split(" "), fields

        """

    /// Arguments: address, port, user, password.
    static let proxy =
        common + """
            address, port, user, password = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
            wanted = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
            def handle(stream):
                while request := head(stream):
                    words, fields = request
                    if fields.get("proxy-authorization") != wanted:
                        print("refused", *words[:2], flush=True)
                        stream.sendall(b"HTTP/1.1 407 Proxy Authentication Required\\r\\n"
                                       b'Proxy-Authenticate: Basic realm="lab"\\r\\nContent-Length: 0\\r\\n\\r\\n')
                        continue
                    if words[0] != "CONNECT":
                        stream.sendall(b"HTTP/1.1 405 Method Not Allowed\\r\\nContent-Length: 0\\r\\n\\r\\n")
                        continue
                    host, _, target = words[1].rpartition(":")
                    try: other = socket.create_connection((host.strip("[]"), int(target)), 5)
                    except OSError as error:
                        print("unreachable", words[1], error, flush=True)
                        stream.sendall(b"HTTP/1.1 502 Bad Gateway\\r\\nContent-Length: 0\\r\\n\\r\\n")
                        continue
                    other.settimeout(None)
                    print("connected", words[1], flush=True)
                    stream.sendall(b"HTTP/1.1 200 Connection established\\r\\n\\r\\n")
                    return join(stream, other)
            serve(port, handle, address)
            """

    /// Arguments: HTTP port, TLS port, its own name, certificate.
    static let portal =
        common + """
            page = f"http://{sys.argv[3]}/login"
            answer = (f"HTTP/1.1 302 Found\\r\\nLocation: {page}\\r\\nCache-Control: no-store\\r\\n"
                      "Content-Length: 0\\r\\nConnection: close\\r\\n\\r\\n").encode()
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(sys.argv[4])
            def plain(stream):
                if request := head(stream):
                    print("redirected", *request[0][:2], flush=True)
                    stream.sendall(answer)
            def sealed(stream):
                with context.wrap_socket(stream, server_side=True) as inner: plain(inner)
            serve(int(sys.argv[1]), plain)
            serve(int(sys.argv[2]), sealed)
            """

    /// Arguments: port, certificate. Where a connection was going is asked of the kernel (SO_ORIGINAL_DST).
    ///
    /// Both ways by one thread: a TLS connection is one object to OpenSSL, and who writes while another thread reads a session
    /// ticket from it waits for good.
    static let interceptor =
        common + """
            import select
            def push(side, data):
                while data:
                    try: data = data[side.send(data):]
                    except ssl.SSLWantWriteError: select.select([], [side], [])
                    except ssl.SSLWantReadError: select.select([side], [], [])
            def carry(one, other):
                for side in (one, other):
                    side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    side.setblocking(False)
                while True:
                    for side in [side for side in (one, other) if side.pending()] or select.select([one, other], [], [])[0]:
                        try: data = side.recv(65536)
                        except ssl.SSLWantReadError: continue
                        if not data: return
                        push(other if side is one else one, data)
            server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            server.load_cert_chain(sys.argv[2])
            client = ssl.create_default_context()
            client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
            def handle(stream):
                raw = stream.getsockopt(socket.SOL_IP, 80, 16)
                port, address = struct.unpack("!2xH4s8x", raw)
                target = (socket.inet_ntoa(address), port)
                with server.wrap_socket(stream, server_side=True) as inner:
                    print("intercepted", *target, flush=True)
                    with client.wrap_socket(socket.create_connection(target, 5)) as outer:
                        carry(inner, outer)
            serve(int(sys.argv[1]), handle)
            """
}
