import Addressing
import Membership
import NIOCore
import Sodium
import Timing

// A frame on the stream:
//   offset  size  field
//   0       2     length of what follows, 2…8190
//   2       1     type, 0xC0…0xFF
//   3       1     version: 1
//   4       .     body, by type; bytes after what a type's layout says are an error
//
// Bodies, version 1 (R = 4-byte request number; T16 = 2-byte length and text; T8 = 1-byte length and text):
//   C0 hello          nonce 32, seconds since 1970 8, roles 1
//   C1 join           R, secret 32, identity key 32, name T8, addresses (count 1, each length 1 and bytes), signature 64
//   C2 joined         R, credential T16, mesh info (see MeshInfo)
//   C3 renew          R, identity key 32, signature 64
//   C4 leave          R, identity key 32, signature 64
//   C5 left           R
//   C6 authenticate   R, credential T16, signature 64
//   C7 authenticated  R
//   C8 publish        R, announcement T16
//   C9 published      R, sequence 8
//   CA stale          R, sequence 8
//   CB lookup         R, kind 1 (1 address, 2 name, 3 id), key (length 1 and address | T8 | 16)
//   CC found          R, credential T16, announcement T16
//   CD not found      R
//   CE update         credential T16, announcement T16
//   CF forget         id 16
//   D0 signal         peer's id 16 (receiver to the hub, sender from it), payload (length 2 and bytes, at most 1,200)
//   D1 undeliverable  id 16
//   D2 ping           any 8
//   D3 pong           the same 8
//   D4 error          R, code 2, text T16
//   D5 lease          R, secret 32, identity key 32, name T8, signature 64
//   D6 leased         R, number 2, seconds since 1970 of its end 8, prefixes (count 1, each address and length 1)
//   D7 account join   R, token T16, identity key 32, addresses (count 1, each length 1 and bytes), signature 64
//   D8 account lease  as D7, without addresses (count 0)
//   D9 later          R, seconds 2, text T16
//   E0 members        R, group T8
//   E1 member list    R, ids (count 1, at most 16, each 16)
//   DE withdraw       R
//   DF withdrawn      R
extension Message {
    package static let version: UInt8 = 1
    /// A credential or announcement is refused above this.
    static let textLimit = 2048

    package var type: UInt8 {
        switch self {
        case .hello: 0xC0
        case .join: 0xC1
        case .joined: 0xC2
        case .renew: 0xC3
        case .leave: 0xC4
        case .left: 0xC5
        case .authenticate: 0xC6
        case .authenticated: 0xC7
        case .publish: 0xC8
        case .published: 0xC9
        case .stale: 0xCA
        case .lookup: 0xCB
        case .found: 0xCC
        case .notFound: 0xCD
        case .update: 0xCE
        case .forget: 0xCF
        case .signal: 0xD0
        case .undeliverable: 0xD1
        case .ping: 0xD2
        case .pong: 0xD3
        case .error: 0xD4
        case .lease: 0xD5
        case .leased: 0xD6
        case .accountJoin: 0xD7
        case .accountLease: 0xD8
        case .later: 0xD9
        case .members: 0xE0
        case .memberList: 0xE1
        case .withdraw: 0xDE
        case .withdrawn: 0xDF
        }
    }

    /// Appends the body; the frame's four bytes come before it.
    func writeBody(to buffer: inout ByteBuffer) {
        switch self {
        case .hello(let nonce, let time, let roles):
            buffer.writeBytes32(nonce)
            buffer.writeMultipleIntegers(UInt64(clamping: time.seconds), roles.rawValue)
        case .join(let request, let join):
            buffer.writeInteger(request)
            buffer.writeBytes(join.secret)
            buffer.writeBytes32(join.identityKey)
            buffer.writeText8(join.name)
            buffer.writeList(join.addresses) { $0.writeAddress($1) }
            buffer.writeBytes(join.signature)
        case .joined(let request, let credential, let info):
            buffer.writeInteger(request)
            buffer.writeText16(credential)
            buffer.writeMeshInfo(info)
        case .renew(let request, let key, let signature), .leave(let request, let key, let signature):
            buffer.writeInteger(request)
            buffer.writeBytes32(key)
            buffer.writeBytes(signature)
        case .left(let request), .authenticated(let request), .notFound(let request), .withdraw(let request),
            .withdrawn(let request):
            buffer.writeInteger(request)
        case .authenticate(let request, let credential, let signature):
            buffer.writeInteger(request)
            buffer.writeText16(credential)
            buffer.writeBytes(signature)
        case .publish(let request, let announcement):
            buffer.writeInteger(request)
            buffer.writeText16(announcement)
        case .published(let request, let sequence), .stale(let request, let sequence):
            buffer.writeMultipleIntegers(request, sequence)
        case .lookup(let request, let key):
            buffer.writeInteger(request)
            switch key {
            case .address(let address):
                buffer.writeInteger(UInt8(1))
                buffer.writeAddress(address)
            case .name(let name):
                buffer.writeInteger(UInt8(2))
                buffer.writeText8(name)
            case .id(let id):
                buffer.writeInteger(UInt8(3))
                buffer.writeAgentID(id)
            }
        case .members(let request, let group):
            buffer.writeInteger(request)
            buffer.writeText8(group.description)
        case .memberList(let request, let ids):
            buffer.writeInteger(request)
            buffer.writeList(ids) { $0.writeAgentID($1) }
        case .found(let request, let record):
            buffer.writeInteger(request)
            buffer.writeText16(record.credential)
            buffer.writeText16(record.announcement)
        case .update(let record):
            buffer.writeText16(record.credential)
            buffer.writeText16(record.announcement)
        case .forget(let id), .undeliverable(let id): buffer.writeAgentID(id)
        case .signal(let peer, let payload):
            buffer.writeAgentID(peer)
            buffer.writeInteger(UInt16(clamping: payload.count))
            buffer.writeBytes(payload)
        case .ping(let value), .pong(let value): buffer.writeInteger(value)
        case .lease(let request, let lease):
            buffer.writeInteger(request)
            buffer.writeBytes(lease.secret)
            buffer.writeBytes32(lease.identityKey)
            buffer.writeText8(lease.name)
            buffer.writeBytes(lease.signature)
        case .leased(let request, let block, let expires):
            buffer.writeMultipleIntegers(request, block.number, UInt64(clamping: expires.seconds))
            buffer.writeList([block.ipv6] + (block.ipv4.map { [$0] } ?? [])) { buffer, prefix in
                buffer.writeAddress(prefix.address)
                buffer.writeInteger(UInt8(prefix.length))
            }
        case .accountJoin(let request, let account), .accountLease(let request, let account):
            buffer.writeMultipleIntegers(request, UInt16(clamping: account.token.count))
            buffer.writeBytes(account.token.prefix(65535))
            buffer.writeBytes32(account.identityKey)
            buffer.writeList(account.addresses) { $0.writeAddress($1) }
            buffer.writeBytes(account.signature)
        case .later(let request, let seconds, let text):
            buffer.writeMultipleIntegers(request, seconds)
            buffer.writeText16(String(text.prefix(500)))
        case .error(let request, let code, let text):
            buffer.writeMultipleIntegers(request, code.rawValue)
            buffer.writeText16(String(text.prefix(500)))
        }
    }

    /// The message of a known `type`; nil when `body` is not exactly one.
    init?(type: UInt8, body: ByteBuffer) {
        var body = body
        guard let message = Self.read(type: type, from: &body), body.readableBytes == 0 else { return nil }
        self = message
    }

    private static func read(type: UInt8, from body: inout ByteBuffer) -> Message? {
        switch type {
        case 0xC0:
            guard let nonce = body.readBytes32(), let seconds = body.readInteger(as: UInt64.self),
                let roles = body.readInteger(as: UInt8.self)
            else { return nil }
            return .hello(
                nonce: nonce, time: WallTime(seconds: Int64(clamping: seconds)), roles: Roles(rawValue: roles))
        case 0xCE: return record(&body).map { .update($0) }
        case 0xCF: return body.readAgentID().map { .forget($0) }
        case 0xD0:
            guard let peer = body.readAgentID(), let length = body.readInteger(as: UInt16.self),
                Int(length) <= signalLimit, let payload = body.readBytes(length: Int(length))
            else { return nil }
            return .signal(peer: peer, payload: payload)
        case 0xD1: return body.readAgentID().map { .undeliverable($0) }
        case 0xD2: return body.readInteger().map { .ping($0) }
        case 0xD3: return body.readInteger().map { .pong($0) }
        default:
            guard let request = body.readInteger(as: UInt32.self) else { return nil }
            return read(type: type, request: request, from: &body)
        }
    }

    private static func read(type: UInt8, request: UInt32, from body: inout ByteBuffer) -> Message? {
        switch type {
        case 0xC1:
            guard let secret = body.readBytes(length: 32), let key = body.readBytes32(), let name = body.readText8(),
                let addresses = body.readList(limit: 16, { $0.readAddress() }),
                let signature = body.readBytes(length: 64)
            else { return nil }
            return .join(
                request: request,
                Join(secret: secret, identityKey: key, name: name, addresses: addresses, signature: signature))
        case 0xC2:
            guard let credential = body.readText16(limit: textLimit), let info = body.readMeshInfo() else { return nil }
            return .joined(request: request, credential: credential, info)
        case 0xC3, 0xC4:
            guard let key = body.readBytes32(), let signature = body.readBytes(length: 64) else { return nil }
            return type == 0xC3
                ? .renew(request: request, identityKey: key, signature: signature)
                : .leave(request: request, identityKey: key, signature: signature)
        case 0xC5: return .left(request: request)
        case 0xC6:
            guard let credential = body.readText16(limit: textLimit), let signature = body.readBytes(length: 64) else {
                return nil
            }
            return .authenticate(request: request, credential: credential, signature: signature)
        case 0xC7: return .authenticated(request: request)
        case 0xC8: return body.readText16(limit: textLimit).map { .publish(request: request, announcement: $0) }
        case 0xC9: return body.readInteger().map { .published(request: request, sequence: $0) }
        case 0xCA: return body.readInteger().map { .stale(request: request, sequence: $0) }
        case 0xCB: return lookupKey(&body).map { .lookup(request: request, $0) }
        case 0xCC: return record(&body).map { .found(request: request, $0) }
        case 0xCD: return .notFound(request: request)
        case 0xE0: return body.readText8().flatMap { GroupName($0) }.map { .members(request: request, $0) }
        case 0xE1:
            return body.readList(limit: memberLimit) { $0.readAgentID() }.map { .memberList(request: request, $0) }
        case 0xDE: return .withdraw(request: request)
        case 0xDF: return .withdrawn(request: request)
        case 0xD5:
            guard let secret = body.readBytes(length: 32), let key = body.readBytes32(), let name = body.readText8(),
                let signature = body.readBytes(length: 64)
            else { return nil }
            return .lease(
                request: request, Lease(secret: secret, identityKey: key, name: name, signature: signature))
        case 0xD6:
            guard let number = body.readInteger(as: UInt16.self), let end = body.readInteger(as: UInt64.self),
                let prefixes = body.readList(limit: 2, { prefix(&$0) }), let ipv6 = prefixes.first,
                ipv6.address.isIPv6, prefixes.dropFirst().allSatisfy({ !$0.address.isIPv6 })
            else { return nil }
            return .leased(
                request: request, NodeBlock(number: number, ipv6: ipv6, ipv4: prefixes.dropFirst().first),
                expires: WallTime(seconds: Int64(clamping: end)))
        case 0xD7: return account(&body).map { .accountJoin(request: request, $0) }
        case 0xD8:
            return account(&body).flatMap { $0.addresses.isEmpty ? .accountLease(request: request, $0) : nil }
        case 0xD9:
            guard let seconds = body.readInteger(as: UInt16.self), let text = body.readText16(limit: textLimit) else {
                return nil
            }
            return .later(request: request, seconds: seconds, text: text)
        case 0xD4:
            guard let code = body.readInteger(as: UInt16.self), let text = body.readText16(limit: textLimit) else {
                return nil
            }
            return .error(request: request, code: ErrorCode(rawValue: code), text: text)
        default: return nil
        }
    }

    private static func account(_ body: inout ByteBuffer) -> AccountProof? {
        guard let length = body.readInteger(as: UInt16.self), Int(length) <= ServiceAccountToken.sizeLimit,
            let token = body.readBytes(length: Int(length)), let key = body.readBytes32(),
            let addresses = body.readList(limit: 16, { $0.readAddress() }), let signature = body.readBytes(length: 64)
        else { return nil }
        return AccountProof(token: token, identityKey: key, addresses: addresses, signature: signature)
    }

    private static func record(_ body: inout ByteBuffer) -> Record? {
        guard let credential = body.readText16(limit: textLimit), let announcement = body.readText16(limit: textLimit)
        else { return nil }
        return Record(credential: credential, announcement: announcement)
    }

    private static func prefix(_ body: inout ByteBuffer) -> IPPrefix? {
        guard let address = body.readAddress(), let length = body.readInteger(as: UInt8.self) else { return nil }
        return IPPrefix(address, length: Int(length))
    }

    private static func lookupKey(_ body: inout ByteBuffer) -> LookupKey? {
        switch body.readInteger(as: UInt8.self) {
        case 1: body.readAddress().map { .address($0) }
        case 2: body.readText8().map { .name($0) }
        case 3: body.readAgentID().map { .id($0) }
        default: nil
        }
    }
}
