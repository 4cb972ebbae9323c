import JSON

/// The Pod Security Standards' profile "restricted", with "baseline" in it, as its page lists the fields.
enum PodSecurity {
    /// What of a pod the profile refuses; nothing when it is within it.
    static func violations(_ template: JSONValue) -> [String] {
        let spec = template["spec"] ?? .null
        var found: [String] = []
        for key in ["hostNetwork", "hostPID", "hostIPC"] where spec[key]?.flag == true { found.append(key) }
        let context = spec["securityContext"] ?? .null
        found += shared(context, "pod")
        if let sysctls = context["sysctls"]?.elements {
            found += sysctls.compactMap { $0["name"]?.text }.filter { !safeSysctls.contains($0) }.map { "sysctl \($0)" }
        }
        for volume in spec["volumes"]?.elements ?? [] {
            for source in volume.members ?? [] where source.name != "name" {
                if !volumes.contains(source.name) { found.append("volume \(source.name)") }
            }
        }
        for annotation in template["metadata"]?["annotations"]?.texts ?? [:]
        where annotation.key.hasPrefix("container.apparmor.security.beta.kubernetes.io/") {
            if annotation.value != "runtime/default" && !annotation.value.hasPrefix("localhost/") {
                found.append("AppArmor \(annotation.value)")
            }
        }
        for list in ["initContainers", "containers", "ephemeralContainers"] {
            for container in spec[list]?.elements ?? [] { found += violations(of: container, context) }
        }
        return found
    }

    private static func violations(of container: JSONValue, _ pod: JSONValue) -> [String] {
        let name = container["name"]?.text ?? "?"
        let context = container["securityContext"] ?? .null
        var found = shared(context, name)
        if context["privileged"]?.flag == true { found.append("\(name): privileged") }
        if context["allowPrivilegeEscalation"]?.flag != false { found.append("\(name): allowPrivilegeEscalation") }
        if (context["runAsNonRoot"] ?? pod["runAsNonRoot"])?.flag != true { found.append("\(name): runAsNonRoot") }
        if (context["seccompProfile"] ?? pod["seccompProfile"])?["type"] == nil { found.append("\(name): no seccomp") }
        if context["procMount"].map({ $0 != "Default" }) ?? false { found.append("\(name): procMount") }
        let dropped = context["capabilities"]?["drop"]?.elements ?? []
        if !dropped.contains("ALL") { found.append("\(name): capabilities not dropped") }
        for added in context["capabilities"]?["add"]?.elements ?? [] where added != "NET_BIND_SERVICE" {
            found.append("\(name): capability \(added.text ?? "")")
        }
        for port in container["ports"]?.elements ?? [] where (port["hostPort"]?.integer ?? 0) != 0 {
            found.append("\(name): hostPort")
        }
        for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
            for handler in ["httpGet", "tcpSocket"] where container[probe]?[handler]?["host"] != nil {
                found.append("\(name): \(probe) to a host")
            }
        }
        return found
    }

    /// Fields that pods and containers both have.
    private static func shared(_ context: JSONValue, _ name: String) -> [String] {
        var found: [String] = []
        if context["runAsNonRoot"]?.flag == false { found.append("\(name): runAsNonRoot") }
        if context["runAsUser"]?.integer == 0 { found.append("\(name): runAsUser 0") }
        if context["windowsOptions"]?["hostProcess"]?.flag == true { found.append("\(name): hostProcess") }
        if let type = context["seccompProfile"]?["type"]?.text, !["RuntimeDefault", "Localhost"].contains(type) {
            found.append("\(name): seccomp \(type)")
        }
        if let type = context["appArmorProfile"]?["type"]?.text, !["RuntimeDefault", "Localhost"].contains(type) {
            found.append("\(name): AppArmor \(type)")
        }
        if let options = context["seLinuxOptions"] {
            let types = ["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"]
            if !types.contains(options["type"]?.text ?? "") || options["user"] != nil || options["role"] != nil {
                found.append("\(name): SELinux")
            }
        }
        return found
    }

    private static let volumes: Set = [
        "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret",
    ]
    private static let safeSysctls: Set = [
        "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range", "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem",
    ]
}
