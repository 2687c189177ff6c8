/* Feeds a harness the seeds kept for it, in a build without libFuzzer: those in
 * $srcdir/tests/fuzz/seeds/NAME, or the files named as arguments. */
#include "fuzz/fuzz.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SEED_BYTES = 4 * 1024 * 1024, PATH_BYTES = 4096 };

static int replay_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        perror(path);
        return -1;
    }
    uint8_t *data = malloc(SEED_BYTES);
    size_t size = data != NULL ? fread(data, 1, SEED_BYTES, file) : 0;
    (void)fclose(file);
    /* A copy of its exact size, so that a sanitizer sees a read past the end. */
    uint8_t *exact = data != NULL ? malloc(size > 0 ? size : 1) : NULL;
    int result = -1;
    if (exact != NULL) {
        memcpy(exact, data, size);
        result = LLVMFuzzerTestOneInput(exact, size);
    }
    free(exact);
    free(data);
    return result;
}

static int replay_folder(const char *folder)
{
    DIR *dir = opendir(folder);
    if (dir == NULL) {
        perror(folder);
        return -1;
    }
    int count = 0;
    for (const struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        char path[PATH_BYTES];
        if (entry->d_name[0] == '.')
            continue;
        int len = snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (len < 0 || len >= PATH_BYTES || replay_file(path) != 0) {
            count = -1;
            break;
        }
        count++;
    }
    (void)closedir(dir);
    return count;
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (replay_file(argv[i]) != 0)
            return 1;
    if (argc > 1)
        return 0;
    const char *srcdir = getenv("srcdir");
    const char *slash = strrchr(argv[0], '/');
    char folder[PATH_BYTES];
    (void)snprintf(folder, sizeof folder, "%s/tests/fuzz/seeds/%s", srcdir != NULL ? srcdir : ".",
                   slash != NULL ? slash + 1 : argv[0]);
    int count = replay_folder(folder);
    printf("%s: %d seeds\n", folder, count);
    return count > 0 ? 0 : 1;
}
