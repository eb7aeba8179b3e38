#include "v4l2_fake_io.h"

#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>

namespace irst {

namespace {

constexpr int64_t kSecond = 1'000'000'000;
constexpr size_t kMostCalls = 1000;
constexpr uint32_t kMostBuffers = 32;
/// Offset of a plane's mapping: buffer and plane, in pages.
constexpr uint32_t kBufferPages = 64;

int64_t Now() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<int64_t>(now.tv_sec) * kSecond + now.tv_nsec;
}

int Refuse(int error_number) {
  errno = error_number;
  return -1;
}

uint32_t OffsetOf(uint32_t buffer, uint32_t plane) { return (buffer * kBufferPages + plane) * 4096; }

template <size_t N>
void Copy(__u8 (&target)[N], const std::string& text) {
  std::memset(target, 0, N);
  std::memcpy(target, text.data(), std::min(text.size(), N - 1));
}

const char* RequestName(unsigned long request) {
  switch (request) {
#define IRST_NAME(name) \
  case name:            \
    return #name
    IRST_NAME(VIDIOC_QUERYCAP);
    IRST_NAME(VIDIOC_ENUM_FMT);
    IRST_NAME(VIDIOC_ENUM_FRAMESIZES);
    IRST_NAME(VIDIOC_ENUM_FRAMEINTERVALS);
    IRST_NAME(VIDIOC_G_FMT);
    IRST_NAME(VIDIOC_S_FMT);
    IRST_NAME(VIDIOC_G_PARM);
    IRST_NAME(VIDIOC_S_PARM);
    IRST_NAME(VIDIOC_QUERYCTRL);
    IRST_NAME(VIDIOC_QUERYMENU);
    IRST_NAME(VIDIOC_G_CTRL);
    IRST_NAME(VIDIOC_S_CTRL);
    IRST_NAME(VIDIOC_G_EXT_CTRLS);
    IRST_NAME(VIDIOC_S_EXT_CTRLS);
    IRST_NAME(VIDIOC_REQBUFS);
    IRST_NAME(VIDIOC_QUERYBUF);
    IRST_NAME(VIDIOC_QBUF);
    IRST_NAME(VIDIOC_DQBUF);
    IRST_NAME(VIDIOC_STREAMON);
    IRST_NAME(VIDIOC_STREAMOFF);
    IRST_NAME(VIDIOC_SUBSCRIBE_EVENT);
    IRST_NAME(VIDIOC_UNSUBSCRIBE_EVENT);
    IRST_NAME(VIDIOC_DQEVENT);
#undef IRST_NAME
    default:
      return "VIDIOC_?";
  }
}

/// Bytes of a pixel in the first plane; the chroma of NV12 follows in half as many rows.
uint32_t PixelBytes(uint32_t fourcc) {
  return fourcc == V4L2_PIX_FMT_GREY || fourcc == V4L2_PIX_FMT_NV12 || fourcc == V4L2_PIX_FMT_NV12M ? 1 : 2;
}

bool Wide(uint32_t fourcc) {
  return fourcc == V4L2_PIX_FMT_Y10 || fourcc == V4L2_PIX_FMT_Y12 || fourcc == v4l2_fourcc('Y', '1', '4', ' ') ||
         fourcc == V4L2_PIX_FMT_Y16 || fourcc == V4L2_PIX_FMT_Y16_BE;
}

uint32_t Clamp(uint32_t value, uint32_t least, uint32_t most, uint32_t step) {
  const uint32_t bounded = std::min(std::max(value, least), most);
  return step > 1 ? least + (bounded - least) / step * step : bounded;
}

}  // namespace

FakeIo::FakeIo(FakeConfig config) : config_(std::move(config)) {
  const FormatEntry& first = config_.formats.at(0);
  const SizeEntry& size = first.sizes.at(0).size;
  format_ = Laid(first.fourcc, size.max_width, size.max_height);
  if (!first.sizes[0].intervals.empty()) interval_ = first.sizes[0].intervals[0].min;
  for (const ControlEntry& control : config_.controls) values_[control.id] = control.default_value;
}

FakeIo::~FakeIo() {
  for (const auto& [fd, file] : files_) close(fd);
  for (const auto& [start, length] : mappings_) munmap(start, length);
}

uint32_t FakeIo::Type() const {
  return MultiPlanar() ? V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE : V4L2_BUF_TYPE_VIDEO_CAPTURE;
}

std::optional<int> FakeIo::Injected(const std::string& call) {
  const auto found = faults_.find(call);
  if (found == faults_.end() || found->second.times == 0) return std::nullopt;
  if (found->second.times > 0) found->second.times--;
  return found->second.error_number;
}

void FakeIo::Record(const std::string& call) {
  calls_.push_back(call);
  if (calls_.size() > kMostCalls) calls_.pop_front();
}

bool FakeIo::Alive(int fd) const {
  const auto found = files_.find(fd);
  return plugged_ && found != files_.end() && found->second.generation == generation_;
}

int FakeIo::Open(const char* path, int) {
  const std::lock_guard<std::mutex> lock(mutex_);
  Record("open");
  if (const auto injected = Injected("open")) return Refuse(*injected);
  if (!plugged_ || config_.path != path) return Refuse(ENOENT);
  const int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (fd < 0) return -1;
  files_[fd] = {generation_, false};
  state_.opens++;
  return fd;
}

int FakeIo::Close(int fd) {
  const std::lock_guard<std::mutex> lock(mutex_);
  Record("close");
  if (files_.erase(fd) == 0) return Refuse(EBADF);
  if (owner_ == fd) {
    StopStreaming();
    buffers_.clear();
    owner_ = -1;
  }
  return close(fd);
}

void FakeIo::StopStreaming() {
  streaming_ = false;
  incoming_.clear();
  done_.clear();
  for (Buffer& buffer : buffers_) buffer.queued = false;
}

void FakeIo::Signal() {
  const uint64_t one = 1;
  for (const auto& [fd, file] : files_) {
    [[maybe_unused]] const ssize_t written = write(fd, &one, sizeof one);
  }
}

const FormatEntry* FakeIo::Find(uint32_t fourcc) const {
  for (const FormatEntry& format : config_.formats)
    if (format.fourcc == fourcc) return &format;
  return nullptr;
}

PixelFormat FakeIo::Laid(uint32_t fourcc, uint32_t width, uint32_t height) const {
  PixelFormat format;
  format.fourcc = fourcc;
  format.width = width;
  format.height = height;
  format.field = config_.field;
  const uint32_t line = width * PixelBytes(fourcc) + config_.padding;
  if (MultiPlanar() && config_.planes == 2) {
    format.planes = {{line, line * height}, {line, line * height / 2}};
  } else {
    const uint32_t rows = fourcc == V4L2_PIX_FMT_NV12 ? height + height / 2 : height;
    format.planes = {{line, line * rows}};
  }
  return format;
}

void FakeIo::Write(v4l2_format& format) const {
  if (MultiPlanar()) {
    v4l2_pix_format_mplane& pix = format.fmt.pix_mp;
    pix.pixelformat = format_.fourcc;
    pix.width = format_.width;
    pix.height = format_.height;
    pix.field = format_.field;
    pix.num_planes = static_cast<__u8>(format_.planes.size());
    for (size_t i = 0; i < format_.planes.size(); i++) {
      pix.plane_fmt[i].bytesperline = config_.no_stride ? 0 : format_.planes[i].bytes_per_line;
      pix.plane_fmt[i].sizeimage = format_.planes[i].size_image;
    }
  } else {
    v4l2_pix_format& pix = format.fmt.pix;
    pix.pixelformat = format_.fourcc;
    pix.width = format_.width;
    pix.height = format_.height;
    pix.field = format_.field;
    pix.bytesperline = config_.no_stride ? 0 : format_.planes[0].bytes_per_line;
    pix.sizeimage = format_.planes[0].size_image;
  }
}

int FakeIo::Ioctl(int fd, unsigned long request, void* argument) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const char* name = RequestName(request);
  Record(name);
  if (const auto injected = Injected(name)) return Refuse(*injected);
  if (files_.count(fd) == 0) return Refuse(EBADF);
  if (!Alive(fd)) return Refuse(ENODEV);
  Advance();
  return Handle(fd, request, argument);
}

int FakeIo::Handle(int fd, unsigned long request, void* argument) {
  switch (request) {
    case VIDIOC_QUERYCAP: {
      auto& caps = *static_cast<v4l2_capability*>(argument);
      Copy(caps.driver, config_.driver);
      Copy(caps.card, config_.card);
      Copy(caps.bus_info, config_.bus_info);
      caps.version = 0x060100;
      caps.device_caps = config_.device_caps;
      // As with a UVC camera: every node's "capabilities" say that there is a capture node somewhere.
      caps.capabilities = config_.device_caps | V4L2_CAP_DEVICE_CAPS | V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_STREAMING;
      return 0;
    }
    case VIDIOC_ENUM_FMT: {
      auto& description = *static_cast<v4l2_fmtdesc*>(argument);
      if (description.type != Type() || description.index >= config_.formats.size()) return Refuse(EINVAL);
      const FormatEntry& format = config_.formats[description.index];
      description.pixelformat = format.fourcc;
      description.flags = format.flags;
      Copy(description.description, format.description);
      return 0;
    }
    case VIDIOC_ENUM_FRAMESIZES: {
      auto& size = *static_cast<v4l2_frmsizeenum*>(argument);
      const FormatEntry* format = Find(size.pixel_format);
      if (format == nullptr || size.index >= format->sizes.size()) return Refuse(EINVAL);
      const SizeEntry& entry = format->sizes[size.index].size;
      size.type = entry.type;
      if (entry.type == V4L2_FRMSIZE_TYPE_DISCRETE) {
        size.discrete = {entry.min_width, entry.min_height};
      } else {
        size.stepwise = {entry.min_width,  entry.max_width,  entry.step_width,
                         entry.min_height, entry.max_height, entry.step_height};
      }
      return 0;
    }
    case VIDIOC_ENUM_FRAMEINTERVALS: {
      auto& interval = *static_cast<v4l2_frmivalenum*>(argument);
      const FormatEntry* format = Find(interval.pixel_format);
      if (format == nullptr) return Refuse(EINVAL);
      for (const FormatEntry::Size& size : format->sizes) {
        if (interval.width < size.size.min_width || interval.width > size.size.max_width ||
            interval.height < size.size.min_height || interval.height > size.size.max_height)
          continue;
        if (interval.index >= size.intervals.size()) return Refuse(EINVAL);
        const IntervalEntry& entry = size.intervals[interval.index];
        interval.type = entry.type;
        if (entry.type == V4L2_FRMIVAL_TYPE_DISCRETE) {
          interval.discrete = entry.min;
        } else {
          interval.stepwise = {entry.min, entry.max, entry.step};
        }
        return 0;
      }
      return Refuse(EINVAL);
    }
    case VIDIOC_G_FMT: {
      auto& format = *static_cast<v4l2_format*>(argument);
      if (format.type != Type()) return Refuse(EINVAL);
      Write(format);
      return 0;
    }
    case VIDIOC_S_FMT: {
      auto& format = *static_cast<v4l2_format*>(argument);
      if (format.type != Type()) return Refuse(EINVAL);
      if (!buffers_.empty()) return Refuse(EBUSY);
      uint32_t fourcc = MultiPlanar() ? format.fmt.pix_mp.pixelformat : format.fmt.pix.pixelformat;
      uint32_t width = MultiPlanar() ? format.fmt.pix_mp.width : format.fmt.pix.width;
      uint32_t height = MultiPlanar() ? format.fmt.pix_mp.height : format.fmt.pix.height;
      const FormatEntry* found = Find(fourcc);
      // Drivers adjust instead of refusing, which is why what comes back must be read.
      if (found == nullptr || config_.substitutes) found = &config_.formats[0];
      const SizeEntry* best = nullptr;
      for (const FormatEntry::Size& size : found->sizes) {
        const bool fits = width >= size.size.min_width && width <= size.size.max_width &&
                          height >= size.size.min_height && height <= size.size.max_height;
        if (best == nullptr || fits) best = &size.size;
        if (fits) break;
      }
      format_ = Laid(found->fourcc, Clamp(width, best->min_width, best->max_width, best->step_width),
                     Clamp(height, best->min_height, best->max_height, best->step_height));
      Write(format);
      return 0;
    }
    case VIDIOC_G_PARM:
    case VIDIOC_S_PARM: {
      auto& parm = *static_cast<v4l2_streamparm*>(argument);
      if (parm.type != Type()) return Refuse(EINVAL);
      if (request == VIDIOC_S_PARM) {
        if (!buffers_.empty()) return Refuse(EBUSY);
        const v4l2_fract wanted = parm.parm.capture.timeperframe;
        if (wanted.denominator > 0) {
          interval_ = wanted;
          for (const FormatEntry::Size& size : Find(format_.fourcc)->sizes) {
            if (size.size.max_width != format_.width || size.size.max_height != format_.height) continue;
            // The nearest one that the size has.
            double least = -1;
            for (const IntervalEntry& entry : size.intervals) {
              if (entry.type != V4L2_FRMIVAL_TYPE_DISCRETE) continue;
              const double is = static_cast<double>(entry.min.numerator) / entry.min.denominator;
              const double away = std::abs(is - static_cast<double>(wanted.numerator) / wanted.denominator);
              if (least < 0 || away < least) {
                least = away;
                interval_ = entry.min;
              }
            }
          }
          if (config_.fps > 0 && interval_.numerator > 0)
            config_.fps = static_cast<double>(interval_.denominator) / interval_.numerator;
        }
        if (config_.rate_padding) {
          config_.padding = *config_.rate_padding;
          format_ = Laid(format_.fourcc, format_.width, format_.height);
        }
      }
      parm.parm.capture.capability = V4L2_CAP_TIMEPERFRAME;
      parm.parm.capture.timeperframe = interval_;
      return 0;
    }
    case VIDIOC_QUERYCTRL: {
      auto& query = *static_cast<v4l2_queryctrl*>(argument);
      const bool next = (query.id & V4L2_CTRL_FLAG_NEXT_CTRL) != 0;
      const uint32_t id = query.id & ~V4L2_CTRL_FLAG_NEXT_CTRL;
      for (const ControlEntry& control : config_.controls) {
        if (next ? control.id <= id : control.id != id) continue;
        query = {};
        query.id = control.id;
        query.type = control.type;
        query.flags = control.flags;
        query.minimum = static_cast<int32_t>(control.minimum);
        query.maximum = static_cast<int32_t>(control.maximum);
        query.step = static_cast<int32_t>(control.step);
        query.default_value = static_cast<int32_t>(control.default_value);
        Copy(query.name, control.name);
        return 0;
      }
      return Refuse(EINVAL);
    }
    case VIDIOC_QUERYMENU: {
      auto& item = *static_cast<v4l2_querymenu*>(argument);
      for (const ControlEntry& control : config_.controls) {
        if (control.id != item.id) continue;
        for (const MenuEntry& entry : control.menu) {
          if (entry.index != item.index) continue;
          if (control.type == V4L2_CTRL_TYPE_INTEGER_MENU) {
            item.value = entry.value;
          } else {
            // Packed: no reference to it may be had.
            std::memset(item.name, 0, sizeof item.name);
            std::memcpy(item.name, entry.name.data(), std::min(entry.name.size(), sizeof item.name - 1));
          }
          return 0;
        }
      }
      return Refuse(EINVAL);
    }
    case VIDIOC_G_CTRL:
    case VIDIOC_S_CTRL: {
      auto& value = *static_cast<v4l2_control*>(argument);
      for (const ControlEntry& control : config_.controls) {
        if (control.id != value.id) continue;
        if (request == VIDIOC_G_CTRL) {
          if ((control.flags & V4L2_CTRL_FLAG_WRITE_ONLY) != 0) return Refuse(EACCES);
          value.value = static_cast<int32_t>(values_[value.id]);
          return 0;
        }
        if ((control.flags & V4L2_CTRL_FLAG_READ_ONLY) != 0) return Refuse(EACCES);
        if (value.value < control.minimum || value.value > control.maximum) return Refuse(ERANGE);
        values_[value.id] = value.value;
        return 0;
      }
      return Refuse(EINVAL);
    }
    case VIDIOC_G_EXT_CTRLS:
    case VIDIOC_S_EXT_CTRLS: {
      auto& list = *static_cast<v4l2_ext_controls*>(argument);
      for (uint32_t i = 0; i < list.count; i++) {
        v4l2_ext_control& control = list.controls[i];
        if (values_.count(control.id) == 0) return Refuse(EINVAL);
        if (request == VIDIOC_G_EXT_CTRLS) {
          control.value64 = values_[control.id];
        } else {
          values_[control.id] = control.value64;
        }
      }
      return 0;
    }
    case VIDIOC_REQBUFS: {
      auto& buffers = *static_cast<v4l2_requestbuffers*>(argument);
      if (buffers.type != Type() || buffers.memory != V4L2_MEMORY_MMAP) return Refuse(EINVAL);
      // videobuf2: the file that asked first owns the queue.
      if (owner_ >= 0 && owner_ != fd) return Refuse(EBUSY);
      if (streaming_ && buffers.count > 0) return Refuse(EBUSY);
      StopStreaming();
      buffers_.clear();
      owner_ = -1;
      if (buffers.count == 0) return 0;
      buffers.count = std::min(std::max<uint32_t>(buffers.count, 2), kMostBuffers);
      for (uint32_t i = 0; i < buffers.count; i++) {
        Buffer buffer;
        for (const PlaneFormat& plane : format_.planes) buffer.planes.push_back(plane.size_image);
        buffers_.push_back(std::move(buffer));
      }
      owner_ = fd;
      return 0;
    }
    case VIDIOC_QUERYBUF: {
      auto& buffer = *static_cast<v4l2_buffer*>(argument);
      if (buffer.type != Type() || buffer.index >= buffers_.size()) return Refuse(EINVAL);
      const Buffer& found = buffers_[buffer.index];
      if (MultiPlanar()) {
        if (buffer.length < found.planes.size()) return Refuse(EINVAL);
        buffer.length = static_cast<uint32_t>(found.planes.size());
        for (uint32_t i = 0; i < buffer.length; i++) {
          buffer.m.planes[i].length = static_cast<uint32_t>(found.planes[i]);
          buffer.m.planes[i].m.mem_offset = OffsetOf(buffer.index, i);
        }
      } else {
        buffer.length = static_cast<uint32_t>(found.planes[0]);
        buffer.m.offset = OffsetOf(buffer.index, 0);
      }
      return 0;
    }
    case VIDIOC_QBUF: {
      auto& buffer = *static_cast<v4l2_buffer*>(argument);
      if (buffer.type != Type() || buffer.index >= buffers_.size() || owner_ != fd) return Refuse(EINVAL);
      if (buffers_[buffer.index].queued) return Refuse(EINVAL);
      buffers_[buffer.index].queued = true;
      incoming_.push_back(buffer.index);
      return 0;
    }
    case VIDIOC_DQBUF: {
      auto& buffer = *static_cast<v4l2_buffer*>(argument);
      if (buffer.type != Type() || !streaming_ || owner_ != fd) return Refuse(EINVAL);
      if (done_.empty()) return Refuse(EAGAIN);
      const Done done = done_.front();
      done_.pop_front();
      buffers_[done.index].queued = false;
      buffer.index = done.reported_index;
      buffer.sequence = done.sequence;
      buffer.flags = done.flags;
      buffer.field = V4L2_FIELD_NONE;
      buffer.timestamp.tv_sec = done.stamp_ns / kSecond;
      buffer.timestamp.tv_usec = done.stamp_ns % kSecond / 1000;
      if (MultiPlanar()) {
        const auto& planes = buffers_[done.index].planes;
        buffer.length = static_cast<uint32_t>(planes.size());
        for (size_t i = 0; i < planes.size(); i++) {
          buffer.m.planes[i].bytesused = std::min<uint32_t>(done.bytes_used, static_cast<uint32_t>(planes[i]));
          buffer.m.planes[i].data_offset = 0;
        }
      } else {
        buffer.bytesused = done.bytes_used;
      }
      return 0;
    }
    case VIDIOC_STREAMON: {
      if (*static_cast<int*>(argument) != static_cast<int>(Type()) || buffers_.empty() || owner_ != fd)
        return Refuse(EINVAL);
      streaming_ = true;
      state_.stream_ons++;
      sequence_ = config_.first_sequence;
      if (config_.fps > 0) next_due_ns_ = Now() + static_cast<int64_t>(kSecond / config_.fps);
      return 0;
    }
    case VIDIOC_STREAMOFF:
      if (owner_ >= 0 && owner_ != fd) return Refuse(EBUSY);
      StopStreaming();
      return 0;
    case VIDIOC_SUBSCRIBE_EVENT:
      files_[fd].subscribed = true;
      return 0;
    case VIDIOC_UNSUBSCRIBE_EVENT:
      files_[fd].subscribed = false;
      events_.clear();
      return 0;
    case VIDIOC_DQEVENT: {
      if (events_.empty()) return Refuse(ENOENT);
      *static_cast<v4l2_event*>(argument) = events_.front();
      events_.pop_front();
      return 0;
    }
    default:
      return Refuse(ENOTTY);
  }
}

void* FakeIo::Mmap(size_t length, int protection, int, int fd, off_t offset) {
  const std::lock_guard<std::mutex> lock(mutex_);
  Record("mmap");
  const auto refuse = [](int error_number) {
    errno = error_number;
    return MAP_FAILED;
  };
  if (const auto injected = Injected("mmap")) return refuse(*injected);
  if (!Alive(fd)) return refuse(ENODEV);
  const auto page = static_cast<uint32_t>(offset / 4096);
  const uint32_t index = page / kBufferPages;
  const uint32_t plane = page % kBufferPages;
  if (index >= buffers_.size() || plane >= buffers_[index].planes.size()) return refuse(EINVAL);
  if (buffers_[index].planes[plane] != length) return refuse(EINVAL);
  // Memory of its own, like that of a driver: it stays mapped when the device is unplugged. Frames are written to it directly.
  void* start = mmap(nullptr, length, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (start == MAP_FAILED) return start;
  mappings_[start] = length;
  mapped_[index * kBufferPages + plane] = static_cast<uint8_t*>(start);
  return start;
}

int FakeIo::Munmap(void* start, size_t length) {
  const std::lock_guard<std::mutex> lock(mutex_);
  Record("munmap");
  const auto found = mappings_.find(start);
  if (found == mappings_.end() || found->second != length) return Refuse(EINVAL);
  mappings_.erase(found);
  for (auto it = mapped_.begin(); it != mapped_.end();) it = it->second == start ? mapped_.erase(it) : std::next(it);
  return munmap(start, length);
}

// Several planes and rows of a pattern that a test can compute itself.
void FakeIo::Fill(uint32_t index, const FakeFrame& frame) {
  if (!frame.frozen && !frozen_) picture_++;
  const auto k = static_cast<uint32_t>(picture_ - 1);
  size_t given = 0;
  for (size_t i = 0; i < format_.planes.size(); i++) {
    const auto found = mapped_.find(index * kBufferPages + static_cast<uint32_t>(i));
    if (found == mapped_.end()) continue;
    uint8_t* target = found->second;
    const size_t size = format_.planes[i].size_image;
    if (!frame.data.empty()) {
      const size_t left = frame.data.size() > given ? frame.data.size() - given : 0;
      std::memcpy(target, frame.data.data() + given, std::min(size, left));
      given += std::min(size, left);
      continue;
    }
    const uint32_t line = format_.planes[i].bytes_per_line;
    const uint32_t rows = config_.stamp_only ? 1 : static_cast<uint32_t>(size / line);
    for (uint32_t y = 0; y < rows; y++) {
      uint8_t* row = target + static_cast<size_t>(y) * line;
      for (uint32_t x = 0; x < format_.width; x++) {
        const uint32_t value = x + y + k;
        if (!Wide(format_.fourcc)) {
          row[x * PixelBytes(format_.fourcc)] = static_cast<uint8_t>(value);
        } else if (format_.fourcc == V4L2_PIX_FMT_Y16_BE) {
          row[2 * x] = static_cast<uint8_t>(value >> 8);
          row[2 * x + 1] = static_cast<uint8_t>(value);
        } else {
          row[2 * x] = static_cast<uint8_t>(value);
          row[2 * x + 1] = static_cast<uint8_t>(value >> 8);
        }
      }
      if (config_.padding > 0) std::memset(row + line - config_.padding, 0xee, config_.padding);
    }
  }
}

void FakeIo::Produce(const FakeFrame& frame, int64_t stamp_ns) {
  if (!streaming_) return;
  state_.produced++;
  sequence_ = frame.sequence.value_or(sequence_ + frame.skip);
  const uint32_t number = sequence_++;
  if (incoming_.empty()) {
    state_.starved++;
    picture_++;
    return;
  }
  const uint32_t index = incoming_.front();
  incoming_.pop_front();
  Fill(index, frame);
  uint32_t bytes = 0;
  for (const PlaneFormat& plane : format_.planes) bytes = std::max(bytes, plane.size_image);
  Done done{};
  done.index = index;
  done.reported_index = frame.index.value_or(index);
  done.sequence = number;
  done.flags = frame.timestamp_flags.value_or(config_.timestamp_flags) | V4L2_BUF_FLAG_MAPPED |
               (frame.error ? V4L2_BUF_FLAG_ERROR : 0);
  done.bytes_used = frame.bytes_used.value_or(bytes);
  done.stamp_ns = frame.stamp_ns.value_or(stamp_ns);
  done_.push_back(done);
}

void FakeIo::Advance() {
  if (!streaming_ || !plugged_ || config_.fps <= 0) return;
  const int64_t now = Now();
  const auto period = static_cast<int64_t>(kSecond / config_.fps);
  while (next_due_ns_ <= now) {
    Produce(FakeFrame{}, next_due_ns_);
    next_due_ns_ += period;
  }
}

int FakeIo::Poll(pollfd* fds, nfds_t count, int timeout_ms) {
  const int64_t end = timeout_ms < 0 ? INT64_MAX : Now() + static_cast<int64_t>(timeout_ms) * 1'000'000;
  for (;;) {
    int wait_ms = -1;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (const auto injected = Injected("poll")) return Refuse(*injected);
      Advance();
      int ready = 0;
      for (nfds_t i = 0; i < count; i++) {
        fds[i].revents = 0;
        if (files_.count(fds[i].fd) == 0) {
          pollfd other{fds[i].fd, fds[i].events, 0};
          if (poll(&other, 1, 0) > 0) fds[i].revents = other.revents;
        } else {
          // Taken before looking at the state: what changes from here on signals again.
          uint64_t drained;
          [[maybe_unused]] const ssize_t got = read(fds[i].fd, &drained, sizeof drained);
          short events = 0;
          if (!Alive(fds[i].fd)) {
            events = POLLERR | POLLHUP;
          } else if (poll_times_ != 0) {
            events = poll_events_;
            if (poll_times_ > 0) poll_times_--;
          } else if (!streaming_) {
            // videobuf2: nothing can come.
            events = POLLERR;
          } else {
            if (!done_.empty()) events |= POLLIN | POLLRDNORM;
            if (!events_.empty()) events |= POLLPRI;
          }
          fds[i].revents = static_cast<short>(events & (fds[i].events | POLLERR | POLLHUP | POLLNVAL));
        }
        if (fds[i].revents != 0) ready++;
      }
      if (ready > 0) return ready;
      const int64_t now = Now();
      if (now >= end) return 0;
      int64_t until = end;
      if (streaming_ && config_.fps > 0) until = std::min(until, next_due_ns_);
      if (until != INT64_MAX) wait_ms = static_cast<int>(std::max<int64_t>(0, (until - now + 999'999) / 1'000'000));
    }
    // The device's own descriptor is an eventfd that every change of the script writes to.
    std::vector<pollfd> real(fds, fds + count);
    for (pollfd& each : real) each.events = POLLIN;
    if (poll(real.data(), count, wait_ms) < 0) return -1;
  }
}

void FakeIo::Push(const FakeFrame& frame) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const int64_t now = Now();
  for (uint32_t i = 0; i < frame.count; i++) Produce(frame, now);
  Signal();
}

void FakeIo::Fail(const std::string& call, int error_number, int times) {
  const std::lock_guard<std::mutex> lock(mutex_);
  faults_[call] = {error_number, times};
  Signal();
}

void FakeIo::PollEvents(short events, int times) {
  const std::lock_guard<std::mutex> lock(mutex_);
  poll_events_ = events;
  poll_times_ = times;
  Signal();
}

void FakeIo::SetRate(double fps) {
  const std::lock_guard<std::mutex> lock(mutex_);
  Advance();
  config_.fps = fps;
  if (fps > 0) next_due_ns_ = Now() + static_cast<int64_t>(kSecond / fps);
  Signal();
}

void FakeIo::Freeze(bool frozen) {
  const std::lock_guard<std::mutex> lock(mutex_);
  Advance();
  frozen_ = frozen;
}

void FakeIo::Unplug() {
  const std::lock_guard<std::mutex> lock(mutex_);
  plugged_ = false;
  generation_++;
  StopStreaming();
  buffers_.clear();
  owner_ = -1;
  Signal();
}

void FakeIo::Plug() {
  const std::lock_guard<std::mutex> lock(mutex_);
  plugged_ = true;
  events_.clear();
  Signal();
}

void FakeIo::ChangeSource(uint32_t width, uint32_t height) {
  const std::lock_guard<std::mutex> lock(mutex_);
  for (FormatEntry& format : config_.formats) {
    FormatEntry::Size size = format.sizes[0];
    size.size = {V4L2_FRMSIZE_TYPE_DISCRETE, width, width, 0, height, height, 0};
    format.sizes = {size};
  }
  v4l2_event event{};
  event.type = V4L2_EVENT_SOURCE_CHANGE;
  event.u.src_change.changes = V4L2_EVENT_SRC_CH_RESOLUTION;
  for (const auto& [fd, file] : files_)
    if (file.subscribed) {
      events_.push_back(event);
      break;
    }
  Signal();
}

FakeState FakeIo::State() {
  const std::lock_guard<std::mutex> lock(mutex_);
  Advance();
  FakeState state = state_;
  state.open = static_cast<uint32_t>(files_.size());
  state.buffers = static_cast<uint32_t>(buffers_.size());
  state.mappings = static_cast<uint32_t>(mappings_.size());
  state.queued = static_cast<uint32_t>(incoming_.size());
  state.streaming = streaming_;
  state.plugged = plugged_;
  state.sequence = sequence_;
  return state;
}

std::vector<std::string> FakeIo::Calls() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return {calls_.begin(), calls_.end()};
}

}  // namespace irst
