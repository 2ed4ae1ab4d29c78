// SPDX-License-Identifier: MIT
/* Matroska and WebM (RFC 9559): a walk over the elements of a file in which only their headers are read.
 *
 * Seven kinds of elements are entered: Segment, Tracks, TrackEntry, its encodings, Cluster and
 * BlockGroup. They are a stack, at most as deep as they nest in a correct file. An element whose parent
 * is further down the stack ends those above it: so a Cluster of unknown size ends where the next
 * begins, and one whose size is too large, too. What is not in the table is skipped.
 *
 * Where no element can be, or where one is larger than what it lies in (zeros in a half-loaded file, a
 * size that lies, the end of a truncated file), the walk looks for the next Cluster by its id. The
 * walk never goes back, so that it takes linear time and samples come in the order of the file.
 */
#include "detect.h"
#include "ebml.h"
#include "matroska_block.h"
#include "vfw.h"
#include <errno.h>
#include <string.h>

#define ID_EBML 0x1a45dfa3u
#define ID_DOCTYPE 0x4282u
#define ID_CLUSTER 0x1f43b675u

#define SCAN 4096u	/* bytes looked through at a time */
#define LEAF_MAX 64u	/* bytes read of an element that describes a track */
#define SCOPE_FRAMES 1u /* of an encoding: the frames, not only what a decoder is set up with */

/* What can be entered. */
enum level { FILE_, SEGMENT, TRACKS, ENTRY, ENCODINGS, ENCODING, CLUSTER, GROUP, NOTHING };

enum role { SKIP, ENTER, NUMBER, TYPE, CODEC, PRIVATE, SCOPE, SIMPLE_BLOCK, BLOCK, REFERENCE };

static const struct kind {
	uint32_t id;
	enum level parent;
	enum role role;
	enum level enters;
} kinds[] = {
	{ ID_EBML, FILE_, SKIP, NOTHING },	  { 0x18538067, FILE_, ENTER, SEGMENT },
	{ 0x114d9b74, SEGMENT, SKIP, NOTHING }, /* SeekHead */
	{ 0x1549a966, SEGMENT, SKIP, NOTHING }, /* Info */
	{ 0x1654ae6b, SEGMENT, ENTER, TRACKS },	  { ID_CLUSTER, SEGMENT, ENTER, CLUSTER },
	{ 0x1c53bb6b, SEGMENT, SKIP, NOTHING }, /* Cues */
	{ 0x1941a469, SEGMENT, SKIP, NOTHING }, /* Attachments */
	{ 0x1043a770, SEGMENT, SKIP, NOTHING }, /* Chapters */
	{ 0x1254c367, SEGMENT, SKIP, NOTHING }, /* Tags */
	{ 0xae, TRACKS, ENTER, ENTRY },		  { 0xd7, ENTRY, NUMBER, NOTHING },
	{ 0x83, ENTRY, TYPE, NOTHING },		  { 0x86, ENTRY, CODEC, NOTHING },
	{ 0x63a2, ENTRY, PRIVATE, NOTHING },	  { 0x6d80, ENTRY, ENTER, ENCODINGS },
	{ 0x6240, ENCODINGS, ENTER, ENCODING },	  { 0x5032, ENCODING, SCOPE, NOTHING },
	{ 0xe7, CLUSTER, SKIP, NOTHING }, /* Timestamp */
	{ 0xa7, CLUSTER, SKIP, NOTHING }, /* Position */
	{ 0xab, CLUSTER, SKIP, NOTHING }, /* PrevSize */
	{ 0xa3, CLUSTER, SIMPLE_BLOCK, NOTHING }, { 0xa0, CLUSTER, ENTER, GROUP },
	{ 0xa1, GROUP, BLOCK, NOTHING },	  { 0xfb, GROUP, REFERENCE, NOTHING },
};

struct walk {
	struct film_source *s;
	struct film *f;
	uint64_t at;
	unsigned depth; /* of the stack; stack[0] is the file */
	struct {
		enum level level;
		uint64_t end; /* UINT64_MAX: not known */
	} stack[NOTHING];

	struct {
		uint64_t number, type, scope;
		bool encoded;
		char codec[LEAF_MAX + 1];
		uint8_t private[LEAF_MAX];
		size_t private_len;
	} entry; /* the TrackEntry being read */

	struct {
		size_t first; /* of its samples */
		bool referenced;
	} group; /* the BlockGroup being read */

	struct {
		uint64_t number;
		unsigned track;
	} map[FILM_TRACKS_MAX];
	unsigned mapped;
	bool has_segment;
	struct matroska_block block;
};

/* -- tracks ---------------------------------------------------------------------------------- */

static const struct {
	const char *prefix, *codec;
} codecs[] = {
	{ "V_MPEG4/ISO/AVC", "h264" },
	{ "V_MPEGH/ISO/HEVC", "hevc" },
	{ "V_VP8", "vp8" },
	{ "V_VP9", "vp9" },
	{ "V_AV1", "av1" },
	{ "V_MPEG1", "mpeg1" },
	{ "V_MPEG2", "mpeg2" },
	{ "V_MPEG4/ISO/", "mpeg4" },
	{ "V_MPEG4/MS/", "msmpeg4" },
	{ "V_PRORES", "prores" },
	{ "V_MJPEG", "mjpeg" },
	{ "V_FFV1", "ffv1" },
	{ "V_THEORA", "theora" },
	{ "V_UNCOMPRESSED", "raw" },
	{ "A_AAC", "aac" },
	{ "A_MPEG/L3", "mp3" },
	{ "A_MPEG/L2", "mp2" },
	{ "A_AC3", "ac3" },
	{ "A_EAC3", "eac3" },
	{ "A_DTS", "dts" },
	{ "A_TRUEHD", "truehd" },
	{ "A_ALAC", "alac" },
	{ "A_OPUS", "opus" },
	{ "A_VORBIS", "vorbis" },
	{ "A_FLAC", "flac" },
	{ "A_PCM", "pcm" },
};

static const char *codec_name(const struct walk *w)
{
	const char *id = w->entry.codec;
	if (!strcmp(id, "V_MS/VFW/FOURCC"))
		return vfw_video_codec(w->entry.private, w->entry.private_len);
	if (!strcmp(id, "A_MS/ACM"))
		return vfw_audio_codec(w->entry.private, w->entry.private_len);
	for (size_t i = 0; i < sizeof codecs / sizeof *codecs; i++)
		if (!strncmp(id, codecs[i].prefix, strlen(codecs[i].prefix)))
			return codecs[i].codec;
	return "";
}

static int find_track(const struct walk *w, uint64_t number)
{
	for (unsigned i = 0; i < w->mapped; i++)
		if (w->map[i].number == number)
			return (int)i;
	return -ENOENT;
}

/* A later segment may describe the tracks again: those that are the same go on. */
static void end_entry(struct walk *w)
{
	static const enum film_kind of_type[] = { FILM_OTHER, FILM_VIDEO, FILM_AUDIO };
	enum film_kind kind = w->entry.type <= 2 ? of_type[w->entry.type] : FILM_OTHER;
	const char *codec = codec_name(w);
	bool whole = !w->entry.encoded && strcmp(codec, "prores") != 0;
	int i = find_track(w, w->entry.number);
	if (kind == FILM_OTHER || !w->entry.number)
		return;
	if (i >= 0) {
		const struct film_track *t = &w->f->tracks[w->map[i].track];
		if (t->kind == kind && t->whole == whole && !strcmp(t->codec, codec))
			return;
	}
	int track = film_add_track(w->f, kind, codec);
	if (track < 0)
		return; /* without more tracks than that the film is one, too */
	w->f->tracks[track].whole = whole;
	if (i < 0)
		i = (int)w->mapped++;
	w->map[i].number = w->entry.number;
	w->map[i].track = (unsigned)track;
}

static int read_leaf(struct walk *w, const struct ebml *e, enum role role)
{
	const uint8_t *p;
	size_t len = e->size < LEAF_MAX ? (size_t)e->size : LEAF_MAX;
	int r = film_source_get(w->s, e->payload, len, &p);
	if (r < 0)
		return r;
	switch (role) {
	case NUMBER:
		w->entry.number = ebml_uint(p, len);
		break;
	case TYPE:
		w->entry.type = ebml_uint(p, len);
		break;
	case SCOPE:
		w->entry.scope = ebml_uint(p, len);
		break;
	case CODEC:
		memcpy(w->entry.codec, p, len);
		w->entry.codec[len] = 0;
		break;
	default:
		memcpy(w->entry.private, p, len);
		w->entry.private_len = len;
	}
	return 0;
}

/* -- blocks ---------------------------------------------------------------------------------- */

/* Adds the frames that lie within the file. */
static int read_block(struct walk *w, const struct ebml *e, bool simple)
{
	struct matroska_block *b = &w->block;
	int r = matroska_block_read(w->s, e->payload, e->size, b);
	if (r < 0)
		return r == -EBADMSG || r == -ENODATA ? 0 : r;
	int i = find_track(w, b->track);
	if (i < 0)
		return 0;
	uint64_t at = b->at;
	for (unsigned k = 0; k < b->n && at <= w->s->size; at += b->len[k++]) {
		if (!b->len[k] || b->len[k] > UINT32_MAX || b->len[k] > w->s->size - at)
			continue;
		struct film_sample sample = {
			.at = at,
			.len = (uint32_t)b->len[k],
			.track = (uint16_t)w->map[i].track,
			.key = simple && b->key,
		};
		r = film_add_sample(w->f, &sample);
		if (r < 0)
			return r;
	}
	return 0;
}

/* -- the walk -------------------------------------------------------------------------------- */

static void enter(struct walk *w, enum level level, uint64_t end)
{
	w->stack[w->depth].level = level;
	w->stack[w->depth++].end = end;
	if (level == SEGMENT)
		w->has_segment = true;
	else if (level == ENTRY)
		memset(&w->entry, 0, sizeof w->entry);
	else if (level == ENCODING)
		w->entry.scope = SCOPE_FRAMES; /* unless it says otherwise */
	else if (level == GROUP) {
		w->group.first = w->f->n;
		w->group.referenced = false;
	}
}

static void leave(struct walk *w)
{
	enum level level = w->stack[--w->depth].level;
	if (level == ENTRY)
		end_entry(w);
	else if (level == ENCODING)
		w->entry.encoded |= w->entry.scope & SCOPE_FRAMES;
	else if (level == GROUP)
		for (size_t i = w->group.first; i < w->f->n; i++)
			w->f->samples[i].key = !w->group.referenced;
}

static const struct kind *find_kind(uint32_t id)
{
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
		if (kinds[i].id == id)
			return &kinds[i];
	return NULL;
}

/* Leaves what a child of that level can't lie in. False when the level hasn't been entered. */
static bool leave_up_to(struct walk *w, enum level level)
{
	unsigned depth = w->depth;
	while (depth && w->stack[depth - 1].level != level)
		depth--;
	if (!depth && level != SEGMENT)
		return false;
	while (w->depth > (depth ? depth : 1))
		leave(w);
	if (!depth) /* the segment's size was too small, or its head has been lost */
		enter(w, SEGMENT, UINT64_MAX);
	return true;
}

static int read_element(struct walk *w, const struct ebml *e, const struct kind *kind)
{
	switch (kind ? kind->role : SKIP) {
	case ENTER:
		return 0;
	case SIMPLE_BLOCK:
		return read_block(w, e, true);
	case BLOCK:
		return read_block(w, e, false);
	case REFERENCE:
		w->group.referenced = true;
		return 0;
	case SKIP:
		return 0;
	default:
		return read_leaf(w, e, kind->role);
	}
}

/* One element at w->at. -EBADMSG: there can be none like it here. */
static int step(struct walk *w)
{
	struct ebml e;
	int r = ebml_read(w->s, w->at, &e);
	if (r < 0)
		return r;
	const struct kind *kind = find_kind(e.id);
	if (kind && !leave_up_to(w, kind->parent))
		kind = NULL;
	uint64_t end = e.payload + e.size, parent_end = w->stack[w->depth - 1].end;
	if (kind && kind->role == ENTER) {
		/* where a writer that was stopped has left a Cluster without a size */
		bool unknown = e.unknown || (kind->id == ID_CLUSTER && !e.size);
		enter(w, kind->enters, unknown ? UINT64_MAX : end);
		w->at = e.payload;
		return 0;
	}
	if (e.unknown || (end > parent_end && w->stack[w->depth - 1].level != SEGMENT))
		return -EBADMSG;
	r = read_element(w, &e, kind);
	if (r == 0 && end > w->s->size)
		r = -EBADMSG;
	if (r == 0)
		w->at = end;
	return r;
}

/* Whether a Cluster begins with these bytes: its id, a size, and a child that one begins with. */
static bool is_cluster(const uint8_t *p, size_t len)
{
	struct ebml e, child;
	int head = ebml_parse(p, len, 0, &e);
	if (head < 0 || e.id != ID_CLUSTER)
		return false;
	if (ebml_parse(p + head, len - (size_t)head, 0, &child) < 0)
		return false;
	const struct kind *kind = find_kind(child.id);
	return child.id == 0xec || child.id == 0xbf || (kind && kind->parent == CLUSTER);
}

/* Goes to the next Cluster after w->at, or to the end of the file; not into samples that the head of
 * a block has given whose end was missing. */
static int find_cluster(struct walk *w)
{
	static const uint8_t id[] = { 0x1f, 0x43, 0xb6, 0x75 };
	const struct film_sample *last = w->f->n ? &w->f->samples[w->f->n - 1] : NULL;
	const uint8_t *p;
	w->at++;
	if (last && w->at < last->at + last->len)
		w->at = last->at + last->len;
	for (;;) {
		ssize_t n = film_source_some(w->s, w->at, SCAN, &p);
		if (n <= 0)
			return n < 0 ? (int)n : -ENODATA;
		const uint8_t *hit = memmem(p, (size_t)n, id, sizeof id);
		if (!hit) {
			w->at += n < SCAN ? (size_t)n : SCAN - sizeof id + 1;
			continue;
		}
		w->at += (size_t)(hit - p);
		n = film_source_some(w->s, w->at, 2 * EBML_HEADER_MAX, &p);
		if (n < 0)
			return (int)n;
		if (is_cluster(p, (size_t)n))
			return 0;
		w->at += 1;
	}
}

static int parse(struct film_source *s, struct film *f)
{
	struct walk w = { .s = s, .f = f };
	int r = 0;
	f->container = FILM_MATROSKA;
	enter(&w, FILE_, UINT64_MAX);
	while (r == 0) {
		while (w.at >= w.stack[w.depth - 1].end)
			leave(&w);
		r = step(&w);
		if (r == -EBADMSG)
			r = find_cluster(&w);
	}
	while (w.depth)
		leave(&w);
	if (r != -ENODATA)
		return r;
	return w.has_segment ? 0 : -EBADMSG;
}

static bool looks(const uint8_t *head, size_t len)
{
	struct ebml e;
	int n = ebml_parse(head, len, 0, &e);
	if (n < 0 || e.id != ID_EBML)
		return false;
	size_t end = e.unknown || e.size > len - (size_t)n ? len : (size_t)n + (size_t)e.size;
	for (size_t at = (size_t)n; at < end; at = (size_t)(e.payload + e.size)) {
		if (ebml_parse(head + at, end - at, at, &e) < 0 || e.unknown ||
		    e.size > end - e.payload)
			return false;
		const uint8_t *type = head + e.payload;
		if (e.id == ID_DOCTYPE)
			return (e.size >= 8 && !memcmp(type, "matroska", 8)) ||
			       (e.size >= 4 && !memcmp(type, "webm", 4));
	}
	return false;
}

const struct film_parser film_matroska = { looks, parse };
