#pragma once

namespace troupe {

/// What the processor can do at most: single-precision FLOP/s of fused multiply-adds between registers that it sustains
/// on this many threads at once, each counted at its own pace: the median of short runs over 100 ms.
double measure_fma_peak(int threads);

}  // namespace troupe
