/// Pods that join by their service accounts.
extension Mesh {
    /// As `startHub`, for the pods of a cluster.
    package func startHub(for cluster: APIServer, nodeAccount: String) throws {
        if !fileExists(hubFolder) { try makeHub(stunServers: []) }
        hub = try serveHub(
            hubFolder, uid: Plan.hubUID, control: hubControl,
            options: [
                "--kubernetes", "--cluster", "lab", "--service-account-dir", cluster.accountFolder,
                "--node-service-account", nodeAccount,
            ], environment: cluster.environment)
    }

    /// What agents need to find the hub.
    package func hubText() throws -> String {
        try hubCommand(["advertise", "--public", "--dir", hubFolder]).filter { !$0.isWhitespace }
    }

    /// Puts a token where the kubelet would, renewed or for the first time.
    package func setAccountToken(_ token: String, in pod: Pod) throws {
        try pod.run(
            "sh", "-eu", "-c",
            "cat > \(Self.accountToken).new; chmod 444 \(Self.accountToken).new; mv \(Self.accountToken).new \(Self.accountToken)",
            input: token)
    }

    /// Starts the sidecar of a pod that has its token. Does not wait.
    @discardableResult
    package func startSidecar(_ pod: Pod, account token: String) throws -> ChildProcess {
        try setAccountToken(token, in: pod)
        let words = [
            "\(Pod.programs)/warrend", "sidecar", "--service-account-token", Self.accountToken, "--hub", try hubText(),
            "--state-dir", Pod.stateFolder, "--interface", Plan.interface, "--control", Pod.controlSocket, "--port",
            "\(Plan.tunnelPort)", "--log-level", "debug",
        ]
        let process = try pod.sandbox.spawn(
            pod.enterUnprivileged + words, environment: Image.environment(folder: Pod.programs))
        sidecars[pod.name] = process
        return process
    }

    private static var accountToken: String { "/run/warren/account-token" }
}
