#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

struct err_row {
    const char *name;
    int kafka_code;
    const char *text;
};

#define KQ_ERR_ROW(name, code, text) {#name, code, text},
static const struct err_row rows[KQ_ERR_COUNT] = {KQ_ERR_TABLE(KQ_ERR_ROW)};
#undef KQ_ERR_ROW

static const struct err_row unknown_row = {"KQ_?", -1, "unknown error"};

static const struct err_row *row_of(enum kq_err err)
{
    if ((unsigned)err >= KQ_ERR_COUNT)
        return &unknown_row;
    return &rows[err];
}

const char *err_name(enum kq_err err)
{
    return row_of(err)->name;
}

const char *err_text(enum kq_err err)
{
    return row_of(err)->text;
}

int err_kafka_code(enum kq_err err)
{
    return row_of(err)->kafka_code;
}

enum kq_err err_from_errno(int error_number)
{
    switch (error_number) {
    case 0:
        return KQ_OK;
    case ENOSPC:
    case EDQUOT:
        return KQ_NO_SPACE;
    case EROFS:
    case EACCES:
    case EPERM:
        return KQ_READ_ONLY;
    case ENOENT:
        return KQ_NOT_FOUND;
    case EEXIST:
        return KQ_EXISTS;
    case ENOMEM:
        return KQ_NO_MEMORY;
    default:
        return KQ_IO;
    }
}

enum kq_err fault_set(struct fault *fault, enum kq_err err, const char *format, ...)
{
    if (fault != NULL) {
        va_list args;
        va_start(args, format);
        fault->err = err;
        (void)vsnprintf(fault->text, sizeof fault->text, format, args);
        va_end(args);
    }
    return err;
}

const char *fault_text(const struct fault *fault)
{
    return fault->text[0] != '\0' ? fault->text : err_text(fault->err);
}
