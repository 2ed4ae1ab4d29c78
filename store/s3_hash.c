// SPDX-License-Identifier: MIT
#include "s3_call.h"
#include "cleanup.h"
#include "io.h"
#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>

#define PIECE ((size_t)1 << 20)

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
	int r = io_read_exact(s->fd, buf, len, (off_t)(s->at + at));
	return r == -EUCLEAN ? -ENODATA : r;
}

static int hash_file(EVP_MD_CTX *ctx, const struct s3_source *s)
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

static int hash_kept(EVP_MD_CTX *ctx, struct s3_source *s, struct buf *kept)
{
	uint8_t *data = buf_extend(kept, s->len);
	if (!data)
		return -ENOMEM;
	for (uint64_t done = 0; done < s->len;) {
		size_t n = s->len - done < PIECE ? (size_t)(s->len - done) : PIECE;
		int r = s->read(s->arg, data + done, n, s->at + done);
		if (r < 0)
			return r;
		if (!EVP_DigestUpdate(ctx, data + done, n))
			return -ENOMEM;
		done += n;
	}
	*s = (struct s3_source){ .data = data, .len = s->len };
	return 0;
}

static int hash(EVP_MD_CTX *ctx, struct s3_source *s, struct buf *kept)
{
	if (!s->len)
		return 0;
	if (!s->data)
		return s->read ? hash_kept(ctx, s, kept) : hash_file(ctx, s);
	return EVP_DigestUpdate(ctx, (const uint8_t *)s->data + s->at, s->len) ? 0 : -ENOMEM;
}

int s3_hash_source(struct s3_source *source, struct buf *kept, char ret_hex[S3_SHA256_HEX + 1])
{
	uint8_t sum[EVP_MAX_MD_SIZE];
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	int r = ctx && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) ? 0 : -ENOMEM;
	if (r == 0)
		r = hash(ctx, source, kept);
	if (r == 0 && !EVP_DigestFinal_ex(ctx, sum, NULL))
		r = -ENOMEM;
	EVP_MD_CTX_free(ctx);
	if (r == 0)
		put_hex(sum, S3_SHA256_HEX / 2, ret_hex);
	return r;
}
