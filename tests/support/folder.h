/* A temporary folder for one test case. */
#ifndef KQ_TESTS_SUPPORT_FOLDER_H
#define KQ_TESTS_SUPPORT_FOLDER_H

#include <stddef.h>
#include <stdint.h>

enum { FOLDER_PATH_BYTES = 512 };

/* Makes a new folder below $TMPDIR or /tmp and a path in it that does not exist
 * yet; aborts where it cannot. */
void folder_make(char path[FOLDER_PATH_BYTES]);
/* Removes what folder_make() made, and all in it. */
void folder_remove(const char *path);
/* Removes this folder, and all in it. */
void folder_remove_only(const char *path);
/* Bytes on disk of the files below path. */
uint64_t folder_size(const char *path);

#endif
