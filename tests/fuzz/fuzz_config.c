/* The configuration file's parser. Whatever it takes must pass through the check
 * and be taken again when it is written as --set would. */
#include "fuzz/fuzz.h"

#include "base/config.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct config cfg;
    struct fault fault = {.err = KQ_OK};
    config_defaults(&cfg);
    enum kq_err err = config_load_text(&cfg, "fuzz.conf", (const char *)data, size, &fault);
    if (err == KQ_OK)
        err = config_check(&cfg, &fault);
    if (err != KQ_OK && (fault.err != err || fault.text[0] == '\0'))
        abort();
    return 0;
}
