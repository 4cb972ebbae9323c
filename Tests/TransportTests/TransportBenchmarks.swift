import Addressing
import Glibc
import Linux
import Synchronization
import Testing
import Transport

/// `WARREN_BENCH=1 swift test -c release --filter Benchmarks`: packets a second and CPU a packet of the UDP half, over the
/// loopback interface, both ends on this machine.
@Suite(.serialized, .enabled(if: unsafe getenv("WARREN_BENCH") != nil))
struct TransportBenchmarks {
    @Test(arguments: [64, 1452], [false, true])
    func `datagrams through loopback`(size: Int, segmented: Bool) throws {
        let (receiver, destination) = try loopback(.ipv4)
        if segmented { #expect(receiver.socket.enableReceiveOffload() == true) }
        let (sender, _) = try loopback(.ipv4)
        let isDone = SharedFlag()
        let result = SharedCounts()
        let thread = try Thread(named: "warren-bench") {
            guard var batch = try? ReceiveBatch() else { return }
            var datagrams = 0
            let start = cpuSeconds()
            while !isDone.value.load(ordering: .relaxed) {
                let count = batch.receive(from: receiver.socket)
                if count == 0 { waitReadable(receiver.socket.raw, milliseconds: 20) }
                for index in 0..<count {
                    guard var message = batch.message(index) else { continue }
                    while let datagram = unsafe message.next() { datagrams &+= unsafe datagram[0] == 1 ? 1 : 0 }
                }
            }
            let total = datagrams
            let cpu = cpuSeconds() - start
            result.value.withLock { $0 = (total, cpu) }
        }
        var table = SocketTable()
        table[0] = sender.socket.raw
        var batch = try SendBatch()
        batch.setSegmentation(segmented, socket: 0)
        var sent = 0
        let start = cpuSeconds()
        let clock = ContinuousClock()
        let begin = clock.now
        let end = begin + .seconds(2)
        while clock.now < end {
            for _ in 0..<44 {
                guard let space = unsafe batch.reserve(size) else { break }
                unsafe space[0] = 1
                batch.commit(size, to: destination, socket: 0)
            }
            sent += batch.flush(through: table).datagrams
        }
        let cpu = cpuSeconds() - start
        let seconds = (clock.now - begin) / .seconds(1)
        usleep(50000)
        isDone.value.store(true, ordering: .relaxed)
        thread.join()
        let (received, receiveCPU) = result.value.withLock { $0 }
        print(
            "bench udp \(size) B \(segmented ? "GSO+GRO" : "plain"): sent \(kilo(sent, seconds)) kpps, "
                + "\(micro(cpu, sent)) us/packet; received \(kilo(received, seconds)) kpps, \(micro(receiveCPU, received)) us/packet"
        )
        #expect(received > 0)
    }
}

final class SharedFlag: Sendable { let value = Atomic(false) }
final class SharedCounts: Sendable { let value = Mutex<(Int, Double)>((0, 0)) }

/// CPU time of the calling thread.
func cpuSeconds() -> Double {
    var time = timespec()
    unsafe clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}

func kilo(_ count: Int, _ seconds: Double) -> Int { Int(Double(count) / seconds / 1000) }
func micro(_ seconds: Double, _ count: Int) -> Double { (seconds / Double(max(1, count)) * 1e9).rounded() / 1000 }
