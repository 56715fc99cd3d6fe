#include "runtime/tensor/numbers.hpp"

#include <algorithm>
#include <cstdint>
#include <numeric>

#include "runtime/tensor/device.hpp"

namespace troupe {

numbers::numbers(std::span<const double> values) {
  if (values.empty())
    return;
  values_ = make_host_tensor(dtype::float64, {static_cast<std::int64_t>(values.size())});
  std::copy(values.begin(), values.end(), values_.mutable_data<double>());
}

std::vector<double> numbers::to_vector() const {
  if (!values_)
    return {};
  const tensor here = on_host({&values_, 1}).front();
  const auto view = here.elements<double>();
  return {view.begin(), view.end()};
}

double numbers::sum() const {
  const auto all = to_vector();
  return std::accumulate(all.begin(), all.end(), 0.0);
}

void numbers::settle(stream& on, std::span<numbers* const> all) {
  std::vector<tensor> handles;
  for (const numbers* each : all)
    if (each->values_)
      handles.push_back(each->values_.owner()->on() ? on.to_device(each->values_) : each->values_);
  const auto settled = on.all_to_host(handles);
  auto next = settled.begin();
  for (numbers* each : all)
    if (each->values_)
      each->values_ = *next++;
}

}  // namespace troupe
