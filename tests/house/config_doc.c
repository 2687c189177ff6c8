/*
 * Prints what documents say about the configuration, from its table:
 *   config_doc conf   etc/kafkaesqued.conf
 *   config_doc man    the list of keys in man/kafkaesqued.conf.5
 * `make documents` writes them, tests/house/documents.sh fails when they differ.
 */
#include "base/config.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum { COMMENT_WIDTH = 100 };

static const char *unit_of(enum config_kind kind)
{
    switch (kind) {
    case CONFIG_COUNT:
        return "a number";
    case CONFIG_SIZE:
        return "a size";
    case CONFIG_RATE:
        return "a size, taken a second";
    case CONFIG_SPAN:
        return "a duration";
    case CONFIG_CHOICE:
        return "one of";
    case CONFIG_TEXT:
        return "text";
    }
    return "";
}

/* "a size, 4KiB to 1GiB, or -1" */
static void describe(const struct config_key *key, char *text, size_t size)
{
    bool endless = strcmp(key->smallest, "-1") == 0;
    if (key->kind == CONFIG_TEXT)
        (void)snprintf(text, size, "text");
    else if (key->kind == CONFIG_CHOICE)
        (void)snprintf(text, size, "%s %s", unit_of(key->kind), key->smallest);
    else
        (void)snprintf(text, size, "%s, %s to %s%s", unit_of(key->kind), endless ? "0" : key->smallest, key->largest,
                       endless ? ", or -1" : "");
}

/* A comment, broken at spaces. */
static void print_comment(const char *text)
{
    while (*text != '\0') {
        size_t len = strlen(text);
        if (len > COMMENT_WIDTH) {
            len = COMMENT_WIDTH;
            while (len > 0 && text[len] != ' ')
                len--;
        }
        printf("# %.*s\n", (int)len, text);
        text += len;
        text += *text == ' ';
    }
}

static void print_conf(const struct config_key *keys, size_t count)
{
    printf("# kafkaesqued.conf: every key with its default. See kafkaesqued.conf(5).\n"
           "#\n"
           "# key = value, one a line; # begins a comment. Sizes take B, KiB, MiB, GiB or TiB, durations us, ms, s,\n"
           "# min, h or d; a bare number is refused where a unit is needed. A key marked (live) is taken over by\n"
           "# `systemctl reload kafkaesqued` or SIGHUP, the others by a restart.\n"
           "# Try a change with: kafkaesqued --config FILE --check-config\n");
    for (size_t i = 0; i < count; i++) {
        char range[160];
        char comment[512];
        describe(&keys[i], range, sizeof range);
        (void)snprintf(comment, sizeof comment, "%c%s (%s)%s", toupper((unsigned char)keys[i].why[0]), keys[i].why + 1,
                       range, keys[i].live ? " (live)" : "");
        printf("\n");
        print_comment(comment);
        printf("#%s =%s%s\n", keys[i].name, keys[i].value[0] != '\0' ? " " : "", keys[i].value);
    }
}

/* troff takes a line that begins with . or ' as a request, and - as a hyphen. */
static void print_troff(const char *text)
{
    for (; *text != '\0'; text++)
        if (*text == '-')
            (void)fputs("\\-", stdout);
        else if (*text == '\\')
            (void)fputs("\\e", stdout);
        else
            (void)putchar(*text);
}

static void print_man(const struct config_key *keys, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char range[160];
        describe(&keys[i], range, sizeof range);
        printf(".TP\n.BR %s \" = ", keys[i].name);
        print_troff(keys[i].value);
        printf("\"\n");
        (void)putchar(toupper((unsigned char)keys[i].why[0]));
        print_troff(keys[i].why + 1);
        printf(".\n.RI ( \"");
        print_troff(range);
        printf("%s\" )\n", keys[i].live ? "; live" : "");
    }
}

int main(int argc, char **argv)
{
    size_t count;
    const struct config_key *keys = config_keys(&count);
    if (argc == 2 && strcmp(argv[1], "conf") == 0)
        print_conf(keys, count);
    else if (argc == 2 && strcmp(argv[1], "man") == 0)
        print_man(keys, count);
    else
        return 2;
    return 0;
}
