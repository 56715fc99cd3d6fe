#include <cassert>
#include <cmath>

#include "runtime/tensor/cpu/activations.hpp"
#include "runtime/tensor/cpu/cpu_stream.hpp"
#include "runtime/tensor/cpu/random_factors.hpp"

namespace troupe::cpu {

void cpu_stream::scaled_add(double alpha, const tensor& a, const scalar& beta, const tensor& b, const tensor& out) {
  assert(a.count() == out.count() && (!b || b.count() == a.count()));
  const float* left = a.data<float>();
  const float* right = b ? b.data<float>() : nullptr;
  float* to = out.mutable_data<float>();
  const auto s = static_cast<float>(alpha), t = static_cast<float>(beta.value());
  each_piece(a.count(), [&](std::int64_t first, std::int64_t last) {
    each_vector(last - first, [&](std::int64_t n, auto part) {
      const auto i = first + n;
      const floats scaled = load(left + i, part) * s;
      store(to + i, right ? scaled + load(right + i, part) * t : scaled, part);
    });
  });
}

void cpu_stream::scale_to_unit(const tensor& a, const tensor& square_sum, double least, const tensor& out) {
  scaled_add(1.0 / std::max(std::sqrt(*square_sum.data<double>()), least), a, 0.0, {}, out);
}

void cpu_stream::activation_forward(activation kind, const tensor& x, const tensor& y) {
  assert(x.count() == y.count());
  const float* from = x.data<float>();
  float* to = y.mutable_data<float>();
  with_activation(kind, [&](auto function) {
    each_piece(x.count(), [&](std::int64_t first, std::int64_t last) {
      each_vector(last - first, [&](std::int64_t n, auto part) {
        store(to + first + n, function.value(load(from + first + n, part)), part);
      });
    });
  });
}

void cpu_stream::activation_backward(activation kind, const tensor& x, const tensor& dy, const tensor& dx) {
  assert(x.count() == dy.count() && x.count() == dx.count());
  const float* from = x.data<float>();
  const float* above = dy.data<float>();
  float* to = dx.mutable_data<float>();
  with_activation(kind, [&](auto function) {
    each_piece(x.count(), [&](std::int64_t first, std::int64_t last) {
      each_vector(last - first, [&](std::int64_t n, auto part) {
        const auto i = first + n;
        store(to + i, load(above + i, part) * function.slope(load(from + i, part)), part);
      });
    });
  });
}

void cpu_stream::swiglu_forward(const tensor& x, const tensor& y) {
  const auto width = y.shape().back(), rows = y.count() / width;
  assert(x.count() == 2 * y.count());
  const float* from = x.data<float>();
  float* to = y.mutable_data<float>();
  each_rows(rows, 2 * width, [&](std::int64_t first, std::int64_t last) {
    for (auto r = first; r < last; ++r) {
      const float* gate = from + r * 2 * width;
      each_vector(width, [&](std::int64_t i, auto part) {
        store(to + r * width + i, silu::value(load(gate + i, part)) * load(gate + width + i, part), part);
      });
    }
  });
}

void cpu_stream::swiglu_backward(const tensor& x, const tensor& dy, const tensor& dx) {
  const auto width = dy.shape().back(), rows = dy.count() / width;
  assert(x.count() == 2 * dy.count() && dx.count() == x.count());
  const float* from = x.data<float>();
  const float* above = dy.data<float>();
  float* to = dx.mutable_data<float>();
  each_rows(rows, 3 * width, [&](std::int64_t first, std::int64_t last) {
    for (auto r = first; r < last; ++r) {
      const float* gate = from + r * 2 * width;
      float* dgate = to + r * 2 * width;
      each_vector(width, [&](std::int64_t i, auto part) {
        const floats g = load(gate + i, part), up = load(gate + width + i, part);
        const floats d = load(above + r * width + i, part);
        store(dgate + i, d * up * silu::slope(g), part);
        store(dgate + width + i, d * silu::value(g), part);
      });
    }
  });
}

void cpu_stream::dropout(const dropout_options& options, const tensor& x, const tensor& y) {
  assert(x.count() == y.count());
  const float* from = x.data<float>();
  float* to = y.mutable_data<float>();
  const random_factors factors(options);
  each_piece(x.count(), [&](std::int64_t first, std::int64_t last) {
    alignas(64) float factor[random_factors::run];
    for (auto i = first; i < last; i += random_factors::run) {
      const auto count = std::min(last - i, random_factors::run);
      factors.draw(static_cast<std::uint64_t>(i), count, factor);
      each_vector(count, [&](std::int64_t n, auto part) {
        store(to + i + n, load(from + i + n, part) * load(factor + n, part), part);
      });
    }
  });
}

}  // namespace troupe::cpu
