#pragma once

namespace troupe {

/// What the processor can do at most: single-precision FLOP/s of fused multiply-adds between registers, on this many
/// threads at once, each counted at its own pace. Takes about 50 ms; the best of several short runs, so that a busy
/// neighbour matters little.
double measure_fma_peak(int threads);

}  // namespace troupe
