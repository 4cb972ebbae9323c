import Glibc
import Linux
import NATBox
import Timing
import Tun

/// Takes packets from a TUN, asks the translator, and writes them back to the same TUN when their time has come.
struct Pump: ~Copyable {
    struct Configuration: Codable {
        var behaviour: BoxBehaviour
        var outward: Weather
        var inward: Weather
        var seed: UInt64
    }

    enum Failure: Error, CustomStringConvertible {
        case usage
        case unreadable(String)
        case badConfiguration
        case deleted(Int)

        var description: String {
            switch self {
            case .usage: "usage: warren-natbox INTERFACE CONFIGURATION"
            case .unreadable(let path): "read \(path): there is no such file"
            case .badConfiguration: "the configuration has no valid addresses or ports"
            case .deleted(let errno): "read from the TUN: errno \(errno)"
            }
        }
    }

    private let device: TunDevice
    private let signals: SignalFD
    private let epoll: Epoll
    private var translator: Translator
    private var outward: DelayLine<[UInt8]>
    private var inward: DelayLine<[UInt8]>
    private var malformed = 0

    init(_ interface: String, _ configuration: Configuration) throws {
        guard let translator = Translator(configuration.behaviour, seed: configuration.seed) else {
            throw Failure.badConfiguration
        }
        let signals = try SignalFD([SIGTERM, SIGINT, SIGUSR1])
        let device = try TunDevice.create(interface)
        let epoll = try Epoll()
        try epoll.add(device.raw, .read, token: 0)
        try epoll.add(signals.raw, .read, token: 1)
        self.translator = translator
        self.signals = signals
        self.device = device
        self.epoll = epoll
        outward = DelayLine(configuration.outward, seed: configuration.seed ^ 1)
        inward = DelayLine(configuration.inward, seed: configuration.seed ^ 2)
    }

    /// Runs until SIGTERM.
    consuming func run() throws {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: TunDevice.frameBufferSize, alignment: 64)
        defer { unsafe buffer.deallocate() }
        while true {
            _ = try epoll.wait(timeout: pause())
            while let signal = signals.next() {
                guard signal == SIGUSR1 else { return report() }
                translator.reboot()
            }
            while true {
                let length = unsafe device.read(into: buffer)
                if length == 0 { break }
                guard length > 0 else { throw Failure.deleted(-length) }
                guard length > VirtioNetHeader.size else { continue }
                unsafe take(Array(buffer[VirtioNetHeader.size..<length]))
            }
            let now = MonotonicTime.now()
            while let packet = outward.take(now: now) { write(packet) }
            while let packet = inward.take(now: now) { write(packet) }
        }
    }

    /// Until the next packet is due: whole milliseconds asleep, the rest awake, as epoll knows nothing finer.
    private func pause() -> Interval? {
        guard let due = [outward.nextDue, inward.nextDue].compactMap(\.self).min() else { return nil }
        return .milliseconds(due.since(.now()).nanoseconds / 1_000_000)
    }

    private mutating func take(_ bytes: [UInt8]) {
        if translator.isTransparent {
            guard bytes.count <= translator.behaviour.blackHoleAbove else { return }
            if translator.isFromInside(bytes) {
                outward.put(bytes, now: .now())
            } else {
                inward.put(bytes, now: .now())
            }
            return
        }
        guard let packet = Packet(bytes) else {
            malformed += 1
            return
        }
        let now = MonotonicTime.now()
        switch translator.translate(packet, now: now) {
        case .outward(let packet): outward.put(packet.bytes, now: now)
        case .inward(let packet): inward.put(packet.bytes, now: now)
        case .dropped: break
        }
    }

    private func write(_ packet: [UInt8]) {
        _ = unsafe packet.withUnsafeBytes { unsafe device.write($0) }
    }

    private func report() {
        print("mappings \(translator.count)")
        for (reason, count) in translator.drops.sorted(by: { $0.key.rawValue < $1.key.rawValue }) {
            print("dropped \(reason.rawValue) \(count)")
        }
        print("lost \(outward.lost + inward.lost)\nmalformed \(malformed)")
    }
}
