import Glibc
package import Linux

/// The node's agent, which hands TUN descriptors to pods.
package struct NodeAgent: Hashable, Sendable {
    package let socket: String
    /// Without it a pod's sidecar would get no device: ADD waits for it and STATUS says so.
    package let isRequired: Bool

    /// Nil when the configuration names none.
    package init?(_ conf: NetConf) throws(CNIError) {
        guard let socket = conf.agent else {
            guard conf.agentRequired != true else {
                throw .invalidConfiguration("read agentRequired: agent names no socket")
            }
            return nil
        }
        guard socket.hasPrefix("/"), !socket.utf8.contains(0) else {
            throw .invalidConfiguration("read agent \(socket): not an absolute path")
        }
        self.socket = socket
        isRequired = conf.agentRequired ?? false
    }

    /// Throws unless somebody serves the socket. Never blocks: a full queue is a server too, and so is one of another
    /// type, which this does not even disturb.
    package func probe() throws(SystemError) {
        do throws(SystemError) { _ = try UnixSocket.connect(path: socket, isBlocking: false) } catch {
            if error.errno != .again && error.errno != Errno(EPROTOTYPE) { throw error }
        }
    }

    /// Tells the agent of a complete attachment, so that the pod's sidecar finds its device before any container starts.
    ///
    /// - Returns: why it could not be told, where it is not required; for stderr.
    func tell(_ record: AttachmentRecord) throws(CNIError) -> String? {
        do throws(CNIError) { try AgentNotice.attached(record).send(to: socket) } catch {
            guard !isRequired else { throw error }
            return error.message
        }
        return nil
    }
}
