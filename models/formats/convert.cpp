#include "models/formats/convert.hpp"

#include <algorithm>

namespace troupe {

namespace {

/// Calls `f` with a value of the element type.
template <class F>
void visit(dtype type, F f) {
  switch (type) {
    case dtype::float64:
      return f(double{});
    case dtype::bfloat16:
      return f(bfloat16{});
    case dtype::float16:
      return f(float16{});
    default:
      return f(float{});
  }
}

}  // namespace

tensor converted(const tensor& from, dtype type) {
  if (from.type() == type)
    return from;
  auto to = make_host_tensor(type, from.shape());
  visit(from.type(), [&](auto source) {
    visit(type, [&](auto target) {
      const auto in = from.elements<decltype(source)>();
      std::transform(in.begin(), in.end(), to.mutable_data<decltype(target)>(),
                     [](auto x) { return static_cast<decltype(target)>(static_cast<float>(x)); });
    });
  });
  return to;
}

tensor transposed(const tensor& from) {
  const auto rows = from.shape()[0], columns = from.shape()[1];
  auto to = make_host_tensor(dtype::float32, {columns, rows});
  const auto* in = from.data<float>();
  auto* out = to.mutable_data<float>();
  constexpr std::int64_t tile = 32;  // both sides of a tile stay in the cache
  for (std::int64_t r0 = 0; r0 < rows; r0 += tile)
    for (std::int64_t c0 = 0; c0 < columns; c0 += tile)
      for (auto c = c0; c < std::min(c0 + tile, columns); ++c)
        for (auto r = r0; r < std::min(r0 + tile, rows); ++r)
          out[c * rows + r] = in[r * columns + c];
  return to;
}

}  // namespace troupe
