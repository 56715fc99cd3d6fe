#pragma once

#include <memory>
#include <mutex>
#include <unordered_map>

#include "runtime/transport/network.hpp"
#include "runtime/transport/outbox.hpp"

namespace troupe {

/// The links that can be sent to, by number. Whoever removes one decides how it ends: `close` by its owner, which is
/// not told, or a loss, which is.
///
/// Thread safe.
class link_table {
 public:
  void insert(link_id link, std::shared_ptr<outbox> out) {
    const std::lock_guard held(mutex_);
    links_.emplace(link, std::move(out));
  }

  /// Nothing where the link is unknown or has ended.
  std::shared_ptr<outbox> find(link_id link) const {
    const std::lock_guard held(mutex_);
    const auto found = links_.find(link);
    return found == links_.end() ? nullptr : found->second;
  }

  /// What `find` would have found, once.
  std::shared_ptr<outbox> remove(link_id link) {
    const std::lock_guard held(mutex_);
    const auto node = links_.extract(link);
    return node ? node.mapped() : nullptr;
  }

 private:
  mutable std::mutex mutex_;
  std::unordered_map<link_id, std::shared_ptr<outbox>> links_;
};

}  // namespace troupe
