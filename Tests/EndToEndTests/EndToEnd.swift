import Lab
import Testing

/// The whole on one machine, one scenario after the other: they measure times and share two cores. Needs root.
@Suite(.serialized) struct EndToEnd {
    @Test func `these tests run as root and have their tools`() {
        #expect(Requirements.missing(Requirements.tools + Requirements.testTools) == [])
    }
}

/// A mesh without hub or pods, taken down afterwards whatever happens.
func withMesh(_ body: (Mesh) throws -> Void) throws {
    let sandbox = try Sandbox.unique()
    Interruption.cleanUp { sandbox.tearDown() }
    defer { sandbox.tearDown() }
    let mesh = try Mesh(in: sandbox, programs: try Programs.folder())
    do {
        try body(mesh)
    } catch {
        printLogs(mesh)
        throw error
    }
    #expect(mesh.tearDown() == [])
}

/// A hub and two pods behind two NATs, their sidecars ready.
func withPair(_ body: (Mesh, Pod, Pod) throws -> Void) throws {
    try withMesh { mesh in
        let pair = try mesh.startPair()
        try body(mesh, pair.a, pair.b)
    }
}

/// What the programs said last.
func printLogs(_ mesh: Mesh) {
    for (name, process) in mesh.sidecars.sorted(by: { $0.key < $1.key }) {
        print("log of \(name)'s sidecar:\n\(process.standardError.suffix(3000))")
    }
    for (role, process) in mesh.roleHubs { print("log of the \(role):\n\(process.standardError.suffix(3000))") }
    if let hub = mesh.hub { print("log of the hub:\n\(hub.standardError.suffix(3000))") }
}

/// A measured value, for the person who reads the run.
func figure(_ what: String, _ value: String) { print("  figure: \(what): \(value)") }
