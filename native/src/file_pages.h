// Resident pages of the program's files that nobody needs any more.
#pragma once

#include <cstddef>

namespace irst {

// Drops the resident pages of the read-only segments of the program and of its libraries: code and constants. What is still needed comes
// back with its next use, from the page cache: most of what a program touches while it starts it never touches again. Segments that were
// ever written to, as by the dynamic linker, and files that were mapped otherwise are left alone. Returns the bytes that were resident; 0
// where the system does not tell, or tells of another program (/proc/self/smaps, proc_pid_smaps(5)).
std::size_t ReleaseFilePages();

}  // namespace irst
