#pragma once

#include <string>
#include <system_error>

// Declared only: what throws SystemError is also built without Node (native/fuzz).
namespace Napi {
class Env;
class Error;
}  // namespace Napi

namespace irst {

/// A failed system call, as plain C++: what the files of one concern throw. They know nothing of JavaScript.
class SystemError : public std::system_error {
 public:
  /// `syscall` must be a string literal: it is kept by address.
  SystemError(int error_number, const char* syscall)
      : std::system_error(error_number, std::generic_category()), syscall_(syscall) {}

  int error_number() const { return code().value(); }
  const char* syscall() const { return syscall_; }

 private:
  const char* syscall_;
};

/// `ENODEV`; `ERRNO_123` for a number without a name here.
std::string ErrorName(int error_number);

/// The same as a JavaScript Error in the manner of Node's own system errors: `code` ('ENOENT'), `errno` (negative), `syscall`.
Napi::Error ToJs(Napi::Env env, const SystemError& error);

}  // namespace irst
