import AEAD
import CAEAD
import Sodium

/// What one call of each library costs at each size. The libraries are called themselves, not through `PacketCipher`,
/// which would hand small packets to libsodium.
enum AEADCost {
    private static let sizes = [16, 64, 256, 320, 512, 1420]

    static func measure(seconds: Double) -> [String] {
        let libraries = AEADLibrary.allCases.filter(\.isAvailable)
        let candidates = Array(stride(from: 16, through: 1424, by: 32))
        // Batches are short and interleaved, so that a change of the machine's pace hits all alike.
        let rounds = 15
        let measurements = Double(rounds * libraries.count * 2 * (sizes.count + candidates.count))
        let batch = UInt64(max(20_000, seconds * 1e9 / measurements))
        var lines: [String] = []
        for size in sizes {
            let costs = compare(libraries, size: size, rounds: rounds, batch: batch)
            for (library, cost) in zip(libraries, costs) {
                lines.append("seal \(library.rawValue) \(size) \(rounded(cost.seal))")
                lines.append("open \(library.rawValue) \(size) \(rounded(cost.open))")
            }
        }
        let table = candidates.map { compare(libraries, size: $0, rounds: rounds, batch: batch) }
        for (index, library) in libraries.enumerated() where library != .libsodium {
            // Costs rise in steps, at other sizes for each: the one change that makes the sum over all sizes the least.
            let gains = table.map { $0[0].seal + $0[0].open - $0[index].seal - $0[index].open }
            let start = candidates.indices.max { left, right in
                gains[left...].reduce(0, +) < gains[right...].reduce(0, +)
            }
            let breakEven = start.flatMap { gains[$0...].reduce(0, +) > 0 ? candidates[$0] : nil } ?? 0
            lines.append("break-even \(library.rawValue) \(breakEven)")
        }
        return lines
    }

    private static func compare(
        _ libraries: [AEADLibrary], size: Int, rounds: Int, batch: UInt64
    ) -> [(seal: Double, open: Double)] {
        let ciphers = libraries.map { RawCipher($0, size: size) }
        var samples = libraries.map { _ in (seal: [Double](), open: [Double]()) }
        for _ in 0..<rounds {
            for (index, cipher) in ciphers.enumerated() {
                samples[index].seal.append(time(batch) { cipher.seal() })
                samples[index].open.append(time(batch) { cipher.open() })
            }
        }
        return samples.map { (median($0.seal), median($0.open)) }
    }

    /// Nanoseconds a call.
    private static func time(_ batch: UInt64, _ body: () -> Void) -> Double {
        let start = processorTime()
        var (count, elapsed) = (0, UInt64(0))
        while elapsed < batch {
            for _ in 0..<16 { body() }
            count += 16
            elapsed = processorTime() - start
        }
        return Double(elapsed) / Double(count)
    }
}

/// One library with one key, sealing and opening the same message again and again.
@safe
private final class RawCipher {
    // Safe: the buffers are this object's own, each of `size` + 16 bytes, freed in deinit with the contexts.
    private let library: AEADLibrary
    private let size: Int
    private let key: SecretKey
    private let plaintext: UnsafeMutablePointer<UInt8>
    private let sealed: UnsafeMutablePointer<UInt8>
    private let opened: UnsafeMutablePointer<UInt8>
    private let sealContext: UnsafeMutableRawPointer?
    private let openContext: UnsafeMutableRawPointer?
    private let nonce: UnsafeMutablePointer<UInt8>

    init(_ library: AEADLibrary, size: Int) {
        self.library = library
        self.size = size
        let bytes = [UInt8](repeating: 7, count: 32)
        guard let key = try? SecretKey(copying: bytes) else { preconditionFailure("no memory for a key") }
        let isOpenSSL = library == .openssl
        unsafe sealContext = isOpenSSL ? CAEAD_openssl_new(bytes) : nil
        unsafe openContext = isOpenSSL ? CAEAD_openssl_new(bytes) : nil
        self.key = key
        unsafe plaintext = .allocate(capacity: size + 16)
        unsafe sealed = .allocate(capacity: size + 16)
        unsafe opened = .allocate(capacity: size + 16)
        unsafe nonce = .allocate(capacity: 12)
        unsafe plaintext.initialize(repeating: 0x5a, count: size + 16)
        unsafe opened.initialize(repeating: 0, count: size + 16)
        unsafe nonce.initialize(repeating: 0, count: 12)
        unsafe nonce[4] = 1
        seal()
        open()
    }

    deinit {
        unsafe plaintext.deallocate()
        unsafe sealed.deallocate()
        unsafe opened.deallocate()
        unsafe nonce.deallocate()
        if let context = unsafe sealContext { unsafe CAEAD_openssl_free(context) }
        if let context = unsafe openContext { unsafe CAEAD_openssl_free(context) }
    }

    func seal() {
        let worked: Bool
        switch library {
        case .libsodium:
            unsafe ChaChaPoly.seal(
                plaintext, count: size, additionalData: UnsafeRawBufferPointer(start: nil, count: 0), counter: 1,
                key: key, into: sealed)
            worked = true
        case .openssl:
            worked = unsafe CAEAD_openssl_seal(sealContext!, nonce, plaintext, size, sealed)
        case .ipsecmb:
            worked = unsafe key.withBytes { unsafe CAEAD_ipsecmb_seal($0, nonce, plaintext, size, sealed) }
        }
        precondition(worked)
    }

    func open() {
        let worked: Bool
        switch library {
        case .libsodium:
            unsafe opened.update(from: sealed, count: size + 16)
            worked = unsafe ChaChaPoly.open(
                opened, count: size + 16, additionalData: UnsafeRawBufferPointer(start: nil, count: 0), counter: 1,
                key: key, into: opened)
        case .openssl:
            unsafe opened.update(from: sealed, count: size + 16)
            worked = unsafe CAEAD_openssl_open(openContext!, nonce, opened, size)
        case .ipsecmb:
            unsafe opened.update(from: sealed, count: size + 16)
            var isAuthentic = false
            worked =
                unsafe key.withBytes { unsafe CAEAD_ipsecmb_open($0, nonce, opened, size, &isAuthentic) } && isAuthentic
        }
        precondition(worked)
    }
}
