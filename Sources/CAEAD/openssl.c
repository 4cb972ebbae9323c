#include "CAEAD.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

// ChaCha20-Poly1305 without additional data, put together as RFC 8439 2.8 says from the library's ChaCha20 and its Poly1305.
//
// libcrypto has both in one, which takes half as long again (1.59 us for 1,420 bytes where this takes 1.11): it makes the block
// that the one-time key comes from and the packet's last, unfinished one by themselves, and one block takes as long as four.
// Here they are in the same call as all the others.
//
// OpenSSL 3's functions that are needed, with its ABI (openssl/evp.h): stable for the life of libcrypto.so.3.
//
// Threads: the algorithms that were fetched are shared, counted atomically and never written; each direction of a session has
// contexts of its own, which one thread at a time uses (openssl-threads(7)).
static struct {
    bool usable;
    const void *cipher;
    void *mac;
    void *(*cipher_new)(void);
    void (*cipher_free)(void *);
    int (*cipher_init)(void *context, const void *cipher, void *engine, const uint8_t *key, const uint8_t *iv, int encrypt);
    int (*cipher_update)(void *context, uint8_t *output, int *written, const uint8_t *input, int count);
    void *(*mac_new)(void *mac);
    void (*mac_free)(void *);
    int (*mac_init)(void *context, const uint8_t *key, size_t count, const void *parameters);
    int (*mac_update)(void *context, const uint8_t *input, size_t count);
    int (*mac_final)(void *context, uint8_t *tag, size_t *written, size_t count);
} openssl;

enum { block = 64, nonce_size = 12, tag_size = 16, one_time_key_size = 32 };

// How much of a packet is next to its first block: all of it for what most underlays carry.
enum { head_size = 31 * block };

struct direction {
    void *cipher, *mac;
};

// ChaCha20's input or output: block 0, which is not of the packet, and the packet's head. Behind that is room for the padding
// and the lengths that Poly1305 ends with.
struct __attribute__((aligned(64))) blocks {
    uint8_t first[block], head[head_size], end[2 * tag_size];
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
    void *(*fetch_cipher)(void *, const char *, const char *) =
        (void *(*)(void *, const char *, const char *))dlsym(library, "EVP_CIPHER_fetch");
    void *(*fetch_mac)(void *, const char *, const char *) =
        (void *(*)(void *, const char *, const char *))dlsym(library, "EVP_MAC_fetch");
    openssl.cipher_new = (void *(*)(void))dlsym(library, "EVP_CIPHER_CTX_new");
    openssl.cipher_free = (void (*)(void *))dlsym(library, "EVP_CIPHER_CTX_free");
    openssl.cipher_init = (int (*)(void *, const void *, void *, const uint8_t *, const uint8_t *, int))dlsym(library, "EVP_CipherInit_ex");
    openssl.cipher_update = (int (*)(void *, uint8_t *, int *, const uint8_t *, int))dlsym(library, "EVP_CipherUpdate");
    openssl.mac_new = (void *(*)(void *))dlsym(library, "EVP_MAC_CTX_new");
    openssl.mac_free = (void (*)(void *))dlsym(library, "EVP_MAC_CTX_free");
    openssl.mac_init = (int (*)(void *, const uint8_t *, size_t, const void *))dlsym(library, "EVP_MAC_init");
    openssl.mac_update = (int (*)(void *, const uint8_t *, size_t))dlsym(library, "EVP_MAC_update");
    openssl.mac_final = (int (*)(void *, uint8_t *, size_t *, size_t))dlsym(library, "EVP_MAC_final");
    if (!prepare || !fetch_cipher || !fetch_mac || !openssl.cipher_new || !openssl.cipher_free || !openssl.cipher_init ||
        !openssl.cipher_update || !openssl.mac_new || !openssl.mac_free || !openssl.mac_init || !openssl.mac_update ||
        !openssl.mac_final)
        return;
    prepare(no_load_crypto_strings | no_add_all_ciphers | no_add_all_digests | no_load_config | no_atexit, NULL);
    openssl.cipher = fetch_cipher(NULL, "ChaCha20", NULL);
    openssl.mac = fetch_mac(NULL, "Poly1305", NULL);
    openssl.usable = openssl.cipher && openssl.mac;
}

bool CAEAD_openssl_available(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, load_openssl);
    return openssl.usable;
}

void *CAEAD_openssl_new(const uint8_t *key) {
    struct direction *direction = calloc(1, sizeof *direction);
    if (!direction) return NULL;
    const uint8_t zero[16] = {0};
    direction->cipher = openssl.cipher_new();
    direction->mac = openssl.mac_new(openssl.mac);
    if (direction->cipher && direction->mac &&
        openssl.cipher_init(direction->cipher, openssl.cipher, NULL, key, zero, 1) == 1)
        return direction;
    CAEAD_openssl_free(direction);
    return NULL;
}

void CAEAD_openssl_free(void *context) {
    struct direction *direction = context;
    openssl.cipher_free(direction->cipher);
    openssl.mac_free(direction->mac);
    free(direction);
}

static inline size_t rounded(size_t count, size_t unit) { return (count + unit - 1) & ~(unit - 1); }

static inline bool stream(struct direction *direction, const uint8_t *input, size_t count, uint8_t *output) {
    int written = 0;
    return openssl.cipher_update(direction->cipher, output, &written, input, (int)count) == 1 && written == (int)count;
}

// Turns block 0 and the first `count` bytes of a packet, which are copied to `input`; ChaCha20's state is then at the block
// behind them. What `first` of `output` has is the one-time key's.
static inline bool begin(struct direction *direction, const uint8_t *nonce, const uint8_t *bytes, size_t count,
                         struct blocks *input, struct blocks *output) {
    // The block counter, in little-endian, and the nonce.
    uint8_t iv[4 + nonce_size] = {0};
    memcpy(iv + 4, nonce, nonce_size);
    memset(input->first, 0, block);
    memcpy(input->head, bytes, count);
    size_t whole = rounded(count, block);
    memset(input->head + count, 0, whole - count);
    return openssl.cipher_init(direction->cipher, NULL, NULL, NULL, iv, -1) == 1 &&
           stream(direction, input->first, block + whole, output->first);
}

// The tag of `head_count` bytes of ciphertext in `head` and the `rest_count` that follow them elsewhere. What is behind those
// in `head` is written over; the one-time key is wiped.
static inline bool authenticate(struct direction *direction, uint8_t *one_time_key, uint8_t *head, size_t head_count,
                                const uint8_t *rest, size_t rest_count, uint8_t *tag) {
    uint64_t lengths[2] = {0, head_count + rest_count};
    size_t written = 0;
    bool done = openssl.mac_init(direction->mac, one_time_key, one_time_key_size, NULL) == 1;
    explicit_bzero(one_time_key, block);
    if (!done) return false;
    if (rest_count == 0) {
        size_t padded = rounded(head_count, tag_size);
        memset(head + head_count, 0, padded - head_count);
        memcpy(head + padded, lengths, sizeof lengths);
        done = openssl.mac_update(direction->mac, head, padded + sizeof lengths) == 1;
    } else {
        uint8_t end[2 * tag_size] = {0};
        size_t padding = rounded(rest_count, tag_size) - rest_count;
        memcpy(end + padding, lengths, sizeof lengths);
        done = openssl.mac_update(direction->mac, head, head_count) == 1 &&
               openssl.mac_update(direction->mac, rest, rest_count) == 1 &&
               openssl.mac_update(direction->mac, end, padding + sizeof lengths) == 1;
    }
    // In any case, for it wipes the context.
    return openssl.mac_final(direction->mac, tag, &written, tag_size) == 1 && done && written == tag_size;
}

bool CAEAD_openssl_seal(void *context, const uint8_t *nonce, const uint8_t *input, size_t length, uint8_t *output) {
    struct direction *direction = context;
    struct blocks plain, sealed;
    size_t count = length < head_size ? length : head_size;
    if (!begin(direction, nonce, input, count, &plain, &sealed)) return false;
    if ((length > count && !stream(direction, input + count, length - count, output + count)) ||
        !authenticate(direction, sealed.first, sealed.head, count, output + count, length - count, output + length)) {
        // Part of it may be encrypted already where the input is, and who encrypts that again would undo it: nobody opens this.
        memset(output, 0, length + tag_size);
        return true;
    }
    memcpy(output, sealed.head, count);
    return true;
}

bool CAEAD_openssl_open(void *context, const uint8_t *nonce, uint8_t *bytes, size_t length) {
    struct direction *direction = context;
    struct blocks sealed, plain;
    size_t count = length < head_size ? length : head_size;
    uint64_t tag[2], expected[2];
    memcpy(expected, bytes + length, tag_size);
    bool authentic =
        begin(direction, nonce, bytes, count, &sealed, &plain) &&
        authenticate(direction, plain.first, sealed.head, count, bytes + count, length - count, (uint8_t *)tag) &&
        // In constant time.
        ((tag[0] ^ expected[0]) | (tag[1] ^ expected[1])) == 0 &&
        (length == count || stream(direction, bytes + count, length - count, bytes + count));
    if (authentic) {
        memcpy(bytes, plain.head, count);
    } else {
        // Decrypted before the tag was known to be wrong.
        explicit_bzero(plain.head, count);
    }
    return authentic;
}
