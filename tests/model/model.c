// SPDX-License-Identifier: MIT
/* model [OPTION...] TARGET REFERENCE: the main program.
 *
 * A run is a number of phases. In each, the workers make their calls and end; then the trees are
 * compared; then the target is remounted (or whatever --remount says) and the trees are compared
 * again. Exit status: 0 no difference, 1 a difference, 2 the run itself failed. */
#include "model.h"
#include "sabotage.h"
#include "treediff.h"
#include "worker.h"
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

struct board *board;
struct options options = { .seed = 1, .steps = 2000, .phases = 3, .procs = 2, .check_every = 1000 };

static const char usage_text[] =
	"usage: model [OPTION...] TARGET REFERENCE\n"
	"Makes the same random calls in both directories and compares every result.\n"
	"  --seed N         the calls to make (1)\n"
	"  --steps N        calls per worker and phase (2000)\n"
	"  --phases N       how often everybody stops for a comparison and a remount (3)\n"
	"  --procs N        workers, each with its own directory and all with a shared one (2)\n"
	"  --no-shared      without the shared directory\n"
	"  --check-every N  calls between comparisons of a worker's own tree (1000; 0: never)\n"
	"  --between CMD    command to run after each phase, before the comparison\n"
	"  --remount CMD    command to run after it; a second comparison follows\n"
	"  --only LIST      these calls only, as open,write,close\n"
	"  --without LIST   all calls but these\n"
	"  --as-root        root makes all calls\n"
	"  --loose-times    any two times of the run itself agree (a writeback cache keeps its "
	"own)\n"
	"  --trace          show every call\n"
	"  --breakages      list what MODEL_BREAK can be; it makes the target wrong on purpose\n";

static int usage(FILE *out, int status)
{
	fputs(usage_text, out);
	return status;
}

/* -1: go on; else the exit status. */
static int parse(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "seed", 1, NULL, 's' },	 { "steps", 1, NULL, 'n' },
		{ "phases", 1, NULL, 'p' },	 { "procs", 1, NULL, 'j' },
		{ "no-shared", 0, NULL, 'S' },	 { "check-every", 1, NULL, 'c' },
		{ "between", 1, NULL, 'b' },	 { "remount", 1, NULL, 'r' },
		{ "only", 1, NULL, 'o' },	 { "without", 1, NULL, 'w' },
		{ "trace", 0, NULL, 't' },	 { "as-root", 0, NULL, 'R' },
		{ "loose-times", 0, NULL, 'L' }, { "breakages", 0, NULL, 'B' },
		{ "help", 0, NULL, 'h' },	 { NULL, 0, NULL, 0 },
	};
	for (int opt; (opt = getopt_long(argc, argv, "h", longs, NULL)) != -1;) {
		switch (opt) {
		case 's':
			options.seed = strtoull(optarg, NULL, 0);
			break;
		case 'n':
			options.steps = strtoull(optarg, NULL, 0);
			break;
		case 'p':
			options.phases = strtoull(optarg, NULL, 0);
			break;
		case 'j':
			options.procs = (unsigned)strtoul(optarg, NULL, 0);
			break;
		case 'S':
			options.no_shared = true;
			break;
		case 'c':
			options.check_every = strtoull(optarg, NULL, 0);
			break;
		case 'b':
			options.between = optarg;
			break;
		case 'r':
			options.remount = optarg;
			break;
		case 'o':
			options.only = optarg;
			break;
		case 'w':
			options.without = optarg;
			break;
		case 'R':
			options.as_root = true;
			break;
		case 'L':
			options.loose_times = true;
			break;
		case 't':
			options.trace = true;
			break;
		case 'B':
			sabotage_list(stdout);
			return 0;
		case 'h':
			return usage(stdout, 0);
		default:
			return usage(stderr, 2);
		}
	}
	if (argc - optind != 2 || !options.procs)
		return usage(stderr, 2);
	options.target = argv[optind];
	options.reference = argv[optind + 1];
	options.sabotage = getenv("MODEL_BREAK");
	return -1;
}

static int run_workers(uint64_t phase)
{
	int worst = 0;
	atomic_store(&board->ticket, 0);
	fflush(NULL);
	for (unsigned i = 0; i < options.procs; i++) {
		pid_t pid = fork();
		if (pid < 0)
			return 2;
		if (pid == 0)
			exit(worker_run(i, phase));
	}
	for (int status; wait(&status) > 0;) {
		int code = WIFEXITED(status) ? WEXITSTATUS(status) : 2;
		if (WIFSIGNALED(status))
			fprintf(stderr, "model: a worker died of signal %d\n", WTERMSIG(status));
		if (code)
			atomic_store(&board->stop, true);
		worst = code > worst ? code : worst;
	}
	return worst;
}

static int command(const char *text)
{
	if (!text)
		return 0;
	int status = system(text);
	if (status)
		fprintf(stderr, "model: '%s' ended with status %d\n", text, status);
	return status ? 2 : 0;
}

static int compare(uint64_t phase, const char *when)
{
	size_t differences = treediff(options.target, options.reference);
	if (differences)
		fprintf(stderr, "model: %zu DIFFERENCES %s seed=%llu phase=%llu\n", differences,
			when, (unsigned long long)options.seed, (unsigned long long)phase);
	return differences ? 1 : 0;
}

static int run_phase(uint64_t phase)
{
	int status = run_workers(phase);
	if (!status)
		status = command(options.between);
	if (!status)
		status = compare(phase, "after the calls");
	if (!status)
		status = command(options.remount);
	if (!status && options.remount)
		status = compare(phase, "after the remount");
	return status;
}

int main(int argc, char **argv)
{
	int status = parse(argc, argv);
	if (status >= 0)
		return status;
	board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		     0);
	if (board == MAP_FAILED) {
		perror("model: mmap");
		return 2;
	}
	clock_gettime(CLOCK_REALTIME, &board->started);
	board->started.tv_sec--;
	status = 0;
	for (uint64_t phase = 0; !status && phase < options.phases; phase++)
		status = run_phase(phase);
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	double seconds = (double)(now.tv_sec - board->started.tv_sec - 1) +
			 (double)(now.tv_nsec - board->started.tv_nsec) / 1e9;
	printf("model: %llu calls in %.1f s, slowest pair %.0f ms: %s\n",
	       (unsigned long long)atomic_load(&board->steps), seconds,
	       (double)atomic_load(&board->longest_pair) / 1e6,
	       status == 0   ? "no difference"
	       : status == 1 ? "DIFFERENT"
			     : "failed");
	return status;
}
