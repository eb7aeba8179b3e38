#include "file_pages.h"

#include <link.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
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
  // Pages of its own, in memory or swapped out: written to, and lost if they were dropped. Not 0 where the kernel does not tell.
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
    } else if (std::sscanf(line, "Swap: %zu kB", &kib) == 1) {
      // Comes behind Anonymous, which is only what is in memory.
      all.back().own_kib += kib;
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

// Relocations in its code (DT_TEXTREL): the dynamic linker writes even to segments that say they are read-only.
bool WritesCode(const dl_phdr_info& object) {
  for (int i = 0; i < object.dlpi_phnum; i++) {
    if (object.dlpi_phdr[i].p_type != PT_DYNAMIC) continue;
    const auto* entry = reinterpret_cast<const ElfW(Dyn)*>(object.dlpi_addr + object.dlpi_phdr[i].p_vaddr);
    for (; entry->d_tag != DT_NULL; entry++) {
      if (entry->d_tag == DT_TEXTREL) return true;
      if (entry->d_tag == DT_FLAGS && (entry->d_un.d_val & DF_TEXTREL) != 0) return true;
    }
  }
  return false;
}

struct Release {
  std::vector<Mapping> mappings;
  std::uintptr_t page = 0;
  std::size_t bytes = 0;
};

int ReleaseObject(dl_phdr_info* object, std::size_t, void* data) {
  auto& release = *static_cast<Release*>(data);
  if (WritesCode(*object)) return 0;
  for (int i = 0; i < object->dlpi_phnum; i++) {
    const ElfW(Phdr)& segment = object->dlpi_phdr[i];
    if (segment.p_type != PT_LOAD || (segment.p_flags & PF_W) != 0) continue;
    // Whole pages of this segment alone: those at its ends may be its neighbour's, too.
    const std::uintptr_t first = object->dlpi_addr + segment.p_vaddr;
    const std::uintptr_t start = (first + release.page - 1) / release.page * release.page;
    const std::uintptr_t end = (first + segment.p_filesz) / release.page * release.page;
    for (Mapping& m : release.mappings) {
      const std::uintptr_t from = std::max(start, m.start);
      const std::uintptr_t to = std::min(end, m.end);
      if (from >= to || !m.read_only_file || m.own_kib != 0 || m.resident_kib == 0) continue;
      // https://man7.org/linux/man-pages/man2/madvise.2.html
      if (madvise(reinterpret_cast<void*>(from), to - from, MADV_DONTNEED) != 0) continue;
      const std::size_t kib = std::min<std::size_t>(m.resident_kib, (to - from) / 1024);
      m.resident_kib -= kib;
      release.bytes += kib * 1024;
    }
  }
  return 0;
}

}  // namespace

// Two witnesses for each page. The kernel's list says what is of a file and was never written to (Node's --use-largepages puts anonymous
// memory in the place of its code), but is old once it is read: another thread may have unmapped a file since, and have memory of its own
// at that address. The C library's says which addresses are an object's, and none is unloaded while the callback runs: glibc holds the lock of
// its list, musl never unloads. https://man7.org/linux/man-pages/man3/dl_iterate_phdr.3.html
std::size_t ReleaseFilePages() {
  Release release;
  release.mappings = Mappings();
  if (!OfThisProgram(release.mappings)) return 0;
  release.page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
  dl_iterate_phdr(&ReleaseObject, &release);
  return release.bytes;
}

}  // namespace irst
