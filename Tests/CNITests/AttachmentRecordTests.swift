import Addressing
import Glibc
import TestSupport
import Testing

@testable import CNI

@Suite struct AttachmentRecordTests {
    private let record = AttachmentRecord(
        network: "mesh", holder: Store.Holder(containerID: "abc", ifName: "eth0"),
        netns: AttachmentRecord.Netns(path: "/run/netns/x", inode: 4_026_532_573, device: 4), interface: "warren0",
        ownerUid: 196_274, addresses: [IPPrefix("fd00:9:0:7::1/128")!, IPPrefix("10.9.7.1/32")!],
        pod: AttachmentRecord.Pod(namespace: "default", name: "a", uid: nil), nodePort: 30001, created: 1_764_334_221)

    private let text =
        #"{"addresses":["fd00:9:0:7::1/128","10.9.7.1/32"],"containerID":"abc","created":1764334221,"ifname":"eth0","#
        + #""interface":"warren0","netns":"/run/netns/x","netnsDevice":4,"netnsInode":4026532573,"network":"mesh","#
        + #""nodePort":30001,"ownerUid":196274,"pod":{"name":"a","namespace":"default"},"version":1}"#

    @Test func `its text is what other programs read`() throws {
        #expect(String(decoding: record.json.serialized(), as: UTF8.self) == text)
        #expect(try AttachmentRecord(parsing: Array(text.utf8)) == record)
    }

    @Test func `unknown members and a newer version are passed over`() throws {
        let newer = text.dropLast().replacing(#""version":1"#, with: #""version":2,"color":{"a":[1]}"#) + "}"
        #expect(try AttachmentRecord(parsing: Array(newer.utf8)) == record)
    }

    @Test func `what an attachment need not have may be absent`() throws {
        var least = record
        least.pod = nil
        least.nodePort = nil
        #expect(try AttachmentRecord(parsing: least.json.serialized()) == least)
    }

    @Test(arguments: [
        ("network", #""../x""#), ("containerID", #""a/b""#), ("containerID", #""a:b""#), ("ifname", #""a/b""#),
        ("interface", #""a b""#), ("netns", "7"), ("netnsInode", "-1"), ("netnsDevice", "1.5"), ("ownerUid", "-1"),
        ("ownerUid", "4294967296"), ("addresses", #"["x"]"#), ("addresses", "[7]"), ("nodePort", "65536"),
        ("nodePort", #""1""#), ("created", "null"),
    ])
    func `an impossible member is named`(key: String, value: String) throws {
        guard case .object(var members) = record.json else { return }
        members[key] = try JSONValue(parsing: Array(value.utf8))
        let error = #expect(throws: CNIError.self) {
            try AttachmentRecord(parsing: JSONValue.object(members).serialized())
        }
        #expect(error == .undecodable("decode attachment record: no usable \(key)"))
    }

    @Test func `it is written whole, read without the lock, and listed`() throws {
        let folder = try ScratchFolder()
        let reader = AttachmentFolder(dataDir: folder.path)
        #expect(try reader.networks() == [] && reader.records() == [])
        let store = try Store(creating: StoreLocation(dataDir: folder.path, network: "mesh"))
        try store.write(record)
        var changed = record
        changed.nodePort = nil
        try store.write(changed)
        #expect(try reader.record(of: record.holder, in: "mesh") == changed)
        #expect(try reader.networks() == ["mesh"] && reader.records() == [changed])
        #expect(folder.names("attachments/mesh") == ["abc:eth0"])
        var status = stat()
        #expect(unsafe stat("\(folder.path)/attachments/mesh/abc:eth0", &status) == 0)
        #expect(status.st_mode & 0o777 == 0o600)
        try store.removeRecord(of: record.holder)
        try store.removeRecord(of: record.holder)
        #expect(try reader.record(of: record.holder, in: "mesh") == nil)
    }

    @Test func `hostile files are neither followed nor believed`() throws {
        let (folder, elsewhere) = (try ScratchFolder(), try ScratchFolder())
        let reader = AttachmentFolder(dataDir: folder.path)
        let store = try Store(creating: StoreLocation(dataDir: folder.path, network: "mesh"))
        try store.write(record)
        let path = "\(folder.path)/attachments/mesh"
        // A symbolic link to a good record, another attachment's record, a pipe, far too much, and names of no record.
        try elsewhere.write(text, to: "record")
        #expect(unsafe symlink("\(elsewhere.path)/record", "\(path)/link:eth0") == 0)
        try folder.write(text, to: "attachments/mesh/other:eth0")
        #expect(unsafe mkfifo("\(path)/pipe:eth0", 0o600) == 0)
        try folder.write(String(repeating: " ", count: 20000) + text, to: "attachments/mesh/long:eth0")
        for name in ["plain", "a:b:c", ".hidden:eth0", "a b:eth0"] {
            try folder.write(text, to: "attachments/mesh/\(name)")
        }
        #expect(try reader.records() == [record])
        let names = ["link", "other", "pipe", "long"]
        for name in names {
            let holder = Store.Holder(containerID: name, ifName: "eth0")
            #expect(throws: CNIError.self) { try reader.record(of: holder, in: "mesh") }
        }
        #expect(Set(try reader.holders(in: "mesh").map(\.containerID)) == Set(names + ["abc"]))
        // A writer's temporary file that somebody put there does not lead it elsewhere.
        #expect(unsafe symlink("\(elsewhere.path)/target", "\(path)/.write") == 0)
        try store.write(record)
        #expect(ScratchFolder.names(elsewhere.path) == ["record"])
        for name in names { _ = unsafe unlink("\(path)/\(name):eth0") }
    }
}
