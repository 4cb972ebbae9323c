import Testing

@testable import NodeAgent

@Suite struct PodCgroupTests {
    private let uid = "4a1e7c1e-91d1-4c7a-9f0b-0c2f6d1d2b3c"

    @Test(arguments: [
        "0::/kubepods/burstable/pod4a1e7c1e-91d1-4c7a-9f0b-0c2f6d1d2b3c/0a1b",
        "0::/kubepods/pod4a1e7c1e-91d1-4c7a-9f0b-0c2f6d1d2b3c/0a1b",
        "0::/kubepods.slice/kubepods-besteffort.slice/"
            + "kubepods-besteffort-pod4a1e7c1e_91d1_4c7a_9f0b_0c2f6d1d2b3c.slice/cri-containerd-0a1b.scope",
        "0::/kubepods.slice/kubepods-pod4a1e7c1e_91d1_4c7a_9f0b_0c2f6d1d2b3c.slice/crio-0a1b.scope",
        // As a reader in a control group namespace of its own sees it.
        "0::/../../pod4a1e7c1e-91d1-4c7a-9f0b-0c2f6d1d2b3c/0a1b",
        "4:memory:/kubepods/pod4a1e7c1e-91d1-4c7a-9f0b-0c2f6d1d2b3c/0a1b\n1:cpu:/\n0::/\n",
    ])
    func `the layouts of kubelet and the runtimes place a process in its pod`(text: String) {
        #expect(PodCgroup.places(text, inPod: uid))
    }

    @Test(arguments: [
        "", "0::/", "0::/system.slice/ssh.service",
        "0::/kubepods/burstable/pod4a1e7c1e-91d1-4c7a-9f0b-0c2f6d1d2b3d/0a1b",
        // Two pods at once, the uid as a container's name or as a part of one.
        "4:memory:/kubepods/pod4a1e7c1e-91d1-4c7a-9f0b-0c2f6d1d2b3c/a\n0::/kubepods/pod00000000-91d1-4c7a-9f0b-0c2f6d1d2b3c/a",
        "0::/user.slice/4a1e7c1e-91d1-4c7a-9f0b-0c2f6d1d2b3c",
        "0::/kubepods/podx4a1e7c1e-91d1-4c7a-9f0b-0c2f6d1d2b3c",
        "0::/kubepods/pod4a1e7c1e-91d1-4c7a-9f0b-0c2f6d1d2b3c0",
    ])
    func `nothing else does`(text: String) { #expect(!PodCgroup.places(text, inPod: uid)) }
}
