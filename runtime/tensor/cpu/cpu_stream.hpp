#pragma once

#include <algorithm>
#include <utility>

#include "runtime/tensor/cpu/team.hpp"
#include "runtime/tensor/device.hpp"

namespace troupe::cpu {

/// Runs each kernel at once, in the caller's thread and its helpers. One file for each group of kernels.
class cpu_stream final : public stream {
 public:
  cpu_stream(device& on, int threads) : stream(on, dtype::float32), team_(threads) {}

  // -- order: the work is done when a kernel returns ------------------------------

  void synchronize() override {}
  event_ptr record() override { return std::make_shared<event>(); }
  void wait(const event&) override {}

  // -- moving.cpp ---------------------------------------------------------------

  void zero(const tensor& out) override;
  void copy(const tensor& in, const tensor& out) override;
  void cast(const tensor& in, const tensor& out) override;
  void round_stochastic(const random_key& key, const tensor& in, const tensor& out) override;
  tensor to_device(const tensor& host) override { return host; }
  tensor to_host(const tensor& in) override { return in; }

  // -- elementwise.cpp ----------------------------------------------------------

  void scaled_add(double alpha, const tensor& a, const scalar& beta, const tensor& b, const tensor& out) override;
  void scale_to_unit(const tensor& a, const tensor& square_sum, double least, const tensor& out) override;
  void activation_forward(activation kind, const tensor& x, const tensor& y) override;
  void activation_backward(activation kind, const tensor& x, const tensor& dy, const tensor& dx) override;
  void swiglu_forward(const tensor& x, const tensor& y) override;
  void swiglu_backward(const tensor& x, const tensor& dy, const tensor& dx) override;
  void dropout(const dropout_options& options, const tensor& x, const tensor& y) override;

  // -- linear.cpp ---------------------------------------------------------------

  void matmul(const tensor& a, const tensor& b, const tensor& c, const matmul_options& options) override;
  void linear_forward(const tensor& x, const tensor& weight, const tensor& bias, const tensor& y) override;
  void linear_activation_forward(activation kind, const tensor& x, const tensor& weight, const tensor& bias,
                                 const tensor& pre, const tensor& y) override;
  void linear_backward(const tensor& dy, const tensor& x, const tensor& weight, const tensor& dx,
                       const tensor& dweight, const tensor& dbias, bool fresh) override;

  // -- normalization.cpp --------------------------------------------------------

  void layer_norm_forward(const tensor& x, const tensor& delta, const tensor& weight, const tensor& bias,
                          double epsilon, const tensor& residual, const tensor& y, const tensor& mean,
                          const tensor& rstd) override;
  void layer_norm_backward(const tensor& dy, const tensor& x, const tensor& weight, const tensor& mean,
                           const tensor& rstd, const tensor& residual_gradient, const tensor& dx,
                           const tensor& dweight, const tensor& dbias) override;
  void rms_norm_forward(const tensor& x, const tensor& delta, const tensor& weight, double epsilon,
                        const tensor& residual, const tensor& y, const tensor& rstd) override;
  void rms_norm_backward(const tensor& dy, const tensor& x, const tensor& weight, const tensor& rstd,
                         const tensor& residual_gradient, const tensor& dx, const tensor& dweight) override;

  // -- attention ----------------------------------------------------------------

  void rotary(const attention_shape& geometry, double theta, std::int64_t first_position, bool inverse,
              const tensor& qkv) override;
  void attention_forward(const attention_shape& geometry, const dropout_options& dropout, const tensor& qkv,
                         const tensor& out, const tensor& log_sum_exp) override;
  void attention_backward(const attention_shape& geometry, const dropout_options& dropout, const tensor& qkv,
                          const tensor& out, const tensor& log_sum_exp, const tensor& dout,
                          const tensor& dqkv) override;
  void attention_cached(const attention_shape& geometry, std::int64_t first_position, const tensor& qkv,
                        const tensor& key_cache, const tensor& value_cache, const tensor& out) override;

  // -- embedding.cpp, cross_entropy.cpp -------------------------------------------

  void embedding_forward(const tensor& tokens, std::int64_t time, std::int64_t first_position,
                         const tensor& token_table, const tensor& position_table, const tensor& y) override;
  void embedding_backward(const tensor& tokens, std::int64_t time, const tensor& dy, const tensor& dtoken_table,
                          const tensor& dposition_table) override;
  void linear_cross_entropy(const tensor& hidden, const tensor& weight, const tensor& targets, const tensor& losses,
                            const tensor& dhidden, const tensor& dweight, bool fresh) override;

  // -- reductions.cpp -----------------------------------------------------------

  void sum(std::span<const tensor> in, const tensor& out, const tensor& sum_of_squares) override;
  void sum_of_squares(const tensor& x, const tensor& out) override;
  void sum_elements(const tensor& x, const tensor& out) override;

  // -- optimizers.cpp -----------------------------------------------------------

  void adamw(const adamw_options& options, const tensor& gradient, const tensor& parameter,
             const tensor& first_moment, const tensor& second_moment, const tensor& parameter_out,
             const tensor& first_moment_out, const tensor& second_moment_out) override;
  void sgd(const sgd_options& options, const tensor& gradient, const tensor& parameter, const tensor& velocity,
           const tensor& parameter_out, const tensor& velocity_out) override;
  void lion(const lion_options& options, const tensor& gradient, const tensor& parameter, const tensor& moment,
            const tensor& parameter_out, const tensor& moment_out) override;
  void compensate_delay(const compensation_options& options, const tensor& gradient, const tensor& now,
                        const tensor& then, const tensor& mean_square, const tensor& out) override;

 private:
  /// Calls body(first, last) for pieces of [0, count) elements that fit the first-level cache.
  template <class Body>
  void each_piece(std::int64_t count, Body&& body) {
    team_.split(count, elements_per_task, std::forward<Body>(body));
  }

  /// Calls body(first, last) for pieces of [0, rows) of about as many elements.
  template <class Body>
  void each_rows(std::int64_t rows, std::int64_t columns, Body&& body) {
    team_.split(rows, std::max<std::int64_t>(1, elements_per_task / std::max<std::int64_t>(1, columns)),
                std::forward<Body>(body));
  }

  /// Calls row(r, dweight, dbias) for all rows, with zeroed sums to add to, and adds those to the tensors (either may
  /// be empty).
  template <class Row>
  void norm_backward(std::int64_t rows, std::int64_t columns, const tensor& dweight, const tensor& dbias, Row&& row);

  /// Scratch memory of the device's pool.
  tensor scratch(std::int64_t floats) { return allocate(dtype::float32, {floats}); }

  static constexpr std::int64_t elements_per_task = 16384;

  team team_;
};

}  // namespace troupe::cpu
