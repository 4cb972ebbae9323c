import Noise
import Sodium
import TestSupport
import Testing
import Timing

@testable import WireGuard

@Suite struct SessionTableTests {
    init() throws { try Libsodium.initialize() }

    private func keypair(_ index: UInt32) throws -> Keypair {
        let keys = TransportKeys(
            fromInitiator: try SecretKey(copying: [UInt8](repeating: 1, count: 32)),
            fromResponder: try SecretKey(copying: [UInt8](repeating: 2, count: 32)), handshakeHash: .zero)
        return Keypair(keys, isInitiator: true, localIndex: index, remoteIndex: 0, created: .zero)
    }

    @Test(arguments: 0..<5) func `it agrees with a dictionary, also when it grows and shrinks`(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let table = SessionTable(Reclaimer())
        var model: [UInt32: Keypair] = [:]
        for _ in 0..<3000 {
            // Few numbers that share their low bits, so that they collide.
            let index = UInt32.random(in: 0..<300, using: &random) &* 64
            if let known = model[index] {
                table.remove(known.localIndex)
                model[index] = nil
            } else if model.count < 200 {
                let keypair = try keypair(index)
                table.insert(keypair)
                model[index] = keypair
            }
            #expect(table.count == model.count)
        }
        withExtendedLifetime(model) {
            for index in stride(from: UInt32(0), to: 300 * 64, by: 1) {
                let found = table.read(index) { ObjectIdentifier($0) }
                #expect(found == model[index].map { ObjectIdentifier($0) })
            }
        }
    }

    @Test func `the greatest and the least index are indices as others`() throws {
        let table = SessionTable(Reclaimer())
        let kept = try [keypair(0), keypair(1), keypair(.max), keypair(.max - 1)]
        // The table keeps nothing alive.
        withExtendedLifetime(kept) {
            for keypair in kept { table.insert(keypair) }
            for keypair in kept { #expect(table.read(keypair.localIndex) { $0 === keypair } == true) }
            table.remove(0)
            #expect(table.read(0) { _ in true } == nil && table.read(.max) { _ in true } == true)
        }
    }
}
