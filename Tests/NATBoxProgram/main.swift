import Foundation
import Glibc
import Linux
import NATBox
import Timing
import Tun

// warren-natbox INTERFACE CONFIGURATION: makes a TUN and translates, delays, loses and reorders what is routed to it.
//
// The configuration is a file in JSON: see `Pump.Configuration`. SIGUSR1 is a reboot: all mappings are forgotten.
// SIGTERM ends it, with the counters on standard output.
do {
    let words = CommandLine.arguments
    guard words.count == 3 else { throw Pump.Failure.usage }
    guard let data = FileManager.default.contents(atPath: words[2]) else { throw Pump.Failure.unreadable(words[2]) }
    let configuration = try JSONDecoder().decode(Pump.Configuration.self, from: data)
    try Pump(words[1], configuration).run()
} catch {
    writeErrorLine("warren-natbox: \(error)")
    exit(1)
}
