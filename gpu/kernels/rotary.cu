#include <cassert>

#include "gpu/kernels/each.hpp"

namespace troupe::gpu {

namespace {

/// Cosines, then sines, of each position; angles in double, since positions times small frequencies lose digits.
struct table_body {
  double theta;
  std::int64_t half, first_position;
  bool inverse;
  float* table;

  __device__ void operator()(std::int64_t t, std::int64_t i) const {
    const double angle = static_cast<double>(first_position + t) *
                         pow(theta, -static_cast<double>(i) / static_cast<double>(half));
    table[2 * t * half + i] = static_cast<float>(cos(angle));
    table[(2 * t + 1) * half + i] = static_cast<float>(inverse ? -sin(angle) : sin(angle));
  }
};

template <class T>
struct rotation_body {
  std::int64_t time, row_width;
  unsigned half;
  const float* table;
  T* qkv;

  __device__ void operator()(std::int64_t row, std::int64_t pair) const {
    const unsigned head = static_cast<unsigned>(pair) / half, i = static_cast<unsigned>(pair) % half;
    const float* cosines = table + 2 * (row % time) * half;
    T* x = qkv + row * row_width + head * 2 * half;
    const float a = float(x[i]), b = float(x[half + i]), cosine = cosines[i], sine = cosines[half + i];
    x[i] = T(a * cosine - b * sine);
    x[half + i] = T(a * sine + b * cosine);
  }
};

}  // namespace

void cuda_stream::rotary(const attention_shape& geometry, double theta, std::int64_t first_position, bool inverse,
                         const tensor& qkv) {
  const auto half = geometry.head_size / 2, rows = geometry.batch * geometry.time;
  assert(geometry.head_size % 2 == 0 && qkv.count() == rows * geometry.row_width());
  operation op(*this, "rotary", {}, {qkv});
  const tensor table = op.scratch(2 * geometry.time * half);
  each_in_rows(op, geometry.time, half, table_body{theta, half, first_position, inverse, table.mutable_data<float>()});
  with_element(op, qkv, [&]<class T>(T) {
    each_in_rows(op, rows, (geometry.heads + geometry.kv_heads) * half,
                 rotation_body<T>{geometry.time, geometry.row_width(), static_cast<unsigned>(half),
                                  table.data<float>(), qkv.mutable_data<T>()});
  });
}

}  // namespace troupe::gpu
