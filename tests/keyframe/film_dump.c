// SPDX-License-Identifier: MIT
/* film_dump FILE: what the parsers find in a file, one sample a line, for comparison with ffprobe.
 *
 *   container NAME
 *   track N KIND CODEC whole|part picture|run
 *   sample TRACK OFFSET LENGTH K|_
 */
#include "keyframe/detect.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static void print_film(const struct film *f)
{
	static const char *const kinds[] = { "other", "video", "audio" };
	printf("container %s\n", film_container_name(f->container));
	for (unsigned i = 0; i < f->n_tracks; i++)
		printf("track %u %s %s %s %s\n", i, kinds[f->tracks[i].kind],
		       *f->tracks[i].codec ? f->tracks[i].codec : "-",
		       f->tracks[i].whole ? "whole" : "part",
		       f->tracks[i].runs ? "run" : "picture");
	for (size_t i = 0; i < f->n; i++)
		printf("sample %u %" PRIu64 " %" PRIu32 " %c\n", f->samples[i].track,
		       f->samples[i].at, f->samples[i].len, f->samples[i].key ? 'K' : '_');
}

int main(int argc, char **argv)
{
	struct film_source s = { 0 };
	struct film f = { 0 };
	struct stat st;
	if (argc != 2) {
		fprintf(stderr, "usage: film_dump FILE\n");
		return 2;
	}
	int fd = open(argv[1], O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st)) {
		fprintf(stderr, "film_dump: %s: %s\n", argv[1], strerror(errno));
		return 1;
	}
	int r = film_source_open(&s, &fd, (uint64_t)st.st_size);
	if (r == 0)
		r = film_find(&s, &f);
	if (r < 0)
		fprintf(stderr, "film_dump: %s: %s\n", argv[1], strerror(-r));
	else
		print_film(&f);
	film_source_done(&s);
	film_done(&f);
	return r < 0;
}
