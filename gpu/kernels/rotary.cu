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

  __device__ void operator()(std::int64_t index) const {
    const std::int64_t t = index / half, i = index % half;
    const double angle = static_cast<double>(first_position + t) *
                         pow(theta, -static_cast<double>(i) / static_cast<double>(half));
    table[2 * t * half + i] = static_cast<float>(cos(angle));
    table[(2 * t + 1) * half + i] = static_cast<float>(inverse ? -sin(angle) : sin(angle));
  }
};

/// Operands: halves of heads, and their cosines or sines, where a row is a head of a row of qkv.
template <class T>
struct rows_of_heads {
  using element = T;

  T* first;
  std::int64_t heads, row_width, head_size;

  __device__ T* at(std::int64_t head, std::int64_t column) const {
    return first + head / heads * row_width + head % heads * head_size + column;
  }
};

struct rows_of_angles {
  using element = const float;

  const float* first;
  std::int64_t heads, time, half;

  __device__ const float* at(std::int64_t head, std::int64_t column) const {
    return first + head / heads % time * 2 * half + column;
  }
};

struct rotation_body {
  template <class T>
  __device__ void operator()(T& x, T& y, T a, T b, float cosine, float sine) const {
    x = rounded<T>(float(a) * cosine - float(b) * sine);
    y = rounded<T>(float(a) * sine + float(b) * cosine);
  }
};

}  // namespace

void cuda_stream::rotary(const attention_shape& geometry, double theta, std::int64_t first_position, bool inverse,
                         const tensor& qkv) {
  const auto half = geometry.head_size / 2, rows = geometry.batch * geometry.time;
  assert(geometry.head_size % 2 == 0 && qkv.count() == rows * geometry.row_width());
  operation op(*this, "rotary", {}, {qkv});
  const tensor table = op.scratch(2 * geometry.time * half);
  each_index(op, geometry.time * half, table_body{theta, half, first_position, inverse, table.mutable_data<float>()});
  const auto heads = geometry.heads + geometry.kv_heads;
  const rows_of_angles cosines{table.data<float>(), heads, geometry.time, half};
  const rows_of_angles sines{table.data<float>() + half, heads, geometry.time, half};
  with_element(op, qkv, [&]<class T>(T) {
    T *const first = qkv.mutable_data<T>(), *const second = first + half;
    const T *const read_first = first, *const read_second = second;
    const auto halves = [&]<class E>(E* of) {
      return rows_of_heads<E>{of, heads, geometry.row_width(), geometry.head_size};
    };
    each_in_rows(op, rows * heads, half, rotation_body{}, halves(first), halves(second), halves(read_first),
                 halves(read_second), cosines, sines);
  });
}

}  // namespace troupe::gpu
