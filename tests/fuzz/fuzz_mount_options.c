// SPDX-License-Identifier: MIT
/* Input: u8 flags; the options, a newline between one -o and the next. */
#include "mount_options.h"
#include "cleanup.h"
#include "fuzz.h"
#include <errno.h>

enum { SLOPPY = 1 };

static void add_all(struct mount_options *m, char *text)
{
	char *save;
	for (char *one = strtok_r(text, "\n", &save); one; one = strtok_r(NULL, "\n", &save))
		must(mount_options_add(m, one) == 0);
}

bool fuzz_one(struct slice in)
{
	uint8_t flags = take_u8(&in);
	CLEANUP_FREE char *text = take_text(&in);
	struct mount_options m = { 0 }, again = { 0 };
	struct config conf;
	struct config_error err = { "" };
	add_all(&m, text);
	must(mount_options_end(&m, flags & SLOPPY) == 0);
	const char *own = (const char *)m.own.data, *kernel = (const char *)m.kernel.data;
	must(strlen(own) + 1 == m.own.len && strlen(kernel) + 1 == m.kernel.len);
	/* sorted options are sorted */
	must(mount_options_add(&again, own) == 0 && mount_options_end(&again, false) == 0);
	must(!strcmp((const char *)again.own.data, own) && !*again.kernel.data);
	config_defaults(&conf);
	int r = config_apply(&conf, own, CONFIG_POOL | CONFIG_MOUNT, &err);
	must(r == 0 || (r == -EINVAL && *err.text));
	mount_options_done(&m);
	mount_options_done(&again);
	return r == 0;
}

static void seed(const char *name, const char *text)
{
	fuzz_seed(name, text, strlen(text));
}

void fuzz_seeds(void)
{
	seed("fstab", " noauto,user,exec,x-systemd.automount,ro,log=/a\\,b,mode=native,_netdev");
	seed("several", " defaults,noatime\nrw,strictatime\nremount,cache_size=1G,context=\"a:b\"");
	seed("sloppy", "!whatever=1,destage_delay=1h,fsname=a,suid,nothing");
}
