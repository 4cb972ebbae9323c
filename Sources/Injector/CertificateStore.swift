/// Where certificates are kept between runs, and shared by replicas.
package protocol CertificateStore: Sendable {
    /// Nil when nothing is kept yet.
    func load() async throws(InjectorError) -> StoredCertificates?
    /// Keeps `files` in place of what `load` gave with `version` (nil: of nothing). False when another was faster.
    func save(_ files: [String: String], over version: String?) async throws(InjectorError) -> Bool
    /// Tells whoever verifies the webhook to trust `bundle`; returns when it is told.
    func publish(_ bundle: String) async throws(InjectorError)
    /// Calls `onChange` when others have changed something; returns when the task is cancelled, or when there are no others.
    func changes(_ onChange: @escaping @Sendable () -> Void) async
}

package struct StoredCertificates: Equatable, Sendable {
    package let files: [String: String]
    package let version: String

    package init(files: [String: String], version: String) {
        self.files = files
        self.version = version
    }
}
