/*
 * text_rules: what names, URLs, endpoints and the like must look like.
 *
 * Thread: any. Errors: see struct text_rule.
 */
#ifndef CONFIG_TEXT_RULES_H
#define CONFIG_TEXT_RULES_H

#include "config/keys.h"

extern const struct text_rule rule_name;
extern const struct text_rule rule_url;
extern const struct text_rule rule_endpoint;
extern const struct text_rule rule_api_version;
extern const struct text_rule rule_client_name;
extern const struct text_rule rule_tenant_id;
extern const struct text_rule rule_topic;
extern const struct text_rule rule_developer_name;
extern const struct text_rule rule_file_path;
extern const struct text_rule rule_header_value;
extern const struct text_rule rule_audience;
/* Records mode. */
extern const struct text_rule rule_entity; /* an API name: Account, Order__e */
extern const struct text_rule rule_field;  /* Industry, BillingAddress.City */
extern const struct text_rule rule_table;
extern const struct text_rule rule_column;
extern const struct text_rule rule_value; /* the left side of a value map */

/*
 * "host:port" or "[v6]:port" -> where the host begins, its length, and the port (0 to 65535). Returns
 * false on anything else.
 */
bool text_split_endpoint(const char *text, const char **host, size_t *host_len, int *port);
/* One line of printable UTF-8: no control characters, no line breaks of any kind. */
bool text_is_one_line(const char *text, size_t n);
/* Such lines, each ended by \n or \r\n, the last one perhaps not. */
bool text_is_lines(const char *text, size_t n);

#endif
