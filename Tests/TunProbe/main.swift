import Glibc
import Handover
import Linux
import Tun

// A sidecar's first step as a program of its own, for tests that start it as the sidecar's user in a pod's namespaces:
// asks the node's agent for the interface, says what came of it, and holds it until stdin ends.
//
//     warren-tunprobe IFNAME      granted | EXPLANATION, then `packet LENGTH` for each packet that it reads

/// At once: the reader of a pipe waits for it.
func say(_ line: String) {
    let bytes = Array("\(line)\n".utf8)
    _ = unsafe bytes.withUnsafeBytes { unsafe write(1, $0.baseAddress, $0.count) }
}

do {
    let tun = try HandoverClient.receive(CommandLine.arguments.dropFirst().first ?? "warren0")
    say("granted")
    var ends = [
        pollfd(fd: tun.raw, events: Int16(POLLIN), revents: 0), pollfd(fd: 0, events: Int16(POLLIN), revents: 0),
    ]
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: TunDevice.frameBufferSize, alignment: 8)
    while unsafe poll(&ends, 2, -1) > 0, ends[1].revents == 0 {
        let length = unsafe tun.read(into: buffer)
        if length > 0 { say("packet \(length)") }
    }
} catch {
    say("\(error)")
}
