/* The progress bar of `publish`. */
#include "client/progress.h"

#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { DRAW_EVERY_US = 100 * 1000, WIDTH_DEFAULT = 80, WIDTH_MOST = 200 };

void progress_init(struct progress *progress, int64_t now_us)
{
    *progress = (struct progress){.shown = isatty(STDERR_FILENO) == 1, .begin_us = now_us, .next_us = now_us};
}

char *progress_bytes(char text[24], double bytes)
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
    size_t unit = 0;
    for (; bytes >= 999.5 && unit + 1 < sizeof(units) / sizeof(units[0]); unit++)
        bytes /= 1000;
    (void)snprintf(text, 24, unit == 0 || bytes >= 99.5 ? "%.0f %s" : "%.1f %s", bytes, units[unit]);
    return text;
}

void progress_format(struct buf *out, double seconds, uint64_t count, uint64_t done_bytes, uint64_t total_bytes,
                     size_t width)
{
    char tail[160];
    char done[24];
    char left[32] = "";
    double rate = seconds > 0 ? (double)count / seconds : 0;
    double fraction = total_bytes == 0 ? 0 : (double)done_bytes / (double)total_bytes;
    if (fraction > 1)
        fraction = 1;
    if (fraction > 0.001 && seconds > 1)
        (void)snprintf(left, sizeof(left), ", %.0f s left", seconds / fraction - seconds);
    (void)snprintf(tail, sizeof(tail), "%llu messages, %s, %.0f/s%s", (unsigned long long)count,
                   progress_bytes(done, (double)done_bytes), rate, left);
    if (total_bytes > 0 && width > strlen(tail) + 20) {
        size_t cells = width - strlen(tail) - 9; /* "[] 100%  " */
        size_t full = (size_t)(fraction * (double)cells);
        buf_u8(out, '[');
        for (size_t i = 0; i < cells; i++)
            buf_u8(out, i < full ? '#' : '.');
        buf_printf(out, "] %3.0f%%  ", fraction * 100);
    }
    buf_text(out, tail);
    if (out->len > width)
        out->len = width;
}

void progress_update(struct progress *progress, int64_t now_us, uint64_t count, uint64_t done_bytes,
                     uint64_t total_bytes)
{
    if (!progress->shown || now_us < progress->next_us)
        return;
    progress->next_us = now_us + DRAW_EVERY_US;
    struct winsize size;
    size_t width = WIDTH_DEFAULT;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20)
        width = size.ws_col < WIDTH_MOST ? size.ws_col : WIDTH_MOST;
    struct buf line;
    buf_init(&line, 1024);
    progress_format(&line, (double)(now_us - progress->begin_us) / 1e6, count, done_bytes, total_bytes, width - 1);
    (void)fprintf(stderr, "\r%.*s\033[K", (int)line.len, (const char *)line.data);
    (void)fflush(stderr);
    buf_fini(&line);
}

void progress_end(struct progress *progress)
{
    if (progress->shown)
        (void)fprintf(stderr, "\r\033[K");
}
