#pragma once

/// Certificates for tests, made as `troupe certs` makes them.

#include <chrono>
#include <fstream>
#include <string>

#include "runtime/transport/certificates.hpp"
#include "runtime/transport/tls_context.hpp"
#include "tests/scratch_folder.hpp"

namespace troupe {

inline validity valid_for(std::chrono::days days) {
  const auto now = std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
  return {now - std::chrono::days{2}, now + days};
}

class test_authority {
 public:
  test_authority() : own_(make_authority(valid_for(std::chrono::days{10}))) { put("authority.pem", own_.certificate); }

  /// A new node of it.
  tls_options node(std::chrono::days days = std::chrono::days{1}) {
    const auto made = make_node_certificate(own_, valid_for(days));
    const auto name = std::to_string(++nodes_);
    return {put("authority.pem", own_.certificate), put(name + ".pem", made.certificate), put(name + ".key", made.key)};
  }

  const std::string& certificate() const { return own_.certificate; }

  std::filesystem::path put(const std::string& name, const std::string& text) {
    const auto path = folder_.path() / name;
    std::ofstream(path) << text;
    return path;
  }

 private:
  const scratch_folder folder_;
  const certificate_and_key own_;
  int nodes_ = 0;
};

inline test_authority& our_authority() {
  static test_authority it;
  return it;
}

inline test_authority& foreign_authority() {
  static test_authority it;
  return it;
}

}  // namespace troupe
