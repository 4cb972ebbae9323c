// ChaCha20-Poly1305 from libraries that are found at run time: OpenSSL's libcrypto, and Intel's libipsec-mb where its header
// was there at build time. A program without them still starts, and uses libsodium. Each says what it is safe for: all may be
// called by any number of threads at once, a context by one at a time.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Whether libcrypto.so.3 was loaded and has the cipher. The first call loads it.
bool CAEAD_openssl_available(void);
// A context for one key and one direction; NULL when there is no memory. Freed with its key schedule wiped.
void *CAEAD_openssl_new(const uint8_t *key);
void CAEAD_openssl_free(void *context);
// `output` has room for length + 16, and may be `input`. False, with nothing written, when the library failed at once.
bool CAEAD_openssl_seal(void *context, const uint8_t *nonce, const uint8_t *input, size_t length, uint8_t *output);
// In place; `length` is without the tag, which comes behind. False, and nothing decrypted, when the tag does not verify.
bool CAEAD_openssl_open(void *context, const uint8_t *nonce, uint8_t *bytes, size_t length);

// Whether libIPSec_MB.so.1 was loaded and this CPU has the AVX-512 code, without which it is no gain. As above, with 32
// bytes of key in place of a context.
bool CAEAD_ipsecmb_available(void);
// False, with nothing done, when this thread's state could not be made.
bool CAEAD_ipsecmb_seal(const uint8_t *key, const uint8_t *nonce, const uint8_t *input, size_t length, uint8_t *output);
// As seal; else `authentic` says whether the tag verified. Only zeros are left when it did not.
bool CAEAD_ipsecmb_open(const uint8_t *key, const uint8_t *nonce, uint8_t *bytes, size_t length, bool *authentic);
// Frees this thread's state (200 KB), which its next call makes again. A thread that ends does so itself.
void CAEAD_ipsecmb_leave(void);
