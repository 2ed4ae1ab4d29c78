// SPDX-License-Identifier: MIT
/* The files are read here and not by inih: that cuts lines at 200 bytes, and a session token is longer.
 * A line that is indented belongs to the setting before it and is nothing we ask for.
 */
#include "s3_creds.h"
#include "cleanup.h"
#include "io.h"
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>

#define FILE_MAX ((size_t)1 << 20)

static const char *variable(const char *name)
{
	const char *value = secure_getenv(name);
	return value && *value ? value : NULL;
}

static const char *home_dir(void)
{
	const char *home = variable("HOME");
	if (home)
		return home;
	struct passwd *pw = getpwuid(geteuid());
	return pw ? pw->pw_dir : "/";
}

/* False: it does not fit. */
static bool set_field(char *field, size_t size, const char *value, size_t len)
{
	if (len >= size)
		return false;
	memcpy(field, value, len);
	field[len] = 0;
	return true;
}

static bool set_one(struct s3_creds *c, const char *name, const char *value, size_t len)
{
	const struct {
		const char *name;
		char *field;
		size_t size;
	} fields[] = {
		{ "aws_access_key_id", c->key_id, sizeof c->key_id },
		{ "aws_secret_access_key", c->secret, sizeof c->secret },
		{ "aws_session_token", c->token, sizeof c->token },
		{ "region", c->region, sizeof c->region },
		{ "endpoint_url", c->endpoint, sizeof c->endpoint },
	};
	for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
		if (!strcmp(name, fields[i].name))
			return set_field(fields[i].field, fields[i].size, value, len);
	return true;
}

static char *trim(char *s)
{
	s += strspn(s, " \t\r");
	size_t n = strlen(s);
	while (n && strchr(" \t\r", s[n - 1]))
		n--;
	s[n] = 0;
	return s;
}

/* `[name]`, or in the config file `[profile name]`. */
static bool is_section(char *line, const char *profile)
{
	char *end = strchr(line, ']');
	if (!end)
		return false;
	*end = 0;
	char *name = trim(line + 1);
	if (!strncmp(name, "profile", 7) && (name[7] == ' ' || name[7] == '\t'))
		name = trim(name + 7);
	return !strcmp(name, profile);
}

/* False: a value does not fit. */
static bool read_text(struct s3_creds *c, char *text, const char *profile)
{
	bool ours = false, fits = true;
	char *save;
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char *eq = strchr(line, '=');
		if (*line == '[') {
			ours = is_section(line, profile);
		} else if (ours && eq && !strchr("#; \t", *line)) {
			*eq = 0;
			char *value = trim(eq + 1);
			fits &= set_one(c, trim(line), value, strlen(value));
		}
	}
	return fits;
}

/* A file that does not exist says nothing. */
static int read_file(struct s3_creds *c, const char *path, const char *profile,
		     char error[S3_TEXT_MAX])
{
	void *data = NULL;
	size_t len;
	int r = io_slurp(AT_FDCWD, path, FILE_MAX, &data, &len);
	if (r == -ENOENT || r == -ENOTDIR)
		return 0;
	if (r < 0) {
		snprintf(error, S3_TEXT_MAX, "%.512s can't be read: %s.", path, strerror(-r));
		return r;
	}
	CLEANUP_FREE char *text = malloc(len + 1);
	bool fits = text;
	if (text) {
		memcpy(text, data, len);
		text[len] = 0;
		fits = read_text(c, text, profile);
		explicit_bzero(text, len);
	}
	explicit_bzero(data, len);
	free(data);
	if (!fits)
		snprintf(error, S3_TEXT_MAX, "%.512s: a setting of profile '%.64s' is too long.",
			 path, profile);
	return fits ? 0 : -EINVAL;
}

static int read_files(struct s3_creds *c, char error[S3_TEXT_MAX])
{
	const char *profile = variable("AWS_PROFILE"), *home = home_dir();
	const char *credentials = variable("AWS_SHARED_CREDENTIALS_FILE");
	const char *config = variable("AWS_CONFIG_FILE");
	char path[4096], config_path[4096];
	struct s3_creds of_config = { 0 };
	profile = profile ? profile : "default";
	snprintf(path, sizeof path, "%s%s", credentials ? "" : home,
		 credentials ? credentials : "/.aws/credentials");
	snprintf(config_path, sizeof config_path, "%s%s", config ? "" : home,
		 config ? config : "/.aws/config");
	int r = read_file(&of_config, config_path, profile, error);
	if (r == 0) {
		*c = of_config;
		c->key_id[0] = c->secret[0] = c->token[0] = 0;
		r = read_file(c, path, profile, error);
	}
	if (r == 0 && !*c->key_id &&
	    !*c->secret) { /* a pair is never put together from two files */
		memcpy(c->key_id, of_config.key_id, sizeof c->key_id);
		memcpy(c->secret, of_config.secret, sizeof c->secret);
		memcpy(c->token, of_config.token, sizeof c->token);
	}
	s3_creds_wipe(&of_config);
	if (r == 0 && !*c->key_id && !*c->secret)
		snprintf(error, S3_TEXT_MAX,
			 "there are no credentials for the object store: set AWS_ACCESS_KEY_ID and "
			 "AWS_SECRET_ACCESS_KEY, or put them into %.512s under [%.64s].",
			 path, profile);
	c->from_files = true;
	return r;
}

/* -EINVAL: only one of the two, or too long. 0: whether they were there or not. */
static int take_variables(struct s3_creds *c, char error[S3_TEXT_MAX])
{
	const char *id = variable("AWS_ACCESS_KEY_ID"), *secret = variable("AWS_SECRET_ACCESS_KEY");
	const char *token = variable("AWS_SESSION_TOKEN");
	if (!id && !secret)
		return 0;
	c->from_files = false;
	token = token ? token : "";
	if (id && secret && set_field(c->key_id, sizeof c->key_id, id, strlen(id)) &&
	    set_field(c->secret, sizeof c->secret, secret, strlen(secret)) &&
	    set_field(c->token, sizeof c->token, token, strlen(token)))
		return 0;
	snprintf(error, S3_TEXT_MAX,
		 "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY must be set both, and be no "
		 "longer than %zu bytes.",
		 sizeof c->secret - 1);
	return -EINVAL;
}

static bool take_place(char *field, size_t size, const char *first, const char *second)
{
	const char *value = variable(first) ? variable(first) : variable(second);
	return !value || set_field(field, size, value, strlen(value));
}

static int load(struct s3_creds *c, char error[S3_TEXT_MAX])
{
	int r = read_files(c, error);
	if (r == 0)
		r = take_variables(c, error);
	if (r == 0 && !*c->key_id && !*c->secret)
		return -ENOKEY;
	if (r < 0)
		return r;
	if (!*c->key_id || !*c->secret) {
		snprintf(error, S3_TEXT_MAX,
			 "the credentials of the profile are incomplete: aws_access_key_id and "
			 "aws_secret_access_key must both be there.");
		return -EINVAL;
	}
	if (take_place(c->region, sizeof c->region, "AWS_REGION", "AWS_DEFAULT_REGION") &&
	    take_place(c->endpoint, sizeof c->endpoint, "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"))
		return 0;
	snprintf(error, S3_TEXT_MAX, "AWS_REGION or AWS_ENDPOINT_URL is too long.");
	return -EINVAL;
}

int s3_creds_load(char error[S3_TEXT_MAX], struct s3_creds *ret_creds)
{
	struct s3_creds c = { 0 };
	int r = load(&c, error);
	if (r == 0)
		*ret_creds = c;
	s3_creds_wipe(&c);
	return r;
}

bool s3_creds_equal(const struct s3_creds *a, const struct s3_creds *b)
{
	return !strcmp(a->key_id, b->key_id) && !strcmp(a->secret, b->secret) &&
	       !strcmp(a->token, b->token);
}

void s3_creds_wipe(struct s3_creds *c)
{
	explicit_bzero(c, sizeof *c);
}
