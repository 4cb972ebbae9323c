import Glibc
import Linux
import Synchronization
import Testing
import Timing

@Suite struct EpollTests {
    @Test func `an event from another thread wakes the loop with its token`() throws {
        let epoll = try Epoll()
        let event = try EventFD()
        try epoll.add(event.raw, .read, token: 42)
        #expect(try epoll.wait(timeout: .zero).isEmpty)
        event.signal()
        let events = try epoll.wait(timeout: .seconds(5))
        #expect(events.map(\.token) == [42])
        event.drain()
        #expect(try epoll.wait(timeout: .zero).isEmpty)
    }

    @Test func `a failed call names operation and subject`() throws {
        let epoll = try Epoll()
        #expect(throws: SystemError("epoll_ctl descriptor -1", Errno(EBADF))) {
            try epoll.add(-1, .read, token: 0)
        }
        let error = #expect(throws: SystemError.self) { _ = try FileDescriptor(open: "/no/such/file", O_RDONLY) }
        #expect(error?.description.hasPrefix("open /no/such/file: ENOENT") == true)
    }
}

@Suite struct ThreadTests {
    @Test func `a thread returns what its body returns, and throws what it throws`() throws {
        #expect(try Thread.run(named: "test") { 7 } == 7)
        #expect(throws: Errno.busy) { try Thread.run(named: "test") { throw Errno.busy } }
    }

    @Test func `a unix socket is private from its first moment and replaces a leftover`() throws {
        let path = "/tmp/warren-test-\(getpid()).sock"
        defer { _ = unsafe unlink(path) }
        do { _ = try UnixSocket.listen(path: path, mode: 0o600) }
        let listener = try UnixSocket.listen(path: path, mode: 0o600)
        var status = stat()
        #expect(unsafe stat(path, &status) == 0 && status.st_mode & 0o777 == 0o600)
        #expect(throws: SystemError("bind \(path)", Errno(EADDRINUSE))) {
            _ = try UnixSocket.listen(path: path, mode: 0o600)
        }
        #expect(listener.raw >= 0)
    }
}
