import Glibc
import Sodium

// One measurement a line: what it is, then the number. `make bench` reads them; a person can too.
//
//     handshakes-per-second 2011.4                both sides, one core, no I/O
//     seal openssl 1420 812.0                     nanoseconds; `open` likewise
//     break-even openssl 112                      used from this size on, and libsodium below, all sizes cost least; 0: never
//     send unconnected gso 64 51.3                ns a datagram; single or 40 a call, 1 or 64 peers; connected likewise
//
// An argument gives the seconds to spend on each part (default 2).
do {
    let seconds = CommandLine.arguments.dropFirst().first.flatMap { Double($0) } ?? 2
    try Libsodium.initialize()
    let handshakes = try HandshakeRate().measure(seconds: seconds)
    print("handshakes-per-second \(rounded(handshakes))")
    AEADCost.measure(seconds: seconds).forEach { print($0) }
    try SocketCost.measure(seconds: seconds).forEach { print($0) }
} catch {
    print("warren-bench: \(error)")
    exit(1)
}
