#pragma once

#include <string>

namespace irst {

/// Sends `state` as one datagram to the notification socket at `path` without ever blocking.
///
/// `path` is what systemd puts in $NOTIFY_SOCKET: an absolute path, or `@name` for an abstract socket.
/// Throws SystemError: EAFNOSUPPORT (neither form), ENAMETOOLONG, EINVAL (empty, or a NUL inside), and what socket() and
/// sendto() give: ENOENT or ECONNREFUSED (nobody listens), EAGAIN (the receiver's queue is full), EMSGSIZE.
void SdNotify(const std::string& state, const std::string& path);

}  // namespace irst
