#pragma once

#include <optional>
#include <string>

#include "cli/cluster_access.hpp"
#include "runtime/cluster/introduction.hpp"

namespace troupe {

/// What is asked of a process of a cluster from outside, by `troupe status` and `troupe drain`.
class cluster_question {
 public:
  static constexpr auto where_help =
      "HOST:PORT of the head or of a node, or the directory of a run on this machine; default: the head as nodes find it";

  /// `where` is as above, or empty. Throws input_error where no run goes on in a directory, usage_error for what is no
  /// endpoint.
  cluster_question(std::string where, const access_options& options);

  const std::string& endpoint() const noexcept { return endpoint_; }

  /// Waits for the answer, for a bounded time. Throws input_error where it is a refusal, system_error where there is none.
  std::string ask(const introduction& what) const;

 private:
  std::string where_;
  std::optional<cluster_file> found_;
  cluster_access access_;
  std::string endpoint_;
};

}  // namespace troupe
