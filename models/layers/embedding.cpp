#include "models/layers/embedding.hpp"

#include <cassert>

#include "models/layers/dropout.hpp"

namespace troupe {

void embedding::declare(parameter_space& space, const std::string& prefix) {
  token_ = space.add(prefix + ".token", {settings_.vocabulary, settings_.channels}, settings_.start,
                     parameter_kind::table);
  if (settings_.positions > 0)
    position_ = space.add(prefix + ".position", {settings_.positions, settings_.channels}, settings_.start,
                          parameter_kind::table);
}

dropout_options embedding::dropout(const pass& p) const {
  return dropout_at(p, settings_.dropout, 0, dropout_site::embedding);
}

tensor embedding::forward(pass& p, const tensor&) const {
  const tensor& tokens = p.input().tokens;
  const std::int64_t time = tokens.shape()[1];
  const std::int64_t first = p.cache ? p.cache->position : 0;
  assert(settings_.positions == 0 || first + time <= settings_.positions);
  const tensor y = p.on.allocate({tokens.count(), settings_.channels});
  p.on.embedding_forward(tokens.reshaped({tokens.count()}), time, first, p.parameters[token_],
                         positions(p), y);
  drop(p, dropout(p), y);
  return y;
}

tensor embedding::backward(pass& p, const tensor& dy) const {
  const tensor& tokens = p.input().tokens;
  p.on.embedding_backward(tokens.reshaped({tokens.count()}), tokens.shape()[1], drop_backward(p, dropout(p), dy),
                          p.gradient(token_), settings_.positions > 0 ? p.gradient(position_) : tensor{});
  return {};
}

}  // namespace troupe
