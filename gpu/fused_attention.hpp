#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <tuple>

#include "gpu/cudnn_graph.hpp"
#include "runtime/tensor/device.hpp"

namespace troupe::gpu {

class cuda_device;
class operation;

/// Causal attention by cuDNN's fused kernels, in bfloat16 and without dropout. The kernels for a shape are looked up, and
/// compiled, once and remembered. Used by one thread at a time.
class fused_attention {
 public:
  /// Of the device's memory. Shapes whose kernels want more workspace are refused: what the backward pass wants grows as
  /// the square of the time, since it keeps the gradients of all scores rather than add to those of queries in an order
  /// that changes.
  static constexpr double workspace_share_max = 1.0 / 32;

  /// For one stream of a device. Throws cudnn_refusal, which says why, where cuDNN is not to be had, or where its backward
  /// pass is not known to give the same bits every time.
  explicit fused_attention(const cuda_device& device);

  /// "cuDNN 9.19.0". Throws cudnn_refusal, which says why, where a device's attention is never computed with it.
  static std::string library_of(const cuda_device& device);

  // -- as the methods of `stream`; false: there are no kernels for the shape, and nothing was enqueued ---------------
  // REQUIRES: suits_matrix_units of all of these tensors.

  bool try_forward(operation& op, const attention_shape& of, const tensor& qkv, const tensor& out,
                   const tensor& log_sum_exp);
  bool try_backward(operation& op, const attention_shape& of, const tensor& qkv, const tensor& out,
                    const tensor& log_sum_exp, const tensor& dout, const tensor& dqkv);

 private:
  struct plan {
    cudnn_graph forward, backward;
  };
  using plan_key = std::tuple<std::int64_t, std::int64_t, std::int64_t, std::int64_t, std::int64_t>;

  void enqueue_on(cudaStream_t stream) const;
  plan make_plan(const attention_shape& of) const;
  /// Null: either pass was refused, so that both are computed by the same kernels.
  const plan* plan_of(const attention_shape& of);

  struct closer {
    std::shared_ptr<const cudnn> library;
    void operator()(cudnn::handle which) const noexcept { library->destroy(which); }
  };

  std::shared_ptr<const cudnn> library_;
  std::unique_ptr<void, closer> handle_;
  std::int64_t workspace_bytes_max_ = 0;
  std::map<plan_key, std::optional<plan>> plans_;
};

}  // namespace troupe::gpu
