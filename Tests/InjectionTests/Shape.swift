import Foundation
import JSON
import Manifest
import Testing

@testable import Injection

/// A pod as it is met in clusters, and what is to be done with it: the two documents of a file in Shapes/.
struct Shape: Sendable, CustomTestStringConvertible {
    let name: String
    let expected: JSONValue
    let pod: JSONValue

    var testDescription: String { name }

    static let all: [Shape] = {
        do { return try names().map { try Shape($0) } } catch {
            Issue.record("read the shapes: \(error)")
            return []
        }
    }()

    init(_ name: String) throws {
        let documents = try Self.documents(name)
        try #require(documents.count == 2)
        self.name = name
        (expected, pod) = (documents[0], documents[1])
    }

    static func documents(_ name: String) throws -> [JSONValue] {
        let folder = try #require(Bundle.module.url(forResource: "Shapes", withExtension: nil))
        return try ManifestStream.read(Array(Data(contentsOf: folder.appendingPathComponent("\(name).yaml"))))
    }

    private static func names() throws -> [String] {
        let folder = try #require(Bundle.module.url(forResource: "Shapes", withExtension: nil))
        return try FileManager.default.contentsOfDirectory(atPath: folder.path)
            .filter { $0.first?.isNumber == true }.map { String($0.dropLast(5)) }.sorted()
    }

    var settings: InjectionSettings {
        var settings = InjectionSettings(image: "warren:test")
        if expected["style"]?.text == "plain" { settings.style = .plain }
        if expected["token"]?.text == "projected" {
            settings.token = .projected(audience: "warren", seconds: 3600, hub: "warrenhub1.x")
        }
        switch expected["device"]?.text {
        case "node": settings.device = .node
        case "resource": settings.device = .resource("warren.dev/tun")
        default: break
        }
        return settings
    }

    var origin: PodOrigin {
        PodOrigin(namespace: "shop", isAskedFor: expected["namespace"]?.text == "asks")
    }

    var verdict: Verdict { SidecarInjection(settings).verdict(on: pod, from: origin) }
}
