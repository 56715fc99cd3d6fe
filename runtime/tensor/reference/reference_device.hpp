#pragma once

#include <functional>
#include <initializer_list>

#include "runtime/tensor/device.hpp"

namespace troupe::reference {

/// Runs each kernel at once, in the caller's thread. All tensors are float64, save int32 tokens and targets.
///
/// One that `rounds` stands for a stream that computes in bfloat16: what such a stream writes in bfloat16 is rounded to
/// what that type can hold, and nothing else is.
class reference_stream final : public stream {
 public:
  reference_stream(device& on, bool rounds) noexcept : stream(on, dtype::float64), rounds_(rounds) {}

  // -- order, moving and filling: reference_device.cpp --------------------------

  void synchronize() override {}
  event_ptr record() override;
  void wait(const event&) override {}
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

  // -- matmul.cpp ---------------------------------------------------------------

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

  // -- attention.cpp ------------------------------------------------------------

  void rotary(const attention_shape& geometry, double theta, std::int64_t first_position, bool inverse,
              const tensor& qkv) override;
  void attention_forward(const attention_shape& geometry, const dropout_options& dropout, const tensor& qkv,
                         const tensor& out, const tensor& log_sum_exp) override;
  void attention_backward(const attention_shape& geometry, const dropout_options& dropout, const tensor& qkv,
                          const tensor& out, const tensor& log_sum_exp, const tensor& dout,
                          const tensor& dqkv) override;
  void attention_cached(const attention_shape& geometry, std::int64_t first_position, const tensor& qkv,
                        const tensor& key_cache, const tensor& value_cache, const tensor& out) override;

  // -- embedding_and_loss.cpp ---------------------------------------------------

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
  /// Activations and their gradients, as they were written: rounded, where that is asked for.
  void keep(std::initializer_list<std::reference_wrapper<const tensor>> written) const;
  double kept(double value) const noexcept {
    return rounds_ ? static_cast<float>(bfloat16(static_cast<float>(value))) : value;
  }

  bool rounds_;
};

}  // namespace troupe::reference
