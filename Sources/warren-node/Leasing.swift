import BlockLeasing
import Glibc
import Linux
import Synchronization

/// The lease in the agent's process: tasks beside its threads.
final class Leasing: Sendable {
    private let keeper: LeaseKeeper
    private let begun = Mutex<Result<HeldBlock, LeaseError>?>(nil)
    private let event: EventFD
    private let task = Mutex<Task<Void, Never>?>(nil)

    init(_ keeper: LeaseKeeper) throws(SystemError) {
        self.keeper = keeper
        event = try EventFD()
    }

    /// Waits for the block to begin with; nil when `signals` came before it.
    func begin(until signals: borrowing SignalFD) throws -> HeldBlock? {
        let epoll = try Epoll()
        try epoll.add(signals.raw, .read, token: 0)
        try epoll.add(event.raw, .read, token: 1)
        run { leasing in
            let result: Result<HeldBlock, LeaseError>
            do throws(LeaseError) { result = .success(try await leasing.keeper.begin()) } catch {
                result = .failure(error)
            }
            leasing.begun.withLock { $0 = result }
            leasing.event.signal()
        }
        var events: [Epoll.Event] = []
        while events.isEmpty { events = try epoll.wait(timeout: nil) }
        guard let result = begun.withLock({ $0 }) else { return nil }
        return try result.get()
    }

    /// Keeps it until `stop`; `changed` is told of each lease that follows.
    func keep(_ held: HeldBlock, changed: @escaping @Sendable (HeldBlock) -> Void) {
        run { await $0.keeper.keep(held, changed: changed) }
    }

    func stop() { task.withLock { $0?.cancel() } }

    private func run(_ body: @escaping @Sendable (Leasing) async -> Void) {
        task.withLock { $0 = Task.detached { await body(self) } }
    }
}
