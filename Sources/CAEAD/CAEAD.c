#include "CAEAD.h"

#include <dlfcn.h>
#include <pthread.h>
#include <string.h>

// OpenSSL 3's functions that are needed, with its ABI (openssl/evp.h): stable for the life of libcrypto.so.3.
static struct {
    bool usable;
    const void *cipher;
    void *(*context_new)(void);
    void (*context_free)(void *);
    int (*init)(void *context, const void *cipher, void *engine, const uint8_t *key, const uint8_t *iv, int encrypt);
    int (*update)(void *context, uint8_t *output, int *length, const uint8_t *input, int count);
    int (*final)(void *context, uint8_t *output, int *length);
    int (*control)(void *context, int type, int argument, void *pointer);
} openssl;

enum { control_get_tag = 0x10, control_set_tag = 0x11, tag_size = 16 };

static void load_openssl(void) {
    void *library = dlopen("libcrypto.so.3", RTLD_NOW | RTLD_LOCAL);
    if (!library) return;
    void *(*fetch)(void *, const char *, const char *) =
        (void *(*)(void *, const char *, const char *))dlsym(library, "EVP_CIPHER_fetch");
    openssl.context_new = (void *(*)(void))dlsym(library, "EVP_CIPHER_CTX_new");
    openssl.context_free = (void (*)(void *))dlsym(library, "EVP_CIPHER_CTX_free");
    openssl.init = (int (*)(void *, const void *, void *, const uint8_t *, const uint8_t *, int))dlsym(library, "EVP_CipherInit_ex");
    openssl.update = (int (*)(void *, uint8_t *, int *, const uint8_t *, int))dlsym(library, "EVP_CipherUpdate");
    openssl.final = (int (*)(void *, uint8_t *, int *))dlsym(library, "EVP_CipherFinal_ex");
    openssl.control = (int (*)(void *, int, int, void *))dlsym(library, "EVP_CIPHER_CTX_ctrl");
    if (!fetch || !openssl.context_new || !openssl.context_free || !openssl.init || !openssl.update || !openssl.final ||
        !openssl.control)
        return;
    openssl.cipher = fetch(NULL, "ChaCha20-Poly1305", NULL);
    openssl.usable = openssl.cipher != NULL;
}

bool CAEAD_openssl_available(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, load_openssl);
    return openssl.usable;
}

void *CAEAD_openssl_new(const uint8_t *key, bool seals) {
    void *context = openssl.context_new();
    if (context && openssl.init(context, openssl.cipher, NULL, key, NULL, seals) == 1) return context;
    if (context) openssl.context_free(context);
    return NULL;
}

void CAEAD_openssl_free(void *context) { openssl.context_free(context); }

bool CAEAD_openssl_seal(void *context, const uint8_t *nonce, const uint8_t *input, size_t length, uint8_t *output) {
    int count = 0;
    return openssl.init(context, NULL, NULL, NULL, nonce, -1) == 1 &&
           openssl.update(context, output, &count, input, (int)length) == 1 &&
           openssl.final(context, output + length, &count) == 1 &&
           openssl.control(context, control_get_tag, tag_size, output + length) == 1;
}

bool CAEAD_openssl_open(void *context, const uint8_t *nonce, const uint8_t *input, size_t length, uint8_t *output) {
    int count = 0;
    return openssl.init(context, NULL, NULL, NULL, nonce, -1) == 1 &&
           openssl.control(context, control_set_tag, tag_size, (void *)(input + length)) == 1 &&
           openssl.update(context, output, &count, input, (int)length) == 1 &&
           openssl.final(context, output + length, &count) == 1;
}

#if defined(__x86_64__) && __has_include(<intel-ipsec-mb.h>)
#include <intel-ipsec-mb.h>

static struct {
    bool usable;
    IMB_MGR *manager;
} ipsecmb;

static void load_ipsecmb(void) {
    void *library = dlopen("libIPSec_MB.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!library) return;
    IMB_MGR *(*allocate)(uint64_t) = (IMB_MGR * (*)(uint64_t)) dlsym(library, "alloc_mb_mgr");
    void (*prepare)(IMB_MGR *, IMB_ARCH *) = (void (*)(IMB_MGR *, IMB_ARCH *))dlsym(library, "init_mb_mgr_auto");
    if (!allocate || !prepare || !(ipsecmb.manager = allocate(0))) return;
    IMB_ARCH architecture = IMB_ARCH_NONE;
    prepare(ipsecmb.manager, &architecture);
    ipsecmb.usable = architecture == IMB_ARCH_AVX512 && ipsecmb.manager->chacha20_poly1305_init;
}

bool CAEAD_ipsecmb_available(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, load_ipsecmb);
    return ipsecmb.usable;
}

void CAEAD_ipsecmb_seal(const uint8_t *key, const uint8_t *nonce, const uint8_t *input, size_t length, uint8_t *output) {
    struct chacha20_poly1305_context_data context;
    IMB_CHACHA20_POLY1305_INIT(ipsecmb.manager, key, &context, nonce, NULL, 0);
    IMB_CHACHA20_POLY1305_ENC_UPDATE(ipsecmb.manager, key, &context, output, input, length);
    IMB_CHACHA20_POLY1305_ENC_FINALIZE(ipsecmb.manager, &context, output + length, tag_size);
    explicit_bzero(&context, sizeof context);
}

void CAEAD_ipsecmb_open(const uint8_t *key, const uint8_t *nonce, const uint8_t *input, size_t length, uint8_t *output,
                        uint8_t *tag) {
    struct chacha20_poly1305_context_data context;
    IMB_CHACHA20_POLY1305_INIT(ipsecmb.manager, key, &context, nonce, NULL, 0);
    IMB_CHACHA20_POLY1305_DEC_UPDATE(ipsecmb.manager, key, &context, output, input, length);
    IMB_CHACHA20_POLY1305_DEC_FINALIZE(ipsecmb.manager, &context, tag, tag_size);
    explicit_bzero(&context, sizeof context);
}
#else
bool CAEAD_ipsecmb_available(void) { return false; }
void CAEAD_ipsecmb_seal(const uint8_t *key, const uint8_t *nonce, const uint8_t *input, size_t length, uint8_t *output) {}
void CAEAD_ipsecmb_open(const uint8_t *key, const uint8_t *nonce, const uint8_t *input, size_t length, uint8_t *output,
                        uint8_t *tag) {}
#endif
