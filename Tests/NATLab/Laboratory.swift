import Foundation
import Glibc
import Lab
import Linux
import Synchronization

/// A pair of pods in a sandbox of that name, which goes when `body` ends, and with a signal.
enum Laboratory {
    static func with(
        _ name: String, programs: String, _ settings: PairLab.Settings, _ body: (PairLab) throws -> Void
    ) throws {
        let sandbox = try Sandbox(name: name)
        Interruption.cleanUp { sandbox.tearDown() }
        defer { sandbox.tearDown() }
        let lab = try PairLab(in: sandbox, programs: programs, settings)
        try body(lab)
        for fault in lab.tearDown() { say("\(name): \(fault)") }
    }
}

/// A thread that is waited for at the end.
final class LaneThread: Sendable {
    private let thread: Mutex<Linux.Thread?>

    init(named name: String, _ body: @escaping @Sendable () -> Void) throws {
        thread = Mutex(try Linux.Thread(named: name, body))
    }

    func join() {
        guard let thread = thread.withLock({ $0.take() }) else { return }
        thread.join()
    }
}

private let began = Clock.now

/// A line with the seconds since the start in front.
func say(_ text: String) {
    let time = fixed(Clock.now - began, 1)
    put(String(repeating: " ", count: max(0, 7 - time.count)) + time + " s  " + text)
}

/// A line of its own, written at once.
func put(_ text: String = "") { FileHandle.standardOutput.write(Data((text + "\n").utf8)) }
