import Addressing
import Glibc
import Linux
import Testing

@testable import CNI

/// The configurations that we ship.
@Suite struct ConflistTests {
    @Test(arguments: ["10-warren.conflist", "10-warren-alone.conflist", "10-warren-annotated.conflist"])
    func `it is a configuration that ADD accepts`(name: String) throws {
        let folder = #filePath.split(separator: "/").dropLast(3).map { "/\($0)" }.joined()
        let bytes = try FileDescriptor(open: "\(folder)/cni/\(name)", O_RDONLY).readToEnd(limit: 65536)
        let list = try JSONValue(parsing: bytes)
        let plugins = try #require(list["plugins"]?.elements)
        // Last in the chain: what a runtime would send is the entry with the list's name and version.
        guard case .object(var entry) = try #require(plugins.last) else {
            Issue.record("the last plugin is not an object")
            return
        }
        #expect(entry["type"] == .string("warren-cni"))
        // containerd 1.6 and podman 4 accept no newer one here; libcni 1.2 and later choose from cniVersions.
        #expect(list["cniVersion"] == .string("1.0.0"))
        #expect(list["cniVersions"]?.elements?.last == .string("1.1.0"))
        entry["name"] = list["name"]
        entry["cniVersion"] = list["cniVersion"]
        let settings = try Settings(NetConf(parsing: JSONValue.object(entry).serialized()))
        #expect(settings.owner == 64738 && settings.interface == "warren0")
        for range in [settings.plan?.range?.network, settings.plan?.mesh].compactMap({ $0 }) {
            #expect(settings.routes.contains { $0.contains(range) })
        }
    }
}
