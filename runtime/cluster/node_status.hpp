#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>

#include "runtime/transport/parcel.hpp"

namespace troupe {

/// How a node is doing, for whoever asks it: probes of a batch system, people. It answers also while it has no head, and
/// while its actors are wedged. Thread safe. The schema of its JSON: cli/README.md.
class node_status {
 public:
  void searches(const std::string& head);
  void joined(node_id node);
  void is_ready();
  void leaves();
  void hosts(const std::string& actor, std::uint64_t incarnation);
  void hosts_no_more(const std::string& actor);

  std::string to_json() const;

 private:
  mutable std::mutex mutex_;
  std::string head_;
  node_id node_ = head_node;  // that: it has not joined yet
  const char* state_ = "searching";
  bool leaving_ = false;
  std::map<std::string, std::uint64_t> actors_;
};

}  // namespace troupe
