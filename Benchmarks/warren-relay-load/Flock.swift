import Addressing
import ArgumentParser
import Glibc
import NIOCore
import NIOPosix
import Relay
import RelayStream
import Synchronization
import Timing

/// `flock`: many members at home at the first relay, by TLS. Prints `ready`; from the moment that their relay is gone it
/// counts how long each is without a home, and ends when all have one again.
struct Flock: AsyncParsableCommand {
    @OptionGroup var mesh: MeshOptions
    @Option(parsing: .singleValue) var relay: [RelayArgument]
    @Option var clients = 5000
    @Option(help: "Relays that each keeps: 1 is a cold move, 2 one to a relay that is warm.")
    var warm = 1
    @Option(help: "Addresses of 127.0.0.0/8 that they share.")
    var addresses = 50
    @Option(help: "Seconds to wait for all.")
    var patience = 60

    func run() async throws {
        let mesh = try mesh.mesh()
        let watch = Watch(clients)
        let targets = relay.map { RelayHomes.Target(id: $0.id, endpoint: $0.udp, transports: [.tls]) }
        let connectors = relay.map {
            RelayStreams.Connectors(tls: RelayStreamConnector(to: $0.tls, pin: $0.pin))
        }
        var configuration = RelayHomes.Configuration()
        configuration.warm = warm
        // All are to begin at the first, however long a machine takes that has both ends of 5,000 handshakes.
        configuration.grace = .seconds(20)
        configuration.preference = .seconds(20)
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let members = try (0..<clients).map { number in
            let address = "127.0.\(number % addresses / 250 + 1).\(number % addresses % 250 + 1)"
            let member = try mesh.member(number)
            return StreamAgent(
                targets, connectors: connectors, identity: member.identity, credential: member.credential,
                configuration,
                from: addresses > 0 ? try SocketAddress(ipAddress: address, port: 0) : nil, on: group.next(),
                changed: { watch.note(number, $0.first) })
        }
        let begun = MonotonicTime.now()
        // As pods do, they come one after the other.
        for chunk in stride(from: 0, to: members.count, by: 25) {
            for member in members[chunk..<min(chunk + 25, members.count)] { member.start() }
            try await Task.sleep(nanoseconds: 50_000_000)
        }
        guard await watch.wait(patience, { $0.atFirst == clients }) else {
            throw ValidationError("only \(watch.state.atFirst) of \(clients) registered at the first relay")
        }
        say("ready \(MonotonicTime.now().since(begun).seconds)")
        if warm > 1 { try await Task.sleep(nanoseconds: 10_000_000_000) }
        guard await watch.wait(patience, { $0.firstLost != nil }) else {
            throw ValidationError("the relay is not gone")
        }
        let isDone = await watch.wait(patience) { $0.moved == clients }
        let state = watch.state
        let times = state.times.compactMap { $0 }.sorted()
        let at = { (share: Double) in times.isEmpty ? -1 : times[min(times.count - 1, Int(Double(times.count) * share))]
        }
        let opens = members.reduce(0) { $0 + $1.connectionsBegun }
        say(
            "{\"clients\": \(clients), \"moved\": \(state.moved), \"all\": \(isDone), \"p50\": \(at(0.5)), "
                + "\"p99\": \(at(0.99)), \"max\": \(at(1)), \"attempts\": \(opens)}")
        if !isDone { throw ExitCode.failure }
    }
}

/// Which member is at home where, and since when.
final class Watch: Sendable {
    struct State {
        var home: [Int?]
        var times: [Double?]
        var atFirst = 0
        var moved = 0
        var firstLost: MonotonicTime?
    }

    private let guarded: Mutex<State>

    init(_ count: Int) {
        guarded = Mutex(State(home: Array(repeating: nil, count: count), times: Array(repeating: nil, count: count)))
    }

    var state: State { guarded.withLock { $0 } }

    func note(_ member: Int, _ home: Int?) {
        let now = MonotonicTime.now()
        guarded.withLock { state in
            let before = state.home[member]
            state.home[member] = home
            state.atFirst += (home == 0 ? 1 : 0) - (before == 0 ? 1 : 0)
            if before == 0, home != 0, state.firstLost == nil { state.firstLost = now }
            if let home, home != 0, state.times[member] == nil, let lost = state.firstLost {
                state.times[member] = now.since(lost).seconds
                state.moved += 1
            }
        }
    }

    /// False when `condition` does not hold within `seconds`.
    func wait(_ seconds: Int, _ condition: (State) -> Bool) async -> Bool {
        for _ in 0..<(seconds * 100) {
            if guarded.withLock({ condition($0) }) { return true }
            try? await Task.sleep(nanoseconds: 10_000_000)
        }
        return false
    }
}
