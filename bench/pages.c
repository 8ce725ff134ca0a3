/*
 * Pages for crowd.js: one thread that waits on up to 19,000 connections, so that little of the machine goes to the load.
 *
 *   pages NUMBER COUNT PORT INTERNAL    compiled by crowd.js: cc -O2 -o pages pages.c
 *
 * Each page polls a key of its own, and polls again with the cursor of each answer. Reads commands on stdin, one a line,
 * and answers each with a line of JSON:
 *
 *   upto N    connect until N pages have come; answers nothing
 *   hold N    ask for holds of N seconds from the next poll on
 *   count     what happened so far
 *   set       set a value for each page; answers when all have heard it, at the latest after 30 seconds
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* Connections per source address: fewer than its 28,000 ephemeral ports. */
#define PER_ADDRESS 5000
/* Connections that are being opened at a time, and sets in flight. */
#define ENTERING 100
#define SETTING 32
/* Nobody heard a value: page numbers are values, from 0. */
#define NOTHING -1
/* Seconds that the pages have to hear their values. */
#define PATIENCE 30

enum kind { COMMANDS, PAGE, BACKEND };
enum state { AWAY, CONNECTING, WAITING, OVER };

struct page {
  double again; /* when it connects again; 0: it does not wait for that */
  int fd, heard;
  unsigned char state, came;
  char cursor[64];
};

static struct page *pages;
static int number, count, port, internal, hold = 0;
static int upto, opened, entering, absent; /* absent: pages that wait to connect again */
static long polls, broken, refused;
static int epoll, next_set, sets, hearing;
static double set_at, set_took;
static char buffer[65536], out[4096];

static double now(void) {
  struct timespec at;
  clock_gettime(CLOCK_MONOTONIC, &at);
  return at.tv_sec + at.tv_nsec / 1e9;
}

static void watch(int fd, enum kind kind, int index, unsigned events) {
  struct epoll_event event = {.events = events, .data.u64 = (unsigned long)kind << 32 | (unsigned)index};
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event)) {
    perror("epoll_ctl");
    exit(1);
  }
}

/* Starts to connect to this machine. `from`: number of the source address, or -1 */
static int begin(int to, int from) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
  struct sockaddr_in address = {.sin_family = AF_INET};
  if (fd < 0) {
    perror("socket");
    exit(1);
  }
  if (from >= 0) {
    /* the port is chosen by connect, which knows both ends */
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    address.sin_addr.s_addr = htonl(0x7f000001u + ((unsigned)(number + 1) << 8) + (unsigned)from);
    bind(fd, (struct sockaddr *)&address, sizeof address);
  }
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons((unsigned short)to);
  if (connect(fd, (struct sockaddr *)&address, sizeof address) && errno != EINPROGRESS) {
    close(fd);
    return -1;
  }
  return fd;
}

static void leave(struct page *page, int again_after_ms) {
  if (page->state == CONNECTING) entering--;
  if (page->fd >= 0) close(page->fd);
  page->fd = -1;
  page->state = AWAY;
  page->again = now() + again_after_ms / 1e3;
  absent++;
}

static void ask(struct page *page) {
  char seconds[24] = "";
  if (hold) snprintf(seconds, sizeof seconds, "&hold=%d", hold);
  int length = snprintf(out, sizeof out, "GET /status/get?key=k%d.%d&since=%s%s HTTP/1.1\r\nHost: x\r\n\r\n", number,
                        (int)(page - pages), page->cursor, seconds);
  if (send(page->fd, out, (size_t)length, MSG_NOSIGNAL) == length) return;
  broken++;
  leave(page, 500 + rand() % 1000);
}

static void connected(struct page *page) {
  entering--;
  page->state = WAITING;
  page->came = 1;
  ask(page);
}

static void enter(struct page *page) {
  int index = (int)(page - pages);
  page->again = 0;
  page->fd = begin(port, index / PER_ADDRESS);
  page->state = CONNECTING;
  entering++;
  if (page->fd < 0) {
    broken++;
    leave(page, 500 + rand() % 1000);
    return;
  }
  watch(page->fd, PAGE, index, EPOLLIN | EPOLLOUT | EPOLLET);
}

/* The answer in the buffer, of which `size` bytes came; its body, or NULL if it is not whole. */
static char *body_of(size_t size) {
  buffer[size] = 0;
  char *head = strstr(buffer, "\r\n\r\n"), *length = strcasestr(buffer, "\r\ncontent-length:");
  if (!head || !length || head + 4 + atoi(length + 17) > buffer + size) return NULL;
  return head + 4;
}

static void hear(struct page *page) {
  /* Answers have a few hundred bytes and are one packet on loopback: one that came in parts counts as broken. */
  ssize_t size = recv(page->fd, buffer, sizeof buffer - 1, 0);
  if (size < 0 && errno == EAGAIN) return;
  char *body = size > 0 ? body_of((size_t)size) : NULL;
  char *code = body ? strstr(body, "\"code\":") : NULL;
  if (!code) {
    broken++;
    leave(page, 500 + rand() % 1000);
    return;
  }
  char *cursor = strstr(body, "\"cursor\":\"");
  if (cursor) {
    cursor += 10;
    size_t length = strcspn(cursor, "\"");
    if (length < sizeof page->cursor) {
      memcpy(page->cursor, cursor, length);
      page->cursor[length] = 0;
    }
  }
  int is = atoi(code + 7);
  if (is == -1) {
    polls++;
    ask(page);
  } else if (is == 0) {
    char *data = strstr(body, "\"data\":");
    page->heard = data ? atoi(data + 7) : NOTHING;
    page->state = OVER;
    close(page->fd);
    page->fd = -1;
    hearing--;
  } else {
    char *retry = strstr(body, "\"retry\":");
    refused++;
    leave(page, retry ? atoi(retry + 8) : 1000);
  }
}

static void on_page(struct page *page, unsigned events) {
  if (page->state == CONNECTING) {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(page->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error || events & (EPOLLERR | EPOLLHUP)) {
      broken++;
      leave(page, 500 + rand() % 1000);
      return;
    }
    if (events & EPOLLOUT) connected(page);
  }
  if (page->state == WAITING && events & (EPOLLIN | EPOLLERR | EPOLLHUP)) hear(page);
}

/* --- The backend: sets one value after the other on each of its connections. */

static void set_next(int fd) {
  if (next_set == count) {
    close(fd);
    return;
  }
  char value[64];
  int size = snprintf(value, sizeof value, "{\"key\":\"k%d.%d\",\"value\":%d}", number, next_set, next_set);
  int length = snprintf(out, sizeof out,
                        "POST /status/set HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                        "Content-Length: %d\r\n\r\n%s",
                        size, value);
  next_set++;
  if (send(fd, out, (size_t)length, MSG_NOSIGNAL) != length) {
    perror("a set");
    exit(1);
  }
}

static void on_backend(int fd, unsigned events) {
  if (events & EPOLLIN) {
    ssize_t size = recv(fd, buffer, sizeof buffer - 1, 0);
    char *body = size > 0 ? body_of((size_t)size) : NULL;
    if (!body || !strstr(body, "\"code\":0")) {
      fprintf(stderr, "a set was answered %.*s\n", size > 0 ? (int)size : 0, buffer);
      exit(1);
    }
    if (++sets == count) set_took = now() - set_at;
    set_next(fd);
  } else if (events & EPOLLOUT) {
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = (unsigned long)BACKEND << 32 | (unsigned)fd};
    epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event);
    set_next(fd);
  }
}

static void set_all(void) {
  set_at = now();
  for (int one = 0; one < SETTING; one++) {
    int fd = begin(internal, -1);
    if (fd >= 0) watch(fd, BACKEND, fd, EPOLLOUT);
  }
}

/* --- Commands. */

static void tell(void) {
  int heard = 0;
  for (int one = 0; one < count; one++) heard += pages[one].heard == one;
  printf("{\"polls\":%ld,\"broken\":%ld,\"refused\":%ld,\"heard\":%d,\"seconds\":%.3f}\n", polls, broken, refused, heard,
         set_took);
  fflush(stdout);
}

static int setting;

static void command(char *line) {
  if (!strncmp(line, "upto ", 5)) upto = atoi(line + 5) < count ? atoi(line + 5) : count;
  else if (!strncmp(line, "hold ", 5)) {
    hold = atoi(line + 5);
    tell();
  } else if (!strcmp(line, "count")) tell();
  else if (!strcmp(line, "set")) {
    setting = 1;
    set_all();
  }
}

static void read_commands(void) {
  static char text[4096];
  static size_t have;
  ssize_t size = read(0, text + have, sizeof text - 1 - have);
  if (size <= 0) exit(0);
  have += (size_t)size;
  text[have] = 0;
  char *line = text, *end;
  while ((end = strchr(line, '\n'))) {
    *end = 0;
    command(line);
    line = end + 1;
  }
  have = strlen(line);
  memmove(text, line, have + 1);
}

static void enter_more(void) {
  while (entering < ENTERING && opened < upto) enter(&pages[opened++]);
  if (!absent) return;
  double at = now();
  for (int one = 0; one < opened && entering < ENTERING; one++)
    if (pages[one].again && pages[one].again <= at) {
      absent--;
      enter(&pages[one]);
    }
}

int main(int arguments, char **words) {
  if (arguments != 5) return 2;
  number = atoi(words[1]);
  hearing = count = atoi(words[2]);
  port = atoi(words[3]);
  internal = atoi(words[4]);
  srand((unsigned)number + 1);
  pages = calloc((size_t)count, sizeof *pages);
  for (int one = 0; one < count; one++) pages[one].fd = pages[one].heard = -1;
  epoll = epoll_create1(EPOLL_CLOEXEC);
  watch(0, COMMANDS, 0, EPOLLIN);
  struct epoll_event events[256];
  for (;;) {
    int got = epoll_wait(epoll, events, 256, absent || setting ? 50 : -1);
    for (int one = 0; one < got; one++) {
      int index = (int)(events[one].data.u64 & 0xffffffff);
      enum kind kind = (enum kind)(events[one].data.u64 >> 32);
      if (kind == COMMANDS) read_commands();
      else if (kind == PAGE) on_page(&pages[index], events[one].events);
      else on_backend(index, events[one].events);
    }
    enter_more();
    if (setting && (hearing == 0 || now() > set_at + (set_took ? set_took : 1e9) + PATIENCE)) {
      setting = 0;
      tell();
    }
  }
}
