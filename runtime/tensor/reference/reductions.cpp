#include "runtime/tensor/reference/reference_device.hpp"
#include "runtime/tensor/reference/views.hpp"

namespace troupe::reference {

void reference_stream::sum(std::span<const tensor> in, const tensor& out, const tensor& squares) {
  const auto to = elements(out);
  for (std::size_t i = 0; i < to.size(); ++i) {
    double total = 0;
    for (const tensor& part : in)
      total += elements(part)[i];
    to[i] = total;
  }
  if (squares)
    sum_of_squares(out, squares);
}

void reference_stream::sum_of_squares(const tensor& x, const tensor& out) {
  double total = 0;
  for (const double value : elements(x))
    total += value * value;
  elements(out)[0] = total;
}

void reference_stream::sum_elements(const tensor& x, const tensor& out) {
  double total = 0;
  for (const double value : elements(x))
    total += value;
  elements(out)[0] = total;
}

}  // namespace troupe::reference
