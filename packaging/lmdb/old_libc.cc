// Functions that glibc 2.31 and the libstdc++ of GCC 10 do not have under the names that newer headers use.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>

// glibc 2.33; before it the headers called __xstat64. On 64-bit systems the kernel's struct is the C library's.
extern "C" int stat64(const char* path, struct stat64* out) {
  return static_cast<int>(syscall(SYS_newfstatat, AT_FDCWD, path, out, 0));
}
extern "C" int fstat64(int fd, struct stat64* out) { return static_cast<int>(syscall(SYS_fstat, fd, out)); }

// GCC 11 (GLIBCXX_3.4.29), called by std::allocator. lmdb is compiled without exceptions.
namespace std {
[[noreturn]] void __throw_bad_array_new_length();
void __throw_bad_array_new_length() { abort(); }
}  // namespace std
