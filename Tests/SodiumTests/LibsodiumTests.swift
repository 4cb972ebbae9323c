import Sodium
import Testing

@Suite struct LibsodiumTests {
    @Test func `sodium_init runs and picks vector code`() throws {
        try Libsodium.initialize()
        #expect(Libsodium.hasFastCode)
    }
}
