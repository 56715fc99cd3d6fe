#include "models/layers/attention.hpp"

#include <algorithm>
#include <cassert>

#include "models/layers/dropout.hpp"

namespace troupe {

namespace {

linear_settings qkv_settings(const attention_settings& from) {
  const std::int64_t head_size = from.channels / from.heads;
  return {from.channels, (from.heads + 2 * from.kv_heads) * head_size, from.bias, from.start};
}

linear_settings projection_settings(const attention_settings& from) {
  return {from.channels, from.channels, from.bias, from.projection_start};
}

}  // namespace

attention::attention(const attention_settings& settings)
    : settings_(settings), qkv_(qkv_settings(settings)), projection_(projection_settings(settings)) {
  // nop
}

void attention::declare(parameter_space& space, const std::string& prefix) {
  qkv_.declare(space, prefix + ".qkv");
  projection_.declare(space, prefix + ".projection");
}

attention_shape attention::geometry(const pass& p) const {
  const shape& tokens = p.input().tokens.shape();
  return {tokens[0], tokens[1], settings_.heads, settings_.kv_heads, settings_.channels / settings_.heads};
}

dropout_options attention::dropout(const pass& p) const {
  return dropout_at(p, settings_.dropout, settings_.layer, dropout_site::attention_scores);
}

tensor attention::forward(pass& p, const tensor& x) const {
  const tensor qkv = qkv_.forward(p, x);
  if (settings_.rotary)
    p.on.rotary(geometry(p), settings_.rotary_theta, p.cache ? p.cache->position : 0, false, qkv);
  return projection_.forward(p, p.cache ? attend_cached(p, qkv) : attend(p, qkv));
}

tensor attention::attend(pass& p, const tensor& qkv) const {
  const attention_shape shape = geometry(p);
  const tensor out = p.on.allocate({qkv.shape()[0], settings_.channels});
  const tensor log_sum_exp = p.on.allocate(p.on.accumulation_type(), {shape.batch, shape.heads, shape.time});
  p.on.attention_forward(shape, dropout(p), qkv, out, log_sum_exp);
  p.save(qkv);
  p.save(out);
  p.save(log_sum_exp);
  return out;
}

tensor attention::attend_cached(pass& p, const tensor& qkv) const {
  assert(!p.training);
  key_value_cache& cache = *p.cache;
  const attention_shape shape = geometry(p);
  assert(cache.position + shape.time <= cache.capacity);
  if (cache.keys.size() <= settings_.layer) {
    cache.keys.resize(settings_.layer + 1);
    cache.values.resize(settings_.layer + 1);
  }
  tensor& keys = cache.keys[settings_.layer];
  tensor& values = cache.values[settings_.layer];
  if (!keys) {
    const troupe::shape extents{shape.batch, cache.capacity, shape.kv_heads * shape.head_size};
    keys = p.on.allocate(extents);
    values = p.on.allocate(extents);
  }
  const tensor out = p.on.allocate({qkv.shape()[0], settings_.channels});
  p.on.attention_cached(shape, cache.position, qkv, keys, values, out);
  return out;
}

tensor attention::backward(pass& p, const tensor& dy) const {
  const tensor dout = projection_.backward(p, dy);
  const tensor log_sum_exp = p.restore();
  const tensor out = p.restore();
  const tensor qkv = p.restore();
  const tensor dqkv = p.on.allocate(qkv.shape());
  p.on.attention_backward(geometry(p), dropout(p), qkv, out, log_sum_exp, dout, dqkv);
  if (settings_.rotary)
    p.on.rotary(geometry(p), settings_.rotary_theta, 0, true, dqkv);
  return qkv_.backward(p, dqkv);
}

}  // namespace troupe
