#pragma once

#include <napi.h>

namespace irst {

/// Adds `openCamera` and `createFakeDevice` to `exports`. `camera` and `fake` keep the classes of this environment.
void DefineV4l2(Napi::Env env, Napi::Object exports, Napi::FunctionReference& camera, Napi::FunctionReference& fake);

}  // namespace irst
