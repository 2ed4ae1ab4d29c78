// SPDX-License-Identifier: MIT
/* The parsers run as they do for the daemon, in a process without rights (films.h). */
#include "media.h"
#include "cleanup.h"
#include "films.h"
#include "say.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

static json_t *track_part(const struct film *f, unsigned number)
{
	static const char *const kinds[] = { "other", "video", "audio" };
	const struct film_track *t = &f->tracks[number];
	json_int_t samples = 0, keys = 0;
	for (size_t i = 0; i < f->n; i++) {
		if (f->samples[i].track != number)
			continue;
		samples++;
		keys += f->samples[i].key;
	}
	json_t *o = json_pack("{s:s, s:s, s:b, s:b, s:I}", "kind", kinds[t->kind], "codec",
			      t->codec, "whole", t->whole, "runs", t->runs, "samples", samples);
	if (t->kind == FILM_VIDEO)
		json_object_set_new(o, "groups", json_integer(keys));
	return o;
}

static json_t *film_part(const struct film *f)
{
	json_t *tracks = json_array();
	for (unsigned i = 0; i < f->n_tracks && !f->tracks[i].units; i++)
		json_array_append_new(tracks, track_part(f, i));
	return json_pack("{s:s, s:o}", "container", film_container_name(f->container), "tracks",
			 tracks);
}

static json_t *media_of_one(struct films *films, const char *path)
{
	struct film film = { 0 };
	struct stat st;
	CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	int r = fd < 0 || fstat(fd, &st) ? -errno : 0;
	if (r == 0 && !S_ISREG(st.st_mode)) {
		complain("%s: --media wants files", path);
		return NULL;
	}
	if (r == 0)
		r = films_find(films, fd, (uint64_t)st.st_size, NULL, NULL, &film);
	json_t *o = NULL;
	if (r == -EPIPE || r == -ETIMEDOUT || r == -EUCLEAN)
		complain("%s: its tables could not be read to the end", path);
	else if (r < 0)
		complain("%s: %s", path, strerror(-r));
	else
		o = film_part(&film);
	film_done(&film);
	return o;
}

json_t *media_of(char **paths, int n)
{
	struct films *films;
	int r = films_start(NULL, &films);
	if (r < 0) {
		complain("no process to look at films: %s", strerror(-r));
		return NULL;
	}
	json_t *list = json_array();
	for (int i = 0; list && i < n; i++) {
		json_t *o = media_of_one(films, paths[i]);
		if (o) {
			json_array_append_new(list, o);
		} else {
			json_decref(list);
			list = NULL;
		}
	}
	films_stop(films);
	return list;
}
