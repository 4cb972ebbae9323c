import CYAML
import JSON

/// Reads a stream of YAML documents with libyaml's parser. Anchors, aliases and merge keys are resolved; tags other than
/// the core schema's are refused.
@safe struct YAMLReader: ~Copyable {
    private static let depthLimit = 128
    /// Values in all, so that aliases of aliases can't fill the memory.
    private static let valueLimit = 1_000_000

    private let parser: UnsafeMutablePointer<yaml_parser_t>
    private var anchors: [String: JSONValue] = [:]
    private var values = 0

    static func documents(_ text: [UInt8]) throws(ManifestError) -> [JSONValue] {
        var documents: [JSONValue] = []
        var failure: ManifestError?
        // Safe: the parser reads the bytes only within this call, which outlives the reader.
        unsafe text.withUnsafeBufferPointer { bytes in
            do throws(ManifestError) {
                var reader = try YAMLReader()
                unsafe yaml_parser_set_input_string(reader.parser, bytes.baseAddress, bytes.count)
                documents = try reader.stream()
            } catch { failure = error }
        }
        if let failure { throw failure }
        return documents
    }

    private init() throws(ManifestError) {
        unsafe parser = .allocate(capacity: 1)
        guard unsafe yaml_parser_initialize(parser) == 1 else {
            unsafe parser.deallocate()
            throw ManifestError("no memory for a YAML parser")
        }
    }

    deinit {
        unsafe yaml_parser_delete(parser)
        unsafe parser.deallocate()
    }

    /// One event of the parser's, as Swift has it.
    private enum Event {
        case streamStart, streamEnd, documentStart, documentEnd
        case alias(String)
        case scalar(text: String, anchor: String?, tag: String?, isPlain: Bool)
        case sequenceStart(anchor: String?, tag: String?)
        case mappingStart(anchor: String?, tag: String?)
        case sequenceEnd, mappingEnd
    }

    private var line: Int { unsafe Int(parser.pointee.mark.line) + 1 }

    private func error(_ reason: String) -> ManifestError { ManifestError(reason, line: line) }

    private func next() throws(ManifestError) -> Event {
        var event = unsafe yaml_event_t()
        guard unsafe yaml_parser_parse(parser, &event) == 1 else {
            let problem = unsafe parser.pointee.problem.map { unsafe String(cString: $0) } ?? "no YAML"
            throw unsafe ManifestError("not valid YAML: \(problem)", line: Int(parser.pointee.problem_mark.line) + 1)
        }
        defer { unsafe yaml_event_delete(&event) }
        switch unsafe event.type {
        case YAML_STREAM_START_EVENT: return .streamStart
        case YAML_STREAM_END_EVENT: return .streamEnd
        case YAML_DOCUMENT_START_EVENT: return .documentStart
        case YAML_DOCUMENT_END_EVENT: return .documentEnd
        case YAML_ALIAS_EVENT: return .alias(unsafe Self.text(event.data.alias.anchor) ?? "")
        case YAML_SCALAR_EVENT:
            let scalar = unsafe event.data.scalar
            let bytes = unsafe UnsafeBufferPointer(start: scalar.value, count: scalar.length)
            return unsafe .scalar(
                text: String(decoding: bytes, as: UTF8.self), anchor: Self.text(scalar.anchor),
                tag: Self.text(scalar.tag), isPlain: scalar.style == YAML_PLAIN_SCALAR_STYLE)
        case YAML_SEQUENCE_START_EVENT:
            let start = unsafe event.data.sequence_start
            return unsafe .sequenceStart(anchor: Self.text(start.anchor), tag: Self.text(start.tag))
        case YAML_SEQUENCE_END_EVENT: return .sequenceEnd
        case YAML_MAPPING_START_EVENT:
            let start = unsafe event.data.mapping_start
            return unsafe .mappingStart(anchor: Self.text(start.anchor), tag: Self.text(start.tag))
        case YAML_MAPPING_END_EVENT: return .mappingEnd
        default: throw error("not valid YAML")
        }
    }

    private static func text(_ pointer: UnsafeMutablePointer<UInt8>?) -> String? {
        unsafe pointer.map { unsafe String(cString: $0) }
    }

    private mutating func stream() throws(ManifestError) -> [JSONValue] {
        var documents: [JSONValue] = []
        while true {
            switch try next() {
            case .streamStart, .documentEnd: continue
            case .streamEnd: return documents
            case .documentStart:
                anchors = [:]
                documents.append(try value(try next(), depth: 0))
            default: throw error("not valid YAML")
            }
        }
    }

    private mutating func value(_ event: Event, depth: Int) throws(ManifestError) -> JSONValue {
        guard depth < Self.depthLimit else { throw error("more than \(Self.depthLimit) levels") }
        try count(1)
        switch event {
        case .alias(let name):
            guard let value = anchors[name] else { throw error("alias *\(name) has no anchor before it") }
            try count(Self.size(value))
            return value
        case .scalar(let text, let anchor, let tag, let isPlain):
            return remember(try scalar(text, tag, isPlain: isPlain), anchor)
        case .sequenceStart(let anchor, let tag):
            guard tag == nil || tag == "tag:yaml.org,2002:seq" else {
                throw error("tag \(tag ?? "") is not understood")
            }
            var elements: [JSONValue] = []
            while true {
                let event = try next()
                if case .sequenceEnd = event { return remember(.array(elements), anchor) }
                elements.append(try value(event, depth: depth + 1))
            }
        case .mappingStart(let anchor, let tag):
            guard tag == nil || tag == "tag:yaml.org,2002:map" else {
                throw error("tag \(tag ?? "") is not understood")
            }
            return remember(try mapping(depth: depth), anchor)
        default: throw error("not valid YAML")
        }
    }

    private mutating func mapping(depth: Int) throws(ManifestError) -> JSONValue {
        var members: [JSONValue.Member] = []
        var names: Set<String> = []
        var merged: [JSONValue.Member] = []
        while true {
            let event = try next()
            if case .mappingEnd = event { break }
            guard case .scalar(let name, _, _, let isPlain) = event else { throw error("a key that is no scalar") }
            let value = try value(try next(), depth: depth + 1)
            if isPlain, name == "<<" {
                for source in value.elements ?? [value] {
                    guard let more = source.members else { throw error("<< merges what is no mapping") }
                    merged += more
                }
                continue
            }
            guard names.insert(name).inserted else { throw error("key \(name) is there twice") }
            members.append(JSONValue.Member(name, value))
        }
        // What the mapping has itself wins, then the earlier source (YAML's merge key type).
        for member in merged where names.insert(member.name).inserted { members.append(member) }
        return .object(members)
    }

    private func scalar(_ text: String, _ tag: String?, isPlain: Bool) throws(ManifestError) -> JSONValue {
        switch tag {
        case nil: return isPlain ? YAMLScalar.resolve(text) : .string(text)
        case "!", "tag:yaml.org,2002:str": return .string(text)
        case "tag:yaml.org,2002:int", "tag:yaml.org,2002:float", "tag:yaml.org,2002:bool", "tag:yaml.org,2002:null":
            return YAMLScalar.resolve(text)
        case let tag?: throw error("tag \(tag) is not understood")
        }
    }

    private mutating func remember(_ value: JSONValue, _ anchor: String?) -> JSONValue {
        if let anchor { anchors[anchor] = value }
        return value
    }

    private mutating func count(_ more: Int) throws(ManifestError) {
        values += more
        guard values <= Self.valueLimit else { throw error("more than \(Self.valueLimit) values") }
    }

    private static func size(_ value: JSONValue) -> Int {
        switch value {
        case .array(let elements): elements.reduce(1) { $0 + size($1) }
        case .object(let members): members.reduce(1) { $0 + size($1.value) }
        default: 1
        }
    }
}
