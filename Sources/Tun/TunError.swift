package import Linux

/// Why a TUN device can't be had, with what to do about it.
package enum TunError: Error, Hashable, Sendable {
    /// `/dev/net/tun` does not exist (ENOENT, ENODEV, ENXIO).
    case noDeviceNode
    /// `/dev/net/tun` may not be opened (EACCES, or EPERM from the device cgroup).
    case deviceNodeDenied(Errno)
    /// A name of 0 or more than 15 bytes, or with `/`, `:`, `%`, blanks or control characters, or `.` or `..`.
    case invalidName(String)
    /// `create`: an interface has the name.
    case exists(String)
    /// `attach`: no interface has the name in this network namespace.
    case noSuchInterface(String)
    /// `create` without CAP_NET_ADMIN.
    case notPermitted(String)
    /// `attach` by another uid than the owner's.
    case notOwner(String, uid: UInt32)
    /// Another process holds the device.
    case held(String)
    /// The interface is not a TUN of one queue, or the descriptor is not that of a TUN.
    case notTun(String)
    /// An adopted descriptor whose packets have no virtio header or have packet information.
    case wrongFraming(String)
    case system(SystemError)
}

extension TunError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .noDeviceNode:
            "no /dev/net/tun: load the kernel's tun module, or give the container the device 10:200 (device plugin, "
                + "CDI or --device /dev/net/tun)"
        case .deviceNodeDenied(let errno):
            "open /dev/net/tun: \(errno): give the node mode 0666 and allow 10:200 rw in the container's device cgroup"
        case .invalidName(let name): "\"\(name)\" is not an interface name"
        case .exists(let name): "create \(name): an interface of this name exists: delete it or choose another name"
        case .noSuchInterface(let name):
            "attach to \(name): no such interface in this network namespace: warren-cni ADD creates it"
        case .notPermitted(let name): "create \(name): needs CAP_NET_ADMIN in this network namespace"
        case .notOwner(let name, let uid):
            "attach to \(name): not owned by uid \(uid): run as the uid that the plugin was configured with"
        case .held(let name): "attach to \(name): another process holds it: stop that process first"
        case .notTun(let name): "\(name) is not a TUN device of one queue"
        case .wrongFraming(let name): "\(name) must be set up with IFF_NO_PI | IFF_VNET_HDR and 10-byte headers"
        case .system(let error): error.description
        }
    }
}
