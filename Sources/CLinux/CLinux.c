#include "CLinux.h"

#include <fcntl.h>
#include <linux/errqueue.h>
#include <linux/nsfs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

_Static_assert(sizeof(CLinux_mmsghdr) == sizeof(struct mmsghdr), "mmsghdr layout");
_Static_assert(offsetof(CLinux_mmsghdr, msg_len) == offsetof(struct mmsghdr, msg_len), "mmsghdr layout");
_Static_assert(sizeof(CLinux_ucred) == sizeof(struct ucred), "ucred layout");

int CLinux_setns(int fd, int nstype) { return setns(fd, nstype); }
int CLinux_unshare(int flags) { return unshare(flags); }
int CLinux_pipe2(int fds[2], int flags) { return pipe2(fds, flags); }
int CLinux_accept4(int fd, int flags) { return accept4(fd, NULL, NULL, flags); }
const int CLinux_CLONE_NEWNET = CLONE_NEWNET, CLinux_CLONE_NEWUSER = CLONE_NEWUSER, CLinux_O_PATH = O_PATH,
          CLinux_O_TMPFILE = O_TMPFILE;

int CLinux_sendmmsg(int fd, CLinux_mmsghdr *messages, unsigned int count, int flags) {
    return sendmmsg(fd, (struct mmsghdr *)messages, count, flags);
}
int CLinux_recvmmsg(int fd, CLinux_mmsghdr *messages, unsigned int count, int flags) {
    return recvmmsg(fd, (struct mmsghdr *)messages, count, flags, NULL);
}
struct cmsghdr *CLinux_CMSG_NXTHDR(struct msghdr *message, struct cmsghdr *header) {
    return CMSG_NXTHDR(message, header);
}

int CLinux_ioctl_pointer(int fd, unsigned long request, void *argument) { return ioctl(fd, request, argument); }
int CLinux_ioctl_value(int fd, unsigned long request, unsigned long argument) { return ioctl(fd, request, argument); }
const unsigned long CLinux_TUNSETIFF = TUNSETIFF, CLinux_TUNGETIFF = TUNGETIFF, CLinux_TUNSETOWNER = TUNSETOWNER,
                    CLinux_TUNSETGROUP = TUNSETGROUP, CLinux_TUNSETPERSIST = TUNSETPERSIST,
                    CLinux_TUNSETOFFLOAD = TUNSETOFFLOAD, CLinux_TUNSETVNETHDRSZ = TUNSETVNETHDRSZ,
                    CLinux_TUNSETSNDBUF = TUNSETSNDBUF, CLinux_TUNSETCARRIER = TUNSETCARRIER,
                    CLinux_TUNGETFEATURES = TUNGETFEATURES, CLinux_SIOCGIFMTU = SIOCGIFMTU,
                    CLinux_SIOCGIFINDEX = SIOCGIFINDEX, CLinux_SIOCGIFNAME = SIOCGIFNAME,
                    CLinux_NS_GET_USERNS = NS_GET_USERNS, CLinux_NS_GET_NSTYPE = NS_GET_NSTYPE,
                    CLinux_TUNGETDEVNETNS = TUNGETDEVNETNS;

int CLinux_prctl(int option, unsigned long argument) { return prctl(option, argument, 0, 0, 0); }
int CLinux_open(const char *path, int flags, unsigned int mode) { return open(path, flags, mode); }
int CLinux_openat(int folder, const char *path, int flags, unsigned int mode) { return openat(folder, path, flags, mode); }
int CLinux_fcntl(int fd, int command, long argument) { return fcntl(fd, command, argument); }
const int CLinux_PR_SET_DUMPABLE = PR_SET_DUMPABLE, CLinux_PR_SET_NO_NEW_PRIVS = PR_SET_NO_NEW_PRIVS,
          CLinux_PR_GET_NO_NEW_PRIVS = PR_GET_NO_NEW_PRIVS, CLinux_PR_SET_PDEATHSIG = PR_SET_PDEATHSIG;

int CLinux_set_thread_name(const char *name) { return pthread_setname_np(pthread_self(), name); }
int CLinux_gettid(void) { return gettid(); }

int CLinux_usable_processors(void) {
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 0;
}

int CLinux_set_time_slice(uint64_t nanoseconds) {
    // struct sched_attr of the first version (linux/sched/types.h), which Debian 12's glibc does not declare.
    struct {
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime, deadline, period;
    } attributes = {.size = 48, .runtime = nanoseconds};
    _Static_assert(sizeof attributes == 48, "layout of sched_attr");
    // Nothing else changes: the calling thread's nice value is kept.
    attributes.nice = getpriority(PRIO_PROCESS, 0);
    return (int)syscall(SYS_sched_setattr, 0, &attributes, 0);
}

int CLinux_wait_readable(int fd, uint32_t microseconds) {
    struct pollfd waiting = {.fd = fd, .events = POLLIN};
    struct timespec time = {.tv_sec = microseconds / 1000000, .tv_nsec = microseconds % 1000000 * 1000};
    return ppoll(&waiting, 1, &time, NULL);
}

int CLinux_pidfd_open(int pid) { return (int)syscall(SYS_pidfd_open, pid, 0); }

int CLinux_memfd_create(const char *name) { return memfd_create(name, MFD_CLOEXEC); }

int CLinux_fork(void) { return fork(); }

int CLinux_take_expiry(int fd, uint32_t *router) {
    char control[256];
    struct msghdr message = {.msg_control = control, .msg_controllen = sizeof control};
    for (; recvmsg(fd, &message, MSG_ERRQUEUE | MSG_DONTWAIT) >= 0; message.msg_controllen = sizeof control)
        for (struct cmsghdr *part = CMSG_FIRSTHDR(&message); part; part = CMSG_NXTHDR(&message, part)) {
            if (part->cmsg_level != IPPROTO_IP || part->cmsg_type != IP_RECVERR) continue;
            const struct sock_extended_err *error = (const struct sock_extended_err *)CMSG_DATA(part);
            const struct sockaddr_in *from = (const struct sockaddr_in *)SO_EE_OFFENDER(error);
            if (error->ee_origin != SO_EE_ORIGIN_ICMP || error->ee_type != ICMP_TIME_EXCEEDED ||
                error->ee_code != ICMP_EXC_TTL || from->sin_family != AF_INET)
                continue;
            *router = ntohl(from->sin_addr.s_addr);
            return 1;
        }
    return 0;
}
