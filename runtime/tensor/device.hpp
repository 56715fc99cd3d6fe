#pragma once

/// The one seam between mathematics and machine.
///
/// A `device` owns memory and makes streams. A `stream` is an in-order queue of
/// work on its device; every kernel that models call is one of its methods.
/// Kernels may return before their work is done: only `synchronize` and
/// `to_host` wait. A stream is used by one thread at a time; different streams of one
/// device may be used from different threads at once.
///
/// Order follows the tensors: work that touches a tensor comes after the work of other
/// streams that wrote it before, and what overwrites it after those that read it, as the
/// handle went from one thread to the other. Nobody has to wait on the host for that.
///
/// Conventions of all kernels:
/// - Tensors are dense and row-major, on the stream's device, of the stream's compute
///   type unless a comment says otherwise. `N` counts rows (batch times time).
/// - Gradients of parameters, statistics, losses, and everything in reductions and optimizer
///   steps are of its accumulation type. Sums are taken in that type or a wider one, whatever
///   the type of their terms.
/// - Outputs are overwritten, save gradients of parameters (arguments that begin
///   with `d` and name a parameter: dweight, dbias, ...), which accumulate (+=), and
///   arguments said to accumulate.
/// - An empty tensor handle stands for an absent optional argument.
/// - Shapes are the caller's duty: a mismatch is a bug and asserts.
/// - Results depend on arguments only: not on the number of threads, not on what
///   else runs in the process.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "runtime/error.hpp"
#include "runtime/tensor/random.hpp"
#include "runtime/tensor/scalar.hpp"
#include "runtime/tensor/tensor.hpp"

namespace troupe {

/// A device that is named but cannot be had on this machine, or that failed in its work: what happened, what to do.
class device_error : public system_error {
 public:
  using system_error::system_error;
};

/// A device that failed for good as far as this process is concerned: another process may go on with it, or elsewhere.
class device_lost : public device_error {
 public:
  using device_error::device_error;
};

/// A point in a stream's work; made by `stream::record`.
class event {
 public:
  virtual ~event() = default;
};
using event_ptr = std::shared_ptr<event>;

struct matmul_options {
  bool transpose_a = false;
  bool transpose_b = false;
  bool accumulate = false;  ///< c += instead of c =
  double alpha = 1.0;
};

enum class activation : std::uint8_t {
  relu,
  gelu,       ///< x * Phi(x), by the error function
  gelu_tanh,  ///< the tanh approximation that GPT-2 uses
  silu,
};

/// Geometry of causal self-attention over packed projections: each row of `qkv` holds
/// `heads` query heads, then `kv_heads` key heads, then `kv_heads` value heads, each
/// `head_size` wide. Query head h reads key/value head h / (heads / kv_heads).
struct attention_shape {
  std::int64_t batch = 0;
  std::int64_t time = 0;
  std::int64_t heads = 0;
  std::int64_t kv_heads = 0;
  std::int64_t head_size = 0;

  std::int64_t row_width() const noexcept { return (heads + 2 * kv_heads) * head_size; }
};

struct dropout_options {
  double probability = 0.0;  ///< of dropping; survivors are scaled by 1 / (1 - probability)
  random_key key;
};

/// Decoupled weight decay: Loshchilov and Hutter 2019, arXiv:1711.05101.
struct adamw_options {
  double learning_rate = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0.0;
  std::int64_t step = 1;        ///< 1 for the first update; corrects the bias of the moments
  scalar gradient_scale = 1.0;  ///< multiplies the gradient as it is read (mean over tokens, clipping)
};

/// What `adamw` takes of one parameter of many.
struct adamw_tensors {
  double weight_decay = 0.0;  ///< instead of that of the options
  tensor gradient, parameter, first_moment, second_moment;
  tensor parameter_out, first_moment_out, second_moment_out;
};

struct sgd_options {
  double learning_rate = 1e-2;
  double momentum = 0.0;
  bool nesterov = false;
  double weight_decay = 0.0;  ///< added to the gradient, as in PyTorch's SGD
  scalar gradient_scale = 1.0;
};

/// Chen et al. 2023, arXiv:2302.06675.
struct lion_options {
  double learning_rate = 1e-4;
  double beta1 = 0.9;
  double beta2 = 0.99;
  double weight_decay = 0.0;
  scalar gradient_scale = 1.0;
};

/// Delay compensation: Zheng et al. 2017, arXiv:1609.08326.
struct compensation_options {
  double lambda = 0.04;
  double decay = 0.95;  ///< of the mean square, in the adaptive form
  scalar gradient_scale = 1.0;
};

/// In what a stream computes.
enum class precision_kind : std::uint8_t {
  automatic,  ///< the device's default: bfloat16 on GPUs, float32 on processors
  float32,
  tf32,      ///< float32, but factors of matrix products are rounded to 10 bits of mantissa
  bfloat16,  ///< activations, their gradients and copies of parameters in bfloat16, sums in float32
};

class device;

class stream {
 public:
  virtual ~stream() = default;
  stream(const stream&) = delete;
  stream& operator=(const stream&) = delete;

  device& on() const noexcept { return device_; }
  /// Type of activations, and of parameters where they are computed with.
  dtype compute_type() const noexcept { return compute_type_; }
  /// Type of statistics, losses and gradients of parameters, and of all tensors in reductions and optimizer steps:
  /// float64 on a float64 stream, else float32.
  dtype accumulation_type() const noexcept {
    return compute_type_ == dtype::float64 ? dtype::float64 : dtype::float32;
  }

  /// A tensor from the device's caching allocator; contents unspecified. Dropping the
  /// last handle, from any thread, gives the memory back for reuse.
  virtual tensor allocate(dtype type, shape extents);
  tensor allocate(shape extents) { return allocate(compute_type_, extents); }

  // -- order ------------------------------------------------------------------

  /// Blocks until everything enqueued so far is done. Errors of asynchronous work surface here.
  virtual void synchronize() = 0;
  virtual event_ptr record() = 0;
  /// Later work on this stream waits for `point`; the host does not.
  virtual void wait(const event& point) = 0;
  /// What is enqueued until end_section() is a section, which a device may keep back until then, to take it as a whole.
  /// Sections of one key should enqueue the same kernels on tensors of the same shapes: that costs less then. Whoever waits
  /// for part of a section has it end there; it also ends where another begins. One that an exception leaves open may never
  /// be computed. Nothing is brought to the device within one.
  virtual void begin_section(std::uint64_t) {}
  virtual void end_section() {}

  // -- moving and filling -----------------------------------------------------

  virtual void zero(const tensor& out) = 0;
  /// Same type and count.
  virtual void copy(const tensor& in, const tensor& out) = 0;
  /// Converts between float32, float64, bfloat16 and float16.
  virtual void cast(const tensor& in, const tensor& out) = 0;
  /// Each of `in` into each of `out`, as `cast`, in as few launches as the device can.
  virtual void cast_all(std::span<const tensor> in, std::span<const tensor> out);
  /// To bfloat16 from the accumulation type: element i is round_stochastic(in[i] in float32, random_word(key, i)).
  virtual void round_stochastic(const random_key& key, const tensor& in, const tensor& out) = 0;
  /// From the host, or from another device of this process, to this one; the handle itself where it is there already, and
  /// on host devices, which take host tensors only.
  virtual tensor to_device(const tensor& from) = 0;
  /// To the host; waits. On host devices the handle itself.
  virtual tensor to_host(const tensor& in) = 0;
  /// Each of them as `to_host`, waiting once for all; the handle itself of what is on the host already.
  virtual std::vector<tensor> all_to_host(std::span<const tensor> in);

  // -- element-wise -----------------------------------------------------------

  /// out = alpha * a + beta * b; `out` may be `a` or `b`. With `b` empty: out = alpha * a.
  virtual void scaled_add(double alpha, const tensor& a, const scalar& beta, const tensor& b, const tensor& out) = 0;
  /// out = a / max(sqrt(square_sum), least), with float64 square_sum[1] as `sum_of_squares` gives it. `out` may be `a`.
  virtual void scale_to_unit(const tensor& a, const tensor& square_sum, double least, const tensor& out) = 0;
  virtual void activation_forward(activation kind, const tensor& x, const tensor& y) = 0;
  /// dx may be dy.
  virtual void activation_backward(activation kind, const tensor& x, const tensor& dy, const tensor& dx) = 0;
  /// SwiGLU (Shazeer 2020, arXiv:2002.05202): each row of x[N, 2F] is gate then up; y[N, F] = silu(gate) * up.
  virtual void swiglu_forward(const tensor& x, const tensor& y) = 0;
  virtual void swiglu_backward(const tensor& x, const tensor& dy, const tensor& dx) = 0;
  /// y = x * mask / (1 - p); the backward pass is the same call on the gradient with the same key. y may be x.
  /// Element i is dropped where random_word(key, i) < dropout_threshold(p).
  virtual void dropout(const dropout_options& options, const tensor& x, const tensor& y) = 0;

  // -- matrix products --------------------------------------------------------

  /// c[M, N] = alpha * op(a) * op(b), or += with `accumulate`.
  virtual void matmul(const tensor& a, const tensor& b, const tensor& c, const matmul_options& options = {}) = 0;
  /// y[N, O] = x[N, I] * weight[O, I]^T + bias[O]; bias optional.
  virtual void linear_forward(const tensor& x, const tensor& weight, const tensor& bias, const tensor& y) = 0;
  /// As `linear_forward` into `pre`, then y = activation(pre), fused.
  virtual void linear_activation_forward(activation kind, const tensor& x, const tensor& weight, const tensor& bias,
                                         const tensor& pre, const tensor& y) = 0;
  /// dx = dy * weight (skipped where dx is empty); dweight += dy^T * x; dbias += column sums of dy.
  /// dweight and dbias are each skipped where empty. A `fresh` dweight holds nothing yet and is overwritten: for large
  /// matrices that saves filling them with zeros and reading those back.
  virtual void linear_backward(const tensor& dy, const tensor& x, const tensor& weight, const tensor& dx,
                               const tensor& dweight, const tensor& dbias, bool fresh = false) = 0;
  /// As `linear_backward` of x = activation(pre), but dx is the gradient of `pre`.
  virtual void linear_activation_backward(activation kind, const tensor& pre, const tensor& dy, const tensor& x,
                                          const tensor& weight, const tensor& dx, const tensor& dweight,
                                          const tensor& dbias, bool fresh = false);

  // -- normalisation ----------------------------------------------------------

  /// Layer normalisation (Ba et al. 2016, arXiv:1607.06450) of rows, with an optional residual sum before it:
  /// residual = x + delta where delta is given (residual may be x), then
  /// y = (r - mean) * rstd * weight + bias with r = residual or x. mean, rstd: [N]. bias optional.
  virtual void layer_norm_forward(const tensor& x, const tensor& delta, const tensor& weight, const tensor& bias,
                                  double epsilon, const tensor& residual, const tensor& y, const tensor& mean,
                                  const tensor& rstd) = 0;
  /// dx = (residual_gradient where given) + gradient through the normalisation. `x` is what was normalised
  /// (`residual` above). dx may be residual_gradient or dy.
  virtual void layer_norm_backward(const tensor& dy, const tensor& x, const tensor& weight, const tensor& mean,
                                   const tensor& rstd, const tensor& residual_gradient, const tensor& dx,
                                   const tensor& dweight, const tensor& dbias) = 0;
  /// RMS normalisation (Zhang and Sennrich 2019, arXiv:1910.07467); arguments as for layer normalisation.
  virtual void rms_norm_forward(const tensor& x, const tensor& delta, const tensor& weight, double epsilon,
                                const tensor& residual, const tensor& y, const tensor& rstd) = 0;
  virtual void rms_norm_backward(const tensor& dy, const tensor& x, const tensor& weight, const tensor& rstd,
                                 const tensor& residual_gradient, const tensor& dx, const tensor& dweight) = 0;

  // -- attention --------------------------------------------------------------

  /// Rotary embedding (Su et al. 2021, arXiv:2104.09864) of the query and key heads of qkv, in place, in the
  /// half-split layout of Llama: pairs are (i, i + head_size / 2). Row t of each sequence is at position
  /// first_position + t. `inverse` rotates back: the backward pass on dqkv.
  virtual void rotary(const attention_shape& geometry, double theta, std::int64_t first_position, bool inverse,
                      const tensor& qkv) = 0;
  /// Causal attention with scores scaled by 1 / sqrt(head_size); out[N, heads * head_size];
  /// log_sum_exp[batch, heads, time] is for the
  /// backward pass. Online softmax in tiles (Dao et al. 2022, arXiv:2205.14135): never time x time scores at once.
  /// Dropout acts on the softmax's output; its element index is ((b * heads + h) * time + t) * time + s.
  virtual void attention_forward(const attention_shape& geometry, const dropout_options& dropout, const tensor& qkv,
                                 const tensor& out, const tensor& log_sum_exp) = 0;
  virtual void attention_backward(const attention_shape& geometry, const dropout_options& dropout, const tensor& qkv,
                                  const tensor& out, const tensor& log_sum_exp, const tensor& dout,
                                  const tensor& dqkv) = 0;
  /// For generation: appends the keys and values of qkv (geometry.time new rows a sequence) to the caches
  /// [batch, capacity, kv_heads * head_size] at `first_position`, then attends over all positions so far.
  virtual void attention_cached(const attention_shape& geometry, std::int64_t first_position, const tensor& qkv,
                                const tensor& key_cache, const tensor& value_cache, const tensor& out) = 0;

  // -- embeddings and loss ----------------------------------------------------

  /// y[N, C] = token_table[tokens[n]] + position_table[first_position + n % time]; the latter optional.
  /// tokens: int32[N].
  virtual void embedding_forward(const tensor& tokens, std::int64_t time, std::int64_t first_position,
                                 const tensor& token_table, const tensor& position_table, const tensor& y) = 0;
  virtual void embedding_backward(const tensor& tokens, std::int64_t time, const tensor& dy,
                                  const tensor& dtoken_table, const tensor& dposition_table) = 0;
  /// Softmax cross-entropy of logits = hidden[N, C] * weight[V, C]^T against targets int32[N], in one pass that
  /// never keeps all N x V logits. A target of -1 is masked: its loss and gradient are zero. losses[N].
  /// With `dhidden` given, the gradient of the SUM of losses: dhidden is overwritten, dweight accumulates, or is
  /// overwritten where it is `fresh`.
  virtual void linear_cross_entropy(const tensor& hidden, const tensor& weight, const tensor& targets,
                                    const tensor& losses, const tensor& dhidden, const tensor& dweight,
                                    bool fresh = false) = 0;

  // -- reductions -------------------------------------------------------------

  /// out = in[0] + in[1] + ... in that order; `out` may be in[0]. With `sum_of_squares` (float64, one element) the
  /// sum of out's squares, in float64, by a fixed tree.
  virtual void sum(std::span<const tensor> in, const tensor& out, const tensor& sum_of_squares) = 0;
  /// out (float64, one element) = sum of x's squares.
  virtual void sum_of_squares(const tensor& x, const tensor& out) = 0;
  /// out (float64[in.size()]) = the sum of squares of each, in as few launches as the device can.
  virtual void sum_of_squares_all(std::span<const tensor> in, const tensor& out);
  /// out (float64, one element) = sum of x's elements.
  virtual void sum_elements(const tensor& x, const tensor& out) = 0;
  /// Clipping by the global norm (Pascanu et al. 2013, arXiv:1211.5063), as PyTorch's clip_grad_norm_ does it.
  /// `squares` (float64) hold each parameter's sum of squared gradients; all are added up in their order, so that the bits
  /// do not depend on how many tensors they come in. The norm is that of scale * gradient, `most` the largest that is left
  /// as it is, 0 for any. out (float64[2]) = what to multiply that gradient by, the norm.
  virtual void clip_by_norm(std::span<const tensor> squares, double scale, double most, const tensor& out);

  // -- optimizer steps --------------------------------------------------------
  // Each `*_out` may be its input, or another buffer: a shard writes aside what a snapshot or a reader still holds.

  virtual void adamw(const adamw_options& options, const tensor& gradient, const tensor& parameter,
                     const tensor& first_moment, const tensor& second_moment, const tensor& parameter_out,
                     const tensor& first_moment_out, const tensor& second_moment_out) = 0;
  /// Many parameters, each with its own weight decay, in as few launches as the device can.
  virtual void adamw_all(const adamw_options& options, std::span<const adamw_tensors> all);
  /// `velocity` and `velocity_out` are empty where momentum is zero.
  virtual void sgd(const sgd_options& options, const tensor& gradient, const tensor& parameter,
                   const tensor& velocity, const tensor& parameter_out, const tensor& velocity_out) = 0;
  virtual void lion(const lion_options& options, const tensor& gradient, const tensor& parameter,
                    const tensor& moment, const tensor& parameter_out, const tensor& moment_out) = 0;
  /// out = g + lambda * g * g * (now - then). With `mean_square` given the adaptive form: mean_square = decay *
  /// mean_square + (1 - decay) * g * g, and lambda is divided by sqrt(mean_square + 1e-7) element by element. `out` may
  /// be `gradient`. g is gradient_scale times `gradient`; out is not scaled again.
  virtual void compensate_delay(const compensation_options& options, const tensor& gradient, const tensor& now,
                                const tensor& then, const tensor& mean_square, const tensor& out) = 0;

 protected:
  stream(device& on, dtype compute_type) noexcept : device_(on), compute_type_(compute_type) {}

 private:
  device& device_;
  dtype compute_type_;
};

struct stream_options {
  int threads = 1;  ///< intra-operation threads on host devices
  precision_kind precision = precision_kind::float32;  ///< REQUIRES: the device supports it
  bool graphs = false;  ///< sections are CUDA graphs on a GPU
};

struct memory_usage {
  std::size_t in_use_bytes = 0;    ///< handed out and not given back
  std::size_t peak_bytes = 0;      ///< highest in_use so far
  std::size_t reserved_bytes = 0;  ///< taken from the system: in use or kept for reuse
};

/// Lives as long as the process; thread safe.
class device {
 public:
  virtual ~device() = default;
  device() = default;
  device(const device&) = delete;
  device& operator=(const device&) = delete;

  /// "cpu", "reference", "cuda:0".
  virtual std::string name() const = 0;
  /// Whether tensor data are host addresses.
  virtual bool is_host() const noexcept = 0;
  virtual bool supports(precision_kind precision) const noexcept = 0;
  virtual std::unique_ptr<stream> make_stream(const stream_options& options) = 0;
  virtual tensor allocate(dtype type, shape extents) = 0;
  virtual memory_usage memory() const = 0;
  /// Gives cached memory back to the system.
  virtual void trim() = 0;

  // -- named ranges of a thread's time, for a profiler ----------------------------

  /// Whether one listens.
  virtual bool is_profiled() const noexcept { return false; }
  virtual void push_range(const std::string&) {}
  virtual void pop_range() noexcept {}
};

/// A range for as long as it lives, in the thread that made it. `name` is called only where a profiler listens.
class profiled_range {
 public:
  template <class Name>
  profiled_range(device& on, Name name) : on_(on.is_profiled() ? &on : nullptr) {
    if (on_)
      on_->push_range(name());
  }
  ~profiled_range() {
    if (on_)
      on_->pop_range();
  }
  profiled_range(const profiled_range&) = delete;
  profiled_range& operator=(const profiled_range&) = delete;

 private:
  device* on_;
};

inline tensor stream::allocate(dtype type, shape extents) { return device_.allocate(type, extents); }

/// The processor, in float32, with vectorised kernels: runtime/tensor/cpu.
device& cpu_device();
/// Plain loops in float64: the reference that tests hold other devices against: runtime/tensor/reference.
device& reference_device();
/// Rows whose logits `linear_cross_entropy` keeps at a time, on every device: they fit 64 MiB, which is enough for fast
/// products and far from all of them.
std::int64_t logits_rows(std::int64_t rows, std::int64_t vocabulary) noexcept;

/// What `stream::clip_by_norm` makes of the norm: the factor.
constexpr double clipping_factor(double norm, double most) noexcept {
  constexpr double least_norm = 1e-6;  // avoids 0 / 0
  return most > 0.0 && most / (norm + least_norm) < 1.0 ? most / (norm + least_norm) : 1.0;
}

/// Each of them in host memory: the handle itself, or a copy of what is on a device. Waits for that; from any thread.
std::vector<tensor> on_host(std::span<const tensor> in);

/// By name: "cpu", "reference", "cuda" for all GPUs of this machine, "cuda:0,2" for some. Throws std::invalid_argument with
/// the known names where there are none such, device_error where there are but not on this machine.
std::vector<device*> find_devices(const std::string& name);
/// The first of them.
device& find_device(const std::string& name);

}  // namespace troupe
