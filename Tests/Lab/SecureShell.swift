/// An sshd on a virtual address with throw-away keys, and its client (OpenSSH).
package struct SecureShell {
    private let folder: String
    private let server: ChildProcess
    private let address: String

    /// Starts the server in `place`, which has a `/run/sshd`.
    package init(in place: some Place, address: String) throws {
        self.address = address
        folder = place.sandbox.path("ssh")
        try makeFolder(folder, mode: 0o700)
        for name in ["host", "user"] {
            try place.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "\(folder)/\(name)")
        }
        try writeText("\(address) " + readText("\(folder)/host.pub"), to: "\(folder)/known", mode: 0o600)
        let configuration = """
            Port 22
            ListenAddress \(address)
            HostKey \(folder)/host
            AuthorizedKeysFile \(folder)/user.pub
            AuthenticationMethods publickey
            PermitRootLogin prohibit-password
            StrictModes no
            UsePAM no
            PidFile none

            """
        try writeText(configuration, to: "\(folder)/sshd_config", mode: 0o600)
        server = try place.spawn(["/usr/sbin/sshd", "-D", "-e", "-f", "\(folder)/sshd_config"])
        try place.waitListening(tcp: 22, server)
    }

    /// Runs a shell command on the server, from `place`.
    package func run(_ command: String, from place: some Place, input: String? = nil) throws -> Output {
        try place.result(
            of: [
                "ssh", "-F", "none", "-i", "\(folder)/user", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o",
                "StrictHostKeyChecking=yes", "-o", "UserKnownHostsFile=\(folder)/known", "-o",
                "GlobalKnownHostsFile=none", "root@\(address)", command,
            ], input: input)
    }

    package func stop() { server.stop() }
}
