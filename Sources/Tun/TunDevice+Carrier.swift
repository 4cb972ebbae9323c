import CLinux
import Linux

extension TunDevice {
    /// Takes the interface's carrier away or gives it back (TUNSETCARRIER, Linux 5.0). It has one after `attach`.
    package borrowing func setCarrier(_ isOn: Bool) throws(TunError) {
        var value: UInt32 = isOn ? 1 : 0
        let raw = raw
        do {
            _ = try check("TUNSETCARRIER \(value)") { unsafe CLinux_ioctl_pointer(raw, CLinux_TUNSETCARRIER, &value) }
        } catch { throw .system(error) }
    }
}
