#pragma once

#include <array>
#include <memory>
#include <optional>

#include "gpu/fused_attention.hpp"
#include "gpu/matrix_products.hpp"
#include "gpu/memory.hpp"
#include "gpu/staging.hpp"
#include "gpu/timeline.hpp"
#include "runtime/tensor/device.hpp"

namespace troupe::gpu {

class cuda_device;

/// Enqueues each kernel and returns. One file for each group of kernels, in kernels/ or beside this one.
class cuda_stream final : public stream {
 public:
  cuda_stream(cuda_device& on, precision_kind precision, bool graphs = false);
  ~cuda_stream() override;

  tensor allocate(dtype type, shape extents) override;

  timeline& order() noexcept { return *timeline_; }

  // -- cuda_stream.cpp: order and moving ----------------------------------------

  void synchronize() override;
  event_ptr record() override;
  void wait(const event& point) override;
  void begin_section(std::uint64_t key) override;
  void end_section() override;

  void zero(const tensor& out) override;
  void copy(const tensor& in, const tensor& out) override;
  tensor to_device(const tensor& from) override;
  tensor to_host(const tensor& in) override;
  std::vector<tensor> all_to_host(std::span<const tensor> in) override;

  // -- kernels/casts.cu ---------------------------------------------------------

  void cast(const tensor& in, const tensor& out) override;
  void cast_all(std::span<const tensor> in, std::span<const tensor> out) override;
  void round_stochastic(const random_key& key, const tensor& in, const tensor& out) override;

  // -- kernels/elementwise.cu ---------------------------------------------------

  void scaled_add(double alpha, const tensor& a, const scalar& beta, const tensor& b, const tensor& out) override;
  void scale_to_unit(const tensor& a, const tensor& square_sum, double least, const tensor& out) override;
  void activation_forward(activation kind, const tensor& x, const tensor& y) override;
  void activation_backward(activation kind, const tensor& x, const tensor& dy, const tensor& dx) override;
  void swiglu_forward(const tensor& x, const tensor& y) override;
  void swiglu_backward(const tensor& x, const tensor& dy, const tensor& dx) override;
  void dropout(const dropout_options& options, const tensor& x, const tensor& y) override;

  // -- linear.cpp, on matrix_products.hpp ---------------------------------------

  void matmul(const tensor& a, const tensor& b, const tensor& c, const matmul_options& options) override;
  void linear_forward(const tensor& x, const tensor& weight, const tensor& bias, const tensor& y) override;
  void linear_activation_forward(activation kind, const tensor& x, const tensor& weight, const tensor& bias,
                                 const tensor& pre, const tensor& y) override;
  void linear_backward(const tensor& dy, const tensor& x, const tensor& weight, const tensor& dx,
                       const tensor& dweight, const tensor& dbias, bool fresh) override;
  void linear_activation_backward(activation kind, const tensor& pre, const tensor& dy, const tensor& x,
                                  const tensor& weight, const tensor& dx, const tensor& dweight, const tensor& dbias,
                                  bool fresh) override;

  // -- kernels/normalization.cu -------------------------------------------------

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

  // -- kernels/rotary.cu, attention_*.cu, on fused_attention.hpp where that applies -

  void rotary(const attention_shape& geometry, double theta, std::int64_t first_position, bool inverse,
              const tensor& qkv) override;
  void attention_forward(const attention_shape& geometry, const dropout_options& dropout, const tensor& qkv,
                         const tensor& out, const tensor& log_sum_exp) override;
  void attention_backward(const attention_shape& geometry, const dropout_options& dropout, const tensor& qkv,
                          const tensor& out, const tensor& log_sum_exp, const tensor& dout,
                          const tensor& dqkv) override;
  void attention_cached(const attention_shape& geometry, std::int64_t first_position, const tensor& qkv,
                        const tensor& key_cache, const tensor& value_cache, const tensor& out) override;

  // -- kernels/embedding.cu, cross_entropy.cu -----------------------------------

  void embedding_forward(const tensor& tokens, std::int64_t time, std::int64_t first_position,
                         const tensor& token_table, const tensor& position_table, const tensor& y) override;
  void embedding_backward(const tensor& tokens, std::int64_t time, const tensor& dy, const tensor& dtoken_table,
                          const tensor& dposition_table) override;
  void linear_cross_entropy(const tensor& hidden, const tensor& weight, const tensor& targets, const tensor& losses,
                            const tensor& dhidden, const tensor& dweight, bool fresh) override;

  // -- kernels/reductions.cu ----------------------------------------------------

  void sum(std::span<const tensor> in, const tensor& out, const tensor& sum_of_squares) override;
  void sum_of_squares(const tensor& x, const tensor& out) override;
  void sum_of_squares_all(std::span<const tensor> in, const tensor& out) override;
  void sum_elements(const tensor& x, const tensor& out) override;

  // -- kernels/clipping.cu ------------------------------------------------------

  void clip_by_norm(std::span<const tensor> squares, double scale, double most, const tensor& out) override;

  // -- kernels/optimizers.cu ----------------------------------------------------

  void adamw(const adamw_options& options, const tensor& gradient, const tensor& parameter,
             const tensor& first_moment, const tensor& second_moment, const tensor& parameter_out,
             const tensor& first_moment_out, const tensor& second_moment_out) override;
  void adamw_all(const adamw_options& options, std::span<const adamw_tensors> all) override;
  void sgd(const sgd_options& options, const tensor& gradient, const tensor& parameter, const tensor& velocity,
           const tensor& parameter_out, const tensor& velocity_out) override;
  void lion(const lion_options& options, const tensor& gradient, const tensor& parameter, const tensor& moment,
            const tensor& parameter_out, const tensor& moment_out) override;
  void compensate_delay(const compensation_options& options, const tensor& gradient, const tensor& now,
                        const tensor& then, const tensor& mean_square, const tensor& out) override;

 private:
  friend class operation;

  /// out[i] = the sum of the terms of in[i]'s elements. In kernels/reductions.cu.
  template <class Term>
  void sum_each(const char* name, std::span<const tensor> in, const tensor& out);
  /// column_sums[c] += the sum of column c of in[rows, columns], by a fixed tree. In kernels/reductions.cu.
  void add_column_sums(const tensor& in, std::int64_t rows, std::int64_t columns, const tensor& column_sums);

  /// Waits on the host. `doing` is for messages.
  void wait_on_host(const char* doing);
  /// A copy of what is elsewhere.
  tensor bring(const tensor& from);

  cuda_device& device_;
  bool tf32_;
  bool graphs_;
  timeline_ptr timeline_;
  staging staging_;
  std::unique_ptr<cuda_stream> arrivals_;    // brings what is elsewhere, while this one computes; made when first used
  std::optional<matrix_products> products_;  // made when first used
  std::optional<std::unique_ptr<fused_attention>> fused_;  // likewise; null: not on this device
  std::array<const char*, 8> recent_{};      // names of the operations enqueued last, for messages
  std::size_t operations_ = 0;
};

}  // namespace troupe::gpu
