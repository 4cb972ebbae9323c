import CNI

// Executed by the container runtime for each verb; the contract is the CNI specification's.
Skeleton.main()
