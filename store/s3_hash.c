// SPDX-License-Identifier: MIT
#include "s3_call.h"
#include "cleanup.h"
#include "io.h"
#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>

#define PIECE ((size_t)256 << 10)

static void put_hex(const uint8_t *bytes, size_t n, char *ret_hex)
{
	for (size_t i = 0; i < n; i++)
		snprintf(ret_hex + 2 * i, 3, "%02x", bytes[i]);
}

int s3_source_read(const struct s3_source *s, void *buf, size_t len, uint64_t at)
{
	if (s->data) {
		memcpy(buf, (const uint8_t *)s->data + s->at + at, len);
		return 0;
	}
	if (s->read)
		return s->read(s->arg, buf, len, s->at + at);
	int r = io_read_exact(s->fd, buf, len, (off_t)(s->at + at));
	return r == -EUCLEAN ? -ENODATA : r;
}

static int hash_pieces(EVP_MD_CTX *ctx, const struct s3_source *s)
{
	CLEANUP_FREE uint8_t *piece = malloc(PIECE);
	if (!piece)
		return -ENOMEM;
	for (uint64_t done = 0; done < s->len;) {
		size_t n = s->len - done < PIECE ? (size_t)(s->len - done) : PIECE;
		int r = s3_source_read(s, piece, n, done);
		if (r < 0)
			return r;
		if (!EVP_DigestUpdate(ctx, piece, n))
			return -ENOMEM;
		done += n;
	}
	return 0;
}

int s3_hash_source(const struct s3_source *source, char ret_hex[S3_SHA256_HEX + 1])
{
	uint8_t sum[EVP_MAX_MD_SIZE];
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	int r = ctx && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) ? 0 : -ENOMEM;
	if (r == 0 && !source->data && source->len)
		r = hash_pieces(ctx, source);
	else if (r == 0 && source->len &&
		 !EVP_DigestUpdate(ctx, (const uint8_t *)source->data + source->at, source->len))
		r = -ENOMEM;
	if (r == 0 && !EVP_DigestFinal_ex(ctx, sum, NULL))
		r = -ENOMEM;
	EVP_MD_CTX_free(ctx);
	if (r == 0)
		put_hex(sum, S3_SHA256_HEX / 2, ret_hex);
	return r;
}
