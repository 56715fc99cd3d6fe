#pragma once

/// One call of a kernel, forward and backward, described so that any device can be asked to run it:
///
///     kernel_case linear(dice& roll) {
///       kernel_case k(roll);
///       const auto rows = roll.extent(), in = roll.extent(), out = roll.extent();
///       const slot x = k.input({rows, in}), weight = k.parameter({out, in}), y = k.output({rows, out});
///       k.forward = [=](stream& s, const tensors& t) { s.linear_forward(t[x], t[weight], {}, t[y]); };
///       k.backward = [=](stream& s, const tensors& t, const tensors& d) {
///         s.linear_backward(d[y], t[x], t[weight], d[x], d[weight], {});
///       };
///       return k;
///     }
///
/// From this the tests derive the check against finite differences (gradients.cpp), the comparison of the
/// processor's device with the reference (devices.cpp) and the check that threads do not matter (threads.cpp).

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <random>
#include <string>
#include <vector>

#include "runtime/tensor/device.hpp"
#include "tests/seeds.hpp"

namespace troupe::tests {

enum class scale : std::uint8_t {
  small,   ///< for finite differences: a handful of elements
  medium,  ///< for comparison with plain loops: across the edges of vectors and tiles
  whole,   ///< likewise, in multiples of vectors
  large,   ///< for threads: enough that a kernel splits its work
};

/// Draws shapes, values and variants from a seed.
class dice {
 public:
  dice(std::uint64_t seed, scale size) : engine_(seed), size_(size) {}

  /// An awkward extent: 1, primes, next to powers of two.
  std::int64_t extent();
  /// As `extent`, but at medium scale longer than the blocks that matrix products are cut into.
  std::int64_t long_extent();
  /// As `extent`, but small at any scale, for axes that multiply.
  std::int64_t factor() { return below(4) + 1; }
  /// Elements of a flat tensor.
  std::int64_t count();
  bool coin() { return below(2) == 1; }
  /// Uniform in [0, end).
  std::int64_t below(std::int64_t end) { return std::uniform_int_distribution<std::int64_t>(0, end - 1)(engine_); }
  double normal() { return std::normal_distribution<double>()(engine_); }
  random_key key() { return {engine_(), engine_()}; }

 private:
  std::int64_t pick(std::initializer_list<std::int64_t> from);

  std::mt19937_64 engine_;
  scale size_;
};

/// Names a tensor of a case; a default-constructed one stands for an absent optional argument.
struct slot {
  std::size_t index = SIZE_MAX;

  explicit operator bool() const noexcept { return index != SIZE_MAX; }
};

/// The tensors of a case, by slot.
class tensors {
 public:
  explicit tensors(std::size_t count) : all_(count) {}

  const tensor& operator[](slot which) const { return which ? all_[which.index] : absent_; }
  tensor& at(std::size_t index) { return all_[index]; }

 private:
  std::vector<tensor> all_;
  tensor absent_;
};

/// What happens to a tensor of a case, and to its gradient.
enum class role : std::uint8_t {
  input,      ///< read; the backward pass overwrites its gradient
  parameter,  ///< read; the backward pass adds to its gradient
  constant,   ///< read; has no gradient
  updated,    ///< read and written; has no gradient
  output,     ///< written; its gradient is what the backward pass starts from
  saved,      ///< written, for the backward pass to read; has no gradient
};

struct argument {
  tests::role role;
  troupe::shape extents;
  bool is_integer = false;
  bool is_double = false;        ///< float64 on every device
  bool is_accumulated = false;   ///< of the stream's accumulation type; otherwise of its compute type
  bool gradient_is_accumulated = false;
  bool begins_anywhere = true;   ///< otherwise, as its gradient, where memory of its own would
  double tolerance = 1e-5;       ///< of the relative error norm(difference) / norm(reference)
  std::vector<double> values;    ///< of outputs: set by the reference's forward pass
  std::vector<double> gradient;  ///< an output's; a parameter's before the backward pass adds to it
  slot shares;                   ///< lies in the memory of this one in the forward pass
  slot gradient_shares;          ///< likewise in the backward pass

  bool is_written() const { return role == role::updated || role == role::output || role == role::saved; }
  bool has_gradient() const { return role == role::input || role == role::parameter; }
};

class kernel_case {
 public:
  explicit kernel_case(dice& roll) : roll_(roll) {}

  // -- declaring arguments; values are normal, rounded to float32 -----------------

  slot input(shape extents) { return add(role::input, extents); }
  slot parameter(shape extents);
  /// A parameter whose gradient holds nothing yet and is overwritten.
  slot fresh_parameter(shape extents);
  slot constant(shape extents) { return add(role::constant, extents); }
  slot updated(shape extents) { return add(role::updated, extents); }
  slot output(shape extents) { return add(role::output, extents); }
  slot saved(shape extents);
  /// Summed up in float64 from inputs: nearly exact.
  slot total(shape extents = {1});
  /// A constant of float64 on every device.
  slot doubles(shape extents);
  /// int32 below `end`; with `masked` some are -1.
  slot tokens(shape extents, std::int64_t end, bool masked = false);

  // -- adjusting them -------------------------------------------------------------

  argument& operator[](slot which) { return arguments[which.index]; }
  /// No negative values, as second moments are.
  slot positive(slot which);
  /// `out` lies in the memory of `in`, as the kernel allows.
  void share(slot out, slot in) { arguments[out.index].shares = in; }
  /// The gradient of `in` is written where that of `out` is read.
  void share_gradient(slot in, slot out) { arguments[in.index].gradient_shares = out; }
  /// The kernel differentiates the plain sum of this output.
  void sum_up(slot out);

  std::vector<argument> arguments;
  std::function<void(stream&, const tensors&)> forward;
  /// Empty where there is no backward pass. Gets the tensors and their gradients.
  std::function<void(stream&, const tensors&, const tensors&)> backward;

 private:
  slot add(role as, shape extents);

  dice& roll_;
};

/// Makes a random case of one kernel.
using case_maker = kernel_case (*)(dice&);
struct named_kernel {
  std::string name;
  case_maker make;
};

/// The kernels of one section of `stream`. To add one, write its maker in the section's file and list it there.
std::vector<named_kernel> elementwise_kernels();
std::vector<named_kernel> matmul_kernels();
std::vector<named_kernel> normalization_kernels();
std::vector<named_kernel> attention_kernels();
std::vector<named_kernel> embedding_and_loss_kernels();
std::vector<named_kernel> reduction_kernels();
std::vector<named_kernel> optimizer_kernels();

std::vector<named_kernel> all_kernels();
/// Those whose activations are of the stream's compute type: all but reductions and optimizer steps.
std::vector<named_kernel> activation_kernels();

/// Attention at a given geometry. `anywhere`: its tensors begin at any element, not where memory of their own would.
kernel_case attention(dice& roll, const attention_shape& geometry, double dropout, bool anywhere);

/// Normalisations, an embedding, and the loss, at given extents.
kernel_case layer_norm(dice& roll, const shape& rows);
kernel_case rms_norm(dice& roll, const shape& rows);
kernel_case embedding(dice& roll, std::int64_t batch, std::int64_t time, std::int64_t channels, std::int64_t vocabulary);
kernel_case linear_cross_entropy(dice& roll, std::int64_t rows, std::int64_t channels, std::int64_t vocabulary);

/// Calls use(kernel's name, case) for so many seeds of every kernel.
template <class F>
void for_each_case(scale size, std::uint64_t seeds, F use, const std::vector<named_kernel>& kernels = all_kernels()) {
  for (const named_kernel& kernel : kernels) {
    INFO("kernel ", kernel.name);
    for_each_seed(seeds, [&](std::uint64_t seed) {
      dice roll(seed, size);
      use(kernel.name, kernel.make(roll));
    });
  }
}

}  // namespace troupe::tests
