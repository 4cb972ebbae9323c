import ArgumentParser
import ClusterControl
import Glibc
import Injection
import InjectionArguments
import Injector
import Kubernetes
import Linux
import Logging
import Timing

/// The admission webhook that adds the sidecar to pods.
struct WarrenInjector: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "warren-injector",
        abstract: "Add the Warren sidecar to pods that ask for it: a mutating admission webhook.",
        discussion: """
            Serves POST \(InjectorServer.podPath) for pods that ask by their label \(Names.inject): \(Names.enabled), and \
            \(InjectorServer.namespacePath) for those whose namespace asks. Its certificates are its own: in a cluster it \
            makes them, renews them, shares them with the other replicas in a Secret, and tells the API server.
            """)

    @Option(help: ArgumentHelp("The TLS port for reviews.", valueName: "ip:port")) var listen = "0.0.0.0:8443"
    @Option(help: ArgumentHelp("The port for /healthz, /readyz and /metrics.", valueName: "port"))
    var healthPort: UInt16 = 8080
    @Option(
        help: ArgumentHelp(
            "A folder with tls.crt and tls.key, read again when they change, in place of certificates in the cluster.",
            valueName: "dir"))
    var tlsDir: String?
    @Flag(help: "Make and renew the certificates in --tls-dir; its ca.crt is what verifies them.") var selfMade = false
    @Option(help: ArgumentHelp("The Service that the API server calls.", valueName: "name"))
    var service = "warren-injector"
    @Option(help: ArgumentHelp("The Service's namespace; the pod's own if left out.", valueName: "name"))
    var namespace: String?
    @Option(help: ArgumentHelp("The Secret that keeps the certificates.", valueName: "name"))
    var secret = "warren-injector-tls"
    @Option(help: ArgumentHelp("The MutatingWebhookConfiguration to tell.", valueName: "name"))
    var webhookConfiguration = "warren-injector"
    @Option(help: ArgumentHelp("A further DNS name to be called by (again for more).", valueName: "name"))
    var dnsName: [String] = []
    @Option(help: ArgumentHelp("How long to go on serving after SIGTERM.", valueName: "seconds")) var drain: UInt64 = 5
    @OptionGroup(title: "Controller options") var controller: ControllerArguments
    @Option(help: ArgumentHelp("trace, debug, info, notice, warning, error or critical.", valueName: "level"))
    var logLevel = "info"
    @OptionGroup(title: "Sidecar options") var sidecar: SidecarArguments

    static func start(_ termination: Termination?) async {
        do {
            var command = try parseAsRoot()
            if let injector = command as? WarrenInjector {
                guard let termination else { throw InjectorError.option("signals can't be waited for") }
                try await injector.run(until: termination)
            } else {
                try command.run()
            }
        } catch let error as InjectorError { fail("\(error)") } catch let error as KubernetesError {
            fail("\(error); outside a cluster, give it --tls-dir")
        } catch { exit(withError: error) }
    }

    private static func fail(_ text: String) -> Never {
        writeErrorLine("warren-injector: \(text)")
        Glibc.exit(1)
    }

    private func run(until termination: Termination) async throws {
        var logger = Logger(label: "warren-injector") { StreamLogHandler.standardError(label: $0) }
        guard let level = Logger.Level(rawValue: logLevel) else {
            throw InjectorError.option("--log-level \(logLevel): not a level")
        }
        logger.logLevel = level
        let identity = ServingIdentity()
        let keeping = try keeping(identity, logger)
        let (settings, hubFile) = (try sidecar.settings(), sidecar.hubFile)
        let controller = try tlsDir == nil ? self.controller.controller(logger) : nil
        let server = InjectorServer(
            Admission(SidecarInjection(settings)), identity: identity, options: try options(), logger: logger,
            otherMetrics: { controller?.metrics.write(to: &$0) })
        try await server.start()
        await withDiscardingTaskGroup { certificates in
            certificates.addTask { await keeping() }
            if let hubFile { certificates.addTask { [logger] in await Self.follow(hubFile, settings, server, logger) } }
            if let controller { certificates.addTask { await controller.run() } }
            await withDiscardingTaskGroup { serving in
                serving.addTask { await server.run() }
                await termination.wait()
                logger.info("ending: served for \(drain) s more")
                serving.cancelAll()
            }
            certificates.cancelAll()
        }
    }

    /// Takes over what the hub's file says when that changes, as the kubelet exchanges a ConfigMap's files; what can't be
    /// used is said once, and what was there before stays.
    private static func follow(
        _ file: String, _ settings: InjectionSettings, _ server: InjectorServer, _ logger: Logger
    ) async {
        guard case .projected(let audience, let seconds, var current) = settings.token else { return }
        var isWrong = false
        while (try? await Task.sleep(nanoseconds: 5_000_000_000)) != nil {
            do {
                let text = try SidecarArguments.hubText(in: file)
                isWrong = false
                guard text != current else { continue }
                var changed = settings
                changed.token = .projected(audience: audience, seconds: seconds, hub: text)
                server.replace(Admission(SidecarInjection(changed)))
                current = text
                logger.notice("\(file) has changed: pods that are made from now on find the hub by it")
            } catch {
                if !isWrong { logger.warning("\(error); pods are told what was there before") }
                isWrong = true
            }
        }
    }

    private func options() throws -> InjectorServer.Options {
        guard let colon = listen.lastIndex(of: ":"), let port = UInt16(listen[listen.index(after: colon)...]) else {
            throw InjectorError.option("--listen \(listen): IP:PORT is needed")
        }
        var options = InjectorServer.Options()
        options.host = String(listen[..<colon].filter { $0 != "[" && $0 != "]" })
        options.port = Int(port)
        options.healthPort = Int(healthPort)
        options.drain = min(drain, 300)
        return options
    }

    /// What keeps the certificates for as long as it runs.
    private func keeping(_ identity: ServingIdentity, _ logger: Logger) throws -> @Sendable () async -> Void {
        if let tlsDir, !selfMade {
            let given = GivenCertificate(tlsDir)
            try identity.show(given.load(), authorityEnd: nil)
            return { await given.run(identity, logger: logger) }
        }
        let store: any CertificateStore
        var home = namespace
        if let tlsDir {
            store = FolderStore(tlsDir)
        } else {
            guard !selfMade else { throw InjectorError.option("--self-made needs --tls-dir") }
            let cluster = try ClusterConfiguration.inCluster()
            home = home ?? cluster.namespace
            store = SecretStore(
                try KubernetesClient(cluster), namespace: home ?? cluster.namespace, secret: secret,
                configuration: webhookConfiguration)
        }
        let host = "\(service).\(home ?? "warren-system")"
        let names = ["\(host).svc", "\(host).svc.cluster.local"] + dnsName
        guard names.allSatisfy(CertificateIssuer.isDNSName) else {
            throw InjectorError.option("--service, --namespace, --dns-name: \(names) are not DNS names")
        }
        let keeper = CertificateKeeper(
            store: store, policy: CertificatePolicy(names: names), identity: identity, logger: logger)
        return { await keeper.run() }
    }
}
