/*
 * CRC-32C (Castagnoli), as RFC 3720 and Kafka's batches have it: the register
 * starts and ends inverted, so crc32c(0, "123456789") is 0xe3069283.
 */
#ifndef KQ_BASE_CRC32C_H
#define KQ_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Any thread. The checksum of what `crc` covers followed by these bytes; crc is
 * 0 to begin with. A seed is the checksum of the seed's bytes. */
uint32_t crc32c(uint32_t crc, const void *data, size_t size_bytes);

/* Any thread. The checksum of A followed by B, from crc32c(0 or a seed, A) and
 * crc32c(0, B) alone; b_bytes is the size of B. So that bytes that already have
 * a checksum are not read a second time. */
uint32_t crc32c_combine(uint32_t crc_a, uint32_t crc_b, uint64_t b_bytes);

#endif
