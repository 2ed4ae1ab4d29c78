// SPDX-License-Identifier: MIT
#include "s3_nonce.h"
#include <errno.h>
#include <stdio.h>
#include <sys/random.h>

int s3_nonce_make(struct s3_nonce *ret_nonce)
{
	uint8_t bytes[(sizeof ret_nonce->hex - 1) / 2];
	if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
		return -EIO;
	for (size_t i = 0; i < sizeof bytes; i++)
		snprintf(ret_nonce->hex + 2 * i, 3, "%02x", bytes[i]);
	return 0;
}

bool s3_nonce_add(const struct s3_nonce *n, struct s3_call *c)
{
	return s3_call_header(c, "x-amz-meta-" S3_NONCE_META, n->hex);
}

bool s3_nonce_is_in(const struct s3_nonce *n, const struct s3_answer *head)
{
	for (unsigned i = 0; head->err == 0 && i < head->n_meta; i++)
		if (!strcmp(head->meta[i].name, S3_NONCE_META))
			return !strcmp(head->meta[i].value, n->hex);
	return false;
}
