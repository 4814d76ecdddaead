/*
 * Starts a program with the loader and the libraries laid down for it, whatever the host has.
 *
 * It needs nothing of the host but the kernel and /proc: no C library, no shell, no loader. What
 * it starts stands at the end of its own file (see launcher.py), as strings that each end in a
 * NUL, their size, and a mark:
 *
 *     hint         what to do if the program is gone; empty for tools, which complain plainly
 *     tree         the directory all is in
 *     NAME=value   environment for the program, any number, then an empty string
 *     argv         any number; the caller's arguments follow
 *
 * A leading @ of the tree, of a value or of an argument stands for the launcher's own directory.
 *
 * While the program runs it holds a shared lock on the tree, which nobody removes meanwhile. A
 * launcher whose tree has just been removed was replaced before that: it starts its successor.
 *
 * cc: -Os -std=gnu11 -Wall -Wextra -Werror -ffreestanding -nostdlib -static -fno-pie -no-pie
 * cc: -fno-stack-protector -fno-asynchronous-unwind-tables -fno-tree-loop-distribute-patterns
 * cc: -Wl,--build-id=none -Wl,-z,noseparate-code -Wl,-z,norelro -s
 */

typedef unsigned long size_t;

#if defined(__x86_64__)
enum { READ = 0, WRITE = 1, CLOSE = 3, PREAD = 17, LSEEK = 8, EXECVE = 59, EXIT = 60, FCNTL = 72,
       FLOCK = 73, OPENAT = 257, READLINKAT = 267, FACCESSAT = 269,
       DIRECTORY = 0200000 };

static long call(long number, long a, long b, long c, long d)
{
	register long r10 __asm__("r10") = d;
	long result;
	__asm__ volatile("syscall" : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
	return result;
}

__asm__(".globl _start\n_start:\n\txor %ebp,%ebp\n\tmov %rsp,%rdi\n\tand $-16,%rsp\n\tcall run\n");

#elif defined(__aarch64__)
enum { READ = 63, WRITE = 64, CLOSE = 57, PREAD = 67, LSEEK = 62, EXECVE = 221, EXIT = 93,
       FCNTL = 25, FLOCK = 32, OPENAT = 56, READLINKAT = 78, FACCESSAT = 48, DIRECTORY = 040000 };

static long call(long number, long a, long b, long c, long d)
{
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
	return x0;
}

__asm__(".globl _start\n_start:\n\tmov x29,xzr\n\tmov x30,xzr\n\tmov x0,sp\n\tbl run\n");

#else
#error "this machine's system calls are not known here"
#endif

enum { CWD = -100, CLOEXEC = 02000000, DUPFD = 0, SHARED = 1, NONBLOCKING = 4, END = 2 };
enum { ENOENT = 2, PATH_BYTES = 4096, TRAILER_BYTES = 16384, POOL_BYTES = 131072 };

static const char MARK[8] = "\177launch";
static const char DELETED[] = " (deleted)";

/* The user's or the attacker's words for libraries: none of them is for us. */
static const char *const REFUSED[] = { "LD_", "PYTHON", "GLIBC_TUNABLES=", "GCONV_PATH=",
	"LOCPATH=", "MALLOC_", "XTABLES_LIBDIR=", "OPENSSL_", "SSL_CERT_", 0 };

static char self[PATH_BYTES + 1], trailer[TRAILER_BYTES + 1], pool[POOL_BYTES];
static size_t own; /* length of this file's directory in self */
static size_t pooled;
static const char *hint = "";

static size_t length(const char *text)
{
	size_t n = 0;
	while (text[n])
		n++;
	return n;
}

static int starts(const char *text, const char *with)
{
	while (*with)
		if (*text++ != *with++)
			return 0;
	return 1;
}

static void out(int to, const char *text, size_t n)
{
	while (n) {
		long done = call(WRITE, to, (long)text, (long)n, 0);
		if (done <= 0)
			return;
		text += done;
		n -= (size_t)done;
	}
}

static void put(char c)
{
	if (pooled < POOL_BYTES)
		pool[pooled++] = c;
}

static void plain(const char *text)
{
	while (*text)
		put(*text++);
}

static void quoted(const char *text)
{
	static const char digits[] = "0123456789abcdef";
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;
		if (c == '"' || c == '\\') {
			put('\\');
			put(*text);
		} else if (c < 0x20 || c >= 0x7f) {
			/* A path's bytes need not be UTF-8, and JSON has to be. */
			plain("\\u00");
			put(digits[c >> 4]);
			put(digits[c & 15]);
		} else {
			put(*text);
		}
	}
}

static void number(long n)
{
	if (n > 9)
		number(n / 10);
	put((char)('0' + n % 10));
}

/* Says what is missing: a CNI error on stdout, or for a tool a line on stderr. */
static void __attribute__((noreturn)) fail(const char *path, const char *what, long code)
{
	pooled = 0;
	if (*hint)
		plain("{\"cniVersion\": \"1.0.0\", \"code\": 5, \"msg\": \"");
	quoted(path);
	plain(what);
	if (code == -ENOENT) {
		plain(": it is not there");
	} else if (code) {
		plain(": error ");
		number(-code);
	}
	if (*hint) {
		plain("\", \"details\": \"");
		quoted(hint);
		plain("\"}");
	}
	put('\n');
	out(*hint ? 1 : 2, pool, pooled);
	call(EXIT, *hint ? 1 : 126, 0, 0, 0);
	__builtin_unreachable();
}

/* Gives a string in which a leading @, behind a NAME= too, is this file's directory. */
static char *expand(const char *text, int is_variable)
{
	char *made = pool + pooled;
	while (is_variable && *text && *text != '=')
		put(*text++);
	if (is_variable)
		put(*text++);
	if (*text == '@') {
		for (size_t n = 0; n < own; n++)
			put(self[n]);
		text++;
	}
	plain(text);
	put('\0');
	return made;
}

static void find_self(void)
{
	long n = call(READLINKAT, CWD, (long)"/proc/self/exe", (long)self, PATH_BYTES);
	if (n <= 0)
		fail("/proc/self/exe", " cannot be read", n);
	self[n] = '\0';
	for (own = (size_t)n; own && self[own] != '/';)
		own--;
}

/* If another file has taken this one's place, becomes that. */
static void succeed(char **argv, char **envp)
{
	size_t n, tail = length(DELETED);
	find_self();
	n = length(self);
	if (n > tail && starts(self + n - tail, DELETED)) {
		self[n - tail] = '\0';
		call(EXECVE, (long)self, (long)argv, (long)envp, 0);
	}
}

static const char *read_trailer(void)
{
	char foot[sizeof(MARK) + 4];
	unsigned size = 0;
	long file = call(OPENAT, CWD, (long)"/proc/self/exe", CLOEXEC, 0);
	long end = file < 0 ? file : call(LSEEK, file, 0, END, 0);
	if (end < 0)
		fail(self, " cannot be read", end);
	end -= (long)sizeof(foot);
	if (call(PREAD, file, (long)foot, sizeof(foot), end) == (long)sizeof(foot)) {
		for (int n = 3; n >= 0; n--)
			size = size << 8 | (unsigned char)foot[n];
		for (size_t n = 0; n < sizeof(MARK); n++)
			if (foot[4 + n] != MARK[n])
				size = 0;
	}
	if (!size || size > TRAILER_BYTES
	    || call(PREAD, file, (long)trailer, size, end - size) != (long)size)
		fail(self, " does not say what to start", 0);
	call(CLOSE, file, 0, 0, 0);
	return trailer + size;
}

/* Holds the tree until this process and what it becomes end. */
static long hold(const char *tree)
{
	long held = call(OPENAT, CWD, (long)tree, DIRECTORY, 0);
	if (held >= 0 && held < 3) {
		/* Somebody closed a standard stream: that number is not for this. */
		long higher = call(FCNTL, held, DUPFD, 3, 0);
		call(CLOSE, held, 0, 0, 0);
		held = higher;
	}
	/* Only who removes it has it alone. Where nothing can be locked, go on. */
	if (held >= 0 && call(FLOCK, held, SHARED | NONBLOCKING, 0, 0) == -11)
		return -ENOENT;
	return held < 0 ? held : 0;
}

/* Gives the first of all paths in the tree that is not there; the loader tells nobody of its. */
static const char *missing(char **arguments)
{
	for (; *arguments; arguments++)
		if (**arguments == '/' && call(FACCESSAT, CWD, (long)*arguments, 0, 0))
			return *arguments;
	return 0;
}

static int refused(const char *variable)
{
	for (int n = 0; REFUSED[n]; n++)
		if (starts(variable, REFUSED[n]))
			return 1;
	return 0;
}

void __attribute__((noreturn, used)) run(long *stack)
{
	long argc = stack[0], variables = 0, failed;
	char **argv = (char **)(stack + 1), **envp = argv + argc + 1;
	while (envp[variables])
		variables++;
	/* Each string has one byte at least, so there are no more than bytes. */
	char *arguments[TRAILER_BYTES / 16 + argc + 1];
	char *environment[TRAILER_BYTES / 16 + variables + 1];
	const int most = TRAILER_BYTES / 16;
	long n_arguments = 0, n_environment = 0;

	find_self();
	const char *end = read_trailer(), *at = trailer;
	hint = at;
	at += length(at) + 1;
	const char *tree = expand(at, 0);
	at += length(at) + 1;
	for (; at < end && *at && n_environment < most; at += length(at) + 1)
		environment[n_environment++] = expand(at, 1);
	for (at++; at < end && n_arguments < most; at += length(at) + 1)
		arguments[n_arguments++] = expand(at, 0);
	if (!n_arguments || pooled == POOL_BYTES)
		fail(self, " does not say what to start", 0);
	arguments[n_arguments] = 0;
	const char *wanted = arguments[0];
	for (long n = 0; n < variables; n++)
		if (!refused(envp[n]))
			environment[n_environment++] = envp[n];
	environment[n_environment] = 0;

	failed = hold(tree);
	if (!failed && missing(arguments)) {
		wanted = missing(arguments);
		failed = -ENOENT;
	}
	for (long n = 1; n < argc; n++)
		arguments[n_arguments++] = argv[n];
	arguments[n_arguments] = 0;
	if (!failed)
		failed = call(EXECVE, (long)arguments[0], (long)arguments, (long)environment, 0);
	succeed(argv, envp);
	/* The pool, and with it the path, is about to be written over. */
	static char path[PATH_BYTES * 2];
	size_t n = 0;
	for (; wanted[n] && n < sizeof(path) - 1; n++)
		path[n] = wanted[n];
	fail(path, " cannot be started", failed);
}
