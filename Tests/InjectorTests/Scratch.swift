import Foundation
import NIOSSL
import Testing

@testable import Injector

/// A folder under /tmp for one test, and openssl(1) for what another implementation says.
enum Scratch {
    static func folder<Result>(_ body: (String) async throws -> Result) async throws -> Result {
        let path = "/tmp/warren-injector-test-\(getpid())-\(UInt64.random(in: 0...UInt64.max))"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: path) }
        return try await body(path)
    }

    /// Whether openssl verifies a server's certificate, at the time that the certificate's life begins.
    static func verify(leaf: String, bundle: String) throws -> Bool {
        let path = "/tmp/warren-injector-test-\(getpid())-\(UInt64.random(in: 0...UInt64.max))"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: path) }
        try leaf.write(toFile: "\(path)/leaf", atomically: false, encoding: .utf8)
        try bundle.write(toFile: "\(path)/bundle", atomically: false, encoding: .utf8)
        let start = try KeyedTime.start(of: leaf)
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/openssl")
        process.arguments = [
            "verify", "-x509_strict", "-purpose", "sslserver", "-no-CApath", "-no-CAstore", "-attime", "\(start + 301)",
            "-CAfile", "\(path)/bundle", "\(path)/leaf",
        ]
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        try process.run()
        process.waitUntilExit()
        return process.terminationStatus == 0
    }
}

enum KeyedTime {
    static func start(of certificate: String) throws -> Int64 {
        let parsed = try NIOSSLCertificate.fromPEMBytes(Array(certificate.utf8))
        return Int64(try #require(parsed.first).notValidBefore)
    }
}
