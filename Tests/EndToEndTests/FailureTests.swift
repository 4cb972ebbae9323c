import Lab
import Testing

extension EndToEnd {
    /// What fails while a TCP stream is open: the stream goes on, and is not reset. `make natlab` does each twenty times.
    @Suite struct Failures {
        @Test(.timeLimit(.minutes(4)))
        func `a stream outlives its direct path, its relay, a NAT's bindings, an idle relay and a network`() throws {
            var settings = PairLab.Settings()
            settings.isForFailures = true
            try withPairLab(settings) { lab in
                for failure in Failure.allCases {
                    let trial = try lab.bringAbout(failure, repetition: 1)
                    #expect(trial.fault == nil, "\(trial)")
                    #expect(trial.recovered, "\(trial)")
                    #expect(trial.silence <= 5000, "\(trial)")
                    figure(
                        failure.title,
                        "silent for \(milliseconds(trial.silence)) (wanted \(milliseconds(failure.bar))), "
                            + "\(trial.before) then \(trial.after)")
                }
            }
        }
    }
}
