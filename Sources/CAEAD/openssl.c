#include "CAEAD.h"

#include <dlfcn.h>
#include <pthread.h>
#include <string.h>

// OpenSSL 3's functions that are needed, with its ABI (openssl/evp.h): stable for the life of libcrypto.so.3.
//
// Threads: the cipher that was fetched is shared, counted atomically and never written; each direction of a session has a
// context of its own, which one thread at a time uses (openssl-threads(7)).
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

// What a cipher does not need and a process would keep in memory for good: the texts of errors, the names of all
// algorithms, openssl.cnf with what it configures, and a clean-up at exit under the feet of threads that still seal.
enum {
    no_load_crypto_strings = 0x1,
    no_add_all_ciphers = 0x10,
    no_add_all_digests = 0x20,
    no_load_config = 0x80,
    no_atexit = 0x80000,
};

static void load_openssl(void) {
    void *library = dlopen("libcrypto.so.3", RTLD_NOW | RTLD_LOCAL);
    if (!library) return;
    int (*prepare)(uint64_t, const void *) = (int (*)(uint64_t, const void *))dlsym(library, "OPENSSL_init_crypto");
    void *(*fetch)(void *, const char *, const char *) =
        (void *(*)(void *, const char *, const char *))dlsym(library, "EVP_CIPHER_fetch");
    openssl.context_new = (void *(*)(void))dlsym(library, "EVP_CIPHER_CTX_new");
    openssl.context_free = (void (*)(void *))dlsym(library, "EVP_CIPHER_CTX_free");
    openssl.init = (int (*)(void *, const void *, void *, const uint8_t *, const uint8_t *, int))dlsym(library, "EVP_CipherInit_ex");
    openssl.update = (int (*)(void *, uint8_t *, int *, const uint8_t *, int))dlsym(library, "EVP_CipherUpdate");
    openssl.final = (int (*)(void *, uint8_t *, int *))dlsym(library, "EVP_CipherFinal_ex");
    openssl.control = (int (*)(void *, int, int, void *))dlsym(library, "EVP_CIPHER_CTX_ctrl");
    if (!prepare || !fetch || !openssl.context_new || !openssl.context_free || !openssl.init || !openssl.update ||
        !openssl.final || !openssl.control)
        return;
    prepare(no_load_crypto_strings | no_add_all_ciphers | no_add_all_digests | no_load_config | no_atexit, NULL);
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

bool CAEAD_openssl_open(void *context, const uint8_t *nonce, uint8_t *bytes, size_t length) {
    int count = 0;
    bool authentic = openssl.init(context, NULL, NULL, NULL, nonce, -1) == 1 &&
                     openssl.control(context, control_set_tag, tag_size, bytes + length) == 1 &&
                     openssl.update(context, bytes, &count, bytes, (int)length) == 1 &&
                     openssl.final(context, bytes + length, &count) == 1;
    // Decrypted before the tag was known to be wrong.
    if (!authentic) memset(bytes, 0, length);
    return authentic;
}
