#pragma once

#include <linux/videodev2.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "v4l2_io.h"

namespace irst {

/// Of a call that failed because the device is not there any more.
bool Gone(int error_number);

/// What VIDIOC_QUERYCAP says. `device_caps` is of this node; `capabilities` of the whole physical device, which for a camera
/// with a metadata node says "capture" on both nodes.
struct Capability {
  std::string driver;
  std::string card;
  std::string bus_info;
  uint32_t version = 0;
  uint32_t capabilities = 0;
  uint32_t device_caps = 0;

  bool Captures() const {
    return (device_caps & (V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_VIDEO_CAPTURE_MPLANE)) != 0 &&
           (device_caps & V4L2_CAP_STREAMING) != 0;
  }
  bool MultiPlanar() const {
    return (device_caps & V4L2_CAP_VIDEO_CAPTURE) == 0 && (device_caps & V4L2_CAP_VIDEO_CAPTURE_MPLANE) != 0;
  }
};

/// Frame sizes, or frame intervals: one value, or a range.
struct SizeEntry {
  uint32_t type = V4L2_FRMSIZE_TYPE_DISCRETE;
  uint32_t min_width = 0, max_width = 0, step_width = 0;
  uint32_t min_height = 0, max_height = 0, step_height = 0;
};

struct IntervalEntry {
  uint32_t type = V4L2_FRMIVAL_TYPE_DISCRETE;
  v4l2_fract min{}, max{}, step{};
};

struct FormatEntry {
  uint32_t fourcc = 0;
  uint32_t flags = 0;
  std::string description;
  struct Size {
    SizeEntry size;
    std::vector<IntervalEntry> intervals;
  };
  std::vector<Size> sizes;
};

struct MenuEntry {
  uint32_t index = 0;
  std::string name;
  int64_t value = 0;
};

struct ControlEntry {
  uint32_t id = 0;
  uint32_t type = 0;
  uint32_t flags = 0;
  std::string name;
  int64_t minimum = 0, maximum = 0, step = 0, default_value = 0;
  std::vector<MenuEntry> menu;
};

struct PlaneFormat {
  uint32_t bytes_per_line = 0;
  uint32_t size_image = 0;
};

struct PixelFormat {
  uint32_t fourcc = 0;
  uint32_t width = 0;
  uint32_t height = 0;
  uint32_t field = V4L2_FIELD_ANY;
  /// Frames may have any size.
  bool compressed = false;
  std::vector<PlaneFormat> planes;

  size_t TotalBytes() const;
  /// Least bytes that a whole frame has in plane `plane`; 0 where a compressed frame may have any size. The bytes behind the last
  /// row's pixels are not asked for.
  size_t LeastBytes(size_t plane) const;
};

/// An open V4L2 node and its settings. Every method throws SystemError with the name of the call that failed. All lists are bounded
/// whatever the driver answers. Not for use from two threads at a time.
class Device {
 public:
  Device(std::shared_ptr<V4l2Io> io, std::string path);
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  /// Opens the node without blocking and asks what it is. ENOTTY or EINVAL from VIDIOC_QUERYCAP: no V4L2 device.
  void Open();
  void Close();
  bool IsOpen() const { return fd_ >= 0; }

  const Capability& capability() const { return capability_; }
  const std::string& path() const { return path_; }
  V4l2Io& io() { return *io_; }
  int fd() const { return fd_; }
  uint32_t buffer_type() const {
    return capability_.MultiPlanar() ? V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE : V4L2_BUF_TYPE_VIDEO_CAPTURE;
  }

  std::vector<FormatEntry> Formats();
  std::vector<ControlEntry> Controls();
  PixelFormat GetFormat();
  /// VIDIOC_S_FMT; returns what VIDIOC_G_FMT reads back, which may be another format, size or stride than asked for.
  PixelFormat SetFormat(uint32_t fourcc, uint32_t width, uint32_t height);
  /// Nothing where the driver knows no frame interval.
  std::optional<v4l2_fract> GetInterval();
  std::optional<v4l2_fract> SetInterval(v4l2_fract interval);
  int64_t GetControl(uint32_t id);
  void SetControl(uint32_t id, int64_t value);

  /// ioctl, again while a signal interrupts it. -1 and errno on failure.
  int TryIoctl(unsigned long request, void* argument);
  /// The same; throws SystemError, `name` being a string literal.
  void Ioctl(unsigned long request, const char* name, void* argument);

 private:
  void CheckOpen() const;
  PixelFormat ReadFormat(const v4l2_format& format) const;
  std::vector<IntervalEntry> Intervals(uint32_t fourcc, uint32_t width, uint32_t height);

  std::shared_ptr<V4l2Io> io_;
  std::string path_;
  int fd_ = -1;
  Capability capability_;
  /// Formats that Formats() found to be compressed.
  std::set<uint32_t> compressed_;
};

#define IRST_IOCTL(device, request, argument) (device).Ioctl(request, #request, argument)

}  // namespace irst
