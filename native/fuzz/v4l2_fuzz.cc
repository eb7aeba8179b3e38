// libFuzzer harness (https://llvm.org/docs/LibFuzzer.html) of all that reads what a V4L2 driver answers: enumeration, formats,
// controls, buffers, the streaming thread. The driver here obeys no rule but the ABI: it fills what it is given with the fuzzer's bytes.
// Built and run by scripts/fuzz-native.

#include <sys/ioctl.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "../src/v4l2_device.h"
#include "../src/v4l2_io.h"
#include "../src/v4l2_stream.h"

namespace {

/// Largest mapping, and largest slot: beyond, as when memory is short.
constexpr size_t kMostBytes = 1 << 16;
/// Calls after which the driver only says that it is gone.
constexpr int kMostCalls = 2000;

class Input {
 public:
  Input(const uint8_t* data, size_t size) : data_(data), size_(size) {}

  bool empty() const { return at_ >= size_; }

  uint8_t Byte() { return empty() ? 0 : data_[at_++]; }

  void Fill(void* target, size_t length) {
    const size_t have = std::min(length, size_ - std::min(at_, size_));
    std::memcpy(target, data_ + std::min(at_, size_), have);
    at_ += have;
  }

 private:
  const uint8_t* data_;
  size_t size_;
  size_t at_ = 0;
};

/// A driver that answers anything.
class HostileIo final : public irst::V4l2Io {
 public:
  explicit HostileIo(Input& input) : input_(input) {}

  ~HostileIo() override {
    // What is left here was leaked: AddressSanitizer says so.
    if (!maps_.empty()) __builtin_trap();
    if (open_ != 0) __builtin_trap();
  }

  int Open(const char*, int) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    if ((input_.Byte() & 0x1f) == 0x1f) return Refuse();
    open_++;
    return 1000;
  }

  int Close(int fd) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (fd != 1000 || open_ != 1) __builtin_trap();
    open_--;
    return 0;
  }

  int Ioctl(int fd, unsigned long request, void* argument) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (fd != 1000 || open_ != 1) __builtin_trap();
    if (++calls_ > kMostCalls || input_.empty()) {
      errno = ENODEV;
      return -1;
    }
    const uint8_t how = input_.Byte();
    if ((how & 0x0f) == 0x0f) return Refuse();
    // Most answers change only part of what was asked, so that the fuzzer gets beyond the first check.
    const size_t size = (request >> 16) & 0x3fff;
    const bool ext = request == VIDIOC_G_EXT_CTRLS || request == VIDIOC_S_EXT_CTRLS;
    if ((how & 0x80) != 0 && !ext) {
      // A pointer in the structure is the caller's: the kernel does not change it either.
      v4l2_plane* planes = nullptr;
      const bool buffer = request == VIDIOC_QUERYBUF || request == VIDIOC_DQBUF || request == VIDIOC_QBUF;
      if (buffer) planes = static_cast<v4l2_buffer*>(argument)->m.planes;
      const uint32_t type = buffer ? static_cast<v4l2_buffer*>(argument)->type : 0;
      input_.Fill(argument, size);
      if (buffer && type == V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE) {
        static_cast<v4l2_buffer*>(argument)->m.planes = planes;
        input_.Fill(planes, sizeof(v4l2_plane) * (how & 7));
      }
    } else {
      Sane(request, argument, how);
    }
    return 0;
  }

  void* Mmap(size_t length, int, int, int, off_t) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (length == 0 || length > kMostBytes || (input_.Byte() & 0x1f) == 0x1f) {
      errno = ENOMEM;
      return MAP_FAILED;
    }
    // From the heap, so that a byte beyond its end is seen.
    auto* start = new uint8_t[length];
    std::memset(start, 0x5a, length);
    maps_[start] = length;
    return start;
  }

  int Munmap(void* start, size_t length) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = maps_.find(start);
    if (found == maps_.end() || found->second != length) __builtin_trap();
    maps_.erase(found);
    delete[] static_cast<uint8_t*>(start);
    return 0;
  }

  int Poll(pollfd* fds, nfds_t count, int) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (++calls_ > kMostCalls || input_.empty()) {
      fds[0].revents = POLLHUP;
      return 1;
    }
    const uint8_t how = input_.Byte();
    if (how == 0xff) return Refuse();
    fds[0].revents = static_cast<short>((how & 1 ? POLLIN : 0) | (how & 2 ? POLLPRI : 0) | ((how & 0x3c) == 0x3c ? POLLERR : 0));
    if (count > 1) fds[1].revents = 0;
    return fds[0].revents == 0 ? 0 : 1;
  }

 private:
  int Refuse() {
    static constexpr int kErrors[] = {EINVAL, EAGAIN, EIO, ENODEV, EBUSY, ENOTTY, EINTR, EPIPE, ENOMEM, ENXIO, EBADF, 0};
    errno = kErrors[input_.Byte() % (sizeof kErrors / sizeof *kErrors)];
    return -1;
  }

  /// An answer that makes sense, with one figure of the fuzzer's in it.
  void Sane(unsigned long request, void* argument, uint8_t how) {
    switch (request) {
      case VIDIOC_QUERYCAP: {
        auto& caps = *static_cast<v4l2_capability*>(argument);
        std::memset(caps.card, how, sizeof caps.card);
        caps.capabilities = V4L2_CAP_DEVICE_CAPS | V4L2_CAP_STREAMING;
        caps.device_caps = V4L2_CAP_STREAMING | (how & 1 ? V4L2_CAP_VIDEO_CAPTURE_MPLANE : V4L2_CAP_VIDEO_CAPTURE);
        mplane_ = (how & 1) != 0;
        break;
      }
      case VIDIOC_G_FMT:
      case VIDIOC_S_FMT: {
        auto& format = *static_cast<v4l2_format*>(argument);
        const uint32_t width = 1 + input_.Byte() % 64;
        const uint32_t height = 1 + input_.Byte() % 64;
        const uint32_t fourcc = how & 0x20 ? V4L2_PIX_FMT_Y16 : how & 0x40 ? V4L2_PIX_FMT_MJPEG : V4L2_PIX_FMT_GREY;
        size_ = width * height * 2 + (how & 0x10 ? input_.Byte() : 0);
        if (mplane_) {
          format.fmt.pix_mp.pixelformat = fourcc;
          format.fmt.pix_mp.width = width;
          format.fmt.pix_mp.height = height;
          planes_ = 1 + (how & 1);
          format.fmt.pix_mp.num_planes = static_cast<uint8_t>(planes_);
          for (uint32_t i = 0; i < planes_; i++) format.fmt.pix_mp.plane_fmt[i] = {size_, width * 2, {}};
        } else {
          format.fmt.pix.pixelformat = fourcc;
          format.fmt.pix.width = width;
          format.fmt.pix.height = height;
          format.fmt.pix.bytesperline = how & 0x10 ? 0 : width * 2;
          format.fmt.pix.sizeimage = size_;
        }
        break;
      }
      case VIDIOC_REQBUFS:
        if (static_cast<v4l2_requestbuffers*>(argument)->count != 0)
          static_cast<v4l2_requestbuffers*>(argument)->count = how & 0x40 ? input_.Byte() : 4;
        break;
      case VIDIOC_QUERYBUF: {
        auto& buffer = *static_cast<v4l2_buffer*>(argument);
        const uint32_t length = size_ - (how & 0x10 ? std::min<uint32_t>(size_ - 1, input_.Byte()) : 0);
        if (mplane_) {
          buffer.length = planes_;
          for (uint32_t i = 0; i < planes_; i++) buffer.m.planes[i].length = length;
        } else {
          buffer.length = length;
        }
        break;
      }
      case VIDIOC_DQBUF: {
        auto& buffer = *static_cast<v4l2_buffer*>(argument);
        buffer.index = how & 0x40 ? input_.Byte() : next_++ % 4;
        buffer.sequence = how & 0x20 ? 0xffffffff : next_;
        buffer.flags = how & 0x10 ? static_cast<uint32_t>(input_.Byte()) << 8 | V4L2_BUF_FLAG_ERROR : V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC;
        const uint32_t used = how & 1 ? size_ : size_ + input_.Byte() - 128;
        if (mplane_) {
          for (uint32_t i = 0; i < planes_; i++) {
            buffer.m.planes[i].bytesused = used;
            buffer.m.planes[i].data_offset = how & 2 ? input_.Byte() : 0;
          }
        } else {
          buffer.bytesused = used;
        }
        break;
      }
      case VIDIOC_DQEVENT:
        static_cast<v4l2_event*>(argument)->type = how & 1 ? V4L2_EVENT_SOURCE_CHANGE : input_.Byte();
        static_cast<v4l2_event*>(argument)->pending = how & 2 ? 3 : 0;
        break;
      default:
        break;
    }
  }

  Input& input_;
  std::mutex mutex_;
  std::map<void*, size_t> maps_;
  int open_ = 0;
  int calls_ = 0;
  bool mplane_ = false;
  uint32_t planes_ = 1;
  uint32_t size_ = 64;
  uint32_t next_ = 0;
};

template <typename F>
void Try(F&& run) {
  try {
    run();
  } catch (const std::system_error&) {
    // A refusal; anything else is a crash.
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Input input(data, size);
  auto io = std::make_shared<HostileIo>(input);
  irst::Device device(io, "/dev/video0");
  bool opened = false;
  Try([&] {
    device.Open();
    opened = true;
  });
  if (!opened) return 0;
  const uint8_t parts = input.Byte();
  if (parts & 1) Try([&] { device.Formats(); });
  if (parts & 2) Try([&] { device.Controls(); });
  if (parts & 4) Try([&] { device.GetInterval(); });
  if (parts & 8) Try([&] { device.SetInterval({1, 30}); });
  if (parts & 16) Try([&] { device.GetControl(input.Byte()); });
  if (parts & 32) Try([&] { device.SetControl(input.Byte(), input.Byte()); });
  irst::PixelFormat format;
  bool settled = false;
  Try([&] {
    format = parts & 64 ? device.GetFormat() : device.SetFormat(V4L2_PIX_FMT_Y16, 640, 512);
    settled = true;
  });
  if (!settled || format.TotalBytes() > 2 * kMostBytes) return 0;
  for (size_t i = 0; i < format.planes.size(); i++) format.LeastBytes(i);

  irst::StreamOptions options;
  options.stall_ns = 1'000'000;
  // Exactly as large as promised: one byte more is found.
  std::vector<std::unique_ptr<uint8_t[]>> slots;
  for (int i = 0; i < 3; i++) {
    slots.push_back(std::make_unique<uint8_t[]>(std::max<size_t>(1, format.TotalBytes())));
    options.slots.emplace_back(slots.back().get(), format.TotalBytes());
  }
  std::atomic<int> wakes{0};
  irst::Stream stream(device, format, options, [&] { wakes++; });
  Try([&] {
    stream.Start();
    bool ended = false;
    for (int i = 0; i < 200 && !ended; i++) {
      irst::FrameMeta meta;
      const int slot = stream.Take(meta);
      if (slot >= 3) __builtin_trap();
      // What is taken can be read as far as it says.
      if (slot >= 0 && meta.bytes_used > format.TotalBytes()) __builtin_trap();
      for (const irst::StreamEvent& event : stream.TakeEvents()) {
        if (event.syscall == nullptr) __builtin_trap();
        if (event.kind >= irst::StreamEvent::Kind::kLost) ended = true;
      }
      stream.Counters();
      std::this_thread::sleep_for(std::chrono::microseconds(20));
    }
  });
  stream.Stop();
  return 0;
}
