/// The source tree that these tests were built from.
enum Repository {
    static let folder = String(#filePath.split(separator: "/").dropLast(4).reduce("") { $0 + "/" + $1 })
}
