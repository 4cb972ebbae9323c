import CYAML
import JSON

/// Writes documents as a YAML stream with libyaml's emitter: block style, strings plain where they read back as strings.
@safe struct YAMLWriter: ~Copyable {
    private final class Output {
        var bytes: [UInt8] = []
    }

    private let emitter: UnsafeMutablePointer<yaml_emitter_t>
    private let output = Output()

    static func stream(_ documents: [JSONValue]) throws(ManifestError) -> [UInt8] {
        let writer = try YAMLWriter()
        var event = unsafe yaml_event_t()
        _ = unsafe yaml_stream_start_event_initialize(&event, YAML_UTF8_ENCODING)
        try unsafe writer.emit(&event)
        for document in documents {
            let implicit: Int32 = documents.count == 1 ? 1 : 0
            _ = unsafe yaml_document_start_event_initialize(&event, nil, nil, nil, implicit)
            try unsafe writer.emit(&event)
            try writer.write(document)
            _ = unsafe yaml_document_end_event_initialize(&event, 1)
            try unsafe writer.emit(&event)
        }
        _ = unsafe yaml_stream_end_event_initialize(&event)
        try unsafe writer.emit(&event)
        return writer.output.bytes
    }

    private init() throws(ManifestError) {
        unsafe emitter = .allocate(capacity: 1)
        guard unsafe yaml_emitter_initialize(emitter) == 1 else {
            unsafe emitter.deallocate()
            throw ManifestError("no memory for a YAML emitter")
        }
        // Safe: the writer holds the output for as long as the emitter lives.
        let place = unsafe Unmanaged.passUnretained(output).toOpaque()
        unsafe yaml_emitter_set_output(
            emitter,
            { place, bytes, count in
                guard let place = unsafe place, let bytes = unsafe bytes else { return 0 }
                let output = unsafe Unmanaged<Output>.fromOpaque(place).takeUnretainedValue()
                unsafe output.bytes.append(contentsOf: UnsafeBufferPointer(start: bytes, count: count))
                return 1
            }, place)
        unsafe yaml_emitter_set_unicode(emitter, 1)
        // No folding: a broken line in a command is hard to read.
        unsafe yaml_emitter_set_width(emitter, -1)
        unsafe yaml_emitter_set_indent(emitter, 2)
    }

    deinit {
        unsafe yaml_emitter_delete(emitter)
        unsafe emitter.deallocate()
    }

    /// Takes the event, whatever comes of it.
    private func emit(_ event: UnsafeMutablePointer<yaml_event_t>) throws(ManifestError) {
        guard unsafe yaml_emitter_emit(emitter, event) == 1 else {
            let problem = unsafe emitter.pointee.problem.map { unsafe String(cString: $0) } ?? "no reason given"
            throw ManifestError("write YAML: \(problem)")
        }
    }

    private func write(_ value: JSONValue) throws(ManifestError) {
        var event = unsafe yaml_event_t()
        switch value {
        case .null: try scalar("null", YAML_PLAIN_SCALAR_STYLE)
        case .boolean(let flag): try scalar(flag ? "true" : "false", YAML_PLAIN_SCALAR_STYLE)
        case .number(let digits): try scalar(digits, YAML_PLAIN_SCALAR_STYLE)
        case .string(let text): try scalar(text, Self.style(of: text))
        case .array(let elements):
            let style = elements.isEmpty ? YAML_FLOW_SEQUENCE_STYLE : YAML_BLOCK_SEQUENCE_STYLE
            _ = unsafe yaml_sequence_start_event_initialize(&event, nil, nil, 1, style)
            try unsafe emit(&event)
            for element in elements { try write(element) }
            _ = unsafe yaml_sequence_end_event_initialize(&event)
            try unsafe emit(&event)
        case .object(let members):
            let style = members.isEmpty ? YAML_FLOW_MAPPING_STYLE : YAML_BLOCK_MAPPING_STYLE
            _ = unsafe yaml_mapping_start_event_initialize(&event, nil, nil, 1, style)
            try unsafe emit(&event)
            for member in members {
                try scalar(member.name, Self.style(of: member.name))
                try write(member.value)
            }
            _ = unsafe yaml_mapping_end_event_initialize(&event)
            try unsafe emit(&event)
        }
    }

    private func scalar(_ text: String, _ style: yaml_scalar_style_t) throws(ManifestError) {
        var event = unsafe yaml_event_t()
        var bytes = Array(text.utf8)
        // An empty array's address may be nil, which the emitter does not take.
        bytes.append(0)
        guard
            unsafe yaml_scalar_event_initialize(&event, nil, nil, &bytes, Int32(clamping: bytes.count - 1), 1, 1, style)
                == 1
        else { throw ManifestError("write YAML: a string that is not UTF-8") }
        try unsafe emit(&event)
    }

    /// The emitter falls back to quotes where the syntax asks for them; what would read as another type is for us to see.
    private static func style(of text: String) -> yaml_scalar_style_t {
        // Of all breaks, only the line feed is the same after it was read; and what follows an indented line, or an empty
        // one at the start, is easily misread.
        if text.unicodeScalars.contains(where: { ["\r", "\u{85}", "\u{2028}", "\u{2029}"].contains($0) }) {
            return YAML_DOUBLE_QUOTED_SCALAR_STYLE
        }
        if text.utf8.contains(UInt8(ascii: "\n")) {
            let isIndented = text.utf8.first == UInt8(ascii: " ") || text.utf8.first == UInt8(ascii: "\n")
            return isIndented ? YAML_DOUBLE_QUOTED_SCALAR_STYLE : YAML_LITERAL_SCALAR_STYLE
        }
        // `=` and `<<` are types of their own in YAML 1.1, and others' readers know dates, sexagesimal numbers and infinity.
        let isNumeric = text.utf8.allSatisfy { (0x30...0x39).contains($0) || "+-.:_eETtZz ".utf8.contains($0) }
        let mayBeNumber =
            isNumeric || text == "=" || text == "<<" || [".inf", ".nan"].contains(text.suffix(4).lowercased())
        guard !mayBeNumber, YAMLScalar.resolve(text) == .string(text) else { return YAML_DOUBLE_QUOTED_SCALAR_STYLE }
        return YAML_PLAIN_SCALAR_STYLE
    }
}
