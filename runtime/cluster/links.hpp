#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "runtime/transport/network.hpp"

namespace troupe {

/// The links of a member of a cluster, each with the node at its other end. Thread safe.
class node_links {
 public:
  void add(link_id link, node_id node) {
    const std::lock_guard lock(mutex_);
    nodes_[link] = node;
  }
  /// Nothing: the link is not (any more) a member's.
  std::optional<node_id> find(link_id link) const {
    const std::lock_guard lock(mutex_);
    const auto found = nodes_.find(link);
    return found == nodes_.end() ? std::nullopt : std::optional(found->second);
  }
  /// Forgets a link; whose it was.
  std::optional<node_id> remove(link_id link) {
    const std::lock_guard lock(mutex_);
    const auto found = nodes_.extract(link);
    return found ? std::optional(found.mapped()) : std::nullopt;
  }
  /// Forgets the links to a node.
  std::vector<link_id> remove_all(node_id node) {
    const std::lock_guard lock(mutex_);
    std::vector<link_id> removed;
    std::erase_if(nodes_, [&](const auto& each) {
      if (each.second == node)
        removed.push_back(each.first);
      return each.second == node;
    });
    return removed;
  }

 private:
  mutable std::mutex mutex_;
  std::map<link_id, node_id> nodes_;
};

/// Passes what a network tells to the member functions `introduced`, `arrived`, `lost` and `late` of `who`, while it lives.
template <class Member>
network_events events_for(std::weak_ptr<Member> who) {
  return {[who](link_id link, const std::string& text) {
            const auto member = who.lock();
            return member ? member->introduced(link, text) : introduction_reply{false, "this process is about to end"};
          },
          [who](link_id link, parcel what) {
            if (const auto member = who.lock())
              member->arrived(link, std::move(what));
          },
          [who](link_id link, const std::string& evidence) {
            if (const auto member = who.lock())
              member->lost(link, evidence);
          },
          [who](link_id) {
            if (const auto member = who.lock())
              member->late();
          }};
}

}  // namespace troupe
