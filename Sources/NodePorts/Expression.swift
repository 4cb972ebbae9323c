import CNftnl
import Glibc

/// One step of a rule, as nf_tables' virtual machine knows it. Registers are the 4-byte ones, from 0: `register(0)` and
/// the 16-byte register 1 are the same bytes.
enum Expression: Sendable {
    case metaProtocol
    case compare(isEqual: Bool, [UInt8])
    case payload(base: Int, offset: UInt32, length: UInt32, register: UInt32)
    case lookup(String, isMap: Bool = false, isInverted: Bool = false)
    /// To the outgoing link's address and the port in register 0.
    case masqueradeToPort
    /// To the address in register 0 and the port in register 1.
    case translateDestination
    case destinationType
    case connectionState
    case mask(UInt32)
    case drop

    /// As nft writes it: register 1 for the first four bytes, 9 for the next.
    private static let first: UInt32 = 1
    private static let second: UInt32 = 9

    static let networkHeader = 1
    static let transportHeader = 2

    /// The libnftnl object, which the rule that it is added to owns.
    func make() -> OpaquePointer? {
        switch self {
        case .metaProtocol:
            return unsafe Self.make("meta") { expression in
                unsafe expression.set(NFTNL_EXPR_META_KEY, UInt32(NFT_META_L4PROTO.rawValue))
                unsafe expression.set(NFTNL_EXPR_META_DREG, Self.first)
            }
        case .compare(let isEqual, let bytes):
            return unsafe Self.make("cmp") { expression in
                unsafe expression.set(NFTNL_EXPR_CMP_SREG, Self.first)
                unsafe expression.set(NFTNL_EXPR_CMP_OP, (isEqual ? NFT_CMP_EQ : NFT_CMP_NEQ).rawValue)
                unsafe expression.set(NFTNL_EXPR_CMP_DATA, bytes)
            }
        case .payload(let base, let offset, let length, let register):
            return unsafe Self.make("payload") { expression in
                unsafe expression.set(NFTNL_EXPR_PAYLOAD_BASE, UInt32(base))
                unsafe expression.set(NFTNL_EXPR_PAYLOAD_OFFSET, offset)
                unsafe expression.set(NFTNL_EXPR_PAYLOAD_LEN, length)
                unsafe expression.set(NFTNL_EXPR_PAYLOAD_DREG, register == 0 ? Self.first : Self.second)
            }
        case .lookup(let set, let isMap, let isInverted):
            return unsafe Self.make("lookup") { expression in
                unsafe expression.set(NFTNL_EXPR_LOOKUP_SREG, Self.first)
                if isMap { unsafe expression.set(NFTNL_EXPR_LOOKUP_DREG, Self.first) }
                _ = unsafe nftnl_expr_set_str(expression, UInt16(NFTNL_EXPR_LOOKUP_SET), set)
                if isInverted { unsafe expression.set(NFTNL_EXPR_LOOKUP_FLAGS, UInt32(NFT_LOOKUP_F_INV.rawValue)) }
            }
        case .masqueradeToPort:
            return unsafe Self.make("masq") { expression in
                unsafe expression.set(NFTNL_EXPR_MASQ_FLAGS, 1 << 1)  // NF_NAT_RANGE_PROTO_SPECIFIED
                unsafe expression.set(NFTNL_EXPR_MASQ_REG_PROTO_MIN, Self.first)
            }
        case .translateDestination:
            return unsafe Self.make("nat") { expression in
                unsafe expression.set(NFTNL_EXPR_NAT_TYPE, UInt32(NFT_NAT_DNAT.rawValue))
                unsafe expression.set(NFTNL_EXPR_NAT_FAMILY, UInt32(AF_INET))
                unsafe expression.set(NFTNL_EXPR_NAT_REG_ADDR_MIN, Self.first)
                unsafe expression.set(NFTNL_EXPR_NAT_REG_PROTO_MIN, Self.second)
            }
        case .destinationType:
            return unsafe Self.make("fib") { expression in
                unsafe expression.set(NFTNL_EXPR_FIB_RESULT, UInt32(NFT_FIB_RESULT_ADDRTYPE.rawValue))
                unsafe expression.set(NFTNL_EXPR_FIB_FLAGS, UInt32(NFTA_FIB_F_DADDR.rawValue))
                unsafe expression.set(NFTNL_EXPR_FIB_DREG, Self.first)
            }
        case .connectionState:
            return unsafe Self.make("ct") { expression in
                unsafe expression.set(NFTNL_EXPR_CT_KEY, UInt32(NFT_CT_STATE.rawValue))
                unsafe expression.set(NFTNL_EXPR_CT_DREG, Self.first)
            }
        case .mask(let bits):
            return unsafe Self.make("bitwise") { expression in
                unsafe expression.set(NFTNL_EXPR_BITWISE_SREG, Self.first)
                unsafe expression.set(NFTNL_EXPR_BITWISE_DREG, Self.first)
                unsafe expression.set(NFTNL_EXPR_BITWISE_LEN, 4)
                unsafe expression.set(NFTNL_EXPR_BITWISE_MASK, hostOrder(bits))
                unsafe expression.set(NFTNL_EXPR_BITWISE_XOR, hostOrder(0))
            }
        case .drop:
            return unsafe Self.make("immediate") { expression in
                unsafe expression.set(NFTNL_EXPR_IMM_DREG, UInt32(NFT_REG_VERDICT.rawValue))
                unsafe expression.set(NFTNL_EXPR_IMM_VERDICT, 0)  // NF_DROP
            }
        }
    }

    private static func make(_ name: String, _ body: (OpaquePointer) -> Void) -> OpaquePointer? {
        guard let expression = unsafe nftnl_expr_alloc(name) else { return nil }
        unsafe body(expression)
        return unsafe expression
    }
}

/// The bytes of a number as this machine has it, which is what nf_tables compares and masks.
func hostOrder(_ number: UInt32) -> [UInt8] { unsafe withUnsafeBytes(of: number) { unsafe Array($0) } }

/// The bytes of a port on the wire.
func networkOrder(_ port: UInt16) -> [UInt8] { [UInt8(port >> 8), UInt8(port & 255)] }

extension OpaquePointer {
    // Safe: only called on expressions of the kind that has the attribute, which libnftnl copies.

    fileprivate func set(_ attribute: Int, _ value: UInt32) {
        unsafe nftnl_expr_set_u32(self, UInt16(truncatingIfNeeded: attribute), value)
    }

    fileprivate func set(_ attribute: Int, _ bytes: [UInt8]) {
        _ = unsafe nftnl_expr_set(self, UInt16(truncatingIfNeeded: attribute), bytes, UInt32(bytes.count))
    }
}
