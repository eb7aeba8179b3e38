// JavaScript face of `faint_filter.h`.
#pragma once

#include <napi.h>

namespace irst {

// faintSmooth(data, width, height, radius, taps, padded, rows, sums, column, filtered), see `FaintKernel` in src/track/faint-kernel.ts.
Napi::Value FaintSmoothJs(const Napi::CallbackInfo& info);

// faintSettle(width, height, block, filtered, previous, still, variance, shares, mosts, restless, pixelShare, rests, steps).
Napi::Value FaintSettleJs(const Napi::CallbackInfo& info);

}  // namespace irst
