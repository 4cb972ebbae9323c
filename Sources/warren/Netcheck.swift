import Addressing
import ArgumentParser
import Control
import Glibc
import Linux
import Membership
import Netcheck
import Sodium

extension Warren {
    /// How the network is here. By the sidecar where there is one; else by this program, which needs no privilege.
    struct Netcheck: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Check the network: NAT, port mapping, and how hub and relays can be reached.",
            discussion: """
                Without options it asks this pod's sidecar. With a join token, or a hub's address and pin, it runs by \
                itself; what it finds holds for this host. Nothing is joined and no use of the token is spent.
                """)

        @OptionGroup var parent: Warren
        @Option(help: ArgumentHelp("A join token: the hub and its pin.", valueName: "file")) var tokenFile: String?
        @Option(help: ArgumentHelp("The hub's TLS address.", valueName: "host:port")) var hub: String?
        @Option(help: ArgumentHelp("The pin of the hub's TLS key, in base64.", valueName: "pin")) var pin: String?
        @Option(help: ArgumentHelp("A relay beside those that the hub names (again for more).", valueName: "ip:port"))
        var relay: [String] = []
        @Option(help: ArgumentHelp("A STUN server beside the hub's (again for more).", valueName: "ip:port"))
        var stun: [String] = []
        @Option(
            help: ArgumentHelp(
                "An HTTP proxy to try too; HTTPS_PROXY if there is none.", valueName: "http://[user:password@]host:port"
            ))
        var proxy: String?
        @Flag(help: "Print JSON.") var json = false

        func run() async throws {
            let report = try await isStandalone ? check().run() : ask()
            print(try json ? Rendering.json(report) : Rendering.page(report))
        }

        private var isStandalone: Bool { tokenFile != nil || hub != nil || !relay.isEmpty || !stun.isEmpty }

        private func ask() throws -> NetcheckReport {
            let answer: ControlAnswer
            do { answer = try ControlClient(path: parent.control).ask(.netcheck) } catch {
                throw ValidationError("\(error); or run it without a sidecar: --token-file FILE, or --hub and --pin")
            }
            if let error = answer.error { throw ValidationError(error) }
            guard let report = answer.netcheck else { throw ValidationError("the sidecar has no answer to netcheck") }
            return report
        }

        private func check() throws -> NetworkCheck {
            try Libsodium.initialize()
            var places = MeshPlaces()
            places.relays = try relay.map { text in
                MeshPlaces.Relay(id: text, udp: [try endpoint(text, "--relay")])
            }
            places.stun = try stun.map { try endpoint($0, "--stun") }
            let proxyText = proxy ?? ProxyAddress.inEnvironment
            let proxyAddress = try proxyText.map { text in
                guard let address = ProxyAddress(text) else {
                    throw ValidationError("proxy: http://[USER:PASSWORD@]HOST:PORT is needed")
                }
                return address
            }
            return NetworkCheck(hub: try pinnedHub(), places: places, proxy: proxyAddress)
        }

        private func pinnedHub() throws -> NetworkCheck.Hub? {
            if let tokenFile {
                let token: JoinToken
                do {
                    let bytes = try FileDescriptor(open: tokenFile, O_RDONLY).readToEnd(limit: 4096)
                    token = try JoinToken(String(decoding: bytes, as: UTF8.self))
                } catch {
                    throw ValidationError("join token in \(tokenFile): \(error)")
                }
                return NetworkCheck.Hub(address: token.address, pin: token.pin)
            }
            guard let hub else { return nil }
            guard let address = HubAddress(hub) else { throw ValidationError("--hub \(hub): HOST:PORT is needed") }
            guard let pin = pin.flatMap({ Base64.decode($0) }).flatMap({ Bytes32($0) }) else {
                throw ValidationError("--pin: the hub's pin in base64 is needed, as `warren-hub advertise` shows it")
            }
            return NetworkCheck.Hub(address: address, pin: pin)
        }

        private func endpoint(_ text: String, _ option: String) throws -> Endpoint {
            guard let endpoint = Endpoint(text) else { throw ValidationError("\(option) \(text): IP:PORT is needed") }
            return endpoint
        }
    }
}
