/*
 * What a service manager wants to hear (sd_notify(3)): a datagram of NAME=VALUE
 * lines to the socket that $NOTIFY_SOCKET names, and the watchdog's period. The
 * protocol is documented as stable, so no library stands between; without a
 * manager all of this does nothing.
 */
#ifndef KQ_DAEMON_NOTIFY_H
#define KQ_DAEMON_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>

/* Any thread. "READY=1\nSTATUS=...". False: no manager listens. */
bool notify_send(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Main thread. How often to send WATCHDOG=1, half of what the manager allows;
 * 0: it does not ask for it. */
int64_t notify_watchdog_us(void);

/* Main thread. Whether stderr is the journal, which reads <3> as a priority. */
bool notify_stderr_is_journal(void);

#endif
