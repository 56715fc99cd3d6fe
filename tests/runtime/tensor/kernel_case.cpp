#include "kernel_case.hpp"

#include <cmath>

namespace troupe::tests {

namespace {

double rounded_to_float(double value) {
  return static_cast<double>(static_cast<float>(value));
}

}  // namespace

std::int64_t dice::extent() {
  switch (size_) {
    case scale::small: return pick({1, 2, 3, 4, 5, 7});
    case scale::medium: return pick({1, 2, 3, 5, 7, 8, 13, 16, 17, 31, 33, 47, 64, 65, 97, 130});
    case scale::whole: return pick({8, 16, 24, 64, 96, 128, 136});
    case scale::large: return pick({64, 96, 127, 130, 161});
  }
  return 1;
}

std::int64_t dice::long_extent() {
  return size_ == scale::medium ? pick({257, 300, 513, 600, 1031}) : extent();
}

std::int64_t dice::pick(std::initializer_list<std::int64_t> from) {
  return from.begin()[below(std::ssize(from))];
}

std::int64_t dice::count() {
  switch (size_) {
    case scale::small: return 1 + below(40);
    case scale::medium: return coin() ? 1 + below(70) : 1 + below(20000);
    case scale::whole: return 8 * (1 + below(2500));
    case scale::large: return 100000 + below(300000);
  }
  return 1;
}

slot kernel_case::add(role as, shape extents) {
  argument& added = arguments.emplace_back();
  added.role = as;
  added.extents = extents;
  const auto draw = [&](std::vector<double>& values) {
    values.resize(static_cast<std::size_t>(extents.count()));
    for (double& value : values)
      value = rounded_to_float(roll_.normal());
  };
  if (as != role::output && as != role::saved)
    draw(added.values);
  if (as == role::output || as == role::parameter)
    draw(added.gradient);
  return {arguments.size() - 1};
}

slot kernel_case::parameter(shape extents) {
  const slot added = add(role::parameter, extents);
  arguments.back().gradient_is_accumulated = true;
  return added;
}

slot kernel_case::fresh_parameter(shape extents) {
  const slot added = input(extents);
  arguments.back().gradient_is_accumulated = true;
  return added;
}

slot kernel_case::saved(shape extents) {
  const slot added = add(role::saved, extents);
  arguments.back().is_accumulated = true;
  return added;
}

slot kernel_case::doubles(shape extents) {
  const slot added = constant(extents);
  arguments.back().is_double = true;
  return added;
}

slot kernel_case::total(shape extents) {
  const slot added = saved(extents);
  arguments.back().is_double = true;
  arguments.back().tolerance = 1e-12;
  return added;
}

slot kernel_case::tokens(shape extents, std::int64_t end, bool masked) {
  const slot added = constant(extents);
  arguments.back().is_integer = true;
  for (double& value : arguments.back().values)
    value = masked && roll_.below(4) == 0 ? -1 : static_cast<double>(roll_.below(end));
  return added;
}

slot kernel_case::positive(slot which) {
  for (double& value : arguments[which.index].values)
    value = std::abs(value);
  return which;
}

void kernel_case::sum_up(slot out) {
  for (double& value : arguments[out.index].gradient)
    value = 1;
}

namespace {

using section = std::vector<named_kernel> (*)();

std::vector<named_kernel> kernels_of(std::initializer_list<section> sections) {
  std::vector<named_kernel> all;
  for (const section each : sections)
    for (const named_kernel& kernel : each())
      all.push_back(kernel);
  return all;
}

}  // namespace

std::vector<named_kernel> activation_kernels() {
  return kernels_of({elementwise_kernels, matmul_kernels, normalization_kernels, attention_kernels,
                     embedding_and_loss_kernels});
}

std::vector<named_kernel> all_kernels() {
  return kernels_of({activation_kernels, reduction_kernels, optimizer_kernels});
}

}  // namespace troupe::tests
