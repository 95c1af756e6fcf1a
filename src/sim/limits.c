#include "sim/limits.h"

#include "base/text.h"

#include <fnmatch.h>
#include <inttypes.h>
#include <string.h>

enum { DEVELOPER_CALLS = 15000 };

bool limits_is_path(const char *url)
{
    return fnmatch("/services/data/v[0-9]*.[0-9]/limits", url, FNM_PATHNAME) == 0;
}

unsigned limits_answer(struct limits_page *page, const struct session *session, const char *authorization,
                       struct buf *body)
{
    static const char scheme[] = "Bearer ";
    page->asked++;
    if (!authorization || strncmp(authorization, scheme, strlen(scheme)) != 0 ||
        session_check(session, span_of_str(authorization + strlen(scheme)),
                      span_of_str(session->instance_url), span_of_str(session->org_id)) != SESSION_OK) {
        buf_add_str(body,
                    "[{\"message\":\"Session expired or invalid\",\"errorCode\":\"INVALID_SESSION_ID\"}]\n");
        return 401;
    }
    if (page->fail_status) {
        buf_add_str(body, "[{\"message\":\"as ordered\",\"errorCode\":\"SERVER_UNAVAILABLE\"}]\n");
        return (unsigned)page->fail_status;
    }
    int64_t max = page->max ? page->max : DEVELOPER_CALLS;
    page->used++;
    buf_addf(body, "{\"DailyApiRequests\":{\"Max\":%" PRId64 ",\"Remaining\":%" PRId64 "},", max,
             page->used < max ? max - page->used : 0);
    buf_add_str(body, "\"DataStorageMB\":{\"Max\":5,\"Remaining\":5}}\n");
    return 200;
}

static bool set(int64_t *value, const char *text, int64_t min, int64_t max)
{
    return !text || text_parse_int(text, min, max, value) == 0;
}

bool limits_set(struct limits_page *page, const char *used, const char *max, const char *status)
{
    struct limits_page next = *page;
    if (!set(&next.used, used, 0, INT32_MAX) || !set(&next.max, max, 1, INT32_MAX) ||
        !set(&next.fail_status, status, 0, 599) || (next.fail_status && next.fail_status < 400))
        return false;
    *page = next;
    return true;
}
