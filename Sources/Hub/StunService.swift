package import Addressing
import Linux
package import Logging
import STUN
import Sodium
import Timing
import Transport

/// Where STUN is served for clients that want to know their NAT's behaviour (RFC 5780): two addresses and two ports of
/// one family, so four sockets.
package struct StunPlaces: Equatable, Sendable {
    /// One address and port to listen on, and as clients reach them, which differ behind a 1:1 NAT.
    package struct Place: Equatable, Sendable {
        package var listen: Endpoint
        package var advertised: Endpoint

        /// `IP:PORT`, or `IP:PORT=PUBLIC-IP:PORT`.
        package init?(_ text: String) {
            let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            guard let listen = Endpoint(parts[0]), let advertised = Endpoint(parts[parts.count - 1]),
                listen.address.isIPv6 == advertised.address.isIPv6, listen.port > 0, advertised.port > 0
            else { return nil }
            self.listen = listen
            self.advertised = advertised
        }
    }

    package var primary: Place
    package var other: Place

    /// Pairs places of each family. Throws `.option` unless each family has none or two, with different addresses and
    /// ports.
    package static func pairs(_ places: [Place]) throws(HubError) -> [StunPlaces] {
        var pairs: [StunPlaces] = []
        for isIPv6 in [false, true] {
            let family = places.filter { $0.listen.address.isIPv6 == isIPv6 }
            if family.isEmpty { continue }
            guard family.count == 2, Self.differ(family[0].listen, family[1].listen),
                Self.differ(family[0].advertised, family[1].advertised),
                !family.contains(where: { $0.listen.address == .v4(.any) || $0.listen.address == .v6(.any) })
            else {
                throw .option(
                    "--stun-listen: give two IP:PORT of a family, with two addresses of this machine and two ports")
            }
            pairs.append(StunPlaces(primary: family[0], other: family[1]))
        }
        return pairs
    }

    private static func differ(_ left: Endpoint, _ right: Endpoint) -> Bool {
        left.address != right.address && left.port != right.port
    }
}

/// STUN on ports of its own: where the sockets meet `BehaviorServer`. One plain thread for all.
package final class StunService: Sendable {
    private let loop: StunLoop
    private let logger: Logger

    /// Opens the sockets; they are served once `run` is called.
    package init(_ places: [StunPlaces], logger: Logger) throws(HubError) {
        loop = try StunLoop(places)
        self.logger = logger
        for pair in places {
            logger.info("STUN (RFC 5780): on, UDP \(pair.primary.listen) and \(pair.other.listen)")
        }
    }

    /// Serves until the task is cancelled.
    package func run() async throws {
        let loop = loop
        let failure: SystemError? = await withTaskCancellationHandler {
            await withCheckedContinuation { (continuation: CheckedContinuation<SystemError?, Never>) in
                do throws(SystemError) {
                    _ = try Thread(named: "warren-stun") { continuation.resume(returning: loop.run()) }
                } catch { continuation.resume(returning: error) }
            }
        } onCancel: {
            loop.stop()
        }
        if let failure { throw HubError.listen("the STUN ports", reason: "\(failure)") }
        logger.info("STUN: stopped")
    }
}

/// The service's thread.
private final class StunLoop: @unchecked Sendable {
    // Safe: everything but `wake` is touched only in `run`, by the one thread that calls it.
    private var servers: [BehaviorServer] = []
    /// By family and side: `token / 4` and `token % 4`.
    private let sockets: [Socket]
    private let epoll: Epoll
    private let wake: EventFD
    private var buffer = [UInt8](repeating: 0, count: 2048)

    /// Shared ownership, so that they fit in an array.
    private final class Socket: Sendable {
        let udp: UDPSocket
        init(_ udp: consuming UDPSocket) { self.udp = udp }
    }

    private static let wakeToken = UInt64.max
    private static let datagramsPerTurn = 64

    init(_ places: [StunPlaces]) throws(HubError) {
        var random = SecureRandom()
        var opened: [Socket] = []
        for pair in places {
            guard
                let server = BehaviorServer(
                    primary: pair.primary.advertised, other: pair.other.advertised, now: .now(), using: &random)
            else { throw .option("--stun-listen: two addresses and two ports are needed") }
            servers.append(server)
            for side in BehaviorServer.Side.allCases {
                let place = Endpoint(
                    (side.hasOtherAddress ? pair.other : pair.primary).listen.address,
                    port: (side.hasOtherPort ? pair.other : pair.primary).listen.port)
                opened.append(try Self.open(place))
            }
        }
        do {
            epoll = try Epoll()
            wake = try EventFD()
            try epoll.add(wake.raw, .read, token: Self.wakeToken)
            for (index, socket) in opened.enumerated() {
                try epoll.add(socket.udp.raw, .read, token: UInt64(index))
            }
        } catch { throw .listen("the STUN ports", reason: "\(error)") }
        sockets = opened
    }

    private static func open(_ place: Endpoint) throws(HubError) -> Socket {
        do {
            return Socket(
                try UDPSocket(place.address.isIPv6 ? .ipv6 : .ipv4, address: place.address, port: place.port))
        } catch {
            if case .portInUse = error { throw .portTaken("\(place) (UDP)") }
            throw .listen("\(place) (UDP)", reason: "\(error)")
        }
    }

    /// Ends `run`, from any thread.
    func stop() { wake.signal() }

    /// Serves until `stop`: nil, or why it can't go on.
    func run() -> SystemError? {
        do {
            while true {
                for event in try epoll.wait(timeout: nil) {
                    if event.token == Self.wakeToken { return nil }
                    serve(Int(event.token))
                }
            }
        } catch { return error }
    }

    private func serve(_ index: Int) {
        let sides = BehaviorServer.Side.allCases
        let now = MonotonicTime.now()
        for _ in 0..<Self.datagramsPerTurn {
            let received = unsafe buffer.withUnsafeMutableBytes { unsafe sockets[index].udp.receive(into: $0) }
            guard let (length, source) = received else { return }
            // A datagram that fills the buffer may have been longer: not one that we serve.
            guard length < buffer.count else { continue }
            let answer = unsafe servers[index / sides.count].receive(
                buffer.span.bytes.extracting(0..<length), at: sides[index % sides.count], from: source, now: now)
            guard case .send(let bytes, let side, let destination) = answer,
                let place = sides.firstIndex(of: side)
            else { continue }
            sockets[index / sides.count * sides.count + place].udp.send(bytes, to: destination)
        }
    }
}
