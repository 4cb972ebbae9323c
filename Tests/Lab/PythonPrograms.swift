/// Small clients and servers for Debian's python3 that no packaged program offers.
enum PythonPrograms {
    /// Arguments: address, port. Reads 64 KiB, sleeps 2 ms, and so on to the end.
    static let slowReader = """
        import hashlib, json, socket, sys, time
        family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.bind((sys.argv[1], int(sys.argv[2])))
        listener.listen(1)
        stream, _ = listener.accept()
        digest, total, longest, start = hashlib.sha256(), 0, 0.0, time.monotonic()
        while True:
            before = time.monotonic()
            data = stream.recv(65536, socket.MSG_WAITALL)
            longest = max(longest, time.monotonic() - before)
            if not data:
                break
            digest.update(data)
            total += len(data)
            time.sleep(0.002)
        print(json.dumps({"bytes": total, "hash": digest.hexdigest(), "seconds": time.monotonic() - start,
                          "longestWait": longest}))
        """

    /// Arguments: address, port, bytes. Sends random mebibytes and prints their SHA-256.
    static let sender = """
        import hashlib, os, socket, sys
        stream = socket.create_connection((sys.argv[1], int(sys.argv[2])))
        digest, left, serial, block = hashlib.sha256(), int(sys.argv[3]), 0, os.urandom(1 << 20)
        while left:
            data = (serial.to_bytes(8, "big") + block[8:])[:left]
            digest.update(data)
            stream.sendall(data)
            left -= len(data)
            serial += 1
        stream.shutdown(socket.SHUT_WR)
        stream.recv(1)
        print(digest.hexdigest())
        """

    /// Argument: address to listen on. Bytes in, bytes out: no generated code is needed for that.
    static let grpcServer = """
        import grpc, sys
        from concurrent import futures
        def say(request, context): return b"echo " + request
        def count(request, context):
            for number in range(int(request)): yield b"%d" % number
        def total(requests, context): return b"%d" % sum(len(request) for request in requests)
        service = grpc.method_handlers_generic_handler("warren.Echo", {
            "Say": grpc.unary_unary_rpc_method_handler(say),
            "Count": grpc.unary_stream_rpc_method_handler(count),
            "Total": grpc.stream_unary_rpc_method_handler(total)})
        server = grpc.server(futures.ThreadPoolExecutor(4))
        server.add_generic_rpc_handlers((service,))
        if not server.add_insecure_port(sys.argv[1]): sys.exit("cannot bind " + sys.argv[1])
        server.start()
        server.wait_for_termination()
        """

    /// Argument: address of the server. Prints one line; any difference ends it with an error.
    static let grpcClient = """
        import grpc, sys, time
        start = time.monotonic()
        with grpc.insecure_channel(sys.argv[1]) as channel:
            grpc.channel_ready_future(channel).result(10)
            say, count = channel.unary_unary("/warren.Echo/Say"), channel.unary_stream("/warren.Echo/Count")
            total = channel.stream_unary("/warren.Echo/Total")
            for number in range(200):
                assert say(b"%d" % number, timeout=5) == b"echo %d" % number
            assert [int(answer) for answer in count(b"1000", timeout=10)] == list(range(1000))
            assert total((b"x" * 10000 for _ in range(200)), timeout=10) == b"2000000"
        print("200 unary calls, 1000 messages down, 2 MB up in %.2f s" % (time.monotonic() - start))
        """
}
