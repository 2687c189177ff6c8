/*
 * Reading replies in tests: paths into a JSON text, through yajl's tree.
 *
 *     struct json j = json_open(client_ask(c, "LIST"));
 *     CU_ASSERT_STRING_EQUAL(json_text(&j, "Data.0.Topic"), "x");
 *     json_close(&j);
 *
 * A path is member names and array indexes with dots between. What is not there
 * reads as "(none)" or JSON_NONE, so that an assertion shows it.
 */
#ifndef KQ_TESTS_E2E_JSON_H
#define KQ_TESTS_E2E_JSON_H

#include <stdbool.h>
#include <stdint.h>
#include <yajl/yajl_tree.h>

#define JSON_NONE INT64_MIN

struct json {
    yajl_val root; /* NULL: the text is not JSON */
};

struct json json_open(const char *text);
void json_close(struct json *j);
/* The string at path; lives until json_close. */
const char *json_text(const struct json *j, const char *path);
int64_t json_number(const struct json *j, const char *path);
/* Elements of the array at path; -1: no array. */
int64_t json_count(const struct json *j, const char *path);
bool json_is_null(const struct json *j, const char *path);
bool json_has(const struct json *j, const char *path);
bool json_is_true(const struct json *j, const char *path);

#endif
