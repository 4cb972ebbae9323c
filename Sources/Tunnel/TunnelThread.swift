import CLinux
import Glibc
package import Linux
import Synchronization
package import Timing
import Transport
import WireGuard

/// A tunnel: its control thread, which runs this, and the packet threads that it starts.
///
/// The control thread owns the core and the policy: handshakes, timers, configuration, paths. The control world reaches it
/// through one door: commands in a queue with an eventfd; packet threads through theirs: notes (`NoteRing`).
package final class TunnelThread<Policy: TunnelPolicy & ~Copyable>: @unchecked Sendable {
    // Safe: `core` and `policy` are touched only in `run`, by whichever one thread calls it, and in `init` before that.
    package typealias Command = @Sendable (inout TunnelCore, inout Policy) -> Void

    private var core: TunnelCore
    private var policy: Policy
    private let io: PacketIO
    private let epoll: Epoll
    private let commands = Mutex<(pending: [Command], isOpen: Bool)>(([], true))
    private var isStopping = false
    private var packets: [PacketThread] = []
    private let running = Mutex<[PacketThread]>([])

    package init(_ core: consuming TunnelCore, _ policy: consuming Policy) throws(SystemError) {
        let epoll = try Epoll()
        io = core.io
        try epoll.add(io.door.raw, .read, token: 0)
        if policy.watchedDescriptor >= 0 { try epoll.add(policy.watchedDescriptor, .read, token: 1) }
        self.epoll = epoll
        self.core = core
        self.policy = policy
    }

    /// How many threads move packets: one when there is one processor or less for the process, two otherwise.
    package static var packetThreads: Int { ProcessorShare.packetThreads }

    // MARK: The door

    /// Has `command` run on the tunnel's thread. Commands run in order; those given after the tunnel has ended are dropped.
    /// Safe from any thread.
    package func perform(_ command: @escaping Command) { _ = performIfOpen(command) }

    /// The same; false when the tunnel has ended, or is about to, and the command is dropped.
    func performIfOpen(_ command: @escaping Command) -> Bool {
        let isOpen = commands.withLock { state in
            if state.isOpen { state.pending.append(command) }
            return state.isOpen
        }
        io.door.signal()
        return isOpen
    }

    /// Those that move packets, while they run. Safe from any thread.
    var movers: [PacketThread] { running.withLock { $0 } }

    /// What has come from peers for the pod, and from the pod for peers. Safe from any thread.
    package var received: PacketTally { io.received }
    package var sent: PacketTally { io.sent }

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

    /// The same, waiting for at most `patience`; nil also when it takes longer.
    package func askAndWait<Answer: Sendable>(
        within patience: Interval, _ question: @escaping @Sendable (inout TunnelCore, inout Policy) -> Answer
    ) -> Answer? {
        let semaphore = Semaphore()
        let answer = Box<Answer>()
        perform(Self.command(question, answer, semaphore))
        semaphore.wait(for: patience)
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
        io.door.signal()
    }

    // MARK: The loop

    /// Carries packets until `stop`, or until the TUN device is gone.
    ///
    /// - Returns: nil after `stop`; the error that ended it otherwise (EBADFD: the interface was deleted).
    package func run() -> SystemError? {
        var threads: [JoinHandle] = []
        defer {
            running.withLock { $0 = [] }
            for packet in packets { packet.end() }
            for thread in threads { thread.join() }
            close()
        }
        do {
            core.device.publishRoutes()
            for thread in try makePacketThreads() {
                threads.append(JoinHandle(try Thread(named: thread.name) { thread.run() }))
            }
            running.withLock { $0 = packets }
            while !isStopping {
                try turn()
                if let error = packets.lazy.compactMap(\.error).first { return error }
            }
            return nil
        } catch { return error }
    }

    private func makePacketThreads() throws(SystemError) -> [PacketThread] {
        do throws(TransportError) {
            packets =
                Self.packetThreads == 1
                ? [try PacketThread(io, .both)] : [try PacketThread(io, .inbound), try PacketThread(io, .outbound)]
        } catch {
            if case .system(let error) = error { throw error }
            throw SystemError("start packet threads: \(error)", .noBuffers)
        }
        for thread in packets where thread.readsSockets { try core.add(thread) }
        return packets
    }

    private func turn() throws(SystemError) {
        var deadline = min(core.device.nextDeadline, policy.nextDeadline)
        let before = MonotonicTime.now()
        // What packet threads may still look at, and what a full socket did not take, is tried again soon.
        if io.plane.reclaimer.collect() || core.hasUnsent { deadline = min(deadline, before + .milliseconds(1)) }
        if io.fallAsleep() {
            let isWoken = try !epoll.wait(timeout: deadline == .never ? nil : deadline.since(before)).isEmpty
            io.awake()
            if isWoken { io.door.drain() }
        }
        let now = MonotonicTime.now()
        let wall = WallTime.now()
        runCommands()
        _ = core.takeNotes(&policy, now: now, wall: wall)
        if core.device.nextDeadline <= now { core.device.tick(now: now, wall: wall) }
        policy.tick(&core, now: now)
        core.deliver(&policy, now: now, wall: wall)
        core.device.publishRoutes()
        core.flush()
    }

    private func runCommands() {
        let (pending, isOpen) = commands.withLock { state in
            defer { state.pending = [] }
            return (state.pending, state.isOpen)
        }
        for command in pending { command(&core, &policy) }
        if !isOpen { isStopping = true }
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

    /// Waits for at most so long.
    func wait(for patience: Interval) {
        // sem_timedwait(3) counts by the wall clock.
        let wall = WallTime.now()
        let end = UInt64(wall.nanoseconds) + patience.nanoseconds
        var deadline = timespec(
            tv_sec: time_t(wall.seconds + Int64(end / 1_000_000_000)), tv_nsec: Int(end % 1_000_000_000))
        while unsafe sem_timedwait(semaphore, &deadline) != 0, Errno.current == .interrupted {}
    }
}

/// A thread that is waited for once.
private final class JoinHandle: Sendable {
    private let thread: Mutex<Thread?>

    init(_ thread: consuming Thread) { self.thread = Mutex(thread) }

    func join() { if let thread = thread.withLock({ $0.take() }) { thread.join() } }
}
