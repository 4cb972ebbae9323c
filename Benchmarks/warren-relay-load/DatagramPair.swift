import Addressing
import Glibc
import Linux
import Relay
import Sodium
import Timing
import Transport

/// A member's socket and registration.
struct DatagramEnd: ~Copyable {
    let socket: UDPSocket
    let relay: Endpoint
    var client: RelayClient
    let id: AgentID
    var random = SecureRandom()

    init(_ member: (identity: RelayClient.Identity, credential: [UInt8]), _ relay: RelayArgument) throws {
        socket = try UDPSocket(relay.udp.address.isIPv6 ? .ipv6 : .ipv4)
        self.relay = relay.udp
        id = member.identity.agent
        client = RelayClient(
            relay: relay.udp, relayID: relay.id, identity: member.identity, credential: member.credential, now: .now())
    }

    mutating func turn() {
        while let step = client.poll(now: .now(), using: &random) {
            if let bytes = step.send { socket.send(bytes, to: relay) }
        }
    }

    /// A frame that is not data.
    mutating func control(_ frame: RawSpan, from source: Endpoint) {
        if case .control(let step) = client.receive(frame, from: source, now: .now(), using: &random),
            let bytes = step.send
        {
            socket.send(bytes, to: relay)
        }
    }

    mutating func register() throws {
        var buffer = [UInt8](repeating: 0, count: 2048)
        let deadline = MonotonicTime.now() + .seconds(5)
        while !client.isUp {
            guard MonotonicTime.now() < deadline else { throw SystemError("register at \(relay)", Errno(ETIMEDOUT)) }
            turn()
            wait(socket.raw, 20)
            while let (length, source) = unsafe buffer.withUnsafeMutableBytes({ unsafe socket.receive(into: $0) }) {
                let frame = Array(buffer[..<length])
                unsafe control(frame.span.bytes, from: source)
            }
        }
        socket.enableReceiveOffload()
    }
}

/// One thread: sends bursts while less than the window is under way, and takes what arrives.
struct DatagramPair: ~Copyable {
    private var sender: DatagramEnd
    private var receiver: DatagramEnd
    private let size: Int
    private let window: Int
    private var sending: SendBatch
    private var receiving: ReceiveBatch
    private var table = SocketTable()

    /// Datagrams in one segmented send.
    private let burst: Int

    init(
        _ sender: consuming DatagramEnd, _ receiver: consuming DatagramEnd, _ size: Int, _ window: Int, _ burst: Int
    ) throws {
        let sending = try SendBatch()
        let receiving = try ReceiveBatch()
        self.sending = sending
        if burst == 1 { self.sending.setSegmentation(false, socket: 0) }
        self.receiving = receiving
        self.size = size
        self.window = window
        self.burst = burst
        table[0] = sender.socket.raw
        self.sender = sender
        self.receiver = receiver
    }

    mutating func run(until end: MonotonicTime, _ count: Counts) throws {
        try sender.register()
        try receiver.register()
        var (sent, arrived, frames, stalls) = (0, 0, 0, 0)
        var progress = MonotonicTime.now()
        let frameSize = size + FrameHeader.size
        while true {
            let now = MonotonicTime.now()
            guard now < end else { break }
            while sent - arrived + burst * frameSize <= window, send() { sent += burst * frameSize }
            let before = arrived
            take(&arrived, &frames)
            if arrived > before {
                progress = now
            } else if now.since(progress) > .milliseconds(20) {
                // What is missing was lost.
                sent = arrived
                stalls += 1
                progress = now
            } else if sent - arrived + burst * frameSize > window {
                wait(receiver.socket.raw, 2)
            }
            sender.turn()
            receiver.turn()
        }
        count.add(bytes: arrived, frames: frames, stalls: stalls)
    }

    private mutating func send() -> Bool {
        for _ in 0..<burst {
            guard let buffer = unsafe sending.reserve(size + FrameHeader.size),
                unsafe sender.client.writeHeader(to: receiver.id, in: buffer)
            else { return false }
            sending.commit(size + FrameHeader.size, to: sender.relay, socket: 0)
        }
        if sending.flush(through: table).blocked != nil {
            sending.discard()
            return false
        }
        return true
    }

    private mutating func take(_ bytes: inout Int, _ frames: inout Int) {
        while true {
            let count = receiving.receive(from: receiver.socket)
            guard count > 0 else { return }
            for index in 0..<count {
                guard var message = receiving.message(index) else { continue }
                while let frame = unsafe message.next() {
                    if unsafe frame[0] == FrameType.data.rawValue {
                        bytes += frame.count
                        frames += 1
                    } else {
                        unsafe receiver.control(frame.bytes, from: message.source)
                    }
                }
            }
        }
    }
}

func wait(_ raw: Int32, _ milliseconds: Int32) {
    var descriptor = pollfd(fd: raw, events: Int16(POLLIN), revents: 0)
    _ = unsafe poll(&descriptor, 1, milliseconds)
}
