import Addressing
import Membership
import Relay
import Timing

// At which relays others are told to reach us.
extension Peering {
    /// How long a relay that was announced may take before it is not announced any more, while the first of them serves.
    private static let patience = Interval.seconds(2)

    /// Other homes than those that are announced: at once when peers would be sent to the wrong one, later when only one
    /// beside it is missing.
    mutating func noteHomes(_ list: [Int], now: MonotonicTime) {
        guard !list.isEmpty, list != announced else {
            nextAnnouncement = .never
            return
        }
        let isUrgent = list.first != announced.first || !list.allSatisfy(announced.contains)
        nextAnnouncement = isUrgent ? now : now + Self.patience
    }

    /// While there is no home the last ones stay announced: they are where we will be again.
    mutating func announceHomes() {
        guard !homes.homes.isEmpty, homes.homes != announced else { return }
        announced = homes.homes
        events.yield(.rehomed)
    }

    /// The home relays as others are told.
    var announcedRelays: [Announcement.HomeRelay] {
        announced.prefix(Announcement.relayLimit).map { index in
            Announcement.HomeRelay(id: homes.targets[index].id, endpoint: homes.targets[index].endpoint)
        }
    }
}
