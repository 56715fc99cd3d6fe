#include <cassert>
#include <cmath>

#include "runtime/tensor/cpu/cpu_stream.hpp"
#include "runtime/tensor/cpu/simd.hpp"

namespace troupe::cpu {

void cpu_stream::rotary(const attention_shape& geometry, double theta, std::int64_t first_position, bool inverse,
                        const tensor& qkv) {
  const auto half = geometry.head_size / 2, time = geometry.time;
  assert(geometry.head_size % 2 == 0 && qkv.count() == geometry.batch * time * geometry.row_width());
  // Cosines, then sines, of each position; angles in double, since positions times small frequencies lose digits.
  const tensor table_memory = scratch(2 * time * half);
  float* table = table_memory.mutable_data<float>();
  each_rows(time, 64 * half, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = 0; i < half; ++i) {
      const double frequency = std::pow(theta, -static_cast<double>(i) / static_cast<double>(half));
      for (auto t = first; t < last; ++t) {
        const double angle = static_cast<double>(first_position + t) * frequency;
        table[2 * t * half + i] = static_cast<float>(std::cos(angle));
        table[(2 * t + 1) * half + i] = static_cast<float>(inverse ? -std::sin(angle) : std::sin(angle));
      }
    }
  });
  each_rows(geometry.batch * time, geometry.row_width(), [&](std::int64_t first, std::int64_t last) {
    for (auto r = first; r < last; ++r) {
      const float* cosines = table + 2 * (r % time) * half;
      const float* sines = cosines + half;
      for (std::int64_t h = 0; h < geometry.heads + geometry.kv_heads; ++h) {
        float* x = qkv.mutable_data<float>() + r * geometry.row_width() + h * geometry.head_size;
        each_vector(half, [&](std::int64_t i, auto part) {
          const floats a = load(x + i, part), b = load(x + half + i, part);
          const floats cosine = load(cosines + i, part), sine = load(sines + i, part);
          store(x + i, a * cosine - b * sine, part);
          store(x + half + i, a * sine + b * cosine, part);
        });
      }
    }
  });
}

}  // namespace troupe::cpu
