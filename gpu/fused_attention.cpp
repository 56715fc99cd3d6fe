#include "gpu/fused_attention.hpp"

#include <cmath>
#include <limits>

#include <fmt/format.h>

#include "gpu/cuda_device.hpp"
#include "gpu/error.hpp"
#include "gpu/operation.hpp"

namespace troupe::gpu {

namespace {

using element = cudnn::element;
using mode = cudnn::pointwise;
using value = cudnn_graph::value;

/// What a caller of a graph gives memory for.
enum id : std::int64_t {
  queries = 1,
  keys,
  values,
  outputs,
  log_sums,  // of the exponentials of a query's scores
  doutputs,
  dqueries,
  dkeys,
  dvalues,
  products,  // of outputs and their gradients, summed over each head
  scale,
  masked,
  one,
};

/// A graph, and how the tensors of attention lie in memory. The graphs are those that cuDNN's own frontend makes of
/// attention, operation by operation: its engines know them by their form.
class attention_graph : public cudnn_graph {
 public:
  attention_graph(std::shared_ptr<const cudnn> library, cudnn::handle by, const attention_shape& of)
      : cudnn_graph(std::move(library), by), of_(of) {}

  value per_head(id which) {
    return memory(which, element::bfloat16, rows(of_.heads, of_.heads * of_.head_size));
  }
  /// Within packed rows.
  value queries_of(id which) { return memory(which, element::bfloat16, rows(of_.heads, of_.row_width())); }
  value keys_of(id which) { return memory(which, element::bfloat16, keys_layout()); }
  value transposed_keys_of(id which) { return memory(which, element::bfloat16, keys_layout().transposed()); }
  value per_query(id which) { return memory(which, element::float32, each_query()); }

  value scores(element type = element::float32) { return between(type, all_scores()); }
  value sums() { return between(element::float32, each_query()); }

  /// -infinity where the key comes after the query.
  value mask(value scores_of) {
    const auto query = index(2, scores_of, scores(element::int32));
    const auto key = index(3, scores_of, scores(element::int32));
    const auto seen = pointwise(mode::greater_or_equal, {query, key}, scores(element::boolean));
    return pointwise(mode::select, {scores_of, scalar(masked), seen}, scores());
  }

  /// Of scores, for products over queries.
  value transpose(value scores_of) { return reshape(scores_of, between(element::bfloat16, all_scores().transposed())); }

  value rows_of(value transposed_keys) { return reshape(transposed_keys, between(element::bfloat16, keys_layout())); }

  /// The product for each query head, summed over those that share a key or value head.
  value multiply_per_key_head(value a, value b, value into) {
    if (of_.heads == of_.kv_heads)
      return matmul(a, b, into);
    const auto each = cudnn_layout::dense({of_.batch, of_.heads, of_.time, of_.head_size});
    return reduce(cudnn::reduction::add, matmul(a, b, between(element::bfloat16, each)), into);
  }

  value multiplied_outputs() {
    return between(element::float32, cudnn_layout::dense({of_.batch, of_.heads, of_.time, of_.head_size}));
  }

 private:
  cudnn_layout rows(std::int64_t heads, std::int64_t width) const {
    return {{of_.batch, heads, of_.time, of_.head_size}, {of_.time * width, of_.head_size, width, 1}};
  }
  cudnn_layout keys_layout() const { return rows(of_.kv_heads, of_.row_width()); }
  cudnn_layout each_query() const { return cudnn_layout::dense({of_.batch, of_.heads, of_.time, 1}); }
  cudnn_layout all_scores() const { return cudnn_layout::dense({of_.batch, of_.heads, of_.time, of_.time}); }

  attention_shape of_;
};

void build_forward(attention_graph& g) {
  const auto q = g.queries_of(queries), k = g.transposed_keys_of(keys), v = g.keys_of(values);
  const auto scores = g.pointwise(mode::multiply, {g.matmul(q, k, g.scores()), g.scalar(scale)}, g.scores());
  const auto seen = g.mask(scores);
  const auto greatest = g.reduce(cudnn::reduction::max, seen, g.sums());
  const auto below = g.pointwise(mode::subtract, {seen, greatest}, g.scores());
  const auto powers = g.pointwise(mode::exp, {below}, g.scores());
  const auto sums = g.reduce(cudnn::reduction::add, powers, g.sums());
  g.pointwise(mode::add, {greatest, g.pointwise(mode::log, {sums}, g.sums())}, g.per_query(log_sums));
  const auto weights = g.pointwise(mode::divide, {powers, sums}, g.scores(element::bfloat16));
  g.matmul(weights, v, g.per_head(outputs));
}

/// That the gradients of queries are one product, and not sums that are rounded at the end, is how the engines are asked
/// for the same bits every time.
void build_backward(attention_graph& g) {
  const auto q = g.queries_of(queries), k = g.transposed_keys_of(keys), v = g.transposed_keys_of(values);
  const auto out = g.per_head(outputs), dout = g.per_head(doutputs), factor = g.scalar(scale);
  const auto multiplied = g.pointwise(mode::multiply, {dout, out}, g.multiplied_outputs());
  const auto summed = g.reduce(cudnn::reduction::add, multiplied, g.sums());
  const auto correction = g.pointwise(mode::multiply, {summed, g.scalar(one)}, g.per_query(products));

  const auto scores = g.pointwise(mode::multiply, {g.matmul(q, k, g.scores()), factor}, g.scores());
  const auto logs = g.pointwise(mode::subtract, {scores, g.per_query(log_sums)}, g.scores());
  const auto weights = g.pointwise(mode::exp, {g.mask(logs)}, g.scores());
  g.multiply_per_key_head(g.transpose(weights), dout, g.keys_of(dvalues));

  const auto dweights = g.matmul(dout, v, g.scores());
  const auto corrected = g.pointwise(mode::subtract, {dweights, correction}, g.scores());
  const auto dlogs = g.pointwise(mode::multiply, {corrected, weights}, g.scores());
  const auto dscores = g.pointwise(mode::multiply, {dlogs, factor}, g.scores());
  g.multiply_per_key_head(g.transpose(dscores), q, g.keys_of(dkeys));
  g.matmul(dscores, g.rows_of(k), g.queries_of(dqueries));
}

/// Where packed rows hold queries, keys and values.
struct packed {
  bfloat16 *queries, *keys, *values;

  packed(const attention_shape& of, bfloat16* rows)
      : queries(rows), keys(rows + of.heads * of.head_size), values(keys + of.kv_heads * of.head_size) {}
};

/// The host's floats that graphs read.
struct scalars {
  float scale, masked = -std::numeric_limits<float>::infinity(), one = 1.0f;

  explicit scalars(const attention_shape& of) : scale(1.0f / std::sqrt(static_cast<float>(of.head_size))) {}
};

}  // namespace

fused_attention::fused_attention(const cuda_device& device)
    : library_(cudnn::open()), handle_(nullptr, {library_}) {
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, device.index()), device.index(), "asking for its properties");
  if (properties.major != 8 && properties.major != 9)
    throw cudnn_refusal(fmt::format("{} is not known to repeat attention's gradients to the bit on sm_{}{}",
                                    library_->name(), properties.major, properties.minor));
  device.activate();
  std::size_t free_bytes = 0, all_bytes = 0;
  check(cudaMemGetInfo(&free_bytes, &all_bytes), device.index(), "asking for its memory");
  workspace_bytes_max_ = static_cast<std::int64_t>(static_cast<double>(all_bytes) * workspace_share_max);
  cudnn::handle made = nullptr;
  library_->check(library_->create(&made), "starting it");
  handle_.reset(made);
}

void fused_attention::enqueue_on(cudaStream_t stream) const {
  library_->check(library_->set_stream(handle_.get(), stream), "choosing its stream");
}

std::string fused_attention::library_of(const cuda_device& device) {
  const fused_attention probe(device);
  probe.make_plan({.batch = 1, .time = 128, .heads = 2, .kv_heads = 1, .head_size = 64});
  return probe.library_->name();
}

fused_attention::plan fused_attention::make_plan(const attention_shape& of) const {
  const auto make = [&](void (*build)(attention_graph&)) -> cudnn_graph {
    attention_graph made(library_, handle_.get(), of);
    build(made);
    made.finish();
    if (made.workspace_bytes() > workspace_bytes_max_)
      throw cudnn_refusal(library_->name() + ": attention wants much workspace");
    return made;
  };
  return {make(build_forward), make(build_backward)};
}

const fused_attention::plan* fused_attention::plan_of(const attention_shape& of) {
  const auto [found, is_new] = plans_.try_emplace({of.batch, of.time, of.heads, of.kv_heads, of.head_size});
  if (is_new && of.time > 1)  // cuDNN's frontend refuses the gradients of a single key
    try {
      found->second.emplace(make_plan(of));
    } catch (const cudnn_refusal&) {
      // stays without
    }
  return found->second ? &*found->second : nullptr;
}

bool fused_attention::try_forward(operation& op, const attention_shape& of, const tensor& qkv, const tensor& out,
                                  const tensor& log_sum_exp) {
  const auto* const found = plan_of(of);
  if (!found)
    return false;
  const packed in(of, qkv.mutable_data<bfloat16>());
  scalars from(of);
  const tensor workspace = op.scratch(dtype::uint8, found->forward.workspace_bytes());
  enqueue_on(op.handle());
  found->forward.execute({{queries, in.queries},
                          {keys, in.keys},
                          {values, in.values},
                          {outputs, out.mutable_bytes()},
                          {log_sums, log_sum_exp.mutable_bytes()},
                          {scale, &from.scale},
                          {masked, &from.masked}},
                         workspace.mutable_bytes());
  return true;
}

bool fused_attention::try_backward(operation& op, const attention_shape& of, const tensor& qkv, const tensor& out,
                                   const tensor& log_sum_exp, const tensor& dout, const tensor& dqkv) {
  const auto* const found = plan_of(of);
  if (!found)
    return false;
  const packed in(of, qkv.mutable_data<bfloat16>()), din(of, dqkv.mutable_data<bfloat16>());
  scalars from(of);
  const tensor workspace = op.scratch(dtype::uint8, found->backward.workspace_bytes());
  const tensor corrections = op.scratch(log_sum_exp.count());
  enqueue_on(op.handle());
  found->backward.execute({{queries, in.queries},
                           {keys, in.keys},
                           {values, in.values},
                           {outputs, out.mutable_bytes()},
                           {log_sums, log_sum_exp.mutable_bytes()},
                           {doutputs, dout.mutable_bytes()},
                           {dqueries, din.queries},
                           {dkeys, din.keys},
                           {dvalues, din.values},
                           {products, corrections.mutable_bytes()},
                           {scale, &from.scale},
                           {masked, &from.masked},
                           {one, &from.one}},
                          workspace.mutable_bytes());
  return true;
}

}  // namespace troupe::gpu
