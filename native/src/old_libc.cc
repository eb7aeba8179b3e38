// What the compiler of a current distribution takes from its own C and C++ libraries though older ones do not have it, defined here
// instead: so that one binary loads from glibc 2.31 and GCC 10's libstdc++ on. `scripts/symbol-versions.mjs` finds such symbols.
#include <new>

// glibc 2.32, used by std::shared_ptr: counts may be changed without atomic instructions while there is one thread. There never is.
extern "C" char __libc_single_threaded = 0;

// GCC 11 (GLIBCXX_3.4.29), called by std::allocator.
namespace std {
[[noreturn]] void __throw_bad_array_new_length();
void __throw_bad_array_new_length() { throw bad_array_new_length(); }
}  // namespace std
