#include "models/model.hpp"

#include <utility>

namespace troupe {

model::model(std::vector<named_layer> blocks) : blocks_(std::move(blocks)) {
  for (const auto& [name, body] : blocks_) {
    body->declare(space_, name);
    space_.next_block();
  }
}

void model::forward(std::size_t block, pass& p) const {
  const bool last = block + 1 == blocks_.size();
  if (p.keeps() && p.recompute[block] && !last) {
    p.save(p.carry_);
    p.discards_ = true;
    p.carry_ = blocks_[block].body->forward(p, p.carry_);
    p.discards_ = false;
  } else {
    p.carry_ = blocks_[block].body->forward(p, p.carry_);
  }
  if (last && p.cache)
    p.cache->position += p.input().tokens.shape()[1];
}

void model::backward(std::size_t block, pass& p) const {
  const layer& body = *blocks_[block].body;
  if (p.recompute[block] && block + 1 != blocks_.size())
    body.forward(p, p.restore());
  p.carry_ = body.backward(p, p.carry_);
}

}  // namespace troupe
