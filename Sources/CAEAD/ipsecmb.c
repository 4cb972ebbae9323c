#include "CAEAD.h"

#if defined(__x86_64__) && __has_include(<intel-ipsec-mb.h>)
#include <dlfcn.h>
#include <intel-ipsec-mb.h>
#include <pthread.h>
#include <string.h>

// One job a packet, which comes back done: a quarter (1420 bytes) to a half (64) less time than the three calls of the
// direct interface, and no more than many jobs at once, since this cipher is not spread over lanes.
//
// Threads: a manager is not safe to share, since jobs are taken from a ring in it and errors written to it; so each
// thread that seals has its own, made when it first does and freed when it ends. A session's key is only read.
static struct {
    bool usable;
    IMB_MGR *(*allocate)(uint64_t flags);
    void (*release)(IMB_MGR *);
    IMB_MGR *(*set_pointers)(void *manager, uint64_t flags, unsigned reset);
    void (*initialise)(IMB_MGR *);
    pthread_key_t managers;
} ipsecmb;

static _Thread_local IMB_MGR *manager;

static void release_manager(void *ended) {
    manager = NULL;
    ipsecmb.release(ended);
}

// This thread's, or NULL: without memory, or without AVX-512, where the library is no gain.
static IMB_MGR *make_manager(void) {
    IMB_MGR *made = ipsecmb.allocate(0);
    if (!made) return NULL;
    if ((made->features & IMB_CPUFLAGS_AVX512) == IMB_CPUFLAGS_AVX512) {
        // init_mb_mgr_avx512 would test each algorithm that the library knows, and so bring 3 MiB of its code into the
        // memory of every pod for one cipher, which AEADLibrary tests itself. This sets the pointers to functions only.
        made->used_arch = IMB_ARCH_AVX512;
        if (ipsecmb.set_pointers(made, 0, 0) && made->get_next_job && made->submit_job_nocheck) {
            made->next_job = 0;
            made->earliest_job = -1;
        } else {
            ipsecmb.initialise(made);
        }
        if (made->get_next_job && made->submit_job_nocheck && pthread_setspecific(ipsecmb.managers, made) == 0) {
            manager = made;
            return made;
        }
    }
    ipsecmb.release(made);
    return NULL;
}

static void load_ipsecmb(void) {
    void *library = dlopen("libIPSec_MB.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!library) return;
    ipsecmb.allocate = (IMB_MGR * (*)(uint64_t)) dlsym(library, "alloc_mb_mgr");
    ipsecmb.release = (void (*)(IMB_MGR *))dlsym(library, "free_mb_mgr");
    ipsecmb.set_pointers = (IMB_MGR * (*)(void *, uint64_t, unsigned)) dlsym(library, "imb_set_pointers_mb_mgr");
    ipsecmb.initialise = (void (*)(IMB_MGR *))dlsym(library, "init_mb_mgr_avx512");
    if (!ipsecmb.allocate || !ipsecmb.release || !ipsecmb.set_pointers || !ipsecmb.initialise) return;
    if (pthread_key_create(&ipsecmb.managers, release_manager) != 0) return;
    ipsecmb.usable = make_manager() != NULL;
    CAEAD_ipsecmb_leave();
}

void CAEAD_ipsecmb_leave(void) {
    if (!manager) return;
    pthread_setspecific(ipsecmb.managers, NULL);
    release_manager(manager);
}

bool CAEAD_ipsecmb_available(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, load_ipsecmb);
    return ipsecmb.usable;
}

enum { tag_size = 16 };

static inline __attribute__((always_inline)) bool run(IMB_CIPHER_DIRECTION direction, const uint8_t *key,
                                                      const uint8_t *nonce, const uint8_t *input, size_t length,
                                                      uint8_t *output, uint8_t *tag) {
    IMB_MGR *mine = manager;
    if (!mine && !(mine = make_manager())) return false;
    IMB_JOB *job = mine->get_next_job(mine);
    job->cipher_mode = IMB_CIPHER_CHACHA20_POLY1305;
    job->hash_alg = IMB_AUTH_CHACHA20_POLY1305;
    job->cipher_direction = direction;
    job->chain_order = direction == IMB_DIR_ENCRYPT ? IMB_ORDER_CIPHER_HASH : IMB_ORDER_HASH_CIPHER;
    job->enc_keys = job->dec_keys = key;
    job->key_len_in_bytes = 32;
    job->u.CHACHA20_POLY1305.aad = NULL;
    job->u.CHACHA20_POLY1305.aad_len_in_bytes = 0;
    job->src = input;
    job->dst = output;
    job->iv = nonce;
    job->iv_len_in_bytes = 12;
    job->cipher_start_src_offset_in_bytes = job->hash_start_src_offset_in_bytes = 0;
    job->msg_len_to_cipher_in_bytes = job->msg_len_to_hash_in_bytes = length;
    job->auth_tag_output = tag;
    job->auth_tag_output_len_in_bytes = tag_size;
    IMB_JOB *done = mine->submit_job_nocheck(mine);
    return done == job && done->status == IMB_STATUS_COMPLETED;
}

bool CAEAD_ipsecmb_seal(const uint8_t *key, const uint8_t *nonce, const uint8_t *input, size_t length, uint8_t *output) {
    return run(IMB_DIR_ENCRYPT, key, nonce, input, length, output, output + length);
}

bool CAEAD_ipsecmb_open(const uint8_t *key, const uint8_t *nonce, uint8_t *bytes, size_t length, bool *authentic) {
    uint64_t tag[2], expected[2];
    if (!run(IMB_DIR_DECRYPT, key, nonce, bytes, length, bytes, (uint8_t *)tag)) return false;
    memcpy(expected, bytes + length, tag_size);
    // In constant time.
    *authentic = ((tag[0] ^ expected[0]) | (tag[1] ^ expected[1])) == 0;
    // Decrypted before the tag was known to be wrong.
    if (!*authentic) memset(bytes, 0, length);
    return true;
}
#else
bool CAEAD_ipsecmb_available(void) { return false; }
bool CAEAD_ipsecmb_seal(const uint8_t *key, const uint8_t *nonce, const uint8_t *input, size_t length, uint8_t *output) {
    return false;
}
bool CAEAD_ipsecmb_open(const uint8_t *key, const uint8_t *nonce, uint8_t *bytes, size_t length, bool *authentic) {
    return false;
}
void CAEAD_ipsecmb_leave(void) {}
#endif
