#include <cassert>
#include <vector>

#include "runtime/tensor/cpu/cpu_stream.hpp"
#include "runtime/tensor/cpu/simd.hpp"

namespace troupe::cpu {

namespace {

/// The sum of term(doubles) over [first, last), in four chains of eight lanes.
template <class Term>
double sum_in_double(const float* x, std::int64_t first, std::int64_t last, Term term) noexcept {
  doubles chain[4]{};
  auto i = first;
  for (; i + 32 <= last; i += 32)
    for (int n = 0; n < 4; ++n)
      chain[n] += term(widen(x + i + 8 * n));
  double rest = 0.0;
  for (; i < last; ++i)
    rest += term(doubles{} + x[i])[0];
  return sum_of((chain[0] + chain[1]) + (chain[2] + chain[3])) + rest;
}

double sum_of_squares_in_double(const float* x, std::int64_t first, std::int64_t last) noexcept {
  return sum_in_double(x, first, last, [](doubles v) { return v * v; });
}

/// The pieces' sums, which follow from the count alone, added in their order.
struct piece_sums {
  explicit piece_sums(std::int64_t count, std::int64_t piece)
      : piece_(piece), sums_(static_cast<std::size_t>((count + piece - 1) / piece)) {}

  double& operator[](std::int64_t first) { return sums_[static_cast<std::size_t>(first / piece_)]; }
  double total() const {
    double sum = 0.0;
    for (const double part : sums_)
      sum += part;
    return sum;
  }

 private:
  std::int64_t piece_;
  std::vector<double> sums_;
};

}  // namespace

void cpu_stream::sum(std::span<const tensor> in, const tensor& out, const tensor& sum_of_squares) {
  assert(!in.empty());
  float* to = out.mutable_data<float>();
  std::vector<const float*> from;
  for (const auto& part : in) {
    assert(part.count() == out.count());
    from.push_back(part.data<float>());
  }
  if (in.size() == 1 && from[0] == to) {
    if (sum_of_squares)
      this->sum_of_squares(out, sum_of_squares);
    return;
  }
  piece_sums squares(out.count(), elements_per_task);
  each_piece(out.count(), [&](std::int64_t first, std::int64_t last) {
    each_vector(last - first, [&](std::int64_t n, auto part) {
      floats total = load(from[0] + first + n, part);
      for (std::size_t i = 1; i < from.size(); ++i)
        total += load(from[i] + first + n, part);
      store(to + first + n, total, part);
    });
    if (sum_of_squares)
      squares[first] = sum_of_squares_in_double(to, first, last);
  });
  if (sum_of_squares)
    *sum_of_squares.mutable_data<double>() = squares.total();
}

void cpu_stream::sum_of_squares(const tensor& x, const tensor& out) {
  piece_sums sums(x.count(), elements_per_task);
  each_piece(x.count(), [&](std::int64_t first, std::int64_t last) {
    sums[first] = sum_of_squares_in_double(x.data<float>(), first, last);
  });
  *out.mutable_data<double>() = sums.total();
}

void cpu_stream::sum_elements(const tensor& x, const tensor& out) {
  piece_sums sums(x.count(), elements_per_task);
  each_piece(x.count(), [&](std::int64_t first, std::int64_t last) {
    sums[first] = sum_in_double(x.data<float>(), first, last, [](doubles v) { return v; });
  });
  *out.mutable_data<double>() = sums.total();
}

}  // namespace troupe::cpu
