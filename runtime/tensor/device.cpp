#include "runtime/tensor/device.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <stdexcept>

#include "runtime/tensor/device_module.hpp"

namespace troupe {

std::vector<tensor> stream::all_to_host(std::span<const tensor> in) {
  std::vector<tensor> out;
  for (const auto& each : in)
    out.push_back(to_host(each));
  return out;
}

void stream::cast_all(std::span<const tensor> in, std::span<const tensor> out) {
  for (std::size_t i = 0; i < in.size(); ++i)
    cast(in[i], out[i]);
}

void stream::linear_activation_backward(activation kind, const tensor& pre, const tensor& dy, const tensor& x,
                                        const tensor& weight, const tensor& dx, const tensor& dweight,
                                        const tensor& dbias, bool fresh) {
  linear_backward(dy, x, weight, dx, dweight, dbias, fresh);
  activation_backward(kind, pre, dx, dx);
}

void stream::sum_of_squares_all(std::span<const tensor> in, const tensor& out) {
  for (std::size_t i = 0; i < in.size(); ++i)
    sum_of_squares(in[i], out.slice(static_cast<std::int64_t>(i), {1}));
}

void stream::clip_by_norm(std::span<const tensor> squares, double scale, double most, const tensor& out) {
  double sum = 0.0;
  for (const tensor& part : squares)
    for (const double square : part.elements<double>())
      sum += square;
  const double norm = scale * std::sqrt(sum);
  out.mutable_data<double>()[0] = clipping_factor(norm, most);
  out.mutable_data<double>()[1] = norm;
}

void stream::adamw_all(const adamw_options& options, std::span<const adamw_tensors> all) {
  auto mine = options;
  for (const adamw_tensors& each : all) {
    mine.weight_decay = each.weight_decay;
    adamw(mine, each.gradient, each.parameter, each.first_moment, each.second_moment, each.parameter_out,
          each.first_moment_out, each.second_moment_out);
  }
}

std::int64_t logits_rows(std::int64_t rows, std::int64_t vocabulary) noexcept {
  constexpr std::int64_t logits_max = (64 << 20) / static_cast<std::int64_t>(sizeof(float));
  const auto most = std::clamp<std::int64_t>(logits_max / vocabulary, 1, rows), chunks = (rows + most - 1) / most;
  return (rows + chunks - 1) / chunks;
}

std::vector<tensor> on_host(std::span<const tensor> in) {
  thread_local std::map<device*, std::unique_ptr<stream>> streams;
  std::vector<tensor> out(in.begin(), in.end());
  std::map<device*, std::vector<std::size_t>> elsewhere;
  for (std::size_t i = 0; i < in.size(); ++i)
    if (device* const where = in[i] ? in[i].owner()->on() : nullptr)
      elsewhere[where].push_back(i);
  for (const auto& [where, which] : elsewhere) {
    auto& own = streams[where];
    if (!own)
      own = where->make_stream({});
    std::vector<tensor> there;
    for (const auto i : which)
      there.push_back(in[i]);
    const auto copies = own->all_to_host(there);
    for (std::size_t i = 0; i < which.size(); ++i)
      out[which[i]] = copies[i];
  }
  return out;
}

std::vector<device*> find_devices(const std::string& name) {
  for (device* known : {&cpu_device(), &reference_device()})
    if (known->name() == name)
      return {known};
  if (!is_cuda(name))
    throw std::invalid_argument("unknown device '" + name + "', expected cpu, cuda, cuda:0,1,... or reference");
  std::vector<device*> found;
  for (const int index : find_cuda(name))
    found.push_back(&cuda_module().at(index));
  return found;
}

device& find_device(const std::string& name) { return *find_devices(name).front(); }

}  // namespace troupe
