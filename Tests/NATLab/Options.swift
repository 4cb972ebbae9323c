import Glibc
import Lab

/// What the run measures, from the environment: `make natlab CLASSES=… TRIALS=…`.
struct Options {
    enum Part: String, CaseIterable { case matrix, failures, cold, blocked, idle }

    var parts: [Part]
    var classes: [NATClass]
    /// Only pairs that are crossed so, by `Crossing.letter`; all when empty.
    var crossings: Set<String>
    /// Trials a pair.
    var trials: Int
    /// Pairs measured at the same time, each in namespaces of its own.
    var lanes: Int
    var settings = PairLab.Settings()
    /// How often each failure is brought about.
    var repetitions: Int
    /// For how long an idle pair is watched, in seconds. An hour, because the first minutes are those that learn.
    var idleSeconds: Double
    /// The folder for what is written.
    var folder: String

    /// The ten of the published profiles.
    static let table = Profile.all[0].weights.map(\.id)

    init() throws {
        let isQuick = Self.value("QUICK") == "1"
        trials = try Self.number("TRIALS", default: isQuick ? 1 : 3)
        lanes = try Self.number("LANES", default: 2)
        repetitions = try Self.number("REPEAT", default: isQuick ? 2 : 20)
        idleSeconds = Double(try Self.number("IDLE", default: isQuick ? 60 : 3600))
        settings.patience = Double(try Self.number("PATIENCE", default: 6))
        folder = Self.value("OUT") ?? ".build/natlab"
        parts = try Self.parts(Self.value("PARTS"))
        classes = try Self.classes(Self.value("CLASSES") ?? (isQuick ? "table" : "all"))
        crossings = try Self.crossings(Self.value("CROSSINGS"))
    }

    /// `S,S†,P,B,B2,R`, or `direct` for all but R, whose trials last as long as the laboratory's patience.
    private static func crossings(_ text: String?) throws -> Set<String> {
        let direct = ["S", "S†", "P", "B", "B2"]
        guard let text else { return [] }
        if text == "direct" { return Set(direct) }
        let words = text.split(separator: ",").map(String.init)
        if let word = words.first(where: { !direct.contains($0) && $0 != "R" }) {
            throw LabError.unexpected("CROSSINGS=\(text): no crossing \(word); known: direct, \(direct), R")
        }
        return Set(words)
    }

    private static func parts(_ text: String?) throws -> [Part] {
        guard let text else { return Part.allCases }
        return try text.split(separator: ",").map { word in
            guard let part = Part(rawValue: String(word)) else {
                let known = Part.allCases.map(\.rawValue).joined(separator: ",")
                throw LabError.unexpected("PARTS=\(text): no part \(word); known: \(known)")
            }
            return part
        }
    }

    /// Names with commas between, or `all`, or `table`; in the order of the lab's own list.
    private static func classes(_ text: String) throws -> [NATClass] {
        let words = text.split(separator: ",").flatMap { word -> [String] in
            switch word {
            case "all": NATClass.all.map(\.id)
            case "table": table
            default: [String(word)]
            }
        }
        let wanted = Set(try words.map { try NATClass.named($0) })
        return NATClass.all.filter(wanted.contains)
    }

    private static func value(_ name: String) -> String? {
        guard let value = unsafe getenv(name) else { return nil }
        let text = unsafe String(cString: value)
        return text.isEmpty ? nil : text
    }

    private static func number(_ name: String, default fallback: Int) throws -> Int {
        guard let text = value(name) else { return fallback }
        guard let number = Int(text), number > 0 else {
            throw LabError.unexpected("\(name)=\(text): a whole number above 0 is needed")
        }
        return number
    }
}
