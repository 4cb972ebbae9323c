#include "CAEAD.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

// OSSL_PARAM (openssl/core.h). A list ends with one without a name.
struct parameter {
    const char *name;
    unsigned int type;
    void *bytes;
    size_t count, returned;
};

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
    int (*set)(void *context, const struct parameter *parameters);
    int (*get)(void *context, struct parameter *parameters);
} openssl;

enum { octet_string = 5, nonce_size = 12, tag_size = 16 };

// A session's direction. Its parameter lists are written once: EVP_CipherInit_ex and EVP_CIPHER_CTX_ctrl make, copy and search
// several for each packet, which is a quarter of the time that a full packet takes (1.11 us where it was 1.35).
struct direction {
    void *context;
    uint8_t nonce[nonce_size], tag[tag_size];
    struct parameter tag_list[2], nonce_list[2], tag_and_nonce_list[3];
};

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
    openssl.set = (int (*)(void *, const struct parameter *))dlsym(library, "EVP_CIPHER_CTX_set_params");
    openssl.get = (int (*)(void *, struct parameter *))dlsym(library, "EVP_CIPHER_CTX_get_params");
    if (!prepare || !fetch || !openssl.context_new || !openssl.context_free || !openssl.init || !openssl.update ||
        !openssl.final || !openssl.set || !openssl.get)
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
    struct direction *direction = calloc(1, sizeof *direction);
    if (!direction) return NULL;
    const uint8_t nonce[nonce_size] = {0};
    direction->context = openssl.context_new();
    if (!direction->context || openssl.init(direction->context, openssl.cipher, NULL, key, nonce, seals) != 1) {
        CAEAD_openssl_free(direction);
        return NULL;
    }
    struct parameter tag = {"tag", octet_string, direction->tag, tag_size, 0};
    // The whole nonce, for this cipher; what the name says of TLS is where it is used first (provider-cipher(7)). A library
    // that knew it not would ignore it: who loads one compares its bytes with another's before it is used.
    struct parameter whole_nonce = {"tlsivfixed", octet_string, direction->nonce, nonce_size, 0};
    direction->tag_list[0] = direction->tag_and_nonce_list[0] = tag;
    direction->nonce_list[0] = direction->tag_and_nonce_list[1] = whole_nonce;
    return direction;
}

void CAEAD_openssl_free(void *context) {
    struct direction *direction = context;
    if (direction->context) openssl.context_free(direction->context);
    free(direction);
}

bool CAEAD_openssl_seal(void *context, const uint8_t *nonce, const uint8_t *input, size_t length, uint8_t *output) {
    struct direction *direction = context;
    int count = 0;
    memcpy(direction->nonce, nonce, nonce_size);
    if (openssl.set(direction->context, direction->nonce_list) != 1 ||
        openssl.update(direction->context, output, &count, input, (int)length) != 1 ||
        openssl.final(direction->context, output + length, &count) != 1 ||
        openssl.get(direction->context, direction->tag_list) != 1)
        return false;
    memcpy(output + length, direction->tag, tag_size);
    return true;
}

bool CAEAD_openssl_open(void *context, const uint8_t *nonce, uint8_t *bytes, size_t length) {
    struct direction *direction = context;
    int count = 0;
    memcpy(direction->nonce, nonce, nonce_size);
    memcpy(direction->tag, bytes + length, tag_size);
    bool authentic = openssl.set(direction->context, direction->tag_and_nonce_list) == 1 &&
                     openssl.update(direction->context, bytes, &count, bytes, (int)length) == 1 &&
                     openssl.final(direction->context, bytes + length, &count) == 1;
    if (authentic) return true;
    // Decrypted before the tag was known to be wrong.
    memset(bytes, 0, length);
    // Nothing of it may be left in the context either.
    openssl.init(direction->context, NULL, NULL, NULL, direction->nonce, -1);
    return false;
}
