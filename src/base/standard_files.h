/*
 * Descriptors 0 to 2 belong to stdin, stdout and stderr, whoever started the
 * program. Where one is closed, the next file opened would get its number, and a
 * line for a person would go into a lock file, a log or a socket.
 */
#ifndef KQ_BASE_STANDARD_FILES_H
#define KQ_BASE_STANDARD_FILES_H

/* First thing in main(). Those that are closed become /dev/null, from which
 * reading ends at once and to which writing fails. */
void standard_files_hold(void);

#endif
