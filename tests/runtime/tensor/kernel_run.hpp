#pragma once

#include <vector>

#include "kernel_case.hpp"

namespace troupe::tests {

/// What a pass wrote into one argument, or into its gradient.
struct written {
  std::size_t argument;
  std::vector<double> values;
  std::vector<std::byte> bytes;
};

/// Runs the forward pass on the stream's device and returns what it wrote.
///
/// Tensors start at random offsets, since parameters lie without gaps in flat spaces, unless their arguments say
/// otherwise. What will be overwritten holds
/// NaN before. Checks that the kernel wrote nowhere else: neither beside a tensor nor into its inputs.
std::vector<written> run_forward(const kernel_case& k, stream& on);

/// Likewise the backward pass. REQUIRES: `complete` was called.
std::vector<written> run_backward(const kernel_case& k, stream& on);

/// Fills in the values of outputs, by the reference's forward pass, as the types of `on` can hold them.
void complete(kernel_case& k, const stream& on);

/// Checks that a stream's passes agree with the reference's, tensor by tensor, on values that its types can hold.
/// `tolerance_min`: of relative errors, where the stream's arithmetic allows no smaller ones.
void check_agreement(kernel_case k, stream& fast, double tolerance_min = 0.0);

/// Checks forward passes whose exponentials would overflow if the greatest were not taken off.
void check_great_scores(stream& fast);

/// norm(actual - expected) / norm(expected - before), where `before` (may be empty) is what was added to; NaN where
/// anything is NaN.
double relative_error(const std::vector<double>& actual, const std::vector<double>& expected,
                      const std::vector<double>& before = {});

}  // namespace troupe::tests
