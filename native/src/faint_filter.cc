#include "faint_filter.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

// JavaScript computes in double and rounds where it stores: so does this. The build forbids contraction (-ffp-contract=off), sums are taken
// in the order of the pixels, and everything else is in loops that a compiler turns into vector instructions.

namespace irst {

namespace {

template <typename Count>
void Pad(const Count* data, const FaintSize& size, float* padded) {
  const int w = size.width, h = size.height, r = size.radius;
  const std::ptrdiff_t stride = w + 2 * r;
  for (int y = 0; y < h; y++) {
    const Count* from = data + static_cast<std::ptrdiff_t>(y) * w;
    float* to = padded + (y + r) * stride + r;
    for (int x = 0; x < w; x++) to[x] = static_cast<float>(from[x]);
    for (int k = 1; k <= r; k++) {
      to[-k] = static_cast<float>(from[std::min(k, w - 1)]);
      to[w - 1 + k] = static_cast<float>(from[std::max(0, w - 1 - k)]);
    }
  }
  for (int k = 1; k <= r; k++) {
    const int top = r + std::min(k, h - 1), bottom = r + std::max(0, h - 1 - k);
    std::copy_n(padded + top * stride, stride, padded + (r - k) * stride);
    std::copy_n(padded + bottom * stride, stride, padded + (r + h - 1 + k) * stride);
  }
}

// K0 a[0] + K1 (a[-step] + a[step]) + ...
inline double Tap(const float* a, std::ptrdiff_t step, const double taps[4]) {
  return taps[0] * a[0] + taps[1] * (static_cast<double>(a[-step]) + a[step]) + taps[2] * (static_cast<double>(a[-2 * step]) + a[2 * step]) +
         taps[3] * (static_cast<double>(a[-3 * step]) + a[3 * step]);
}

}  // namespace

template <typename Count>
void FaintSmooth(const Count* data, const FaintSize& size, const double taps[4], float* padded, float* rows, float* sums, double* column,
                 float* filtered) {
  const int w = size.width, h = size.height, r = size.radius, side = 2 * r + 1;
  const std::ptrdiff_t stride = w + 2 * r, far = static_cast<std::ptrdiff_t>(r) * w;
  Pad(data, size, padded);
  for (int y = 0; y < h + 2 * r; y++) {
    const float* line = padded + y * stride;
    float* row = rows + static_cast<std::ptrdiff_t>(y) * w;
    float* sum_row = sums + static_cast<std::ptrdiff_t>(y) * w;
    // Whole numbers, of which a float holds these exactly: 129 times 65 535 (the largest radius) is less than 2^24.
    std::int32_t sum = 0;
    for (int x = 0; x < side - 1; x++) sum += static_cast<std::int32_t>(line[x]);
    for (int x = 0; x < w; x++) {
      sum += static_cast<std::int32_t>(line[x + 2 * r]);
      sum_row[x] = static_cast<float>(sum);
      sum -= static_cast<std::int32_t>(line[x]);
    }
    for (int x = 0; x < w; x++) row[x] = static_cast<float>(Tap(line + r + x, 1, taps));
  }
  const double share = 1.0 / (static_cast<double>(side) * side);
  std::fill_n(column, w, 0.0);
  for (int y = 0; y < side - 1; y++) {
    for (int x = 0; x < w; x++) column[x] += sums[static_cast<std::ptrdiff_t>(y) * w + x];
  }
  for (int y = 0; y < h; y++) {
    const std::ptrdiff_t to = static_cast<std::ptrdiff_t>(y) * w;
    const float* row = rows + to + far;
    const float* next = sums + to + 2 * far;
    const float* last = sums + to;
    float* out = filtered + to;
    for (int x = 0; x < w; x++) {
      const double level = column[x] + next[x];
      column[x] = level - last[x];
      out[x] = static_cast<float>(Tap(row + x, w, taps) - level * share);
    }
  }
}

template void FaintSmooth(const std::uint8_t*, const FaintSize&, const double[4], float*, float*, float*, double*, float*);
template void FaintSmooth(const std::uint16_t*, const FaintSize&, const double[4], float*, float*, float*, double*, float*);

FaintSums FaintSettle(const FaintMaps& maps, int width, const FaintSquare& square) {
  constexpr int kRun = 16;
  FaintSums sums{0, 0};
  for (int y = square.top; y < square.bottom; y++) {
    for (int x = square.left; x < square.right; x += kRun) {
      const int n = std::min(kRun, square.right - x);
      const std::ptrdiff_t at = static_cast<std::ptrdiff_t>(y) * width + x;
      float* filtered = maps.filtered + at;
      float* previous = maps.previous + at;
      float* still = maps.still + at;
      float* variance = maps.variance + at;
      double rest[kRun], step[kRun];
      for (int i = 0; i < n; i++) {
        const double value = filtered[i], residual = value - still[i];
        still[i] = static_cast<float>(still[i] + residual * square.share);
        rest[i] = std::fabs(residual);
        step[i] = std::fabs(value - previous[i]);
        previous[i] = filtered[i];
        filtered[i] = static_cast<float>(residual);
        const double limited = residual * residual < square.most ? residual * residual : square.most;
        variance[i] = static_cast<float>(variance[i] + (limited - variance[i]) * square.pixel_share);
      }
      if (square.restless) std::fill_n(variance, n, 0.0f);
      for (int i = 0; i < n; i++) {
        sums.rest += rest[i];
        sums.step += step[i];
      }
    }
  }
  return sums;
}

}  // namespace irst
