#pragma once

#include <linux/videodev2.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "v4l2_device.h"

namespace irst {

enum class ClockKind : uint8_t {
  /// CLOCK_MONOTONIC, stamped by the driver.
  kDriver = 0,
  /// The driver's stamp is of another or an unknown clock, or cannot be true: CLOCK_MONOTONIC when the buffer was taken from the
  /// driver, less what the latest true stamp was older than its arrival.
  kArrival = 1,
};

/// What is known of one frame. Times are CLOCK_MONOTONIC, ns.
struct FrameMeta {
  /// From 0, counting what the driver skipped; goes on over restarts and over the wrap of the driver's 32 bits.
  uint64_t sequence = 0;
  uint32_t driver_sequence = 0;
  /// Later than that of every frame before.
  int64_t capture_ns = 0;
  /// When the copy was complete.
  int64_t ready_ns = 0;
  uint32_t bytes_used = 0;
  /// V4L2_BUF_FLAG_*.
  uint32_t flags = 0;
  /// Frames lost, for any reason, since the frame that was taken before this one.
  uint64_t dropped = 0;
  ClockKind clock = ClockKind::kDriver;
  /// `capture_ns` is the start of exposure; else the end of the frame.
  bool start_of_exposure = false;
};

/// Frames by their fate. `skipped` were never seen: gaps in the driver's sequence.
struct StreamCounters {
  uint64_t taken = 0;
  uint64_t stale = 0;
  uint64_t skipped = 0;
  uint64_t error = 0;
  uint64_t short_frames = 0;
  uint64_t bad_index = 0;
  /// Frames whose driver sequence went backwards or stood still.
  uint64_t sequence_resets = 0;
  /// Driver stamps that cannot be true (zero, in the future, minutes ago, no later than the frame before).
  uint64_t bad_timestamps = 0;
  uint64_t restarts = 0;
  /// VIDIOC_DQBUF, or VIDIOC_DQEVENT, found nothing though poll(2) said otherwise.
  uint64_t empty_wakes = 0;
  /// Events that nobody fetched in time.
  uint64_t lost_events = 0;
  /// A frame waits to be taken.
  bool pending = false;
};

struct StreamEvent {
  enum class Kind {
    kStalled,
    kResumed,
    /// After an I/O error; the stream goes on.
    kRestarted,
    // The stream has ended; nothing follows.
    kLost,
    kSourceChange,
    kEndOfStream,
    kFailed,
  };
  Kind kind;
  int error_number = 0;
  const char* syscall = "";
};

struct StreamOptions {
  uint32_t buffers = 4;
  int64_t stall_ns = 3'000'000'000;
  /// Memory of the caller, at least three slots of the format's TotalBytes() each; must outlive Stop().
  std::vector<std::pair<uint8_t*, size_t>> slots;
};

/// Streams from a device by MMAP buffers on a thread of its own: the newest frame is copied once into one of the caller's slots and
/// its buffer handed back to the driver at once, so that the driver never runs dry however slow the caller is.
///
/// The caller holds at most one slot: the one that the latest Take() returned.
class Stream {
 public:
  /// `wake` is called on the stream's thread when there is something new to Take() or an event; it must not call back into the Stream.
  Stream(Device& device, PixelFormat format, StreamOptions options, std::function<void()> wake);
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  /// Throws SystemError, leaving nothing behind.
  void Start();
  /// Ends the thread and gives all buffers back. Does nothing the second time.
  void Stop();

  /// The slot of the newest frame not yet taken, or -1. The slot taken before is free again.
  int Take(FrameMeta& meta);
  std::vector<StreamEvent> TakeEvents();
  StreamCounters Counters();

 private:
  struct Mapping {
    void* start = nullptr;
    size_t length = 0;
  };
  struct Buffer {
    std::vector<Mapping> planes;
    bool queued = false;
  };
  /// A buffer as dequeued.
  struct Dequeued {
    uint32_t index = 0;
    uint32_t flags = 0;
    uint32_t sequence = 0;
    int64_t stamp_ns = 0;
    int64_t arrival_ns = 0;
    struct {
      uint32_t bytes_used = 0;
      uint32_t offset = 0;
    } planes[VIDEO_MAX_PLANES];
  };

  void Run();
  /// All three return whether the stream goes on. `any`: there was an event.
  bool Drain(bool poll_error);
  bool TakeDeviceEvents(bool& any);
  bool Restart(int error_number, const char* syscall);
  /// After poll(2) announced what was not there.
  void EmptyWake();
  int Dequeue(Dequeued& frame);
  int Queue(uint32_t index);
  bool Complete(const Dequeued& frame) const;
  void Publish(const Dequeued& frame);
  void CountSequence(uint32_t sequence, bool damaged);
  void Emit(StreamEvent event);
  bool End(StreamEvent::Kind kind, int error_number, const char* syscall);
  bool LostOrFailed(int error_number, const char* syscall);
  /// Waits; returns early when Stop() was called.
  void Pause(int ms);
  void MapBuffers();
  void Release();

  Device& device_;
  const PixelFormat format_;
  const StreamOptions options_;
  const std::function<void()> wake_;
  const bool multi_planar_;
  const uint32_t type_;

  std::vector<Buffer> buffers_;
  bool requested_ = false;
  bool streaming_ = false;
  int wake_fd_ = -1;
  std::thread thread_;
  std::atomic<bool> stopping_{false};

  // Of the thread alone.
  int64_t last_good_ns_ = 0;
  int64_t last_capture_ns_ = 0;
  /// The latest of the driver's stamps that was believed.
  int64_t last_stamp_ns_ = 0;
  /// From the latest true stamp to the arrival of its frame; 0 before there was one.
  int64_t delay_ns_ = 0;
  bool stalled_ = false;
  int restarts_in_row_ = 0;
  int empty_in_row_ = 0;
  bool have_sequence_ = false;
  uint32_t last_sequence_ = 0;
  /// Damaged frames since, without a number of their own.
  uint64_t unnumbered_ = 0;
  uint64_t sequence_ = 0;

  std::mutex mutex_;
  // Guarded by mutex_.
  StreamCounters counters_;
  std::vector<StreamEvent> events_;
  FrameMeta ready_meta_;
  int ready_slot_ = -1;
  int held_slot_ = -1;
  uint64_t dropped_since_taken_ = 0;
};

}  // namespace irst
