// SPDX-License-Identifier: MIT
/* What the figures mean. */
#include "fuse_switch.h"
#include "speed.h"

size_t speed_advice(const struct speed_cpu *cpu, const struct speed_files *device,
		    const struct speed_files *mount, const char *ret_advice[SPEED_ADVICE_MAX])
{
	size_t n = 0;
	if (device->sync_ms > 8)
		ret_advice[n++] = "A sync takes long on the pool's disk: programs that sync often, "
				  "as databases "
				  "do, gain from a log on a faster one (wal_dir).";
	if (cpu->together < 0.7 * device->write)
		ret_advice[n++] = "The disk takes more than the processor can store: a lower "
				  "zstd_level, or the "
				  "profile ingest, stores faster and packs less densely.";
	if (cpu->together > 3 * device->write && cpu->ratio > 1.2)
		ret_advice[n++] =
			"The processor has time to spare: a higher zstd_level (9, say) would save "
			"space and cost little speed.";
	if (mount && mount->write < 0.6 * device->write)
		ret_advice[n++] = "Large files are written clearly slower than the disk could: is "
				  "the mount made "
				  "by root, on Linux 6.9 or later, and not in mode=mediated? "
				  "foldfs stats shows "
				  "whether files are passed through.";
	if (mount && mount->sync_ms > 3 * device->sync_ms && mount->sync_ms > 2)
		ret_advice[n++] =
			"A sync takes several times what the disk needs: something else may be "
			"keeping it busy, destage perhaps (foldfs stats, waiting_files).";
	if (mount && fuse_switch() == FUSE_SWITCH_OFF)
		ret_advice[n++] =
			"Small files may be made and removed two to three times as fast over "
			"io_uring, which this kernel can and is told not to offer: see "
			"foldfs-tuning(7).";
	if (!n)
		ret_advice[n++] = "Nothing stands out: the options are right for this machine.";
	return n;
}
