import Glibc
import Sodium

// One measurement a line: what it is, then the number. `make bench` reads them; a person can too.
//
//     handshakes-per-second 2011.4                both sides, one core, no I/O
//     seal openssl 1420 812.0                     nanoseconds; `open` likewise
//     break-even openssl 588                      from this size on it beats libsodium, as far as 1420; 0: never
//
// An argument gives the seconds to spend on each of the two parts (default 2).
do {
    let seconds = CommandLine.arguments.dropFirst().first.flatMap { Double($0) } ?? 2
    try Libsodium.initialize()
    let handshakes = try HandshakeRate().measure(seconds: seconds)
    print("handshakes-per-second \(rounded(handshakes))")
    AEADCost.measure(seconds: seconds).forEach { print($0) }
} catch {
    print("warren-bench: \(error)")
    exit(1)
}
