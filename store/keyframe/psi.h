// SPDX-License-Identifier: MIT
/* psi: the tables of a transport stream that say what is in it: programmes (PAT), and the streams of
 * each (PMT). ISO 13818-1, 2.4.4. A table comes in sections, and a section in the payloads of packets
 * of one PID, which it neither fills nor begins with.
 */
#ifndef FOLDFS_PSI_H
#define FOLDFS_PSI_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PSI_SECTION_MAX 1024u
#define PSI_PROGRAMMES_MAX 64u

struct psi_section {
	bool open;
	uint8_t counter; /* of the last packet, 0 to 15 */
	size_t len;
	uint8_t buf[PSI_SECTION_MAX];
};

struct psi_payload {
	const uint8_t *at;
	size_t len;
	bool start;	 /* the packet's payload_unit_start_indicator */
	uint8_t counter; /* its continuity counter */
};

struct psi_sink {
	void (*take)(void *arg, const uint8_t *section, size_t len);
	void *arg;
};

/* Gives the sink each section that this payload completes and whose checksum is right. One that lacks
 * a packet is dropped. */
void psi_feed(struct psi_section *s, struct psi_payload in, struct psi_sink to);

struct psi_programme {
	uint16_t number;
	uint16_t pid; /* of its PMT */
};

/* The programmes of a PAT in their order; the count, or -1 if the section is none that holds now. */
int psi_pat(const uint8_t *section, size_t len, struct psi_programme v[PSI_PROGRAMMES_MAX]);

struct psi_video {
	uint16_t programme;
	uint16_t pid;
	uint8_t type; /* stream_type; 0: the programme has no video */
};

/* The first video stream of a PMT; -1 if the section is none that holds now. */
int psi_pmt(const uint8_t *section, size_t len, struct psi_video *ret);
#endif
