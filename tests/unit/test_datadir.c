#include "base/datadir.h"
#include "support/unit.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_BYTES = 128 };

static struct fault fault;
static char top[PATH_BYTES];  /* a folder of the case's own */
static char data[PATH_BYTES]; /* top/data, not there yet */

static void begin(void)
{
    (void)snprintf(top, sizeof top, "/tmp/test_datadir.XXXXXX");
    CU_ASSERT_PTR_NOT_NULL(mkdtemp(top));
    (void)snprintf(data, sizeof data, "%.100s/data", top);
    memset(&fault, 0, sizeof fault);
}

static const char *in_data(const char *name)
{
    static char path[2 * PATH_BYTES];
    (void)snprintf(path, sizeof path, "%s/%s", data, name);
    return path;
}

static void put_file(const char *name, const char *text)
{
    FILE *file = fopen(in_data(name), "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    (void)fputs(text, file);
    (void)fclose(file);
}

static void end(void)
{
    static const char *const names[] = {"LOCK", "FORMAT", "FORMAT.new", "photo.jpg"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        (void)unlink(in_data(names[i]));
    (void)rmdir(data);
    (void)rmdir(top);
}

static enum kq_err open_close(int64_t broker_id, bool create)
{
    struct datadir *dir;
    enum kq_err err = datadir_open(&dir, data, broker_id, create, &fault);
    CU_ASSERT_EQUAL(dir != NULL, err == KQ_OK);
    datadir_close(&dir);
    return err;
}

static void a_folder_is_made_and_opens_again(void)
{
    begin();
    CU_ASSERT_EQUAL(open_close(7, true), KQ_OK);
    CU_ASSERT_EQUAL(access(in_data("FORMAT"), R_OK), 0);
    CU_ASSERT_EQUAL(open_close(7, true), KQ_OK);
    CU_ASSERT_EQUAL(open_close(DATADIR_ANY_BROKER, false), KQ_OK);
    end();
}

static void a_second_holder_is_refused_with_the_pid_of_the_first(void)
{
    begin();
    struct datadir *first;
    struct datadir *second;
    char pid[32];
    (void)snprintf(pid, sizeof pid, "process %ld;", (long)getpid());
    CU_ASSERT_EQUAL(datadir_open(&first, data, 1, true, &fault), KQ_OK);
    CU_ASSERT_EQUAL(datadir_open(&second, data, 1, true, &fault), KQ_LOCKED);
    CU_ASSERT_PTR_NULL(second);
    CU_ASSERT_PTR_NOT_NULL(strstr(fault.text, pid));
    CU_ASSERT_PTR_NOT_NULL(strstr(fault.text, data));
    CU_ASSERT_EQUAL(datadir_open(&second, data, DATADIR_ANY_BROKER, false, &fault), KQ_LOCKED);
    datadir_close(&first);
    CU_ASSERT_EQUAL(open_close(1, true), KQ_OK);
    end();
}

static void a_newer_format_is_refused(void)
{
    begin();
    CU_ASSERT_EQUAL(open_close(1, true), KQ_OK);
    put_file("FORMAT", "format 2\nshape unheard of\n");
    CU_ASSERT_EQUAL(open_close(1, true), KQ_BAD_VERSION);
    CU_ASSERT_PTR_NOT_NULL(strstr(fault.text, "format 2"));
    end();
}

static void a_damaged_format_is_refused(void)
{
    static const char *const texts[] = {"", "format", "format 1\n", "format 0\nbroker 1\n", "formal 1\nbroker 1\n"};
    begin();
    CU_ASSERT_EQUAL(open_close(1, true), KQ_OK);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        put_file("FORMAT", texts[i]);
        CU_ASSERT_EQUAL(open_close(1, true), KQ_CORRUPT);
    }
    end();
}

static void another_brokers_folder_is_refused(void)
{
    begin();
    CU_ASSERT_EQUAL(open_close(1, true), KQ_OK);
    CU_ASSERT_EQUAL(open_close(2, true), KQ_INVALID);
    CU_ASSERT_PTR_NOT_NULL(strstr(fault.text, "belongs to broker 1"));
    end();
}

static void a_folder_with_other_things_is_left_alone(void)
{
    begin();
    CU_ASSERT_EQUAL(mkdir(data, 0700), 0);
    put_file("photo.jpg", "a cat");
    CU_ASSERT_EQUAL(open_close(1, true), KQ_INVALID);
    CU_ASSERT_PTR_NOT_NULL(strstr(fault.text, "photo.jpg"));
    CU_ASSERT_NOT_EQUAL(access(in_data("FORMAT"), F_OK), 0);
    end();
}

static void a_tool_makes_nothing_in_a_wrong_folder(void)
{
    begin();
    CU_ASSERT_EQUAL(open_close(DATADIR_ANY_BROKER, false), KQ_NOT_FOUND);
    CU_ASSERT_EQUAL(mkdir(data, 0700), 0);
    CU_ASSERT_EQUAL(open_close(DATADIR_ANY_BROKER, false), KQ_NOT_FOUND);
    CU_ASSERT_EQUAL(rmdir(data), 0);
    end();
}

static void a_creation_cut_off_half_way_is_begun_again(void)
{
    begin();
    CU_ASSERT_EQUAL(mkdir(data, 0700), 0);
    put_file("LOCK", "12345678\n");
    put_file("FORMAT.new", "form");
    CU_ASSERT_EQUAL(open_close(1, true), KQ_OK);
    end();
}

static void what_cannot_be_a_folder_is_named(void)
{
    begin();
    (void)snprintf(data, sizeof data, "%.80s/no/such", top);
    CU_ASSERT_EQUAL(open_close(1, true), KQ_NOT_FOUND);
    CU_ASSERT_PTR_NOT_NULL(strstr(fault.text, "the folder above it does not exist"));
    (void)snprintf(data, sizeof data, "/dev/null");
    CU_ASSERT_NOT_EQUAL(open_close(1, true), KQ_OK);
    CU_ASSERT_PTR_NOT_NULL(strstr(fault.text, "/dev/null"));
    (void)snprintf(data, sizeof data, "/proc/data");
    CU_ASSERT_NOT_EQUAL(open_close(1, true), KQ_OK);
    (void)rmdir(top);
}

static const struct unit_case cases[] = {
    {"a folder is made and opens again", a_folder_is_made_and_opens_again},
    {"a second holder is refused with the pid of the first", a_second_holder_is_refused_with_the_pid_of_the_first},
    {"a newer format is refused", a_newer_format_is_refused},
    {"a damaged format is refused", a_damaged_format_is_refused},
    {"another broker's folder is refused", another_brokers_folder_is_refused},
    {"a folder with other things is left alone", a_folder_with_other_things_is_left_alone},
    {"a tool makes nothing in a wrong folder", a_tool_makes_nothing_in_a_wrong_folder},
    {"a creation cut off half way is begun again", a_creation_cut_off_half_way_is_begun_again},
    {"what cannot be a folder is named", what_cannot_be_a_folder_is_named},
};
UNIT_MAIN("datadir", cases)
