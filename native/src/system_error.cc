#include "system_error.h"

#include <napi.h>

#include <cerrno>
#include <string>

namespace irst {

// glibc's strerrorname_np() is newer (2.32) than the oldest system this runs on (2.31).
std::string ErrorName(int error_number) {
  switch (error_number) {
#define IRST_NAME(name) \
  case name:            \
    return #name
    IRST_NAME(EACCES);
    IRST_NAME(EADDRINUSE);
    IRST_NAME(EAFNOSUPPORT);
    IRST_NAME(EAGAIN);
    IRST_NAME(EBADF);
    IRST_NAME(EBADMSG);
    IRST_NAME(EBUSY);
    IRST_NAME(ECONNREFUSED);
    IRST_NAME(ECONNRESET);
    IRST_NAME(EFAULT);
    IRST_NAME(EINTR);
    IRST_NAME(EINVAL);
    IRST_NAME(EIO);
    IRST_NAME(ELOOP);
    IRST_NAME(EMFILE);
    IRST_NAME(EMSGSIZE);
    IRST_NAME(ENAMETOOLONG);
    IRST_NAME(ENFILE);
    IRST_NAME(ENOBUFS);
    IRST_NAME(ENODEV);
    IRST_NAME(ENOENT);
    IRST_NAME(ENOMEM);
    IRST_NAME(ENOSPC);
    IRST_NAME(ENOTCONN);
    IRST_NAME(ENOTDIR);
    IRST_NAME(ENOTSOCK);
    IRST_NAME(ENOTTY);
    IRST_NAME(ENXIO);
    IRST_NAME(EOPNOTSUPP);
    IRST_NAME(EPERM);
    IRST_NAME(EPIPE);
    IRST_NAME(EPROTOTYPE);
    IRST_NAME(ERANGE);
    IRST_NAME(ETIMEDOUT);
#undef IRST_NAME
    default:
      return "ERRNO_" + std::to_string(error_number);
  }
}

Napi::Error ToJs(Napi::Env env, const SystemError& error) {
  const std::string name = ErrorName(error.error_number());
  Napi::Error js = Napi::Error::New(env, name + ": " + error.code().message() + ", " + error.syscall());
  js.Set("code", Napi::String::New(env, name));
  js.Set("errno", Napi::Number::New(env, -error.error_number()));
  js.Set("syscall", Napi::String::New(env, error.syscall()));
  return js;
}

}  // namespace irst
