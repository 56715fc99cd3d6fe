#include <cmath>

#include "kernel_case.hpp"

namespace troupe::tests {

namespace {

kernel_case sum(dice& roll) {
  kernel_case k(roll);
  const auto count = roll.count();
  std::vector<slot> parts;
  for (std::int64_t i = roll.factor(); i > 0; --i)
    parts.push_back(k.constant({count}));
  const slot out = k.output({count}), squares = roll.coin() ? k.total() : slot();
  if (squares)
    k[squares].tolerance = 1e-6;  // out is rounded before it is squared
  if (roll.coin())
    k.share(out, parts.front());
  k.forward = [=](stream& s, const tensors& t) {
    std::vector<tensor> in;
    for (const slot part : parts)
      in.push_back(t[part]);
    s.sum(in, t[out], t[squares]);
  };
  return k;
}

kernel_case sum_of_squares(dice& roll) {
  kernel_case k(roll);
  const slot x = k.constant({roll.count()}), out = k.total();
  k.forward = [=](stream& s, const tensors& t) { s.sum_of_squares(t[x], t[out]); };
  return k;
}

kernel_case sum_elements(dice& roll) {
  kernel_case k(roll);
  const slot x = k.constant({roll.count()}), out = k.total();
  k.forward = [=](stream& s, const tensors& t) { s.sum_elements(t[x], t[out]); };
  return k;
}

kernel_case clip_by_norm(dice& roll) {
  kernel_case k(roll);
  std::vector<slot> parts;
  for (std::int64_t i = roll.factor(); i > 0; --i)
    parts.push_back(k.positive(k.doubles({roll.count()})));
  const slot out = k.total({2});
  const double most = roll.coin() ? 0.0 : std::abs(roll.normal());
  k.forward = [=](stream& s, const tensors& t) {
    std::vector<tensor> squares;
    for (const slot part : parts)
      squares.push_back(t[part]);
    s.clip_by_norm(squares, 0.3, most, t[out]);
  };
  return k;
}

}  // namespace

std::vector<named_kernel> reduction_kernels() {
  return {{"sum", sum},
          {"sum_of_squares", sum_of_squares},
          {"sum_elements", sum_elements},
          {"clip_by_norm", clip_by_norm}};
}

}  // namespace troupe::tests
