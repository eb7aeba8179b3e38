#include "file_pages.h"

#include <sys/mman.h>

#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <vector>

namespace irst {
namespace {

struct Mapping {
  std::uintptr_t start = 0;
  std::uintptr_t end = 0;
  bool read_only_file = false;
  bool code = false;
  std::size_t resident_kib = 0;
  // Pages of its own: written to, and lost if they were dropped.
  std::size_t own_kib = 1;
};

std::vector<Mapping> Mappings() {
  std::vector<Mapping> all;
  std::FILE* smaps = std::fopen("/proc/self/smaps", "re");
  if (smaps == nullptr) return all;
  char line[4352];  // a path has at most PATH_MAX = 4096
  while (std::fgets(line, sizeof line, smaps) != nullptr) {
    Mapping m;
    std::uint64_t inode = 0;
    char mode[5] = {};
    std::size_t kib = 0;
    if (std::sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %4s %*s %*s %" SCNu64, &m.start, &m.end, mode, &inode) == 4) {
      m.code = inode != 0 && std::strcmp(mode, "r-xp") == 0;
      m.read_only_file = m.code || (inode != 0 && std::strcmp(mode, "r--p") == 0);
      all.push_back(m);
    } else if (all.empty()) {
      continue;
    } else if (std::sscanf(line, "Rss: %zu kB", &kib) == 1) {
      all.back().resident_kib = kib;
    } else if (std::sscanf(line, "Anonymous: %zu kB", &kib) == 1) {
      all.back().own_kib = kib;
    }
  }
  std::fclose(smaps);
  return all;
}

// Whether the list is of this program's own memory. Under user-mode emulation (qemu-user) it is of the emulator's, at other addresses.
bool OfThisProgram(const std::vector<Mapping>& all) {
  const auto here = reinterpret_cast<std::uintptr_t>(&ReleaseFilePages);
  for (const Mapping& m : all) {
    if (m.start <= here && here < m.end) return m.code;
  }
  return false;
}

}  // namespace

std::size_t ReleaseFilePages() {
  std::size_t bytes = 0;
  const std::vector<Mapping> all = Mappings();
  if (!OfThisProgram(all)) return 0;
  for (const Mapping& m : all) {
    if (!m.read_only_file || m.own_kib != 0 || m.resident_kib == 0) continue;
    // https://man7.org/linux/man-pages/man2/madvise.2.html
    if (madvise(reinterpret_cast<void*>(m.start), m.end - m.start, MADV_DONTNEED) == 0) bytes += m.resident_kib * 1024;
  }
  return bytes;
}

}  // namespace irst
