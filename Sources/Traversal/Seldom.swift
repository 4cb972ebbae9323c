/// A value that is seldom there, and takes one word until it is: there may be thousands of peers, and few for which this
/// host opens sockets just now.
@propertyWrapper
struct Seldom<Value> {
    private var storage: [Value] = []

    init() {}

    var wrappedValue: Value? {
        get { storage.first }
        set { storage = newValue.map { [$0] } ?? [] }
    }
}
