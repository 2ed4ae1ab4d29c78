// SPDX-License-Identifier: MIT
#include "show.h"
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

uint64_t show_number(const json_t *o, const char *name)
{
	return (uint64_t)json_integer_value(json_object_get(o, name));
}

const char *show_size(uint64_t bytes, char out[SHOW_SIZE])
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	double v = (double)bytes;
	size_t u = 0;
	while (v >= 1023.95 && u < 6) {
		v /= 1024;
		u++;
	}
	snprintf(out, SHOW_SIZE, "%.*f %s", u == 0 || v >= 100 ? 0 : v >= 10 ? 1 : 2, v, units[u]);
	return out;
}

void show_json(const json_t *tree)
{
	json_dumpf(tree, stdout, JSON_INDENT(2));
	putchar('\n');
}

static void size_line(const json_t *o, const char *name, const char *label, const char *note)
{
	char size[SHOW_SIZE];
	printf("%-22s %10s%s%s\n", label, show_size(show_number(o, name), size), *note ? "  " : "",
	       note);
}

static void ratio_line(const json_t *ratios, const char *name, const char *label)
{
	const json_t *v = json_object_get(ratios, name);
	if (json_is_real(v))
		printf("%-22s %9.2fx\n", label, json_real_value(v));
}

void show_df(const json_t *df)
{
	const json_t *backing = json_object_get(df, "backing");
	const json_t *ratios = json_object_get(df, "ratios");
	const char *label = json_string_value(json_object_get(df, "label"));
	char note[96];
	printf("Pool %s%s%s\n\n", json_string_value(json_object_get(df, "pool")),
	       label && *label ? ", " : "", label ? label : "");
	snprintf(note, sizeof note, "in %" PRIu64 " files and %" PRIu64 " directories",
		 show_number(df, "files"), show_number(df, "directories"));
	size_line(df, "logical", "Content", note);
	size_line(df, "destaged", "  in packs", "as the files show it");
	size_line(df, "unique", "  after deduplication",
		  "distinct chunks, garbage not yet collected "
		  "included");
	size_line(df, "compressed", "  after compression", "");
	ratio_line(ratios, "dedup", "Deduplication");
	ratio_line(ratios, "compression", "Compression");
	ratio_line(ratios, "total", "Content to stored");
	printf("\n");
	size_line(df, "used", "On disk", "");
	size_line(df, "packs", "  packs", "");
	if (show_number(df, "elsewhere"))
		size_line(df, "elsewhere", "  in other tiers", "packs, not on this disk");
	size_line(df, "index", "  index", "");
	size_line(df, "log", "  log", "");
	size_line(df, "staging", "  staging", "not deduplicated yet");
	size_line(df, "materialised", "  hot copies", "given back when space is short");
	size_line(df, "cache", "  cache", "");
	size_line(df, "reserve", "  reserve", "");
	size_line(backing, "available", "Available", "");
	size_line(backing, "total", "Backing filesystem", "");
	if (show_number(df, "damaged_rows"))
		printf("\n%" PRIu64 " rows of the index are damaged: run fsck.foldfs -n\n",
		       show_number(df, "damaged_rows"));
}

static bool is_size(const char *name)
{
	size_t n = strlen(name);
	return strstr(name, "bytes_") == name || (n > 5 && !strcmp(name + n - 5, "bytes")) ||
	       strstr(name, "_bytes_") || !strcmp(name, "bytes");
}

static void stats_line(const char *name, const json_t *v, int indent)
{
	char size[SHOW_SIZE];
	printf("%*s%-*s ", indent, "", 24 - indent, name);
	if (json_is_string(v))
		printf("%s\n", *json_string_value(v) ? json_string_value(v) : "-");
	else if (json_is_boolean(v))
		puts(json_is_true(v) ? "yes" : "no");
	else if (json_is_null(v))
		puts("-");
	else if (is_size(name))
		puts(show_size((uint64_t)json_integer_value(v), size));
	else
		printf("%" JSON_INTEGER_FORMAT "\n", json_integer_value(v));
}

static void stats_tree(const json_t *tree, int indent)
{
	const char *name;
	json_t *v;
	json_object_foreach((json_t *)(uintptr_t)tree, name, v)
	{
		if (!json_is_object(v)) {
			stats_line(name, v, indent);
			continue;
		}
		printf("%*s%s\n", indent, "", name);
		stats_tree(v, indent + 2);
	}
}

void show_stats(const json_t *stats)
{
	stats_tree(stats, 0);
}

void show_du(const json_t *list)
{
	static const char *const columns[] = { "apparent", "logical", "stored", "shared",
					       "exclusive" };
	size_t i;
	json_t *entry;
	for (size_t k = 0; k < 5; k++)
		printf("%10s  ", columns[k]);
	puts("path");
	json_array_foreach((json_t *)(uintptr_t)list, i, entry)
	{
		char size[SHOW_SIZE];
		for (size_t k = 0; k < 5; k++)
			printf("%10s  ", show_size(show_number(entry, columns[k]), size));
		puts(json_string_value(json_object_get(entry, "path")));
	}
}

static void media_size(const json_t *entry, const char *name, const char *text)
{
	char size[SHOW_SIZE];
	printf("  %-11s %s\n", text, show_size(show_number(entry, name), size));
}

static void show_track(const json_t *track)
{
	const char *kind = json_string_value(json_object_get(track, "kind"));
	const char *codec = json_string_value(json_object_get(track, "codec"));
	printf("  %-11s %s, %" PRIu64 " %s", kind, *codec ? codec : "unknown codec",
	       show_number(track, "samples"),
	       json_is_true(json_object_get(track, "runs")) ? "runs of pictures"
	       : !strcmp(kind, "video")			    ? "pictures"
							    : "packets");
	if (!strcmp(kind, "video"))
		printf(", %" PRIu64 " groups", show_number(track, "groups"));
	puts(json_is_true(json_object_get(track, "whole")) ? ", as in other containers" : "");
}

void show_du_media(const json_t *list)
{
	size_t i, k;
	json_t *entry, *track;
	json_array_foreach((json_t *)(uintptr_t)list, i, entry)
	{
		const json_t *media = json_object_get(entry, "media");
		puts(json_string_value(json_object_get(entry, "path")));
		printf("  %-11s %s\n", "container",
		       json_string_value(json_object_get(media, "container")));
		json_array_foreach(json_object_get(media, "tracks"), k, track) show_track(track);
		media_size(entry, "apparent", "size");
		printf("  %-11s %" PRIu64 "\n", "chunks", show_number(entry, "chunks"));
		media_size(entry, "stored", "stored");
		media_size(entry, "shared", "  shared");
		media_size(entry, "exclusive", "  private");
	}
}

void show_gc(const json_t *result)
{
	char live[SHOW_SIZE], freed[SHOW_SIZE], rewritten[SHOW_SIZE];
	printf("%s live; freed %s of packs (%" PRIu64 " dropped, %" PRIu64 " trimmed, %" PRIu64
	       " rewritten, %s)\n",
	       show_size(show_number(result, "bytes_live"), live),
	       show_size(show_number(result, "bytes_freed"), freed),
	       show_number(result, "packs_dropped"), show_number(result, "packs_trimmed"),
	       show_number(result, "packs_rewritten"),
	       show_size(show_number(result, "bytes_rewritten"), rewritten));
}

static const char *show_time(uint64_t seconds, char out[64])
{
	time_t t = (time_t)seconds;
	struct tm tm;
	if (!localtime_r(&t, &tm) || !strftime(out, 64, "%F %T", &tm))
		snprintf(out, 64, "%" PRIu64, seconds);
	return out;
}

static void show_damage(const json_t *result)
{
	size_t i;
	json_t *v;
	json_array_foreach(json_object_get(result, "damage"), i, v)
	{
		const json_t *chunks = json_object_get(v, "chunks");
		size_t n = json_array_size(chunks);
		printf("Damaged: pack %s, frame at %" PRIu64 ", chunk%s",
		       json_string_value(json_object_get(v, "pack")), show_number(v, "frame"),
		       n == 1 ? "" : "s");
		for (size_t k = 0; k < n && k < 8; k++)
			printf("%s %" JSON_INTEGER_FORMAT, k ? "," : "",
			       json_integer_value(json_array_get(chunks, k)));
		puts(n > 8 ? ", ..." : "");
	}
	json_array_foreach(json_object_get(result, "files"), i, v)
	{
		const char *path = json_string_value(json_object_get(v, "path"));
		printf("Damaged file: %s (inode %" PRIu64 ")\n", path ? path : "without a name",
		       show_number(v, "inode"));
	}
}

bool show_is_damaged(const json_t *scrub)
{
	static const char *const bad[] = { "bad_chunks", "bad_rows", "bad_packs", "bad_dumps",
					   "rotten" };
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		if (show_number(scrub, bad[i]))
			return true;
	return false;
}

void show_scrub(const json_t *result)
{
	char began[64], done[SHOW_SIZE], total[SHOW_SIZE];
	const char *how = json_string_value(json_object_get(result, "state"));
	if (!how || !strcmp(how, "never"))
		puts("Never scrubbed");
	else
		printf("Scrub %s, begun %s: %s of %s verified\n", how,
		       show_time(show_number(result, "began"), began),
		       show_size(show_number(result, "bytes_done") -
					 show_number(result, "absent_bytes"),
				 done),
		       show_size(show_number(result, "bytes_total"), total));
	if (show_number(result, "absent_bytes"))
		printf("%s lie in tiers that are absent, and were left out\n",
		       show_size(show_number(result, "absent_bytes"), done));
	if (!show_is_damaged(result)) {
		puts("No damage found");
		return;
	}
	printf("%" PRIu64 " damaged chunks in %" PRIu64 " frames found, %" PRIu64
	       " of them repaired\n",
	       show_number(result, "bad_chunks"), show_number(result, "bad_frames"),
	       show_number(result, "repaired"));
	printf("%" PRIu64 " damaged rows, %" PRIu64 " damaged ends of packs, %" PRIu64
	       " damaged dumps of the index found\n",
	       show_number(result, "bad_rows"), show_number(result, "bad_packs"),
	       show_number(result, "bad_dumps"));
	printf("%" PRIu64 " chunks cannot be read now\n", show_number(result, "rotten"));
	show_damage(result);
}
