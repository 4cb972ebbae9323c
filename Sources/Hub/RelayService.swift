package import Addressing
import Linux
package import Logging
package import Membership
import Relay
import STUN
package import Sodium
import Timing
import Transport

/// The relay's role, with STUN on the same UDP port: where the socket meets the state machine of `Relay`.
///
/// One plain thread receives in batches, forwards in place and sends in batches. It knows members of the mesh by the
/// authority's public key alone, holds its own key for its id, and can read nothing that it forwards.
package final class RelayService: Sendable {
    private let key: Ed25519.PrivateKey
    private let verifier: RecordVerifier
    private let logger: Logger

    /// - Parameter key: `HubFolder.loadRelayKey`; its id is what agents know the relay by.
    package init(key: consuming Ed25519.PrivateKey, verifier: RecordVerifier, logger: Logger) {
        self.key = key
        self.verifier = verifier
        self.logger = logger
    }

    package var id: AgentID { AgentID(identityKey: key.publicKey) }

    /// Opens the UDP port; it serves once `run` is called.
    func bind(
        _ endpoint: Endpoint, _ server: RelayServer.Configuration = .init(), _ settings: RelayLoop.Settings = .init()
    ) throws(HubError) -> RelayLoop {
        let verifier = verifier
        do {
            let family: AddressFamily = endpoint.address.isIPv6 ? .ipv6 : .ipv4
            let socket = try UDPSocket(family, address: endpoint.address, port: endpoint.port)
            socket.enableReceiveOffload()
            var random = SecureRandom()
            var server = server
            // Stock clients ask with less than the answer has.
            server.stun.excess = AnswerBudget.Excess()
            let relay = try RelayServer(relay: id, server, now: .now(), using: &random) { bytes, now in
                let text = String(decoding: bytes, as: UTF8.self)
                guard
                    let credential = try? Credential(
                        verifying: text, mesh: verifier.mesh, authorityKey: verifier.authorityKey, now: now)
                else { return nil }
                return VerifiedCredential(identityKey: credential.identityKey, expiry: credential.expires)
            }
            return try RelayLoop(socket, relay, settings)
        } catch let error as TransportError {
            if case .portInUse = error { throw .portTaken("\(endpoint) (UDP)") }
            throw .listen("\(endpoint) (UDP)", reason: "\(error)")
        } catch { throw .listen("\(endpoint) (UDP)", reason: "\(error)") }
    }

    /// Serves until the task is cancelled.
    func run(_ loop: RelayLoop) async throws {
        let failure: SystemError? = await withTaskCancellationHandler {
            await withCheckedContinuation { (continuation: CheckedContinuation<SystemError?, Never>) in
                do throws(SystemError) {
                    _ = try Thread(named: "warren-relay") { continuation.resume(returning: loop.run()) }
                } catch { continuation.resume(returning: error) }
            }
        } onCancel: {
            loop.stop()
        }
        if let failure { throw HubError.listen("the relay's port", reason: "\(failure)") }
        logger.info("relay: stopped")
    }
}
