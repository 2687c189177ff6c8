#include "base/config.h"

#include "base/logger.h"
#include "base/require.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ROW(k, change, field, key, def, low, high, because)                                                            \
    {key, def, low, high, because, offsetof(struct config, field), CONFIG_##k, ROW_##change},
#define ROW_FIXED false
#define ROW_LIVE true
#define ROW_TEXT(field, key, def, because)                                                                             \
    {key, def, "", "", because, offsetof(struct config, field), CONFIG_TEXT, false},
static const struct config_key keys[] = {CONFIG_KEYS(ROW, ROW_TEXT)};
#undef ROW
#undef ROW_FIXED
#undef ROW_LIVE
#undef ROW_TEXT

enum { KEY_COUNT = sizeof keys / sizeof keys[0], KEY_NAME_BYTES = 48, SHOWN_BYTES = 60 };

/* The two faces of a number's field must be one size for number_at's sake. */
_Static_assert(sizeof(_Atomic int64_t) == sizeof(int64_t), "LIVE and FIXED fields differ in size");

struct unit {
    const char *name;
    int64_t factor;
};
static const struct unit size_units[] = {
    {"B", 1},       {"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", INT64_C(1) << 40},
    {"k", 1 << 10}, {"m", 1 << 20},   {"g", 1 << 30},   {"K", 1 << 10},   {"M", 1 << 20},
    {"G", 1 << 30},
};
static const struct unit span_units[] = {
    {"us", 1},
    {"ms", 1000},
    {"s", 1000000},
    {"min", INT64_C(60) * 1000000},
    {"h", INT64_C(3600) * 1000000},
    {"d", INT64_C(86400) * 1000000},
};
enum { SIZE_UNITS = sizeof size_units / sizeof size_units[0], SPAN_UNITS = sizeof span_units / sizeof span_units[0] };

/* Where a setting came from, for messages: a file and its line, or an option. */
struct origin {
    const char *name;
    unsigned line; /* 0: none */
};

const struct config_key *config_keys(size_t *count)
{
    *count = KEY_COUNT;
    return keys;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/* ---- numbers and their units --------------------------------------------------- */

/* Digits, perhaps after a minus. False: none, or more than 18. */
static bool parse_digits(const char **at, const char *end, int64_t *number)
{
    const char *p = *at;
    bool minus = p < end && *p == '-';
    if (minus)
        p++;
    int64_t n = 0;
    int digits = 0;
    for (; p < end && *p >= '0' && *p <= '9'; p++) {
        if (++digits > 18)
            return false;
        n = n * 10 + (*p - '0');
    }
    *at = p;
    *number = minus ? -n : n;
    return digits > 0;
}

/* 0: no such unit. */
static int64_t unit_factor(enum config_kind kind, const char *text, size_t len)
{
    const struct unit *units = kind == CONFIG_SPAN ? span_units : size_units;
    size_t count = kind == CONFIG_SPAN ? SPAN_UNITS : SIZE_UNITS;
    for (size_t i = 0; i < count; i++)
        if (strlen(units[i].name) == len && memcmp(units[i].name, text, len) == 0)
            return units[i].factor;
    return 0;
}

static const char *units_hint(enum config_kind kind)
{
    return kind == CONFIG_SPAN ? "us, ms, s, min, h or d"
                               : "B, KiB, MiB, GiB or TiB (k, m and g mean KiB, MiB and GiB)";
}

/* A number with the unit its kind wants. NULL and *number, or what is wrong
 * with it, to be said after "key = value: ". */
static const char *parse_number(enum config_kind kind, const char *text, size_t len, int64_t *number)
{
    const char *at = text;
    const char *end = text + len;
    if (!parse_digits(&at, end, number))
        return "not a whole number";
    while (at < end && is_space(*at))
        at++;
    if (kind == CONFIG_COUNT)
        return at == end ? NULL : "a plain number is wanted, without a unit";
    if (at == end)
        return *number == 0 || *number == CONFIG_UNLIMITED ? NULL : "it needs a unit";
    int64_t factor = unit_factor(kind, at, (size_t)(end - at));
    if (factor == 0)
        return "not a unit for this";
    if (*number == CONFIG_UNLIMITED)
        return "-1 (no limit) takes no unit";
    if (__builtin_mul_overflow(*number, factor, number))
        return "too large";
    return NULL;
}

/* The index of text among words parted by |, or -1. */
static int64_t parse_choice(const char *words, const char *text, size_t len)
{
    for (int64_t i = 0;; i++) {
        size_t word = strcspn(words, "|");
        if (word == len && memcmp(words, text, len) == 0)
            return i;
        if (words[word] == '\0')
            return -1;
        words += word + 1;
    }
}

static int64_t bound(const struct config_key *key, const char *text)
{
    int64_t number;
    REQUIRE(parse_number(key->kind, text, strlen(text), &number) == NULL);
    return number;
}

static int64_t number_get(const struct config *cfg, const struct config_key *key)
{
    const void *at = (const char *)cfg + key->field_off;
    if (key->live)
        return atomic_load_explicit((const _Atomic int64_t *)at, memory_order_relaxed);
    return *(const int64_t *)at;
}

static void number_put(struct config *cfg, const struct config_key *key, int64_t number)
{
    void *at = (char *)cfg + key->field_off;
    if (key->live)
        atomic_store_explicit((_Atomic int64_t *)at, number, memory_order_relaxed);
    else
        *(int64_t *)at = number;
}

/* ---- one key --------------------------------------------------------------------- */

/* Bytes from a file, cut and made printable for a message. */
static const char *shown(const char *text, size_t len, char out[SHOWN_BYTES])
{
    size_t n = len < SHOWN_BYTES - 4 ? len : SHOWN_BYTES - 4;
    for (size_t i = 0; i < n; i++)
        out[i] = text[i] >= ' ' && text[i] != 127 ? text[i] : '?';
    memcpy(out + n, n < len ? "..." : "", n < len ? 4 : 1);
    return out;
}

static enum kq_err refuse(const struct origin *from, struct fault *fault, const char *what)
{
    if (from->line != 0)
        return fault_set(fault, KQ_INVALID, "%s:%u: %s", from->name, from->line, what);
    return fault_set(fault, KQ_INVALID, "%s: %s", from->name, what);
}

/* Levenshtein's distance of two short words. */
static size_t distance(const char *a, size_t a_len, const char *b)
{
    size_t row[KEY_NAME_BYTES + 1];
    size_t b_len = strlen(b);
    REQUIRE(b_len <= KEY_NAME_BYTES);
    for (size_t j = 0; j <= b_len; j++)
        row[j] = j;
    for (size_t i = 1; i <= a_len; i++) {
        size_t corner = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_len; j++) {
            size_t best = corner + (a[i - 1] != b[j - 1]);
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            corner = row[j];
            row[j] = best;
        }
    }
    return row[b_len];
}

/* The key that was probably meant, or NULL. */
static const struct config_key *nearest(const char *name, size_t len)
{
    const struct config_key *best = NULL;
    size_t best_distance = 2 + len / 4;
    for (size_t i = 0; i < KEY_COUNT && len <= KEY_NAME_BYTES; i++) {
        size_t d = distance(name, len, keys[i].name);
        if (d < best_distance) {
            best = &keys[i];
            best_distance = d;
        }
    }
    return best;
}

static const struct config_key *find_key(const char *name, size_t len)
{
    for (size_t i = 0; i < KEY_COUNT; i++)
        if (strlen(keys[i].name) == len && memcmp(keys[i].name, name, len) == 0)
            return &keys[i];
    return NULL;
}

static enum kq_err unknown_key(const char *name, size_t len, const struct origin *from, struct fault *fault)
{
    char what[256];
    char name_shown[SHOWN_BYTES];
    const struct config_key *meant = nearest(name, len);
    if (meant != NULL)
        (void)snprintf(what, sizeof what, "unknown key %s; did you mean %s?", shown(name, len, name_shown),
                       meant->name);
    else
        (void)snprintf(what, sizeof what, "unknown key %s; kafkaesqued.conf(5) lists the keys",
                       shown(name, len, name_shown));
    return refuse(from, fault, what);
}

static enum kq_err bad_value(const struct config_key *key, const char *value, size_t len, const char *why,
                             const struct origin *from, struct fault *fault)
{
    char what[256];
    char value_shown[SHOWN_BYTES];
    (void)shown(value, len, value_shown);
    if (key->kind == CONFIG_CHOICE)
        (void)snprintf(what, sizeof what, "%s = %s: one of %s is wanted", key->name, value_shown, key->smallest);
    else if (key->kind == CONFIG_COUNT || key->kind == CONFIG_TEXT)
        (void)snprintf(what, sizeof what, "%s = %s: %s", key->name, value_shown, why);
    else
        (void)snprintf(what, sizeof what, "%s = %s: %s; write it with %s, for example %s", key->name, value_shown, why,
                       units_hint(key->kind), key->kind == CONFIG_SPAN ? "30s" : "64MiB");
    return refuse(from, fault, what);
}

static enum kq_err out_of_range(const struct config_key *key, const char *value, size_t len, const struct origin *from,
                                struct fault *fault)
{
    char what[256];
    char value_shown[SHOWN_BYTES];
    (void)snprintf(what, sizeof what, "%s = %s: it may be %s to %s%s", key->name, shown(value, len, value_shown),
                   strcmp(key->smallest, "-1") == 0 ? "0" : key->smallest, key->largest,
                   strcmp(key->smallest, "-1") == 0 ? ", or -1 for no limit" : "");
    return refuse(from, fault, what);
}

static enum kq_err set_value(struct config *cfg, const struct config_key *key, const char *value, size_t len,
                             const struct origin *from, struct fault *fault)
{
    if (key->kind == CONFIG_TEXT) {
        if (len >= CONFIG_TEXT_BYTES)
            return bad_value(key, value, len, "longer than 1023 bytes", from, fault);
        char *field = (char *)cfg + key->field_off;
        memcpy(field, value, len);
        field[len] = '\0';
        return KQ_OK;
    }
    int64_t number;
    if (key->kind == CONFIG_CHOICE) {
        number = parse_choice(key->smallest, value, len);
        if (number < 0)
            return bad_value(key, value, len, "", from, fault);
    } else {
        const char *why = parse_number(key->kind, value, len, &number);
        if (why != NULL)
            return bad_value(key, value, len, why, from, fault);
        if (number < bound(key, key->smallest) || number > bound(key, key->largest))
            return out_of_range(key, value, len, from, fault);
    }
    number_put(cfg, key, number);
    return KQ_OK;
}

/* "key = value" of len bytes, trimmed of comments. *set gets the key. */
static enum kq_err assign(struct config *cfg, const char *text, size_t len, const struct origin *from,
                          const struct config_key **set, struct fault *fault)
{
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] < ' ' && !is_space(text[i]))
            return refuse(from, fault, "a control character; this is no configuration file");
    const char *equals = memchr(text, '=', len);
    if (equals == NULL) {
        char what[128];
        char text_shown[SHOWN_BYTES];
        (void)snprintf(what, sizeof what, "%s: key = value is wanted; a comment begins with #",
                       shown(text, len, text_shown));
        return refuse(from, fault, what);
    }
    size_t name_len = (size_t)(equals - text);
    while (name_len > 0 && is_space(text[name_len - 1]))
        name_len--;
    const char *value = equals + 1;
    const char *end = text + len;
    while (value < end && is_space(*value))
        value++;
    const struct config_key *key = find_key(text, name_len);
    if (key == NULL)
        return unknown_key(text, name_len, from, fault);
    *set = key;
    return set_value(cfg, key, value, (size_t)(end - value), from, fault);
}

/* ---- files ------------------------------------------------------------------------ */

/* Takes spaces and a comment off a line; what is left begins at *start. */
static size_t trim(const char **start, size_t len)
{
    const char *p = *start;
    while (len > 0 && is_space(*p)) {
        p++;
        len--;
    }
    for (size_t i = 0; i < len; i++)
        if (p[i] == '#' && (i == 0 || is_space(p[i - 1])))
            len = i;
    while (len > 0 && is_space(p[len - 1]))
        len--;
    *start = p;
    return len;
}

enum kq_err config_load_text(struct config *cfg, const char *name, const char *bytes, size_t len, struct fault *fault)
{
    unsigned set_at[KEY_COUNT] = {0};
    struct origin from = {.name = name, .line = 0};
    const char *end = bytes + len;
    for (const char *line = bytes; line < end;) {
        const char *newline = memchr(line, '\n', (size_t)(end - line));
        const char *line_end = newline != NULL ? newline : end;
        from.line++;
        if (line_end - line > CONFIG_LINE_BYTES)
            return refuse(&from, fault, "the line is longer than 4096 bytes");
        const char *text = line;
        size_t text_len = trim(&text, (size_t)(line_end - line));
        line = line_end + (newline != NULL);
        if (text_len == 0)
            continue;
        const struct config_key *key = NULL;
        enum kq_err err = assign(cfg, text, text_len, &from, &key, fault);
        if (err != KQ_OK)
            return err;
        if (set_at[key - keys] != 0) {
            char what[128];
            (void)snprintf(what, sizeof what, "%s is set already in line %u", key->name, set_at[key - keys]);
            return refuse(&from, fault, what);
        }
        set_at[key - keys] = from.line;
    }
    return KQ_OK;
}

/* Reads the whole file; free(3) *bytes. */
static enum kq_err read_file(const char *path, char **bytes, size_t *len, struct fault *fault)
{
    enum kq_err err = KQ_OK;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return fault_set(fault, err_from_errno(errno), "cannot open the configuration file %s: %s", path,
                         strerror(errno));
    char *data = malloc(CONFIG_FILE_BYTES + 1);
    if (data == NULL) {
        err = fault_set(fault, KQ_NO_MEMORY, "no memory to read %s", path);
        goto close_fd;
    }
    size_t have = 0;
    ssize_t n = 0;
    while (have <= CONFIG_FILE_BYTES && (n = read(fd, data + have, CONFIG_FILE_BYTES + 1 - have)) > 0)
        have += (size_t)n;
    if (n < 0)
        err = fault_set(fault, KQ_IO, "cannot read the configuration file %s: %s", path, strerror(errno));
    else if (have > CONFIG_FILE_BYTES)
        err = fault_set(fault, KQ_INVALID, "%s is larger than 1 MiB; this is no configuration file", path);
    if (err != KQ_OK)
        free(data);
    else
        *bytes = data, *len = have;
close_fd:
    (void)close(fd);
    return err;
}

enum kq_err config_load_file(struct config *cfg, const char *path, struct fault *fault)
{
    char *bytes = NULL;
    size_t len = 0;
    enum kq_err err = read_file(path, &bytes, &len, fault);
    if (err != KQ_OK)
        return err;
    err = config_load_text(cfg, path, bytes, len, fault);
    free(bytes);
    return err;
}

enum kq_err config_set(struct config *cfg, const char *assignment, const char *origin, struct fault *fault)
{
    const struct origin from = {.name = origin, .line = 0};
    const struct config_key *key = NULL;
    size_t len = strlen(assignment);
    while (len > 0 && is_space(*assignment)) {
        assignment++;
        len--;
    }
    while (len > 0 && is_space(assignment[len - 1]))
        len--;
    return assign(cfg, assignment, len, &from, &key, fault);
}

/* ---- the whole -------------------------------------------------------------------- */

void config_defaults(struct config *cfg)
{
    const struct origin from = {.name = "the defaults", .line = 0};
    memset(cfg, 0, sizeof *cfg);
    for (size_t i = 0; i < KEY_COUNT; i++)
        REQUIRE(set_value(cfg, &keys[i], keys[i].value, strlen(keys[i].value), &from, NULL) == KQ_OK);
}

enum kq_err config_check(const struct config *cfg, struct fault *fault)
{
    const struct {
        const char *low;
        int64_t low_value;
        const char *high;
        int64_t high_value;
    } ordered[] = {
        {"workers.min", cfg->workers_min, "workers.max", cfg->workers_max},
        {"message.max.bytes", cfg->message_max_bytes, "line.max", cfg->line_max_bytes},
        {"line.max", cfg->line_max_bytes, "mailbox.max", cfg->mailbox_max_bytes},
        {"mailbox.max", cfg->mailbox_max_bytes, "memory.max", cfg->memory_max_bytes},
        {"prepare.min", cfg->prepare_min_bytes, "prepare.max", cfg->prepare_max_bytes},
        {"prepare.max", cfg->prepare_max_bytes, "prepare.budget", cfg->prepare_budget_bytes},
        {"offsets.partitions", cfg->offsets_partitions, "partitions.max", cfg->partitions_max},
    };
    for (size_t i = 0; i < sizeof ordered / sizeof ordered[0]; i++)
        if (ordered[i].low_value > ordered[i].high_value)
            return fault_set(fault, KQ_INVALID, "%s must not be above %s; change one of them", ordered[i].low,
                             ordered[i].high);
    if (cfg->election_us < 3 * cfg->beat_us)
        return fault_set(fault, KQ_INVALID,
                         "election.timeout must be at least three times beat.interval, or one late beat ends a leader; "
                         "change one of them");
    if (cfg->host[0] == '\0')
        return fault_set(fault, KQ_INVALID, "host is empty; 127.0.0.1 listens for this machine, 0.0.0.0 for all");
    if (cfg->port != 0 && cfg->port == cfg->raft_port)
        return fault_set(fault, KQ_INVALID, "port and raft.port are both %d; they must differ", (int)cfg->port);
    return KQ_OK;
}

void config_take_live(struct config *cfg, const struct config *from,
                      void (*said)(void *arg, const struct config_key *key, bool live), void *arg)
{
    for (size_t i = 0; i < KEY_COUNT; i++) {
        bool same = keys[i].kind == CONFIG_TEXT
                        ? strcmp((const char *)cfg + keys[i].field_off, (const char *)from + keys[i].field_off) == 0
                        : number_get(cfg, &keys[i]) == number_get(from, &keys[i]);
        if (same)
            continue;
        if (keys[i].live)
            number_put(cfg, &keys[i], number_get(from, &keys[i]));
        if (said != NULL)
            said(arg, &keys[i], keys[i].live);
    }
}

int config_log_level(const struct config *cfg)
{
    return LOGGER_ERROR + (int)cfg->log_level;
}
