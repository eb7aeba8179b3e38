#include "v4l2_device.h"

#include <fcntl.h>

#include <cerrno>
#include <cstring>

#include "system_error.h"

namespace irst {

namespace {

// A driver that never answers "no more" must not hang the program.
constexpr uint32_t kMostFormats = 64;
constexpr uint32_t kMostSizes = 128;
constexpr uint32_t kMostIntervals = 64;
constexpr uint32_t kMostControls = 1024;
constexpr int64_t kMostMenuItems = 256;
constexpr int kMostInterrupts = 100;

template <size_t N>
std::string Text(const __u8 (&bytes)[N]) {
  return std::string(reinterpret_cast<const char*>(bytes), strnlen(reinterpret_cast<const char*>(bytes), N));
}

/// Bytes of a row's pixels for formats whose rows are pixels only; 0: not one of them.
uint32_t BytesPerPixel(uint32_t fourcc) {
  switch (fourcc) {
    case V4L2_PIX_FMT_GREY:
      return 1;
    case V4L2_PIX_FMT_Y10:
    case V4L2_PIX_FMT_Y12:
    case v4l2_fourcc('Y', '1', '4', ' '):
    case V4L2_PIX_FMT_Y16:
    case V4L2_PIX_FMT_Y16_BE:
    case V4L2_PIX_FMT_YUYV:
    case V4L2_PIX_FMT_UYVY:
    case V4L2_PIX_FMT_YVYU:
    case V4L2_PIX_FMT_VYUY:
      return 2;
    default:
      return 0;
  }
}

/// The usual ones: their driver may never have been asked for its list.
bool Compressed(uint32_t fourcc) {
  switch (fourcc) {
    case V4L2_PIX_FMT_MJPEG:
    case V4L2_PIX_FMT_JPEG:
    case V4L2_PIX_FMT_H264:
    case V4L2_PIX_FMT_HEVC:
    case V4L2_PIX_FMT_MPEG:
      return true;
    default:
      return false;
  }
}

}  // namespace

bool Gone(int error_number) { return error_number == ENODEV || error_number == ENXIO || error_number == EBADF; }

size_t PixelFormat::TotalBytes() const {
  size_t total = 0;
  for (const PlaneFormat& plane : planes) total += plane.size_image;
  return total;
}

size_t PixelFormat::LeastBytes(size_t plane) const {
  if (compressed) return 0;
  const PlaneFormat& format = planes[plane];
  const size_t row = static_cast<size_t>(width) * BytesPerPixel(fourcc);
  if (row == 0 || planes.size() != 1 || height == 0) return format.size_image;
  return static_cast<size_t>(format.bytes_per_line) * (height - 1) + row;
}

Device::Device(std::shared_ptr<V4l2Io> io, std::string path) : io_(std::move(io)), path_(std::move(path)) {}

Device::~Device() { Close(); }

void Device::Open() {
  if (IsOpen()) return;
  if (path_.empty() || path_.find('\0') != std::string::npos) throw SystemError(EINVAL, "open");
  // O_NONBLOCK: neither opening nor VIDIOC_DQBUF ever waits.
  do {
    fd_ = io_->Open(path_.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC);
  } while (fd_ < 0 && errno == EINTR);
  if (fd_ < 0) throw SystemError(errno, "open");
  try {
    v4l2_capability caps{};
    IRST_IOCTL(*this, VIDIOC_QUERYCAP, &caps);
    capability_.driver = Text(caps.driver);
    capability_.card = Text(caps.card);
    capability_.bus_info = Text(caps.bus_info);
    capability_.version = caps.version;
    capability_.capabilities = caps.capabilities;
    // Before Linux 3.4 there were no capabilities of the single node.
    capability_.device_caps = (caps.capabilities & V4L2_CAP_DEVICE_CAPS) != 0 ? caps.device_caps : caps.capabilities;
  } catch (...) {
    Close();
    throw;
  }
}

void Device::Close() {
  if (fd_ < 0) return;
  // Not again on EINTR: Linux has closed it. https://man7.org/linux/man-pages/man2/close.2.html
  io_->Close(fd_);
  fd_ = -1;
}

void Device::CheckOpen() const {
  if (fd_ < 0) throw SystemError(EBADF, "ioctl");
}

int Device::TryIoctl(unsigned long request, void* argument) {
  int result = -1;
  for (int i = 0; i < kMostInterrupts; i++) {
    result = io_->Ioctl(fd_, request, argument);
    if (result >= 0 || errno != EINTR) break;
  }
  return result;
}

void Device::Ioctl(unsigned long request, const char* name, void* argument) {
  CheckOpen();
  if (TryIoctl(request, argument) < 0) throw SystemError(errno, name);
}

// https://docs.kernel.org/userspace-api/media/v4l/vidioc-enum-fmt.html and vidioc-enum-framesizes.html
std::vector<FormatEntry> Device::Formats() {
  CheckOpen();
  std::vector<FormatEntry> formats;
  for (uint32_t i = 0; i < kMostFormats; i++) {
    v4l2_fmtdesc description{};
    description.index = i;
    description.type = buffer_type();
    if (TryIoctl(VIDIOC_ENUM_FMT, &description) < 0) {
      if (errno == EINVAL) break;
      throw SystemError(errno, "VIDIOC_ENUM_FMT");
    }
    FormatEntry entry;
    entry.fourcc = description.pixelformat;
    entry.flags = description.flags;
    if ((entry.flags & V4L2_FMT_FLAG_COMPRESSED) != 0) compressed_.insert(entry.fourcc);
    entry.description = Text(description.description);
    for (uint32_t j = 0; j < kMostSizes; j++) {
      v4l2_frmsizeenum size{};
      size.index = j;
      size.pixel_format = description.pixelformat;
      if (TryIoctl(VIDIOC_ENUM_FRAMESIZES, &size) < 0) {
        // Optional: a driver without it (ENOTTY, EOPNOTSUPP) takes what S_FMT settles.
        if (errno == EINVAL || errno == ENOTTY || errno == EOPNOTSUPP) break;
        throw SystemError(errno, "VIDIOC_ENUM_FRAMESIZES");
      }
      FormatEntry::Size found;
      found.size.type = size.type;
      if (size.type == V4L2_FRMSIZE_TYPE_DISCRETE) {
        found.size.min_width = found.size.max_width = size.discrete.width;
        found.size.min_height = found.size.max_height = size.discrete.height;
      } else {
        found.size.min_width = size.stepwise.min_width;
        found.size.max_width = size.stepwise.max_width;
        found.size.step_width = size.stepwise.step_width;
        found.size.min_height = size.stepwise.min_height;
        found.size.max_height = size.stepwise.max_height;
        found.size.step_height = size.stepwise.step_height;
      }
      found.intervals = Intervals(entry.fourcc, found.size.max_width, found.size.max_height);
      entry.sizes.push_back(std::move(found));
      // A range is one entry; nothing follows it.
      if (size.type != V4L2_FRMSIZE_TYPE_DISCRETE) break;
    }
    formats.push_back(std::move(entry));
  }
  return formats;
}

std::vector<IntervalEntry> Device::Intervals(uint32_t fourcc, uint32_t width, uint32_t height) {
  std::vector<IntervalEntry> intervals;
  for (uint32_t i = 0; i < kMostIntervals; i++) {
    v4l2_frmivalenum interval{};
    interval.index = i;
    interval.pixel_format = fourcc;
    interval.width = width;
    interval.height = height;
    if (TryIoctl(VIDIOC_ENUM_FRAMEINTERVALS, &interval) < 0) {
      // Besides "no more" and "not here": a rate can do without this list.
      if (!Gone(errno)) break;
      throw SystemError(errno, "VIDIOC_ENUM_FRAMEINTERVALS");
    }
    IntervalEntry found;
    found.type = interval.type;
    if (interval.type == V4L2_FRMIVAL_TYPE_DISCRETE) {
      found.min = found.max = interval.discrete;
    } else {
      found.min = interval.stepwise.min;
      found.max = interval.stepwise.max;
      found.step = interval.stepwise.step;
    }
    intervals.push_back(found);
    if (interval.type != V4L2_FRMIVAL_TYPE_DISCRETE) break;
  }
  return intervals;
}

// https://docs.kernel.org/userspace-api/media/v4l/vidioc-queryctrl.html
std::vector<ControlEntry> Device::Controls() {
  CheckOpen();
  std::vector<ControlEntry> controls;
  uint32_t last = 0;
  for (uint32_t i = 0; i < kMostControls; i++) {
    v4l2_queryctrl query{};
    query.id = last | V4L2_CTRL_FLAG_NEXT_CTRL;
    if (TryIoctl(VIDIOC_QUERYCTRL, &query) < 0) {
      // Besides "no more": UVC cameras that choke on one of their own controls (EIO, EPIPE) give pictures all the same. The query
      // for the next one does not get past it.
      if (!Gone(errno)) break;
      throw SystemError(errno, "VIDIOC_QUERYCTRL");
    }
    // A driver that answers the same control again would be asked for ever.
    if (query.id <= last) break;
    last = query.id;
    if ((query.flags & V4L2_CTRL_FLAG_DISABLED) != 0) continue;
    ControlEntry entry;
    entry.id = query.id;
    entry.type = query.type;
    entry.flags = query.flags;
    entry.name = Text(query.name);
    entry.minimum = query.minimum;
    entry.maximum = query.maximum;
    entry.step = query.step;
    entry.default_value = query.default_value;
    if (query.type == V4L2_CTRL_TYPE_MENU || query.type == V4L2_CTRL_TYPE_INTEGER_MENU) {
      for (int64_t j = query.minimum; j <= query.maximum && j - query.minimum < kMostMenuItems; j++) {
        v4l2_querymenu item{};
        item.id = query.id;
        item.index = static_cast<uint32_t>(j);
        // Menus may have gaps.
        if (TryIoctl(VIDIOC_QUERYMENU, &item) < 0) continue;
        MenuEntry found;
        found.index = item.index;
        if (query.type == V4L2_CTRL_TYPE_MENU)
          found.name = Text(item.name);
        else
          found.value = item.value;
        entry.menu.push_back(std::move(found));
      }
    }
    controls.push_back(std::move(entry));
  }
  return controls;
}

PixelFormat Device::ReadFormat(const v4l2_format& format) const {
  PixelFormat read;
  if (capability_.MultiPlanar()) {
    const v4l2_pix_format_mplane& pix = format.fmt.pix_mp;
    read.fourcc = pix.pixelformat;
    read.width = pix.width;
    read.height = pix.height;
    read.field = pix.field;
    const uint32_t planes = pix.num_planes < VIDEO_MAX_PLANES ? pix.num_planes : VIDEO_MAX_PLANES;
    for (uint32_t i = 0; i < planes; i++)
      read.planes.push_back({pix.plane_fmt[i].bytesperline, pix.plane_fmt[i].sizeimage});
  } else {
    const v4l2_pix_format& pix = format.fmt.pix;
    read.fourcc = pix.pixelformat;
    read.width = pix.width;
    read.height = pix.height;
    read.field = pix.field;
    read.planes.push_back({pix.bytesperline, pix.sizeimage});
  }
  read.compressed = Compressed(read.fourcc) || compressed_.count(read.fourcc) != 0;
  if (read.planes.size() == 1 && read.planes[0].bytes_per_line == 0) {
    const uint32_t pixel = BytesPerPixel(read.fourcc);
    // Some drivers leave the stride of a packed format at zero; else that is how a compressed one says that it has no rows.
    read.planes[0].bytes_per_line = read.width * pixel;
    if (pixel == 0) read.compressed = true;
  }
  return read;
}

PixelFormat Device::GetFormat() {
  v4l2_format format{};
  format.type = buffer_type();
  IRST_IOCTL(*this, VIDIOC_G_FMT, &format);
  return ReadFormat(format);
}

// https://docs.kernel.org/userspace-api/media/v4l/vidioc-g-fmt.html
PixelFormat Device::SetFormat(uint32_t fourcc, uint32_t width, uint32_t height) {
  v4l2_format format{};
  format.type = buffer_type();
  if (capability_.MultiPlanar()) {
    format.fmt.pix_mp.pixelformat = fourcc;
    format.fmt.pix_mp.width = width;
    format.fmt.pix_mp.height = height;
    format.fmt.pix_mp.field = V4L2_FIELD_ANY;
  } else {
    format.fmt.pix.pixelformat = fourcc;
    format.fmt.pix.width = width;
    format.fmt.pix.height = height;
    format.fmt.pix.field = V4L2_FIELD_ANY;
  }
  IRST_IOCTL(*this, VIDIOC_S_FMT, &format);
  return GetFormat();
}

// https://docs.kernel.org/userspace-api/media/v4l/vidioc-g-parm.html
std::optional<v4l2_fract> Device::GetInterval() {
  CheckOpen();
  v4l2_streamparm parm{};
  parm.type = buffer_type();
  if (TryIoctl(VIDIOC_G_PARM, &parm) < 0) {
    // Frames come without it too: only that the device is gone is worth an error.
    if (!Gone(errno)) return std::nullopt;
    throw SystemError(errno, "VIDIOC_G_PARM");
  }
  const v4l2_fract interval = parm.parm.capture.timeperframe;
  if ((parm.parm.capture.capability & V4L2_CAP_TIMEPERFRAME) == 0 || interval.numerator == 0 || interval.denominator == 0)
    return std::nullopt;
  return interval;
}

std::optional<v4l2_fract> Device::SetInterval(v4l2_fract interval) {
  if (!GetInterval()) return std::nullopt;
  v4l2_streamparm parm{};
  parm.type = buffer_type();
  parm.parm.capture.timeperframe = interval;
  if (TryIoctl(VIDIOC_S_PARM, &parm) < 0) {
    // Sensors of one rate let it be read, not set: the nearest that there is, as from any driver.
    if (errno != ENOTTY && errno != EINVAL && errno != EOPNOTSUPP) throw SystemError(errno, "VIDIOC_S_PARM");
  }
  return GetInterval();
}

// https://docs.kernel.org/userspace-api/media/v4l/vidioc-g-ext-ctrls.html: the one call that takes 64-bit controls too.
int64_t Device::GetControl(uint32_t id) {
  v4l2_queryctrl query{};
  query.id = id;
  IRST_IOCTL(*this, VIDIOC_QUERYCTRL, &query);
  if (query.type != V4L2_CTRL_TYPE_INTEGER64) {
    v4l2_control control{};
    control.id = id;
    IRST_IOCTL(*this, VIDIOC_G_CTRL, &control);
    return control.value;
  }
  v4l2_ext_control control{};
  control.id = id;
  v4l2_ext_controls controls{};
  controls.which = V4L2_CTRL_WHICH_CUR_VAL;
  controls.count = 1;
  controls.controls = &control;
  IRST_IOCTL(*this, VIDIOC_G_EXT_CTRLS, &controls);
  return control.value64;
}

void Device::SetControl(uint32_t id, int64_t value) {
  v4l2_queryctrl query{};
  query.id = id;
  IRST_IOCTL(*this, VIDIOC_QUERYCTRL, &query);
  if (query.type != V4L2_CTRL_TYPE_INTEGER64) {
    if (value < INT32_MIN || value > INT32_MAX) throw SystemError(ERANGE, "VIDIOC_S_CTRL");
    v4l2_control control{};
    control.id = id;
    control.value = static_cast<int32_t>(value);
    IRST_IOCTL(*this, VIDIOC_S_CTRL, &control);
    return;
  }
  v4l2_ext_control control{};
  control.id = id;
  control.value64 = value;
  v4l2_ext_controls controls{};
  controls.which = V4L2_CTRL_WHICH_CUR_VAL;
  controls.count = 1;
  controls.controls = &control;
  IRST_IOCTL(*this, VIDIOC_S_EXT_CTRLS, &controls);
}

}  // namespace irst
