// The JavaScript face of the camera and of the fake device: conversions, errors, lifetimes.

#include "v4l2_binding.h"

#include <cerrno>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "system_error.h"
#include "v4l2_device.h"
#include "v4l2_fake_io.h"
#include "v4l2_stream.h"

namespace irst {

namespace {

// The characters of a pixel format; Y16_BE is 'Y16 ' with bit 31 and is written 'Y16 -BE', as the kernel's %p4cc does.
std::string FourccText(uint32_t fourcc) {
  std::string text;
  for (int i = 0; i < 4; i++) {
    const auto c = static_cast<char>((fourcc >> (8 * i)) & (i == 3 ? 0x7f : 0xff));
    text += c >= 0x20 && c < 0x7f ? c : '.';
  }
  if ((fourcc & 0x80000000U) != 0) text += "-BE";
  return text;
}

uint32_t FourccOf(Napi::Env env, const Napi::Value& value) {
  const std::string text = value.IsString() ? value.As<Napi::String>().Utf8Value() : std::string();
  const bool big = text.size() == 7 && text.compare(4, 3, "-BE") == 0;
  if (text.size() != 4 && !big) throw Napi::TypeError::New(env, "a pixel format has four characters, and may end in -BE");
  uint32_t fourcc = 0;
  for (int i = 0; i < 4; i++) fourcc |= static_cast<uint32_t>(static_cast<uint8_t>(text[i])) << (8 * i);
  return big ? fourcc | 0x80000000U : fourcc;
}

template <typename Call>
auto Guarded(Napi::Env env, const std::string& path, Call call) -> decltype(call()) {
  try {
    return call();
  } catch (const SystemError& error) {
    Napi::Error js = ToJs(env, error);
    js.Set("path", Napi::String::New(env, path));
    throw js;
  } catch (const std::system_error& error) {
    // std::thread: no more threads.
    Napi::Error js = ToJs(env, SystemError(error.code().value(), "pthread_create"));
    js.Set("path", Napi::String::New(env, path));
    throw js;
  }
}

Napi::Object Fraction(Napi::Env env, v4l2_fract fraction) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("numerator", fraction.numerator);
  object.Set("denominator", fraction.denominator);
  return object;
}

/// https://docs.kernel.org/userspace-api/media/v4l/field-order.html
const char* FieldName(uint32_t field) {
  static constexpr const char* kNames[] = {"any",    "none",   "top",       "bottom",        "interlaced",
                                           "seq-tb", "seq-bt", "alternate", "interlaced-tb", "interlaced-bt"};
  return field < sizeof kNames / sizeof *kNames ? kNames[field] : "unknown";
}

Napi::Object FormatObject(Napi::Env env, const PixelFormat& format) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("fourcc", FourccText(format.fourcc));
  object.Set("width", format.width);
  object.Set("height", format.height);
  object.Set("field", FieldName(format.field));
  object.Set("bytesPerLine", format.planes.empty() ? 0 : format.planes[0].bytes_per_line);
  object.Set("sizeImage", static_cast<double>(format.TotalBytes()));
  Napi::Array planes = Napi::Array::New(env);
  for (uint32_t i = 0; i < format.planes.size(); i++) {
    Napi::Object plane = Napi::Object::New(env);
    plane.Set("bytesPerLine", format.planes[i].bytes_per_line);
    plane.Set("sizeImage", format.planes[i].size_image);
    planes.Set(i, plane);
  }
  object.Set("planes", planes);
  return object;
}

// ---- options of the fake device ----

double Number(const Napi::Object& object, const char* key, double fallback) {
  const Napi::Value value = object.Get(key);
  return value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : fallback;
}

std::string String(const Napi::Object& object, const char* key, const std::string& fallback) {
  const Napi::Value value = object.Get(key);
  return value.IsString() ? value.As<Napi::String>().Utf8Value() : fallback;
}

bool Flag(const Napi::Object& object, const char* key) {
  const Napi::Value value = object.Get(key);
  return value.IsBoolean() && value.As<Napi::Boolean>().Value();
}

uint32_t Unsigned(const Napi::Object& object, const char* key, uint32_t fallback) {
  return static_cast<uint32_t>(static_cast<int64_t>(Number(object, key, fallback)));
}

template <typename Each>
void ForEach(const Napi::Object& object, const char* key, Each each) {
  const Napi::Value value = object.Get(key);
  if (!value.IsArray()) return;
  const auto list = value.As<Napi::Array>();
  for (uint32_t i = 0; i < list.Length(); i++)
    if (const Napi::Value item = list.Get(i); item.IsObject()) each(item.As<Napi::Object>());
}

FakeConfig ConfigOf(Napi::Env env, const Napi::Object& options) {
  FakeConfig config;
  config.path = String(options, "path", config.path);
  config.driver = String(options, "driver", config.driver);
  config.card = String(options, "card", config.card);
  config.bus_info = String(options, "busInfo", config.bus_info);
  config.planes = Unsigned(options, "planes", 1);
  if (Flag(options, "multiPlanar")) config.device_caps = V4L2_CAP_VIDEO_CAPTURE_MPLANE | V4L2_CAP_STREAMING;
  config.device_caps = Unsigned(options, "deviceCaps", config.device_caps);
  config.padding = Unsigned(options, "padding", 0);
  if (options.Get("ratePadding").IsNumber()) config.rate_padding = Unsigned(options, "ratePadding", 0);
  config.field = Unsigned(options, "field", V4L2_FIELD_NONE);
  config.no_stride = Flag(options, "noStride");
  config.fps = Number(options, "fps", 0);
  config.timestamp_flags = Unsigned(options, "timestampFlags", config.timestamp_flags);
  config.first_sequence = Unsigned(options, "firstSequence", 0);
  config.stamp_only = Flag(options, "stampOnly");
  config.substitutes = Flag(options, "substitutes");
  ForEach(options, "formats", [&](const Napi::Object& item) {
    FormatEntry entry;
    entry.fourcc = FourccOf(env, item.Get("fourcc"));
    entry.description = String(item, "description", FourccText(entry.fourcc));
    if (Flag(item, "compressed")) entry.flags = V4L2_FMT_FLAG_COMPRESSED;
    ForEach(item, "sizes", [&](const Napi::Object& object) {
      FormatEntry::Size size;
      const std::string type = String(object, "type", "discrete");
      size.size.type = type == "stepwise"     ? V4L2_FRMSIZE_TYPE_STEPWISE
                       : type == "continuous" ? V4L2_FRMSIZE_TYPE_CONTINUOUS
                                              : V4L2_FRMSIZE_TYPE_DISCRETE;
      size.size.min_width = Unsigned(object, "minWidth", Unsigned(object, "width", 0));
      size.size.max_width = Unsigned(object, "maxWidth", Unsigned(object, "width", 0));
      size.size.step_width = Unsigned(object, "stepWidth", 1);
      size.size.min_height = Unsigned(object, "minHeight", Unsigned(object, "height", 0));
      size.size.max_height = Unsigned(object, "maxHeight", Unsigned(object, "height", 0));
      size.size.step_height = Unsigned(object, "stepHeight", 1);
      ForEach(object, "intervals", [&](const Napi::Object& fraction) {
        IntervalEntry interval;
        interval.min = {Unsigned(fraction, "numerator", 1), Unsigned(fraction, "denominator", 30)};
        interval.max = interval.min;
        size.intervals.push_back(interval);
      });
      entry.sizes.push_back(std::move(size));
    });
    if (entry.sizes.empty()) throw Napi::TypeError::New(env, "createFakeDevice: a format needs a size");
    config.formats.push_back(std::move(entry));
  });
  if (config.formats.empty()) throw Napi::TypeError::New(env, "createFakeDevice: formats must not be empty");
  ForEach(options, "controls", [&](const Napi::Object& item) {
    ControlEntry control;
    control.id = Unsigned(item, "id", V4L2_CID_BRIGHTNESS);
    control.type = Unsigned(item, "type", V4L2_CTRL_TYPE_INTEGER);
    control.flags = Unsigned(item, "flags", 0);
    control.name = String(item, "name", "control");
    control.minimum = static_cast<int64_t>(Number(item, "minimum", 0));
    control.maximum = static_cast<int64_t>(Number(item, "maximum", 255));
    control.step = static_cast<int64_t>(Number(item, "step", 1));
    control.default_value = static_cast<int64_t>(Number(item, "default", 0));
    ForEach(item, "menu", [&](const Napi::Object& object) {
      control.menu.push_back({Unsigned(object, "index", 0), String(object, "name", ""),
                              static_cast<int64_t>(Number(object, "value", 0))});
    });
    config.controls.push_back(std::move(control));
  });
  return config;
}

class FakeDevice final : public Napi::ObjectWrap<FakeDevice> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "FakeDevice",
                       {
                           InstanceMethod("push", &FakeDevice::Push),
                           InstanceMethod("fail", &FakeDevice::Fail),
                           InstanceMethod("pollEvents", &FakeDevice::PollEvents),
                           InstanceMethod("setRate", &FakeDevice::SetRate),
                           InstanceMethod("freeze", &FakeDevice::Freeze),
                           InstanceMethod("unplug", &FakeDevice::Unplug),
                           InstanceMethod("plug", &FakeDevice::Plug),
                           InstanceMethod("changeSource", &FakeDevice::ChangeSource),
                           InstanceMethod("state", &FakeDevice::State),
                           InstanceMethod("calls", &FakeDevice::Calls),
                       });
  }

  explicit FakeDevice(const Napi::CallbackInfo& info) : ObjectWrap(info) {
    if (!info[0].IsObject()) throw Napi::TypeError::New(info.Env(), "createFakeDevice: options must be an object");
    io_ = std::make_shared<FakeIo>(ConfigOf(info.Env(), info[0].As<Napi::Object>()));
  }

  std::shared_ptr<FakeIo> io() const { return io_; }

 private:
  static Napi::Object Options(const Napi::CallbackInfo& info) {
    return info[0].IsObject() ? info[0].As<Napi::Object>() : Napi::Object::New(info.Env());
  }

  void Push(const Napi::CallbackInfo& info) {
    const Napi::Object options = Options(info);
    const auto given = [&options](const char* key) -> std::optional<uint32_t> {
      if (!options.Get(key).IsNumber()) return std::nullopt;
      return Unsigned(options, key, 0);
    };
    FakeFrame frame;
    frame.count = Unsigned(options, "count", 1);
    frame.error = Flag(options, "error");
    frame.frozen = Flag(options, "frozen");
    frame.skip = Unsigned(options, "skip", 0);
    frame.sequence = given("sequence");
    frame.bytes_used = given("bytesUsed");
    frame.timestamp_flags = given("timestampFlags");
    frame.index = given("index");
    if (const Napi::Value stamp = options.Get("monotonicNs"); stamp.IsBigInt()) {
      bool lossless = false;
      frame.stamp_ns = stamp.As<Napi::BigInt>().Int64Value(&lossless);
    }
    if (const Napi::Value data = options.Get("data"); data.IsTypedArray()) {
      const auto array = data.As<Napi::TypedArray>();
      const auto* bytes = static_cast<const uint8_t*>(array.ArrayBuffer().Data()) + array.ByteOffset();
      frame.data.assign(bytes, bytes + array.ByteLength());
    }
    io_->Push(frame);
  }

  void Fail(const Napi::CallbackInfo& info) {
    io_->Fail(info[0].ToString(), info[1].ToNumber(), info[2].IsNumber() ? info[2].ToNumber().Int32Value() : 1);
  }
  void PollEvents(const Napi::CallbackInfo& info) {
    io_->PollEvents(static_cast<short>(info[0].ToNumber().Int32Value()), info[1].ToNumber());
  }
  void SetRate(const Napi::CallbackInfo& info) { io_->SetRate(info[0].ToNumber()); }
  void Freeze(const Napi::CallbackInfo& info) { io_->Freeze(info[0].ToBoolean()); }
  void Unplug(const Napi::CallbackInfo&) { io_->Unplug(); }
  void Plug(const Napi::CallbackInfo&) { io_->Plug(); }
  void ChangeSource(const Napi::CallbackInfo& info) {
    io_->ChangeSource(info[0].ToNumber().Uint32Value(), info[1].ToNumber().Uint32Value());
  }

  Napi::Value State(const Napi::CallbackInfo& info) {
    const FakeState state = io_->State();
    Napi::Object object = Napi::Object::New(info.Env());
    object.Set("open", state.open);
    object.Set("buffers", state.buffers);
    object.Set("mappings", state.mappings);
    object.Set("queued", state.queued);
    object.Set("streaming", Napi::Boolean::New(info.Env(), state.streaming));
    object.Set("plugged", Napi::Boolean::New(info.Env(), state.plugged));
    object.Set("sequence", state.sequence);
    object.Set("produced", static_cast<double>(state.produced));
    object.Set("starved", static_cast<double>(state.starved));
    object.Set("opens", static_cast<double>(state.opens));
    object.Set("streamOns", static_cast<double>(state.stream_ons));
    return object;
  }

  Napi::Value Calls(const Napi::CallbackInfo& info) {
    Napi::Array list = Napi::Array::New(info.Env());
    uint32_t i = 0;
    for (const std::string& call : io_->Calls()) list.Set(i++, Napi::String::New(info.Env(), call));
    return list;
  }

  std::shared_ptr<FakeIo> io_;
};

/// What the stream's thread, its ThreadSafeFunction and the camera share.
struct Session {
  std::unique_ptr<Stream> stream;
  napi_threadsafe_function wake = nullptr;
  /// False from the function's finalizer on. Of the environment's thread alone.
  bool wake_alive = true;
};

/// Runs on the environment's thread. `env` is null where the environment is ending. An exception of the callback becomes an
/// `uncaughtException`: left to itself, Node only warns of it (DEP0168). https://nodejs.org/api/deprecations.html
void CallWake(napi_env env, napi_value callback, void*, void*) {
  if (env == nullptr || callback == nullptr) return;
  napi_value undefined = nullptr;
  if (napi_get_undefined(env, &undefined) != napi_ok) return;
  if (napi_call_function(env, undefined, callback, 0, nullptr, nullptr) != napi_pending_exception) return;
  napi_value error = nullptr;
  // Both are refused in an environment that is being terminated.
  if (napi_get_and_clear_last_exception(env, &error) == napi_ok) napi_fatal_exception(env, error);
}

class Camera final : public Napi::ObjectWrap<Camera> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "NativeCamera",
                       {
                           InstanceMethod("capability", &Camera::GetCapability),
                           InstanceMethod("formats", &Camera::Formats),
                           InstanceMethod("controls", &Camera::Controls),
                           InstanceMethod("getFormat", &Camera::GetFormat),
                           InstanceMethod("setFormat", &Camera::SetFormat),
                           InstanceMethod("getInterval", &Camera::GetInterval),
                           InstanceMethod("setInterval", &Camera::SetInterval),
                           InstanceMethod("getControl", &Camera::GetControl),
                           InstanceMethod("setControl", &Camera::SetControl),
                           InstanceMethod("start", &Camera::Start),
                           InstanceMethod("stop", &Camera::Stop),
                           InstanceMethod("close", &Camera::Close),
                           InstanceMethod("take", &Camera::Take),
                           InstanceMethod("events", &Camera::Events),
                           InstanceMethod("counters", &Camera::Counters),
                           InstanceMethod("ref", &Camera::RefLoop),
                           InstanceMethod("unref", &Camera::UnrefLoop),
                       });
  }

  // new NativeCamera(path, fake?): opens.
  explicit Camera(const Napi::CallbackInfo& info) : ObjectWrap(info) {
    if (!info[0].IsString()) throw Napi::TypeError::New(info.Env(), "openCamera: path must be a string");
    path_ = info[0].As<Napi::String>();
    std::shared_ptr<V4l2Io> io;
    if (info[1].IsObject())
      io = FakeDevice::Unwrap(info[1].As<Napi::Object>())->io();
    else
      io = std::make_shared<SystemIo>();
    device_ = std::make_unique<Device>(std::move(io), path_);
    Guarded(info.Env(), path_, [&] { device_->Open(); });
  }

  ~Camera() override { EndStream(); }

 private:
  Napi::Value GetCapability(const Napi::CallbackInfo& info) {
    const Capability& capability = device_->capability();
    Napi::Object object = Napi::Object::New(info.Env());
    object.Set("driver", capability.driver);
    object.Set("card", capability.card);
    object.Set("busInfo", capability.bus_info);
    object.Set("version", capability.version);
    object.Set("capabilities", capability.capabilities);
    object.Set("deviceCaps", capability.device_caps);
    object.Set("captures", Napi::Boolean::New(info.Env(), capability.Captures()));
    object.Set("multiPlanar", Napi::Boolean::New(info.Env(), capability.MultiPlanar()));
    return object;
  }

  Napi::Value Formats(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    const auto formats = Guarded(env, path_, [&] { return device_->Formats(); });
    Napi::Array list = Napi::Array::New(env);
    for (uint32_t i = 0; i < formats.size(); i++) {
      Napi::Object format = Napi::Object::New(env);
      format.Set("fourcc", FourccText(formats[i].fourcc));
      format.Set("code", formats[i].fourcc);
      format.Set("description", formats[i].description);
      format.Set("compressed", Napi::Boolean::New(env, (formats[i].flags & V4L2_FMT_FLAG_COMPRESSED) != 0));
      format.Set("emulated", Napi::Boolean::New(env, (formats[i].flags & V4L2_FMT_FLAG_EMULATED) != 0));
      Napi::Array sizes = Napi::Array::New(env);
      for (uint32_t j = 0; j < formats[i].sizes.size(); j++) {
        const FormatEntry::Size& entry = formats[i].sizes[j];
        Napi::Object size = Napi::Object::New(env);
        size.Set("type", entry.size.type == V4L2_FRMSIZE_TYPE_DISCRETE   ? "discrete"
                         : entry.size.type == V4L2_FRMSIZE_TYPE_STEPWISE ? "stepwise"
                                                                         : "continuous");
        size.Set("minWidth", entry.size.min_width);
        size.Set("maxWidth", entry.size.max_width);
        size.Set("stepWidth", entry.size.step_width);
        size.Set("minHeight", entry.size.min_height);
        size.Set("maxHeight", entry.size.max_height);
        size.Set("stepHeight", entry.size.step_height);
        Napi::Array intervals = Napi::Array::New(env);
        for (uint32_t k = 0; k < entry.intervals.size(); k++) {
          Napi::Object interval = Napi::Object::New(env);
          interval.Set("min", Fraction(env, entry.intervals[k].min));
          interval.Set("max", Fraction(env, entry.intervals[k].max));
          intervals.Set(k, interval);
        }
        size.Set("intervals", intervals);
        sizes.Set(j, size);
      }
      format.Set("sizes", sizes);
      list.Set(i, format);
    }
    return list;
  }

  Napi::Value Controls(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    const auto controls = Guarded(env, path_, [&] { return device_->Controls(); });
    Napi::Array list = Napi::Array::New(env);
    for (uint32_t i = 0; i < controls.size(); i++) {
      const ControlEntry& entry = controls[i];
      Napi::Object control = Napi::Object::New(env);
      control.Set("id", entry.id);
      control.Set("type", entry.type);
      control.Set("flags", entry.flags);
      control.Set("name", entry.name);
      control.Set("minimum", static_cast<double>(entry.minimum));
      control.Set("maximum", static_cast<double>(entry.maximum));
      control.Set("step", static_cast<double>(entry.step));
      control.Set("default", static_cast<double>(entry.default_value));
      Napi::Array menu = Napi::Array::New(env);
      for (uint32_t j = 0; j < entry.menu.size(); j++) {
        Napi::Object item = Napi::Object::New(env);
        item.Set("index", entry.menu[j].index);
        item.Set("name", entry.menu[j].name);
        item.Set("value", static_cast<double>(entry.menu[j].value));
        menu.Set(j, item);
      }
      control.Set("menu", menu);
      list.Set(i, control);
    }
    return list;
  }

  Napi::Value GetFormat(const Napi::CallbackInfo& info) {
    return FormatObject(info.Env(), Guarded(info.Env(), path_, [&] { return device_->GetFormat(); }));
  }

  Napi::Value SetFormat(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    if (!info[0].IsObject()) throw Napi::TypeError::New(env, "setFormat: expected {fourcc, width, height}");
    const auto wanted = info[0].As<Napi::Object>();
    const uint32_t fourcc = FourccOf(env, wanted.Get("fourcc"));
    return FormatObject(env, Guarded(env, path_, [&] {
                          return device_->SetFormat(fourcc, Unsigned(wanted, "width", 0), Unsigned(wanted, "height", 0));
                        }));
  }

  Napi::Value GetInterval(const Napi::CallbackInfo& info) {
    const auto interval = Guarded(info.Env(), path_, [&] { return device_->GetInterval(); });
    return interval ? Fraction(info.Env(), *interval) : info.Env().Undefined();
  }

  Napi::Value SetInterval(const Napi::CallbackInfo& info) {
    if (!info[0].IsObject()) throw Napi::TypeError::New(info.Env(), "setInterval: expected {numerator, denominator}");
    const auto wanted = info[0].As<Napi::Object>();
    const v4l2_fract fraction{Unsigned(wanted, "numerator", 0), Unsigned(wanted, "denominator", 0)};
    const auto interval = Guarded(info.Env(), path_, [&] { return device_->SetInterval(fraction); });
    return interval ? Fraction(info.Env(), *interval) : info.Env().Undefined();
  }

  Napi::Value GetControl(const Napi::CallbackInfo& info) {
    const uint32_t id = info[0].ToNumber();
    return Napi::Number::New(info.Env(), static_cast<double>(
                                             Guarded(info.Env(), path_, [&] { return device_->GetControl(id); })));
  }

  void SetControl(const Napi::CallbackInfo& info) {
    const uint32_t id = info[0].ToNumber();
    const int64_t value = info[1].ToNumber();
    Guarded(info.Env(), path_, [&] { device_->SetControl(id, value); });
  }

  // start({buffers, stallMs, slots: Uint8Array[], meta: BigInt64Array}, wake)
  void Start(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    if (session_) Guarded(env, path_, []() { throw SystemError(EBUSY, "start"); });
    if (!info[0].IsObject() || !info[1].IsFunction())
      throw Napi::TypeError::New(env, "start: expected options and a function");
    const auto given = info[0].As<Napi::Object>();
    StreamOptions options;
    options.buffers = Unsigned(given, "buffers", options.buffers);
    options.stall_ns = static_cast<int64_t>(Number(given, "stallMs", 3000) * 1e6);
    const Napi::Value meta = given.Get("meta");
    if (!meta.IsTypedArray() || meta.As<Napi::TypedArray>().TypedArrayType() != napi_bigint64_array ||
        meta.As<Napi::TypedArray>().ElementLength() < kMetaFields)
      throw Napi::TypeError::New(env, "start: meta must be a BigInt64Array");
    const Napi::Value slots = given.Get("slots");
    if (!slots.IsArray()) throw Napi::TypeError::New(env, "start: slots must be an array of Uint8Array");
    const auto list = slots.As<Napi::Array>();
    // The caller's own array may change while the thread writes to what was in it.
    Napi::Array kept = Napi::Array::New(env);
    for (uint32_t i = 0; i < list.Length(); i++) {
      const Napi::Value slot = list.Get(i);
      if (!slot.IsTypedArray()) throw Napi::TypeError::New(env, "start: slots must be an array of Uint8Array");
      const auto array = slot.As<Napi::TypedArray>();
      kept.Set(i, array);
      options.slots.emplace_back(static_cast<uint8_t*>(array.ArrayBuffer().Data()) + array.ByteOffset(),
                                 array.ByteLength());
    }
    auto session = std::make_shared<Session>();
    auto context = std::make_unique<std::shared_ptr<Session>>(session);
    // Straight from Node-API: node-addon-api's own class throws where a worker is terminated between the wake-up and the call,
    // and in such an environment not even an exception can be made.
    const napi_status status = napi_create_threadsafe_function(
        env, info[1], nullptr, Napi::String::New(env, "irst-edge camera"), 1, 1, context.get(),
        [](napi_env, void* data, void*) {
          // Also the end of a worker thread: the function is deleted after this, so its thread must be gone now.
          const std::unique_ptr<std::shared_ptr<Session>> owned(static_cast<std::shared_ptr<Session>*>(data));
          (*owned)->wake_alive = false;
          (*owned)->stream.reset();
        },
        nullptr, &CallWake, &session->wake);
    if (status != napi_ok) throw Napi::Error::New(env, "start: no ThreadSafeFunction can be made");
    context.release();
    napi_unref_threadsafe_function(env, session->wake);
    // A wake-up that is already on its way will see what is new: a full queue is no loss.
    napi_threadsafe_function wake = session->wake;
    try {
      Guarded(env, path_, [&] {
        session->stream = std::make_unique<Stream>(*device_, device_->GetFormat(), std::move(options), [wake] {
          napi_call_threadsafe_function(wake, nullptr, napi_tsfn_nonblocking);
        });
        session->stream->Start();
      });
    } catch (...) {
      session->stream.reset();
      napi_release_threadsafe_function(session->wake, napi_tsfn_release);
      throw;
    }
    session_ = std::move(session);
    // The memory that the thread writes to lives as long as the stream.
    slots_ = Napi::Persistent(kept.As<Napi::Object>());
    meta_ = Napi::Persistent(meta.As<Napi::TypedArrayOf<int64_t>>());
    Ref();
  }

  /// Joins the thread. Of the environment's thread alone.
  bool EndStream() {
    if (!session_) return false;
    if (session_->stream) {
      session_->stream->Stop();
      last_counters_ = session_->stream->Counters();
    }
    if (session_->wake_alive) napi_release_threadsafe_function(session_->wake, napi_tsfn_release);
    session_.reset();
    return true;
  }

  void Stop(const Napi::CallbackInfo&) {
    if (!EndStream()) return;
    slots_.Reset();
    meta_.Reset();
    Unref();
  }

  void Close(const Napi::CallbackInfo& info) {
    Stop(info);
    device_->Close();
  }

  // The slot's number, or -1; what is known of the frame is in `meta`.
  Napi::Value Take(const Napi::CallbackInfo& info) {
    if (!session_ || !session_->stream) return Napi::Number::New(info.Env(), -1);
    FrameMeta meta;
    const int slot = session_->stream->Take(meta);
    if (slot >= 0) {
      Napi::TypedArrayOf<int64_t> out = meta_.Value();
      if (out.ElementLength() >= kMetaFields) {
        int64_t* fields = out.Data();
        fields[0] = static_cast<int64_t>(meta.sequence);
        fields[1] = meta.driver_sequence;
        fields[2] = meta.capture_ns;
        fields[3] = meta.ready_ns;
        fields[4] = meta.bytes_used;
        fields[5] = meta.flags;
        fields[6] = static_cast<int64_t>(meta.dropped);
        fields[7] = static_cast<int64_t>(meta.clock);
        fields[8] = meta.start_of_exposure ? 1 : 0;
      }
    }
    return Napi::Number::New(info.Env(), slot);
  }

  Napi::Value Events(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    Napi::Array list = Napi::Array::New(env);
    if (!session_ || !session_->stream) return list;
    uint32_t i = 0;
    for (const StreamEvent& event : session_->stream->TakeEvents()) {
      static constexpr const char* kNames[] = {"stalled",       "resumed", "restarted", "lost",
                                               "source-change", "end",     "failed"};
      Napi::Object object = Napi::Object::New(env);
      object.Set("kind", kNames[static_cast<int>(event.kind)]);
      if (event.error_number != 0) {
        object.Set("errno", -event.error_number);
        object.Set("code", ErrorName(event.error_number));
      }
      object.Set("syscall", event.syscall);
      list.Set(i++, object);
    }
    return list;
  }

  Napi::Value Counters(const Napi::CallbackInfo& info) {
    const StreamCounters counters = session_ && session_->stream ? session_->stream->Counters() : last_counters_;
    Napi::Object object = Napi::Object::New(info.Env());
    object.Set("taken", static_cast<double>(counters.taken));
    object.Set("stale", static_cast<double>(counters.stale));
    object.Set("skipped", static_cast<double>(counters.skipped));
    object.Set("error", static_cast<double>(counters.error));
    object.Set("short", static_cast<double>(counters.short_frames));
    object.Set("badIndex", static_cast<double>(counters.bad_index));
    object.Set("sequenceResets", static_cast<double>(counters.sequence_resets));
    object.Set("badTimestamps", static_cast<double>(counters.bad_timestamps));
    object.Set("restarts", static_cast<double>(counters.restarts));
    object.Set("emptyWakes", static_cast<double>(counters.empty_wakes));
    object.Set("lostEvents", static_cast<double>(counters.lost_events));
    object.Set("pending", counters.pending ? 1 : 0);
    return object;
  }

  void RefLoop(const Napi::CallbackInfo& info) {
    if (session_ && session_->wake_alive) napi_ref_threadsafe_function(info.Env(), session_->wake);
  }
  void UnrefLoop(const Napi::CallbackInfo& info) {
    if (session_ && session_->wake_alive) napi_unref_threadsafe_function(info.Env(), session_->wake);
  }

  static constexpr size_t kMetaFields = 9;

  std::string path_;
  // Before the session: the stream uses it until it ends.
  std::unique_ptr<Device> device_;
  std::shared_ptr<Session> session_;
  StreamCounters last_counters_;
  Napi::ObjectReference slots_;
  Napi::Reference<Napi::TypedArrayOf<int64_t>> meta_;
};

}  // namespace

void DefineV4l2(Napi::Env env, Napi::Object exports, Napi::FunctionReference& camera, Napi::FunctionReference& fake) {
  camera = Napi::Persistent(Camera::Define(env));
  fake = Napi::Persistent(FakeDevice::Define(env));
  exports.Set("NativeCamera", camera.Value());
  exports.Set("FakeDevice", fake.Value());
}

}  // namespace irst
