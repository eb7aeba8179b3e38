#include "v4l2_stream.h"

#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <optional>
#include <utility>

#include "system_error.h"

namespace irst {

namespace {

constexpr int64_t kSecond = 1'000'000'000;
/// Restarts in a row without a good frame between them, before the stream is given up.
constexpr int kMostRestarts = 5;
constexpr int kLongestPauseMs = 1000;
/// Empty wake-ups in a row from which the thread sleeps a little after each.
constexpr int kEmptyBeforePause = 3;
constexpr size_t kMostEvents = 32;
/// A stamp may lie so far in the future: the clock is read after the stamp, but rounding to microseconds is the driver's own.
constexpr int64_t kFutureTolerance = 10'000'000;
constexpr int64_t kOldestStamp = 60 * kSecond;
/// Least time between two frames: the precision of a driver's stamps.
constexpr int64_t kLeastInterval = 1000;
/// From exposure to arrival: what a camera may need at the most.
constexpr int64_t kLongestDelay = kSecond;
/// Some 270 years.
constexpr int64_t kLatestSecond = int64_t{1} << 33;

int64_t Now() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<int64_t>(now.tv_sec) * kSecond + now.tv_nsec;
}

/// 0, which is no plausible stamp, for one that no clock shows: the sum would overflow.
int64_t Nanoseconds(const timeval& stamp) {
  const bool sane = stamp.tv_sec >= 0 && stamp.tv_sec < kLatestSecond && stamp.tv_usec >= 0 && stamp.tv_usec < 1'000'000;
  return sane ? static_cast<int64_t>(stamp.tv_sec) * kSecond + stamp.tv_usec * 1000 : 0;
}

}  // namespace

Stream::Stream(Device& device, PixelFormat format, StreamOptions options, std::function<void()> wake)
    : device_(device),
      format_(std::move(format)),
      options_(std::move(options)),
      wake_(std::move(wake)),
      multi_planar_(device.capability().MultiPlanar()),
      type_(device.buffer_type()) {}

Stream::~Stream() { Stop(); }

void Stream::Start() {
  if (options_.slots.size() < 3) throw SystemError(EINVAL, "start");
  // A driver that says its frames have no memory: nothing could ever arrive.
  if (format_.TotalBytes() == 0) throw SystemError(EINVAL, "VIDIOC_G_FMT");
  for (const auto& [start, length] : options_.slots)
    if (start == nullptr || length < format_.TotalBytes()) throw SystemError(EMSGSIZE, "start");
  try {
    wake_fd_ = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (wake_fd_ < 0) throw SystemError(errno, "eventfd");
    MapBuffers();
    // Not every driver has these events; those without them never change by themselves.
    // https://docs.kernel.org/userspace-api/media/v4l/vidioc-dqevent.html
    for (const uint32_t type : {V4L2_EVENT_SOURCE_CHANGE, V4L2_EVENT_EOS}) {
      v4l2_event_subscription subscription{};
      subscription.type = type;
      device_.TryIoctl(VIDIOC_SUBSCRIBE_EVENT, &subscription);
    }
    for (uint32_t i = 0; i < buffers_.size(); i++)
      if (Queue(i) < 0) throw SystemError(errno, "VIDIOC_QBUF");
    int type = static_cast<int>(type_);
    IRST_IOCTL(device_, VIDIOC_STREAMON, &type);
    streaming_ = true;
    last_good_ns_ = Now();
    thread_ = std::thread([this] { Run(); });
  } catch (const std::system_error&) {
    Release();
    throw;
  }
}

void Stream::Stop() {
  stopping_ = true;
  if (thread_.joinable()) {
    const uint64_t one = 1;
    // The counter cannot overflow: it is written once.
    [[maybe_unused]] const ssize_t written = write(wake_fd_, &one, sizeof one);
    thread_.join();
  }
  Release();
}

void Stream::MapBuffers() {
  v4l2_requestbuffers request{};
  request.count = options_.buffers;
  request.type = type_;
  request.memory = V4L2_MEMORY_MMAP;
  IRST_IOCTL(device_, VIDIOC_REQBUFS, &request);
  requested_ = true;
  // With one buffer the driver has none while it is copied, and loses every other frame.
  if (request.count < 2) throw SystemError(ENOBUFS, "VIDIOC_REQBUFS");
  buffers_.resize(std::min<uint32_t>(request.count, VIDEO_MAX_FRAME));
  for (uint32_t i = 0; i < buffers_.size(); i++) {
    v4l2_buffer buffer{};
    v4l2_plane planes[VIDEO_MAX_PLANES]{};
    buffer.type = type_;
    buffer.memory = V4L2_MEMORY_MMAP;
    buffer.index = i;
    if (multi_planar_) {
      buffer.m.planes = planes;
      buffer.length = VIDEO_MAX_PLANES;
    }
    IRST_IOCTL(device_, VIDIOC_QUERYBUF, &buffer);
    const uint32_t count = multi_planar_ ? std::min<uint32_t>(buffer.length, VIDEO_MAX_PLANES) : 1;
    if (count != format_.planes.size()) throw SystemError(EINVAL, "VIDIOC_QUERYBUF");
    for (uint32_t plane = 0; plane < count; plane++) {
      const size_t length = multi_planar_ ? planes[plane].length : buffer.length;
      const off_t offset = multi_planar_ ? planes[plane].m.mem_offset : buffer.m.offset;
      void* start = device_.io().Mmap(length, PROT_READ | PROT_WRITE, MAP_SHARED, device_.fd(), offset);
      if (start == MAP_FAILED) throw SystemError(errno, "mmap");
      buffers_[i].planes.push_back({start, length});
    }
  }
}

void Stream::Release() {
  int type = static_cast<int>(type_);
  if (streaming_) device_.TryIoctl(VIDIOC_STREAMOFF, &type);
  streaming_ = false;
  for (Buffer& buffer : buffers_)
    for (const Mapping& plane : buffer.planes) device_.io().Munmap(plane.start, plane.length);
  buffers_.clear();
  if (requested_) {
    v4l2_event_subscription subscription{};
    subscription.type = V4L2_EVENT_ALL;
    device_.TryIoctl(VIDIOC_UNSUBSCRIBE_EVENT, &subscription);
    // Else the next S_FMT on this descriptor is refused with EBUSY.
    v4l2_requestbuffers request{};
    request.type = type_;
    request.memory = V4L2_MEMORY_MMAP;
    device_.TryIoctl(VIDIOC_REQBUFS, &request);
  }
  requested_ = false;
  if (wake_fd_ >= 0) close(wake_fd_);
  wake_fd_ = -1;
}

void Stream::Run() {
  for (;;) {
    if (stopping_) return;
    const int64_t left = last_good_ns_ + options_.stall_ns - Now();
    if (!stalled_ && left <= 0) {
      stalled_ = true;
      Emit({StreamEvent::Kind::kStalled, ETIMEDOUT, "poll"});
    }
    // Rounded up: a timeout of 0 would spin through the last millisecond.
    const int timeout = stalled_ ? -1 : static_cast<int>(std::min<int64_t>(left / 1'000'000 + 1, 60'000));
    pollfd fds[2] = {{device_.fd(), POLLIN | POLLPRI, 0}, {wake_fd_, POLLIN, 0}};
    const int found = device_.io().Poll(fds, 2, timeout);
    if (stopping_) return;
    if (found < 0) {
      if (errno == EINTR || errno == EAGAIN) continue;
      if (!LostOrFailed(errno, "poll")) return;
    }
    const short events = found > 0 ? fds[0].revents : 0;
    if ((events & (POLLHUP | POLLNVAL)) != 0) {
      End(StreamEvent::Kind::kLost, ENODEV, "poll");
      return;
    }
    const bool drain = (events & (POLLIN | POLLERR)) != 0;
    if ((events & POLLPRI) != 0) {
      bool any = false;
      if (!TakeDeviceEvents(any)) return;
      if (!any && !drain) EmptyWake();
    }
    if (drain && !Drain((events & POLLERR) != 0)) return;
  }
}

// https://docs.kernel.org/userspace-api/media/v4l/vidioc-qbuf.html
int Stream::Dequeue(Dequeued& frame) {
  v4l2_buffer buffer{};
  v4l2_plane planes[VIDEO_MAX_PLANES]{};
  buffer.type = type_;
  buffer.memory = V4L2_MEMORY_MMAP;
  if (multi_planar_) {
    buffer.m.planes = planes;
    buffer.length = VIDEO_MAX_PLANES;
  }
  if (device_.TryIoctl(VIDIOC_DQBUF, &buffer) < 0) return -1;
  frame.index = buffer.index;
  frame.flags = buffer.flags;
  frame.sequence = buffer.sequence;
  frame.stamp_ns = Nanoseconds(buffer.timestamp);
  frame.arrival_ns = Now();
  for (size_t i = 0; i < format_.planes.size(); i++) {
    frame.planes[i].bytes_used = multi_planar_ ? planes[i].bytesused : buffer.bytesused;
    frame.planes[i].offset = multi_planar_ ? planes[i].data_offset : 0;
  }
  return 0;
}

int Stream::Queue(uint32_t index) {
  v4l2_buffer buffer{};
  v4l2_plane planes[VIDEO_MAX_PLANES]{};
  buffer.type = type_;
  buffer.memory = V4L2_MEMORY_MMAP;
  buffer.index = index;
  if (multi_planar_) {
    buffer.m.planes = planes;
    buffer.length = static_cast<uint32_t>(format_.planes.size());
  }
  if (device_.TryIoctl(VIDIOC_QBUF, &buffer) < 0) return -1;
  buffers_[index].queued = true;
  return 0;
}

bool Stream::Complete(const Dequeued& frame) const {
  for (size_t i = 0; i < format_.planes.size(); i++) {
    const auto& plane = frame.planes[i];
    // A frame beyond its buffer, or that begins behind its end, is as broken as one that is too short.
    if (plane.bytes_used > buffers_[frame.index].planes[i].length || plane.offset > plane.bytes_used) return false;
    const size_t bytes = plane.bytes_used - plane.offset;
    if (bytes == 0 || bytes < format_.LeastBytes(i)) return false;
  }
  return true;
}

void Stream::CountSequence(uint32_t sequence, bool damaged) {
  if (!have_sequence_) {
    have_sequence_ = true;
  } else {
    // The driver's number wraps at 2^32, as does this subtraction.
    const uint32_t step = sequence - last_sequence_;
    const bool backwards = step == 0 || step > 0x7fffffff;
    if (backwards && damaged) {
      // Some drivers give a damaged buffer back before they number it. What it should have been is missing before the next good frame.
      unnumbered_++;
      return;
    }
    const uint64_t between = backwards ? 0 : step - 1;
    // Damaged frames were counted as such.
    const uint64_t skipped = between - std::min(between, unnumbered_);
    sequence_ += between + 1;
    const std::lock_guard<std::mutex> lock(mutex_);
    if (backwards) counters_.sequence_resets++;
    counters_.skipped += skipped;
    dropped_since_taken_ += skipped;
  }
  unnumbered_ = 0;
  last_sequence_ = sequence;
}

bool Stream::Drain(bool poll_error) {
  // Everything that is ready is dequeued and only the newest kept, so that a frame is never older than need be. Bounded: a
  // driver may fill buffers as fast as they are handed back.
  std::optional<Dequeued> newest;
  uint64_t newest_sequence = 0;
  const size_t most = 2 * buffers_.size();
  bool any = false;
  int error_number = 0;
  const char* failed = "";
  bool bad_index = false;
  const auto count = [this](uint64_t StreamCounters::*counter) {
    const std::lock_guard<std::mutex> lock(mutex_);
    counters_.*counter += 1;
    dropped_since_taken_++;
  };
  for (size_t i = 0; i < most; i++) {
    Dequeued frame;
    if (Dequeue(frame) < 0) {
      if (errno != EAGAIN) {
        error_number = errno;
        failed = "VIDIOC_DQBUF";
      }
      break;
    }
    any = true;
    if (frame.index >= buffers_.size() || !buffers_[frame.index].queued) {
      // Whose memory it is cannot be told: believe none of it, and take all buffers back by a restart.
      count(&StreamCounters::bad_index);
      bad_index = true;
      break;
    }
    buffers_[frame.index].queued = false;
    const bool damaged = (frame.flags & V4L2_BUF_FLAG_ERROR) != 0;
    CountSequence(frame.sequence, damaged);
    uint32_t give_back = frame.index;
    bool keep = false;
    if (damaged) {
      count(&StreamCounters::error);
    } else if (!Complete(frame)) {
      count(&StreamCounters::short_frames);
    } else {
      keep = !newest.has_value();
      if (newest) {
        count(&StreamCounters::stale);
        give_back = newest->index;
      }
      newest = frame;
      newest_sequence = sequence_;
    }
    if (!keep && Queue(give_back) < 0) {
      error_number = errno;
      failed = "VIDIOC_QBUF";
      break;
    }
  }
  if (newest) {
    const uint64_t latest = sequence_;
    sequence_ = newest_sequence;
    Publish(*newest);
    sequence_ = latest;
    if (Queue(newest->index) < 0 && error_number == 0) {
      error_number = errno;
      failed = "VIDIOC_QBUF";
    }
  }
  if (error_number != 0) {
    if (Gone(error_number)) return End(StreamEvent::Kind::kLost, error_number, failed);
    // EPIPE: the last buffer of a stream that has an end was already taken.
    if (error_number == EPIPE) return End(StreamEvent::Kind::kEndOfStream, error_number, failed);
    return Restart(error_number, failed);
  }
  if (bad_index) return Restart(EBADMSG, "VIDIOC_DQBUF");
  if (any) {
    empty_in_row_ = 0;
    return true;
  }
  // poll(2) reports an error and there is neither a frame nor a reason: the driver has given up.
  if (poll_error) return End(StreamEvent::Kind::kLost, ENODEV, "poll");
  EmptyWake();
  return true;
}

// poll(2) promises a frame or an event that is not there, again and again: a busy loop would take a whole core.
void Stream::EmptyWake() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    counters_.empty_wakes++;
  }
  if (++empty_in_row_ > kEmptyBeforePause) Pause(std::min(empty_in_row_ - kEmptyBeforePause, 10));
}

void Stream::Publish(const Dequeued& frame) {
  int slot = 0;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    // Three slots: one held by the caller, one waiting, one free.
    while (slot == ready_slot_ || slot == held_slot_) slot++;
  }
  uint8_t* target = options_.slots[slot].first;
  size_t total = 0;
  for (size_t i = 0; i < format_.planes.size(); i++) {
    const auto& plane = frame.planes[i];
    // No more than the slot was promised to hold, whatever the driver says.
    const size_t bytes = std::min<size_t>(plane.bytes_used - plane.offset, format_.planes[i].size_image);
    std::memcpy(target + total, static_cast<const uint8_t*>(buffers_[frame.index].planes[i].start) + plane.offset, bytes);
    // Planes lie where their full sizes put them.
    total += format_.planes.size() == 1 ? bytes : format_.planes[i].size_image;
  }

  FrameMeta meta;
  meta.sequence = sequence_;
  meta.driver_sequence = frame.sequence;
  meta.bytes_used = static_cast<uint32_t>(total);
  meta.flags = frame.flags;
  meta.start_of_exposure = (frame.flags & V4L2_BUF_FLAG_TSTAMP_SRC_MASK) == V4L2_BUF_FLAG_TSTAMP_SRC_SOE;
  // https://docs.kernel.org/userspace-api/media/v4l/buffer.html: only this kind is of the clock that we use.
  const bool monotonic = (frame.flags & V4L2_BUF_FLAG_TIMESTAMP_MASK) == V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC;
  const bool plausible =
      frame.stamp_ns > frame.arrival_ns - kOldestStamp && frame.stamp_ns <= frame.arrival_ns + kFutureTolerance;
  const int64_t stamp_ns = std::min(frame.stamp_ns, frame.arrival_ns);
  // A clock that stands still or was set back gives way to the arrivals, for as long as it takes.
  const bool believed =
      monotonic && plausible && stamp_ns > last_stamp_ns_ && stamp_ns > last_capture_ns_ - kLongestDelay;
  // Who follows motion by these times cannot use a frame that was taken before the last one.
  const int64_t earliest_ns = last_capture_ns_ + kLeastInterval;
  if (believed) {
    last_stamp_ns_ = stamp_ns;
    delay_ns_ = frame.arrival_ns - stamp_ns;
    meta.capture_ns = std::max(stamp_ns, earliest_ns);
  } else {
    // The bare arrival would be later than the next frame's true stamp.
    meta.capture_ns = std::max(frame.arrival_ns - delay_ns_, earliest_ns);
    meta.clock = ClockKind::kArrival;
    meta.start_of_exposure = false;
  }
  last_capture_ns_ = meta.capture_ns;
  meta.ready_ns = Now();
  last_good_ns_ = meta.ready_ns;
  restarts_in_row_ = 0;
  if (stalled_) {
    stalled_ = false;
    Emit({StreamEvent::Kind::kResumed});
  }
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (monotonic && !believed) counters_.bad_timestamps++;
    if (ready_slot_ >= 0) {
      counters_.stale++;
      dropped_since_taken_++;
    }
    ready_slot_ = slot;
    ready_meta_ = meta;
  }
  wake_();
}

bool Stream::TakeDeviceEvents(bool& any) {
  for (size_t i = 0; i < kMostEvents; i++) {
    v4l2_event event{};
    // ENOENT: no more of them.
    if (device_.TryIoctl(VIDIOC_DQEVENT, &event) < 0) return !Gone(errno) || End(StreamEvent::Kind::kLost, errno, "VIDIOC_DQEVENT");
    any = true;
    if (event.type == V4L2_EVENT_SOURCE_CHANGE) return End(StreamEvent::Kind::kSourceChange, 0, "VIDIOC_DQEVENT");
    if (event.type == V4L2_EVENT_EOS) return End(StreamEvent::Kind::kEndOfStream, 0, "VIDIOC_DQEVENT");
  }
  return true;
}

// "EIO [...] can also indicate temporary problems like signal loss. [...] Note the driver might dequeue an (empty) buffer despite
// returning an error, or even stop capturing" (vidioc-qbuf): only STREAMOFF and STREAMON lead to a known state.
bool Stream::Restart(int error_number, const char* syscall) {
  while (!stopping_) {
    if (++restarts_in_row_ > kMostRestarts) return End(StreamEvent::Kind::kFailed, error_number, syscall);
    if (restarts_in_row_ > 1) {
      Pause(std::min(100 << (restarts_in_row_ - 2), kLongestPauseMs));
      if (stopping_) return false;
    }
    int type = static_cast<int>(type_);
    if (device_.TryIoctl(VIDIOC_STREAMOFF, &type) < 0) {
      if (Gone(errno)) return End(StreamEvent::Kind::kLost, errno, "VIDIOC_STREAMOFF");
    }
    streaming_ = false;
    for (Buffer& buffer : buffers_) buffer.queued = false;
    // The driver counts from 0 again.
    if (have_sequence_) sequence_++;
    have_sequence_ = false;
    bool started = true;
    for (uint32_t i = 0; i < buffers_.size() && started; i++) {
      if (Queue(i) < 0) {
        error_number = errno;
        syscall = "VIDIOC_QBUF";
        started = false;
      }
    }
    if (started && device_.TryIoctl(VIDIOC_STREAMON, &type) < 0) {
      error_number = errno;
      syscall = "VIDIOC_STREAMON";
      started = false;
    }
    if (started) {
      streaming_ = true;
      {
        const std::lock_guard<std::mutex> lock(mutex_);
        counters_.restarts++;
      }
      Emit({StreamEvent::Kind::kRestarted, error_number, syscall});
      return true;
    }
    if (Gone(error_number)) return End(StreamEvent::Kind::kLost, error_number, syscall);
  }
  return false;
}

void Stream::Pause(int ms) {
  // Only the wake-up descriptor: the device is what there is too much of.
  pollfd wake{wake_fd_, POLLIN, 0};
  poll(&wake, 1, ms);
}

bool Stream::LostOrFailed(int error_number, const char* syscall) {
  return End(Gone(error_number) ? StreamEvent::Kind::kLost : StreamEvent::Kind::kFailed, error_number, syscall);
}

bool Stream::End(StreamEvent::Kind kind, int error_number, const char* syscall) {
  Emit({kind, error_number, syscall});
  return false;
}

void Stream::Emit(StreamEvent event) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (events_.size() >= kMostEvents) {
      // The newest matter: the last one may say that the stream has ended.
      events_.erase(events_.begin());
      counters_.lost_events++;
    }
    events_.push_back(event);
  }
  wake_();
}

int Stream::Take(FrameMeta& meta) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (ready_slot_ < 0) return -1;
  held_slot_ = ready_slot_;
  ready_slot_ = -1;
  meta = ready_meta_;
  meta.dropped = dropped_since_taken_;
  dropped_since_taken_ = 0;
  counters_.taken++;
  return held_slot_;
}

std::vector<StreamEvent> Stream::TakeEvents() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return std::exchange(events_, {});
}

StreamCounters Stream::Counters() {
  const std::lock_guard<std::mutex> lock(mutex_);
  StreamCounters counters = counters_;
  counters.pending = ready_slot_ >= 0;
  return counters;
}

}  // namespace irst
