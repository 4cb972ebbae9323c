import CLinux
import Glibc
package import Linux
import Synchronization
import Timing
import Transport
import Tun
import WireGuard

/// A tunnel and the thread that runs it.
///
/// The packet world: one plain thread with its own epoll owns the core and the policy. The control world reaches it through
/// one door: commands in a queue with an eventfd, run between two batches of packets.
package final class TunnelThread<Policy: TunnelPolicy & ~Copyable>: @unchecked Sendable {
    // Safe: `core` and `policy` are touched only in `run`, by whichever one thread calls it, and in `init` before that.
    package typealias Command = @Sendable (inout TunnelCore, inout Policy) -> Void

    private enum Token: UInt64 {
        case ipv4 = 0
        case ipv6 = 1
        case tun = 2
        case door = 3
    }

    private var core: TunnelCore
    private var policy: Policy
    private let epoll: Epoll
    private let door: EventFD
    private let commands = Mutex<(pending: [Command], isOpen: Bool)>(([], true))
    private var registered: (ipv4: Int32, ipv6: Int32) = (-1, -1)
    private var isStopping = false
    /// Whether the TUN is left unread until a socket takes more.
    private var isPaused = false
    /// The socket whose room is waited for.
    private var awaited: UInt8?

    package init(_ core: consuming TunnelCore, _ policy: consuming Policy) throws(SystemError) {
        let epoll = try Epoll()
        let door = try EventFD()
        self.epoll = epoll
        self.door = door
        self.core = core
        self.policy = policy
    }

    // MARK: The door

    /// Has `command` run on the tunnel's thread. Commands run in order; those given after the tunnel has ended are dropped.
    /// Safe from any thread.
    package func perform(_ command: @escaping Command) {
        commands.withLock { if $0.isOpen { $0.pending.append(command) } }
        door.signal()
    }

    /// Runs `question` on the tunnel's thread and returns its answer; nil when the tunnel has ended.
    package func ask<Answer: Sendable>(
        _ question: @escaping @Sendable (inout TunnelCore, inout Policy) -> Answer
    ) async -> Answer? {
        await withCheckedContinuation { continuation in
            let reply = Reply(continuation)
            perform { core, policy in reply.resume(question(&core, &policy)) }
        }
    }

    /// The same, blocking the calling thread, which is not the tunnel's.
    package func askAndWait<Answer: Sendable>(
        _ question: @escaping @Sendable (inout TunnelCore, inout Policy) -> Answer
    ) -> Answer? {
        let semaphore = Semaphore()
        let answer = Box<Answer>()
        perform(Self.command(question, answer, semaphore))
        semaphore.wait()
        return answer.value.withLock { $0 }
    }

    /// A function of its own, so that nothing but the command holds `release`: dropped unrun, it wakes the waiting thread.
    private static func command<Answer: Sendable>(
        _ question: @escaping @Sendable (inout TunnelCore, inout Policy) -> Answer, _ answer: Box<Answer>,
        _ semaphore: Semaphore
    ) -> Command {
        let release = Release(semaphore)
        return { core, policy in
            answer.value.withLock { $0 = question(&core, &policy) }
            release.now()
        }
    }

    /// Ends `run` after the packets that are in hand.
    package func stop() {
        perform { _, _ in }
        commands.withLock { $0.isOpen = false }
        door.signal()
    }

    // MARK: The loop

    /// Carries packets until `stop`, or until the TUN device is gone.
    ///
    /// - Returns: nil after `stop`; the error that ended it otherwise (EBADFD: the interface was deleted).
    package func run() -> SystemError? {
        defer { close() }
        do {
            try epoll.add(core.tun.raw, .read, token: Token.tun.rawValue)
            try epoll.add(door.raw, .read, token: Token.door.rawValue)
            try register()
            while !isStopping { try turn() }
            return nil
        } catch { return error }
    }

    private func turn() throws(SystemError) {
        let deadline = min(core.device.nextDeadline, policy.nextDeadline)
        let before = MonotonicTime.now()
        let events = try epoll.wait(timeout: deadline == .never ? nil : deadline.since(before))
        let now = MonotonicTime.now()
        let wall = WallTime.now()
        for event in events {
            switch Token(rawValue: event.token) {
            case .ipv4, .ipv6:
                core.receive(socket: UInt8(event.token), &policy, now: now, wall: wall)
            case .tun:
                try core.transmit(&policy, now: now, wall: wall)
            case .door:
                door.drain()
                runCommands()
                try register()
            case nil: break
            }
        }
        if core.device.nextDeadline <= now { core.device.tick(now: now, wall: wall) }
        policy.tick(&core, now: now)
        core.deliver(&policy, now: now, wall: wall)
        core.flush()
        core.flushToTun()
        try follow(core.blockedSocket)
    }

    private func runCommands() {
        let (pending, isOpen) = commands.withLock { state in
            defer { state.pending = [] }
            return (state.pending, state.isOpen)
        }
        for command in pending { command(&core, &policy) }
        if !isOpen { isStopping = true }
    }

    /// Follows the home sockets, which a command may have replaced.
    private func register() throws(SystemError) {
        for (index, token) in [(UInt8(0), Token.ipv4), (UInt8(1), Token.ipv6)] {
            let raw = core.sockets[index]
            let known = index == 0 ? registered.ipv4 : registered.ipv6
            guard raw != known else { continue }
            // A closed descriptor has left the epoll set by itself.
            if raw >= 0 { try epoll.add(raw, .read, token: token.rawValue) }
            if index == 0 { registered.ipv4 = raw } else { registered.ipv6 = raw }
            // It is not the one that was waited for: the next flush finds out how it is.
            if awaited == index { awaited = nil }
        }
    }

    /// Waits for room in the buffer of the socket that is full, and of no other, which would be ready all the time; and
    /// reads nothing from the pod meanwhile: its queue fills, its senders slow.
    private func follow(_ blocked: UInt8?) throws(SystemError) {
        if isPaused != (blocked != nil) {
            try epoll.modify(core.tun.raw, blocked == nil ? .read : [], token: Token.tun.rawValue)
            isPaused = blocked != nil
        }
        guard awaited != blocked else { return }
        if let awaited, core.sockets[awaited] >= 0 {
            try epoll.modify(core.sockets[awaited], .read, token: UInt64(awaited))
        }
        if let blocked, core.sockets[blocked] >= 0 {
            try epoll.modify(core.sockets[blocked], [.read, .write], token: UInt64(blocked))
        }
        awaited = blocked
    }

    /// Nobody waits for an answer of a tunnel that has ended: pending commands are released unrun.
    private func close() {
        let pending = commands.withLock { state in
            state.isOpen = false
            defer { state.pending = [] }
            return state.pending
        }
        // Released outside of the lock: each wakes who waits for it.
        _ = consume pending
    }
}

/// A continuation that is resumed exactly once: with the answer, or with nil when the command is dropped unrun.
private final class Reply<Answer: Sendable>: Sendable {
    private let continuation: Mutex<CheckedContinuation<Answer?, Never>?>

    init(_ continuation: CheckedContinuation<Answer?, Never>) { self.continuation = Mutex(continuation) }

    deinit { take()?.resume(returning: nil) }

    func resume(_ answer: Answer) { take()?.resume(returning: answer) }

    private func take() -> CheckedContinuation<Answer?, Never>? { continuation.withLock { $0.take() } }
}

private final class Box<Value: Sendable>: Sendable {
    let value = Mutex<Value?>(nil)
}

/// Signals the semaphore once: when told, or when the command that holds it is dropped unrun.
private final class Release: Sendable {
    private let semaphore: Mutex<Semaphore?>

    init(_ semaphore: Semaphore) { self.semaphore = Mutex(semaphore) }

    deinit { now() }

    func now() { semaphore.withLock { $0.take() }?.signal() }
}

/// sem_t(3): for a plain thread that waits for the tunnel's.
@safe private final class Semaphore: @unchecked Sendable {
    // Safe: allocated once, freed when nobody refers to it; sem_post and sem_wait are safe from any thread.
    private let semaphore: UnsafeMutablePointer<sem_t>

    init() {
        unsafe semaphore = .allocate(capacity: 1)
        unsafe sem_init(semaphore, 0, 0)
    }

    deinit {
        unsafe sem_destroy(semaphore)
        unsafe semaphore.deallocate()
    }

    func signal() { unsafe sem_post(semaphore) }

    func wait() { while unsafe sem_wait(semaphore) != 0 {} }
}
