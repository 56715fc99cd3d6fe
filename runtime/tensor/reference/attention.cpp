#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "runtime/tensor/reference/reference_device.hpp"
#include "runtime/tensor/reference/views.hpp"

namespace troupe::reference {

namespace {

/// Addresses of the heads' vectors in packed projections.
struct packed_heads {
  const attention_shape& geometry;
  double* first;

  packed_heads(const attention_shape& of, const tensor& qkv) : geometry(of), first(qkv.mutable_data<double>()) {
    assert(of.kv_heads > 0 && of.heads % of.kv_heads == 0);
    assert(qkv.count() == of.batch * of.time * of.row_width());
  }

  std::int64_t kv_head(std::int64_t head) const { return head / (geometry.heads / geometry.kv_heads); }
  double* query(std::int64_t b, std::int64_t t, std::int64_t head) const {
    return first + (b * geometry.time + t) * geometry.row_width() + head * geometry.head_size;
  }
  /// By query head, which may share its key and value with others.
  double* key(std::int64_t b, std::int64_t t, std::int64_t head) const {
    return query(b, t, geometry.heads + kv_head(head));
  }
  double* value(std::int64_t b, std::int64_t t, std::int64_t head) const {
    return query(b, t, geometry.heads + geometry.kv_heads + kv_head(head));
  }
};

double dot(const double* a, const double* b, std::int64_t count) {
  double sum = 0;
  for (std::int64_t i = 0; i < count; ++i)
    sum += a[i] * b[i];
  return sum;
}

/// y += factor * x
void add_scaled(double factor, const double* x, double* y, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i)
    y[i] += factor * x[i];
}

/// Turns scores into probabilities; returns the logarithm of the sum of their exponentials.
double softmax(std::vector<double>& scores) {
  double greatest = -std::numeric_limits<double>::infinity();
  for (const double score : scores)
    greatest = std::max(greatest, score);
  double sum = 0;
  for (const double score : scores)
    sum += std::exp(score - greatest);
  for (double& score : scores)
    score = std::exp(score - greatest) / sum;
  return greatest + std::log(sum);
}

double score_scale(const attention_shape& geometry) {
  return 1 / std::sqrt(static_cast<double>(geometry.head_size));
}

/// Calls use(b, h, t, row) for each query; `row` counts (b, h, t) in that order.
template <class F>
void for_each_query(const attention_shape& geometry, F use) {
  std::int64_t row = 0;
  for (std::int64_t b = 0; b < geometry.batch; ++b)
    for (std::int64_t h = 0; h < geometry.heads; ++h)
      for (std::int64_t t = 0; t < geometry.time; ++t)
        use(b, h, t, row++);
}

/// A query's output among rows of heads * head_size.
double* output_of(const attention_shape& geometry, const tensor& out, std::int64_t b, std::int64_t t, std::int64_t h) {
  assert(out.count() == geometry.batch * geometry.time * geometry.heads * geometry.head_size);
  return out.mutable_data<double>() + ((b * geometry.time + t) * geometry.heads + h) * geometry.head_size;
}

}  // namespace

void reference_stream::rotary(const attention_shape& geometry, double theta, std::int64_t first_position,
                              bool inverse, const tensor& qkv) {
  const packed_heads heads(geometry, qkv);
  const std::int64_t half = geometry.head_size / 2;
  for (std::int64_t b = 0; b < geometry.batch; ++b) {
    for (std::int64_t t = 0; t < geometry.time; ++t) {
      for (std::int64_t h = 0; h < geometry.heads + geometry.kv_heads; ++h) {
        double* const vector = heads.query(b, t, h);
        for (std::int64_t i = 0; i < half; ++i) {
          const double angle = static_cast<double>(first_position + t) *
                               std::pow(theta, -static_cast<double>(i) / static_cast<double>(half));
          const double cosine = std::cos(angle), sine = inverse ? -std::sin(angle) : std::sin(angle);
          const double x = vector[i], y = vector[i + half];
          vector[i] = x * cosine - y * sine;
          vector[i + half] = x * sine + y * cosine;
        }
      }
    }
  }
  keep({qkv});
}

void reference_stream::attention_forward(const attention_shape& geometry, const dropout_options& dropout,
                                         const tensor& qkv, const tensor& out, const tensor& log_sum_exp) {
  const packed_heads in(geometry, qkv);
  for_each_query(geometry, [&](std::int64_t b, std::int64_t h, std::int64_t t, std::int64_t row) {
    std::vector<double> weights;
    for (std::int64_t s = 0; s <= t; ++s)
      weights.push_back(dot(in.query(b, t, h), in.key(b, s, h), geometry.head_size) * score_scale(geometry));
    log_sum_exp.mutable_data<double>()[row] = softmax(weights);
    double* const result = output_of(geometry, out, b, t, h);
    std::fill_n(result, geometry.head_size, 0.0);
    for (std::int64_t s = 0; s <= t; ++s) {
      const double kept = dropout_factor(dropout.probability, dropout.key, row * geometry.time + s);
      add_scaled(weights[s] * kept, in.value(b, s, h), result, geometry.head_size);
    }
  });
  keep({out});
}

void reference_stream::attention_backward(const attention_shape& geometry, const dropout_options& dropout,
                                          const tensor& qkv, const tensor& out, const tensor& log_sum_exp,
                                          const tensor& dout, const tensor& dqkv) {
  const packed_heads in(geometry, qkv), din(geometry, dqkv);
  const std::int64_t size = geometry.head_size;
  zero(dqkv);
  for_each_query(geometry, [&](std::int64_t b, std::int64_t h, std::int64_t t, std::int64_t row) {
    const double* const dresult = output_of(geometry, dout, b, t, h);
    std::vector<double> weights, dweights;
    // The sum of weights times their gradients (Dao et al. 2022, appendix B.2).
    const double product_sum = dot(dresult, output_of(geometry, out, b, t, h), size);
    for (std::int64_t s = 0; s <= t; ++s) {
      const double score = dot(in.query(b, t, h), in.key(b, s, h), size) * score_scale(geometry);
      const double kept = dropout_factor(dropout.probability, dropout.key, row * geometry.time + s);
      weights.push_back(std::exp(score - log_sum_exp.data<double>()[row]));
      dweights.push_back(dot(dresult, in.value(b, s, h), size) * kept);
      add_scaled(weights[s] * kept, dresult, din.value(b, s, h), size);
    }
    for (std::int64_t s = 0; s <= t; ++s) {
      const double dscore = weights[s] * (dweights[s] - product_sum) * score_scale(geometry);
      add_scaled(dscore, in.key(b, s, h), din.query(b, t, h), size);
      add_scaled(dscore, in.query(b, t, h), din.key(b, s, h), size);
    }
  });
  keep({dqkv});
}

void reference_stream::attention_cached(const attention_shape& geometry, std::int64_t first_position,
                                        const tensor& qkv, const tensor& key_cache, const tensor& value_cache,
                                        const tensor& out) {
  const packed_heads in(geometry, qkv);
  const std::int64_t size = geometry.head_size, capacity = key_cache.shape()[1];
  assert(key_cache.count() == geometry.batch * capacity * geometry.kv_heads * size);
  assert(value_cache.shape() == key_cache.shape() && first_position + geometry.time <= capacity);
  const auto cached = [&](const tensor& cache, std::int64_t b, std::int64_t position, std::int64_t h) {
    return cache.mutable_data<double>() + ((b * capacity + position) * geometry.kv_heads + in.kv_head(h)) * size;
  };
  for_each_query(geometry, [&](std::int64_t b, std::int64_t h, std::int64_t t, std::int64_t) {
    const std::int64_t position = first_position + t;
    std::copy_n(in.key(b, t, h), size, cached(key_cache, b, position, h));
    std::copy_n(in.value(b, t, h), size, cached(value_cache, b, position, h));
    std::vector<double> weights;
    for (std::int64_t s = 0; s <= position; ++s)
      weights.push_back(dot(in.query(b, t, h), cached(key_cache, b, s, h), size) * score_scale(geometry));
    softmax(weights);
    double* const result = output_of(geometry, out, b, t, h);
    std::fill_n(result, size, 0.0);
    for (std::int64_t s = 0; s <= position; ++s)
      add_scaled(weights[s], cached(value_cache, b, s, h), result, size);
  });
  keep({out});
}

}  // namespace troupe::reference
