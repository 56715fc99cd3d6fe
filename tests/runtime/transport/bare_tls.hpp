#pragma once

/// One end of an encrypted connection by hand, blocking.

#include <memory>

#include <openssl/ssl.h>

#include "tests/runtime/transport/support.hpp"

namespace troupe {

class bare_tls {
 public:
  /// Says nothing before `shake_hands`. Believes everybody.
  explicit bare_tls(const std::string& endpoint) : context_(SSL_CTX_new(TLS_client_method())), socket_(endpoint) {}

  void bring(const tls_options& who) {
    REQUIRE(SSL_CTX_use_certificate_chain_file(context_.get(), who.certificate.c_str()) == 1);
    REQUIRE(SSL_CTX_use_PrivateKey_file(context_.get(), who.key.c_str(), SSL_FILETYPE_PEM) == 1);
  }
  void speak_at_most(int version) { SSL_CTX_set_max_proto_version(context_.get(), version); }

  bool shake_hands() {
    state_.reset(SSL_new(context_.get()));
    SSL_set_fd(state_.get(), socket_.get());
    return SSL_connect(state_.get()) == 1;
  }

  void send(std::span<const std::byte> bytes) {
    if (!bytes.empty())
      REQUIRE(SSL_write(state_.get(), bytes.data(), static_cast<int>(bytes.size())) > 0);
  }

  /// What comes next; nothing where the connection has ended.
  std::vector<std::byte> receive() {
    std::vector<std::byte> out(4096);
    const auto got = SSL_read(state_.get(), out.data(), static_cast<int>(out.size()));
    out.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
    return out;
  }
  bool was_closed_properly() const { return (SSL_get_shutdown(state_.get()) & SSL_RECEIVED_SHUTDOWN) != 0; }
  bool can_resume() const { return SSL_SESSION_is_resumable(SSL_get0_session(state_.get())) == 1; }

  /// Below the encryption.
  bare_socket& socket() { return socket_; }

  /// The first that a caller says.
  static std::string first_words() {
    const std::unique_ptr<SSL_CTX, release> context(SSL_CTX_new(TLS_client_method()));
    const std::unique_ptr<SSL, release> state(SSL_new(context.get()));
    auto* const out = BIO_new(BIO_s_mem());
    SSL_set_bio(state.get(), BIO_new(BIO_s_mem()), out);
    SSL_connect(state.get());
    char* data = nullptr;
    const auto size = BIO_get_mem_data(out, &data);
    return {data, static_cast<std::size_t>(size)};
  }

 private:
  struct release {
    void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
    void operator()(SSL* state) const { SSL_free(state); }
  };

  std::unique_ptr<SSL_CTX, release> context_;
  bare_socket socket_;
  std::unique_ptr<SSL, release> state_;
};

}  // namespace troupe
