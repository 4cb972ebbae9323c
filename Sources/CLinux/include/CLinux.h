// What Swift's Glibc module map does not import: declarations behind _GNU_SOURCE, function-like macros, ioctl numbers
// and variadic functions. Each entry says which of these it is. Nothing here has logic.
#pragma once

#include <errno.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <malloc.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/timerfd.h>
#include <sys/types.h>
#include <sys/un.h>

// _GNU_SOURCE: setns(2), unshare(2), pipe2(2), gettid(2), renameat2(2), accept4(2).
int CLinux_setns(int fd, int nstype);
int CLinux_unshare(int flags);
int CLinux_pipe2(int fds[2], int flags);
int CLinux_accept4(int fd, int flags);
extern const int CLinux_CLONE_NEWNET, CLinux_CLONE_NEWUSER, CLinux_O_PATH, CLinux_O_TMPFILE;

// _GNU_SOURCE: sendmmsg(2) and recvmmsg(2). The layout is struct mmsghdr's, asserted in the .c file.
typedef struct {
    struct msghdr msg_hdr;
    unsigned int msg_len;
} CLinux_mmsghdr;
int CLinux_sendmmsg(int fd, CLinux_mmsghdr *messages, unsigned int count, int flags);
int CLinux_recvmmsg(int fd, CLinux_mmsghdr *messages, unsigned int count, int flags);

// Function-like macros: CMSG_*.
static inline size_t CLinux_CMSG_SPACE(size_t length) { return CMSG_SPACE(length); }
static inline size_t CLinux_CMSG_LEN(size_t length) { return CMSG_LEN(length); }
static inline struct cmsghdr *CLinux_CMSG_FIRSTHDR(struct msghdr *message) { return CMSG_FIRSTHDR(message); }
struct cmsghdr *CLinux_CMSG_NXTHDR(struct msghdr *message, struct cmsghdr *header);
static inline unsigned char *CLinux_CMSG_DATA(struct cmsghdr *header) { return CMSG_DATA(header); }

// _GNU_SOURCE: struct ucred of SO_PEERCRED.
typedef struct {
    int pid;
    unsigned int uid;
    unsigned int gid;
} CLinux_ucred;

// ioctl(2) is variadic and its TUN requests are macros with a size in them (linux/if_tun.h).
int CLinux_ioctl_pointer(int fd, unsigned long request, void *argument);
int CLinux_ioctl_value(int fd, unsigned long request, unsigned long argument);
extern const unsigned long CLinux_TUNSETIFF, CLinux_TUNGETIFF, CLinux_TUNSETOWNER, CLinux_TUNSETGROUP, CLinux_TUNSETPERSIST,
    CLinux_TUNSETOFFLOAD, CLinux_TUNSETVNETHDRSZ, CLinux_TUNSETSNDBUF, CLinux_TUNSETCARRIER, CLinux_TUNGETFEATURES,
    CLinux_SIOCGIFMTU, CLinux_SIOCGIFINDEX, CLinux_SIOCGIFNAME, CLinux_NS_GET_USERNS, CLinux_NS_GET_NSTYPE, CLinux_TUNGETDEVNETNS;

// Newer than Debian 12's headers.
#define CLinux_TUN_F_USO4 0x20
#define CLinux_TUN_F_USO6 0x40
#define CLinux_VIRTIO_NET_HDR_GSO_UDP_L4 5
#define CLinux_UDP_SEGMENT 103
#define CLinux_UDP_GRO 104

// Variadic: prctl(2), open(2), openat(2), fcntl(2).
int CLinux_prctl(int option, unsigned long argument);
int CLinux_open(const char *path, int flags, unsigned int mode);
int CLinux_openat(int folder, const char *path, int flags, unsigned int mode);
int CLinux_fcntl(int fd, int command, long argument);
extern const int CLinux_PR_SET_DUMPABLE, CLinux_PR_SET_NO_NEW_PRIVS, CLinux_PR_GET_NO_NEW_PRIVS, CLinux_PR_SET_PDEATHSIG;

// _GNU_SOURCE: pthread_setname_np(3) on the calling thread, and gettid(2).
int CLinux_set_thread_name(const char *name);
int CLinux_gettid(void);

// _GNU_SOURCE and a macro: the count of sched_getaffinity(2) for this process, or 0.
int CLinux_usable_processors(void);

// Variadic and without a wrapper in glibc: sched_setattr(2) on the calling thread, SCHED_OTHER with a time slice in
// nanoseconds (0: the system's; since Linux 6.12).
int CLinux_set_time_slice(uint64_t nanoseconds);

// _GNU_SOURCE: ppoll(2) for reading; above zero when there is something, or the other end is closed.
int CLinux_wait_readable(int fd, uint32_t microseconds);

// Variadic and newer than Debian 12's headers: pidfd_open(2), and the socket option that gives the peer's (Linux 6.5).
int CLinux_pidfd_open(int pid);
#define CLinux_SO_PEERPIDFD 77

// Function-like macros: major(3) and minor(3).
static inline unsigned int CLinux_major(dev_t device) { return major(device); }
static inline unsigned int CLinux_minor(dev_t device) { return minor(device); }

// _GNU_SOURCE: memfd_create(2), always close-on-exec.
int CLinux_memfd_create(const char *name);

// Unavailable to Swift, which can't know that there is one thread: fork(2).
int CLinux_fork(void);

// Macros over control messages (ip(7), IP_RECVERR): 1, and the router's IPv4 address in host order, when a datagram of the
// socket's ran out of hops; 0 when none did. Takes what it has looked at off the error queue.
int CLinux_take_expiry(int fd, uint32_t *router);
