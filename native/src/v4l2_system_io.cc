#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "v4l2_io.h"

namespace irst {

int SystemIo::Open(const char* path, int flags) { return open(path, flags); }

int SystemIo::Close(int fd) { return close(fd); }

int SystemIo::Ioctl(int fd, unsigned long request, void* argument) { return ioctl(fd, request, argument); }

void* SystemIo::Mmap(size_t length, int protection, int flags, int fd, off_t offset) {
  return mmap(nullptr, length, protection, flags, fd, offset);
}

int SystemIo::Munmap(void* start, size_t length) { return munmap(start, length); }

int SystemIo::Poll(pollfd* fds, nfds_t count, int timeout_ms) { return poll(fds, count, timeout_ms); }

}  // namespace irst
