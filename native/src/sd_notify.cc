#include "sd_notify.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>

#include "system_error.h"

namespace irst {

namespace {

/// Closes a file descriptor on every way out.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

}  // namespace

// The protocol: https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html
void SdNotify(const std::string& state, const std::string& path) {
  if (state.empty() || path.size() < 2 || path.find('\0') != std::string::npos) throw SystemError(EINVAL, "sendto");
  if (path[0] != '/' && path[0] != '@') throw SystemError(EAFNOSUPPORT, "sendto");

  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  // A path needs its terminating NUL inside sun_path; an abstract name (unix(7)) has none and is exactly as long as stated.
  const bool abstract = path[0] == '@';
  if (path.size() + (abstract ? 0 : 1) > sizeof(address.sun_path)) throw SystemError(ENAMETOOLONG, "sendto");
  std::memcpy(address.sun_path, path.data(), path.size());
  if (abstract) address.sun_path[0] = '\0';
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + (abstract ? 0 : 1));

  const Descriptor fd(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (fd.get() < 0) throw SystemError(errno, "socket");
  ssize_t sent;
  do {
    sent = sendto(fd.get(), state.data(), state.size(), MSG_NOSIGNAL, reinterpret_cast<const sockaddr*>(&address), length);
  } while (sent < 0 && errno == EINTR);
  if (sent < 0) throw SystemError(errno, "sendto");
}

}  // namespace irst
