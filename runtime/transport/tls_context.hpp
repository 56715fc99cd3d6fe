#pragma once

/// What a node brings to its encrypted links: whom it believes, and who it is.

#include <cstdint>
#include <filesystem>
#include <memory>

using SSL_CTX = struct ssl_ctx_st;

namespace troupe {

/// PEM files, of which `troupe certs` makes a set.
///
/// What is verified of a peer is that this authority has signed its certificate, and that it is valid today. Names are
/// not: nodes come and go, and are reached under whatever address they have. So whoever has a node's key is a node.
struct tls_options {
  std::filesystem::path authority;
  std::filesystem::path certificate;  ///< of this node; others of a chain may follow it
  std::filesystem::path key;

  /// Records are up to 16 KiB. The bound of AES-GCM is 2^24.5 (RFC 8446, 5.5), which a busy link reaches in minutes.
  std::uint64_t records_per_key = std::uint64_t{1} << 22;
};

/// TLS 1.3 with AES-GCM, both sides authenticated, no sessions that could be resumed.
class tls_context {
 public:
  /// Throws input_error where a file cannot be used.
  explicit tls_context(const tls_options& options);
  ~tls_context();
  tls_context(const tls_context&) = delete;
  tls_context& operator=(const tls_context&) = delete;

  SSL_CTX* get() const noexcept { return context_.get(); }
  std::uint64_t records_per_key() const noexcept { return records_per_key_; }

 private:
  struct release {
    void operator()(SSL_CTX* context) const noexcept;
  };

  std::unique_ptr<SSL_CTX, release> context_;
  std::uint64_t records_per_key_;
};

}  // namespace troupe
