// SPDX-License-Identifier: MIT
/* The transport stream of ISO 13818-1, packets of 188 bytes that begin with 0x47; in M2TS 4 bytes of
 * time precede each.
 *
 * The way to the video: the PAT names programmes, the PMT of each its streams; the first PMT in the
 * file that has video decides, and is followed if it changes. Then each packet of that PID with which
 * a PES begins is a picture's first: a key picture if the packet says so itself, by the random access
 * indicator, or if its first bytes do, for not every writer sets the indicator. A picture's bytes are
 * gathered from its packets until they tell, up to SNIFF_MAX.
 *
 * Two passes: the first finds the tables, which in a piece of a recording come after the first
 * pictures; the second begins anew with what is known then. Of nearly all packets only four bytes are
 * looked at. Where a packet doesn't begin with 0x47, bytes were lost or came in between: what follows
 * is searched for three packets in step.
 */
#include "access_unit.h"
#include "detect.h"
#include "psi.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PACKET 188u
#define SYNC 0x47u
#define PIDS 8192u
#define SNIFF_MAX 8192u		  /* bytes of a picture's beginning */
#define TABLES_WITHIN (16u << 20) /* where the first pass ends */
#define STEPS 3u		  /* packets in step that are believed after a loss */

struct layout {
	unsigned stride; /* from packet to packet */
	unsigned before; /* bytes before the sync byte */
	unsigned first;	 /* offset of the first packet */
};

/* The beginning of a picture that is being gathered. */
struct beginning {
	bool open;
	uint64_t at; /* of its first packet */
	size_t len;
	size_t header; /* of the PES; 0: not known yet */
	struct au_sniff sniff;
	uint8_t buf[SNIFF_MAX];
};

struct table {
	struct psi_programme programme;
	struct psi_section section;
};

struct ts {
	struct film_source *s;
	struct film *film;
	struct film_run run;
	struct layout layout;
	uint64_t at; /* of the packet to come */
	bool pat_seen, has_track, first_pass;
	int video; /* its PID; -1: none yet */
	uint16_t programme;
	enum au_codec codec;
	uint8_t last_start; /* counter of the video's last packet if a PES began in it; else NO_START */
	int error;
	struct psi_section pat;
	unsigned n_tables;
	struct table tables[PSI_PROGRAMMES_MAX];
	struct beginning beginning;
	uint8_t watched[PIDS];
};

#define NO_START 0xffu

static bool in_step(const struct layout *l, const uint8_t *p, size_t len, unsigned steps)
{
	for (unsigned i = 0; i < steps; i++) {
		size_t at = (size_t)i * l->stride + l->before;
		if (at >= len)
			return i > 0;
		if (p[at] != SYNC)
			return false;
	}
	return true;
}

/* A file may begin amid a packet; then more of them must be in step. */
static bool find_layout(const uint8_t *head, size_t len, struct layout *ret)
{
	static const struct layout known[] = { { PACKET, 0, 0 }, { PACKET + 4, 4, 0 } };
	for (unsigned first = 0; first < PACKET + 4; first++) {
		for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
			const struct layout *l = &known[i];
			unsigned needed = first ? 8 : 3;
			if (len < first + needed * l->stride || first >= l->stride ||
			    !in_step(l, head + first, len - first, UINT32_MAX))
				continue;
			*ret = *l;
			ret->first = first;
			return true;
		}
	}
	return false;
}

static bool looks(const uint8_t *head, size_t len)
{
	struct layout l;
	return find_layout(head, len, &l);
}

static enum au_codec codec_of(unsigned type)
{
	switch (type) {
	case 0x01:
	case 0x02:
		return AU_MPEG2;
	case 0x10:
		return AU_MPEG4;
	case 0x1b:
		return AU_H264;
	case 0x24:
		return AU_HEVC;
	case 0xea:
		return AU_VC1;
	default:
		return AU_NONE;
	}
}

static void watch_tables(struct ts *t)
{
	memset(t->watched, 0, sizeof t->watched);
	t->watched[0] = 1;
	for (unsigned i = 0; i < t->n_tables; i++)
		t->watched[t->tables[i].programme.pid] = 1;
	if (t->video >= 0)
		t->watched[t->video] = 1;
}

static void take_pat(void *arg, const uint8_t *section, size_t len)
{
	struct ts *t = arg;
	struct psi_programme v[PSI_PROGRAMMES_MAX];
	int n = psi_pat(section, len, v);
	if (n < 0)
		return;
	t->pat_seen = true;
	bool same = (unsigned)n == t->n_tables;
	for (int i = 0; same && i < n; i++)
		same = v[i].number == t->tables[i].programme.number &&
		       v[i].pid == t->tables[i].programme.pid;
	if (same)
		return;
	bool still = false;
	t->n_tables = (unsigned)n;
	for (int i = 0; i < n; i++) {
		t->tables[i].programme = v[i];
		t->tables[i].section.open = false;
		still |= v[i].number == t->programme;
	}
	if (!still)
		t->video = -1;
	watch_tables(t);
}

static void take_pmt(void *arg, const uint8_t *section, size_t len)
{
	struct ts *t = arg;
	struct psi_video v;
	if (psi_pmt(section, len, &v) < 0 || (t->video >= 0 && v.programme != t->programme))
		return;
	if (!v.type || (t->video == v.pid && t->codec == codec_of(v.type)))
		return;
	t->video = v.pid;
	t->programme = v.programme;
	t->codec = codec_of(v.type);
	t->beginning.open = false;
	t->last_start = NO_START;
	watch_tables(t);
	if (t->has_track)
		return;
	int r = film_add_track(t->film, FILM_VIDEO, au_codec_name(t->codec));
	if (r < 0) {
		t->error = r;
		return;
	}
	t->film->tracks[r].runs = true;
	t->run.track = (uint16_t)r;
	t->has_track = true;
}

static void take_tables(struct ts *t, unsigned pid, struct psi_payload in)
{
	if (pid == 0)
		psi_feed(&t->pat, in, (struct psi_sink){ take_pat, t });
	for (unsigned i = 0; i < t->n_tables; i++) {
		if (t->tables[i].programme.pid != pid)
			continue;
		psi_feed(&t->tables[i].section, in, (struct psi_sink){ take_pmt, t });
		break; /* one section has it, whoever shares the PID */
	}
}

/* Looks at what there is of a picture. Its PES header: 00 00 01, stream, 2 bytes length, 2 of flags,
 * length of the rest. */
static int judge_beginning(struct ts *t)
{
	struct beginning *b = &t->beginning;
	if (!b->header && b->len >= 9) {
		if (memcmp(b->buf, "\0\0\1", 3) != 0) {
			b->open = false;
			return 0;
		}
		b->header = 9u + b->buf[8];
	}
	if (!b->header || b->len <= b->header)
		return 0;
	enum au_verdict v = au_sniff(&b->sniff, b->buf + b->header, b->len - b->header);
	if (v != AU_MORE || b->len == SNIFF_MAX)
		b->open = false;
	return v == AU_IS_KEY ? film_run_key(&t->run, b->at) : 0;
}

static void gather(struct ts *t, const uint8_t *p, size_t len)
{
	struct beginning *b = &t->beginning;
	size_t room = sizeof b->buf - b->len;
	size_t n = len < room ? len : room;
	memcpy(b->buf + b->len, p, n);
	b->len += n;
	if (t->error == 0)
		t->error = judge_beginning(t);
}

/* packet: from its sync byte. flags: of its adaptation field. */
static void take_video(struct ts *t, const uint8_t *packet, unsigned flags, struct psi_payload in)
{
	struct beginning *b = &t->beginning;
	bool again = in.start && in.counter == t->last_start;
	bool scrambled = packet[3] & 0xc0;
	t->last_start = in.start ? in.counter : NO_START;
	if (again) /* a packet may come twice */
		return;
	if (in.start) {
		b->open = !scrambled && t->codec != AU_NONE;
		b->at = t->at;
		b->len = b->header = 0;
		b->sniff = (struct au_sniff){ .codec = t->codec };
		if (flags & 0x40 && (scrambled || in.len < 3 || !memcmp(in.at, "\0\0\1", 3))) {
			b->open = false;
			t->error = film_run_key(&t->run, t->at);
		}
	}
	if (b->open)
		gather(t, in.at, in.len);
}

/* Four bytes of header: sync, flags and PID, PID, flags and counter; then the adaptation field, if
 * there is one: its length, flags, ...; then the payload. */
static void take_packet(struct ts *t, const uint8_t *p)
{
	unsigned pid = (p[1] & 0x1fu) << 8 | p[2];
	unsigned flags = 0, from = 4;
	if (p[1] & 0x80 || !(p[3] & 0x10)) /* damaged on its way; without a payload */
		return;
	if (p[3] & 0x20) {
		flags = p[4] ? p[5] : 0;
		from = 5u + p[4];
	}
	if (from >= PACKET)
		return;
	struct psi_payload in = { p + from, PACKET - from, p[1] & 0x40, p[3] & 15 };
	if ((int)pid != t->video)
		take_tables(t, pid, in);
	else if (!t->first_pass)
		take_video(t, p, flags, in);
}

/* Packets up to where sync is lost, or the window ends, or the first pass has found what it sought.
 * Returns the bytes they take. */
static size_t take_window(struct ts *t, const uint8_t *p, size_t len)
{
	const unsigned stride = t->layout.stride, before = t->layout.before;
	const uint64_t at = t->at;
	size_t i = 0;
	for (; len - i >= stride; i += stride) {
		const uint8_t *k = p + i + before;
		if (*k != SYNC)
			break;
		if (t->watched[(k[1] & 0x1fu) << 8 | k[2]]) {
			t->at = at + i;
			take_packet(t, k);
			if (t->error || (t->first_pass && t->video >= 0))
				break;
		}
	}
	t->at = at;
	return i;
}

/* Finds packets again beyond t->at; the file's end if there are none. */
static int resync(struct ts *t)
{
	const struct layout *l = &t->layout;
	const size_t need = (size_t)STEPS * l->stride;
	uint64_t at = t->at + 1;
	const uint8_t *p;
	for (;;) {
		ssize_t len = film_source_window(t->s, at, 2 * need, &p);
		if (len < (ssize_t)(l->stride)) {
			t->at = t->s->size;
			return len < 0 ? (int)len : 0;
		}
		bool last = len < (ssize_t)(2 * need);
		size_t end = (size_t)len - (last ? l->stride : need);
		for (size_t i = 0; i <= end; i++) {
			const uint8_t *q = memchr(p + i + l->before, SYNC, end + 1 - i);
			if (!q)
				break;
			i = (size_t)(q - p) - l->before;
			if (!in_step(l, q - l->before, (size_t)len - i, STEPS))
				continue;
			t->at = at + i;
			return 0;
		}
		at += end + 1;
	}
}

static int walk(struct ts *t, uint64_t end)
{
	const uint8_t *p;
	while (t->at < end) {
		ssize_t len = film_source_window(t->s, t->at, t->layout.stride, &p);
		if (len < (ssize_t)(t->layout.stride))
			return len < 0 ? (int)len : 0;
		size_t used = take_window(t, p, (size_t)len);
		t->at += used;
		if (t->error || (t->first_pass && t->video >= 0))
			return t->error;
		int r = used ? 0 : resync(t);
		if (r < 0)
			return r;
	}
	return 0;
}

static int parse_with(struct ts *t)
{
	t->watched[0] = 1;
	t->video = -1;
	t->last_start = NO_START;
	t->first_pass = true;
	t->at = t->layout.first;
	uint64_t size = t->s->size;
	int r = walk(t, size < TABLES_WITHIN ? size : TABLES_WITHIN);
	if (r < 0)
		return r;
	if (!t->pat_seen)
		return -EBADMSG;
	t->first_pass = false;
	t->pat.open = false;
	t->at = t->layout.first;
	r = walk(t, size);
	return r < 0 ? r : film_run_end(&t->run, size);
}

static int parse(struct film_source *s, struct film *f)
{
	const uint8_t *head;
	struct layout l;
	ssize_t len = film_source_some(s, 0, DETECT_HEAD, &head);
	if (len < 0)
		return (int)len;
	if (!find_layout(head, (size_t)len, &l))
		return -EBADMSG;
	struct ts *t = calloc(1, sizeof *t);
	if (!t)
		return -ENOMEM;
	t->s = s;
	t->film = f;
	t->layout = l;
	t->run.film = f;
	f->container = l.before ? FILM_M2TS : FILM_TS;
	int r = parse_with(t);
	free(t);
	return r;
}

const struct film_parser film_mpegts = { looks, parse };
