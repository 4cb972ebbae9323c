/// Lets one task at a time through, in order of arrival: an actor alone does not, as it takes up other work at each await.
actor SerialGate {
    private var isBusy = false
    private var waiting: [CheckedContinuation<Void, Never>] = []

    func enter() async {
        if isBusy { await withCheckedContinuation { waiting.append($0) } } else { isBusy = true }
    }

    func leave() { if waiting.isEmpty { isBusy = false } else { waiting.removeFirst().resume() } }
}
