// SPDX-License-Identifier: MIT
/* The filter is written out here, as it is short: libseccomp would be one more library in every daemon
 * for thirty instructions. Memory may be got, but no file mapped: a mapping could be written to.
 */
#include "jail.h"
#include <errno.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#define NOBODY 65534

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#elif defined(__riscv) && __riscv_xlen == 64
#define ARCH AUDIT_ARCH_RISCV64
#endif

/* Sanitizers reserve terabytes of addresses, and ask for more calls. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif

int jail_drop_rights(void)
{
	struct rlimit none = { 0, 0 };
	if (geteuid() == 0 && (setgroups(0, NULL) || setresgid(NOBODY, NOBODY, NOBODY) ||
			       setresuid(NOBODY, NOBODY, NOBODY)))
		return -errno;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || setrlimit(RLIMIT_CORE, &none))
		return -errno;
	return 0;
}

int jail_limit(uint64_t memory_bytes, unsigned seconds)
{
	struct rlimit memory = { memory_bytes, memory_bytes }, cpu = { seconds, seconds };
	struct itimerval timer = { .it_value.tv_sec = seconds };
#ifdef SANITIZED
	memory.rlim_cur = memory.rlim_max = RLIM_INFINITY;
#endif
	if (setrlimit(RLIMIT_AS, &memory) || setrlimit(RLIMIT_CPU, &cpu) ||
	    setitimer(ITIMER_REAL, &timer, NULL))
		return -errno;
	return 0;
}

#ifdef ARCH
#define DATA(field) (uint32_t) offsetof(struct seccomp_data, field)
#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, DATA(field))
#define RETURN(what) BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_##what)
#define ALLOW(call) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)__NR_##call, 0, 1), RETURN(ALLOW)
/* Allowed if the low half of this argument is so; the number is loaded again for the next. */
#define ALLOW_IF(call, argument, value)                                                            \
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)__NR_##call, 0, 4), LOAD(args[argument]),    \
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(value), 0, 1), RETURN(ALLOW),       \
		RETURN(KILL_PROCESS)

int jail_close(void)
{
	static struct sock_filter code[] = {
		LOAD(arch),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0),
		RETURN(KILL_PROCESS),
		LOAD(nr),
		ALLOW_IF(pread64, 0, JAIL_IN),
		ALLOW_IF(write, 0, JAIL_OUT),
		ALLOW_IF(mmap, 4, -1),
		ALLOW(ppoll),
#ifdef __NR_poll
		ALLOW(poll),
#endif
		ALLOW(brk),
		ALLOW(munmap),
		ALLOW(mremap),
		ALLOW(madvise),
		ALLOW(exit_group),
		ALLOW(restart_syscall),
#ifdef SANITIZED
		ALLOW(sched_yield),
		ALLOW(getpid),
		ALLOW(gettid),
		ALLOW(futex),
		ALLOW(mprotect),
		ALLOW(rt_sigprocmask),
		ALLOW(clock_gettime),
		ALLOW_IF(prctl, 0, 0x53564d41), /* names for mappings */
#endif
		RETURN(KILL_PROCESS),
	};
	struct sock_fprog program = { sizeof code / sizeof *code, code };
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) ? -errno : 0;
}
#else
int jail_close(void)
{
	return -ENOSYS;
}
#endif
