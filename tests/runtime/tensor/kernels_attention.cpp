#include "kernel_case.hpp"

namespace troupe::tests {

namespace {

/// Grouped queries included: heads are a multiple of kv_heads.
attention_shape random_geometry(dice& roll) {
  attention_shape geometry{.batch = roll.factor(), .time = roll.extent(), .kv_heads = 1 + roll.below(3)};
  if (roll.below(6) == 0)
    geometry = {.batch = 1, .time = roll.long_extent(), .kv_heads = 1};
  geometry.heads = geometry.kv_heads * (1 + roll.below(3));
  geometry.head_size = roll.extent();
  return geometry;
}

kernel_case rotary(dice& roll) {
  kernel_case k(roll);
  attention_shape geometry = random_geometry(roll);
  geometry.head_size *= 2;
  const auto position = roll.below(3) * 1000;
  const shape rows{geometry.batch, geometry.time, geometry.row_width()};
  const slot before = k.input(rows), after = k.output(rows);
  k.share(after, before);
  k.share_gradient(before, after);
  k.forward = [=](stream& s, const tensors& t) { s.rotary(geometry, 10000.0, position, false, t[after]); };
  k.backward = [=](stream& s, const tensors&, const tensors& d) {
    s.rotary(geometry, 10000.0, position, true, d[before]);
  };
  return k;
}

template <bool drops>
kernel_case random_attention(dice& roll) {
  const attention_shape geometry = random_geometry(roll);
  return attention(roll, geometry, drops ? 0.3 : 0.0, roll.coin());
}

kernel_case attention_cached(dice& roll) {
  kernel_case k(roll);
  attention_shape geometry = random_geometry(roll);
  if (roll.coin())
    geometry.time = 1;
  const auto position = roll.below(70), capacity = position + geometry.time + roll.below(5);
  const slot qkv = k.constant({geometry.batch, geometry.time, geometry.row_width()});
  const shape cache{geometry.batch, capacity, geometry.kv_heads * geometry.head_size};
  const slot keys = k.updated(cache), values = k.updated(cache);
  const slot out = k.output({geometry.batch, geometry.time, geometry.heads * geometry.head_size});
  k.forward = [=](stream& s, const tensors& t) {
    s.attention_cached(geometry, position, t[qkv], t[keys], t[values], t[out]);
  };
  return k;
}

}  // namespace

kernel_case attention(dice& roll, const attention_shape& geometry, double probability, bool anywhere) {
  kernel_case k(roll);
  const dropout_options dropout{probability, roll.key()};
  const slot qkv = k.input({geometry.batch, geometry.time, geometry.row_width()});
  const slot out = k.output({geometry.batch, geometry.time, geometry.heads * geometry.head_size});
  const slot log_sum_exp = k.saved({geometry.batch, geometry.heads, geometry.time});
  for (argument& each : k.arguments)
    each.begins_anywhere = anywhere;
  k.forward = [=](stream& s, const tensors& t) {
    s.attention_forward(geometry, dropout, t[qkv], t[out], t[log_sum_exp]);
  };
  k.backward = [=](stream& s, const tensors& t, const tensors& d) {
    s.attention_backward(geometry, dropout, t[qkv], t[out], t[log_sum_exp], d[out], d[qkv]);
  };
  return k;
}

std::vector<named_kernel> attention_kernels() {
  return {{"rotary", rotary},
          {"attention", random_attention<false>},
          {"attention with dropout", random_attention<true>},
          {"attention_cached", attention_cached}};
}

}  // namespace troupe::tests
