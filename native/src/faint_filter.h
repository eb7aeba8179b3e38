// The arithmetic of `src/track/faint-kernel.ts`, which is its specification: the same numbers to the last bit, several times as fast.
#pragma once

#include <cstdint>

namespace irst {

// Sizes of the arrays below; the ones with a rim are wider and higher by `radius` px on every side.
struct FaintSize {
  int width;
  int height;
  int radius;
};

// A frame with a mirrored rim -> smoothed less the local level. `taps`: of the smoothing filter, from the middle on.
// `padded` [height + 2 r, width + 2 r], `rows`, `sums` [height + 2 r, width], `column` [width] are scratch; `filtered` [height, width].
template <typename Count>
void FaintSmooth(const Count* data, const FaintSize& size, const double taps[4], float* padded, float* rows, float* sums, double* column,
                 float* filtered);

struct FaintMaps {
  float* filtered;
  float* previous;
  float* still;
  float* variance;
};

// How a square is treated: `share` of a pixel's residual goes into the still picture, `pixel_share` of its square (at most `most`) into its
// variance; a restless one has none.
struct FaintSquare {
  int left, top, right, bottom;
  double share;
  double most;
  double pixel_share;
  bool restless;
};

// Sums of absolute values over a square: of what is left without the still picture, and of the change since the frame before.
struct FaintSums {
  double rest;
  double step;
};

FaintSums FaintSettle(const FaintMaps& maps, int width, const FaintSquare& square);

}  // namespace irst
