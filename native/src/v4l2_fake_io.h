#pragma once

#include <linux/videodev2.h>

#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "v4l2_device.h"
#include "v4l2_io.h"

namespace irst {

/// What a fake device is made of.
struct FakeConfig {
  std::string path = "/dev/video0";
  std::string driver = "fake";
  std::string card = "Fake thermal camera";
  std::string bus_info = "platform:fake";
  uint32_t device_caps = V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_STREAMING;
  std::vector<FormatEntry> formats;
  std::vector<ControlEntry> controls;
  /// Bytes behind the pixels of each row.
  uint32_t padding = 0;
  /// The padding once a rate was set: S_PARM may change the layout of the frames.
  std::optional<uint32_t> rate_padding;
  /// V4L2_FIELD_*.
  uint32_t field = V4L2_FIELD_NONE;
  /// It says that its rows have no bytes, as with compressed formats.
  bool no_stride = false;
  /// Memory planes of a multi-planar device.
  uint32_t planes = 1;
  /// Frames come by themselves at this rate, Hz; 0: only when pushed.
  double fps = 0;
  uint32_t timestamp_flags = V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC | V4L2_BUF_FLAG_TSTAMP_SRC_SOE;
  uint32_t first_sequence = 0;
  /// Write only the first row of each frame anew: cheap at high rates.
  bool stamp_only = false;
  /// S_FMT takes what it is given and says so, but another format stays in force.
  bool substitutes = false;
};

/// One frame, or several of the same kind, as the device is told to give them.
struct FakeFrame {
  uint32_t count = 1;
  bool error = false;
  /// Frames lost before it: its sequence jumps.
  uint32_t skip = 0;
  std::optional<uint32_t> sequence;
  std::optional<uint32_t> bytes_used;
  /// CLOCK_MONOTONIC, ns; else now.
  std::optional<int64_t> stamp_ns;
  std::optional<uint32_t> timestamp_flags;
  /// VIDIOC_DQBUF answers with this index instead of the buffer's own.
  std::optional<uint32_t> index;
  /// Its pixels are those of the frame before.
  bool frozen = false;
  /// All bytes of the picture; else the moving pattern.
  std::vector<uint8_t> data;
};

/// What the device knows of its users: all zero when nothing is left behind.
struct FakeState {
  uint32_t open = 0;
  uint32_t buffers = 0;
  uint32_t mappings = 0;
  uint32_t queued = 0;
  bool streaming = false;
  bool plugged = true;
  uint32_t sequence = 0;
  uint64_t produced = 0;
  /// Frames that found no buffer queued: a real driver would have lost them.
  uint64_t starved = 0;
  uint64_t opens = 0;
  uint64_t stream_ons = 0;
};

/// A V4L2 capture device in memory that behaves as videobuf2 does, told by a script what goes wrong. It has no thread: frames that
/// are due are made when the device is next called, exactly as if they had been made in time. All methods may be called from any thread.
///
/// The pattern: pixel (x, y) of frame k has the value x + y + k, in 16 bits (little-endian, big-endian where the format is) or in 8; each row's padding is 0xEE.
class FakeIo final : public V4l2Io {
 public:
  explicit FakeIo(FakeConfig config);
  ~FakeIo() override;

  int Open(const char* path, int flags) override;
  int Close(int fd) override;
  int Ioctl(int fd, unsigned long request, void* argument) override;
  void* Mmap(size_t length, int protection, int flags, int fd, off_t offset) override;
  int Munmap(void* start, size_t length) override;
  int Poll(pollfd* fds, nfds_t count, int timeout_ms) override;

  // The script.
  void Push(const FakeFrame& frame);
  /// The next `times` calls of `call` ("open", "mmap", "poll", "VIDIOC_DQBUF", ...) fail with `error_number`; -1: all, 0: none any more.
  void Fail(const std::string& call, int error_number, int times);
  /// poll(2) answers `events` for the device in the next `times` calls whatever is so; -1: always, 0: no longer.
  void PollEvents(short events, int times);
  void SetRate(double fps);
  /// Frames are bit-identical from now on, as during a shutter event.
  void Freeze(bool frozen);
  void Unplug();
  void Plug();
  /// The signal changes: an event is queued and, once reconfigured, the device has this size.
  void ChangeSource(uint32_t width, uint32_t height);
  FakeState State();
  /// Names of the calls so far, the latest 1000.
  std::vector<std::string> Calls();

 private:
  struct Buffer {
    /// Bytes of each plane.
    std::vector<size_t> planes;
    bool queued = false;
  };
  struct Done {
    uint32_t index;
    uint32_t reported_index;
    uint32_t sequence;
    uint32_t flags;
    uint32_t bytes_used;
    int64_t stamp_ns;
  };
  struct File {
    /// Of the plugging in which it was opened: it stays dead after the next.
    uint32_t generation;
    bool subscribed = false;
  };
  struct Fault {
    int error_number;
    int times;
  };

  // All with mutex_ held.
  std::optional<int> Injected(const std::string& call);
  void Record(const std::string& call);
  bool Alive(int fd) const;
  void Advance();
  void Produce(const FakeFrame& frame, int64_t stamp_ns);
  void Fill(uint32_t index, const FakeFrame& frame);
  void StopStreaming();
  void Signal();
  const FormatEntry* Find(uint32_t fourcc) const;
  PixelFormat Laid(uint32_t fourcc, uint32_t width, uint32_t height) const;
  void Write(v4l2_format& format) const;
  bool MultiPlanar() const { return (config_.device_caps & V4L2_CAP_VIDEO_CAPTURE_MPLANE) != 0; }
  uint32_t Type() const;
  int Handle(int fd, unsigned long request, void* argument);

  std::mutex mutex_;
  FakeConfig config_;
  PixelFormat format_;
  v4l2_fract interval_{1, 30};
  std::map<int, File> files_;
  uint32_t generation_ = 0;
  bool plugged_ = true;
  std::vector<Buffer> buffers_;
  int owner_ = -1;
  std::deque<uint32_t> incoming_;
  std::deque<Done> done_;
  std::deque<v4l2_event> events_;
  bool streaming_ = false;
  uint32_t sequence_ = 0;
  uint64_t picture_ = 0;
  bool frozen_ = false;
  int64_t next_due_ns_ = 0;
  std::map<std::string, Fault> faults_;
  short poll_events_ = 0;
  int poll_times_ = 0;
  std::map<uint32_t, int64_t> values_;
  std::map<void*, size_t> mappings_;
  /// By buffer and plane: where its user has it.
  std::map<uint32_t, uint8_t*> mapped_;
  std::deque<std::string> calls_;
  FakeState state_;
};

}  // namespace irst
