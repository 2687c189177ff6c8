/*
 * The line parser, in three steps: the line as a whole (NUL, UTF-8), its fields
 * (quotes), then the verb's own shape. A verb is a row of TEXT_VERB_TABLE and
 * one function here; everything it needs to know about fields is in `struct
 * fields`.
 *
 *   field := bare | quoted | json
 *   bare   runs to the next space; a quote inside it is itself
 *   quoted "..." with "" for "; a space or the end of the line follows
 *   json   begins with { and runs to the end of the line
 */
#include "proto/text/command_internal.h"

#include "base/require.h"
#include "base/utf8.h"

#include <string.h>
#include <strings.h>

#define VERB_NAME(name, form, help) #name,
static const char *const verb_names[] = {TEXT_VERB_TABLE(VERB_NAME)};
#define VERB_FORM(name, form, help) form,
/* NOLINTNEXTLINE(bugprone-suspicious-missing-comma): a long form is written on two lines */
static const char *const verb_forms[] = {TEXT_VERB_TABLE(VERB_FORM)};
#define VERB_HELP(name, form, help) help,
/* NOLINTNEXTLINE(bugprone-suspicious-missing-comma): a long help is written on two lines */
static const char *const verb_helps[] = {TEXT_VERB_TABLE(VERB_HELP)};

#define SETTING_KEY(name, key, least) key,
static const char *const setting_keys[] = {TEXT_SETTING_TABLE(SETTING_KEY)};
#define SETTING_LEAST(name, key, least) least,
static const int64_t setting_least[] = {TEXT_SETTING_TABLE(SETTING_LEAST)};

const char *text_verb_name(enum text_verb verb)
{
    return verb < TEXT_VERB_COUNT ? verb_names[verb] : "";
}

const char *text_verb_form(enum text_verb verb)
{
    return verb < TEXT_VERB_COUNT ? verb_forms[verb] : "";
}

const char *text_verb_help(enum text_verb verb)
{
    return verb < TEXT_VERB_COUNT ? verb_helps[verb] : "";
}

enum text_verb text_verb_find(struct slice name)
{
    if (name.len != 4)
        return TEXT_NONE;
    for (int verb = 0; verb < TEXT_VERB_COUNT; verb++)
        if (strncasecmp((const char *)name.data, verb_names[verb], 4) == 0)
            return (enum text_verb)verb;
    return TEXT_NONE;
}

const char *text_setting_name(enum text_setting setting)
{
    REQUIRE(setting < TEXT_SETTING_COUNT);
    return setting_keys[setting];
}

/* ---- names and numbers --------------------------------------------------------- */

bool text_topic_name_is_valid(struct slice name)
{
    if (name.len == 0 || name.len > TEXT_TOPIC_NAME_MAX_BYTES)
        return false;
    for (size_t i = 0; i < name.len; i++) {
        uint8_t c = name.data[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!letter && c != '.' && c != '_' && c != '-')
            return false;
    }
    return !slice_equal_text(name, ".") && !slice_equal_text(name, "..");
}

bool text_topic_name_is_internal(struct slice name)
{
    return name.len >= 2 && name.data[0] == '_' && name.data[1] == '_';
}

bool text_parse_number(struct slice text, int64_t least, int64_t most, int64_t *value)
{
    size_t i = text.len > 0 && text.data[0] == '-' ? 1 : 0;
    bool minus = i == 1;
    if (i == text.len)
        return false;
    int64_t sum = 0; /* kept negative: the range is one wider there */
    for (; i < text.len; i++) {
        uint8_t c = text.data[i];
        if (c < '0' || c > '9')
            return false;
        if (__builtin_mul_overflow(sum, 10, &sum) || __builtin_sub_overflow(sum, (int64_t)(c - '0'), &sum))
            return false;
    }
    if (!minus && sum == INT64_MIN)
        return false;
    *value = minus ? sum : -sum;
    return *value >= least && *value <= most;
}

int text_excerpt(struct slice text)
{
    size_t len = text.len;
    if (len > TEXT_EXCERPT_BYTES)
        for (len = TEXT_EXCERPT_BYTES; len > 0 && (text.data[len] & 0xc0) == 0x80;)
            len--;
    return (int)len;
}

const char *text_ellipsis(struct slice text)
{
    /* NOLINTNEXTLINE(clang-analyzer-core.UndefinedBinaryOperatorResult): it does not see what split() filled in */
    return text.len > TEXT_EXCERPT_BYTES ? "..." : "";
}

/* ---- a line -> fields ------------------------------------------------------------ */

/* The quoted field whose opening quote is at *at; *at moves behind it. */
static enum kq_err take_quoted(uint8_t *line, size_t line_bytes, size_t *at, struct slice *field, struct fault *fault)
{
    size_t open = *at;
    uint8_t *to = line + open + 1; /* where what is kept goes */
    uint8_t *from = to;
    uint8_t *end = line + line_bytes;
    for (;;) {
        uint8_t *quote = memchr(from, '"', (size_t)(end - from));
        if (quote == NULL)
            return fault_set(fault, KQ_INVALID,
                             "the quote at byte %zu is never closed; inside quotes, write \"\" for a quote", open);
        bool doubled = quote + 1 < end && quote[1] == '"';
        size_t keep = (size_t)(quote - from) + (doubled ? 1 : 0);
        if (to != from)
            memmove(to, from, keep);
        to += keep;
        from = quote + (doubled ? 2 : 1);
        if (!doubled)
            break;
    }
    if (from < end && *from != ' ')
        return fault_set(fault, KQ_INVALID,
                         "the quote at byte %zu closes in the middle of a field; inside quotes, write \"\" for a quote",
                         (size_t)(from - line) - 1);
    *field = slice_of(line + open + 1, (size_t)(to - (line + open + 1)));
    *at = (size_t)(from - line);
    return KQ_OK;
}

static enum kq_err split(uint8_t *line, size_t line_bytes, struct text_fields *fields, struct fault *fault)
{
    fields->count = 0;
    for (size_t at = 0;;) {
        while (at < line_bytes && line[at] == ' ')
            at++;
        if (at == line_bytes)
            return KQ_OK;
        struct slice field;
        if (line[at] == '"') {
            enum kq_err err = take_quoted(line, line_bytes, &at, &field, fault);
            if (err != KQ_OK)
                return err;
        } else if (line[at] == '{') {
            field = slice_of(line + at, line_bytes - at);
            at = line_bytes;
        } else {
            uint8_t *space = memchr(line + at, ' ', line_bytes - at);
            size_t end = space == NULL ? line_bytes : (size_t)(space - line);
            field = slice_of(line + at, end - at);
            at = end;
        }
        if (fields->count < TEXT_FIELDS_MAX)
            fields->at[fields->count] = field;
        fields->count++;
    }
}

/* ---- what the verbs share ---------------------------------------------------------- */

static enum kq_err check_topic_name(struct slice topic, struct fault *fault)
{
    if (!text_topic_name_is_valid(topic))
        return fault_set(fault, KQ_BAD_TOPIC_NAME,
                         "topic name `%.*s%s` is not valid: it may have 1 to %d of A-Z a-z 0-9 . _ - and be neither "
                         "`.` nor `..`",
                         SHOWN(topic), TEXT_TOPIC_NAME_MAX_BYTES);
    return KQ_OK;
}

static enum kq_err check_not_internal(struct slice topic, const char *what, struct fault *fault)
{
    if (text_topic_name_is_internal(topic))
        return fault_set(fault, KQ_BAD_TOPIC_NAME,
                         "topic name `%.*s%s` is not valid: a name that begins with __ is the broker's own, and cannot "
                         "be %s",
                         SHOWN(topic), what);
    return KQ_OK;
}

static enum kq_err take_id(struct slice id, struct text_command *command, struct fault *fault)
{
    if (id.len > TEXT_ID_MAX_BYTES)
        return text_say(fault, err_text(KQ_UNKNOWN_SUBSCRIPTION));
    command->id = id;
    return KQ_OK;
}

static enum kq_err take_offset(struct slice text, struct text_command *command, struct fault *fault)
{
    if (!text_parse_number(text, 0, INT64_MAX, &command->offset))
        return fault_set(fault, KQ_INVALID, "`%.*s%s` is not a valid offset: an offset is a number from 0",
                         SHOWN(text));
    command->has_offset = true;
    return KQ_OK;
}

enum kq_err text_take_number(struct slice text, const char *what, int64_t most, int64_t *value, struct fault *fault)
{
    if (!text_parse_number(text, 0, most, value))
        return fault_set(fault, KQ_INVALID, "`%.*s%s` is not a valid %s: it is a number from 0 to %lld", SHOWN(text),
                         what, (long long)most);
    return KQ_OK;
}

/* ---- one function a verb ----------------------------------------------------------- */

static enum kq_err take_setting(struct slice field, struct text_command *command, struct fault *fault)
{
    const uint8_t *equals = memchr(field.data, '=', field.len);
    struct slice key = slice_of(field.data, (size_t)(equals - field.data));
    struct slice text = slice_of(equals + 1, field.len - key.len - 1);
    for (int i = 0; i < TEXT_SETTING_COUNT; i++) {
        if (!slice_equal_text(key, setting_keys[i]))
            continue;
        if ((command->settings_given & 1U << i) != 0)
            return fault_set(fault, KQ_INVALID, "setting %s is given twice", setting_keys[i]);
        if (!text_parse_number(text, setting_least[i], INT64_MAX, &command->setting[i]))
            return fault_set(fault, KQ_INVALID, "`%.*s%s` is not a valid %s: it is a number from %lld", SHOWN(text),
                             setting_keys[i], (long long)setting_least[i]);
        command->settings_given |= 1U << i;
        return KQ_OK;
    }
    return fault_set(fault, KQ_INVALID,
                     "unknown setting `%.*s%s`; there are retention.bytes, retention.ms, segment.bytes and "
                     "max.message.bytes",
                     SHOWN(key));
}

static enum kq_err parse_crtp(const struct text_fields *f, const struct text_limits *limits,
                              struct text_command *command, struct fault *fault)
{
    if (!text_have(f, 1))
        return text_say(fault, "topic name is required field");
    command->topic = f->at[1];
    enum kq_err err = check_topic_name(command->topic, fault);
    if (err == KQ_OK)
        err = check_not_internal(command->topic, "created", fault);
    size_t idx = 2;
    for (; err == KQ_OK && idx < f->count && idx < 4; idx++) {
        if (f->at[idx].len > 0 && memchr(f->at[idx].data, '=', f->at[idx].len) != NULL)
            break;
        int64_t number = 0;
        if (!text_parse_number(f->at[idx], 1, idx == 2 ? limits->partitions_max : INT16_MAX, &number))
            return idx == 2 ? fault_set(fault, KQ_BAD_PARTITIONS, "%s", err_text(KQ_BAD_PARTITIONS))
                            : fault_set(fault, KQ_BAD_REPLICAS,
                                        "`%.*s%s` is not a valid number of replicas: it is a number from 1",
                                        SHOWN(f->at[idx]));
        *(idx == 2 ? &command->partitions : &command->replicas) = (uint32_t)number;
    }
    for (; err == KQ_OK && idx < f->count; idx++) {
        if (f->at[idx].len == 0 || memchr(f->at[idx].data, '=', f->at[idx].len) == NULL)
            return fault_set(fault, KQ_INVALID, "`%.*s%s` is not key=value; the form is CRTP %s", SHOWN(f->at[idx]),
                             verb_forms[TEXT_CRTP]);
        err = take_setting(f->at[idx], command, fault);
    }
    return err;
}

static enum kq_err parse_pubs(const struct text_fields *f, const struct text_limits *limits,
                              struct text_command *command, struct fault *fault)
{
    (void)limits;
    if (!text_have(f, 1))
        return text_say(fault, "topic name is required field");
    if (f->count < 3)
        return text_say(fault, "message is required field");
    command->topic = f->at[1];
    command->message = f->at[2];
    return check_not_internal(command->topic, "published to", fault);
}

static enum kq_err parse_pubx(const struct text_fields *f, const struct text_limits *limits,
                              struct text_command *command, struct fault *fault)
{
    (void)limits;
    if (!text_have(f, 1))
        return text_say(fault, "topic name is required field");
    if (f->count < 6)
        return fault_set(fault, KQ_INVALID,
                         "partition, id, epoch and sequence are required fields; the form is PUBX %s",
                         verb_forms[TEXT_PUBX]);
    if (f->count < 7)
        return text_say(fault, "message is required field");
    int64_t partition = 0;
    int64_t epoch = 0;
    int64_t sequence = 0;
    command->topic = f->at[1];
    command->message = f->at[6];
    enum kq_err err = check_not_internal(command->topic, "published to", fault);
    if (err == KQ_OK)
        err = text_take_number(f->at[2], "partition", INT32_MAX, &partition, fault);
    if (err == KQ_OK)
        err = text_take_number(f->at[3], "producer id", INT64_MAX, &command->producer_id, fault);
    if (err == KQ_OK)
        err = text_take_number(f->at[4], "epoch", INT16_MAX, &epoch, fault);
    if (err == KQ_OK)
        err = text_take_number(f->at[5], "sequence", INT32_MAX, &sequence, fault);
    command->partition = (int32_t)partition;
    command->producer_epoch = (int16_t)epoch;
    command->sequence = (int32_t)sequence;
    return err;
}

static enum kq_err parse_subs(const struct text_fields *f, const struct text_limits *limits,
                              struct text_command *command, struct fault *fault)
{
    (void)limits;
    if (!text_have(f, 1) || !text_have(f, 2))
        return text_say(fault, "topic and consumer_group is a required field");
    command->topic = f->at[1];
    command->group = f->at[2];
    if (command->group.len > TEXT_GROUP_NAME_MAX_BYTES)
        return fault_set(fault, KQ_INVALID, "group name `%.*s%s` is longer than %d bytes", SHOWN(command->group),
                         TEXT_GROUP_NAME_MAX_BYTES);
    int64_t number = 1;
    if (f->count > 3 && !text_parse_number(f->at[3], 1, INT32_MAX, &number))
        return fault_set(fault, KQ_BAD_PARTITIONS, "%.*s%s is not a valid value for partition number", SHOWN(f->at[3]));
    command->partitions = (uint32_t)number;
    return KQ_OK;
}

/* CONS, TAIL and CMIT. */
static enum kq_err parse_cons(const struct text_fields *f, const struct text_limits *limits,
                              struct text_command *command, struct fault *fault)
{
    (void)limits;
    size_t least = command->verb == TEXT_CMIT ? 4 : 3;
    if (f->count < least || !text_have(f, 1) || !text_have(f, 2))
        return text_say(fault, "subscriptionId and offset value are a required field");
    command->topic = f->at[1];
    enum kq_err err = take_id(f->at[2], command, fault);
    if (err == KQ_OK && f->count > 3)
        err = take_offset(f->at[3], command, fault);
    return err;
}

static enum kq_err parse_unsb(const struct text_fields *f, const struct text_limits *limits,
                              struct text_command *command, struct fault *fault)
{
    (void)limits;
    if (!text_have(f, 1) || !text_have(f, 2))
        return text_say(fault, "topic and subscriptionId are required fields");
    command->topic = f->at[1];
    return take_id(f->at[2], command, fault);
}

/* DESC and DELE. */
static enum kq_err parse_topic(const struct text_fields *f, const struct text_limits *limits,
                               struct text_command *command, struct fault *fault)
{
    (void)limits;
    if (!text_have(f, 1))
        return text_say(fault, "topic name is required field");
    command->topic = f->at[1];
    return command->verb == TEXT_DELE ? check_not_internal(command->topic, "deleted", fault) : KQ_OK;
}

static enum kq_err parse_grps(const struct text_fields *f, const struct text_limits *limits,
                              struct text_command *command, struct fault *fault)
{
    (void)limits;
    (void)fault;
    if (f->count > 1)
        command->group = f->at[1];
    return KQ_OK;
}

static enum kq_err unknown_command(struct slice name, struct fault *fault)
{
    return fault_set(fault, KQ_INVALID, "unknown command %.*s%s; HELP lists the commands", SHOWN(name));
}

static enum kq_err parse_help(const struct text_fields *f, const struct text_limits *limits,
                              struct text_command *command, struct fault *fault)
{
    (void)limits;
    if (f->count == 1)
        return KQ_OK;
    command->about = text_verb_find(f->at[1]);
    return command->about == TEXT_NONE ? unknown_command(f->at[1], fault) : KQ_OK;
}

static enum kq_err parse_bare(const struct text_fields *f, const struct text_limits *limits,
                              struct text_command *command, struct fault *fault)
{
    (void)f;
    (void)limits;
    (void)command;
    (void)fault;
    return KQ_OK;
}

/* fields_max counts the verb. */
static const struct shape {
    size_t fields_max;
    enum kq_err (*parse)(const struct text_fields *f, const struct text_limits *limits, struct text_command *command,
                         struct fault *fault);
} shapes[TEXT_VERB_COUNT] = {
    [TEXT_CRTP] = {8, parse_crtp}, [TEXT_PUBS] = {3, parse_pubs},  [TEXT_SUBS] = {4, parse_subs},
    [TEXT_CONS] = {4, parse_cons}, [TEXT_PRID] = {1, parse_bare},  [TEXT_PUBX] = {7, parse_pubx},
    [TEXT_DISC] = {1, parse_bare}, [TEXT_TAIL] = {4, parse_cons},  [TEXT_CMIT] = {4, parse_cons},
    [TEXT_UNSB] = {3, parse_unsb}, [TEXT_LIST] = {1, parse_bare},  [TEXT_DESC] = {2, parse_topic},
    [TEXT_GRPS] = {2, parse_grps}, [TEXT_DELE] = {2, parse_topic}, [TEXT_INFO] = {1, parse_bare},
    [TEXT_PING] = {1, parse_bare}, [TEXT_HELP] = {2, parse_help},  [TEXT_CLUS] = {5, text_parse_cluster},
};

enum kq_err text_command_parse(uint8_t *line, size_t line_bytes, const struct text_limits *limits,
                               struct text_command *command, struct fault *fault)
{
    *command = (struct text_command){.verb = TEXT_NONE, .about = TEXT_NONE};
    if (line_bytes > 0 && line[line_bytes - 1] == '\r')
        line_bytes--;
    if (line_bytes == 0)
        return KQ_OK;
    const uint8_t *nul = memchr(line, 0, line_bytes);
    if (nul != NULL)
        return fault_set(fault, KQ_INVALID, "the line holds a NUL at byte %zu; commands are UTF-8 text",
                         (size_t)(nul - line));
    size_t valid = utf8_valid_prefix(line, line_bytes);
    if (valid < line_bytes)
        return fault_set(fault, KQ_INVALID, "the line is not UTF-8 at byte %zu (0x%02x)", valid, line[valid]);

    struct text_fields fields;
    enum kq_err err = split(line, line_bytes, &fields, fault);
    if (err != KQ_OK || fields.count == 0)
        return err;
    command->verb = text_verb_find(fields.at[0]);
    if (command->verb == TEXT_NONE)
        return unknown_command(fields.at[0], fault);
    const struct shape *shape = &shapes[command->verb];
    if (fields.count > shape->fields_max)
        return fault_set(fault, KQ_INVALID, "too many fields; the form is %s%s%s, and a field with spaces is quoted",
                         verb_names[command->verb], verb_forms[command->verb][0] == 0 ? "" : " ",
                         verb_forms[command->verb]);
    return shape->parse(&fields, limits, command, fault);
}
