#include "runtime/cluster/node_status.hpp"

#include <nlohmann/json.hpp>

namespace troupe {

void node_status::searches(const std::string& head) {
  const std::lock_guard lock(mutex_);
  head_ = head;
}

void node_status::joined(node_id node) {
  const std::lock_guard lock(mutex_);
  node_ = node;
  state_ = "joining";
}

void node_status::is_ready() {
  const std::lock_guard lock(mutex_);
  state_ = "ready";
}

void node_status::leaves() {
  const std::lock_guard lock(mutex_);
  leaving_ = true;
}

void node_status::hosts(const std::string& actor, std::uint64_t incarnation) {
  const std::lock_guard lock(mutex_);
  actors_[actor] = incarnation;
}

void node_status::hosts_no_more(const std::string& actor) {
  const std::lock_guard lock(mutex_);
  actors_.erase(actor);
}

std::string node_status::to_json() const {
  const std::lock_guard lock(mutex_);
  auto actors = nlohmann::json::array();
  for (const auto& [name, incarnation] : actors_)
    actors.push_back({{"name", name}, {"incarnation", incarnation}});
  return nlohmann::json{{"node", node_ == head_node ? nlohmann::json() : nlohmann::json(node_)},
                        {"state", leaving_ ? "leaving" : state_},
                        {"head", head_},
                        {"actors", std::move(actors)}}
      .dump();
}

}  // namespace troupe
