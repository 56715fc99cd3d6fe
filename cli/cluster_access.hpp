#pragma once

/// How the command reaches a cluster: endpoints, the secret, certificates, what a run leaves for `troupe status` to
/// find it by.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include <CLI/CLI.hpp>

#include "runtime/cluster/environment.hpp"
#include "runtime/transport/network.hpp"
#include "runtime/transport/tls_context.hpp"

namespace troupe {

struct endpoint_parts {
  std::string host;
  std::uint16_t port = 0;

  bool loopback() const { return host == "localhost" || host == "::1" || host.starts_with("127."); }
};

/// "HOST:PORT", "[::1]:PORT"
std::string to_string(const endpoint_parts& parts);

/// "HOST:PORT", "[::1]:PORT", ":PORT" and "HOST" with `port`. Throws usage_error that names `option`.
endpoint_parts parse_endpoint(const std::string& text, const std::string& option, std::uint16_t port = default_port);

/// What shows a process to others as one of theirs.
struct cluster_access {
  std::string secret{};              ///< empty: there is none
  std::filesystem::path tls{};       ///< folder with what `tls_files_in` names; empty: links are plain
  bool insecure = false;             ///< plain links are wanted also beyond this machine
};

/// The options for it, of `train --listen`, `node` and `status`.
struct access_options {
  std::string secret_file;
  std::string tls;
  bool insecure = false;

  void add_to(CLI::App& command);

  /// What was not said comes from TROUPE_SECRET or TROUPE_SECRET_FILE, and TROUPE_TLS.
  cluster_access find() const;
};

/// What `troupe certs` puts into a folder for a node.
tls_options tls_files_in(const std::filesystem::path& folder);

/// 256 random bits, for a cluster of this machine.
std::string draw_secret();

/// A network that listens. Listening beyond this machine without a secret is a usage_error; so it is without TLS,
/// unless that is said to be wanted. `on_turned_away`: see tcp_options.
std::shared_ptr<network> listen_on(const endpoint_parts& where, const cluster_access& access,
                                   const std::string& advertised,
                                   std::function<void(const std::string&)> on_turned_away = {});

/// The address of this machine that `other` sees, as far as routes tell; empty: there is none.
std::string own_address_towards(const endpoint_parts& other);

/// What a run on a cluster leaves in its directory while it runs, readable by its owner only.
struct cluster_file {
  std::string endpoint;
  std::string secret;  ///< of a cluster of this machine; otherwise the user has it
  std::string tls;     ///< the folder, absolute; empty: links are plain

  void write(const std::filesystem::path& run_directory) const;
  static std::optional<cluster_file> read(const std::filesystem::path& run_directory);
  /// Unless another process has put its own there.
  void remove(const std::filesystem::path& run_directory) const;
  static std::filesystem::path path_in(const std::filesystem::path& run_directory);
};

}  // namespace troupe
