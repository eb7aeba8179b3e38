// JavaScript face of `faint_filter.h`.
#pragma once

#include <napi.h>

namespace irst {

// faintSmooth(data, maps) and faintSettle(maps) of `FaintKernel` in src/track/faint-kernel.ts. A field that is not what it says there is a
// TypeError or RangeError with its name.
Napi::Value FaintSmoothJs(const Napi::CallbackInfo& info);
Napi::Value FaintSettleJs(const Napi::CallbackInfo& info);

}  // namespace irst
