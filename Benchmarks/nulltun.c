// The null-cipher ceiling: all that a userspace tunnel must do, and nothing else. TUN with segmentation offload on one side,
// UDP with GSO and GRO on the other, WireGuard's data framing (16 bytes of header, 16 of tag, both meaningless) between.
// No cipher, no handshake, no checks: what it costs is what the kernel's interfaces cost. IPv4, one peer, one thread.
//
//     nulltun IFNAME LOCAL-ADDRESS PEER-ADDRESS PORT          creates IFNAME; runs until killed
//
// Layouts: linux/virtio_net.h (struct virtio_net_hdr), udp(7) (UDP_SEGMENT, UDP_GRO), WireGuard paper 5.4.6.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#define UDP_GRO 104
#endif

enum {
    overhead_front = 16,
    overhead = 32,
    arena_size = 1 << 18,
    frame_size = 70000,
    most_messages = 128,
    most_segments = 64,
    longest_message = 65000,
    receive_messages = 8,
    receive_size = 65536,
};

static int tun, udp;

// MARK: Bytes and checksums (RFC 1071)

static uint16_t get16(const uint8_t *p) { return (uint16_t)(p[0] << 8 | p[1]); }
static uint32_t get32(const uint8_t *p) { return (uint32_t)get16(p) << 16 | get16(p + 2); }
static void put16(uint8_t *p, unsigned value) { p[0] = (uint8_t)(value >> 8), p[1] = (uint8_t)value; }
static void put32(uint8_t *p, uint32_t value) { put16(p, value >> 16), put16(p + 2, value & 0xffff); }

// The sum in memory order, so that it is stored as it is computed.
static uint64_t sum(const uint8_t *p, int length, uint64_t start) {
    uint64_t even = 0, odd = 0;
    for (; length >= 16; p += 16, length -= 16) {
        uint32_t word[4];
        memcpy(word, p, 16);
        even += (uint64_t)word[0] + word[1];
        odd += (uint64_t)word[2] + word[3];
    }
    for (; length > 1; p += 2, length -= 2) {
        uint16_t word;
        memcpy(&word, p, 2);
        even += word;
    }
    return start + even + odd + (length ? *p : 0);
}

static uint16_t fold(uint64_t sum) {
    while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)sum;
}

static void store_checksum(uint8_t *at, uint16_t value) { memcpy(at, &value, 2); }

static void store_header_checksum(uint8_t *ip, int header) {
    memset(ip + 10, 0, 2);
    store_checksum(ip + 10, (uint16_t)~fold(sum(ip, header, 0)));
}

static uint64_t tcp_pseudo_header(const uint8_t *ip, int tcp_length) {
    uint8_t end[4] = {0, IPPROTO_TCP};
    put16(end + 2, (unsigned)tcp_length);
    return sum(ip + 12, 8, sum(end, 4, 0));
}

// MARK: TUN to UDP

static uint8_t arena[arena_size + frame_size];
static int arena_used;
static struct message { int offset, length, segment_size, segments; } messages[most_messages];
static int message_count;
static uint64_t counter;

static void flush_messages(void) {
    static struct mmsghdr headers[most_messages];
    static struct iovec parts[most_messages];
    static char controls[most_messages][CMSG_SPACE(2)];
    for (int i = 0; i < message_count; i++) {
        parts[i] = (struct iovec){arena + messages[i].offset, (size_t)messages[i].length};
        struct msghdr *header = &headers[i].msg_hdr;
        memset(header, 0, sizeof *header);
        header->msg_iov = &parts[i];
        header->msg_iovlen = 1;
        if (messages[i].segments == 1) continue;
        header->msg_control = controls[i];
        header->msg_controllen = sizeof controls[i];
        struct cmsghdr *control = CMSG_FIRSTHDR(header);
        control->cmsg_level = IPPROTO_UDP;
        control->cmsg_type = UDP_SEGMENT;
        control->cmsg_len = CMSG_LEN(2);
        *(uint16_t *)CMSG_DATA(control) = (uint16_t)messages[i].segment_size;
    }
    for (int sent = 0; sent < message_count;) {
        int result = sendmmsg(udp, headers + sent, (unsigned)(message_count - sent), 0);
        if (result > 0) sent += result;
        else if (errno != EINTR && errno != EAGAIN) sent++;
    }
    message_count = arena_used = 0;
}

static void send_packet(const uint8_t *packet, int length) {
    int size = length + overhead;
    if (arena_used + size > arena_size || message_count == most_messages) flush_messages();
    uint8_t *datagram = arena + arena_used;
    memset(datagram, 0, overhead_front);
    datagram[0] = 4;
    memcpy(datagram + 8, &counter, 8);
    counter++;
    memcpy(datagram + overhead_front, packet, (size_t)length);
    struct message *last = message_count ? &messages[message_count - 1] : NULL;
    if (last && last->segments < most_segments && last->length % last->segment_size == 0 && size <= last->segment_size &&
        last->length + size <= longest_message) {
        last->segments++;
        last->length += size;
    } else {
        messages[message_count++] = (struct message){arena_used, size, size, 1};
    }
    arena_used += size;
}

// Cuts a TCP super-packet; headers are written over payload that was sent already.
static void send_segments(uint8_t *packet, int length, int segment) {
    int ip_header = (packet[0] & 15) * 4, tcp_header = (packet[ip_header + 12] >> 4) * 4;
    int headers = ip_header + tcp_header, payload = length - headers;
    uint8_t saved[120];
    memcpy(saved, packet, (size_t)headers);
    uint32_t sequence = get32(packet + ip_header + 4);
    unsigned identification = get16(packet + 4);
    for (int index = 0, at = 0; at < payload; index++, at += segment) {
        int part = payload - at < segment ? payload - at : segment;
        uint8_t *ip = packet + at, *tcp = ip + ip_header;
        memcpy(ip, saved, (size_t)headers);
        put16(ip + 2, (unsigned)(headers + part));
        put16(ip + 4, identification + (unsigned)index);
        store_header_checksum(ip, ip_header);
        put32(tcp + 4, sequence + (uint32_t)at);
        if (at + part < payload) tcp[13] &= (uint8_t)~0x09;  // FIN and PSH are the last one's
        memset(tcp + 16, 0, 2);
        uint64_t pseudo = tcp_pseudo_header(ip, tcp_header + part);
        store_checksum(tcp + 16, (uint16_t)~fold(sum(tcp, tcp_header + part, pseudo)));
        send_packet(ip, headers + part);
    }
}

// Returns how many frames there were.
static int forward_from_tun(void) {
    static uint8_t frame[frame_size];
    int count = 0;
    while (count < 64 && arena_used <= 60000) {
        int length = (int)read(tun, frame, sizeof frame);
        if (length <= 0) break;
        count++;
        struct virtio_net_hdr *virtio = (void *)frame;
        uint8_t *packet = frame + sizeof *virtio;
        length -= (int)sizeof *virtio;
        if (packet[0] >> 4 != 4) continue;
        if (virtio->gso_type != VIRTIO_NET_HDR_GSO_NONE) {
            send_segments(packet, length, virtio->gso_size);
            continue;
        }
        if (virtio->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) {
            uint8_t *start = packet + virtio->csum_start;
            store_checksum(start + virtio->csum_offset, (uint16_t)~fold(sum(start, length - virtio->csum_start, 0)));
        }
        send_packet(packet, length);
    }
    if (message_count) flush_messages();
    return count;
}

// MARK: UDP to TUN

// A run of successive TCP segments: the first packet, then payloads, all where they were received.
static struct {
    struct iovec parts[most_messages + 2];
    int count, length, headers, segment;
    uint8_t *first;
    uint32_t next_sequence;
} run;

static void flush_run(void) {
    if (!run.count) return;
    struct virtio_net_hdr virtio = {0};
    if (run.count > 2) {
        uint8_t *ip = run.first;
        int ip_header = (ip[0] & 15) * 4;
        put16(ip + 2, (unsigned)run.length);
        store_header_checksum(ip, ip_header);
        store_checksum(ip + ip_header + 16, fold(tcp_pseudo_header(ip, run.length - ip_header)));
        virtio = (struct virtio_net_hdr){
            .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
            .gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
            .hdr_len = (uint16_t)run.headers,
            .gso_size = (uint16_t)run.segment,
            .csum_start = (uint16_t)ip_header,
            .csum_offset = 16,
        };
    }
    run.parts[0] = (struct iovec){&virtio, sizeof virtio};
    if (writev(tun, run.parts, run.count) < 0 && errno != EAGAIN && errno != EINTR && errno != EINVAL && errno != EIO)
        perror("nulltun: write to TUN");
    run.count = 0;
}

static void start_run(uint8_t *packet, int length, int headers) {
    flush_run();
    run.first = packet;
    run.parts[1] = (struct iovec){packet, (size_t)length};
    run.count = 2;
    run.length = length;
    run.headers = headers;
    run.segment = length - headers;
}

static void deliver(uint8_t *ip, int length) {
    int ip_header = (ip[0] & 15) * 4;
    if (ip[0] >> 4 != 4 || ip[9] != IPPROTO_TCP || length < ip_header + 20 || get16(ip + 2) > length) {
        start_run(ip, length, 0);
        flush_run();
        return;
    }
    length = get16(ip + 2);
    uint8_t *tcp = ip + ip_header, *first = run.first + ip_header, flags = tcp[13];
    int tcp_header = (tcp[12] >> 4) * 4, headers = ip_header + tcp_header, payload = length - headers;
    int plain = payload > 0 && (flags & ~0x08) == 0x10;  // ACK, maybe PSH
    // Same addresses, ports, acknowledgement and options; the next bytes; not larger than the others.
    if (plain && run.count && headers == run.headers && get32(tcp + 4) == run.next_sequence && payload <= run.segment &&
        run.length + payload < longest_message && run.count < most_messages && !memcmp(ip + 12, run.first + 12, 8) &&
        !memcmp(tcp, first, 4) && !memcmp(tcp + 8, first + 8, 4) &&
        !memcmp(tcp + 20, first + 20, (size_t)tcp_header - 20)) {
        run.parts[run.count++] = (struct iovec){ip + headers, (size_t)payload};
        run.length += payload;
        run.next_sequence += (uint32_t)payload;
        first[13] |= flags;
    } else {
        start_run(ip, length, headers);
        run.next_sequence = get32(tcp + 4) + (uint32_t)payload;
    }
    if (!plain || payload < run.segment || (flags & 8)) flush_run();
}

// Returns how many messages there were.
static int forward_from_udp(void) {
    static uint8_t buffers[receive_messages][receive_size];
    static char controls[receive_messages][64];
    struct mmsghdr headers[receive_messages];
    struct iovec parts[receive_messages];
    memset(headers, 0, sizeof headers);
    for (int i = 0; i < receive_messages; i++) {
        parts[i] = (struct iovec){buffers[i], receive_size};
        headers[i].msg_hdr.msg_iov = &parts[i];
        headers[i].msg_hdr.msg_iovlen = 1;
        headers[i].msg_hdr.msg_control = controls[i];
        headers[i].msg_hdr.msg_controllen = sizeof controls[i];
    }
    int count = recvmmsg(udp, headers, receive_messages, MSG_DONTWAIT, NULL);
    for (int i = 0; i < count; i++) {
        int total = (int)headers[i].msg_len, segment = total;
        struct msghdr *header = &headers[i].msg_hdr;
        for (struct cmsghdr *control = CMSG_FIRSTHDR(header); control; control = CMSG_NXTHDR(header, control))
            if (control->cmsg_level == IPPROTO_UDP && control->cmsg_type == UDP_GRO)
                memcpy(&segment, CMSG_DATA(control), sizeof segment);
        for (int at = 0; at < total; at += segment) {
            int length = total - at < segment ? total - at : segment;
            uint8_t *datagram = buffers[i] + at;
            if (length >= overhead + 20 && datagram[0] == 4) deliver(datagram + overhead_front, length - overhead);
        }
    }
    flush_run();
    return count > 0 ? count : 0;
}

// MARK: Set-up

static int require(int result, const char *what) {
    if (result >= 0) return result;
    perror(what);
    exit(1);
}

int main(int count, char **arguments) {
    if (count != 5) {
        fprintf(stderr, "usage: nulltun IFNAME LOCAL-ADDRESS PEER-ADDRESS PORT\n");
        return 2;
    }
    tun = require(open("/dev/net/tun", O_RDWR | O_NONBLOCK), "open /dev/net/tun");
    struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR};
    strncpy(request.ifr_name, arguments[1], IFNAMSIZ - 1);
    require(ioctl(tun, TUNSETIFF, &request), "TUNSETIFF");
    require(ioctl(tun, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6), "TUNSETOFFLOAD");
    udp = require(socket(AF_INET, SOCK_DGRAM, 0), "socket");
    int on = 1, buffer = 4 << 20;
    setsockopt(udp, IPPROTO_UDP, UDP_GRO, &on, sizeof on);
    setsockopt(udp, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof buffer);
    setsockopt(udp, SOL_SOCKET, SO_SNDBUFFORCE, &buffer, sizeof buffer);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(arguments[4]))};
    inet_aton(arguments[2], &address.sin_addr);
    require(bind(udp, (void *)&address, sizeof address), "bind");
    inet_aton(arguments[3], &address.sin_addr);
    require(connect(udp, (void *)&address, sizeof address), "connect");
    struct pollfd both[2] = {{tun, POLLIN, 0}, {udp, POLLIN, 0}};
    for (;;)
        if (!(forward_from_tun() + forward_from_udp())) poll(both, 2, -1);
}
