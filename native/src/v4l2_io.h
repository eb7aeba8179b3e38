#pragma once

#include <poll.h>
#include <sys/types.h>

#include <cstddef>

namespace irst {

/// The six system calls through which a V4L2 device is used, each with the return value and `errno` of its libc namesake:
/// one implementation calls the kernel, another is a scripted device (`FakeIo`) on which every rule of the capture is tested.
/// https://docs.kernel.org/userspace-api/media/v4l/user-func.html
class V4l2Io {
 public:
  virtual ~V4l2Io() = default;

  virtual int Open(const char* path, int flags) = 0;
  virtual int Close(int fd) = 0;
  virtual int Ioctl(int fd, unsigned long request, void* argument) = 0;
  virtual void* Mmap(size_t length, int protection, int flags, int fd, off_t offset) = 0;
  virtual int Munmap(void* start, size_t length) = 0;
  /// Besides the device's own descriptor `fds` may hold others (the wake-up eventfd), which are real ones.
  virtual int Poll(pollfd* fds, nfds_t count, int timeout_ms) = 0;
};

/// The kernel.
class SystemIo final : public V4l2Io {
 public:
  int Open(const char* path, int flags) override;
  int Close(int fd) override;
  int Ioctl(int fd, unsigned long request, void* argument) override;
  void* Mmap(size_t length, int protection, int flags, int fd, off_t offset) override;
  int Munmap(void* start, size_t length) override;
  int Poll(pollfd* fds, nfds_t count, int timeout_ms) override;
};

}  // namespace irst
