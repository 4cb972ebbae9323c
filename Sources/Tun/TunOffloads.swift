import CLinux

/// What a TUN's kernel side may leave to us (TUNSETOFFLOAD, linux/if_tun.h).
///
/// With a TSO or USO bit the kernel hands over super-packets of up to 64 KiB; without, single packets. `checksum` alone
/// leaves only checksums to us.
package struct TunOffloads: OptionSet, Sendable, Hashable {
    package let rawValue: UInt32
    package init(rawValue: UInt32) { self.rawValue = rawValue }

    package static let checksum = TunOffloads(rawValue: UInt32(TUN_F_CSUM))
    package static let tso4 = TunOffloads(rawValue: UInt32(TUN_F_TSO4))
    package static let tso6 = TunOffloads(rawValue: UInt32(TUN_F_TSO6))
    /// TCP super-packets may carry CWR.
    package static let tsoECN = TunOffloads(rawValue: UInt32(TUN_F_TSO_ECN))
    /// Linux 6.2.
    package static let uso4 = TunOffloads(rawValue: UInt32(CLinux_TUN_F_USO4))
    package static let uso6 = TunOffloads(rawValue: UInt32(CLinux_TUN_F_USO6))

    package static let tso: TunOffloads = [.tso4, .tso6]
    package static let uso: TunOffloads = [.uso4, .uso6]
    package static let all: TunOffloads = [.checksum, .tso4, .tso6, .tsoECN, .uso4, .uso6]

    var isUDP: Bool { !isDisjoint(with: .uso) }
}

extension TunOffloads: CustomStringConvertible {
    /// As ethtool(8) abbreviates them: `csum tso4 tso6 ecn uso4 uso6`; `none` when empty.
    package var description: String {
        let names: [(TunOffloads, String)] = [
            (.checksum, "csum"), (.tso4, "tso4"), (.tso6, "tso6"), (.tsoECN, "ecn"), (.uso4, "uso4"), (.uso6, "uso6"),
        ]
        let present = names.filter { contains($0.0) }.map(\.1)
        return present.isEmpty ? "none" : present.joined(separator: " ")
    }
}
