/*
 * Opening the segments of a folder after whatever happened. Private to src/log.
 */
#ifndef KQ_LOG_RECOVER_H
#define KQ_LOG_RECOVER_H

#include "log/folder.h"
#include "log/log_impl.h"

/* Owner's thread; blocks. Fills the segments and the end of log. The last segment's
 * file is left open, unless it was closed cleanly. */
enum kq_err log_recover_segments(struct log *log, const struct folder *f, const struct log_mark *mark,
                                 struct log_report *report, struct fault *fault);

#endif
