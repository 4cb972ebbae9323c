package import Membership

/// Who says which pod a service account's token is for. Safe from any task.
package protocol PodReviewer: Sendable {
    /// The pod, by the cluster's word.
    func review(_ token: [UInt8]) async throws(ReviewError) -> ReviewedPod

    /// Whether a pod is gone, so that nothing that it held is held any more.
    func isGone(_ pod: LeasedPod) async throws(ReviewError) -> Bool
}

package enum ReviewError: Error, Equatable, Sendable {
    case refused(Refusal)
    /// The cluster can't be asked now, or too many ask.
    case later(TryLater)
}

/// That a decision is not possible now, for a reason that will pass.
package struct TryLater: Error, Equatable, Sendable {
    package let seconds: UInt16
    package let reason: String

    package init(seconds: UInt16, reason: String) {
        self.seconds = seconds
        self.reason = reason
    }
}

/// What an authority needs to take in pods and nodes of a cluster.
package struct AccountOptions: Sendable {
    package let reviewer: any PodReviewer
    /// Whose pods lease their nodes' blocks, as NAMESPACE:NAME. Without one no node does so.
    package let nodeAccounts: Set<String>

    package init(reviewer: any PodReviewer, nodeAccounts: Set<String>) {
        self.reviewer = reviewer
        self.nodeAccounts = nodeAccounts
    }
}
