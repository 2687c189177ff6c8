#include "base/crc32c.h"

#include <pthread.h>
#include <stdbool.h>
#include <string.h>

enum { POLYNOMIAL = 0x82f63b78 }; /* reflected */
enum { LANE_POWER = 11, LANE_BYTES = 1 << LANE_POWER };

static uint32_t table[8][256];
static uint32_t power[64]; /* power[i]: x^(8 * 2^i) modulo the polynomial */
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* a * b modulo the polynomial; bit 31 is x^0 (reflected). */
static uint32_t multiply(uint32_t a, uint32_t b)
{
    uint32_t product = 0;
    for (uint32_t bit = 0x80000000; bit != 0; bit >>= 1) {
        product ^= b & (0u - ((a & bit) != 0));
        b = b >> 1 ^ ((uint32_t)POLYNOMIAL & (0u - (b & 1)));
    }
    return product;
}

static void make_tables(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;
        for (int bit = 0; bit < 8; bit++)
            crc = (crc & 1) != 0 ? crc >> 1 ^ (uint32_t)POLYNOMIAL : crc >> 1;
        table[0][i] = crc;
    }
    for (uint32_t i = 0; i < 256; i++)
        for (int k = 1; k < 8; k++)
            table[k][i] = table[k - 1][i] >> 8 ^ table[0][table[k - 1][i] & 0xff];
    power[0] = 0x80000000u >> 8; /* x^8 */
    for (int i = 1; i < 64; i++)
        power[i] = multiply(power[i - 1], power[i - 1]);
}

static uint32_t update_software(uint32_t crc, const uint8_t *p, size_t n)
{
    (void)pthread_once(&once, make_tables);
    for (; n >= 8; n -= 8, p += 8) {
        uint32_t low = crc ^ ((uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24);
        crc = table[7][low & 0xff] ^ table[6][low >> 8 & 0xff] ^ table[5][low >> 16 & 0xff] ^ table[4][low >> 24] ^
              table[3][p[4]] ^ table[2][p[5]] ^ table[1][p[6]] ^ table[0][p[7]];
    }
    for (; n > 0; n--, p++)
        crc = crc >> 8 ^ table[0][(crc ^ *p) & 0xff];
    return crc;
}

#if defined(__x86_64__)
/* The instruction takes three cycles, and one can begin in each: so three lanes of LANE_BYTES are
 * read side by side, and put together by what the later bytes do to the earlier lanes' sums. */
__attribute__((target("sse4.2"))) static uint32_t update_three(uint32_t crc, const uint8_t *p)
{
    uint64_t first = crc, second = 0, third = 0;
    for (size_t i = 0; i < LANE_BYTES; i += 8) {
        uint64_t words[3];
        memcpy(&words[0], p + i, 8);
        memcpy(&words[1], p + LANE_BYTES + i, 8);
        memcpy(&words[2], p + 2 * LANE_BYTES + i, 8);
        first = __builtin_ia32_crc32di(first, words[0]);
        second = __builtin_ia32_crc32di(second, words[1]);
        third = __builtin_ia32_crc32di(third, words[2]);
    }
    uint32_t both = multiply(power[LANE_POWER], (uint32_t)first) ^ (uint32_t)second;
    return multiply(power[LANE_POWER], both) ^ (uint32_t)third;
}

__attribute__((target("sse4.2"))) static uint32_t update_hardware(uint32_t crc, const uint8_t *p, size_t n)
{
    if (n >= 3 * LANE_BYTES)
        (void)pthread_once(&once, make_tables);
    for (; n >= 3 * LANE_BYTES; n -= 3 * LANE_BYTES, p += 3 * LANE_BYTES)
        crc = update_three(crc, p);
    uint64_t wide = crc;
    for (; n >= 8; n -= 8, p += 8) {
        uint64_t word;
        memcpy(&word, p, sizeof word);
        wide = __builtin_ia32_crc32di(wide, word);
    }
    crc = (uint32_t)wide;
    for (; n > 0; n--, p++)
        crc = __builtin_ia32_crc32qi(crc, *p);
    return crc;
}

static bool have_hardware(void)
{
    return __builtin_cpu_supports("sse4.2") != 0;
}
#else
static uint32_t update_hardware(uint32_t crc, const uint8_t *p, size_t n)
{
    return update_software(crc, p, n);
}

static bool have_hardware(void)
{
    return false;
}
#endif

uint32_t crc32c(uint32_t crc, const void *data, size_t size_bytes)
{
    if (have_hardware())
        return ~update_hardware(~crc, data, size_bytes);
    return ~update_software(~crc, data, size_bytes);
}

uint32_t crc32c_combine(uint32_t crc_a, uint32_t crc_b, uint64_t b_bytes)
{
    (void)pthread_once(&once, make_tables);
    uint32_t shifted = crc_a;
    for (int i = 0; b_bytes != 0; i++, b_bytes >>= 1)
        if ((b_bytes & 1) != 0)
            shifted = multiply(power[i], shifted);
    return shifted ^ crc_b;
}
