#include "kernel_case.hpp"

namespace troupe::tests {

namespace {

kernel_case embedding(dice& roll) {
  const auto batch = roll.factor(), time = roll.extent(), channels = roll.extent();
  return embedding(roll, batch, time, channels, roll.long_extent());
}

/// As in generation: positions go on from those seen before.
kernel_case embedding_continued(dice& roll) {
  kernel_case k(roll);
  const auto batch = roll.factor(), time = roll.factor(), channels = roll.extent(), vocabulary = roll.extent();
  const auto position = roll.below(50);
  const slot tokens = k.tokens({batch, time}, vocabulary), table = k.constant({vocabulary, channels});
  const slot positions = k.constant({position + time, channels}), y = k.output({batch, time, channels});
  k.forward = [=](stream& s, const tensors& t) {
    s.embedding_forward(t[tokens], time, position, t[table], t[positions], t[y]);
  };
  return k;
}

kernel_case linear_cross_entropy(dice& roll) {
  const auto rows = roll.extent(), channels = roll.extent();
  return linear_cross_entropy(roll, rows, channels, 1 + (roll.coin() ? roll.extent() : roll.long_extent()));
}

}  // namespace

kernel_case embedding(dice& roll, std::int64_t batch, std::int64_t time, std::int64_t channels,
                      std::int64_t vocabulary) {
  kernel_case k(roll);
  const slot tokens = k.tokens({batch, time}, vocabulary), table = k.parameter({vocabulary, channels});
  const slot positions = roll.coin() ? k.parameter({time + roll.below(3), channels}) : slot();
  const slot y = k.output({batch, time, channels});
  k.forward = [=](stream& s, const tensors& t) {
    s.embedding_forward(t[tokens], time, 0, t[table], t[positions], t[y]);
  };
  k.backward = [=](stream& s, const tensors& t, const tensors& d) {
    s.embedding_backward(t[tokens], time, d[y], d[table], d[positions]);
  };
  return k;
}

kernel_case linear_cross_entropy(dice& roll, std::int64_t rows, std::int64_t channels, std::int64_t vocabulary) {
  kernel_case k(roll);
  const slot hidden = k.input({rows, channels});
  const bool fresh = roll.coin();  // the weight's gradient is overwritten then, like an input's
  const slot weight = roll.below(4) == 0 ? k.constant({vocabulary, channels})
                      : fresh            ? k.fresh_parameter({vocabulary, channels})
                                         : k.parameter({vocabulary, channels});
  const slot targets = k.tokens({rows}, vocabulary, true), losses = k.output({rows});
  k.sum_up(losses);
  k[losses].is_accumulated = k[losses].gradient_is_accumulated = true;
  k.forward = [=](stream& s, const tensors& t) {
    s.linear_cross_entropy(t[hidden], t[weight], t[targets], t[losses], {}, {});
  };
  k.backward = [=](stream& s, const tensors& t, const tensors& d) {
    s.linear_cross_entropy(t[hidden], t[weight], t[targets], t[losses], d[hidden], d[weight], fresh);
  };
  return k;
}

std::vector<named_kernel> embedding_and_loss_kernels() {
  return {{"embedding", embedding},
          {"embedding continued", embedding_continued},
          {"linear_cross_entropy", linear_cross_entropy}};
}

}  // namespace troupe::tests
