/*
 * Looking at a process from outside (/proc) and at a folder from below (copy,
 * size, flip a bit). No CUnit in here: the benchmarks use it too.
 */
#ifndef KQ_TESTS_E2E_PROBE_H
#define KQ_TESTS_E2E_PROBE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* ---- processes; -1 when it cannot be read -------------------------------- */

int64_t proc_rss_kib(pid_t pid);
int64_t proc_anonymous_kib(pid_t pid); /* smaps_rollup, Anonymous */
int64_t proc_io_read_bytes(pid_t pid); /* rchar: what read() and pread() returned */
int64_t proc_threads(pid_t pid);
/* Voluntary and other context switches of all its threads that live. */
int64_t proc_switches(pid_t pid);
/* CPU time used by all its threads, also those that ended. */
int64_t proc_cpu_us(pid_t pid);
/* Open sockets. */
int64_t proc_sockets(pid_t pid);

/* ---- files --------------------------------------------------------------- */

/* Copies files and folders (no links), holes as zeros. False: could not. */
bool folder_copy(const char *from, const char *to);
/* Allocated bytes of all that is below. */
int64_t folder_disk_bytes(const char *path);
/* How many files below have a name that ends in suffix. */
int folder_count(const char *path, const char *suffix);
/* The path of the nth (from 0, by name) file directly in dir with that suffix. */
bool folder_nth(const char *dir, const char *suffix, int nth, char *path, size_t size);
int64_t file_bytes(const char *path);
/* Position of the first (last when backwards) occurrence of the bytes; -1: none. */
int64_t file_find(const char *path, const void *bytes, size_t size, bool backwards);
bool file_flip_bit(const char *path, int64_t pos, int bit);
bool file_write(const char *path, const void *bytes, size_t size);
/* True: some regular file below holds the bytes. */
bool folder_holds(const char *path, const void *bytes, size_t size);

#endif
