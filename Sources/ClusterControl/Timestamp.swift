import Timing

/// Times as the API writes them: RFC 3339 in UTC, with microseconds (MicroTime) or without.
enum Timestamp {
    static func micro(_ time: WallTime) -> String {
        let micros = String(time.nanoseconds / 1000)
        return "\(date(time.seconds)).\(String(repeating: "0", count: 6 - micros.count))\(micros)Z"
    }

    static func seconds(_ time: WallTime) -> String { "\(date(time.seconds))Z" }

    private static func date(_ seconds: Int64) -> String {
        let days = seconds.quotientFloored(by: 86400)
        let rest = seconds - days * 86400
        // Days to a date of the Gregorian calendar, by eras of 400 years that begin in March.
        let shifted = days + 719_468
        let era = shifted.quotientFloored(by: 146_097)
        let day = shifted - era * 146_097
        let year = (day - day / 1460 + day / 36524 - day / 146_096) / 365
        let dayOfYear = day - (365 * year + year / 4 - year / 100)
        let month = (5 * dayOfYear + 2) / 153
        let civilMonth = month < 10 ? month + 3 : month - 9
        let civilYear = year + era * 400 + (civilMonth <= 2 ? 1 : 0)
        let civilDay = dayOfYear - (153 * month + 2) / 5 + 1
        return
            "\(civilYear)-\(two(civilMonth))-\(two(civilDay))T\(two(rest / 3600)):\(two(rest / 60 % 60)):\(two(rest % 60))"
    }

    private static func two(_ number: Int64) -> String { number < 10 ? "0\(number)" : "\(number)" }
}

extension Int64 {
    fileprivate func quotientFloored(by divisor: Int64) -> Int64 { (self - (self < 0 ? divisor - 1 : 0)) / divisor }
}
