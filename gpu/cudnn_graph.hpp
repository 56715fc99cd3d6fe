#pragma once

#include <array>
#include <initializer_list>
#include <span>
#include <utility>
#include <vector>

#include "gpu/cudnn.hpp"

namespace troupe::gpu {

/// Extents and strides of a tensor of four axes, in elements.
struct cudnn_layout {
  std::array<std::int64_t, 4> extents{}, strides{};

  /// Row-major without gaps.
  static cudnn_layout dense(const std::array<std::int64_t, 4>& extents);
  /// The same memory with the last two axes exchanged.
  cudnn_layout transposed() const;
};

/// What cuDNN is to compute, as a graph of operations for which it finds one fused kernel, and that kernel:
///
///     cudnn_graph graph(library, handle);
///     const auto x = graph.memory(1, cudnn::element::float32, rows), y = graph.memory(2, ...);
///     graph.pointwise(cudnn::pointwise::exp, {x}, y);
///     graph.finish();
///     graph.execute({{1, from}, {2, to}}, workspace);
///
/// All of it throws as cudnn::check. Used by one thread at a time; must not outlive the handle.
class cudnn_graph {
 public:
  struct value {
    cudnn::descriptor which = nullptr;
    cudnn::element type{};
  };

  cudnn_graph(std::shared_ptr<const cudnn> library, cudnn::handle by) : library_(std::move(library)), by_(by) {}

  // -- tensors; `id` is what `execute` knows them by ------------------------------------

  /// In device memory, at an address that is a multiple of 16.
  value memory(std::int64_t id, cudnn::element type, const cudnn_layout& where);
  /// One float in host memory, read when `execute` is called.
  value scalar(std::int64_t id);
  /// Between operations, in no memory.
  value between(cudnn::element type, const cudnn_layout& where);

  // -- operations, in float32; each returns what it writes --------------------------------

  /// Extents of 1 are stretched. `of`: what the mode wants: x, b, condition.
  value pointwise(cudnn::pointwise how, std::initializer_list<value> of, value into);
  /// Each element's index along an axis of `like`.
  value index(std::int64_t axis, value like, value into);
  /// Of the last two axes. Several matrices of a, in a row, may share one of b.
  value matmul(value a, value b, value into);
  /// Along the axes whose extents are smaller in `into`.
  value reduce(cudnn::reduction how, value of, value into);
  /// The same elements in the same order of memory, seen by another layout.
  value reshape(value of, value into);

  // -- the kernel ------------------------------------------------------------------------

  /// Takes the first kernel that the library's heuristic names.
  void finish();
  std::int64_t workspace_bytes() const noexcept { return workspace_bytes_; }
  /// Enqueues it on the handle's stream.
  void execute(std::initializer_list<std::pair<std::int64_t, void*>> memory, void* workspace) const;

 private:
  struct closer {
    const cudnn* library;
    void operator()(cudnn::descriptor which) const noexcept { library->destroy_descriptor(which); }
  };
  using owned = std::unique_ptr<void, closer>;

  owned make(cudnn::kind what) const;
  template <class T>
  void set(const owned& of, cudnn::attribute name, cudnn::type each, std::span<const T> values) const;
  template <class T>
  void set(const owned& of, cudnn::attribute name, cudnn::type each, const T& value) const;
  void connect(const owned& of, cudnn::attribute name, cudnn::descriptor to) const;
  /// Finalizes it; it lives as long as the graph.
  cudnn::descriptor keep(owned finished);
  value add_tensor(std::int64_t id, cudnn::element type, const cudnn_layout& where, const cudnn::attribute* as);
  value add_pointwise(cudnn::pointwise how, std::initializer_list<value> of, value into, const std::int64_t* axis);
  void add_operation(owned finished) { operations_.push_back(keep(std::move(finished))); }

  std::shared_ptr<const cudnn> library_;
  cudnn::handle by_;
  std::vector<owned> kept_;
  std::vector<cudnn::descriptor> operations_;
  std::int64_t next_id_ = 1000;  // of tensors that are in no memory
  cudnn::descriptor plan_ = nullptr;
  std::int64_t workspace_bytes_ = 0;
};

}  // namespace troupe::gpu
