#include "support/log_rig.h"
#include "support/unit.h"

#include <dirent.h>
#include <stdio.h>
#include <unistd.h>

static char top[64];
static char dir[128];

static void make_place(void)
{
    (void)snprintf(top, sizeof top, "/tmp/kq-test-log-XXXXXX");
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(top));
    (void)snprintf(dir, sizeof dir, "%s/t-0", top);
}

static void drop_place(void)
{
    DIR *d = opendir(dir);
    char path[512];
    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
        (void)snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        (void)unlink(path);
    }
    if (d != NULL)
        (void)closedir(d);
    (void)rmdir(dir);
    (void)rmdir(top);
}

static void what_is_appended_is_read_on_a_real_disk(void)
{
    struct log_rig r;
    make_place();
    log_rig_init(&r, io_posix(), dir);
    CU_ASSERT_EQUAL_FATAL(log_rig_open(&r), KQ_OK);
    CU_ASSERT_TRUE(r.report.created);
    CU_ASSERT_EQUAL(log_rig_noop(&r), KQ_OK);
    for (int i = 0; i < 500; i++)
        CU_ASSERT_EQUAL(log_rig_append(&r, 1 + i % 3, (size_t)(i * 7 % 900), 1000 + i), KQ_OK);
    log_rig_flush(&r);
    CU_ASSERT_EQUAL(r.failed, KQ_OK);
    CU_ASSERT_EQUAL(r.flushed_idx, 501);
    log_set_commit(r.log, 501);
    int64_t end = log_next_off(r.log);
    CU_ASSERT_EQUAL(log_rig_read(&r, 0), end);
    CU_ASSERT_EQUAL(log_rig_read(&r, 333), end);
    log_close(&r.log, NULL, 0);
    CU_ASSERT_EQUAL_FATAL(log_rig_open(&r), KQ_OK);
    CU_ASSERT_EQUAL(r.report.scanned_bytes, 0);
    CU_ASSERT_TRUE(r.report.segments > 2);
    CU_ASSERT_EQUAL(log_next_off(r.log), end);
    log_set_commit(r.log, 501);
    CU_ASSERT_EQUAL(log_rig_read(&r, 0), end);
    CU_ASSERT_EQUAL(log_rig_append(&r, 5, 100, 5000), KQ_OK);
    log_rig_flush(&r);
    log_set_commit(r.log, 502);
    CU_ASSERT_EQUAL(log_rig_read(&r, 0), end + 5);
    log_close(&r.log, NULL, 0);
    drop_place();
}

static const struct unit_case cases[] = {
    {"what is appended is read on a real disk", what_is_appended_is_read_on_a_real_disk},
};
UNIT_MAIN("log", cases)
