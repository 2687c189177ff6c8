#include "support/folder.h"

#include "base/require.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void folder_make(char path[FOLDER_PATH_BYTES])
{
    const char *base = getenv("TMPDIR");
    char name[FOLDER_PATH_BYTES - 16];
    int n = snprintf(name, sizeof name, "%s/kafkaesque-test-XXXXXX", base != NULL ? base : "/tmp");
    REQUIRE(n > 0 && (size_t)n < sizeof name);
    REQUIRE(mkdtemp(name) != NULL);
    (void)snprintf(path, FOLDER_PATH_BYTES, "%s/test-0", name);
}

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *walk)
{
    (void)status;
    (void)type;
    (void)walk;
    return remove(path);
}

void folder_remove(const char *path)
{
    char parent[FOLDER_PATH_BYTES];
    (void)snprintf(parent, sizeof parent, "%s", path);
    char *slash = strrchr(parent, '/');
    REQUIRE(slash != NULL);
    *slash = '\0';
    folder_remove_only(parent);
}

void folder_remove_only(const char *path)
{
    REQUIRE(nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS) == 0);
}

static _Thread_local uint64_t sum_bytes;

static int add_one(const char *path, const struct stat *status, int type, struct FTW *walk)
{
    (void)path;
    (void)walk;
    if (type == FTW_F)
        sum_bytes += (uint64_t)status->st_blocks * 512;
    return 0;
}

uint64_t folder_size(const char *path)
{
    sum_bytes = 0;
    REQUIRE(nftw(path, add_one, 16, FTW_PHYS) == 0);
    return sum_bytes;
}
