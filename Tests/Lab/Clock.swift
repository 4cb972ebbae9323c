import Glibc

/// Time in seconds, as scenarios measure it.
package enum Clock {
    /// CLOCK_MONOTONIC.
    package static var now: Double { read(CLOCK_MONOTONIC) }

    /// Seconds since 1970, to compare with the stamps of `ping -D`.
    package static var wall: Double { read(CLOCK_REALTIME) }

    private static func read(_ clock: clockid_t) -> Double {
        var time = timespec()
        _ = unsafe clock_gettime(clock, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }
}

/// Polls until `condition` gives a value, and returns it with the seconds it took; throws what is missing after
/// `timeout` seconds. An error thrown by `condition` counts as "not yet", except `LabError.ended`, which ends the wait.
@discardableResult
package func waitUntil<Value>(
    _ what: @autoclosure () -> String, timeout: Double, every pause: Double = 0.01, _ condition: () throws -> Value?
) throws -> (value: Value, seconds: Double) {
    let start = Clock.now
    var lastError: (any Error)?
    while true {
        do {
            if let value = try condition() { return (value, Clock.now - start) }
        } catch let error as LabError {
            if case .ended = error { throw error }
            lastError = error
        } catch {
            lastError = error
        }
        if Clock.now - start > timeout {
            let reason = lastError.map { " (\($0))" } ?? ""
            throw LabError.timeout(what() + reason, seconds: timeout)
        }
        usleep(UInt32(pause * 1e6))
    }
}

/// As `waitUntil`, for a condition that is true or not.
@discardableResult
package func waitUntil(
    _ what: @autoclosure () -> String, timeout: Double, every pause: Double = 0.01, _ condition: () throws -> Bool
) throws -> Double {
    try waitUntil(what(), timeout: timeout, every: pause) { () throws -> Void? in try condition() ? () : nil }.seconds
}
