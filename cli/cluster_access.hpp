#pragma once

/// How the command reaches a cluster: endpoints, the secret, what a run leaves for `troupe status` to find it by.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "runtime/transport/network.hpp"

namespace troupe {

struct endpoint_parts {
  std::string host;
  std::uint16_t port = 0;

  bool loopback() const { return host == "localhost" || host == "::1" || host.starts_with("127."); }
};

/// "HOST:PORT", "[::1]:PORT"
std::string to_string(const endpoint_parts& parts);

/// "HOST:PORT", "[::1]:PORT", ":PORT" and "HOST" with the default port. Throws usage_error that names `option`.
endpoint_parts parse_endpoint(const std::string& text, const std::string& option);

/// From a file where one is named, else from TROUPE_SECRET or TROUPE_SECRET_FILE; empty: there is none.
std::string find_secret(const std::string& file);

/// 256 random bits, for a cluster of this machine.
std::string draw_secret();

/// A network that listens. Listening beyond this machine without a secret is a usage_error.
std::shared_ptr<network> listen_on(const endpoint_parts& where, const std::string& secret, const std::string& advertised);

/// The address of this machine that `other` sees, as far as routes tell; empty: there is none.
std::string own_address_towards(const endpoint_parts& other);

/// What a run on a cluster leaves in its directory while it runs, readable by its owner only.
struct cluster_file {
  std::string endpoint;
  std::string secret;  ///< of a cluster of this machine; otherwise the user has it

  void write(const std::filesystem::path& run_directory) const;
  static std::optional<cluster_file> read(const std::filesystem::path& run_directory);
  static void remove(const std::filesystem::path& run_directory);
};

}  // namespace troupe
