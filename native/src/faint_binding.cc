#include "faint_binding.h"

#include <algorithm>
#include <cstdint>
#include <string>

#include "faint_filter.h"

namespace irst {

namespace {

constexpr int kMostSide = 1 << 15;

int Side(const Napi::CallbackInfo& info, std::size_t i, int most = kMostSide) {
  const double value = info[i].IsNumber() ? info[i].As<Napi::Number>().DoubleValue() : 0;
  if (!(value >= 1 && value <= most) || value != static_cast<int>(value)) {
    throw Napi::RangeError::New(info.Env(), "argument " + std::to_string(i) + " must be a whole number from 1 to " + std::to_string(most));
  }
  return static_cast<int>(value);
}

// An argument's elements, of which there must be so many.
template <typename T>
T* Elements(const Napi::CallbackInfo& info, std::size_t i, napi_typedarray_type type, std::size_t length) {
  if (info[i].IsTypedArray()) {
    napi_typedarray_type actual;
    std::size_t elements;
    void* data;
    // `data` is that of the first element, wherever it lies in its buffer.
    const napi_status status = napi_get_typedarray_info(info.Env(), info[i], &actual, &elements, &data, nullptr, nullptr);
    if (status == napi_ok && actual == type && elements == length) return static_cast<T*>(data);
  }
  throw Napi::TypeError::New(info.Env(), "argument " + std::to_string(i) + " must be a typed array of the right kind with " +
                                             std::to_string(length) + " elements");
}

float* Floats(const Napi::CallbackInfo& info, std::size_t i, std::size_t length) {
  return Elements<float>(info, i, napi_float32_array, length);
}

double* Doubles(const Napi::CallbackInfo& info, std::size_t i, std::size_t length) {
  return Elements<double>(info, i, napi_float64_array, length);
}

}  // namespace

Napi::Value FaintSmoothJs(const Napi::CallbackInfo& info) {
  const int width = Side(info, 1), height = Side(info, 2), radius = Side(info, 3, 64);
  if (radius < 3) throw Napi::RangeError::New(info.Env(), "the taps reach over the rim");
  const FaintSize size{width, height, radius};
  const std::size_t w = width, h = height, rim = 2 * static_cast<std::size_t>(radius), n = w * h, lines = h + rim;
  const double* taps = Doubles(info, 4, 4);
  float* padded = Floats(info, 5, (w + rim) * lines);
  float* rows = Floats(info, 6, w * lines);
  float* sums = Floats(info, 7, w * lines);
  double* column = Doubles(info, 8, w);
  float* filtered = Floats(info, 9, n);
  const bool wide = info[0].IsTypedArray() && info[0].As<Napi::TypedArray>().TypedArrayType() == napi_uint16_array;
  if (wide) {
    FaintSmooth(Elements<std::uint16_t>(info, 0, napi_uint16_array, n), size, taps, padded, rows, sums, column, filtered);
  } else {
    FaintSmooth(Elements<std::uint8_t>(info, 0, napi_uint8_array, n), size, taps, padded, rows, sums, column, filtered);
  }
  return info.Env().Undefined();
}

Napi::Value FaintSettleJs(const Napi::CallbackInfo& info) {
  const int width = Side(info, 0), height = Side(info, 1), block = Side(info, 2);
  const std::size_t n = static_cast<std::size_t>(width) * height;
  const FaintMaps maps{Floats(info, 3, n), Floats(info, 4, n), Floats(info, 5, n), Floats(info, 6, n)};
  const int across = (width + block - 1) / block, down = (height + block - 1) / block;
  const std::size_t squares = static_cast<std::size_t>(across) * down;
  const double* shares = Doubles(info, 7, squares);
  const double* mosts = Doubles(info, 8, squares);
  const auto* restless = Elements<std::uint8_t>(info, 9, napi_uint8_array, squares);
  if (!info[10].IsNumber()) throw Napi::TypeError::New(info.Env(), "argument 10 must be a number");
  const double pixel_share = info[10].As<Napi::Number>();
  double* rests = Doubles(info, 11, squares);
  double* steps = Doubles(info, 12, squares);
  for (int row = 0, b = 0; row < down; row++) {
    for (int column = 0; column < across; column++, b++) {
      const int left = column * block, top = row * block;
      const FaintSquare square{left,      top,      std::min(left + block, width), std::min(top + block, height),
                               shares[b], mosts[b], pixel_share,                   restless[b] != 0};
      const FaintSums sums = FaintSettle(maps, width, square);
      rests[b] = sums.rest;
      steps[b] = sums.step;
    }
  }
  return info.Env().Undefined();
}

}  // namespace irst
