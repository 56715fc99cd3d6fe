#include <cassert>

#include "runtime/tensor/cpu/activations.hpp"
#include "runtime/tensor/cpu/cpu_stream.hpp"
#include "runtime/tensor/cpu/gemm.hpp"

namespace troupe::cpu {

namespace {

/// Columns that one task sums: a few cache lines of each row.
constexpr std::int64_t summed_columns = 16 * lanes;

/// sums[c] += the sum of column c of in[rows, columns], for c in [first, last); at most `summed_columns`.
void add_column_sums(const float* in, std::int64_t rows, std::int64_t columns, std::int64_t first, std::int64_t last,
                     float* sums) noexcept {
  alignas(64) float part_sums[summed_columns]{};
  for (std::int64_t r = 0; r < rows; ++r)
    each_vector(last - first, [&](std::int64_t c, auto part) {
      store(part_sums + c, load(part_sums + c) + load(in + r * columns + first + c, part));
    });
  each_vector(last - first, [&](std::int64_t c, auto part) {
    store(sums + first + c, load(sums + first + c, part) + load(part_sums + c), part);
  });
}

}  // namespace

void cpu_stream::matmul(const tensor& a, const tensor& b, const tensor& c, const matmul_options& options) {
  const auto rows = c.shape()[0], columns = c.shape()[1];
  const auto depth = a.shape()[options.transpose_a ? 0 : 1];
  assert(a.count() == rows * depth && b.count() == depth * columns);
  auto left = rows_of(a.data<float>(), a.shape()[1]), right = rows_of(b.data<float>(), b.shape()[1]);
  if (options.transpose_a)
    left = left.transposed();
  if (options.transpose_b)
    right = right.transposed();
  gemm(team_, on(), {rows, columns, depth}, left, right, c.mutable_data<float>(), columns,
       {static_cast<float>(options.alpha), options.accumulate});
}

void cpu_stream::linear_forward(const tensor& x, const tensor& weight, const tensor& bias, const tensor& y) {
  const auto out = weight.shape()[0], in = weight.shape()[1], rows = x.count() / in;
  assert(y.count() == rows * out && (!bias || bias.count() == out));
  float* to = y.mutable_data<float>();
  const float* offsets = bias ? bias.data<float>() : nullptr;
  const auto add_bias = [&](const finished_part& part) {
    for (auto r = part.first_row; r < part.last_row; ++r)
      each_vector(part.last_column - part.first_column, [&](std::int64_t n, auto lanes_used) {
        const auto c = part.first_column + n;
        store(to + r * out + c, load(to + r * out + c, lanes_used) + load(offsets + c, lanes_used), lanes_used);
      });
  };
  gemm(team_, on(), {rows, out, in}, rows_of(x.data<float>(), in), rows_of(weight.data<float>(), in).transposed(), to,
       out, {}, bias ? finisher(add_bias) : finisher());
}

void cpu_stream::linear_activation_forward(activation kind, const tensor& x, const tensor& weight, const tensor& bias,
                                           const tensor& pre, const tensor& y) {
  const auto out = weight.shape()[0], in = weight.shape()[1], rows = x.count() / in;
  assert(y.count() == rows * out && pre.count() == y.count() && (!bias || bias.count() == out));
  float* before = pre.mutable_data<float>();
  float* after = y.mutable_data<float>();
  const float* offsets = bias ? bias.data<float>() : nullptr;
  with_activation(kind, [&](auto function) {
    const auto add_bias_and_activate = [&](const finished_part& part) {
      for (auto r = part.first_row; r < part.last_row; ++r)
        each_vector(part.last_column - part.first_column, [&](std::int64_t n, auto lanes_used) {
          const auto c = part.first_column + n, i = r * out + c;
          floats v = load(before + i, lanes_used);
          if (offsets) {
            v += load(offsets + c, lanes_used);
            store(before + i, v, lanes_used);
          }
          store(after + i, function.value(v), lanes_used);
        });
    };
    gemm(team_, on(), {rows, out, in}, rows_of(x.data<float>(), in), rows_of(weight.data<float>(), in).transposed(),
         before, out, {}, add_bias_and_activate);
  });
}

void cpu_stream::linear_backward(const tensor& dy, const tensor& x, const tensor& weight, const tensor& dx,
                                 const tensor& dweight, const tensor& dbias, bool fresh) {
  const auto out = weight.shape()[0], in = weight.shape()[1], rows = dy.count() / out;
  const float* above = dy.data<float>();
  if (dx) {
    assert(dx.count() == rows * in);
    gemm(team_, on(), {rows, in, out}, rows_of(above, out), rows_of(weight.data<float>(), in),
         dx.mutable_data<float>(), in);
  }
  if (dweight) {
    assert(x.count() == rows * in && dweight.count() == out * in);
    gemm(team_, on(), {out, in, rows}, rows_of(above, out).transposed(), rows_of(x.data<float>(), in),
         dweight.mutable_data<float>(), in, {1.0f, !fresh});
  }
  if (dbias) {
    assert(dbias.count() == out);
    team_.split(out, summed_columns, [&](std::int64_t first, std::int64_t last) {
      add_column_sums(above, rows, out, first, last, dbias.mutable_data<float>());
    });
  }
}

}  // namespace troupe::cpu
