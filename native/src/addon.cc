// The JavaScript face of the addon: argument checks, conversions, errors. The work is in the other files.
//
// Context-aware: one EdgeAddon per environment (main thread, each worker thread), nothing global, so the addon may be loaded
// any number of times in a process. https://nodejs.org/api/addons.html#context-aware-addons

#include <napi.h>

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "faint_binding.h"
#include "file_pages.h"
#include "sd_notify.h"
#include "system_error.h"
#include "v4l2_binding.h"

namespace {

class EdgeAddon : public Napi::Addon<EdgeAddon> {
 public:
  EdgeAddon(Napi::Env env, Napi::Object exports) {
    DefineAddon(exports, {
                             InstanceValue("version", Napi::String::New(env, IRST_EDGE_VERSION), napi_enumerable),
                             InstanceMethod("shareMallocArena", &EdgeAddon::ShareMallocArena, napi_enumerable),
                             InstanceMethod("releaseFreeMemory", &EdgeAddon::ReleaseFreeMemory, napi_enumerable),
                             InstanceMethod("releaseFilePages", &EdgeAddon::ReleaseFilePages, napi_enumerable),
                             InstanceMethod("sdNotify", &EdgeAddon::SdNotify, napi_enumerable),
                             InstanceMethod("faintSmooth", &EdgeAddon::FaintSmooth, napi_enumerable),
                             InstanceMethod("faintSettle", &EdgeAddon::FaintSettle, napi_enumerable),
                         });
    irst::DefineV4l2(env, exports, camera_, fake_device_);
  }

 private:
  // shareMallocArena(): boolean. From now on all threads take memory from one arena (mallopt(3)): a little slower where many allocate at once,
  // and much smaller than an arena for each thread. False where the C library has none.
  Napi::Value ShareMallocArena(const Napi::CallbackInfo& info) {
#ifdef __GLIBC__
    return Napi::Boolean::New(info.Env(), mallopt(M_ARENA_MAX, 1) == 1);
#else
    return Napi::Boolean::New(info.Env(), false);
#endif
  }

  // releaseFreeMemory(): boolean. Gives what malloc holds free back to the system (malloc_trim(3)). False: there was none, or the C library
  // has no such thing.
  Napi::Value ReleaseFreeMemory(const Napi::CallbackInfo& info) {
#ifdef __GLIBC__
    return Napi::Boolean::New(info.Env(), malloc_trim(0) == 1);
#else
    return Napi::Boolean::New(info.Env(), false);
#endif
  }

  // releaseFilePages(): number, bytes that were resident; see file_pages.h.
  Napi::Value ReleaseFilePages(const Napi::CallbackInfo& info) {
    return Napi::Number::New(info.Env(), static_cast<double>(irst::ReleaseFilePages()));
  }

  Napi::Value FaintSmooth(const Napi::CallbackInfo& info) { return irst::FaintSmoothJs(info); }
  Napi::Value FaintSettle(const Napi::CallbackInfo& info) { return irst::FaintSettleJs(info); }

  // sdNotify(state: string, path?: string): boolean, false without a path.
  Napi::Value SdNotify(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    if (!info[0].IsString()) throw Napi::TypeError::New(env, "sdNotify: state must be a string");
    if (info[1].IsUndefined()) return Napi::Boolean::New(env, false);
    if (!info[1].IsString()) throw Napi::TypeError::New(env, "sdNotify: path must be a string");
    const std::string path = info[1].As<Napi::String>();
    try {
      irst::SdNotify(info[0].As<Napi::String>(), path);
    } catch (const irst::SystemError& error) {
      Napi::Error js = irst::ToJs(env, error);
      js.Set("path", Napi::String::New(env, path));
      throw js;
    }
    return Napi::Boolean::New(env, true);
  }

  Napi::FunctionReference camera_;
  Napi::FunctionReference fake_device_;
};

}  // namespace

NODE_API_ADDON(EdgeAddon)
