import Glibc
import Timing

/// Times as the API writes them: RFC 3339 in UTC, with microseconds (MicroTime) or without.
enum Timestamp {
    static func micro(_ time: WallTime) -> String {
        let micros = String(time.nanoseconds / 1000)
        return "\(date(time.seconds)).\(String(repeating: "0", count: 6 - micros.count))\(micros)Z"
    }

    static func seconds(_ time: WallTime) -> String { "\(date(time.seconds))Z" }

    private static func date(_ seconds: Int64) -> String {
        var (time, parts) = (time_t(seconds), unsafe tm())
        var text = [CChar](repeating: 0, count: 32)
        unsafe gmtime_r(&time, &parts)
        let count = unsafe strftime(&text, text.count, "%Y-%m-%dT%H:%M:%S", &parts)
        return String(decoding: text.prefix(count).map(UInt8.init(bitPattern:)), as: UTF8.self)
    }
}
