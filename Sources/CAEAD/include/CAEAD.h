// ChaCha20-Poly1305 from libraries that are found at run time: OpenSSL's libcrypto, and Intel's libipsec-mb where its header
// was there at build time. A program without them still starts, and uses libsodium.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Whether libcrypto.so.3 was loaded and has the cipher. The first call loads it. Safe from any thread.
bool CAEAD_openssl_available(void);
// A context for one key and one direction; NULL when there is no memory. Freed with its key schedule wiped.
void *CAEAD_openssl_new(const uint8_t *key, bool seals);
void CAEAD_openssl_free(void *context);
// `output` has room for length + 16. False when the library failed.
bool CAEAD_openssl_seal(void *context, const uint8_t *nonce, const uint8_t *input, size_t length, uint8_t *output);
// `length` is without the tag, which comes behind. In place is allowed. False when the tag does not verify.
bool CAEAD_openssl_open(void *context, const uint8_t *nonce, const uint8_t *input, size_t length, uint8_t *output);

// Whether libIPSec_MB.so.1 was loaded and this CPU has the AVX-512 code, without which it is no gain. As above.
bool CAEAD_ipsecmb_available(void);
void CAEAD_ipsecmb_seal(const uint8_t *key, const uint8_t *nonce, const uint8_t *input, size_t length, uint8_t *output);
// Writes the tag that the bytes should have to `tag` (16); the caller compares in constant time.
void CAEAD_ipsecmb_open(const uint8_t *key, const uint8_t *nonce, const uint8_t *input, size_t length, uint8_t *output,
                        uint8_t *tag);
