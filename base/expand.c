// SPDX-License-Identifier: MIT
#include "expand.h"
#include <errno.h>
#include <zstd.h>
#include <zstd_errors.h>

/* Not ZSTD_decompress(), which gives the same answer without memory as for damage: whoever believes it
 * throws away what is whole. */
int expand_exact(void *out, size_t len, struct slice in)
{
	ZSTD_DCtx *decoder = ZSTD_createDCtx();
	if (!decoder)
		return -ENOMEM;
	size_t n = ZSTD_decompressDCtx(decoder, out, len, in.at, in.len);
	ZSTD_freeDCtx(decoder);
	if (ZSTD_isError(n) && ZSTD_getErrorCode(n) == ZSTD_error_memory_allocation)
		return -ENOMEM;
	return n == len ? 0 : -EUCLEAN;
}
