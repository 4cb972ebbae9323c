import CLinux
import Glibc
import Linux

/// `struct ifreq` (netdevice(7)): a name of at most 15 bytes and a union, 40 bytes in all.
///
/// ```
///  0                16                 40
///  | ifr_name, NUL  | flags u16 / index i32 / mtu i32 ... |
/// ```
struct InterfaceRequest {
    private var bytes = InlineArray<40, UInt8>(repeating: 0)

    /// An empty request, for calls that fill in the name.
    init() {}

    /// Nil when `name` is not an interface name.
    init?(_ name: String) {
        guard isValidName(name) else { return nil }
        for (index, byte) in name.utf8.enumerated() { bytes[index] = byte }
    }

    var name: String {
        var text: [UInt8] = []
        for index in 0..<16 where bytes[index] != 0 { text.append(bytes[index]) }
        return String(decoding: text, as: UTF8.self)
    }

    var flags: UInt16 {
        get { UInt16(bytes[16]) | UInt16(bytes[17]) << 8 }
        set {
            bytes[16] = UInt8(truncatingIfNeeded: newValue)
            bytes[17] = UInt8(truncatingIfNeeded: newValue >> 8)
        }
    }

    /// The interface index or the MTU.
    var number: Int32 {
        var value: UInt32 = 0
        for index in 0..<4 { value |= UInt32(bytes[16 + index]) << UInt32(8 * index) }
        return Int32(bitPattern: value)
    }

    mutating func call(_ raw: Int32, _ request: UInt, _ operation: @autoclosure () -> String) throws(SystemError) {
        var copy = bytes
        _ = try check(operation()) {
            unsafe withUnsafeMutablePointer(to: &copy) { unsafe CLinux_ioctl_pointer(raw, request, $0) }
        }
        bytes = copy
    }
}

/// What the kernel takes as a name (`dev_valid_name`), without `%`, which it would replace by a number.
func isValidName(_ name: String) -> Bool {
    let bytes = name.utf8
    return (1...15).contains(bytes.count) && name != "." && name != ".."
        && bytes.allSatisfy { $0 > 0x20 && $0 != 0x7f && $0 != 0x2f && $0 != 0x3a && $0 != 0x25 }
}

/// The index of an interface in the calling thread's network namespace; nil when there is none.
func indexOfInterface(_ name: String) -> Int32? { query(name, CLinux_SIOCGIFINDEX) }

/// An ioctl on an IPv4 socket of the calling thread's network namespace.
func query(_ name: String, _ request: UInt) -> Int32? {
    guard var ask = InterfaceRequest(name) else { return nil }
    let raw = socket(AF_INET, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    guard raw >= 0 else { return nil }
    let probe = FileDescriptor(owning: raw)
    do { try ask.call(probe.raw, request, "ioctl \(name)") } catch { return nil }
    return ask.number
}
