#include "faint_binding.h"

#include <algorithm>
#include <cstdint>
#include <string>

#include "faint_filter.h"

namespace irst {

namespace {

Napi::Object Fields(const Napi::CallbackInfo& info, std::size_t i) {
  if (!info[i].IsObject()) throw Napi::TypeError::New(info.Env(), "argument " + std::to_string(i) + " must be an object");
  return info[i].As<Napi::Object>();
}

int Side(const Napi::Object& maps, const char* name, int least = 1, int most = 1 << 15) {
  const Napi::Value field = maps.Get(name);
  const double value = field.IsNumber() ? field.As<Napi::Number>().DoubleValue() : 0;
  if (!(value >= least && value <= most) || value != static_cast<int>(value)) {
    throw Napi::RangeError::New(maps.Env(), std::string(name) + " must be a whole number from " + std::to_string(least) + " to " +
                                                std::to_string(most));
  }
  return static_cast<int>(value);
}

// A typed array's elements, of which there must be so many.
template <typename T>
T* Elements(const Napi::Value& array, const char* name, napi_typedarray_type type, std::size_t length) {
  if (array.IsTypedArray()) {
    napi_typedarray_type actual;
    std::size_t elements;
    void* data;
    // `data` is that of the first element, wherever it lies in its buffer.
    const napi_status status = napi_get_typedarray_info(array.Env(), array, &actual, &elements, &data, nullptr, nullptr);
    if (status == napi_ok && actual == type && elements == length) return static_cast<T*>(data);
  }
  throw Napi::TypeError::New(array.Env(), std::string(name) + " must be a typed array of the right kind with " + std::to_string(length) +
                                              " elements");
}

float* Floats(const Napi::Object& maps, const char* name, std::size_t length) {
  return Elements<float>(maps.Get(name), name, napi_float32_array, length);
}

double* Doubles(const Napi::Object& maps, const char* name, std::size_t length) {
  return Elements<double>(maps.Get(name), name, napi_float64_array, length);
}

}  // namespace

Napi::Value FaintSmoothJs(const Napi::CallbackInfo& info) {
  const Napi::Value data = info[0];
  const Napi::Object maps = Fields(info, 1);
  // The taps reach 3 px to each side.
  const int width = Side(maps, "width"), height = Side(maps, "height"), radius = Side(maps, "radius", 3, 64);
  const FaintSize size{width, height, radius};
  const std::size_t w = width, h = height, rim = 2 * static_cast<std::size_t>(radius), n = w * h, lines = h + rim;
  const double* taps = Doubles(maps, "taps", 4);
  float* padded = Floats(maps, "padded", (w + rim) * lines);
  float* rows = Floats(maps, "rows", w * lines);
  float* sums = Floats(maps, "sums", w * lines);
  double* column = Doubles(maps, "column", w);
  float* filtered = Floats(maps, "filtered", n);
  const bool wide = data.IsTypedArray() && data.As<Napi::TypedArray>().TypedArrayType() == napi_uint16_array;
  if (wide) {
    FaintSmooth(Elements<std::uint16_t>(data, "data", napi_uint16_array, n), size, taps, padded, rows, sums, column, filtered);
  } else {
    FaintSmooth(Elements<std::uint8_t>(data, "data", napi_uint8_array, n), size, taps, padded, rows, sums, column, filtered);
  }
  return info.Env().Undefined();
}

Napi::Value FaintSettleJs(const Napi::CallbackInfo& info) {
  const Napi::Object fields = Fields(info, 0);
  const int width = Side(fields, "width"), height = Side(fields, "height"), block = Side(fields, "block");
  const std::size_t n = static_cast<std::size_t>(width) * height;
  const FaintMaps maps{Floats(fields, "filtered", n), Floats(fields, "previous", n), Floats(fields, "still", n),
                       Floats(fields, "variance", n)};
  const int across = (width + block - 1) / block, down = (height + block - 1) / block;
  const std::size_t squares = static_cast<std::size_t>(across) * down;
  const double* shares = Doubles(fields, "shares", squares);
  const double* mosts = Doubles(fields, "mosts", squares);
  const auto* restless = Elements<std::uint8_t>(fields.Get("restless"), "restless", napi_uint8_array, squares);
  const Napi::Value pixel_share = fields.Get("pixelShare");
  if (!pixel_share.IsNumber()) throw Napi::TypeError::New(info.Env(), "pixelShare must be a number");
  const double into_variance = pixel_share.As<Napi::Number>();
  double* rests = Doubles(fields, "rests", squares);
  double* steps = Doubles(fields, "steps", squares);
  for (int row = 0, b = 0; row < down; row++) {
    for (int column = 0; column < across; column++, b++) {
      const int left = column * block, top = row * block;
      const FaintSquare square{left,      top,      std::min(left + block, width), std::min(top + block, height),
                               shares[b], mosts[b], into_variance,                 restless[b] != 0};
      const FaintSums sums = FaintSettle(maps, width, square);
      rests[b] = sums.rest;
      steps[b] = sums.step;
    }
  }
  return info.Env().Undefined();
}

}  // namespace irst
